//! Calls over HTTP: their memory, and the limits for clients.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    broker::{self, Broker},
    budget::Name,
    env::{
        Env,
        sim::{SimClock, SimDisk, SimRandom},
    },
    server::{
        Options, Server,
        auth::{Auth, Exposure, Grant, Grants, NamePattern, Operation, Operations},
        http::Http,
        limits::{self, HttpApi},
    },
};

/// A timeout that is meant to pass.
const SHORT: Duration = Duration::from_millis(20);

/// Longer than anything takes that ends at all.
const LONG: Duration = Duration::from_secs(3_600);

/// A broker that takes two calls over HTTP at a time.
struct World {
    broker: Arc<Broker>,
    connections: mpsc::Sender<io::Result<DuplexStream>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl World {
    async fn start(options: Options) -> Self {
        Self::start_with(options, Auth::default()).await
    }

    async fn start_with(options: Options, auth: Auth) -> Self {
        let http_api = HttpApi {
            calls: 2,
            hosts: vec!["x".to_owned()],
            ..HttpApi::default()
        };
        let http = Http::new(Env::system().clock, http_api.clone());
        let (connections, incoming) = mpsc::channel(64);
        tokio::spawn(http.clone().serve(ReceiverStream::new(incoming)));
        let env = Env {
            files: Arc::new(SimDisk::new(1)),
            clock: Arc::new(SimClock::new(1_700_000_000_000)),
            random: Arc::new(SimRandom::new(1)),
        };
        let of_broker = broker::Options {
            disk_reserve_bytes: 0,
            ..broker::Options::new(PathBuf::from("/data"))
        };
        let broker = Broker::open(env, of_broker).expect("nothing fails");
        let created = broker.create_topic("t", 1, &BTreeMap::new());
        created.expect("a good name").await.expect("nothing fails");
        let options = Options {
            http_api,
            ..options
        };
        let server = Server::new(Arc::clone(&broker), options).seen_over(http);
        let server = server.with_auth(Arc::new(auth));
        let (stop, told_to_stop) = oneshot::channel::<()>();
        let nobody = tokio_stream::pending::<io::Result<DuplexStream>>();
        let served = tokio::spawn(server.run(nobody, async move { drop(told_to_stop.await) }));
        let world = Self {
            broker,
            connections,
            stop: Some(stop),
            served,
        };
        while !world
            .ask("GET /readyz", b"")
            .await
            .starts_with("HTTP/1.1 200")
        {
            tokio::task::yield_now().await;
        }
        world
    }

    async fn connect(&self, socket_bytes: usize) -> DuplexStream {
        let (ours, theirs) = duplex(socket_bytes);
        let sent = self.connections.send(Ok(theirs)).await;
        sent.expect("it takes connections");
        ours
    }

    async fn begin(&self, request: &str, socket_bytes: usize) -> DuplexStream {
        let mut io = self.connect(socket_bytes).await;
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.expect("it reads");
        io
    }

    async fn ask(&self, request: &str, body: &[u8]) -> String {
        let mut io = self.connect(64 << 10).await;
        let length = body.len();
        let request = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/x-ndjson\r\nContent-Length: {length}\r\n\r\n"
        );
        io.write_all(request.as_bytes()).await.expect("it reads");
        // The rest of a refused request is not read.
        io.write_all(body).await.ok();
        rest(io).await
    }

    /// Appends records with values of this size.
    async fn append(&self, count: usize, bytes: usize) {
        let value = "v".repeat(bytes);
        for nth in 0..count {
            let line = format!("{{\"key\":\"{nth}\",\"value\":\"{value}\"}}\n");
            let appended = self.ask("POST /v1/topics/t/records", line.as_bytes()).await;
            assert!(appended.starts_with("HTTP/1.1 200"), "{appended}");
        }
    }

    fn used(&self, part: Name) -> usize {
        self.broker.budget().part(part).used()
    }

    async fn until_nothing_is_used(&self, part: Name) {
        while self.used(part) > 0 {
            tokio::time::sleep(SHORT).await;
        }
    }
}

