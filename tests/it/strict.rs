//! Requests with anything that the broker does not understand are refused: ignoring it could
//! return, store or delete more than was meant.

use bytes::Bytes;
use prost::Message;
use taffrail::{
    client::{Error, NewTopic, Record},
    proto::{
        CreateTopicRequest, DeleteTopicRequest, EraseKeyRequest, ListOffsetsRequest,
        OpenProducerRequest, ReadKeyRequest, ReadRequest, TrimRequest, key_condition::State,
    },
    testing::TestBroker,
};
use tonic::Code;

use super::{
    grpc::call,
    raw::{batch, info, keyed, of_key, request},
};

type Outcome = Result<(), Error>;

/// An unknown field: number 1,007, a varint.
const UNKNOWN: &[u8] = b"\xf8\x3e\x01";

/// Encodes field `number` with this message.
fn holding(number: u8, message: &[u8]) -> Vec<u8> {
    let len = u8::try_from(message.len()).expect("it is short");
    [&[number << 3 | 2, len], message].concat()
}

/// A call, a request for it with an unknown field at its end or in a message within it, and, first,
/// the name of the message with the unknown field.
type Unknown = (&'static str, &'static str, Vec<u8>);

fn with(request: &impl Message, more: &[u8]) -> Vec<u8> {
    [&request.encode_to_vec()[..], more].concat()
}

fn appends() -> Vec<Unknown> {
    let append = |message, more: &[u8]| {
        let request = request([batch("t", &[keyed("k", "v")])]);
        (message, "/taffrail.v1.Log/Append", with(&request, more))
    };
    let condition = |message, more: &[u8]| {
        let condition = of_key("t", b"k", State::Exists(true));
        append(message, &holding(2, &with(&condition, more)))
    };
    let another_batch = [&b"\x0a\x01t"[..], UNKNOWN].concat();
    vec![
        append("AppendRequest", UNKNOWN),
        append("a batch", &holding(1, &another_batch)),
        append("Producer", &holding(3, UNKNOWN)),
        condition("Condition", UNKNOWN),
        condition("KeyCondition", &holding(2, UNKNOWN)),
        condition("PartitionCondition", &holding(3, UNKNOWN)),
    ]
}

fn reads() -> Vec<Unknown> {
    let read = |message, more: &[u8]| {
        let request = ReadRequest {
            topic: "t".to_owned(),
            ..ReadRequest::default()
        };
        (message, "/taffrail.v1.Log/Read", with(&request, more))
    };
    let list = |message, more: &[u8]| {
        let request = ListOffsetsRequest {
            topic: "t".to_owned(),
            ..ListOffsetsRequest::default()
        };
        (
            message,
            "/taffrail.v1.Log/ListOffsets",
            with(&request, more),
        )
    };
    let key = ReadKeyRequest {
        topic: "t".to_owned(),
        key: Bytes::from_static(b"k"),
        ..ReadKeyRequest::default()
    };
    vec![
        read("ReadRequest", UNKNOWN),
        read("Position", &holding(2, UNKNOWN)),
        read("PartitionPosition", &holding(3, UNKNOWN)),
        read("Position", &holding(3, &holding(2, UNKNOWN))),
        read("Filter", &holding(6, UNKNOWN)),
        list("ListOffsetsRequest", UNKNOWN),
        list("Position", &holding(2, UNKNOWN)),
        (
            "ReadKeyRequest",
            "/taffrail.v1.Entities/ReadKey",
            with(&key, UNKNOWN),
        ),
    ]
}

