//! What every request asks for. A call that is not here does not compile: its adapter has nothing
//! to hand to [`super::permit`].

use super::{Operation, Operations, grants::Resource};
use crate::{
    broker::Append,
    proto::{
        AcceptClockRequest, AddPartitionsRequest, AlterTopicRequest, CommitOffsets, CommitRequest,
        CompactRequest, CreateTopicRequest, DeleteGroupRequest, DeleteTopicRequest,
        DescribeErasureRequest, DescribeGroupRequest, DescribeTopicRequest, EraseKeyRequest,
        FetchOffsetsRequest, ForgetProducerRequest, ForkGroupRequest, GetClockRequest,
        GetLatestRequest, JoinGroup, ListGroupsRequest, ListOffsetsRequest, ListProducersRequest,
        ListTopicsRequest, OpenProducerRequest, ReadKeyRequest, ReadRequest, ResetGroupRequest,
        StatusRequest, TrimKeyRequest, TrimRequest, reset_group_request::To,
    },
};

/// One of these operations on this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need<'a> {
    pub(super) operations: Operations,
    pub(super) resource: Resource<'a>,
}

/// A request that says what it asks for.
pub(crate) trait Asks {
    /// All of these have to be allowed.
    fn asks(&self) -> Vec<Need<'_>>;
}

fn may(operation: Operation, resource: Resource<'_>) -> Need<'_> {
    Need {
        operations: Operations::of(operation),
        resource,
    }
}

/// To see a topic, some operation on it has to be allowed.
fn sees(topic: &str) -> Need<'_> {
    Need {
        operations: Operations::OF_TOPICS,
        resource: Resource::Topic(topic),
    }
}

/// Whoever appends to a topic is told versions of its entities anyway.
fn compares(topic: &str) -> Need<'_> {
    Need {
        operations: Operations::of(Operation::Append).and(Operation::Read),
        resource: Resource::Topic(topic),
    }
}

/// Offsets in topics that may not be read are not committed.
fn commits<'a>(topics: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Need<'a>> {
    topics.map(|topic| may(Operation::Read, Resource::Topic(topic)))
}

impl Asks for Append {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            needs.push(may(Operation::Append, Resource::Topic(&batch.topic)));
        }
        for condition in &self.conditions {
            needs.push(compares(&condition.topic));
        }
        for (group, offsets) in &self.group_offsets {
            needs.push(may(Operation::Group, Resource::Group(group)));
            needs.extend(commits(offsets.iter().map(|offset| &*offset.topic)));
        }
        needs
    }
}

/// What asks for one operation, on what a field names.
macro_rules! one_need {
    ($($request:ty => $operation:ident on $resource:ident $field:ident;)*) => {
        $(impl Asks for $request {
            fn asks(&self) -> Vec<Need<'_>> {
                vec![may(Operation::$operation, Resource::$resource(&self.$field))]
            }
        })*
    };
}

one_need! {
    ReadRequest => Read on Topic topic;
    ListOffsetsRequest => Read on Topic topic;
    ReadKeyRequest => Read on Topic topic;
    GetLatestRequest => Read on Topic topic;
    EraseKeyRequest => Erase on Topic topic;
    TrimKeyRequest => Erase on Topic topic;
    CreateTopicRequest => TopicAdmin on Topic name;
    DeleteTopicRequest => TopicAdmin on Topic name;
    AlterTopicRequest => TopicAdmin on Topic name;
    AddPartitionsRequest => TopicAdmin on Topic topic;
    TrimRequest => TopicAdmin on Topic topic;
    CompactRequest => TopicAdmin on Topic topic;
    DescribeGroupRequest => Group on Group group;
    DeleteGroupRequest => Group on Group group;
}

/// What looks after the broker itself.
macro_rules! of_administrators {
    ($($request:ty,)*) => {
        $(impl Asks for $request {
            fn asks(&self) -> Vec<Need<'_>> {
                vec![may(Operation::Admin, Resource::Broker)]
            }
        })*
    };
}

of_administrators! {
    StatusRequest,
    GetClockRequest,
    AcceptClockRequest,
    ListProducersRequest,
    ForgetProducerRequest,
}

/// What anybody may ask: the answer has what they may see.
macro_rules! shows_what_may_be_seen {
    ($($request:ty,)*) => {
        $(impl Asks for $request {
            fn asks(&self) -> Vec<Need<'_>> {
                Vec::new()
            }
        })*
    };
}

shows_what_may_be_seen! {
    ListTopicsRequest,
    ListGroupsRequest,
    DescribeErasureRequest,
}

impl Asks for OpenProducerRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        let resource = match self.name.is_empty() {
            true => Resource::AnyTopic,
            false => Resource::Producer(&self.name),
        };
        vec![may(Operation::Append, resource)]
    }
}

impl Asks for DescribeTopicRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        vec![sees(&self.name)]
    }
}

impl Asks for JoinGroup {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, Resource::Group(&self.group))];
        for topic in &self.topics {
            needs.push(may(Operation::Read, Resource::Topic(topic)));
        }
        for prefix in &self.topic_prefixes {
            needs.push(may(Operation::Read, Resource::TopicsWith(prefix)));
        }
        needs
    }
}

impl Asks for CommitOffsets {
    fn asks(&self) -> Vec<Need<'_>> {
        commits(self.offsets.iter().map(|offset| &*offset.topic)).collect()
    }
}

impl Asks for CommitRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, Resource::Group(&self.group))];
        needs.extend(commits(self.offsets.iter().map(|offset| &*offset.topic)));
        needs
    }
}

impl Asks for FetchOffsetsRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, Resource::Group(&self.group))];
        if !self.topic.is_empty() {
            needs.push(sees(&self.topic));
        }
        needs
    }
}

impl Asks for ResetGroupRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, Resource::Group(&self.group))];
        needs.extend(commits(self.topics.iter().map(|topic| &**topic)));
        match &self.to {
            Some(To::FromGroup(group)) => {
                needs.push(may(Operation::Group, Resource::Group(group)));
            }
            Some(To::Offsets(offsets)) => needs.extend(offsets.asks()),
            Some(To::Position(_) | To::Shift(_)) | None => {}
        }
        needs
    }
}

impl Asks for ForkGroupRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        vec![
            may(Operation::Group, Resource::Group(&self.group)),
            may(Operation::Group, Resource::Group(&self.new_group)),
        ]
    }
}
