//! Every call of the API, made in every role: it is allowed to those whose grants permit it, and to
//! nobody else.

use std::{collections::BTreeSet, time::Duration};

use prost::Message;
use prost_types::FileDescriptorSet;
use tonic::{Code, Status};

use super::{
    guarded::{Guarded, grant},
    trail::read_from_start,
};
use crate::{
    proto::{
        self, AcceptClockRequest, AddPartitionsRequest, AdvanceRequest, AlterTopicRequest,
        AppendStreamResponse, BackupRequest, CommitRequest, CompactRequest, CrashRequest,
        CreateTokenRequest, CreateTopicRequest, Credit, DeleteGroupRequest, DeleteTopicRequest,
        DescribeErasureRequest, DescribeGroupRequest, DescribeTopicRequest, Edge, EraseKeyRequest,
        FetchOffsetsRequest, ForgetProducerRequest, ForkGroupRequest, GetClockRequest,
        GetLatestRequest, GroupOffset, ImportBegin, JoinGroup, LimitsRequest, ListGroupsRequest,
        ListOffsetsRequest, ListProducersRequest, ListTokensRequest, ListTopicsRequest,
        OpenProducerRequest, Position, ReadKeyRequest, ReadRequest, RemoveMemberRequest,
        ResetGroupRequest, RevokeTokenRequest, StatusRequest, TrimKeyRequest, TrimRequest,
        append_stream_response::Outcome, consume_request, health::HealthCheckRequest, position,
        reset_group_request, wire,
    },
    server::auth::{Auth, Exposure, Grant, Grants, Operation},
    types::TopicName,
};

/// The callers. Those without a comment have the operation that they are named after, on the names
/// in the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Without any grant.
    Nobody,
    /// All operations but `admin`, on other names.
    Elsewhere,
    Reader,
    Appender,
    /// `group`, without `read`.
    Grouper,
    /// `group`, and `read` of the topic.
    Member,
    Eraser,
    TopicAdmin,
    Admin,
}

use Role::{Admin, Appender, Elsewhere, Eraser, Grouper, Member, Nobody, Reader, TopicAdmin};

const ROLES: [Role; 9] = [
    Nobody, Elsewhere, Reader, Appender, Grouper, Member, Eraser, TopicAdmin, Admin,
];

impl Role {
    fn grant(self) -> Grant {
        let own = |operations: &[Operation]| grant("anonymous", operations, &["t", "g", "p"]);
        match self {
            Nobody => grant("token:another", &Operation::ALL, &["*"]),
            Elsewhere => grant("anonymous", &Operation::ALL[..5], &["t2*", "u", "h", "q"]),
            Reader => own(&[Operation::Read]),
            Appender => own(&[Operation::Append]),
            Grouper => own(&[Operation::Group]),
            Member => own(&[Operation::Group, Operation::Read]),
            Eraser => own(&[Operation::Erase]),
            TopicAdmin => own(&[Operation::TopicAdmin]),
            Admin => own(&[Operation::Admin]),
        }
    }
}

const READERS: &[Role] = &[Reader, Member];
const SEE_THE_TOPIC: &[Role] = &[Reader, Appender, Member, Eraser, TopicAdmin];
const MEMBERS: &[Role] = &[Member];
const OF_THE_GROUP: &[Role] = &[Grouper, Member];
const ADMINS: &[Role] = &[Admin];

/// The path of a call, a request for it, and the roles that may make it.
type Row = (&'static str, Vec<u8>, &'static [Role]);

fn t() -> String {
    "t".to_owned()
}

fn g() -> String {
    "g".to_owned()
}

fn row(path: &'static str, request: &impl Message, may: &'static [Role]) -> Row {
    (path, request.encode_to_vec(), may)
}

fn earliest() -> Position {
    Position {
        at: Some(position::At::Edge(Edge::Earliest.into())),
    }
}

