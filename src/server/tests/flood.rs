//! How much of the server's memory clients can take with calls that they open and do not finish.

use std::{convert::Infallible, future::poll_fn, io, pin::Pin, sync::Arc};

use bytes::Bytes;
use h2::{Ping, PingPong, SendStream, client::SendRequest};
use http::{Request, Response};
use http_body::Body as _;
use tokio::{
    io::{DuplexStream, duplex},
    sync::mpsc,
    time::sleep,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;
use tower::Service;

use crate::{
    broker::Error,
    budget::{Budget, Name, Sizes},
    env::sim::SimClock,
    proto,
    server::{
        Options,
        connections::Connections,
        limits::{self, CONNECTION_BYTES},
        most_connections,
        notices::Notices,
        peer::Peers,
        stop,
    },
};

const MIB: usize = 1 << 20;

pub(super) type Incoming = mpsc::Sender<io::Result<DuplexStream>>;

/// Responds to `/take`, after taking the whole request, and to `/now`; to no other calls.
async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        "/now" => {}
        "/take" => {
            let mut body = request.into_body();
            while poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))
                .await
                .is_some()
            {}
        }
        _ => std::future::pending().await,
    }
    Ok(Response::new(Body::empty()))
}

pub(super) fn serve(budget: &Budget) -> (Incoming, stop::Stop) {
    serve_with(tower::service_fn(answer), budget)
}

pub(super) fn serve_with<S>(service: S, budget: &Budget) -> (Incoming, stop::Stop)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    serve_as(service, budget, Options::default(), &Arc::default())
}

/// Serves with these options. Notices about clients are counted in `notices`.
pub(super) fn serve_as<S>(
    service: S,
    budget: &Budget,
    options: Options,
    notices: &Arc<Notices>,
) -> (Incoming, stop::Stop)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send,
{
    let (sender, receiver) = mpsc::channel(16);
    let (stop, stopping) = stop::channel();
    let peers = Peers::new(budget, None, &Arc::default(), &options);
    // The clock stands still, so that no client counts as slow.
    let clock = Arc::new(SimClock::default());
    let notices = Arc::clone(notices);
    tokio::spawn(async move {
        let mut connections = Connections::new(service, peers, clock, &options, notices, stopping);
        connections.take(ReceiverStream::new(receiver)).await;
    });
    (sender, stop)
}

pub(super) struct Client {
    calls: SendRequest<Bytes>,
    pings: PingPong,
}

impl Client {
    pub(super) async fn open(incoming: &Incoming) -> Self {
        let (ours, theirs) = duplex(1 << 20);
        incoming.send(Ok(theirs)).await.unwrap();
        let (calls, mut connection) = h2::client::handshake(ours).await.unwrap();
        let pings = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        Self { calls, pings }
    }

    pub(super) async fn begin(
        &mut self,
        path: &str,
        header: &str,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let request = Request::post(format!("http://broker{path}")).header("x-any", header);
        let mut calls = self.calls.clone().ready().await.unwrap();
        calls
            .send_request(request.body(()).unwrap(), false)
            .unwrap()
    }

    async fn is_answered(&mut self, path: &str) -> bool {
        let (response, mut body) = self.begin(path, "").await;
        body.send_data(Bytes::new(), true).ok();
        response
            .await
            .is_ok_and(|response| !response.headers().contains_key("grpc-status"))
    }

    /// Waits until the server has reacted to everything that was sent.
    pub(super) async fn settle(&mut self) {
        for _ in 0..4 {
            self.pings.ping(Ping::opaque()).await.unwrap();
        }
    }

    /// Sends as much as the server allows, up to `most`; returns how much that was.
    async fn fill(&mut self, body: &mut SendStream<Bytes>, most: usize) -> usize {
        let mut sent = 0;
        while sent < most {
            body.reserve_capacity(64 << 10);
            self.settle().await;
            let capacity = body.capacity().min(most - sent);
            if capacity == 0 {
                break;
            }
            body.send_data(vec![7; capacity].into(), false).unwrap();
            sent += capacity;
        }
        sent
    }
}

#[tokio::test]
async fn what_all_clients_may_send_ahead_is_within_its_part_of_the_memory() {
    let budget = Budget::new(&Sizes::default().with(Name::Windows, 16 * MIB));
    let (incoming, _stop) = serve(&budget);
    let (mut clients, mut held) = (Vec::new(), 0);
    for _ in 0..20 {
        let mut client = Client::open(&incoming).await;
        // A client that sends much is granted a larger window.
        let (response, mut body) = client.begin("/take", "").await;
        assert_eq!(client.fill(&mut body, MIB).await, MIB);
        body.send_data(Bytes::new(), true).unwrap();
        response.await.unwrap();
        // The requests of these calls are never taken.
        for _ in 0..4 {
            let (response, mut body) = client.begin("/never", "").await;
            held += client.fill(&mut body, 64 * MIB).await;
            clients.push((response, body));
        }
        let part = budget.part(Name::Windows);
        assert!(held <= part.used(), "{held} of {}", part.used());
        assert!(part.used() <= part.bound());
    }
    assert!(held > 20 * (32 << 10), "each may send something: {held}");
}

