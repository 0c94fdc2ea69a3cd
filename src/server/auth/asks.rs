//! What each request needs to be allowed. A call that is missing here does not compile: its adapter
//! could not pass its request to [`super::permit`].

use std::borrow::Cow;

use super::{Operation, Operations, grants::Resource};
use crate::{
    broker::Append,
    proto::{
        AcceptClockRequest, AddPartitionsRequest, AdvanceRequest, AlterTopicRequest, BackupRequest,
        CommitOffsets, CommitRequest, CompactRequest, CrashRequest, CreateTokenRequest,
        CreateTopicRequest, DeleteGroupRequest, DeleteTopicRequest, DescribeErasureRequest,
        DescribeGroupRequest, DescribeTopicRequest, EraseKeyRequest, FetchOffsetsRequest,
        ForgetProducerRequest, ForkGroupRequest, GetClockRequest, GetLatestRequest, ImportBegin,
        JoinGroup, LimitsRequest, ListGroupsRequest, ListOffsetsRequest, ListProducersRequest,
        ListTokensRequest, ListTopicsRequest, OpenProducerRequest, ReadKeyRequest, ReadRequest,
        RemoveMemberRequest, ResetGroupRequest, RevokeTokenRequest, StatusRequest, TrimKeyRequest,
        TrimRequest, forget_producer_request, reset_group_request::To, revoke_token_request,
    },
    types::ProducerId,
};

/// Something that must be allowed: any one of the operations, on the resource.
#[derive(Clone, Debug)]
pub(crate) struct Need<'a> {
    pub(super) operations: Operations,
    pub(super) resource: Resource<'a>,
}

impl Need<'_> {
    pub(super) fn into_owned(self) -> Need<'static> {
        Need {
            operations: self.operations,
            resource: self.resource.into_owned(),
        }
    }
}

/// A request that says which permissions it needs.
pub(crate) trait Asks {
    /// The permissions that it needs, all of them.
    fn asks(&self) -> Vec<Need<'_>>;

    /// The name of the administrator's act that it is, for the audit log; `None` for all other
    /// requests.
    fn act(&self) -> Option<&'static str> {
        None
    }

    /// Details of the act for the audit log, beside its resource; empty if there are none.
    fn details(&self) -> String {
        String::new()
    }
}

/// The permission to open a stream of appends; each append is then checked by itself.
pub(super) fn appends() -> Need<'static> {
    may(Operation::Append, Resource::AnyTopic)
}

/// The permission to append as the producer of this name.
pub(super) fn appends_as(producer: &str) -> Need<'_> {
    may(Operation::Append, Resource::Producer(producer.into()))
}

fn topic(name: &str) -> Resource<'_> {
    Resource::Topic(name.into())
}

fn group(name: &str) -> Resource<'_> {
    Resource::Group(name.into())
}

fn may(operation: Operation, resource: Resource<'_>) -> Need<'_> {
    Need {
        operations: Operations::of(operation),
        resource,
    }
}

/// A topic may be seen by everybody who may do anything with it.
fn sees(name: &str) -> Need<'_> {
    Need {
        operations: Operations::OF_TOPICS,
        resource: topic(name),
    }
}

/// A condition on a topic's entities tells their versions, so it takes the permission to read or to
/// append, which tells versions anyway.
fn compares(name: &str) -> Need<'_> {
    Need {
        operations: Operations::of(Operation::Append).and(Operation::Read),
        resource: topic(name),
    }
}

/// The permissions to commit offsets of these topics: only of topics that the caller may read.
fn commits<'a>(topics: impl Iterator<Item = &'a str>) -> impl Iterator<Item = Need<'a>> {
    topics.map(|name| may(Operation::Read, topic(name)))
}

/// An append to a topic whose content has not been received yet.
pub(super) struct AppendTo<'a>(pub(super) &'a str);

