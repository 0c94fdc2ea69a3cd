//! `Append` and `AppendStream`.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::Status;

use super::{
    conditions::{self, conditions},
    position,
};
use crate::{
    broker::{
        Append, AppendBatch, Appended, Attempt, Broker, Error, Flow, GroupOffset, Load, Pending,
        Producer, ProducerHolder,
    },
    proto::{
        self, AppendResponse, AppendedBatch, AppendedRange, GroupOffsets, ReceivedBatch,
        wire::AppendRequest,
    },
    server::{blocking::elsewhere, groups, limits::MAX_APPENDS_IN_FLIGHT, status, stop::Stopped},
    types::{PartitionId, ProducerId},
};

/// Hands a request to the broker: waits for room, then it has its place in the order. What comes
/// back resolves when it is durable.
pub(in crate::server) async fn take(
    broker: &Arc<Broker>,
    flow: &Flow,
    holder: Option<Arc<ProducerHolder>>,
    request: AppendRequest,
) -> Result<Pending<Appended>, Error> {
    let batches = &request.batches;
    let load = Load {
        bytes: batches.iter().map(Bytes::len).sum::<usize>()
            + conditions::bytes(&request.conditions),
        batches: batches.len(),
        records: batches
            .iter()
            .map(|batch| ReceivedBatch::count_records(batch))
            .sum(),
    };
    // Taken apart only then: small batches and records take many times their bytes.
    let admission = broker.admit(flow, load).await?;
    let group_offsets = group_offsets(request.group_offsets)?;
    let append = Append {
        batches: request
            .batches
            .iter()
            .map(batch)
            .collect::<Result<_, _>>()?,
        conditions: conditions(request.conditions)?,
        producer: request.producer.map(producer),
        holder,
        return_versions: request.return_versions,
        group_offsets,
    };
    match broker.try_append(append, admission)? {
        Attempt::Queued(pending) => Ok(pending),
        Attempt::Left(left) => {
            let broker = Arc::clone(broker);
            elsewhere(move || broker.append_left(left)).await
        }
    }
}

/// Waits for the answer.
pub(in crate::server) async fn answer(
    mut pending: Pending<Appended>,
) -> Result<AppendResponse, Error> {
    let unmade = poll_fn(|cx| pending.poll_unmade(cx)).await;
    let appended = match unmade.reads_files() {
        true => elsewhere(move || unmade.make()).await,
        false => unmade.make(),
    };
    appended.map(response)
}

fn group_offsets(groups: Vec<GroupOffsets>) -> Result<Vec<(String, Vec<GroupOffset>)>, Error> {
    let group = |group: GroupOffsets| {
        let member = groups::member_id(&group.member_id)?;
        let mut offsets = groups::offsets::group_offsets(group.offsets)?;
        for offset in &mut offsets {
            offset.member = member;
        }
        Ok((group.group, offsets))
    };
    groups.into_iter().map(group).collect()
}

fn producer(producer: proto::Producer) -> Producer {
    Producer {
        id: ProducerId(producer.id),
        epoch: producer.epoch,
    }
}

fn batch(encoded: &Bytes) -> Result<AppendBatch, Error> {
    let batch = ReceivedBatch::decode(encoded).map_err(|error| Error::MalformedRequest {
        reason: error.to_string(),
    })?;
    let ReceivedBatch {
        topic,
        partition,
        sequence,
        topic_id,
        records,
    } = batch;
    Ok(AppendBatch {
        topic,
        topic_id: position::topic_id(&topic_id)?,
        partition: partition.map(PartitionId),
        sequence,
        records,
    })
}

fn response(appended: Appended) -> AppendResponse {
    let range = |range: crate::broker::AppendedRange| AppendedRange {
        partition: range.partition.0,
        first_offset: range.first_offset.0,
        count: range.count,
        append_time_ms: range.append_time_ms,
        versions: range
            .versions
            .into_iter()
            .map(|version| version.0)
            .collect(),
    };
    let forgotten = appended.forgotten;
    let batch = |ranges: Vec<_>| AppendedBatch {
        duplicate: forgotten && ranges.is_empty(),
        ranges: ranges.into_iter().map(range).collect(),
    };
    AppendResponse {
        batches: appended.batches.into_iter().map(batch).collect(),
    }
}

