//! Reads whose clients take nothing, over HTTP/2.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    path::PathBuf,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{Connection, ResponseFuture, SendRequest},
};
use http::{HeaderMap, Request};
use prost::Message as _;
use tokio::{
    io::{DuplexStream, duplex},
    task::yield_now,
    time::{sleep, timeout},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    broker::{Append, AppendBatch, Attempt, Broker, Flow, Load, Options},
    budget::{Budget, Name, Part, Sizes},
    env::{
        Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
    proto::{self, GetLatestRequest, GetLatestResponse, ReadKeyRequest, ReadRequest, Record, wire},
    server::{
        self, Server, limits,
        reads::{Place, Reads},
        turns::Lanes,
    },
    types::{PartitionId, RecordView, Records},
};

/// The window for a call: the client takes this much of each response, and then as much as a test
/// asks for.
const WINDOW: u32 = 1_000;

/// The size of a socket's buffer.
pub(super) const SOCKET_BYTES: usize = 64 << 10;

/// Longer than anything takes in these tests.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) struct World {
    pub(super) broker: Arc<Broker>,
    pub(super) client: SendRequest<Bytes>,
}

impl World {
    /// A broker with a topic, and a client.
    pub(super) async fn with(reads_bytes: usize, stalled_read: Duration) -> Self {
        let memory = Sizes::default().with(Name::Reads, reads_bytes);
        let (broker, mut ours) = Self::broker(memory, stalled_read, 1).await;
        Self::connected(&broker, ours.remove(0)).await
    }

    /// A broker with a topic, and the clients' ends of this many connections to it.
    pub(super) async fn broker(
        memory: Sizes,
        stalled_read: Duration,
        connections: usize,
    ) -> (Arc<Broker>, Vec<DuplexStream>) {
        Self::broker_on(&SimDisk::new(1), memory, stalled_read, connections).await
    }

    pub(super) async fn broker_on(
        disk: &SimDisk,
        memory: Sizes,
        stalled_read: Duration,
        connections: usize,
    ) -> (Arc<Broker>, Vec<DuplexStream>) {
        let env = Env {
            files: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(1_700_000_000_000)),
            random: Arc::new(SimRandom::new(1)),
        };
        let options = Options {
            journal_file_bytes: 32 << 20,
            memory,
            disk_reserve_bytes: 0,
            ..Options::new(PathBuf::from("/data"))
        };
        let broker = Broker::open(env, options).expect("nothing fails");
        let created = broker.create_topic("t", 1, &BTreeMap::new());
        created.expect("a good name").await.expect("nothing fails");