impl Asks for AppendTo<'_> {
    fn asks(&self) -> Vec<Need<'_>> {
        vec![may(Operation::Append, topic(self.0))]
    }
}

impl Asks for Append {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = Vec::with_capacity(self.batches.len());
        for batch in &self.batches {
            needs.push(may(Operation::Append, topic(&batch.topic)));
        }
        for condition in &self.conditions {
            needs.push(compares(&condition.topic));
        }
        for (name, offsets) in &self.group_offsets {
            needs.push(may(Operation::Group, group(name)));
            needs.extend(commits(offsets.iter().map(|offset| &*offset.topic)));
        }
        needs
    }
}

/// The details of an alteration: the settings that are set, and those that are reset to their
/// defaults.
fn settings<'a>(
    set: impl IntoIterator<Item = (&'a String, &'a String)>,
    reset: &[String],
) -> String {
    let mut named: Vec<String> = Vec::new();
    for (name, value) in set {
        named.push(format!("{name}={value}"));
    }
    named.sort();
    for name in reset {
        named.push(format!("{name} reset"));
    }
    named.join(", ")
}

/// Implements [`Asks`] for requests that need one operation on the resource that a field names. A
/// third word is the name of the act, for requests that are one.
macro_rules! one_need {
    ($(
        $request:ty => $operation:ident $resource:ident $field:ident
        $(, $act:literal $(, $details:expr)?)?;
    )*) => {
        $(impl Asks for $request {
            fn asks(&self) -> Vec<Need<'_>> {
                vec![may(Operation::$operation, $resource(&self.$field))]
            }

            $(fn act(&self) -> Option<&'static str> {
                Some($act)
            }

            $(fn details(&self) -> String {
                let details: fn(&Self) -> String = $details;
                details(self)
            })?)?
        })*
    };
}

one_need! {
    ReadRequest => Read topic topic;
    ListOffsetsRequest => Read topic topic;
    ReadKeyRequest => Read topic topic;
    GetLatestRequest => Read topic topic;
    EraseKeyRequest => Erase topic topic, "erase an entity";
    CreateTopicRequest => TopicAdmin topic name, "create a topic", |request| {
        settings(&request.settings, &[])
    };
    DeleteTopicRequest => TopicAdmin topic name, "delete a topic";
    AddPartitionsRequest => TopicAdmin topic topic, "add partitions", |request| {
        format!("to {}", request.partitions)
    };
    CompactRequest => TopicAdmin topic topic, "compact a topic";
    DescribeGroupRequest => Group group group;
    RemoveMemberRequest => Group group group, "remove a member";
    DeleteGroupRequest => Group group group, "delete a group";
}

/// Implements [`Asks`] for requests that need one operation on the resource that a field names. The
/// third word is the name of the act, unless the request is a dry run, which is none.
macro_rules! one_need_if_meant {
    ($(
        $request:ty => $operation:ident $resource:ident $field:ident, $act:literal, $details:expr;
    )*) => {
        $(impl Asks for $request {
            fn asks(&self) -> Vec<Need<'_>> {
                vec![may(Operation::$operation, $resource(&self.$field))]
            }

            fn act(&self) -> Option<&'static str> {
                (!self.dry_run).then_some($act)
            }

            fn details(&self) -> String {
                let details: fn(&Self) -> String = $details;
                details(self)
            }
        })*
    };
}

one_need_if_meant! {
    TrimKeyRequest => Erase topic topic, "trim an entity", |request| {
        format!("before version {}", request.before_version)
    };
    AlterTopicRequest => TopicAdmin topic name, "alter a topic", |request| {
        settings(&request.set, &request.reset)
    };
    TrimRequest => TopicAdmin topic topic, "trim a partition", |request| {
        format!("partition {} before offset {}", request.partition, request.before_offset)
    };
}

/// Implements [`Asks`] for requests that look at the broker as a whole.
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
    ListProducersRequest,
    ListTokensRequest,
}

