//! Connections with TLS: which clients are admitted, what the others are told, and files that are
//! replaced.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body};

use crate::{
    budget::{Budget, Sizes},
    env::{
        Env, FileSystem, Open,
        sim::{SimClock, SimDisk, SimRandom},
    },
    server::{
        CertificateNames, Certificates, Options, Principal, TlsFiles,
        certificates::stage,
        connections::Connections,
        notices::{Notice, Notices},
        peer::{Peer, Peers},
        stop,
    },
    tls::{
        Acceptor, ClientStream, Clients, Connector, Trust,
        tests::authority::{Authority, Issued},
    },
};

/// 2026-11-28.
const NOW_MS: i64 = 1_795_824_000_000;

/// Files on a simulated disk, with a clock that stands still unless it is moved.
struct World {
    disk: SimDisk,
    clock: SimClock,
}

impl World {
    fn new() -> Self {
        let disk = SimDisk::new(1);
        disk.create_dir(Path::new("/tls")).expect("it is new");
        Self {
            disk,
            clock: SimClock::new(NOW_MS),
        }
    }

    fn write(&self, name: &str, text: &str) {
        let path = Path::new("/tls").join(name);
        if self.disk.exists(&path).expect("the disk is well") {
            self.disk.remove_file(&path).expect("it is there");
        }
        let file = self.disk.open(&path, Open::Create).expect("it is new");
        file.write_all_at(&[text.as_bytes()], 0).expect("sound");
    }

    fn put(&self, issued: &Issued) {
        self.write("certificate.pem", &issued.certificate);
        self.write("key.pem", &issued.key);
    }

    fn load(&self, client_ca: bool) -> Result<Certificates, String> {
        let env = Env {
            files: Arc::new(self.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(SimRandom::new(1)),
        };
        let files = TlsFiles {
            certificate: "/tls/certificate.pem".into(),
            key: "/tls/key.pem".into(),
            client_ca: client_ca.then(|| "/tls/ca.pem".into()),
            clients: Clients {
                required: true,
                any_usage: false,
            },
        };
        Certificates::load(env, files).map_err(|unusable| unusable.to_string())
    }
}

struct Served {
    incoming: mpsc::Sender<io::Result<DuplexStream>>,
    notices: Arc<Notices>,
    /// The callers of the calls so far.
    callers: Arc<Mutex<Vec<Option<Principal>>>>,
    _stop: stop::Stop,
}

fn serve(acceptor: Arc<Acceptor>) -> Served {
    serve_within(Duration::from_secs(3_600), acceptor)
}

/// Serves with this timeout for handshakes.
fn serve_within(handshake_timeout: Duration, acceptor: Arc<Acceptor>) -> Served {
    let (incoming, receiver) = mpsc::channel(16);
    let (stop, stopping) = stop::channel();
    let notices = Arc::new(Notices::default());
    let callers = Arc::new(Mutex::new(Vec::new()));
    let options = Options {
        tls: true,
        handshake_timeout,
        ..Options::default()
    };
    let budget = Budget::new(&Sizes::default());
    let peers = Peers::new(&budget, None, &Arc::default(), &options);
    let (said, seen) = (Arc::clone(&notices), Arc::clone(&callers));
    tokio::spawn(async move {
        let service = tower::service_fn(move |request: Request<Body>| {
            let peer = request.extensions().get::<Peer>().expect("it has one");
            let caller = peer.certified(&CertificateNames::default());
            seen.lock().expect("nobody panics").push(caller);
            async { Ok::<_, std::convert::Infallible>(Response::new(Body::empty())) }
        });
        let clock = Env::system().clock;
        let connections = Connections::new(service, peers, clock, &options, said, stopping);
        let mut connections = connections.with_tls(Some(acceptor));
        connections.take(ReceiverStream::new(receiver)).await;
    });
    Served {
        incoming,
        notices,
        callers,
        _stop: stop,
    }
}

impl Served {
    async fn plain(&self) -> DuplexStream {
        let (ours, theirs) = duplex(1 << 20);
        self.incoming.send(Ok(theirs)).await.expect("it is served");
        ours
    }

