//! What the gRPC layer promises to clients in any language: calls are made with generated stubs.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use taffrail::{
    proto::{
        AppendStreamResponse, CreateTopicRequest, OpenProducerRequest, ReadRequest,
        append_stream_response::Outcome,
        log_client::LogClient,
        topics_client::TopicsClient,
        wire::{AppendBatch, AppendRequest},
    },
    testing::TestBroker,
};
use tonic::{
    Code, Request, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};
use tonic_types::StatusExt;

use crate::raw;

/// Longer than anything takes in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

async fn connect(broker: &TestBroker) -> Channel {
    Channel::from_shared(broker.url())
        .expect("a URL")
        .connect()
        .await
        .expect("the broker listens")
}

async fn create_topic(broker: &TestBroker, name: &str) {
    let request = CreateTopicRequest {
        name: name.to_owned(),
        ..CreateTopicRequest::default()
    };
    TopicsClient::new(broker.channel())
        .create(request)
        .await
        .expect("it is created");
}

fn append(topic: &str, value: &str) -> AppendRequest {
    let record = taffrail::proto::Record {
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        ..taffrail::proto::Record::default()
    };
    let records = vec![record.encode_to_vec().into()];
    let batch = AppendBatch {
        topic: topic.to_owned(),
        records,
        ..AppendBatch::default()
    };
    AppendRequest {
        batches: vec![batch.encode_to_vec().into()],
        ..AppendRequest::default()
    }
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .unwrap_or_else(|| panic!("no details: {status:?}"))
        .reason
}

/// A codec that sends bytes as they are.
#[derive(Clone, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Calls a method that responds with one message, or with several, of which the first is returned.
pub(crate) async fn call(
    channel: &Channel,
    path: &str,
    message: impl Into<Bytes>,
) -> Result<Bytes, Status> {
    call_with(channel, path, Request::new(message.into())).await
}

/// Calls a method with headers; responds as [`call`] does.
pub(crate) async fn call_with(
    channel: &Channel,
    path: &str,
    request: Request<Bytes>,
) -> Result<Bytes, Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.expect("it is ready");
    let path = path.parse().expect("it is a path");
    let answers = grpc.server_streaming(request, path, Raw).await?;
    let first = answers.into_inner().message().await?;
    Ok(first.unwrap_or_default())
}

#[tokio::test]
async fn a_message_that_is_no_protobuf_is_refused_as_the_clients_mistake() {
    let broker = TestBroker::start().await;
    for path in [
        "/taffrail.v1.Log/Append",
        "/taffrail.v1.Log/ListOffsets",
        "/taffrail.v1.Topics/Create",
        "/taffrail.v1.Entities/ReadKey",
    ] {
        let status = call(&broker.channel(), path, &b"\x0a\xff"[..])
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::InvalidArgument, "MALFORMED_REQUEST"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_batch_that_is_no_protobuf_is_refused_and_nothing_of_the_request_is_stored() {
    let broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(broker.channel());
    let mut request = append("t", "good");
    request.batches.push(Bytes::from_static(b"\x7a\x05bad"));
    let status = log.append(request).await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::InvalidArgument, "MALFORMED_REQUEST")
    );

    let appended = log.append(append("t", "first")).await.unwrap().into_inner();
    assert_eq!(appended.batches[0].ranges[0].first_offset, 0);
}

#[tokio::test]
async fn a_request_over_the_limit_is_refused_with_the_limit_and_the_connection_lives_on() {
    let broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    let channel = broker.channel();
    for (path, bytes) in [
        ("/taffrail.v1.Log/Append", 16 << 20),
        ("/taffrail.v1.Topics/Create", 4 << 20),
    ] {
        let status = call(&channel, path, vec![0; bytes + 1]).await.unwrap_err();
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
            "{path}"
        );
        assert!(status.message().contains(&bytes.to_string()), "{status}");
    }
    LogClient::new(channel)
        .append(append("t", "small"))
        .await
        .unwrap();
}