        let pairs = (0..connections).map(|_| duplex(SOCKET_BYTES));
        let (ours, theirs): (Vec<_>, Vec<_>) = pairs.unzip();
        let options = server::Options {
            stalled_read,
            ..server::Options::default()
        };
        let server = Server::new(Arc::clone(&broker), options);
        let incoming = tokio_stream::iter(theirs.into_iter().map(Ok));
        tokio::spawn(server.run(incoming, std::future::pending()));
        (broker, ours)
    }

    pub(super) async fn connected(broker: &Arc<Broker>, io: DuplexStream) -> Self {
        Self::connected_with(broker, io, WINDOW).await
    }

    /// A client that takes this much of each response without being asked.
    pub(super) async fn connected_with(
        broker: &Arc<Broker>,
        io: DuplexStream,
        window: u32,
    ) -> Self {
        let mut http2 = h2::client::Builder::new();
        http2
            .initial_window_size(window)
            .max_frame_size(1 << 20)
            .initial_connection_window_size(64 << 20);
        let (client, connection) = http2.handshake(io).await.expect("it is a server");
        tokio::spawn(connection);
        Self {
            broker: Arc::clone(broker),
            client,
        }
    }

    pub(super) async fn append(&self, key: &str, bytes: usize) {
        self.append_to("t", None, Some(key), bytes).await;
    }

    pub(super) async fn append_to(
        &self,
        topic: &str,
        partition: Option<u32>,
        key: Option<&str>,
        bytes: usize,
    ) {
        let record = Record {
            key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
            value: Some(vec![7; bytes].into()),
            ..Record::default()
        };
        let mut records = Vec::new();
        prost::encoding::message::encode(wire::RECORDS_FIELD, &record, &mut records);
        let batch = AppendBatch {
            topic_id: None,
            topic: topic.into(),
            partition: partition.map(PartitionId),
            sequence: None,
            records: records.into(),
        };
        let append = Append {
            batches: vec![batch],
            ..Append::default()
        };
        let load = Load {
            bytes,
            batches: 1,
            records: 1,
        };
        let admission = self.broker.admit(&Flow::default(), load).await;
        let admission = admission.expect("nothing fails");
        let attempt = self.broker.try_append(append, admission);
        let Ok(Attempt::Queued(pending)) = attempt else {
            panic!("it is good, and needs no file");
        };
        pending.await.expect("nothing fails");
    }

    /// The memory of all reads, in bytes.
    pub(super) fn used(&self) -> usize {
        self.broker.budget().part(Name::Reads).used()
    }

    /// Lets everything run until it waits for a client or for time.
    pub(super) async fn settle() {
        for _ in 0..10_000 {
            yield_now().await;
        }
    }

    /// Waits until the memory of reads is at most this.
    pub(super) async fn until_used_is_at_most(&self, bytes: usize) {
        let waiting = async {
            while self.used() > bytes {
                sleep(Duration::from_millis(5)).await;
            }
        };
        let done = timeout(PATIENCE, waiting).await;
        done.unwrap_or_else(|_| panic!("{} of {bytes} bytes", self.used()));
    }

    pub(super) fn call(&mut self, path: &str, message: &impl prost::Message) -> ResponseFuture {
        let request = Request::post(format!("http://broker{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .expect("a request");
        let (response, mut stream) = self
            .client
            .send_request(request, false)
            .expect("there is room");
        let message = message.encode_to_vec();
        let len = u32::try_from(message.len()).expect("it is small");
        let body = [&[0][..], &len.to_be_bytes(), &message].concat();
        stream.send_data(body.into(), true).expect("it is open");
        response
    }

    pub(super) async fn read(&mut self, follow: bool) -> Result<RecvStream, Status> {
        self.read_keys(follow, &["a", "b", "c", "erased", "second"])
            .await
    }

    /// A read that follows and needs so much memory that a connection can have three of them with 2
    /// MiB.
    pub(super) async fn read_much(&mut self) -> Result<RecvStream, Status> {
        let long = "x".repeat(1_000);
        self.read_keys(true, &[&["a"][..], &[&*long; 100]].concat())
            .await
    }

    pub(super) async fn read_keys(
        &mut self,
        follow: bool,
        keys: &[&str],
    ) -> Result<RecvStream, Status> {
        let key = |key: &&str| Bytes::copy_from_slice(key.as_bytes());
        let request = ReadRequest {
            topic: "t".into(),
            follow,
            filter: Some(proto::Filter {
                keys: keys.iter().map(key).collect(),
                ..proto::Filter::default()
            }),
            ..ReadRequest::default()
        };
        let response = self.call("/taffrail.v1.Log/Read", &request).await;
        let response = response.expect("the connection stands");
        match Status::from_header_map(response.headers()) {
            Some(status) => Err(status),
            None => Ok(response.into_body()),
        }
    }
}

/// Waits until the call's window is full: a message is under way.
pub(super) async fn fill(body: &mut RecvStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < WINDOW as usize {
        let data = body.data().await.expect("there is more");
        bytes.extend_from_slice(&data.expect("the connection stands"));
    }
    bytes
}

/// Takes everything behind the full window: the messages, and how the call ended.
pub(super) async fn take_all(mut bytes: Vec<u8>, mut body: RecvStream) -> (Vec<Vec<u8>>, Status) {
    body.flow_control()
        .release_capacity(bytes.len())
        .expect("it was received");
    while let Some(data) = body.data().await {
        let data = data.expect("the connection stands");
        body.flow_control()
            .release_capacity(data.len())
            .expect("it was received");
        bytes.extend_from_slice(&data);
    }
    let trailers: HeaderMap = body
        .trailers()
        .await
        .expect("the connection stands")
        .expect("a status");
    let mut messages = Vec::new();
    let mut rest = &bytes[..];
    while let Some((header, behind)) = rest.split_first_chunk::<5>() {
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if behind.len() < len {
            break;
        }
        messages.push(behind[..len].to_vec());
        rest = &behind[len..];
    }
    let status = Status::from_header_map(&trailers).expect("a status");
    (messages, status)
}

pub(super) fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info().expect("details");
    (status.code(), info.reason)
}

