//! Which task polls the call of a group's member, and what the client is sent in one turn.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, SendStream, client::SendRequest};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt as _, duplex},
    task,
    time::{sleep, timeout},
};
use tonic::{Status, body::Body};
use tower::Service;

use super::{
    awake::Wakes,
    reads::{PATIENCE, World},
};
use crate::{
    broker::Error,
    budget::{Budget, Name, Part, Sizes},
    env::sim::SimClock,
    server::{
        Options,
        answers::{Answers, Source, respond},
        http2::{self, call::Unread, commits::Commits},
        notices::Notices,
        peer::Peers,
        places::Places,
        reads::Reads,
        stop,
        turns::Lanes,
    },
    types::{Offset, PartitionId},
};

/// A source of the messages that a test gives it.
#[derive(Clone, Default)]
struct Given(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    message: Option<Bytes>,
    is_heavy: bool,
    waker: Option<Waker>,
    /// Whether the last message was made by the connection's task.
    made_by_connection: bool,
    /// How often it was asked for a message.
    asked: usize,
    /// Whether requests bring nothing to send.
    waits: bool,
    by_request: Option<Waker>,
}

impl Given {
    fn give(&self, message: &'static [u8], is_heavy: bool) {
        let mut state = self.0.lock().unwrap();
        (state.message, state.is_heavy) = (Some(Bytes::from_static(message)), is_heavy);
        let waker = state.waker.take();
        drop(state);
        waker.expect("the call waits").wake();
    }

    fn made_by_connection(&self) -> bool {
        self.0.lock().unwrap().made_by_connection
    }

    /// Wakes the call as a request does. `waits` is whether that brings nothing to send.
    fn request(&self, waits: bool) {
        let mut state = self.0.lock().unwrap();
        state.waits = waits;
        let waker = state.by_request.take();
        drop(state);
        waker.expect("the call waits").wake();
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }
}

impl Source for Given {
    fn take_requests(&mut self, cx: &mut Context<'_>) {
        self.0.lock().unwrap().by_request = Some(cx.waker().clone());
    }

    fn waits(&self) -> bool {
        self.0.lock().unwrap().waits
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        let mut state = self.0.lock().unwrap();
        state.asked += 1;
        let Some(message) = state.message.take() else {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        state.is_heavy = false;
        // The test itself polls the connection, in no task.
        state.made_by_connection = task::try_id().is_none();
        Poll::Ready(Ok(Some(vec![message])))
    }

    fn is_light(&self) -> bool {
        !self.0.lock().unwrap().is_heavy
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        Ok(Vec::new())
    }

    fn memory(&self) -> usize {
        0
    }

    fn let_go(&mut self) {}

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}

/// A connection of members, which the test polls.
struct Connection {
    serving: Pin<Box<dyn Future<Output = ()>>>,
    wakes: Arc<Wakes>,
    client: SendRequest<Bytes>,
    /// The sources of the calls that are to begin.
    sources: Arc<Mutex<Vec<Given>>>,
    commits: Commits,
    _stop: stop::Stop,
}

/// The call of a member.
struct MemberCall {
    source: Given,
    requests: SendStream<Bytes>,
    responses: RecvStream,
}

impl Connection {
    async fn new() -> Self {
        let (ours, mut theirs) = duplex(1 << 20);
        let handshake = h2::client::handshake(ours).await;
        let (client, sending) = handshake.expect("it is sent");
        tokio::spawn(sending);
        let mut preface = [0; 24];
        theirs.read_exact(&mut preface).await.expect("it is there");
        let opened = http2::open(theirs, Bytes::copy_from_slice(&preface)).await;
        let opened = opened.expect("both speak HTTP/2");
        let budget = Budget::new(&Sizes::default());
        let peers = Peers::new(&budget, None, &Arc::default(), &Options::default());
        let peer = peers.connected("");
        let commits = peer.commits.clone();
        let places = Places::new(1, Duration::MAX, None, Arc::new(SimClock::default()));
        let places = Arc::new(places);
        let (stop, stopping) = stop::channel();
        let notices = Arc::new(Notices::default());
        let unread = Unread {
            memory: peer.reads.clone(),
            patience: PATIENCE,
            notices: Arc::clone(&notices),
        };
        let held = (peer, places.try_take().expect("it is free"), unread);
        let sources = Arc::new(Mutex::new(Vec::<Given>::new()));
        let service = members(Arc::clone(&sources));
        let serving = async move {
            let opened = Box::new(opened);
            opened.serve(service, held, &stopping, &notices).await;
        };
        let mut connection = Self {
            serving: Box::pin(serving),
            wakes: Arc::default(),
            client,
            sources,
            commits,
            _stop: stop,
        };
        connection.turn();
        connection
    }

    fn turn(&mut self) {
        let waker = Waker::from(Arc::clone(&self.wakes));
        let polled = self.serving.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "the connection stands");
    }

    /// Lets everything run until nothing wakes the connection.
    async fn settle(&mut self) {
        World::settle().await;
        while self.wakes.take() > 0 {
            self.turn();
            World::settle().await;
        }
    }

    /// Begins the call of a member.
    async fn begin(&mut self) -> MemberCall {
        let source = Given::default();
        self.sources.lock().unwrap().push(source.clone());
        let request = Request::post("http://broker/taffrail.v1.Groups/Consume").body(());
        let request = request.expect("a request");
        let sent = self.client.send_request(request, false);
        let (response, requests) = sent.expect("it stands");
        self.settle().await;
        let response = timeout(PATIENCE, response).await.expect("it is answered");
        MemberCall {
            source,
            requests,
            responses: response.expect("it stands").into_body(),
        }
    }

