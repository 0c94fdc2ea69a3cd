//! Metrics and health over plain HTTP, and the limits for clients.

use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    broker::{self, Broker},
    budget::Name,
    env::{
        Env,
        sim::{Fault, OpKind, SimClock, SimDisk, SimRandom},
    },
    server::{
        Options, Server,
        http::{Http, Patience, scrape::Pace},
        limits::{self, HttpApi},
    },
};

/// Longer than anything takes that ends at all.
const LONG: Duration = Duration::from_secs(3_600);

/// How many calls there may be at a time.
const CALLS: usize = 2;

/// A timeout that is meant to pass.
const SHORT: Duration = Duration::from_millis(20);

/// A listener for HTTP, and its clients.
struct World {
    http: Http,
    connections: mpsc::Sender<io::Result<DuplexStream>>,
}

impl World {
    /// The listener of a broker that is starting.
    fn start() -> Self {
        Self::waiting(LONG, LONG)
    }

    /// A listener that waits this long for a header, and for a client that does not read.
    fn waiting(header: Duration, stall: Duration) -> Self {
        let rules = HttpApi {
            calls: CALLS,
            ..HttpApi::default()
        };
        let mut http = Http::new(Env::system().clock, rules);
        http.patience = Patience { header, stall };
        let (connections, incoming) = mpsc::channel(64);
        tokio::spawn(http.clone().serve(ReceiverStream::new(incoming)));
        Self { http, connections }
    }

    async fn connect(&self, socket_bytes: usize) -> DuplexStream {
        let (ours, theirs) = duplex(socket_bytes);
        let sent = self.connections.send(Ok(theirs)).await;
        sent.expect("it takes connections");
        ours
    }

    /// Sends a request on a new connection and returns the response.
    async fn ask(&self, request: &str) -> String {
        let mut io = self.connect(64 << 10).await;
        let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        io.write_all(request.as_bytes()).await.expect("it reads");
        answer(io).await
    }

    /// Serves a broker on a simulated disk. The sender tells it to stop.
    fn serve(&self) -> (Arc<Broker>, oneshot::Sender<()>) {
        self.serve_on(&SimDisk::new(1))
    }

    fn serve_on(&self, disk: &SimDisk) -> (Arc<Broker>, oneshot::Sender<()>) {
        let env = Env {
            files: Arc::new(disk.clone()),
            clock: Arc::new(SimClock::new(1_700_000_000_000)),
            random: Arc::new(SimRandom::new(1)),
        };
        let options = broker::Options {
            disk_reserve_bytes: 0,
            ..broker::Options::new(PathBuf::from("/data"))
        };
        let broker = Broker::open(env, options).expect("nothing fails");
        let server = Server::new(Arc::clone(&broker), Options::default());
        let (stop, told_to_stop) = oneshot::channel::<()>();
        let nobody = tokio_stream::pending::<io::Result<DuplexStream>>();
        let server = server.seen_over(self.http.clone());
        tokio::spawn(server.run(nobody, async move { drop(told_to_stop.await) }));
        (broker, stop)
    }