async fn rest(mut io: DuplexStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(LONG, io.read_to_end(&mut bytes)).await;
    read.expect("it ends").expect("it is there");
    String::from_utf8(bytes).expect("it is text")
}

/// Reads until this text was received.
async fn until(io: &mut DuplexStream, text: &str) -> String {
    let mut came = String::new();
    while !came.contains(text) {
        let mut some = [0; 1_024];
        let read = timeout(LONG, io.read(&mut some)).await.expect("it goes on");
        let read = read.expect("it is there");
        assert!(read > 0, "it ends: {came}");
        came.push_str(std::str::from_utf8(&some[..read]).expect("it is text"));
    }
    came
}

#[tokio::test]
async fn calls_have_places_of_their_own_and_take_none_of_those_who_look() {
    let world = World::start(Options::default()).await;
    let mut first = world
        .begin("GET /v1/topics/t/records?follow", 64 << 10)
        .await;
    let mut second = world
        .begin("GET /v1/topics/t/records?follow", 64 << 10)
        .await;
    until(&mut first, "\r\n\r\n").await;
    until(&mut second, "\r\n\r\n").await;
    let refused = world.ask("GET /v1/topics", b"").await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"reason\":\"OVERLOADED\""), "{refused}");
    let mut silent = Vec::new();
    for _ in 0..2 * limits::HTTP_CONNECTIONS {
        silent.push(world.connect(64).await);
    }
    let lives = world.ask("GET /livez", b"").await;
    assert!(lives.starts_with("HTTP/1.1 200"), "{lives}");
    world.append(0, 0).await;
    drop(first);
    loop {
        let topics = world.ask("GET /v1/topics", b"").await;
        if topics.starts_with("HTTP/1.1 200") {
            break;
        }
        tokio::task::yield_now().await;
    }
    drop(second);
    world.until_nothing_is_used(Name::Calls).await;
}

#[tokio::test]
async fn a_body_counts_as_it_comes_and_is_refused_where_there_is_no_room() {
    let world = World::start(Options::default()).await;
    let head = "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\n\
                Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n";
    let mut io = world.connect(64 << 10).await;
    io.write_all(head.as_bytes()).await.expect("it reads");
    while world.used(Name::Requests) == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.used(Name::Requests), (64 << 10) * limits::JSON_TIMES);
    io.write_all(&[b' '; 100_000]).await.expect("it reads");
    while world.used(Name::Requests) < 100_000 * limits::JSON_TIMES {
        tokio::task::yield_now().await;
    }
    assert!(world.used(Name::Requests) <= (128 << 10) * limits::JSON_TIMES);
    drop(io);
    world.until_nothing_is_used(Name::Requests).await;

    let part = world.broker.budget().part(Name::Requests);
    let others = part.holder().count(part.bound());
    let refused = world.ask("POST /v1/topics/t/records", b"{}").await;
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    drop(others);
    let taken = world.ask("POST /v1/topics/t/records", b"{}").await;
    assert!(taken.starts_with("HTTP/1.1 200"), "{taken}");
    world.until_nothing_is_used(Name::Requests).await;
}

#[tokio::test]
async fn bodies_that_do_not_come_take_no_places() {
    let world = World::start(Options::default()).await;
    let mut half_sent = Vec::new();
    for _ in 0..8 {
        let mut io = world.connect(64 << 10).await;
        let head = "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\n\
                    Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{";
        io.write_all(head.as_bytes()).await.expect("it reads");
        half_sent.push(io);
    }
    while world.used(Name::Requests) < 8 * (64 << 10) * limits::JSON_TIMES {
        tokio::task::yield_now().await;
    }
    let topics = world.ask("GET /v1/topics", b"").await;
    assert!(topics.starts_with("HTTP/1.1 200"), "{topics}");
    world.append(1, 10).await;
    drop(half_sent);
    world.until_nothing_is_used(Name::Requests).await;
}