fn of_broker<'a>(what: &'static str, name: impl Into<Cow<'a, str>>) -> Vec<Need<'a>> {
    vec![may(Operation::Admin, Resource::OfBroker(what, name.into()))]
}

/// Implements [`Asks`] for requests that change something of the broker as a whole.
macro_rules! acts_of_administrators {
    ($($request:ty => $act:literal,)*) => {
        $(impl Asks for $request {
            fn asks(&self) -> Vec<Need<'_>> {
                vec![may(Operation::Admin, Resource::Broker)]
            }

            fn act(&self) -> Option<&'static str> {
                Some($act)
            }
        })*
    };
}

acts_of_administrators! {
    AcceptClockRequest => "accept the clock",
    CrashRequest => "cut the power",
    AdvanceRequest => "move the clock",
    BackupRequest => "take a backup",
}

impl Asks for ForgetProducerRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        match &self.producer {
            Some(forget_producer_request::Producer::Name(name)) => of_broker("producer", name),
            Some(forget_producer_request::Producer::Id(id)) => {
                of_broker("producer", ProducerId(*id).to_string())
            }
            None => of_broker("producer", ""),
        }
    }

    fn act(&self) -> Option<&'static str> {
        Some("forget a producer")
    }
}

impl Asks for ImportBegin {
    fn asks(&self) -> Vec<Need<'_>> {
        of_broker("topic", &self.topic)
    }

    fn act(&self) -> Option<&'static str> {
        Some("import records")
    }
}

impl Asks for CreateTokenRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        of_broker("token", &self.name)
    }

    fn act(&self) -> Option<&'static str> {
        Some("create a token")
    }
}

impl Asks for RevokeTokenRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        match &self.which {
            Some(revoke_token_request::Which::Name(name)) => of_broker("token", name),
            Some(revoke_token_request::Which::Id(id)) => of_broker("token", format!("{id:016x}")),
            None => of_broker("token", ""),
        }
    }

    fn act(&self) -> Option<&'static str> {
        Some("revoke tokens")
    }
}

/// Implements [`Asks`] for requests that everybody may send: their answers hold only what the
/// caller may see.
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
    LimitsRequest,
}

impl Asks for OpenProducerRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        match self.name.is_empty() {
            true => vec![appends()],
            false => vec![appends_as(&self.name)],
        }
    }
}

impl Asks for DescribeTopicRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        vec![sees(&self.name)]
    }
}

impl Asks for JoinGroup {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, group(&self.group))];
        for name in &self.topics {
            needs.push(may(Operation::Read, topic(name)));
        }
        for prefix in &self.topic_prefixes {
            needs.push(may(Operation::Read, Resource::TopicsWith(prefix.into())));
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
        let mut needs = vec![may(Operation::Group, group(&self.group))];
        needs.extend(commits(self.offsets.iter().map(|offset| &*offset.topic)));
        needs
    }
}

impl Asks for FetchOffsetsRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, group(&self.group))];
        if !self.topic.is_empty() {
            needs.push(sees(&self.topic));
        }
        needs
    }
}

impl Asks for ResetGroupRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        let mut needs = vec![may(Operation::Group, group(&self.group))];
        needs.extend(commits(self.topics.iter().map(|topic| &**topic)));
        match &self.to {
            Some(To::FromGroup(name)) => {
                needs.push(may(Operation::Group, group(name)));
            }
            Some(To::Offsets(offsets)) => needs.extend(offsets.asks()),
            Some(To::Position(_) | To::Shift(_)) | None => {}
        }
        needs
    }

    fn act(&self) -> Option<&'static str> {
        (!self.dry_run).then_some("reset a group")
    }
}

impl Asks for ForkGroupRequest {
    fn asks(&self) -> Vec<Need<'_>> {
        vec![
            may(Operation::Group, group(&self.group)),
            may(Operation::Group, group(&self.new_group)),
        ]
    }

    fn act(&self) -> Option<&'static str> {
        Some("fork a group")
    }
}
