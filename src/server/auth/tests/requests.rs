//! Answers to callers who may do some things and not others, over a connection.

use std::time::Duration;

use prost::Message;
use tonic::Code;

use super::guarded::{Guarded, grant};
use crate::{
    broker::{FetchOffsets, GroupOffset, TopicFilter},
    client::{Batch, Error, Record, Refusal},
    proto::{self, ListGroupsRequest, ListGroupsResponse, wire},
    server::{
        auth::{
            Auth, Exposure, Grants,
            Operation::{Admin, Append, Group, Read, TopicAdmin},
        },
        quotas::{Limits, Quota, Rule, Rules},
    },
    types::{Offset, PartitionId},
};

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>) -> Refusal {
    match answer.expect_err("it is not allowed") {
        Error::Refused(refusal) => *refusal,
        other => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_append_that_is_not_allowed_in_one_topic_nothing_is_stored() {
    let guarded = Guarded::start(&["a", "b"]).await;
    let client = guarded.client().await;
    guarded.grant([grant("anonymous", &[Append, Read], &["a"])]);
    let record = || [Record::new().value("x")];
    let both = [Batch::of("a", record()), Batch::of("b", record())];
    let refusal = refused(client.append(both).await);
    assert_eq!(refusal.reason, "PERMISSION_DENIED");
    assert_eq!(refusal.metadata["resource"], "topic \"b\"");
    // The client's stream of appends goes on after the refusal.
    let appended = client.append(Batch::of("a", record())).await;
    let appended = appended.expect("it is allowed");
    assert_eq!(
        appended.batches[0][0].first_offset.0, 0,
        "nothing was stored before"
    );
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forbidden_and_what_is_not_there_are_not_told_apart() {
    let guarded = Guarded::start(&["secret"]).await;
    guarded.grant([grant("anonymous", &[Read, Append, Group], &["a"])]);
    let client = guarded.client().await;
    let mut told = Vec::new();
    for topic in ["secret", "absent"] {
        let refusal = refused(client.topics().describe(topic).await);
        let read = refused(client.read(topic).open().await.map(drop));
        let named = |refusal: Refusal| format!("{refusal:?}").replace(topic, "NAME");
        told.push((named(refusal), named(read)));
    }
    assert_eq!(told[0], told[1]);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_what_may_be_seen_and_pages_are_full() {
    let topics = ["a1", "b1", "a2", "b2", "a3"];
    let guarded = Guarded::start(&topics).await;
    for group in ["a-group", "b-group"] {
        let offset = GroupOffset {
            topic: "a1".to_owned(),
            topic_id: None,
            partition: PartitionId(0),
            next_offset: Offset(0),
            metadata: bytes::Bytes::new(),
            generation: None,
            member: None,
        };
        let commit = guarded.broker.commit_offsets(group, vec![offset], false);
        commit.expect("it is queued").await.expect("it is made");
    }
    guarded.grant([grant("anonymous", &[Append, Group], &["a*"])]);
    let list = proto::ListTopicsRequest {
        page_size: 2,
        ..proto::ListTopicsRequest::default()
    };
    let answer = guarded.call("/taffrail.v1.Topics/List", list.encode_to_vec());
    let answer = answer.await.expect("it is allowed").expect("it is there");
    let page = proto::ListTopicsResponse::decode(&*answer).expect("it is an answer");
    let names: Vec<_> = page.topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!((names, page.more), (vec!["a1", "a2"], true));
    let list = ListGroupsRequest::default().encode_to_vec();
    let answer = guarded.call("/taffrail.v1.Groups/List", list).await;
    let answer = answer.expect("it is allowed").expect("it is there");
    let page = ListGroupsResponse::decode(&*answer).expect("it is an answer");
    let names: Vec<_> = page.groups.iter().map(|group| &*group.group).collect();
    assert_eq!((names, page.more), (vec!["a-group"], false));
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_commits_in_a_topic_that_it_may_not_read_is_ended() {
    let guarded = Guarded::start(&["a", "b"]).await;
    guarded.grant([grant("anonymous", &[Read, Group], &["a", "g"])]);
    let join = proto::JoinGroup {
        group: "g".to_owned(),
        topics: vec!["a".to_owned()],
        credit: Some(proto::Credit {
            records: 1,
            bytes: 1,
        }),
        ..proto::JoinGroup::default()
    };
    let commit = |topic: &str| proto::CommitOffsets {
        offsets: vec![proto::GroupOffset {
            topic: topic.to_owned(),
            ..proto::GroupOffset::default()
        }],
    };
    use proto::consume_request::Message::{Commit, Join};
    let messages = [Join(join), Commit(commit("b"))];
    let requests = messages.map(|message| proto::ConsumeRequest {
        message: Some(message),
    });
    let channel = guarded.channel();
    let mut groups = proto::groups_client::GroupsClient::new(channel);
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::iter(requests),
        tokio_stream::pending::<proto::ConsumeRequest>(),
    );
    let answers = groups.consume(requests).await.expect("it has joined");
    let mut answers = answers.into_inner();
    let ended = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                ended => return ended,
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    let ended = ended.expect("it is ended").expect_err("it is denied");
    assert_eq!(ended.code(), Code::PermissionDenied);
    guarded.stop().await;
}

fn next(topic: &str, offset: u64) -> GroupOffset {
    GroupOffset {
        topic: topic.to_owned(),
        topic_id: None,
        partition: PartitionId(0),
        next_offset: Offset(offset),
        metadata: bytes::Bytes::new(),
        generation: None,
        member: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn resets_and_forks_leave_topics_alone_that_their_caller_may_not_read() {
    let guarded = Guarded::start(&["open", "secret"]).await;
    let client = guarded.client().await;
    for topic in ["open", "secret"] {
        let appended = client.append(Batch::of(topic, [Record::new().value("x")]));
        appended.await.expect("everybody may");
    }
    for (group, in_secret) in [("g", 1), ("other", 0)] {
        let offsets = vec![next("open", 1), next("secret", in_secret)];
        let committed = guarded.broker.commit_offsets(group, offsets, false);
        committed.expect("it is queued").await.expect("it is made");
    }
    let committed = |group: &str| {
        let fetch = FetchOffsets {
            group: group.to_owned(),
            topic: None,
            after: None,
            most: 10,
            among: TopicFilter::default(),
        };
        let fetched = guarded.broker.committed_offsets(&fetch);
        let mut offsets = Vec::new();
        for one in fetched.expect("it is there").0 {
            offsets.push((one.topic.to_string(), one.committed.next.0));
        }
        offsets.sort();
        offsets
    };
    let at = |open, secret| vec![("open".to_owned(), open), ("secret".to_owned(), secret)];
    guarded.grant([
        grant("anonymous", &[Group], &["g", "other", "new"]),
        grant("anonymous", &[Read], &["open"]),
    ]);
    let reset = |to| proto::ResetGroupRequest {
        group: "g".to_owned(),
        to: Some(to),
        ..proto::ResetGroupRequest::default()
    };
    use proto::reset_group_request::To::{FromGroup, Shift};
    let path = "/taffrail.v1.Groups/Reset";
    let back = guarded.call(path, reset(Shift(-1)).encode_to_vec()).await;
    back.expect("it may be");
    assert_eq!(committed("g"), at(0, 1));
    let from = FromGroup("other".to_owned());
    let from = guarded.call(path, reset(from).encode_to_vec()).await;
    from.expect("it may be");
    assert_eq!(committed("g"), at(1, 1));
    let fork = proto::ForkGroupRequest {
        group: "g".to_owned(),
        new_group: "new".to_owned(),
        replay: false,
    };
    let fork = guarded.call("/taffrail.v1.Groups/Fork", fork.encode_to_vec());
    fork.await.expect("it may be");
    assert_eq!(committed("new"), [("open".to_owned(), 1)]);
    drop(client);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_with_a_name_is_used_by_those_alone_who_may_open_it() {
    let guarded = Guarded::start(&["a"]).await;
    let opened = guarded.broker.open_producer("orders", None);
    let named = opened.expect("it is queued").await.expect("there is room");
    let opened = guarded.broker.open_producer("", None);
    let nameless = opened.expect("it is queued").await.expect("there is room");
    let append = |producer: crate::broker::Producer| {
        let batch = wire::AppendBatch {
            topic: "a".to_owned(),
            sequence: Some(0),
            partition: Some(0),
            records: vec![Vec::new().into()],
            ..wire::AppendBatch::default()
        };
        let append = wire::AppendRequest {
            batches: vec![batch.encode_to_vec().into()],
            producer: Some(proto::Producer {
                id: producer.id.0,
                epoch: producer.epoch,
            }),
            ..wire::AppendRequest::default()
        };
        guarded.call("/taffrail.v1.Log/Append", append.encode_to_vec())
    };
    guarded.grant([grant("anonymous", &[Append], &["a"])]);
    let refused = append(named).await.expect_err("its name is not granted");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(!refused.message().contains("orders"), "{refused:?}");
    append(nameless).await.expect("it belongs to nobody");
    guarded.grant([grant("anonymous", &[Append], &["a", "orders"])]);
    append(named).await.expect("its name is granted");
    guarded.stop().await;
}

/// The messages of a member that commits this many times in topic `a`.
fn committing(times: usize) -> impl tokio_stream::Stream<Item = proto::ConsumeRequest> {
    use proto::consume_request::Message::{Commit, Join};
    let join = proto::JoinGroup {
        group: "g".to_owned(),
        topics: vec!["a".to_owned(), "hidden".to_owned()],
        credit: Some(proto::Credit {
            records: 1,
            bytes: 1,
        }),
        ..proto::JoinGroup::default()
    };
    let commit = proto::CommitOffsets {
        offsets: vec![proto::GroupOffset {
            topic: "a".to_owned(),
            generation: 1,
            ..proto::GroupOffset::default()
        }],
    };
    let mut messages = vec![Join(join)];
    messages.extend(vec![Commit(commit); times]);
    let requests = messages.into_iter().map(|message| proto::ConsumeRequest {
        message: Some(message),
    });
    tokio_stream::StreamExt::chain(
        tokio_stream::iter(requests),
        tokio_stream::pending::<proto::ConsumeRequest>(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_of_a_member_count_for_its_quotas() {
    let mut limits = Limits::default();
    limits.set(Quota::AppendBytes, std::num::NonZeroU64::MIN);
    let rules = Rules(vec![Rule {
        principals: grant("anonymous", &[], &[]).principals,
        limits,
    }]);
    let auth = Auth::new(Grants::default(), Exposure::Loopback).with_quotas(rules);
    let guarded = Guarded::start_with(auth, &["a"]).await;
    let mut groups = proto::groups_client::GroupsClient::new(guarded.channel());
    let answers = groups.consume(committing(2)).await.expect("it has joined");
    let mut answers = answers.into_inner();
    let ended = async {
        while answers.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    let ended = ended.expect("it is ended").expect_err("it is too much");
    assert_eq!(ended.code(), Code::ResourceExhausted);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_of_groups_names_nothing_that_is_hidden() {
    let guarded = Guarded::start(&["a", "secret"]).await;
    let client = guarded.client().await;
    for topic in ["a", "secret"] {
        let appended = client.append(Batch::of(topic, [Record::new().value("x")]));
        appended.await.expect("everybody may");
    }
    let offsets = vec![next("a", 0), next("secret", 0)];
    let committed = guarded.broker.commit_offsets("g", offsets, false);
    committed.expect("it is queued").await.expect("it is made");
    let token = guarded.token("one", Duration::from_secs(3_600)).await;
    let mut groups = proto::groups_client::GroupsClient::new(guarded.channel());
    let member = groups.consume(super::tokens::with(&token, committing(0)));
    let _member = member.await.expect("it has joined");
    guarded.grant([
        grant("token:one", &[Read, Group], &["*"]),
        grant("anonymous", &[Group], &["g"]),
        grant("anonymous", &[Read], &["a"]),
    ]);
    let list = ListGroupsRequest::default().encode_to_vec();
    let answer = guarded.call("/taffrail.v1.Groups/List", list).await;
    let answer = answer.expect("it is allowed").expect("it is there");
    let page = ListGroupsResponse::decode(&*answer).expect("it is an answer");
    assert_eq!((page.groups[0].partitions, page.groups[0].lag), (1, 1));
    let describe = proto::DescribeGroupRequest {
        group: "g".to_owned(),
        ..proto::DescribeGroupRequest::default()
    };
    let describe = guarded.call("/taffrail.v1.Groups/Describe", describe.encode_to_vec());
    let answer = describe.await.expect("it is allowed").expect("it is there");
    let group = proto::DescribeGroupResponse::decode(&*answer).expect("it is an answer");
    assert!(!group.reason.contains("hidden"), "{}", group.reason);
    assert_eq!(group.partitions.len(), 1);
    drop(client);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_that_hold_records_are_named_to_those_who_see_them() {
    let guarded = Guarded::start(&[]).await;
    let settings = [("retention.hold".to_owned(), "groups".to_owned())];
    let created = guarded.broker.create_topic("held", 1, &settings.into());
    created.expect("it is queued").await.expect("it is new");
    let client = guarded.client().await;
    let appended = client.append(Batch::of("held", [Record::new().value("x")]));
    appended.await.expect("everybody may");
    let committed = guarded
        .broker
        .commit_offsets("holder", vec![next("held", 0)], false);
    committed.expect("it is queued").await.expect("it is made");
    let trim = |dry_run, force| proto::TrimRequest {
        topic: "held".to_owned(),
        before_offset: 1,
        dry_run,
        force,
        ..proto::TrimRequest::default()
    };
    for (operations, is_named) in [(&[TopicAdmin][..], false), (&[TopicAdmin, Group], true)] {
        guarded.grant([grant("anonymous", operations, &["*"])]);
        let path = "/taffrail.v1.Topics/Trim";
        for dry_run in [false, true] {
            let trimmed = guarded
                .call(path, trim(dry_run, false).encode_to_vec())
                .await;
            let refused = trimmed.expect_err("a group holds it");
            assert_eq!(refused.code(), Code::ResourceExhausted);
            let told = String::from_utf8_lossy(refused.details()).into_owned();
            assert_eq!(told.contains("holder"), is_named, "{told}");
            assert_eq!(refused.message().contains("holder"), is_named);
        }
        let tried = guarded.call(path, trim(true, true).encode_to_vec()).await;
        let tried = tried.expect("it may be").expect("it is there");
        let tried = proto::TrimResponse::decode(&*tried).expect("it is an answer");
        let would_remove = tried.would_remove.expect("it is told");
        assert_eq!(would_remove.groups.len(), usize::from(is_named));
    }
    drop(client);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_grant_counts_from_the_next_call_on() {
    let guarded = Guarded::start(&["a"]).await;
    let client = guarded.client().await;
    guarded.grant([grant("anonymous", &[Admin], &["a"])]);
    refused(client.topics().describe("a").await);
    guarded.grant([grant("anonymous", &[Read], &["a"])]);
    client.topics().describe("a").await.expect("it is allowed");
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_behind_an_append_that_was_not_allowed() {
    let guarded = Guarded::start(&["a", "b"]).await;
    guarded.grant([grant("anonymous", &[Append], &["a"])]);
    let append = |topic: &str| {
        let batch = wire::AppendBatch {
            topic: topic.to_owned(),
            records: vec![Vec::new().into()],
            ..wire::AppendBatch::default()
        };
        wire::AppendRequest {
            batches: vec![batch.encode_to_vec().into()],
            ..wire::AppendRequest::default()
        }
    };
    let mut log = proto::log_client::LogClient::new(guarded.channel());
    let requests = tokio_stream::iter(["a", "b", "a"].map(append));
    let answers = log.append_stream(requests).await.expect("it is open");
    let mut answers = answers.into_inner();
    let mut outcomes = Vec::new();
    while let Some(answer) = answers.message().await.expect("it does not break") {
        use proto::append_stream_response::Outcome::{Appended, Refused};
        outcomes.push(match answer.outcome {
            Some(Appended(_)) => 0,
            Some(Refused(status)) => status.code,
            _ => -1,
        });
    }
    assert_eq!(outcomes, [0, Code::PermissionDenied as i32, 0]);
    guarded.stop().await;
}