#[tokio::test]
async fn as_many_clients_come_as_are_promised_however_much_others_may_send_ahead() {
    let budget = Budget::new(&Sizes::default());
    let part = budget.part(Name::Windows);
    let (incoming, _stop) = serve(&budget);
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::open(&incoming).await;
        let (response, mut body) = client.begin("/take", "").await;
        assert_eq!(client.fill(&mut body, 4 * MIB).await, 4 * MIB);
        body.send_data(Bytes::new(), true).unwrap();
        response.await.unwrap();
        clients.push(client);
    }
    let first_windows = clients.len() * CONNECTION_BYTES;
    assert!(
        part.used() > first_windows + 4 * MIB,
        "they were granted more"
    );
    while clients.len() < most_connections(part.bound(), false) {
        let mut client = Client::open(&incoming).await;
        assert!(client.is_answered("/now").await, "{}", clients.len());
        clients.push(client);
    }
    assert!(part.used() <= part.bound());
}

#[tokio::test]
async fn calls_over_a_connections_share_are_refused_at_once_and_others_have_room() {
    let budget = Budget::new(&Sizes::default().with(Name::Calls, MIB));
    let (incoming, _stop) = serve(&budget);
    let mut flooding = Client::open(&incoming).await;
    let (mut open, mut refused) = (Vec::new(), None);
    for _ in 0..256 {
        let (mut response, body) = flooding.begin("/never", "").await;
        flooding.settle().await;
        let answered = poll_fn(|cx| std::task::Poll::Ready(Pin::new(&mut response).poll(cx))).await;
        if answered.is_ready() {
            refused = Some(answered);
            break;
        }
        open.push((response, body));
    }
    let Some(std::task::Poll::Ready(Ok(response))) = refused else {
        panic!("{} calls are open: {refused:?}", open.len());
    };
    assert!(open.len() > 10, "{}", open.len());
    let status = Status::from_header_map(response.headers()).unwrap();
    let overloaded = Status::from(Error::Overloaded { retry_after_ms: 1 });
    assert_eq!(status.code(), overloaded.code());
    assert_ne!(status.code(), Code::Ok);
    assert!(status.get_details_retry_info().is_some());

    let mut other = Client::open(&incoming).await;
    assert!(other.is_answered("/now").await, "others have their share");
    // A call that is cancelled makes room.
    drop(open);
    flooding.settle().await;
    assert!(flooding.is_answered("/now").await);
    assert_eq!(budget.part(Name::Calls).used(), 0);
}

#[tokio::test]
async fn a_client_that_begins_each_refused_call_again_is_read_less_and_less_often() {
    let budget = Budget::new(&Sizes::default().with(Name::Calls, MIB));
    let (incoming, _stop) = serve(&budget);
    let mut client = Client::open(&incoming).await;
    let mut open = Vec::new();
    // One call more than has room is refused.
    while client.is_answered("/now").await {
        open.push(client.begin("/never", "").await);
        client.settle().await;
    }
    for _ in 0..4 {
        assert!(!client.is_answered("/now").await);
    }
    let waits = limits::full_time(4);
    assert!(waits > 10 * limits::full_time(0));
    tokio::select! {
        biased;
        () = sleep(waits / 2) => {}
        _ = client.is_answered("/now") => panic!("it is not read for {waits:?}"),
    }
    drop(open);
    client.settle().await;
    assert!(client.is_answered("/now").await);
}

#[tokio::test]
async fn what_is_kept_of_the_answers_of_reflection_counts_as_a_part_of_calls() {
    let budget = Budget::new(&Sizes::default());
    let (incoming, _stop) = serve(&budget);
    let part = budget.part(Name::Calls);
    let mut client = Client::open(&incoming).await;
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let _open = client.begin(path, "").await;
    client.settle().await;
    let files = proto::files(proto::DESCRIPTORS).into_iter();
    let largest = files.map(|file| file.encoded.len()).max();
    let least = largest.expect("there are files") + limits::CALL_BYTES;
    assert!(part.used() > least, "{} for {least}", part.used());
}

#[tokio::test]
async fn headers_count_as_a_part_of_calls() {
    let budget = Budget::new(&Sizes::default());
    let (incoming, _stop) = serve(&budget);
    let part = budget.part(Name::Calls);
    let mut client = Client::open(&incoming).await;
    let _small = client.begin("/never", "").await;
    client.settle().await;
    let small = part.used();
    let _large = client.begin("/never", &"x".repeat(12_000)).await;
    client.settle().await;
    assert_eq!(part.used(), 2 * small + 12_000);
}