    async fn connect(&self, connector: &Connector) -> io::Result<ClientStream<DuplexStream>> {
        connector.connect(self.plain().await).await
    }

    async fn call(&self, stream: ClientStream<DuplexStream>) -> Result<Calls, h2::Error> {
        let (calls, connection) = h2::client::handshake(stream).await?;
        tokio::spawn(connection);
        let mut calls = Calls(calls);
        calls.call().await?;
        Ok(calls)
    }
}

struct Calls(h2::client::SendRequest<Bytes>);

impl Calls {
    async fn call(&mut self) -> Result<(), h2::Error> {
        let request = Request::post("https://broker/call")
            .body(())
            .expect("sound");
        let mut calls = self.0.clone().ready().await?;
        let (answer, _) = calls.send_request(request, true)?;
        answer.await.map(drop)
    }
}

fn connector(authority: &Authority, identity: Option<&Issued>) -> Connector {
    let identity = identity.map(|issued| (issued.certificate.as_bytes(), issued.key.as_bytes()));
    let trust = Trust::Pem(authority.certificate().as_bytes());
    Connector::new(trust, identity, "localhost").expect("it is sound")
}

#[tokio::test]
async fn a_call_knows_the_certificate_of_its_client() {
    let (authority, world) = (Authority::new(), World::new());
    world.put(&authority.broker());
    world.write("ca.pem", authority.certificate());
    let served = serve(world.load(true).expect("it is sound").acceptor());
    let client = authority.client("billing");
    let stream = served.connect(&connector(&authority, Some(&client))).await;
    served.call(stream.expect("sound")).await.expect("sound");
    let callers = served.callers.lock().expect("nobody panics").clone();
    let caller = callers.into_iter().next().flatten().expect("it is known");
    assert_eq!(caller.as_str(), "certificate:CN:billing");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_where_one_is_required_and_the_log_says_so() {
    let (authority, world) = (Authority::new(), World::new());
    world.put(&authority.broker());
    world.write("ca.pem", authority.certificate());
    let served = serve(world.load(true).expect("it is sound").acceptor());
    // With TLS 1.3 the client's handshake is over before the broker has seen the certificate.
    let mut stream = served
        .connect(&connector(&authority, None))
        .await
        .expect("sound");
    let error = stream.read_u8().await.expect_err("it is refused");
    assert!(
        error
            .to_string()
            .contains("only clients that have a certificate"),
        "{error}"
    );
    assert!(served.notices.has_said(Notice::TlsFailed));
    assert!(served.callers.lock().expect("nobody panics").is_empty());
}

#[tokio::test]
async fn who_speaks_no_tls_is_told_to_and_the_log_says_so() {
    let (authority, world) = (Authority::new(), World::new());
    world.put(&authority.broker());
    let served = serve(world.load(false).expect("it is sound").acceptor());
    let plain = h2::client::handshake(served.plain().await).await;
    let (calls, connection) = plain.expect("it is answered");
    tokio::spawn(connection);
    let request = Request::post("http://broker/call").body(()).expect("sound");
    let mut calls = calls.ready().await.expect("it is answered");
    let (answer, _) = calls.send_request(request, true).expect("it is answered");
    let answer = answer.await.expect("it is answered");
    let status = Status::from_header_map(answer.headers()).expect("it is told");
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        status.message(),
        "this port speaks TLS: use an https:// URL"
    );
    assert!(served.notices.has_said(Notice::NoTls));

    let mut plain = served.plain().await;
    plain
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sound");
    let mut answer = String::new();
    plain.read_to_string(&mut answer).await.expect("sound");
    assert!(
        answer.ends_with("This port speaks gRPC over HTTP/2, with TLS.\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_handshake_of_tls_that_does_not_end_is_ended() {
    let (authority, world) = (Authority::new(), World::new());
    world.put(&authority.broker());
    let acceptor = world.load(false).expect("it is sound").acceptor();
    let served = serve_within(Duration::from_millis(10), acceptor);
    let mut client = served.plain().await;
    // The beginning of a record with a ClientHello.
    client
        .write_all(&[0x16, 3, 1, 2, 0, 1])
        .await
        .expect("sound");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("it is closed");
    assert_eq!(answer, b"");
    assert!(served.notices.has_said(Notice::HandshakeTooSlow));
}

#[tokio::test]
async fn new_files_are_for_new_connections_and_those_that_there_are_go_on() {
    let (first, second, world) = (Authority::new(), Authority::new(), World::new());
    world.put(&first.broker());
    let mut certificates = world.load(false).expect("it is sound");
    let served = serve(certificates.acceptor());
    let stream = served
        .connect(&connector(&first, None))
        .await
        .expect("sound");
    let mut calls = served.call(stream).await.expect("sound");

    // The key follows a moment after the certificate.
    let next = second.broker();
    world.write("certificate.pem", &next.certificate);
    certificates.look();
    world.write("key.pem", &next.key);
    certificates.look();
    assert!(served.connect(&connector(&second, None)).await.is_err());
    certificates.look();
    assert!(served.connect(&connector(&second, None)).await.is_ok());
    assert!(served.connect(&connector(&first, None)).await.is_err());
    calls.call().await.expect("it goes on");
}

#[tokio::test]
async fn new_files_that_cannot_be_used_change_nothing() {
    let (authority, world) = (Authority::new(), World::new());
    let (good, other) = (authority.broker(), authority.broker());
    world.put(&good);
    let mut certificates = world.load(false).expect("it is sound");
    let served = serve(certificates.acceptor());
    let connector = connector(&authority, None);
    world.write("key.pem", &other.key);
    for _ in 0..3 {
        certificates.look();
        assert!(served.connect(&connector).await.is_ok());
    }
    world
        .disk
        .remove_file(Path::new("/tls/key.pem"))
        .expect("it is there");
    for _ in 0..3 {
        certificates.look();
        assert!(served.connect(&connector).await.is_ok());
    }
    world.put(&authority.broker());
    certificates.look();
    certificates.look();
    assert!(served.connect(&connector).await.is_ok());
}

#[tokio::test]
async fn a_new_file_of_authorities_that_cannot_be_used_changes_nothing() {
    let (authority, world) = (Authority::new(), World::new());
    world.put(&authority.broker());
    world.write("ca.pem", authority.certificate());
    let mut certificates = world.load(true).expect("it is sound");
    let served = serve(certificates.acceptor());
    let client = authority.client("billing");
    // Somebody has put the certificate of a client there, not that of its authority.
    world.write("ca.pem", &client.certificate);
    for _ in 0..3 {
        certificates.look();
        let stream = served.connect(&connector(&authority, Some(&client))).await;
        served.call(stream.expect("sound")).await.expect("sound");
    }
    let refused = world.load(true).err().expect("a start refuses it");
    assert!(
        refused.starts_with(
            "/tls/ca.pem cannot be used: certificate 1 (CN=billing): it is not of an authority"
        ),
        "{refused}"
    );
}

#[test]
fn a_file_that_cannot_be_used_at_the_start_is_named_with_what_to_do() {
    let (authority, world) = (Authority::new(), World::new());
    let missing = world.load(false).err().expect("there is none");
    assert_eq!(
        missing,
        "/tls/certificate.pem cannot be used: there is no such file"
    );
    let (one, other) = (authority.broker(), authority.broker());
    world.put(&one);
    world.write("key.pem", &other.key);
    let mismatch = world.load(false).err().expect("they do not match");
    assert_eq!(
        mismatch,
        "/tls/key.pem cannot be used: it is not the key of the certificate; take the key that the \
         certificate was made for"
    );
}

#[test]
fn a_certificate_is_warned_of_30_and_7_days_and_one_day_before_its_end() {
    let hours = |hours: i64| stage(hours * 3_600_000);
    assert_eq!(hours(30 * 24), None);
    assert_eq!(hours(30 * 24 - 1), Some(30));
    assert_eq!(hours(7 * 24), Some(30));
    assert_eq!(hours(7 * 24 - 1), Some(7));
    assert_eq!(
        (hours(24), hours(23), hours(0)),
        (Some(7), Some(1), Some(1))
    );
    assert_eq!(hours(-1), Some(0), "it has expired");
}
