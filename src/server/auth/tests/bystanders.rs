//! What is open to everybody, health and descriptors, keeps nobody else out.

use std::{num::NonZeroU64, time::Duration};

use tokio::time::timeout;
use tonic::{Code, Streaming, transport::Endpoint};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};

use super::guarded::{Guarded, grant};
use crate::{
    proto::health::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient},
    server::{
        Options,
        auth::{Auth, Exposure, Grants, NamePattern, Operation},
        quotas::{Limits, Quota, Rule, Rules},
    },
};

/// Longer than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Watches the broker's health over a connection of its own.
async fn watch(guarded: &Guarded) -> Result<Streaming<HealthCheckResponse>, tonic::Status> {
    let endpoint = Endpoint::from_shared(guarded.url.clone()).expect("it is an address");
    let channel = endpoint.connect().await.expect("it listens");
    let mut health = HealthClient::new(channel);
    let watch = health.watch(HealthCheckRequest::default()).await;
    let mut watch = watch?.into_inner();
    watch.message().await?.expect("it is told how it is");
    Ok(watch)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_only_watch_health_give_way_to_newcomers() {
    let limits = Options {
        max_connections: 2,
        idle: Duration::ZERO,
        ..Options::default()
    };
    let auth = Auth::new(Grants::default(), Exposure::Loopback);
    let guarded = Guarded::start_within(limits, auth, &["a"]).await;
    guarded.grant([grant("token:other", &Operation::ALL, &["*"])]);
    let _first = watch(&guarded).await.expect("everybody may");
    let _second = watch(&guarded).await.expect("everybody may");
    guarded.grant([grant("anonymous", &Operation::ALL, &["*"])]);
    let newcomer = async {
        let client = guarded.client().await;
        client.topics().describe("a").await.expect("it is let in");
    };
    timeout(PATIENCE, newcomer).await.expect("it is let in");
    guarded.stop().await;
}

fn one_stream_for_each() -> Rules {
    let mut limits = Limits::default();
    limits.set(Quota::Streams, NonZeroU64::MIN);
    Rules(vec![Rule {
        principals: vec![NamePattern::parse("*").expect("it is a pattern")],
        limits,
    }])
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_open_to_everybody_count_for_quotas() {
    let auth = Auth::new(Grants::default(), Exposure::Loopback);
    let guarded = Guarded::start_with(auth.with_quotas(one_stream_for_each()), &[]).await;
    let watched = watch(&guarded).await.expect("it is the first");
    let refused = watch(&guarded).await.expect_err("it is one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let mut reflection = ServerReflectionClient::new(guarded.channel());
    let mut reflect = async || {
        let requests = tokio_stream::pending::<ServerReflectionRequest>();
        reflection.server_reflection_info(requests).await
    };
    let refused = reflect().await.expect_err("it is one too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let mut health = HealthClient::new(guarded.channel());
    let check = health.check(HealthCheckRequest::default()).await;
    check.expect("whoever looks after the broker is answered");
    drop(watched);
    let opened = async {
        while reflect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, opened).await.expect("there is a place");
    guarded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_ends_when_its_token_is_revoked() {
    let guarded = Guarded::start(&["a"]).await;
    let token = guarded.token("one", PATIENCE).await;
    let mut reflection = ServerReflectionClient::new(guarded.channel());
    let requests = tokio_stream::pending::<ServerReflectionRequest>();
    let opened = reflection.server_reflection_info(super::tokens::with(&token, requests));
    let mut answers = opened.await.expect("it counts").into_inner();
    guarded.revoke("one").await;
    let ended = timeout(PATIENCE, answers.message()).await;
    let ended = ended.expect("it is cut").expect_err("the token is gone");
    assert_eq!(ended.code(), Code::Unauthenticated);
    guarded.stop().await;
}
