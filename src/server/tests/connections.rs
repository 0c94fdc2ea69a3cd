//! Admission of connections: how many are admitted, what they must send, and what the others are
//! told.

use std::{convert::Infallible, future::pending, io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use crate::{
    budget::{Budget, Name, Part, Sizes},
    env::Env,
    server::{
        Options,
        connections::{Connections, Door},
        greeting::{self, Greeting},
        limits,
        notices::{Count, Notices},
        peer::Peers,
        places::Places,
        stop,
    },
};

const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
    \x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00";

/// The offset of the SETTINGS payload.
const PAYLOAD: usize = 24 + 9;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(3_600);

fn door(connections: Vec<io::Result<DuplexStream>>, places: usize) -> Door<DuplexStream> {
    let notices = Arc::new(Notices::default());
    let places = Places::new(places, Duration::ZERO, None, Env::system().clock);
    Door::new(tokio_stream::iter(connections), places, notices)
}

#[tokio::test]
async fn a_connection_over_the_limit_is_closed_without_a_byte() {
    let (_client, first) = duplex(1024);
    let (mut turned_away, second) = duplex(1024);
    let mut door = door(vec![Ok(first), Ok(second)], 1);
    let (_first, place) = door.next().await.unwrap();
    place.served();
    assert!(door.next().await.is_none());

    let mut answer = Vec::new();
    turned_away.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_has_ended() {
    let (_client, first) = duplex(1024);
    let (_other_client, second) = duplex(1024);
    let mut door = door(vec![Ok(first), Ok(second)], 1);
    drop(door.next().await.unwrap());
    assert!(door.next().await.is_some());
}

#[tokio::test]
async fn a_newcomer_gets_the_place_of_whoever_is_longest_in_its_handshake() {
    let connections = (0..4).map(|_| Ok(duplex(1024).1)).collect();
    let mut door = door(connections, 3);
    let (_served, served) = door.next().await.unwrap();
    let (_older, older) = door.next().await.unwrap();
    let (_newer, newer) = door.next().await.unwrap();
    served.served();
    let newcomer = door.next();
    tokio::pin!(newcomer);
    tokio::select! {
        () = served.wanted() => panic!("it is served"),
        () = newer.wanted() => panic!("another one has been there for longer"),
        () = older.wanted() => drop(older),
        _ = &mut newcomer => panic!("there is no place"),
    }
    assert!(newcomer.await.is_some());
}

#[tokio::test]
async fn a_newcomer_gets_the_memory_of_whoever_leaves_for_it() {
    // There is memory for one and a half connections, and there are more places.
    let part = Arc::new(Part::new(Name::Windows, limits::CONNECTION_BYTES * 3 / 2));
    let places = Places::new(
        9,
        Duration::ZERO,
        Some((part.holder(), limits::CONNECTION_BYTES)),
        Env::system().clock,
    );
    let (_first_client, first) = duplex(1024);
    let (_second_client, second) = duplex(1024);
    let connections = tokio_stream::iter([Ok(first), Ok(second)]);
    let mut door = Door::new(connections, places, Arc::default());
    let (_first, place) = door.next().await.unwrap();
    let leaving = async {
        place.wanted().await;
        drop(place);
    };
    let (second, ()) = tokio::join!(door.next(), leaving);
    assert!(second.is_some());
    assert_eq!(part.used(), limits::CONNECTION_BYTES);
}

#[tokio::test]
async fn a_newcomer_gets_the_place_of_whoever_is_idle_longest() {
    let connections = (0..4).map(|_| Ok(duplex(1024).1)).collect();
    let mut door = door(connections, 3);
    let (_busy, busy) = door.next().await.unwrap();
    let (_second, second) = door.next().await.unwrap();
    let (_first, first) = door.next().await.unwrap();
    for place in [&busy, &first, &second] {
        place.served();
        place.idle();
        // Makes the next connection idle for less long.
        sleep(Duration::from_millis(2)).await;
    }
    // The connection has a call again.
    busy.busy();
    let newcomer = door.next();
    tokio::pin!(newcomer);
    tokio::select! {
        () = busy.wanted() => panic!("it has a call"),
        () = second.wanted() => panic!("another one is idle for longer"),
        () = first.wanted() => drop(first),
        _ = &mut newcomer => panic!("there is no place"),
    }
    assert!(newcomer.await.is_some());
}

#[tokio::test]
async fn a_newcomer_does_not_wait_for_ever_for_a_place() {
    let connections = (0..2).map(|_| Ok(duplex(1024).1)).collect();
    let mut door = door(connections, 1);
    let (_first, stays) = door.next().await.unwrap();
    stays.served();
    stays.idle();
    assert!(door.next().await.is_none());
}

/// A client's end of a connection on which calls can be made.
struct Client {
    calls: h2::client::SendRequest<Bytes>,
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    async fn open(incoming: &mpsc::Sender<io::Result<DuplexStream>>) -> Result<Self, h2::Error> {
        let (ours, theirs) = duplex(1 << 20);
        incoming.send(Ok(theirs)).await.unwrap();
        let (calls, connection) = h2::client::handshake(ours).await?;
        let ended = tokio::spawn(connection);
        Ok(Self { calls, ended })
    }

    /// Begins a call, which is answered at once if its path is `/now`.
    async fn call(&mut self, path: &str) -> h2::client::ResponseFuture {
        let request = Request::post(format!("http://broker{path}"));
        let ready = self.calls.clone().ready().await;
        let mut calls = ready.expect("the connection lives");
        calls
            .send_request(request.body(()).unwrap(), true)
            .unwrap()
            .0
    }
}

/// Responds only to calls of `/now`.
async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() != "/now" {
        pending::<()>().await;
    }
    Ok(Response::new(Body::empty()))
}

/// Serves connections; returns the sender through which they come in.
fn serve(options: Options) -> (mpsc::Sender<io::Result<DuplexStream>>, stop::Stop) {
    let (sender, receiver) = mpsc::channel(16);
    let (stop, stopping) = stop::channel();
    let notices = Arc::new(Notices::default());
    let peers = Peers::new(
        &Budget::new(&Sizes::default()),
        None,
        &Arc::default(),
        &options,
    );
    let clock = Env::system().clock;
    let service = tower::service_fn(answer);
    tokio::spawn(async move {
        let mut connections = Connections::new(service, peers, clock, &options, notices, stopping);
        connections.take(ReceiverStream::new(receiver)).await;
    });
    (sender, stop)
}

#[tokio::test]
async fn a_connection_that_is_idle_for_long_makes_room_for_another_and_is_told() {
    let (incoming, _stop) = serve(Options {
        max_connections: 2,
        idle: Duration::ZERO,
        ..Options::default()
    });
    let mut idle = Client::open(&incoming).await.unwrap();
    idle.call("/now").await.await.unwrap();
    let mut busy = Client::open(&incoming).await.unwrap();
    let _under_way = busy.call("/never").await;
    busy.call("/now").await.await.unwrap();

    let mut newcomer = Client::open(&incoming).await.unwrap();
    newcomer.call("/now").await.await.unwrap();
    // GOAWAY with NO_ERROR.
    idle.ended.await.unwrap().unwrap();
    busy.call("/now").await.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_idle_for_less_long_keeps_its_place() {
    let (incoming, _stop) = serve(Options {
        max_connections: 1,
        idle: LONG,
        ..Options::default()
    });
    let mut idle = Client::open(&incoming).await.unwrap();
    idle.call("/now").await.await.unwrap();
    assert!(
        Client::open(&incoming)
            .await
            .unwrap()
            .ended
            .await
            .unwrap()
            .is_err()
    );
    idle.call("/now").await.await.unwrap();
}

#[tokio::test]
async fn the_handshake_is_to_be_complete_in_time() {
    let (incoming, _stop) = serve(Options {
        handshake_timeout: Duration::from_millis(50),
        ..Options::default()
    });
    for len in [0, 1, 24, PAYLOAD, OPENING.len() - 1] {
        let (mut client, server) = duplex(1024);
        incoming.send(Ok(server)).await.unwrap();
        client.write_all(&OPENING[..len]).await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(20), client.read_to_end(&mut answer)).await;
        closed
            .unwrap_or_else(|_| panic!("it stays open after {len} bytes"))
            .unwrap();
        assert_eq!(answer, b"", "after {len} bytes");
    }
}

#[test]
fn a_greeting_is_known_by_its_first_bytes_and_not_before() {
    for len in 0..OPENING.len() {
        assert_eq!(greeting::of(&OPENING[..len]), None, "{len} bytes");
    }
    assert_eq!(greeting::of(OPENING), Some(Greeting::Http2));
    let mut no_settings = OPENING.to_vec();
    no_settings[PAYLOAD - 6] = 6;
    let mut endless = OPENING.to_vec();
    endless[PAYLOAD - 9] = 1;
    for wrong in [no_settings, endless] {
        assert_eq!(greeting::of(&wrong), Some(Greeting::Unknown));
    }
    for (bytes, greeting) in [
        (&b"G"[..], Some(Greeting::Http1)),
        (b"P", None),
        (b"POST / HTTP/1.1", Some(Greeting::Http1)),
        (b"\x16", None),
        (b"\x16\x03", Some(Greeting::Tls)),
        (b"\x16\x04", Some(Greeting::Unknown)),
        (b"\x00", Some(Greeting::Unknown)),
        (b"ssh", Some(Greeting::Unknown)),
    ] {
        assert_eq!(greeting::of(bytes), greeting, "{bytes:?}");
    }
}

#[tokio::test]
async fn a_greeting_may_come_byte_by_byte_and_nothing_of_it_is_lost() {
    let (mut client, mut server) = duplex(1);
    let sent = [OPENING, b"more"].concat();
    let (written, read) = tokio::join!(client.write_all(&sent), async {
        let greeted = greeting::read(&mut server).await;
        let mut rest = [0; 4];
        server.read_exact(&mut rest).await.unwrap();
        (greeted, rest)
    });
    written.unwrap();
    let (greeted, rest) = read;
    let (greeting, opening) = greeted.unwrap();
    assert_eq!((greeting, &opening[..]), (Greeting::Http2, OPENING));
    assert_eq!(&rest, b"more");
}

#[tokio::test]
async fn an_answer_to_http1_has_the_length_that_it_says() {
    let (mut client, server) = duplex(1024);
    let mut answer = String::new();
    let (refused, read) = tokio::join!(Greeting::Http1.refuse(server, true), async {
        let read = client.read_to_string(&mut answer).await;
        client.shutdown().await.unwrap();
        read
    });
    refused.unwrap();
    read.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
}

#[test]
fn what_happens_often_is_said_once_a_period_with_how_often() {
    let mut count = Count::default();
    assert_eq!(count.happened(), Some(1));
    assert_eq!((count.happened(), count.happened()), (None, None));
    assert_eq!(count.period_over(), Some(2));
    assert_eq!(count.happened(), None, "it was said in this period");
    assert_eq!(count.period_over(), Some(1));
    assert_eq!(count.period_over(), None);
    assert_eq!(count.happened(), Some(1), "it has been quiet");
}