fn changes() -> Vec<Unknown> {
    let topic = || "t".to_owned();
    let create = |message, more: &[u8]| {
        let request = CreateTopicRequest {
            name: "u".to_owned(),
            ..CreateTopicRequest::default()
        };
        (message, "/taffrail.v1.Topics/Create", with(&request, more))
    };
    let trim = TrimRequest {
        topic: topic(),
        before_offset: 1,
        ..TrimRequest::default()
    };
    let erase = EraseKeyRequest {
        topic: topic(),
        key: Bytes::from_static(b"k"),
    };
    let delete = DeleteTopicRequest { name: topic() };
    let open = OpenProducerRequest::default();
    vec![
        create("CreateTopicRequest", UNKNOWN),
        create("SettingsEntry", &holding(3, UNKNOWN)),
        (
            "TrimRequest",
            "/taffrail.v1.Topics/Trim",
            with(&trim, UNKNOWN),
        ),
        (
            "DeleteTopicRequest",
            "/taffrail.v1.Topics/Delete",
            with(&delete, UNKNOWN),
        ),
        (
            "EraseKeyRequest",
            "/taffrail.v1.Entities/EraseKey",
            with(&erase, UNKNOWN),
        ),
        (
            "OpenProducerRequest",
            "/taffrail.v1.Log/OpenProducer",
            with(&open, UNKNOWN),
        ),
    ]
}

#[tokio::test]
async fn a_field_that_the_broker_does_not_know_is_refused_by_name_in_every_message() -> Outcome {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("t")).await?;
    client
        .append(taffrail::client::Batch::of(
            "t",
            [Record::new().key("k").value("v")],
        ))
        .await?;

    for (message, path, request) in [appends(), reads(), changes()].concat() {
        let answer = call(&broker.channel(), path, request).await;
        let status = answer.expect_err(message);
        assert_eq!(
            (status.code(), &*info(&status).reason),
            (Code::InvalidArgument, "MALFORMED_REQUEST"),
            "{message}: {status:?}"
        );
        let says = format!("field 1007 of {message} is unknown");
        assert!(status.message().contains(&says), "{message}: {status:?}");
    }

    let topics = client.topics().list().await?;
    assert_eq!(topics.len(), 1, "none was created or deleted");
    let (_, partitions) = client.topics().describe("t").await?;
    assert_eq!(
        (partitions[0].earliest.0, partitions[0].high_watermark.0),
        (0, 1),
        "nothing was trimmed, nothing appended"
    );
    let mut reading = client.entities().read("t", "k").open().await?;
    let batch = reading.next_batch().await?.expect("the record");
    let record = batch.owned_records().next().expect("the record")?;
    assert!(!record.erased, "nothing was erased");
    Ok(())
}

#[tokio::test]
async fn a_position_that_is_there_and_says_nothing_is_refused() -> Outcome {
    let broker = TestBroker::start().await;
    broker.client().topics().create(&NewTopic::new("t")).await?;
    // JavaScript's loader of .proto files sends `start: {}` for an edge given by its name, or an
    // offset that is undefined.
    let topic = b"\x0a\x01t";
    for (path, request) in [
        (
            "/taffrail.v1.Log/Read",
            [&topic[..], &holding(2, b"")].concat(),
        ),
        (
            "/taffrail.v1.Log/Read",
            [&topic[..], &holding(3, &holding(2, b""))].concat(),
        ),
        (
            "/taffrail.v1.Log/ListOffsets",
            [&topic[..], &holding(2, b"")].concat(),
        ),
        (
            "/taffrail.v1.Log/ListOffsets",
            [&topic[..], &holding(3, &holding(2, b""))].concat(),
        ),
    ] {
        let status = call(&broker.channel(), path, request)
            .await
            .expect_err(path);
        assert_eq!(
            (status.code(), &*info(&status).reason),
            (Code::InvalidArgument, "MALFORMED_REQUEST"),
            "{path}: {status:?}"
        );
        assert!(
            status.message().contains("a position says nothing"),
            "{status:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn an_edge_that_there_is_not_is_refused() -> Outcome {
    let broker = TestBroker::start().await;
    broker.client().topics().create(&NewTopic::new("t")).await?;
    // `start: {edge: 7}`, as a newer client might send it.
    let request = [&b"\x0a\x01t"[..], &holding(2, b"\x10\x07")].concat();
    for path in ["/taffrail.v1.Log/Read", "/taffrail.v1.Log/ListOffsets"] {
        let answer = call(&broker.channel(), path, request.clone()).await;
        let status = answer.expect_err(path);
        assert_eq!(
            (status.code(), &*info(&status).reason),
            (Code::InvalidArgument, "MALFORMED_REQUEST"),
            "{path}: {status:?}"
        );
        assert!(
            status.message().contains("there is no edge 7"),
            "{status:?}"
        );
    }
    Ok(())
}