fn of_log() -> Vec<Row> {
    let batch = wire::AppendBatch {
        topic: t(),
        records: vec![Vec::new().into()],
        ..wire::AppendBatch::default()
    };
    let append = wire::AppendRequest {
        batches: vec![batch.encode_to_vec().into()],
        ..wire::AppendRequest::default()
    };
    let open = OpenProducerRequest {
        name: "p".to_owned(),
    };
    let read = ReadRequest {
        topic: t(),
        start: Some(earliest()),
        ..ReadRequest::default()
    };
    let list = ListOffsetsRequest {
        topic: t(),
        position: Some(earliest()),
        ..ListOffsetsRequest::default()
    };
    vec![
        row("/taffrail.v1.Log/Append", &append, &[Appender]),
        row("/taffrail.v1.Log/AppendStream", &append, &[Appender]),
        row("/taffrail.v1.Log/OpenProducer", &open, &[Appender]),
        row("/taffrail.v1.Log/Read", &read, READERS),
        row("/taffrail.v1.Log/ListOffsets", &list, READERS),
    ]
}

fn of_topics() -> Vec<Row> {
    let name = t();
    let create = CreateTopicRequest {
        name: t(),
        ..CreateTopicRequest::default()
    };
    let alter = AlterTopicRequest {
        name: t(),
        ..AlterTopicRequest::default()
    };
    let add = AddPartitionsRequest {
        topic: t(),
        partitions: 2,
        ..AddPartitionsRequest::default()
    };
    let trim = TrimRequest {
        topic: t(),
        ..TrimRequest::default()
    };
    let compact = CompactRequest {
        topic: t(),
        ..CompactRequest::default()
    };
    let describe = DescribeTopicRequest { name: name.clone() };
    let delete = DeleteTopicRequest { name };
    let list = ListTopicsRequest::default();
    vec![
        row("/taffrail.v1.Topics/Create", &create, &[TopicAdmin]),
        row("/taffrail.v1.Topics/Alter", &alter, &[TopicAdmin]),
        row("/taffrail.v1.Topics/AddPartitions", &add, &[TopicAdmin]),
        row("/taffrail.v1.Topics/Trim", &trim, &[TopicAdmin]),
        row("/taffrail.v1.Topics/Compact", &compact, &[TopicAdmin]),
        row("/taffrail.v1.Topics/Describe", &describe, SEE_THE_TOPIC),
        row("/taffrail.v1.Topics/List", &list, &ROLES),
        row("/taffrail.v1.Topics/Delete", &delete, &[TopicAdmin]),
    ]
}

fn of_entities() -> Vec<Row> {
    let (topic, key) = (t(), bytes::Bytes::from_static(b"k"));
    let read = ReadKeyRequest {
        topic: t(),
        key: key.clone(),
        ..ReadKeyRequest::default()
    };
    let latest = GetLatestRequest {
        topic: t(),
        keys: vec![key.clone()],
        max_response_bytes: 0,
    };
    let trim = TrimKeyRequest {
        topic: t(),
        key: key.clone(),
        ..TrimKeyRequest::default()
    };
    let erase = EraseKeyRequest { topic, key };
    // What the caller may not see is answered as if it did not exist.
    let describe = DescribeErasureRequest { id: 7 };
    vec![
        row("/taffrail.v1.Entities/ReadKey", &read, READERS),
        row("/taffrail.v1.Entities/GetLatest", &latest, READERS),
        row("/taffrail.v1.Entities/TrimKey", &trim, &[Eraser]),
        row("/taffrail.v1.Entities/EraseKey", &erase, &[Eraser]),
        row("/taffrail.v1.Entities/DescribeErasure", &describe, &ROLES),
    ]
}