fn read_stalled() -> (Code, String) {
    (Code::Unavailable, "READ_STALLED".to_owned())
}

fn overloaded() -> (Code, String) {
    (Code::ResourceExhausted, "OVERLOADED".to_owned())
}

/// The memory of a read of one partition, without its message.
pub(super) const IDLE: usize = limits::READ_BYTES + 512;

#[tokio::test]
async fn a_read_whose_client_takes_nothing_costs_a_piece_and_goes_on_with_its_client() {
    let mut world = World::with(40 << 20, PATIENCE).await;
    for key in ["a", "b", "c"] {
        world.append(key, 1_000_000).await;
    }
    let mut stalled = Vec::new();
    for _ in 0..10 {
        let mut body = world.read(false).await.expect("there is room");
        stalled.push((fill(&mut body).await, body));
    }
    let most = 10 * (limits::PIECE_BYTES + IDLE);
    world.until_used_is_at_most(most).await;

    for (bytes, body) in stalled {
        let (messages, status) = take_all(bytes, body).await;
        assert_eq!(status.code(), Code::Ok);
        let lengths: Vec<usize> = messages.iter().map(|message| value_len(message)).collect();
        assert_eq!(lengths, [1_000_000; 3]);
    }
    world.until_used_is_at_most(0).await;
}

/// The size of the value of a message's only record.
pub(super) fn value_len(message: &[u8]) -> usize {
    let response = wire::ReadResponse::decode(message).expect("a response");
    let records = response.records.concat();
    let mut records = Records::new(&records);
    let (_, record) = records.next().expect("one").expect("it is whole");
    let record = RecordView::parse(record).expect("it is whole");
    assert!(records.next().is_none());
    record.value.expect("it has one").len()
}

#[tokio::test]
async fn reads_of_entities_go_on_with_their_clients_too() {
    let mut world = World::with(40 << 20, PATIENCE).await;
    for _ in 0..2 {
        world.append("a", 900_000).await;
    }
    let key = ReadKeyRequest {
        topic: "t".into(),
        key: "a".into(),
        ..ReadKeyRequest::default()
    };
    let latest = GetLatestRequest {
        topic: "t".into(),
        keys: vec!["a".into(), "none".into()],
        ..GetLatestRequest::default()
    };
    let of_key = world.call("/taffrail.v1.Entities/ReadKey", &key).await;
    let mut of_key = of_key.expect("an answer").into_body();
    let of_latest = world.call("/taffrail.v1.Entities/GetLatest", &latest).await;
    let mut of_latest = of_latest.expect("an answer").into_body();
    let begun = (fill(&mut of_key).await, fill(&mut of_latest).await);
    let most = 2 * (limits::PIECE_BYTES + IDLE);
    world.until_used_is_at_most(most).await;

    let (messages, status) = take_all(begun.0, of_key).await;
    assert_eq!((status.code(), messages.len()), (Code::Ok, 2));
    let (messages, status) = take_all(begun.1, of_latest).await;
    assert_eq!((status.code(), messages.len()), (Code::Ok, 1));
    let latest = GetLatestResponse::decode(&messages[0][..]).expect("a response");
    let versions: Vec<u64> = latest.latest.iter().map(|latest| latest.version).collect();
    assert_eq!(versions, [2, 0]);
}