#[tokio::test]
async fn an_append_stream_is_answered_in_order_and_goes_on_after_a_request_that_is_refused() {
    let broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(broker.channel());
    let mut requests: Vec<_> = (0..600).map(|i| append("t", &i.to_string())).collect();
    requests[500] = append("nowhere", "refused");

    let mut answers = log
        .append_stream(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let mut offsets = Vec::new();
    for number in 0..600 {
        match outcome(&mut answers).await {
            Outcome::Appended(appended) => {
                offsets.push(appended.batches[0].ranges[0].first_offset);
            }
            Outcome::Refused(refused) => {
                let status = taffrail::proto::status_of_refused(&refused);
                assert_eq!(
                    (number, status.code(), &*reason(&status)),
                    (500, Code::NotFound, "UNKNOWN_TOPIC")
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(offsets, (0..599).collect::<Vec<_>>());
    assert!(answers.message().await.unwrap().is_none());
}

#[tokio::test]
async fn an_append_stream_ends_at_a_request_with_a_producer_that_is_not_stored() {
    let broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(broker.channel());
    let opened = log.open_producer(OpenProducerRequest::default()).await;
    let producer = opened.unwrap().into_inner().producer;
    let producer = producer.expect("a producer");
    let numbered = |sequence| {
        raw::by(
            producer,
            [raw::numbered("t", 0, sequence, &[raw::keyless("v")])],
        )
    };
    let requests = [numbered(0), numbered(2), numbered(1), append("t", "behind")];
    let mut answers = log
        .append_stream(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    assert!(matches!(outcome(&mut answers).await, Outcome::Appended(_)));
    let status = answers.message().await.unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::FailedPrecondition, "OUT_OF_SEQUENCE")
    );

    let appended = log.append(append("t", "next")).await.unwrap().into_inner();
    assert_eq!(
        appended.batches[0].ranges[0].first_offset, 1,
        "nothing behind the refused request was stored"
    );
}

async fn outcome(answers: &mut Streaming<AppendStreamResponse>) -> Outcome {
    let answer = answers
        .message()
        .await
        .expect("it goes on")
        .expect("an answer");
    answer.outcome.expect("an outcome")
}

#[tokio::test]
async fn a_following_read_is_told_when_the_broker_shuts_down() {
    let mut broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(broker.channel());
    log.append(append("t", "one")).await.unwrap();
    let request = ReadRequest {
        topic: "t".to_owned(),
        follow: true,
        ..ReadRequest::default()
    };
    let mut responses = log.read(request).await.unwrap().into_inner();
    let first = responses.message().await.unwrap().expect("a response");
    assert_eq!(first.next_offset, 1);

    let (status, ()) = tokio::join!(
        async {
            loop {
                match responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the read ended without a status"),
                    Err(status) => break status,
                }
            }
        },
        broker.stop(),
    );
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
    assert!(status.get_details_retry_info().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_work_on_a_runtime_with_threads_too() {
    let broker = TestBroker::builder().tcp().start().await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(connect(&broker).await);
    log.append(append("t", "one")).await.unwrap();
    let request = ReadRequest {
        topic: "t".to_owned(),
        ..ReadRequest::default()
    };
    let mut responses = log.read(request).await.unwrap().into_inner();
    let mut records = 0;
    while let Some(response) = responses.message().await.unwrap() {
        records += response.records.len();
    }
    assert_eq!(records, 1);
}

#[tokio::test]
async fn a_client_outlives_a_crash_and_finds_what_was_acknowledged() {
    let mut broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(broker.channel());
    log.append(append("t", "one")).await.unwrap();

    broker.crash().await;
    let status = log.append(append("t", "lost")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    broker.restart().await;

    let appended = log.append(append("t", "two")).await.unwrap().into_inner();
    assert_eq!(appended.batches[0].ranges[0].first_offset, 1);
}

#[tokio::test]
async fn calls_under_way_do_not_keep_the_data_directory_from_the_next_start() {
    let mut broker = TestBroker::start().await;
    create_topic(&broker, "t").await;
    for end in ["crash", "stop", "crash"] {
        let mut log = LogClient::new(broker.channel());
        log.append(append("t", "one")).await.unwrap();
        let request = ReadRequest {
            topic: "t".to_owned(),
            follow: true,
            ..ReadRequest::default()
        };
        let mut responses = log.read(request).await.unwrap().into_inner();
        responses.message().await.unwrap().expect("a response");
        let (_requests, waiting) = tokio::sync::mpsc::channel::<AppendRequest>(1);
        let waiting = tokio_stream::wrappers::ReceiverStream::new(waiting);
        let _answers = log.append_stream(waiting).await.unwrap();

        match end {
            "crash" => broker.crash().await,
            _ => broker.stop().await,
        }
        broker.restart().await;
        while responses
            .message()
            .await
            .is_ok_and(|response| response.is_some())
        {}
    }
}

#[tokio::test]
async fn a_connection_too_many_is_closed_and_has_a_place_when_another_has_gone() {
    let broker = TestBroker::builder().tcp().max_connections(1).start().await;
    let first = LogClient::new(connect(&broker).await);
    let refused = call(&broker.channel(), "/taffrail.v1.Topics/List", Bytes::new())
        .await
        .unwrap_err();
    // A connection that is closed without a byte; clients of other libraries report UNAVAILABLE.
    assert_eq!(refused.code(), Code::Cancelled, "{refused:?}");

    drop(first);
    tokio::time::timeout(PATIENCE, async {
        while call(&broker.channel(), "/taffrail.v1.Topics/List", Bytes::new())
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the place is free");
}