fn of_groups() -> Vec<Row> {
    let group = g();
    let join = JoinGroup {
        group: g(),
        topics: vec![t()],
        credit: Some(Credit {
            records: 1,
            bytes: 1,
        }),
        ..JoinGroup::default()
    };
    let consume = proto::ConsumeRequest {
        message: Some(consume_request::Message::Join(join)),
    };
    let commit = CommitRequest {
        group: g(),
        offsets: vec![GroupOffset {
            topic: t(),
            ..GroupOffset::default()
        }],
        force: false,
    };
    let fetch = FetchOffsetsRequest {
        group: g(),
        topic: String::new(),
        ..FetchOffsetsRequest::default()
    };
    let reset = ResetGroupRequest {
        group: g(),
        topics: vec![t()],
        to: Some(reset_group_request::To::Position(earliest())),
        ..ResetGroupRequest::default()
    };
    let fork = ForkGroupRequest {
        group: g(),
        new_group: g(),
        replay: false,
    };
    let describe = DescribeGroupRequest {
        group: group.clone(),
        ..DescribeGroupRequest::default()
    };
    let remove = RemoveMemberRequest {
        group: group.clone(),
        member_id: "1".to_owned(),
    };
    let delete = DeleteGroupRequest { group };
    let list = ListGroupsRequest::default();
    vec![
        row("/taffrail.v1.Groups/Consume", &consume, MEMBERS),
        row("/taffrail.v1.Groups/Commit", &commit, MEMBERS),
        row("/taffrail.v1.Groups/FetchOffsets", &fetch, OF_THE_GROUP),
        row("/taffrail.v1.Groups/List", &list, &ROLES),
        row("/taffrail.v1.Groups/Describe", &describe, OF_THE_GROUP),
        row("/taffrail.v1.Groups/Reset", &reset, MEMBERS),
        row("/taffrail.v1.Groups/Fork", &fork, OF_THE_GROUP),
        row("/taffrail.v1.Groups/RemoveMember", &remove, OF_THE_GROUP),
        row("/taffrail.v1.Groups/Delete", &delete, OF_THE_GROUP),
    ]
}

fn of_broker() -> Vec<Row> {
    let list = ListProducersRequest::default();
    let forget = ForgetProducerRequest::default();
    vec![
        row("/taffrail.v1.Broker/Status", &StatusRequest {}, ADMINS),
        row("/taffrail.v1.Broker/Limits", &LimitsRequest {}, &ROLES),
        row("/taffrail.v1.Broker/GetClock", &GetClockRequest {}, ADMINS),
        row(
            "/taffrail.v1.Broker/AcceptClock",
            &AcceptClockRequest {},
            ADMINS,
        ),
        row(
            "/taffrail.v1.Broker/Backup",
            &BackupRequest::default(),
            ADMINS,
        ),
        row("/taffrail.v1.Broker/ListProducers", &list, ADMINS),
        row("/taffrail.v1.Broker/ForgetProducer", &forget, ADMINS),
    ]
}

fn of_tokens() -> Vec<Row> {
    let create = CreateTokenRequest::default();
    let revoke = RevokeTokenRequest::default();
    vec![
        row("/taffrail.v1.Tokens/Create", &create, ADMINS),
        row("/taffrail.v1.Tokens/List", &ListTokensRequest {}, ADMINS),
        row("/taffrail.v1.Tokens/Revoke", &revoke, ADMINS),
    ]
}

fn of_admin() -> Vec<Row> {
    let advance = AdvanceRequest::default();
    let import = wire::ImportRecordsRequest {
        begin: Some(ImportBegin {
            topic: t(),
            ..ImportBegin::default()
        }),
        ..wire::ImportRecordsRequest::default()
    };
    vec![
        row("/taffrail.v1.Admin/ImportRecords", &import, ADMINS),
        row("/taffrail.v1.Admin/Crash", &CrashRequest {}, ADMINS),
        row("/taffrail.v1.Admin/Advance", &advance, ADMINS),
    ]
}

fn of_health() -> Vec<Row> {
    let check = HealthCheckRequest::default();
    vec![
        row("/grpc.health.v1.Health/Check", &check, &ROLES),
        row("/grpc.health.v1.Health/List", &check, &ROLES),
        row("/grpc.health.v1.Health/Watch", &check, &ROLES),
    ]
}

fn table() -> Vec<Row> {
    let services = [
        of_log(),
        of_topics(),
        of_entities(),
        of_groups(),
        of_broker(),
        of_tokens(),
        of_admin(),
        of_health(),
    ];
    services.concat()
}