    /// Repeats a request until the response begins like this.
    async fn until(&self, request: &str, begins: &str) -> String {
        loop {
            let answer = self.ask(request).await;
            if answer.starts_with(begins) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn answer(mut io: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut answer = String::new();
    let read = timeout(LONG, io.read_to_string(&mut answer)).await;
    read.expect("it ends").expect("it is text");
    answer
}

fn status(answer: &str) -> &str {
    answer.split_whitespace().nth(1).unwrap_or_default()
}

#[tokio::test]
async fn it_lives_from_the_start_and_is_ready_from_when_it_takes_calls_until_it_is_to_stop() {
    let world = World::start();
    assert_eq!(status(&world.ask("GET /livez").await), "200");
    for path in ["/readyz", "/metrics"] {
        let starting = world.ask(&format!("GET {path}")).await;
        assert_eq!(status(&starting), "503");
        assert!(starting.contains("it is starting"), "{starting}");
    }
    let (_broker, stop) = world.serve();
    world.until("GET /readyz", "HTTP/1.1 200").await;
    stop.send(()).expect("it runs");
    let stopping = world.until("GET /readyz", "HTTP/1.1 503").await;
    assert!(stopping.contains("told to stop"), "{stopping}");
    assert_eq!(status(&world.ask("GET /livez").await), "200");
}

#[tokio::test]
async fn a_broker_whose_storage_has_failed_neither_lives_nor_is_ready_and_says_why() {
    let world = World::start();
    let disk = SimDisk::new(1);
    let (broker, _stop) = world.serve_on(&disk);
    world.until("GET /readyz", "HTTP/1.1 200").await;
    disk.inject(Fault::on(OpKind::SyncData).in_path("journal").for_ever());
    let created = broker.create_topic("t", 1, &BTreeMap::new());
    let created = created.expect("a good name").await;
    created.expect_err("no sync succeeds");
    // The request that was waiting is answered before the failure is reported.
    world.until("GET /livez", "HTTP/1.1 503").await;
    let reason = broker.failure().expect("it has failed");
    for path in ["/livez", "/readyz"] {
        let failed = world.ask(&format!("GET {path}")).await;
        assert_eq!(status(&failed), "503");
        assert!(failed.contains(&reason), "{failed}");
    }
    let metrics = world.ask("GET /metrics").await;
    assert!(
        metrics.contains("\ntaffrail_storage_failed 1\n"),
        "{metrics}"
    );
}

#[tokio::test]
async fn metrics_are_in_the_format_that_is_asked_for() {
    let world = World::start();
    let (_broker, _stop) = world.serve();
    let plain = world.until("GET /metrics", "HTTP/1.1 200").await;
    assert!(
        plain.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{plain}"
    );
    assert!(
        plain.contains("\ntaffrail_memory_limit_bytes{part=\"reads\"} "),
        "{plain}"
    );
    assert!(!plain.contains("# EOF"), "{plain}");

    let request =
        "GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text;version=1.0.0\r\nX: ";
    let open = world.ask(request).await;
    let content_type =
        "\r\ncontent-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(open.contains(content_type), "{open}");
    assert!(open.ends_with("\n# EOF\n"), "{open}");
}

#[tokio::test]
async fn a_topic_has_metrics_and_its_partitions_where_they_are_asked_for() {
    let world = World::start();
    let (broker, _stop) = world.serve();
    world.until("GET /readyz", "HTTP/1.1 200").await;
    let created = broker.create_topic("t", 2, &BTreeMap::new());
    let created = created.expect("a good name").await;
    created.expect("nothing fails");
    let whole = world.ask("GET /metrics").await;
    assert!(
        whole.contains("\ntaffrail_topic_partitions{topic=\"t\"} 2\n"),
        "{whole}"
    );
    assert!(
        whole.contains("\ntaffrail_metrics_omitted{what=\"topics\"} 0\n"),
        "{whole}"
    );
    assert!(!whole.contains("taffrail_partition_end_offset{"), "{whole}");
    let partitions = world.ask("GET /metrics?partitions=t").await;
    let second = "\ntaffrail_partition_end_offset{topic=\"t\",partition=\"1\"} 0\n";
    assert!(partitions.contains(second), "{partitions}");
    assert!(
        !partitions.contains("\ntaffrail_topics "),
        "they have no other metrics"
    );
    assert_eq!(status(&world.ask("GET /metrics?partitions=u").await), "404");
}

#[tokio::test]
async fn what_is_not_there_is_refused_with_what_is() {
    let world = World::start();
    let unknown = world.ask("GET /metric").await;
    assert_eq!(status(&unknown), "404");
    assert!(unknown.contains("/metrics"), "{unknown}");
    let post = world.ask("POST /livez").await;
    assert_eq!(status(&post), "405");
    assert!(post.contains("allow: GET, HEAD"), "{post}");
    let head = world.ask("HEAD /livez").await;
    assert_eq!(status(&head), "200");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    let long = format!("GET /{}", "x".repeat(2 * limits::HTTP_HEADERS_BYTES));
    let refused = status(&world.ask(&long).await).to_owned();
    assert!(refused == "414" || refused == "431", "{refused}");
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let world = World::start();
    let mut silent = Vec::new();
    for _ in 0..3 * (CALLS + limits::HTTP_CONNECTIONS) {
        silent.push(world.connect(64).await);
    }
    assert_eq!(status(&world.ask("GET /livez").await), "200");
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_ends_its_connection() {
    let world = World::waiting(SHORT, LONG);
    let mut slow = world.connect(64).await;
    slow.write_all(b"GET /livez HTTP/1.1\r\n")
        .await
        .expect("it reads");
    assert_eq!(answer(slow).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off_and_costs_nothing_any_more() {
    let world = World::waiting(LONG, SHORT);
    let (broker, _stop) = world.serve();
    world.until("GET /readyz", "HTTP/1.1 200").await;
    let mut io = world.connect(64).await;
    io.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("it reads");
    let reads = broker.budget().part(Name::Reads);
    while reads.used() == 0 {
        tokio::task::yield_now().await;
    }
    // The rest is larger than the connection's buffer, so it stays counted until the connection
    // ends.
    assert!(reads.used() > limits::HTTP_HEADERS_BYTES);
    while reads.used() > 0 {
        sleep(SHORT).await;
    }
    let rest = answer(io).await;
    assert!(rest.len() <= 64, "{rest}");
}

#[test]
fn behind_a_page_there_is_a_pause_three_times_as_long_as_it_took() {
    let ms = Duration::from_millis;
    let mut pace = Pace::default();
    assert_eq!(pace.wait(ms(5)), ms(0));
    pace.made(ms(1_000), ms(1_100));
    assert_eq!(pace.wait(ms(1_100)), ms(300));
    assert_eq!(pace.wait(ms(1_399)), ms(1));
    assert_eq!(pace.wait(ms(2_000)), ms(0));
}