#[tokio::test]
async fn a_stalled_read_of_what_was_erased_meanwhile_is_ended_and_told_where_to_go_on() {
    let mut world = World::with(40 << 20, PATIENCE).await;
    world.append("erased", 600_000).await;
    world.append("second", 600_000).await;
    let mut body = world.read(true).await.expect("there is room");
    let begun = fill(&mut body).await;
    world
        .until_used_is_at_most(limits::PIECE_BYTES + IDLE)
        .await;
    let erasing = world.broker.erase_key("t", b"erased").expect("it is there");
    erasing.await.expect("nothing fails");

    let (messages, status) = take_all(begun, body).await;
    assert_eq!(messages.len(), 0, "a part of the first");
    assert_eq!(reason(&status), read_stalled());
    let info = status.get_details_error_info().expect("details");
    assert_eq!(info.metadata["next_offsets"], "0:0");
    assert!(status.get_details_retry_info().is_some());
}

#[tokio::test]
async fn where_no_memory_is_left_a_read_that_has_stalled_for_long_is_ended() {
    let mut world = World::with(2 << 20, Duration::ZERO).await;
    world.append("a", 100_000).await;
    let mut stalled = Vec::new();
    for _ in 0..3 {
        let mut body = world.read_much().await.expect("there is room");
        stalled.push((fill(&mut body).await, body));
    }
    let refused = world.read_much().await.expect_err("there is no room");
    assert_eq!(reason(&refused), overloaded());
    assert!(refused.get_details_retry_info().is_some());
    let admitted = async {
        while let Err(refused) = world.read_much().await {
            assert_eq!(reason(&refused), overloaded());
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, admitted)
        .await
        .expect("there is room in the end");

    let mut ended = 0;
    for (mut bytes, mut body) in stalled {
        // A read that follows sends nothing behind the message.
        body.flow_control()
            .release_capacity(bytes.len())
            .expect("it was received");
        while bytes.len() < 100_000 {
            let Some(data) = body.data().await else { break };
            let data = data.expect("the connection stands");
            body.flow_control()
                .release_capacity(data.len())
                .expect("it was received");
            bytes.extend_from_slice(&data);
        }
        if bytes.len() < 100_000 {
            let trailers = body.trailers().await.expect("no error").expect("a status");
            let status = Status::from_header_map(&trailers).expect("a status");
            assert_eq!(reason(&status), read_stalled());
            ended += 1;
        }
    }
    assert_eq!(ended, 1, "the others have stayed, and go on");
}

#[tokio::test]
async fn a_newcomer_finds_its_basic_share_whatever_stalled_reads_hold() {
    // Pieces and reads would fill all of this but for less than a read's memory.
    let memory = Sizes::default().with(Name::Reads, 2_054_000);
    let (broker, mut ours) = World::broker(memory.for_holders(21), PATIENCE, 21).await;
    let mut newcomer = World::connected(&broker, ours.remove(0)).await;
    newcomer.append("a", 1_000_000).await;
    newcomer.append("second", 100).await;
    let mut stalled = Vec::new();
    for io in ours {
        stalled.push(read_nothing(&broker, io).await);
    }
    let part = broker.budget().part(Name::Reads);
    let filled = async {
        while part.free_of_open() >= limits::PIECE_BYTES {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, filled).await.expect("it is filled");

    for _ in 0..50 {
        let body = newcomer.read_keys(false, &["second"]).await;
        let body = body.expect("there is room");
        let (messages, status) = take_all(Vec::new(), body).await;
        assert_eq!(status.code(), Code::Ok);
        assert_eq!(value_len(messages.last().expect("one")), 100);
    }
    drop(stalled);
}

#[tokio::test]
async fn nothing_is_read_for_a_client_that_takes_nothing_but_it_is_told_the_end() {
    let (broker, mut ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let mut world = World::connected_with(&broker, ours.remove(0), 0).await;
    world.append("other", 1_000_000).await;
    let mut stalled = Vec::new();
    for _ in 0..10 {
        stalled.push(world.read_keys(false, &["other"]).await);
    }
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(world.used() <= 10 * IDLE, "{} bytes", world.used());

    let empty = world.broker.create_topic("empty", 1, &BTreeMap::new());
    empty.expect("a good name").await.expect("nothing fails");
    let request = ReadRequest {
        topic: "empty".into(),
        ..ReadRequest::default()
    };
    let response = world.call("/taffrail.v1.Log/Read", &request).await;
    let body = response.expect("an answer").into_body();
    let (messages, status) = take_all(Vec::new(), body).await;
    assert_eq!((status.code(), messages.len()), (Code::Ok, 0));
}

/// A client that grants all the window it can, and reads nothing from its socket unless it is
/// polled.
pub(super) async fn takes_nothing(
    io: DuplexStream,
) -> (SendRequest<Bytes>, Connection<DuplexStream, Bytes>) {
    let mut http2 = h2::client::Builder::new();
    http2
        .initial_window_size(64 << 20)
        .initial_connection_window_size(64 << 20);
    http2.handshake(io).await.expect("it is a server")
}

/// A read of such a client.
pub(super) async fn read_nothing(broker: &Arc<Broker>, io: DuplexStream) -> impl Sized {
    let (client, mut connection) = takes_nothing(io).await;
    let broker = Arc::clone(broker);
    let mut world = World { broker, client };
    let body = tokio::select! {
        body = world.read(true) => body.expect("there is room"),
        ended = &mut connection => panic!("{ended:?}"),
    };
    (world, connection, body)
}

#[test]
fn of_its_basic_share_a_connection_has_half_for_what_its_reads_always_need() {
    let memory = Sizes::default().for_holders(20);
    let part = Arc::clone(Budget::new(&memory).part(Name::Reads));
    let reads = Reads::new(&part, Arc::default(), PATIENCE);
    let shares = reads.shares(part.holder(), Lanes::new().reads());
    let eighth = part.bound() / 8 / 20;
    assert_eq!(shares.pieces.part().basic(), eighth);
    assert_eq!(shares.always.part().basic(), eighth);
    assert_eq!(shares.places.part().basic(), eighth);
    assert!(!shares.always.is_same(&shares.pieces));
}

#[tokio::test]
async fn a_read_is_not_ended_before_it_has_stalled_for_long_nor_while_it_waits_for_records() {
    let mut world = World::with(2 << 20, PATIENCE).await;
    let mut reads = Vec::new();
    for _ in 0..2 {
        reads.push(world.read_much().await.expect("there is room"));
    }
    world.append("a", 10).await;
    reads.push(world.read_much().await.expect("there is room"));
    for _ in 0..3 {
        sleep(limits::GRACE).await;
        let refused = world.read_much().await.expect_err("there is no room");
        assert_eq!(reason(&refused), overloaded());
    }
    for body in &mut reads {
        body.data().await.expect("it goes on").expect("no error");
    }
}

#[tokio::test]
async fn the_longest_stalled_read_is_ended_first_and_one_at_a_time() {
    let part = Arc::new(Part::new(Name::Reads, 1 << 20));
    let (one, other) = (part.holder(), part.holder());
    let reads = Reads::new(&part, Arc::default(), PATIENCE);
    let mut places = [reads.stall(), reads.stall(), reads.stall()];
    let told = |place: &Place| match now(poll_fn(|cx| place.poll_told(cx))) {
        Some(tell) => format!("{tell:?}"),
        None => String::new(),
    };
    places[1].ripen(&one);
    places[2].ripen(&other);
    places[0].ripen(&one);

    assert!(reads.let_go());
    assert_eq!(places.each_ref().map(told), ["LetGo", "LetGo", "LetGo"]);
    assert!(!reads.let_go(), "they have done so");
    assert_eq!(places.each_ref().map(told), ["", "", ""], "they stay");
    reads.end_longest_stalled(&other, false);
    assert_eq!(places.each_ref().map(told), ["", "", "End"], "its own");
    reads.end_longest_stalled(&other, true);
    assert_eq!(places.each_ref().map(told), ["", "End", ""], "the longest");
    places[0].unripen();
    reads.end_longest_stalled(&one, true);
    assert_eq!(places.each_ref().map(told), ["", "", ""]);
}

/// The result of a future that must be ready; `None` if it is not.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
