//! `taffrail.v1.Groups`.

pub(super) mod calls;
pub(super) mod events;
pub(super) mod join;
pub(super) mod member;
pub(super) mod offsets;

pub(super) use join::member_id;

use std::{sync::Arc, time::Duration};

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming, async_trait};

use self::member::MemberAnswers;
use super::{
    answers::{Elsewhere, respond},
    auth::{access, permit},
    blocking::blocking,
    incoming::Incoming,
    limits::FEW_OFFSETS,
    peer,
    reads::Reads,
    status,
    stop::Stopping,
};
use crate::{
    broker::{Broker, Error},
    proto::{
        self, CommitRequest, CommitResponse, ConsumeRequest, DeleteGroupRequest,
        DeleteGroupResponse, DescribeGroupRequest, DescribeGroupResponse, FetchOffsetsRequest,
        FetchOffsetsResponse, ForkGroupRequest, ForkGroupResponse, ListGroupsRequest,
        ListGroupsResponse, RemoveMemberRequest, RemoveMemberResponse, ResetGroupRequest,
        ResetGroupResponse, consume_request::Message, groups_server::Groups, wire::ConsumeResponse,
    },
};

pub(super) struct GroupsService {
    broker: Arc<Broker>,
    reads: Reads,
    stopping: Stopping,
}

impl GroupsService {
    pub(super) fn new(broker: Arc<Broker>, reads: Reads, stopping: Stopping) -> Self {
        Self {
            broker,
            reads,
            stopping,
        }
    }

    /// The first message of a member, unless the server stops before it comes.
    async fn first(
        &self,
        requests: &mut (impl Stream<Item = Result<ConsumeRequest, Status>> + Unpin),
    ) -> Result<proto::JoinGroup, Status> {
        let mut stopped = self.stopping.stopped();
        let first = tokio::select! {
            first = requests.next() => first,
            () = &mut stopped => return Err(Error::ShuttingDown.into()),
        };
        let message = match first {
            Some(Ok(request)) => request.message,
            Some(Err(status)) => return Err(status::of_undecoded(status)),
            None => None,
        };
        match message {
            Some(Message::Join(join)) => Ok(join),
            _ => Err(Error::MalformedRequest {
                reason: "the first message of a member is `join`".to_owned(),
            }
            .into()),
        }
    }
}

#[async_trait]
impl Groups for GroupsService {
    type ConsumeStream = Elsewhere<ConsumeResponse>;

    async fn consume(
        &self,
        request: Request<Streaming<ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let shares = peer::reads(request.extensions(), &self.broker, &self.reads);
        let pulse = peer::pulse(request.extensions());
        let address = peer::address(request.extensions());
        let access = access(request.extensions())?;
        let counts_as = peer::requests(request.extensions(), &self.broker);
        let long = peer::long(request.extensions(), &self.broker);
        let mut requests = Incoming::of(request.extensions());
        drop(request);
        let join = self.first(&mut requests).await?;
        access.permit(&join)?;
        let pulse = pulse.filter(|_| !join.heartbeat);
        let join = join::join_group(join, address)?;
        let (session_time, drain) = (join.session, join.drain);
        let session = self.broker.join_group(join)?.await?;
        let first = events::joined(&session, millis(session_time), millis(drain));
        let stopped = self.stopping.stopped();
        let first = (first, session_time);
        let requests = (requests, counts_as, access, long);
        let answers = MemberAnswers::new(session, first, requests, pulse, stopped);
        Ok(respond(answers, &self.reads, shares)?)
    }

    async fn commit(
        &self,
        request: Request<CommitRequest>,
    ) -> Result<Response<CommitResponse>, Status> {
        let access = permit(&request)?;
        let long = peer::long(request.extensions(), &self.broker);
        let request = request.into_inner();
        access.append(offsets::bytes(&request.offsets)).await?;
        let committing = if request.offsets.len() > FEW_OFFSETS {
            let _turn = long.turn().await;
            blocking(|| calls::commit(&self.broker, request))?
        } else {
            calls::commit(&self.broker, request)?
        };
        Ok(Response::new(committing.committed().await?))
    }

    async fn fetch_offsets(
        &self,
        request: Request<FetchOffsetsRequest>,
    ) -> Result<Response<FetchOffsetsResponse>, Status> {
        let access = permit(&request)?;
        let mut turn = peer::long(request.extensions(), &self.broker).turn().await;
        let request = request.into_inner();
        let fetched = blocking(|| calls::fetch_offsets(&self.broker, request, &access, &mut turn))?;
        Ok(turn.respond(fetched))
    }

    async fn list(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        let access = permit(&request)?;
        let turn = peer::long(request.extensions(), &self.broker).turn().await;
        let listed = blocking(|| calls::list(&self.broker, &request.into_inner(), &access));
        Ok(turn.respond(listed))
    }

    async fn describe(
        &self,
        request: Request<DescribeGroupRequest>,
    ) -> Result<Response<DescribeGroupResponse>, Status> {
        let access = permit(&request)?;
        let mut turn = peer::long(request.extensions(), &self.broker).turn().await;
        let request = request.into_inner();
        let described = blocking(|| calls::describe(&self.broker, request, &access, &mut turn))?;
        Ok(turn.respond(described))
    }

    async fn reset(
        &self,
        request: Request<ResetGroupRequest>,
    ) -> Result<Response<ResetGroupResponse>, Status> {
        let access = permit(&request)?;
        let mut turn = peer::long(request.extensions(), &self.broker).turn().await;
        let reset = calls::reset_request(request.into_inner(), &access)?;
        let reset = blocking(|| self.broker.reset_group(reset))?.await?;
        let response = calls::reset_response(reset, &access, &mut turn);
        Ok(turn.respond(response))
    }

    async fn fork(
        &self,
        request: Request<ForkGroupRequest>,
    ) -> Result<Response<ForkGroupResponse>, Status> {
        let among = permit(&request)?.readable();
        let ForkGroupRequest {
            group,
            new_group,
            replay,
        } = request.into_inner();
        let forked = self.broker.fork_group(&group, &new_group, replay, &among)?;
        forked.await?;
        Ok(Response::new(ForkGroupResponse {}))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        permit(&request)?;
        let RemoveMemberRequest { group, member_id } = request.into_inner();
        let (member, instance) = join::required_member_id(&member_id)?;
        self.broker.remove_member(&group, member, instance)?.await?;
        Ok(Response::new(RemoveMemberResponse {}))
    }

    async fn delete(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        permit(&request)?;
        self.broker
            .delete_group(&request.into_inner().group)?
            .await?;
        Ok(Response::new(DeleteGroupResponse {}))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