type Making = Pin<Box<dyn Future<Output = Result<Appended, Error>> + Send>>;

type Taking = Pin<Box<dyn Future<Output = Result<Pending<Appended>, Error>> + Send>>;

/// The answers of an `AppendStream`: the next requests are taken while earlier ones wait for the
/// disk, and answered in their order.
///
/// Once a request is refused, none behind it is looked at; the ones before it still get their
/// answers, then the stream ends with that request's status. Nothing runs when nobody asks for
/// answers: a client that does not read them is not read from either.
pub(crate) struct AppendAnswers<S> {
    broker: Arc<Broker>,
    flow: Flow,
    requests: S,
    holder: Option<Arc<ProducerHolder>>,
    /// The request that waits for room.
    taking: Option<Taking>,
    /// The requests that wait for the disk.
    in_flight: VecDeque<Pending<Appended>>,
    /// The next answer, while files are read for it.
    making: Option<Making>,
    /// Why no more requests are taken.
    end: Option<Result<(), Status>>,
    stopped: Stopped,
}

impl<S> AppendAnswers<S>
where
    S: Stream<Item = Result<AppendRequest, Status>> + Unpin,
{
    pub(super) fn new(
        broker: Arc<Broker>,
        flow: Flow,
        holder: Option<Arc<ProducerHolder>>,
        requests: S,
        stopped: Stopped,
    ) -> Self {
        Self {
            broker,
            flow,
            requests,
            holder,
            taking: None,
            in_flight: VecDeque::new(),
            making: None,
            end: None,
            stopped,
        }
    }

    /// Takes requests until there are none, the most that may wait do, or one is refused.
    fn take_requests(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.may_take() {
            match self.poll_take(cx) {
                Poll::Ready(Ok(Some(pending))) => self.in_flight.push_back(pending),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(status)) => self.end = Some(Err(status)),
                Poll::Pending => return,
            }
        }
    }

    /// Whether the next request may be taken: not while the one before may turn out to be refused.
    /// Its answer may be known and wait for what it tells to be durable.
    fn may_take(&self) -> bool {
        self.in_flight.len() < MAX_APPENDS_IN_FLIGHT
            && !self.in_flight.back().is_some_and(Pending::is_unsettled)
    }

    fn poll_take(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Pending<Appended>>, Status>> {
        if self.taking.is_none() {
            if self.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::ShuttingDown.into()));
            }
            match ready!(Pin::new(&mut self.requests).poll_next(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(status)) => return Poll::Ready(Err(status::of_undecoded(status))),
                Some(Ok(request)) => {
                    let (broker, flow) = (Arc::clone(&self.broker), self.flow.clone());
                    let holder = self.holder.clone();
                    let taking = async move { take(&broker, &flow, holder, request).await };
                    self.taking = Some(Box::pin(taking));
                }
            }
        }
        let taking = self.taking.as_mut().expect("it was just filled");
        let taken = ready!(taking.as_mut().poll(cx));
        self.taking = None;
        Poll::Ready(taken.map(Some).map_err(Status::from))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AppendResponse, Status>>> {
        if let Some(making) = &mut self.making {
            let appended = ready!(making.as_mut().poll(cx));
            self.making = None;
            return Poll::Ready(Some(self.answered(appended)));
        }
        let Some(first) = self.in_flight.front_mut() else {
            return match &mut self.end {
                None => Poll::Pending,
                // Asked again behind the status, it is over.
                Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            };
        };
        let unmade = ready!(first.poll_unmade(cx));
        self.in_flight.pop_front();
        if unmade.reads_files() {
            self.making = Some(Box::pin(elsewhere(move || unmade.make())));
            return self.poll_answer(cx);
        }
        let appended = unmade.make();
        Poll::Ready(Some(self.answered(appended)))
    }

    fn answered(&mut self, appended: Result<Appended, Error>) -> Result<AppendResponse, Status> {
        appended.map(response).map_err(|error| {
            self.in_flight.clear();
            self.taking = None;
            self.end = Some(Ok(()));
            error.into()
        })
    }
}

impl<S> Stream for AppendAnswers<S>
where
    S: Stream<Item = Result<AppendRequest, Status>> + Unpin,
{
    type Item = Result<AppendResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.take_requests(cx);
        self.poll_answer(cx)
    }
}
