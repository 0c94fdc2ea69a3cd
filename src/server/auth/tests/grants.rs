//! What grants allow, without a server.

use tonic::{Code, Request, Status};
use tonic_types::StatusExt;

use super::{access_of, guarded::grant};
use crate::{
    broker::{Append, AppendBatch, Condition, Expected, GroupOffset},
    proto::{
        CommitOffsets, DescribeTopicRequest, FetchOffsetsRequest, JoinGroup, ReadRequest,
        ResetGroupRequest, reset_group_request,
    },
    server::auth::{
        Access, Auth, Exposure, Grant, Grants, NamePattern, Operation, Principal, permit,
    },
    types::{Offset, PartitionId},
};

const FROM_ELSEWHERE: &str = "192.0.2.1:5000";

fn access(grants: Vec<Grant>, exposure: Exposure, address: &str) -> Access {
    let auth = Auth::new(Grants::new(grants), exposure);
    access_of(auth, Principal::anonymous(), address)
}

/// The access of a caller who has been granted these operations on these names.
fn granted(operations: &[Operation], names: &[&str]) -> Access {
    let grants = vec![grant("anonymous", operations, names)];
    access(grants, Exposure::Loopback, "127.0.0.1:5000")
}

fn read(topic: &str) -> ReadRequest {
    ReadRequest {
        topic: topic.to_owned(),
        ..ReadRequest::default()
    }
}

fn append(topic: &str) -> Append {
    Append {
        batches: vec![AppendBatch {
            topic: topic.to_owned(),
            topic_id: None,
            partition: None,
            sequence: None,
            records: bytes::Bytes::new(),
        }],
        ..Append::default()
    }
}

fn join(topics: &[&str], prefixes: &[&str]) -> JoinGroup {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    JoinGroup {
        group: "g".to_owned(),
        topics: owned(topics),
        topic_prefixes: owned(prefixes),
        ..JoinGroup::default()
    }
}

fn resource(denied: Result<(), Status>) -> String {
    let status = denied.expect_err("it is not allowed");
    assert_eq!(status.code(), Code::PermissionDenied);
    let info = status.get_details_error_info().expect("it is ours");
    assert_eq!(info.reason, "PERMISSION_DENIED");
    assert_eq!(info.metadata["principal"], "anonymous");
    format!(
        "{} {}",
        info.metadata["operation"], info.metadata["resource"]
    )
}

#[test]
fn without_grants_all_on_this_machine_may_do_everything() {
    let local = access(Vec::new(), Exposure::Loopback, "127.0.0.1:5000");
    assert!(local.permit(&read("t")).is_ok());
    let local = access(Vec::new(), Exposure::Loopback, "[::ffff:127.0.0.1]:5000");
    assert!(local.permit(&read("t")).is_ok());
}

#[test]
fn without_grants_nobody_from_elsewhere_may_do_anything_unless_that_is_meant() {
    let elsewhere = access(Vec::new(), Exposure::Loopback, FROM_ELSEWHERE);
    assert_eq!(resource(elsewhere.permit(&read("t"))), "read topic \"t\"");
    let elsewhere = access(Vec::new(), Exposure::Everywhere, FROM_ELSEWHERE);
    assert!(elsewhere.permit(&read("t")).is_ok());
}

#[test]
fn a_grant_to_anybody_leaves_nothing_to_all_others() {
    let grants = || vec![grant("token:a", &[Operation::Read], &["*"])];
    for exposure in [Exposure::Loopback, Exposure::Everywhere] {
        let local = access(grants(), exposure, "127.0.0.1:5000");
        assert_eq!(resource(local.permit(&read("t"))), "read topic \"t\"");
    }
}

#[test]
fn administrators_on_the_machine_may_do_everything_whatever_is_granted() {
    let grants = vec![grant("token:a", &[Operation::Read], &["*"])];
    let auth = Auth::new(Grants::new(grants), Exposure::Loopback);
    let access = access_of(auth, Principal::local_admin(), "admin.sock");
    assert!(access.permit(&append("t")).is_ok());
    assert!(access.permit(&read("t")).is_ok());
}

#[test]
fn a_request_of_nobody_knows_whom_is_refused() {
    let request = Request::new(read("t"));
    let refused = permit(&request).map(drop).expect_err("no caller is known");
    assert_eq!(refused.code(), Code::Internal);
}

#[test]
fn patterns_are_names_or_how_names_begin() {
    let may = granted(&[Operation::Read], &["orders*", "payments"]);
    for topic in ["orders", "orders.eu", "payments"] {
        assert!(may.permit(&read(topic)).is_ok(), "{topic}");
    }
    for topic in ["order", "payments.eu", "payment", "Orders", "my-orders"] {
        assert!(may.permit(&read(topic)).is_err(), "{topic}");
    }
    for wrong in ["", "a*b", "*a", "**"] {
        assert_eq!(NamePattern::parse(wrong), None, "{wrong:?}");
    }
}

#[test]
fn each_topic_of_an_append_needs_its_grant() {
    let may = granted(&[Operation::Append], &["a"]);
    let mut two = append("a");
    two.batches.extend(append("b").batches);
    assert!(may.permit(&append("a")).is_ok());
    assert_eq!(resource(may.permit(&two)), "append topic \"b\"");
}