/// The paths of all calls in the compiled descriptors.
fn described() -> BTreeSet<String> {
    let descriptors = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("they are descriptors");
    let mut paths = BTreeSet::new();
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                paths.insert(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    paths
}

/// Whether the caller was denied the call. A stream of appends goes on after a denial.
fn is_denied(path: &str, answer: Result<Option<Vec<u8>>, Status>) -> bool {
    match answer {
        Err(status) => status.code() == Code::PermissionDenied,
        Ok(Some(answer)) if path.ends_with("/AppendStream") => {
            let answer = AppendStreamResponse::decode(&*answer).expect("it is an answer");
            match answer.outcome {
                Some(Outcome::Refused(status)) => status.code == Code::PermissionDenied as i32,
                _ => false,
            }
        }
        Ok(_) => false,
    }
}

/// The calls that change nothing but logs and offsets: the audit log has none of them.
const NO_ACTS: [&str; 23] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/List",
    "/grpc.health.v1.Health/Watch",
    "/taffrail.v1.Broker/GetClock",
    "/taffrail.v1.Broker/Limits",
    "/taffrail.v1.Broker/ListProducers",
    "/taffrail.v1.Broker/Status",
    "/taffrail.v1.Entities/DescribeErasure",
    "/taffrail.v1.Entities/GetLatest",
    "/taffrail.v1.Entities/ReadKey",
    "/taffrail.v1.Groups/Commit",
    "/taffrail.v1.Groups/Consume",
    "/taffrail.v1.Groups/Describe",
    "/taffrail.v1.Groups/FetchOffsets",
    "/taffrail.v1.Groups/List",
    "/taffrail.v1.Log/Append",
    "/taffrail.v1.Log/AppendStream",
    "/taffrail.v1.Log/ListOffsets",
    "/taffrail.v1.Log/OpenProducer",
    "/taffrail.v1.Log/Read",
    "/taffrail.v1.Tokens/List",
    "/taffrail.v1.Topics/Describe",
    "/taffrail.v1.Topics/List",
];

#[tokio::test(flavor = "multi_thread")]
async fn every_act_is_in_the_audit_log() {
    let topic = TopicName::new("audit").expect("it is a name");
    let auth = Auth::new(Grants::default(), Exposure::Loopback).with_audit_topic(Some(topic));
    let guarded = Guarded::start_with(auth, &["t"]).await;
    let mut acts = 0;
    for (path, request, _) in table() {
        if !NO_ACTS.contains(&path) {
            acts += 1;
            // Whether it succeeds does not matter.
            guarded.call(path, request).await.ok();
        }
    }
    let client = guarded.client().await;
    let mut told = BTreeSet::new();
    let read = async {
        let mut reading = read_from_start(&client).await;
        while told.len() < acts {
            let record = reading.next_record().await.expect("it is read");
            let value = record.and_then(|record| record.value).expect("it has one");
            let value: serde_json::Value = serde_json::from_slice(&value).expect("it is JSON");
            told.insert(value["operation"].to_string());
        }
    };
    let read = tokio::time::timeout(Duration::from_secs(60), read).await;
    read.unwrap_or_else(|_| panic!("{acts} acts, and only these: {told:?}"));
    drop(client);
    guarded.stop().await;
}

#[test]
fn every_call_of_the_api_is_in_the_table() {
    let in_table = table().into_iter().map(|(path, ..)| path.to_owned());
    assert_eq!(in_table.collect::<BTreeSet<_>>(), described());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_call_is_allowed_to_whom_it_is_granted_and_to_nobody_else() {
    let guarded = Guarded::start(&["t"]).await;
    let mut wrong = Vec::new();
    for (path, request, may) in table() {
        for role in ROLES {
            guarded.grant([role.grant()]);
            let answer = guarded.call(path, request.clone()).await;
            let is_allowed = !is_denied(path, answer);
            if is_allowed != may.contains(&role) {
                wrong.push(format!("{path} by {role:?}: allowed {is_allowed}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    guarded.stop().await;
}
