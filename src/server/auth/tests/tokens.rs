//! Callers with tokens.

use std::time::Duration;

use prost::Message;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use super::guarded::{Guarded, grant};
use crate::{
    broker::WhichTokens,
    proto::{
        AppendStreamResponse, ConsumeRequest, CreateTokenRequest, Credit, DescribeTopicRequest,
        JoinGroup, Position, ReadRequest, consume_request, groups_client::GroupsClient,
        health::HealthCheckRequest, log_client::LogClient, position, wire,
    },
    server::auth::Operation::{Append, Group, Read},
};

const DESCRIBE: &str = "/taffrail.v1.Topics/Describe";

/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Guarded {
    /// Makes a token that is valid for this long.
    pub(super) async fn token(&self, name: &str, life: Duration) -> String {
        let created = self.broker.create_access_token(name, life);
        created
            .expect("it is queued")
            .await
            .expect("there is room")
            .0
    }

    pub(super) async fn revoke(&self, name: &str) {
        let which = WhichTokens::Name(name.to_owned());
        let revoked = self.broker.revoke_access_tokens(&which);
        revoked.expect("it is queued").await.expect("it is there");
    }

    /// Describes a topic with this `authorization` header.
    pub(super) async fn describe(&self, topic: &str, authorization: &str) -> Result<(), Status> {
        let request = DescribeTopicRequest {
            name: topic.to_owned(),
        };
        let request = request.encode_to_vec();
        self.call_with(authorization, DESCRIBE, request)
            .await
            .map(drop)
    }

    /// Reads a topic and follows it, with a token.
    pub(super) async fn follow(&self, topic: &str, token: &str) -> Streaming<wire::ReadResponse> {
        let read = ReadRequest {
            topic: topic.to_owned(),
            start: Some(Position {
                at: Some(position::At::Offset(0)),
            }),
            follow: true,
            ..ReadRequest::default()
        };
        let read = LogClient::new(self.channel()).read(with(token, read)).await;
        read.expect("it is allowed").into_inner()
    }
}

pub(super) fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("it is text");
    request.metadata_mut().insert("authorization", value);
    request
}

/// The status that a stream ends with.
pub(super) async fn end<T>(answers: &mut Streaming<T>) -> Status {
    let ended = async {
        loop {
            match answers.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    };
    timeout(PATIENCE, ended).await.expect("it ends")
}

pub(super) fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info();
    (
        status.code(),
        info.map(|info| info.reason).unwrap_or_default(),
    )
}