    /// Sends something as this member. Returns whether that has woken the connection's task.
    async fn is_woken_by(&mut self, member: &mut MemberCall) -> bool {
        let sent = member.requests.send_data(Bytes::from_static(b"x"), false);
        sent.expect("it stands");
        World::settle().await;
        let is_woken = self.wakes.take() > 0;
        if is_woken {
            self.turn();
            self.settle().await;
        }
        is_woken
    }

    /// Sends something as this member until it is left unread.
    async fn leaves_unread(&mut self, member: &mut MemberCall) {
        for _ in 0..50 {
            if !self.is_woken_by(member).await {
                return;
            }
        }
        panic!("it is read at once");
    }
}

/// A service whose calls get their messages from these sources.
fn members(
    sources: Arc<Mutex<Vec<Given>>>,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send {
    let part = Arc::new(Part::new(Name::Reads, 16 << 20));
    let reads = Reads::new(&part, Arc::default(), PATIENCE);
    tower::service_fn(move |_: Request<Body>| {
        let source = sources.lock().unwrap().pop();
        let source = source.expect("a source for each call");
        let shares = reads.shares(part.holder(), Lanes::new().reads());
        let answered = respond::<()>(source, &reads, shares);
        let mut answered = answered.expect("there is room");
        let answers = answered.extensions_mut().remove::<Answers>();
        let mut response = Response::new(Body::empty());
        response
            .extensions_mut()
            .insert(answers.expect("its answers"));
        async move { Ok::<_, Infallible>(response) }
    })
}

impl MemberCall {
    /// What the client has received.
    async fn received(&mut self) -> Bytes {
        let data = self.responses.data();
        let data = timeout(PATIENCE, data).await.expect("it has come");
        let message = data.expect("it goes on").expect("it stands");
        message.slice(5..)
    }
}

#[tokio::test]
async fn members_are_answered_in_one_turn_of_their_connection() {
    let mut connection = Connection::new().await;
    let mut one = connection.begin().await;
    let mut other = connection.begin().await;

    one.source.give(b"light", false);
    other.source.give(b"light too", false);
    assert_eq!(connection.wakes.take(), 1, "for both");
    connection.turn();
    assert_eq!(connection.wakes.take(), 0, "all is written");
    assert_eq!(one.received().await[..], *b"light");
    assert_eq!(other.received().await[..], *b"light too");
    assert!(one.source.made_by_connection() && other.source.made_by_connection());

    one.source.give(b"heavy", true);
    connection.settle().await;
    assert_eq!(one.received().await[..], *b"heavy");
    assert!(
        !one.source.made_by_connection(),
        "other calls would wait for it"
    );

    one.source.give(b"light", false);
    connection.settle().await;
    assert_eq!(one.received().await[..], *b"light");
    assert!(one.source.made_by_connection(), "it has come back");
}

#[tokio::test]
async fn a_call_is_not_asked_for_a_message_when_a_request_has_brought_none() {
    let mut connection = Connection::new().await;
    let mut member = connection.begin().await;
    let asked = member.source.asked();
    for _ in 0..3 {
        member.source.request(true);
        connection.settle().await;
    }
    assert_eq!(member.source.asked(), asked);
    member.source.request(false);
    connection.settle().await;
    assert!(member.source.asked() > asked, "it may have one");
    member.source.request(true);
    member.source.give(b"light", false);
    connection.settle().await;
    assert_eq!(member.received().await[..], *b"light");
}

#[tokio::test]
async fn what_comes_while_commits_are_under_way_is_read_with_the_response_to_them() {
    let mut connection = Connection::new().await;
    let mut member = connection.begin().await;
    for _ in 0..20 {
        assert!(connection.is_woken_by(&mut member).await);
    }
    let commit = connection.commits.begin();
    connection.leaves_unread(&mut member).await;
    drop(commit);
    member.source.give(b"committed", false);
    connection.settle().await;
    assert_eq!(member.received().await[..], *b"committed");
    assert!(connection.is_woken_by(&mut member).await);
    assert!(connection.is_woken_by(&mut member).await);
}

#[tokio::test]
async fn a_commit_that_takes_long_leaves_its_connection_unread_for_a_moment_only() {
    let mut connection = Connection::new().await;
    let mut member = connection.begin().await;
    for _ in 0..20 {
        assert!(connection.is_woken_by(&mut member).await);
    }
    let _commit = connection.commits.begin();
    connection.leaves_unread(&mut member).await;
    let read = async {
        while connection.wakes.take() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, read).await.expect("it is read later");
    connection.turn();
    assert!(connection.is_woken_by(&mut member).await);
}

#[tokio::test]
async fn a_connection_with_other_calls_is_read_while_commits_are_under_way() {
    let mut connection = Connection::new().await;
    let mut member = connection.begin().await;
    let request = Request::post("http://broker/taffrail.v1.Log/Append").body(());
    let request = request.expect("a request");
    let append = connection.client.send_request(request, false);
    let _append = append.expect("it stands");
    connection.sources.lock().unwrap().push(Given::default());
    connection.settle().await;
    let _commit = connection.commits.begin();
    for _ in 0..40 {
        assert!(connection.is_woken_by(&mut member).await);
    }
}
