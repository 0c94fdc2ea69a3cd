//! What one connection may do, and which connections are served. The clients speak HTTP/2
//! themselves, so that they can do what gRPC libraries do not, or not on every machine.

use std::{future::poll_fn, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::{RecvStream, SendStream};
use http::Request;
use prost::Message;
use taffrail::{
    client::{Client, Error},
    proto::{
        CreateTopicRequest, ReadRequest, Record, log_client::LogClient,
        topics_client::TopicsClient, wire::ReadKeyResponse,
    },
    testing::TestBroker,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::timeout,
};

use crate::{
    http2::{
        ACK, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PREFACE, RST_STREAM, SETTINGS, frame,
        frames_until, headers_of, literal,
    },
    raw,
};

/// Longer than anything takes in these tests.
const PATIENCE: Duration = Duration::from_secs(30);

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

/// A message with gRPC's header.
fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).expect("it is small"));
    framed.put_slice(message);
    framed.freeze()
}

/// An append of one record of this size.
fn append_of(bytes: usize) -> Bytes {
    let record = Record {
        value: Some(vec![b'x'; bytes].into()),
        ..Record::default()
    };
    let request = raw::request([raw::batch("t", &[record])]);
    framed(&request.encode_to_vec())
}

/// Begins a call on a connection of its own.
async fn call(broker: &TestBroker, path: &str) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let socket = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let (client, connection) = h2::client::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .handshake(socket)
        .await
        .expect("it speaks HTTP/2");
    tokio::spawn(connection);
    let request = Request::post(format!("http://{}{path}", broker.address()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .expect("a request");
    let mut client = client.ready().await.expect("it is ready");
    client.send_request(request, false).expect("it is sent")
}

/// Sends a message this many times, each in a DATA frame of its own, as fast as the broker takes
/// them.
async fn send_each_in_its_frame(
    mut requests: SendStream<Bytes>,
    message: Bytes,
    count: usize,
) -> Result<(), h2::Error> {
    for _ in 0..count {
        requests.reserve_capacity(message.len());
        while requests.capacity() < message.len() {
            let more = poll_fn(|cx| requests.poll_capacity(cx)).await;
            more.unwrap_or(Err(h2::Reason::CANCEL.into()))?;
        }
        requests.send_data(message.clone(), false)?;
    }
    requests.send_data(Bytes::new(), true)
}

/// Counts the messages of a response; returns the number and the status.
async fn count_answers(mut answers: RecvStream) -> Result<(usize, String), h2::Error> {
    let (mut count, mut buffered) = (0, BytesMut::new());
    while let Some(data) = answers.data().await {
        let data = data?;
        answers.flow_control().release_capacity(data.len())?;
        buffered.extend_from_slice(&data);
        while buffered.len() >= 5 {
            let len = 5 + (&buffered[1..5]).get_u32() as usize;
            if buffered.len() < len {
                break;
            }
            buffered.advance(len);
            count += 1;
        }
    }
    let trailers = answers.trailers().await?.expect("gRPC ends with trailers");
    Ok((
        count,
        trailers["grpc-status"]
            .to_str()
            .expect("a number")
            .to_owned(),
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_requests_are_all_answered_however_many_are_sent_ahead() {
    const REQUESTS: usize = 300_000;
    let broker = TestBroker::builder().tcp().start().await;
    create_topic(&broker, "t").await;
    for bytes in [0, 10, 100] {
        let (response, requests) = call(&broker, "/taffrail.v1.Log/AppendStream").await;
        let sending = tokio::spawn(send_each_in_its_frame(requests, append_of(bytes), REQUESTS));
        let answers = response.await.expect("the call is taken").into_body();
        let answered = count_answers(answers)
            .await
            .unwrap_or_else(|error| panic!("{bytes} B: {error}"));
        assert_eq!(answered, (REQUESTS, "0".to_owned()), "records of {bytes} B");
        sending
            .await
            .expect("it does not panic")
            .expect("all are taken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_calls_that_may_be_under_way_can_be_cancelled_at_once() {
    let broker = TestBroker::builder().tcp().start().await;
    let mut socket = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let streams = || (0..256u32).map(|call| 2 * call + 1);
    for stream in streams() {
        bytes.extend(frame(
            HEADERS,
            END_HEADERS,
            stream,
            &headers_of("/taffrail.v1.Log/Append"),
        ));
    }
    for stream in streams() {
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    bytes.extend(frame(PING, 0, 0, b"still on"));
    socket.write_all(&bytes).await.expect("it is sent");
    timeout(PATIENCE, frames_until(&mut socket, PING, ACK))
        .await
        .expect("the connection lives");
}

#[tokio::test]
async fn calls_that_are_cancelled_one_after_the_other_while_the_broker_stands_still_are_forgiven() {
    let broker = TestBroker::builder().tcp().start().await;
    let mut socket = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    // Each call is cancelled before the next begins, so that there are never too many at a time.
    for stream in (0..5_000u32).map(|call| 2 * call + 1) {
        let headers = headers_of("/taffrail.v1.Log/Append");
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &headers));
        bytes.extend(frame(RST_STREAM, 0, stream, &8u32.to_be_bytes()));
    }
    bytes.extend(frame(PING, 0, 0, b"still on"));
    socket.write_all(&bytes).await.expect("it is sent");
    timeout(PATIENCE, frames_until(&mut socket, PING, ACK))
        .await
        .expect("the connection lives");
}

/// Sends bytes on a new connection, and returns everything received until it is closed.
async fn answer_to(broker: &TestBroker, sent: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    socket.write_all(sent).await.expect("it is sent");
    let mut answer = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut answer))
        .await
        .expect("it is closed")
        .expect("it is read");
    answer
}

#[tokio::test]
async fn a_connection_too_many_is_closed_without_a_byte() {
    let broker = TestBroker::builder().tcp().max_connections(1).start().await;
    let first = broker.client();
    first.topics().list().await.expect("it has the place");
    assert_eq!(answer_to(&broker, b"").await, b"");
    let refused = broker.client().topics().list().await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    first.topics().list().await.expect("it keeps the place");
}

#[tokio::test]
async fn a_connection_that_does_not_speak_http2_in_time_gives_its_place_to_another() {
    let broker = TestBroker::builder().tcp().max_connections(4).start().await;
    let mut silent = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let mut slow = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    slow.write_all(&PREFACE[..8]).await.expect("it is sent");
    let mut no_settings = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    no_settings.write_all(PREFACE).await.expect("it is sent");
    let mut half_of_settings = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let settings = frame(SETTINGS, 0, 0, &[0; 6]);
    half_of_settings
        .write_all(&[PREFACE, &settings[..12]].concat())
        .await
        .expect("it is sent");
    for socket in [
        &mut silent,
        &mut slow,
        &mut no_settings,
        &mut half_of_settings,
    ] {
        let mut answer = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut answer))
            .await
            .expect("it is closed")
            .expect("it is read");
        assert_eq!(answer, b"");
    }
    broker
        .client()
        .topics()
        .list()
        .await
        .expect("there is a place");
}

#[tokio::test]
async fn http1_is_told_what_this_port_speaks() {
    let broker = TestBroker::builder().tcp().start().await;
    for request in [
        "GET / HTTP/1.1\r\nHost: broker\r\n\r\n",
        "POST /taffrail.v1.Log/Read HTTP/1.0\r\n\r\n",
    ] {
        let answer = String::from_utf8(answer_to(&broker, request.as_bytes()).await).expect("text");
        assert!(
            answer.starts_with("HTTP/1.1 505 HTTP Version Not Supported\r\n"),
            "{answer}"
        );
        assert!(answer.contains("gRPC over HTTP/2"), "{answer}");
    }
}

#[tokio::test]
async fn tls_is_answered_with_an_alert() {
    let broker = TestBroker::builder().tcp().start().await;
    let hello = [0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00];
    // The alert: fatal, protocol_version.
    assert_eq!(
        answer_to(&broker, &hello).await,
        [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_client_that_does_not_read() {
    let mut broker = TestBroker::builder()
        .tcp()
        .drain(10 * PATIENCE)
        .start()
        .await;
    create_topic(&broker, "t").await;
    let mut log = LogClient::new(broker.channel());
    for _ in 0..40 {
        log.append(raw::request([raw::batch(
            "t",
            &[raw::keyless(&"x".repeat(1 << 20)[..1_000_000])],
        )]))
        .await
        .expect("it is stored");
    }
    for follow in [false, true] {
        let (response, mut requests) = call(&broker, "/taffrail.v1.Log/Read").await;
        let read = ReadRequest {
            topic: "t".to_owned(),
            follow,
            ..ReadRequest::default()
        };
        requests
            .send_data(framed(&read.encode_to_vec()), true)
            .expect("it is sent");
        let mut answers = response.await.expect("the call is taken").into_body();
        answers.data().await.expect("an answer").expect("an answer");
        timeout(PATIENCE, broker.stop())
            .await
            .expect("it does not wait");
        broker.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_connections_that_ask_for_nothing() {
    let mut broker = TestBroker::builder()
        .tcp()
        .drain(10 * PATIENCE)
        .start()
        .await;
    let _silent = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let mut unresponsive = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    unresponsive
        .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
        .await
        .expect("it is sent");
    frames_until(&mut unresponsive, SETTINGS, ACK).await;
    let mut half_said = TcpStream::connect(broker.address())
        .await
        .expect("the broker listens");
    let half = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(
            HEADERS,
            END_HEADERS,
            1,
            &headers_of("/taffrail.v1.Log/Append"),
        ),
        &frame(DATA, 0, 1, &append_of(100)[..50]),
    ];
    half_said
        .write_all(&half.concat())
        .await
        .expect("it is sent");
    frames_until(&mut half_said, SETTINGS, ACK).await;
    let pinging = tokio::spawn(async move {
        let ping = frame(PING, 0, 0, b"still on");
        while half_said.write_all(&ping).await.is_ok() {
            let mut answer = [0; 64];
            if !matches!(half_said.read(&mut answer).await, Ok(1..)) {
                return;
            }
        }
    });
    // A call for reflection, which may stay open and take more requests.
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (response, mut requests) = call(&broker, path).await;
    requests
        .send_data(framed(b"\x3a\x00"), false)
        .expect("it is sent");
    let mut answers = response.await.expect("the call is taken").into_body();
    answers.data().await.expect("an answer").expect("an answer");
    timeout(PATIENCE, broker.stop())
        .await
        .expect("it does not wait");
    pinging.await.expect("it does not panic");
}

/// Responds to a read with this many messages, each in a DATA frame of its own. Ends the response
/// when the client has received them all, whether or not it has read them.
async fn answer_in_small_frames(
    listener: TcpListener,
    messages: u32,
    all_sent: oneshot::Sender<()>,
) {
    let (mut socket, _) = listener.accept().await.expect("a client");
    socket
        .read_exact(&mut [0; PREFACE.len()])
        .await
        .expect("it speaks HTTP/2");
    frames_until(&mut socket, HEADERS, END_HEADERS).await;
    let headers = [
        &[0x88, 0x00][..],
        &literal("content-type"),
        &literal("application/grpc"),
    ];
    // The second SETTINGS frame confirms the window that the client has asked for.
    let mut answer = [frame(SETTINGS, 0, 0, &[]), frame(SETTINGS, ACK, 0, &[])].concat();
    answer.extend(frame(HEADERS, END_HEADERS, 1, &headers.concat()));
    for partition in 1..=messages {
        let message = ReadKeyResponse {
            partition,
            ..ReadKeyResponse::default()
        };
        answer.extend(frame(DATA, 0, 1, &framed(&message.encode_to_vec())));
    }
    answer.extend(frame(PING, 0, 0, b"all sent"));
    socket.write_all(&answer).await.expect("it is taken");
    frames_until(&mut socket, PING, ACK).await;
    all_sent.send(()).expect("the test goes on");
    let trailers = [&[0x00][..], &literal("grpc-status"), &literal("0")].concat();
    let end = frame(HEADERS, END_HEADERS | END_STREAM, 1, &trailers);
    socket.write_all(&end).await.expect("it is taken");
    let mut ignored = Vec::new();
    socket.read_to_end(&mut ignored).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_pauses_loses_nothing_however_small_the_messages_are() {
    const MESSAGES: u32 = 100_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (all_sent, sent) = oneshot::channel();
    let serving = tokio::spawn(answer_in_small_frames(listener, MESSAGES, all_sent));

    let client = Client::connect(&url).await.expect("it listens");
    let read = client.entities().read("t", "k");
    let mut reading = read.open().await.expect("it is answered");
    sent.await.expect("the connection lives");
    // Opening the read has taken the first message.
    let mut messages = 1;
    while let Some(batch) = reading.next_batch().await.expect("nothing is lost") {
        messages += 1;
        assert_eq!(batch.partition.0, messages);
    }
    assert_eq!(messages, MESSAGES);
    drop((reading, client));
    serving.await.expect("it does not panic");
}