pub(super) fn unauthenticated(reason: &str) -> (Code, String) {
    (Code::Unauthenticated, reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_token_may_do_what_its_name_is_granted() {
    let guarded = Guarded::start(&["a", "b"]).await;
    guarded.grant([grant("token:reader", &[Read], &["a"])]);
    let reader = guarded.token("reader", YEAR).await;
    let other = guarded.token("other", YEAR).await;
    let bearer = |token: &str| format!("Bearer {token}");
    guarded
        .describe("a", &bearer(&reader))
        .await
        .expect("it is allowed");
    for (topic, token) in [("b", &reader), ("a", &other)] {
        let denied = guarded.describe(topic, &bearer(token)).await;
        let denied = denied.expect_err("it is not allowed");
        assert_eq!(denied.code(), Code::PermissionDenied);
    }
    let again = guarded.token("reader", YEAR).await;
    assert_ne!(again, reader, "several may have one name");
    guarded
        .describe("a", &format!("bearer {again}"))
        .await
        .expect("schemes have no case");
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_right_is_refused_where_nobody_needs_one() {
    let guarded = Guarded::start(&["a"]).await;
    let token = guarded.token("reader", YEAR).await;
    guarded
        .describe("a", &format!("Bearer {token}"))
        .await
        .expect("it is right");
    let mut wrong = token.clone();
    let last = wrong.pop().expect("it is no empty text");
    wrong.push(if last == '0' { '1' } else { '0' });
    let mut absent = token.clone();
    let first = if absent.starts_with("taffrail_0") {
        "1"
    } else {
        "0"
    };
    absent.replace_range(9..10, first);
    let short = &token[..token.len() - 1];
    let cases = [
        (format!("Bearer {wrong}"), "TOKEN_UNKNOWN"),
        (format!("Bearer {absent}"), "TOKEN_UNKNOWN"),
        (format!("Bearer {short}"), "TOKEN_MALFORMED"),
        (
            format!("Bearer {}", token.to_uppercase()),
            "TOKEN_MALFORMED",
        ),
        (format!("Basic {token}"), "TOKEN_MALFORMED"),
        (token.clone(), "TOKEN_MALFORMED"),
        ("Bearer ".to_owned(), "TOKEN_MALFORMED"),
        (String::new(), "TOKEN_MALFORMED"),
    ];
    for (authorization, expected) in cases {
        let refused = guarded.describe("a", &authorization).await;
        let refused = refused.expect_err("it is not right");
        assert_eq!(
            reason(&refused),
            unauthenticated(expected),
            "{authorization:?}"
        );
    }
    let health = HealthCheckRequest::default().encode_to_vec();
    let health = guarded
        .call_with("Bearer x", "/grpc.health.v1.Health/Check", health)
        .await;
    health.expect("everybody may ask for it");
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_or_has_expired_counts_no_more() {
    let guarded = Guarded::start(&["a"]).await;
    let token = guarded.token("one", YEAR).await;
    guarded.revoke("one").await;
    let refused = guarded.describe("a", &format!("Bearer {token}")).await;
    let refused = refused.expect_err("it was revoked");
    assert_eq!(reason(&refused), unauthenticated("TOKEN_UNKNOWN"));
    let token = guarded.token("two", Duration::from_secs(1)).await;
    let expired = async {
        loop {
            match guarded.describe("a", &format!("Bearer {token}")).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(50)).await,
                Err(refused) => return refused,
            }
        }
    };
    let refused = timeout(PATIENCE, expired).await.expect("it expires");
    assert_eq!(reason(&refused), unauthenticated("TOKEN_EXPIRED"));
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_loses_its_streams_and_no_other_does() {
    let guarded = Guarded::start(&["a"]).await;
    let (one, other) = (
        guarded.token("one", YEAR).await,
        guarded.token("other", YEAR).await,
    );
    let mut read = guarded.follow("a", &one).await;
    let mut kept = guarded.follow("a", &other).await;
    let requests = tokio_stream::pending::<wire::AppendRequest>();
    let appends = LogClient::new(guarded.channel())
        .append_stream(with(&one, requests))
        .await;
    let mut appends: Streaming<AppendStreamResponse> = appends.expect("it is open").into_inner();
    let join = ConsumeRequest {
        message: Some(consume_request::Message::Join(JoinGroup {
            group: "g".to_owned(),
            topics: vec!["a".to_owned()],
            credit: Some(Credit {
                records: 1,
                bytes: 1,
            }),
            ..JoinGroup::default()
        })),
    };
    let requests = tokio_stream::once(join).chain(tokio_stream::pending());
    let member = GroupsClient::new(guarded.channel())
        .consume(with(&one, requests))
        .await;
    let mut member = member.expect("it has joined").into_inner();
    guarded.revoke("one").await;
    let unknown = unauthenticated("TOKEN_UNKNOWN");
    assert_eq!(reason(&end(&mut read).await), unknown);
    assert_eq!(reason(&end(&mut appends).await), unknown);
    assert_eq!(reason(&end(&mut member).await), unknown);
    // The reader with the other token still gets new records.
    let client = guarded.client().await;
    let record = [crate::client::Record::new().value("x")];
    let appended = client.append(crate::client::Batch::of("a", record)).await;
    appended.expect("everybody may");
    let told = async {
        while kept
            .message()
            .await
            .expect("it goes on")
            .expect("it goes on")
            .next_offset
            == 0
        {}
    };
    timeout(PATIENCE, told).await.expect("it is told");
    guarded.stop().await;
}

/// Makes a call whose message is sent when this has resolved.
async fn late(
    guarded: &Guarded,
    token: &str,
    (path, message): (&'static str, Vec<u8>),
    before: impl Future<Output = ()>,
) -> Result<Option<Vec<u8>>, Status> {
    let (sender, messages) = mpsc::channel(1);
    let call = guarded.make(path, with(token, ReceiverStream::new(messages)));
    let send = async {
        // The call was received before this one, which uses the same connection.
        let shown = format!("Bearer {token}");
        guarded.describe("a", &shown).await.expect("it counts");
        before.await;
        sender.send(message).await.expect("it is waited for");
        drop(sender);
    };
    tokio::join!(call, send).0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_message_comes_when_its_token_was_revoked_does_nothing() {
    let guarded = Guarded::start(&["a"]).await;
    let create = CreateTokenRequest {
        name: "mine".to_owned(),
        ..CreateTokenRequest::default()
    };
    let batch = wire::AppendBatch {
        topic: "a".to_owned(),
        records: vec![Vec::new().into()],
        ..wire::AppendBatch::default()
    };
    let append = wire::AppendRequest {
        batches: vec![batch.encode_to_vec().into()],
        ..wire::AppendRequest::default()
    };
    for (path, message) in [
        ("/taffrail.v1.Tokens/Create", create.encode_to_vec()),
        ("/taffrail.v1.Log/Append", append.encode_to_vec()),
        ("/taffrail.v1.Broker/Status", Vec::new()),
    ] {
        let token = guarded.token("one", YEAR).await;
        let late = late(&guarded, &token, (path, message), guarded.revoke("one")).await;
        let refused = late.expect_err("it was revoked");
        assert_eq!(reason(&refused), unauthenticated("TOKEN_UNKNOWN"), "{path}");
    }
    let described = guarded.broker.describe_topic("a").expect("it is there");
    assert_eq!(described.1[0].high_watermark.0, 0);
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_loses_its_streams() {
    let guarded = Guarded::start(&["a"]).await;
    let token = guarded.token("one", Duration::from_secs(1)).await;
    let mut read = guarded.follow("a", &token).await;
    assert_eq!(
        reason(&end(&mut read).await),
        unauthenticated("TOKEN_EXPIRED")
    );
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_that_goes_takes_the_streams_that_need_it() {
    let guarded = Guarded::start(&["a", "b"]).await;
    let token = guarded.token("one", YEAR).await;
    let all = || grant("token:one", &[Read, Append, Group], &["*"]);
    guarded.grant([all()]);
    let (mut a, mut b) = (
        guarded.follow("a", &token).await,
        guarded.follow("b", &token).await,
    );
    let requests = tokio_stream::pending::<wire::AppendRequest>();
    let appends = LogClient::new(guarded.channel())
        .append_stream(with(&token, requests))
        .await;
    let mut appends = appends.expect("it is open").into_inner();
    guarded.grant([grant("token:one", &[Read], &["b"])]);
    for ended in [end(&mut a).await, end(&mut appends).await] {
        assert_eq!(
            reason(&ended),
            (Code::PermissionDenied, "PERMISSION_DENIED".to_owned())
        );
    }
    // The stream that is still allowed goes on; the next change of the grants ends it.
    guarded.grant([grant("token:other", &[Read], &["b"])]);
    assert_eq!(reason(&end(&mut b).await).0, Code::PermissionDenied);
    guarded.stop().await;
}