#[tokio::test]
async fn who_may_not_append_is_told_so_before_the_body_comes() {
    let pattern = |text| NamePattern::parse(text).expect("it is a pattern");
    let others = Grant {
        principals: vec![pattern("token:other")],
        operations: Operations::of(Operation::Append),
        topics: vec![pattern("*")],
        ..Grant::default()
    };
    let auth = Auth::new(Grants::new(vec![others]), Exposure::Loopback);
    let world = World::start_with(Options::default(), auth).await;
    let mut io = world.connect(64 << 10).await;
    let head = "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
                Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{";
    io.write_all(head.as_bytes()).await.expect("it reads");
    let came = until(&mut io, "\r\n\r\n").await;
    assert!(came.starts_with("HTTP/1.1 403"), "{came}");
}

#[tokio::test]
async fn bodies_that_cannot_be_understood_are_refused_with_a_reason() {
    let world = World::start(Options::default()).await;
    for (encoding, status, reason) in [
        ("gzip, chunked", 501, "UNSUPPORTED_TRANSFER_ENCODING"),
        ("chunked", 400, "MALFORMED_REQUEST"),
    ] {
        let mut io = world.connect(64 << 10).await;
        let request = format!(
            "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: {encoding}\r\n\r\n\
             no-length\r\n{{}}\r\n"
        );
        io.write_all(request.as_bytes()).await.expect("it reads");
        let refused = until(&mut io, reason).await;
        let line = format!("HTTP/1.1 {status}");
        assert!(refused.starts_with(&line), "{refused}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_in_is_refused() {
    let options = Options {
        request_timeout: SHORT,
        ..Options::default()
    };
    let world = World::start(options).await;
    for length in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut io = world.connect(64 << 10).await;
        let head = format!(
            "POST /v1/topics/t/records HTTP/1.1\r\nHost: x\r\n\
             Content-Type: application/json\r\n{length}\r\n\r\n"
        );
        io.write_all(head.as_bytes()).await.expect("it reads");
        let refused = rest(io).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(
            refused.contains("\"reason\":\"REQUEST_STALLED\""),
            "{refused}"
        );
    }
    world.until_nothing_is_used(Name::Requests).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_keeps_nothing_in_memory_and_gets_all_when_it_does() {
    let world = World::start(Options::default()).await;
    world.append(40, 20_000).await;
    let mut io = world.begin("GET /v1/topics/t/records", 64).await;
    until(&mut io, "HTTP/1.1 200").await;
    // More text than the pieces can hold was made of a message; then the message is dropped.
    let reads = world.broker.budget().part(Name::Reads);
    while reads.most() < 200_000 {
        tokio::task::yield_now().await;
    }
    while world.used(Name::Reads) > 100_000 {
        tokio::time::sleep(SHORT).await;
    }
    let all = rest(io).await;
    let records = all.matches("\"partition\":0").count();
    assert_eq!(records, 40);
    assert!(all.ends_with("\r\n0\r\n\r\n"), "it has an end");
    world.until_nothing_is_used(Name::Reads).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_for_long_is_cut_off() {
    let options = Options {
        stalled_read: 20 * SHORT,
        ..Options::default()
    };
    let world = World::start(options).await;
    world.append(40, 20_000).await;
    let io = world.begin("GET /v1/topics/t/records", 64).await;
    while world.used(Name::Calls) == 0 {
        tokio::task::yield_now().await;
    }
    world.until_nothing_is_used(Name::Calls).await;
    let came = rest(io).await;
    assert!(came.len() <= 64, "{came}");
}

#[tokio::test]
async fn a_stop_waits_for_reads_that_are_taken_and_not_for_others() {
    let mut world = World::start(Options::default()).await;
    world.append(40, 20_000).await;
    let mut follows = world
        .begin("GET /v1/topics/t/records?follow&from=latest", 64 << 10)
        .await;
    until(&mut follows, "\r\n\r\n").await;
    let unread = world.begin("GET /v1/topics/t/records", 64).await;
    while world.used(Name::Reads) == 0 {
        tokio::task::yield_now().await;
    }
    world.stop.take().expect("once").send(()).expect("it runs");
    let told = rest(follows).await;
    assert!(told.contains("\"reason\":\"SHUTTING_DOWN\""), "{told}");
    timeout(LONG, &mut world.served)
        .await
        .expect("it ends")
        .expect("it does not panic");
    drop(unread);
    let refused = world.ask("GET /v1/topics", b"").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
}