#[test]
fn conditions_are_about_topics_that_may_be_read_or_appended_to() {
    let about = |topic: &str| Append {
        conditions: vec![Condition {
            topic: topic.to_owned(),
            topic_id: None,
            expected: Expected::PartitionAt {
                partition: PartitionId(0),
                next: Offset(0),
            },
        }],
        ..append("a")
    };
    let grants = vec![
        grant("anonymous", &[Operation::Append], &["a"]),
        grant("anonymous", &[Operation::Read], &["b"]),
        grant(
            "anonymous",
            &[Operation::Erase, Operation::TopicAdmin],
            &["c"],
        ),
    ];
    let may = access(grants, Exposure::Loopback, "127.0.0.1:5000");
    assert!(may.permit(&about("a")).is_ok());
    assert!(may.permit(&about("b")).is_ok());
    assert_eq!(resource(may.permit(&about("c"))), "read topic \"c\"");
    assert_eq!(resource(may.permit(&about("d"))), "read topic \"d\"");
}

#[test]
fn offsets_in_an_append_need_the_group_and_topics_that_may_be_read() {
    let committing = |group: &str, topic: &str| Append {
        group_offsets: vec![(
            group.to_owned(),
            vec![GroupOffset {
                topic: topic.to_owned(),
                topic_id: None,
                partition: PartitionId(0),
                next_offset: Offset(0),
                metadata: bytes::Bytes::new(),
                generation: None,
                member: None,
            }],
        )],
        ..append("a")
    };
    let grants = vec![
        grant("anonymous", &[Operation::Append], &["a"]),
        grant("anonymous", &[Operation::Read], &["b"]),
        grant("anonymous", &[Operation::Group], &["g"]),
    ];
    let may = access(grants, Exposure::Loopback, "127.0.0.1:5000");
    assert!(may.permit(&committing("g", "b")).is_ok());
    assert_eq!(
        resource(may.permit(&committing("h", "b"))),
        "group group \"h\""
    );
    assert_eq!(
        resource(may.permit(&committing("g", "a"))),
        "read topic \"a\""
    );
}

#[test]
fn a_member_that_joins_by_prefix_may_read_all_that_begins_so() {
    let may = granted(&[Operation::Read, Operation::Group], &["g", "orders*", "a"]);
    for prefix in ["orders", "orders.", "orders.eu"] {
        assert!(may.permit(&join(&[], &[prefix])).is_ok(), "{prefix}");
    }
    for prefix in ["", "order", "a", "payments"] {
        let denied = resource(may.permit(&join(&[], &["orders", prefix])));
        let expected = format!("read all topics whose names begin with {prefix:?}");
        assert_eq!(denied, expected);
    }
    assert!(may.permit(&join(&["a", "orders.eu"], &[])).is_ok());
    assert_eq!(
        resource(may.permit(&join(&["a", "b"], &[]))),
        "read topic \"b\""
    );
}

#[test]
fn what_names_other_groups_and_topics_needs_them_too() {
    let may = granted(&[Operation::Read, Operation::Group], &["g", "t"]);
    let reset = |topics: &[&str], to| ResetGroupRequest {
        group: "g".to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        to: Some(to),
        ..ResetGroupRequest::default()
    };
    let to = |group: &str| reset_group_request::To::FromGroup(group.to_owned());
    assert!(may.permit(&reset(&["t"], to("g"))).is_ok());
    assert_eq!(
        resource(may.permit(&reset(&["u"], to("g")))),
        "read topic \"u\""
    );
    assert_eq!(
        resource(may.permit(&reset(&["t"], to("h")))),
        "group group \"h\""
    );
    let offsets = CommitOffsets {
        offsets: vec![crate::proto::GroupOffset {
            topic: "u".to_owned(),
            ..crate::proto::GroupOffset::default()
        }],
    };
    let to = reset_group_request::To::Offsets(offsets.clone());
    assert_eq!(resource(may.permit(&reset(&[], to))), "read topic \"u\"");
    assert_eq!(resource(may.permit(&offsets)), "read topic \"u\"");
    let fetch = FetchOffsetsRequest {
        group: "g".to_owned(),
        topic: "u".to_owned(),
        ..FetchOffsetsRequest::default()
    };
    assert_eq!(resource(may.permit(&fetch)), "read topic \"u\"");
}

#[test]
fn whoever_may_do_anything_with_a_topic_may_see_it() {
    let describe = |name: &str| DescribeTopicRequest {
        name: name.to_owned(),
    };
    let of_topics = [
        Operation::Read,
        Operation::Append,
        Operation::Erase,
        Operation::TopicAdmin,
    ];
    for operation in of_topics {
        let may = granted(&[operation], &["t"]);
        assert!(may.permit(&describe("t")).is_ok(), "{operation:?}");
        assert!(may.permit(&describe("u")).is_err(), "{operation:?}");
    }
    for operation in [Operation::Group, Operation::Admin] {
        let may = granted(&[operation], &["t"]);
        assert!(may.permit(&describe("t")).is_err(), "{operation:?}");
    }
}
