//! Responses of calls other than reads, whose clients take nothing.

use std::{collections::BTreeMap, time::Duration};

use h2::RecvStream;
use prost::Message as _;
use tokio::task::yield_now;
use tonic::Code;

use super::reads::{PATIENCE, SOCKET_BYTES, World, fill, reason, take_all, takes_nothing};
use crate::{
    budget::Sizes,
    proto::{self, Record, wire},
    server::limits,
};

/// Begins a call whose response has at least 240 bytes for each of this many topics.
async fn list_topics(world: &mut World, count: usize) -> RecvStream {
    for number in 0..count {
        let name = format!("{number:0240}");
        let created = world.broker.create_topic(&name, 1, &BTreeMap::new());
        created.expect("a good name").await.expect("nothing fails");
    }
    let list = proto::ListTopicsRequest {
        page_size: 1_000,
        ..proto::ListTopicsRequest::default()
    };
    let answer = world.call("/taffrail.v1.Topics/List", &list).await;
    answer.expect("an answer").into_body()
}

#[tokio::test]
async fn an_answer_counts_until_its_client_has_taken_it() {
    let mut world = World::with(40 << 20, PATIENCE).await;
    let mut body = list_topics(&mut world, 50).await;
    let begun = fill(&mut body).await;
    assert!(world.used() > 50 * 240);
    let (messages, status) = take_all(begun, body).await;
    assert_eq!((status.code(), messages.len()), (Code::Ok, 1));
    world.until_used_is_at_most(0).await;
}

#[tokio::test]
async fn an_answer_counts_until_it_is_written() {
    let (broker, mut ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let (client, mut connection) = takes_nothing(ours.remove(0)).await;
    let mut world = World { broker, client };
    let topics = 2 * SOCKET_BYTES / 240;
    let body = tokio::select! {
        body = list_topics(&mut world, topics) => body,
        ended = &mut connection => panic!("{ended:?}"),
    };
    // By now the call would have ended if it was not kept.
    for _ in 0..100 {
        yield_now().await;
    }
    let written = SOCKET_BYTES + limits::SMALL_PIECES_BYTES;
    assert!(world.used() > topics * 240 - written);
    drop((body, connection));
}

#[tokio::test]
async fn an_answer_of_which_its_client_takes_nothing_is_ended() {
    let mut world = World::with(40 << 20, Duration::ZERO).await;
    let mut body = list_topics(&mut world, 50).await;
    let begun = fill(&mut body).await;
    world.until_used_is_at_most(0).await;
    let (messages, status) = take_all(begun, body).await;
    assert_eq!(messages.len(), 0, "a part of it");
    let stalled = (Code::Unavailable, "ANSWER_STALLED".to_owned());
    assert_eq!(reason(&status), stalled);
    world.until_used_is_at_most(0).await;
}

#[tokio::test]
async fn an_append_whose_answer_is_not_taken_has_an_unknown_outcome() {
    for path in ["Append", "AppendStream"] {
        let mut world = World::with(40 << 20, Duration::ZERO).await;
        let record = Record {
            key: Some("a".into()),
            ..Record::default()
        };
        let batch = wire::AppendBatch {
            topic: "t".into(),
            partition: None,
            sequence: None,
            topic_id: String::new(),
            records: vec![record.encode_to_vec().into(); 4_000],
        };
        let request = wire::AppendRequest {
            batches: vec![batch.encode_to_vec().into()],
            return_versions: true,
            group_offsets: Vec::new(),
            ..wire::AppendRequest::default()
        };
        let path = format!("/taffrail.v1.Log/{path}");
        let answer = world.call(&path, &request).await.expect("an answer");
        let mut body = answer.into_body();
        let begun = fill(&mut body).await;
        world.until_used_is_at_most(0).await;
        let (_, status) = take_all(begun, body).await;
        assert_eq!(reason(&status).1, "OUTCOME_UNKNOWN", "{path}");
    }
}
