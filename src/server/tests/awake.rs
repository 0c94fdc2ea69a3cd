//! The task of a connection or a call does not wake itself: it would get a turn with nothing to do,
//! for which another thread would be woken.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use tokio::io::{AsyncReadExt as _, duplex};
use tonic::body::Body;

use super::{
    reads::{PATIENCE, World},
    sending::{ReadAhead, calls},
};
use crate::{
    budget::{Budget, Sizes},
    env::sim::SimClock,
    server::{
        Options,
        http2::{self, call::Unread},
        notices::Notices,
        peer::Peers,
        places::Places,
        stop,
    },
};

/// Counts how often a task is woken.
#[derive(Default)]
pub(super) struct Wakes(AtomicUsize);

impl Wakes {
    /// The number of wake-ups since the last call.
    pub(super) fn take(&self) -> usize {
        self.0.swap(0, Relaxed)
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Takes all of a request, and never responds.
async fn take(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    let mut body = request.into_body();
    while poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))
        .await
        .is_some()
    {}
    std::future::pending().await
}

#[tokio::test]
async fn a_connection_is_not_woken_by_what_it_takes_from_its_socket() {
    let (ours, mut theirs) = duplex(1 << 20);
    let handshake = h2::client::handshake(ours).await;
    let (mut client, connection) = handshake.expect("it is sent");
    tokio::spawn(connection);
    let mut preface = [0; 24];
    theirs.read_exact(&mut preface).await.expect("it is there");
    let opened = http2::open(theirs, Bytes::copy_from_slice(&preface)).await;
    let opened = opened.expect("both speak HTTP/2");
    let budget = Budget::new(&Sizes::default());
    let peers = Peers::new(&budget, None, &Arc::default(), &Options::default());
    let peer = peers.connected("");
    let clock = Arc::new(SimClock::default());
    let places = Arc::new(Places::new(1, Duration::MAX, None, clock));
    let (_stop, stopping) = stop::channel();
    let notices = Arc::new(Notices::default());
    let unread = Unread {
        memory: peer.reads.clone(),
        patience: PATIENCE,
        notices: Arc::clone(&notices),
    };
    let held = (peer, places.try_take().expect("it is free"), unread);
    let serving = Box::new(opened).serve(tower::service_fn(take), held, &stopping, &notices);
    let mut serving = pin!(serving);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let mut turn = || {
        let polled = serving.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending(), "the connection stands");
    };
    let request = Request::post("http://broker/any").body(());
    let request = request.expect("a request");
    let (_response, mut stream) = client.send_request(request, false).expect("it stands");
    turn();
    World::settle().await;
    while wakes.take() > 0 {
        turn();
        World::settle().await;
    }

    stream
        .send_data(Bytes::from_static(b"some"), false)
        .expect("it stands");
    World::settle().await;
    assert_eq!(wakes.take(), 1, "something has come");
    turn();
    assert_eq!(wakes.take(), 0, "all of it is passed on");
    World::settle().await;
    stream
        .send_data(Bytes::from_static(b"more"), false)
        .expect("it stands");
    World::settle().await;
    assert_eq!(wakes.take(), 1, "more has come");
}

#[tokio::test]
async fn a_call_is_not_woken_by_the_room_that_it_asks_for() {
    let (mut calls, connection) = calls().await;
    tokio::spawn(connection);
    let source = ReadAhead {
        message: Some(Bytes::from_static(&[7; 100])),
        ahead: 0,
    };
    let (sending, mut body) = calls.answer_from(source).await;
    let mut sending = pin!(sending);
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(Arc::clone(&wakes));
    let polled = sending.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "it has no end");
    assert_eq!(wakes.take(), 0, "the message is sent");
    let message = body.data().await.expect("there is one");
    assert_eq!(message.expect("nothing fails").len(), 105);

    drop(body);
    World::settle().await;
    assert_eq!(wakes.take(), 1, "the client has ended the call");
}
