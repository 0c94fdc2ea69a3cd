//! Which task polls the call of a group's member, and what the client is sent in one turn.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest};
use http::{Request, Response};
use tokio::{
    io::{AsyncReadExt as _, duplex},
    task,
    time::timeout,
};
use tonic::{Status, body::Body};

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
        http2::{self, call::Unread},
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
}

impl Source for Given {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        let mut state = self.0.lock().unwrap();
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

/// A connection, which the test polls.
struct Connection<'a> {
    serving: Pin<Box<dyn Future<Output = ()> + 'a>>,
    wakes: Arc<Wakes>,
}

impl Connection<'_> {
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
}

/// Begins the call of a member, whose messages come from this source.
async fn begin(
    connection: &mut Connection<'_>,
    client: &mut SendRequest<Bytes>,
    sources: &Mutex<Vec<Given>>,
) -> (Given, RecvStream) {
    let source = Given::default();
    sources.lock().unwrap().push(source.clone());
    let request = Request::post("http://broker/taffrail.v1.Groups/Consume").body(());
    let request = request.expect("a request");
    let (response, _) = client.send_request(request, true).expect("it stands");
    connection.settle().await;
    let response = timeout(PATIENCE, response).await.expect("it is answered");
    (source, response.expect("it stands").into_body())
}

/// What the client has received.
async fn received(body: &mut RecvStream) -> Bytes {
    let data = timeout(PATIENCE, body.data()).await.expect("it has come");
    data.expect("it goes on").expect("it stands")
}

#[tokio::test]
async fn members_are_answered_in_one_turn_of_their_connection() {
    let (ours, mut theirs) = duplex(1 << 20);
    let handshake = h2::client::handshake(ours).await;
    let (mut client, sending) = handshake.expect("it is sent");
    tokio::spawn(sending);
    let mut preface = [0; 24];
    theirs.read_exact(&mut preface).await.expect("it is there");
    let opened = http2::open(theirs, Bytes::copy_from_slice(&preface)).await;
    let opened = opened.expect("both speak HTTP/2");
    let budget = Budget::new(&Sizes::default());
    let peers = Peers::new(&budget, None, &Arc::default(), &Options::default());
    let peer = peers.connected("");
    let places = Places::new(1, Duration::MAX, None, Arc::new(SimClock::default()));
    let places = Arc::new(places);
    let (_stop, stopping) = stop::channel();
    let notices = Arc::new(Notices::default());
    let unread = Unread {
        memory: peer.reads.clone(),
        patience: PATIENCE,
        notices: Arc::clone(&notices),
    };
    let held = (peer, places.try_take().expect("it is free"), unread);
    let part = Arc::new(Part::new(Name::Reads, 16 << 20));
    let reads = Reads::new(&part, Arc::default(), PATIENCE);
    let sources = Arc::new(Mutex::new(Vec::<Given>::new()));
    let next = Arc::clone(&sources);
    let service = tower::service_fn(move |_: Request<Body>| {
        let source = next.lock().unwrap().pop().expect("a source for each call");
        let shares = reads.shares(part.holder(), Lanes::new().reads());
        let answered = respond::<()>(source, &reads, shares);
        let mut answered = answered.expect("there is room");
        let answers = answered.extensions_mut().remove::<Answers>();
        let mut response = Response::new(Body::empty());
        response
            .extensions_mut()
            .insert(answers.expect("its answers"));
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = Box::new(opened).serve(service, held, &stopping, &notices);
    let mut connection = Connection {
        serving: Box::pin(serving),
        wakes: Arc::default(),
    };
    connection.turn();
    let (one, mut of_one) = begin(&mut connection, &mut client, &sources).await;
    let (other, mut of_other) = begin(&mut connection, &mut client, &sources).await;

    one.give(b"light", false);
    other.give(b"light too", false);
    assert_eq!(connection.wakes.take(), 1, "for both");
    connection.turn();
    assert_eq!(connection.wakes.take(), 0, "all is written");
    assert_eq!(received(&mut of_one).await[5..], *b"light");
    assert_eq!(received(&mut of_other).await[5..], *b"light too");
    assert!(one.made_by_connection() && other.made_by_connection());

    one.give(b"heavy", true);
    connection.settle().await;
    assert_eq!(received(&mut of_one).await[5..], *b"heavy");
    assert!(!one.made_by_connection(), "other calls would wait for it");

    one.give(b"light", false);
    connection.settle().await;
    assert_eq!(received(&mut of_one).await[5..], *b"light");
    assert!(one.made_by_connection(), "it has come back");
}
