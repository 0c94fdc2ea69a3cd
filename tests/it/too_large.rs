//! What is too large is refused, and the error says how much it was and how much is allowed.

use bytes::Bytes;
use prost::Message;
use taffrail::{
    proto::{
        CreateTopicRequest, FetchOffsetsRequest, Filter, GetLatestRequest, Header,
        OpenProducerRequest, ReadRequest, Record,
        entities_client::EntitiesClient,
        groups_client::GroupsClient,
        log_client::LogClient,
        topics_client::TopicsClient,
        wire::{AppendBatch, AppendRequest},
    },
    testing::TestBroker,
};
use tonic::Status;

use super::raw::info;

fn name(len: usize) -> String {
    "x".repeat(len)
}

fn bytes_of(len: usize) -> Bytes {
    vec![b'x'; len].into()
}

/// An append of this record.
fn append(record: &Record) -> AppendRequest {
    let batch = AppendBatch {
        topic: "t".to_owned(),
        records: vec![record.encode_to_vec().into()],
        ..AppendBatch::default()
    };
    AppendRequest {
        batches: vec![batch.encode_to_vec().into()],
        ..AppendRequest::default()
    }
}

/// Records in which something is too large, with its size and the limit.
fn records() -> Vec<(Record, usize, usize)> {
    let header = Header {
        name: "n".to_owned(),
        ..Header::default()
    };
    let long_header = Header {
        name: name(256),
        ..Header::default()
    };
    vec![
        (
            Record {
                key: Some(bytes_of(65_536)),
                ..Record::default()
            },
            65_536,
            65_535,
        ),
        (
            Record {
                r#type: name(256),
                ..Record::default()
            },
            256,
            255,
        ),
        (
            Record {
                event_id: bytes_of(65),
                ..Record::default()
            },
            65,
            64,
        ),
        (
            Record {
                headers: vec![header; 70],
                ..Record::default()
            },
            70,
            64,
        ),
        (
            Record {
                headers: vec![long_header],
                ..Record::default()
            },
            256,
            255,
        ),
    ]
}

fn says(status: &Status, size: usize, limit: usize) {
    let message = status.message();
    assert!(message.contains(&size.to_string()), "{size}: {message}");
    assert!(message.contains(&limit.to_string()), "{limit}: {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_which_something_is_too_large_is_refused_with_its_size_and_the_limit() {
    let broker = TestBroker::start().await;
    let mut topics = TopicsClient::new(broker.channel());
    let create = CreateTopicRequest {
        name: "t".to_owned(),
        ..CreateTopicRequest::default()
    };
    topics.create(create).await.expect("it is new");
    let mut log = LogClient::new(broker.channel());
    for (record, size, limit) in records() {
        let status = log.append(append(&record)).await.expect_err("too large");
        says(&status, size, limit);
        let metadata = info(&status).metadata;
        assert_eq!(metadata["bytes"], size.to_string());
        assert_eq!(metadata["limit"], limit.to_string());
    }
    let large = Record {
        value: Some(bytes_of(1 << 20)),
        ..Record::default()
    };
    let status = log.append(append(&large)).await.expect_err("too large");
    let info = info(&status);
    assert_eq!(info.reason, "RECORD_TOO_LARGE");
    says(
        &status,
        info.metadata["bytes"].parse().expect("a number"),
        1 << 20,
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_too_much_of_something_is_refused_with_how_much_and_the_limit() {
    let broker = TestBroker::start().await;
    let channel = broker.channel();
    let mut topics = TopicsClient::new(channel.clone());
    let create = CreateTopicRequest {
        name: name(250),
        ..CreateTopicRequest::default()
    };
    says(
        &topics.create(create).await.expect_err("too long"),
        250,
        249,
    );

    let mut log = LogClient::new(channel.clone());
    let open = OpenProducerRequest { name: name(300) };
    says(
        &log.open_producer(open).await.expect_err("too long"),
        300,
        255,
    );
    let read = ReadRequest {
        topic: "t".to_owned(),
        filter: Some(Filter {
            types: vec![String::new(); 1_001],
            ..Filter::default()
        }),
        ..ReadRequest::default()
    };
    says(&log.read(read).await.expect_err("too many"), 1_001, 1_000);
    let batch = AppendBatch {
        topic: "t".to_owned(),
        ..AppendBatch::default()
    };
    let batches = AppendRequest {
        batches: vec![batch.encode_to_vec().into(); 1_001],
        ..AppendRequest::default()
    };
    says(
        &log.append(batches).await.expect_err("too many"),
        1_001,
        1_000,
    );

    let mut entities = EntitiesClient::new(channel.clone());
    let latest = GetLatestRequest {
        topic: "t".to_owned(),
        keys: vec![bytes_of(1); 1_001],
        max_response_bytes: 0,
    };
    says(
        &entities.get_latest(latest).await.expect_err("too many"),
        1_001,
        1_000,
    );
    let large = GetLatestRequest {
        topic: "t".to_owned(),
        keys: vec![bytes_of(65_535); 65],
        max_response_bytes: 0,
    };
    let size = large.encoded_len();
    says(
        &entities.get_latest(large).await.expect_err("too large"),
        size,
        4 << 20,
    );

    let mut groups = GroupsClient::new(channel);
    let fetch = FetchOffsetsRequest {
        group: name(256),
        ..FetchOffsetsRequest::default()
    };
    says(
        &groups.fetch_offsets(fetch).await.expect_err("too long"),
        256,
        255,
    );
}
