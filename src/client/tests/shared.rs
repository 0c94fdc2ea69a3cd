//! The append stream that all small appends of a connection share.

use std::time::Duration;

use prost::Message;
use tokio::{task::JoinSet, time};
use tonic::Code;

use super::producer::fake::{FakeBroker, Play, refusal};
use crate::{
    client::{Append, Client, Error, shared::SharedStream},
    proto::{self, wire::AppendBatch},
};

/// Longer than anything takes that is going to happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first append of this producer.
fn first_of(producer: u64, value: &str) -> Append {
    let record = proto::Record {
        value: Some(value.as_bytes().to_vec().into()),
        ..proto::Record::default()
    };
    let batch = AppendBatch {
        topic: "t".to_owned(),
        partition: Some(0),
        sequence: Some(0),
        records: vec![record.encode_to_vec().into()],
        ..AppendBatch::default()
    };
    let producer = proto::Producer {
        id: producer,
        epoch: 0,
    };
    Append::of_producer(vec![batch.encode_to_vec().into()], producer)
}

fn started(script: impl IntoIterator<Item = Play>) -> (FakeBroker, Client) {
    let (broker, client) = FakeBroker::start(script);
    (0..20).for_each(|producer| broker.know(producer));
    (broker, client)
}

#[tokio::test]
async fn appends_of_many_tasks_share_a_stream() {
    let (broker, client) = started([]);
    let mut tasks = JoinSet::new();
    for producer in 0..16 {
        let client = client.clone();
        tasks.spawn(async move { client.append(first_of(producer, "v")).await });
    }
    for appended in tasks.join_all().await {
        appended.expect("it is stored");
    }
    assert_eq!((broker.requests(), broker.streams()), (16, (1, 1)));
}

#[tokio::test]
async fn a_stream_that_is_not_used_ends_and_is_opened_again_when_there_is_something_to_append() {
    let (broker, mut client) = started([]);
    client.appends = SharedStream::that_ends_after(Duration::from_millis(1));
    for producer in 0..3 {
        let appended = client.append(first_of(producer, "v")).await;
        appended.expect("it is stored");
        let ended = async {
            while broker.streams().1 > 0 {
                time::sleep(Duration::from_millis(1)).await;
            }
        };
        time::timeout(PATIENCE, ended).await.expect("it ends");
    }
    assert_eq!((broker.requests(), broker.streams()), (3, (3, 0)));
}

#[tokio::test]
async fn an_append_that_ends_the_stream_takes_no_other_with_it() {
    let refuse = Play::Refuse(refusal(Code::InvalidArgument, "MALFORMED_REQUEST"));
    let (broker, client) = started([refuse]);
    let (first, second) = tokio::join!(
        client.append(first_of(1, "v")),
        client.append(first_of(2, "v"))
    );
    assert!(matches!(first, Err(Error::Refused(_))), "{first:?}");
    second.expect("it is stored");
    assert_eq!((broker.requests(), broker.streams().0), (2, 2));
}

#[tokio::test]
async fn a_stream_that_ended_before_is_opened_anew_and_says_what_keeps_it_from_that() {
    let stopping = || Play::Refuse(refusal(Code::Unavailable, "SHUTTING_DOWN"));
    let (_broker, client) = started([stopping()]);
    let stopped = client.append(first_of(1, "v")).await;
    assert!(
        matches!(stopped, Err(Error::Unavailable { .. })),
        "{stopped:?}"
    );
    client.append(first_of(1, "v")).await.expect("it is stored");
}
