//! When a call's answers are made and sent.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{self, Connection, SendRequest},
    server::{self, SendResponse},
};
use http::{Request, Response};
use tokio::io::{DuplexStream, duplex};
use tonic::Status;

use super::reads::{PATIENCE, World};
use crate::{
    broker::Error,
    budget::{Name, Part},
    codec::Encoding,
    server::{
        answers::{Parts, Source},
        http2::{
            call::{Active, Open},
            sending::send,
            socket::Traffic,
        },
        limits,
        reads::{Reads, Shares},
        turns::{Lane, Queue, ReadTurns, Turn},
    },
    types::{Offset, PartitionId},
};

/// A source that returns the same message again and again.
struct Messages {
    message: Bytes,
    light: bool,
    made: Arc<AtomicUsize>,
}

impl Source for Messages {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        self.made.fetch_add(1, Relaxed);
        Poll::Ready(Ok(Some(vec![self.message.clone()])))
    }

    fn is_light(&self) -> bool {
        self.light
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        Ok(vec![self.message.clone()])
    }

    fn memory(&self) -> usize {
        0
    }

    fn let_go(&mut self) {}

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}

/// Calls of one client, which are answered here.
pub(super) struct Calls {
    reads: Reads,
    turns: Queue,
    part: Arc<Part>,
    client: SendRequest<Bytes>,
    /// The compression of responses.
    encoding: Option<Encoding>,
    accepted: tokio::sync::mpsc::Receiver<SendResponse<Bytes>>,
}

/// Calls, and the client's connection, which must be polled.
pub(super) async fn calls() -> (Calls, Connection<DuplexStream, Bytes>) {
    calls_with(PATIENCE).await
}

/// Calls, and the client's connection, which must be polled. A read that has stalled for `patience`
/// may be ended in favour of others.
async fn calls_with(patience: Duration) -> (Calls, Connection<DuplexStream, Bytes>) {
    let (ours, theirs) = duplex(64 << 10);
    let (accepting, accepted) = tokio::sync::mpsc::channel(10);
    tokio::spawn(async move {
        let mut served = server::handshake(theirs).await.expect("it is a client");
        while let Some(Ok((_, respond))) = served.accept().await {
            accepting.send(respond).await.expect("the test goes on");
        }
    });
    // More than a call's window, so that no call holds up another.
    let mut http2 = client::Builder::new();
    http2.initial_connection_window_size(1 << 20);
    let (client, connection) = http2.handshake(ours).await.expect("it is a server");
    let part = Arc::new(Part::new(Name::Reads, 16 << 20));
    let calls = Calls {
        reads: Reads::new(&part, Arc::default(), patience),
        turns: Lane::new(TURNS, TURNS).queue(),
        part,
        client,
        encoding: None,
        accepted,
    };
    (calls, connection)
}

/// How many reads make a message at a time.
const TURNS: usize = 2;

impl Calls {
    fn shares(&self) -> Shares {
        let turns = ReadTurns {
            begin: self.turns.clone(),
            message: self.turns.clone(),
        };
        self.reads.shares(self.part.holder(), turns)
    }

    /// Takes all turns.
    fn take_turns(&self) -> Vec<Turn> {
        let taken: Vec<Turn> = (0..TURNS).filter_map(|_| self.turns.try_turn()).collect();
        assert_eq!(taken.len(), TURNS);
        taken
    }

    /// Makes a call that is answered with light messages or with others. Returns the number of
    /// messages made so far, the sending task, and the client's end.
    async fn answer(
        &mut self,
        light: bool,
    ) -> (
        Arc<AtomicUsize>,
        impl Future<Output = ()> + Send + 'static,
        RecvStream,
    ) {
        let made = Arc::new(AtomicUsize::new(0));
        let messages = Messages {
            message: Bytes::from_static(&[7; 100]),
            light,
            made: Arc::clone(&made),
        };
        let (sending, body) = self.answer_from(messages).await;
        (made, sending, body)
    }

    pub(super) async fn answer_from(
        &mut self,
        source: impl Source + 'static,
    ) -> (impl Future<Output = ()> + Send + 'static, RecvStream) {
        let request = Request::post("http://broker/").body(()).expect("a request");
        let (response, _) = self
            .client
            .send_request(request, true)
            .expect("there is room");
        let mut respond = self.accepted.recv().await.expect("the call");
        let stream = respond
            .send_response(Response::new(()), false)
            .expect("it is open");
        let body = response.await.expect("an answer").into_body();
        let shares = self.shares();
        let parts = Parts {
            cut: None,
            pace: None,
            counted: self.reads.admit(&shares, 0).expect("there is room"),
            source: Box::new(source),
            reads: self.reads.clone(),
            shares,
            deadline: None,
            call: None,
            encoding: self.encoding,
        };
        let sending = async move {
            let call = Arc::new(Part::new(Name::Calls, 1)).holder().count(1);
            let open = Open::new(
                (Active::default().enter(), None),
                call,
                Arc::new(Traffic::new()),
            );
            // The client ends the call.
            send(parts, stream, &open).await.ok();
        };
        (sending, body)
    }
}

#[tokio::test]
async fn a_light_message_does_not_wait_for_those_who_read_files() {
    let (mut calls, connection) = calls().await;
    tokio::spawn(connection);
    let taken = calls.take_turns();

    let (heavy_made, sending, _heavy) = calls.answer(false).await;
    tokio::spawn(sending);
    let (light_made, sending, _light) = calls.answer(true).await;
    tokio::spawn(sending);
    World::settle().await;
    assert!(light_made.load(Relaxed) > 0);
    assert_eq!(heavy_made.load(Relaxed), 0, "it waits for its turn");
    drop(taken);
    World::settle().await;
    assert!(heavy_made.load(Relaxed) > 0);
}

#[tokio::test]
async fn a_message_that_is_compressed_waits_for_a_turn_however_light_it_is() {
    let (mut calls, connection) = calls().await;
    tokio::spawn(connection);
    calls.encoding = Some(Encoding::Gzip);
    let taken = calls.take_turns();
    let (made, sending, _body) = calls.answer(true).await;
    tokio::spawn(sending);
    World::settle().await;
    assert_eq!(made.load(Relaxed), 0, "it waits for its turn");
    drop(taken);
    World::settle().await;
    assert!(made.load(Relaxed) > 0);
}

/// A source with one message, which has read much ahead.
pub(super) struct ReadAhead {
    pub(super) message: Option<Bytes>,
    pub(super) ahead: usize,
}

impl Source for ReadAhead {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        match self.message.take() {
            Some(message) => Poll::Ready(Ok(Some(vec![message]))),
            None => Poll::Pending,
        }
    }

    fn is_light(&self) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        unreachable!("it is sent at once")
    }

    fn memory(&self) -> usize {
        self.ahead
    }

    fn let_go(&mut self) {
        self.ahead = 0;
    }

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}

#[tokio::test]
async fn what_was_read_ahead_counts_and_is_let_go_of_where_others_need_the_memory() {
    let (mut calls, connection) = calls().await;
    tokio::spawn(connection);
    let source = ReadAhead {
        message: Some(Bytes::from_static(&[7; 100])),
        ahead: 500_000,
    };
    let (sending, _body) = calls.answer_from(source).await;
    tokio::spawn(sending);
    World::settle().await;
    let used = limits::READ_BYTES + 500_000;
    assert_eq!(calls.part.used(), used);
    assert!(calls.reads.let_go());
    World::settle().await;
    assert_eq!(calls.part.used(), limits::READ_BYTES);
    assert!(!calls.reads.let_go());
}

#[tokio::test]
async fn a_read_that_waits_for_its_client_has_no_turn() {
    let (mut calls, mut connection) = calls().await;
    let taken = calls.take_turns();

    let (made, _body) = {
        let answering = pin!(calls.answer(false));
        let (made, sending, body) = tokio::select! {
            answered = answering => answered,
            ended = &mut connection => panic!("{ended:?}"),
        };
        tokio::spawn(sending);
        (made, body)
    };
    World::settle().await;
    connection.set_initial_window_size(0).expect("it is a size");
    let mut connection = pin!(connection);
    for _ in 0..1_000 {
        let polled = poll_fn(|cx| Poll::Ready(connection.as_mut().poll(cx))).await;
        assert!(polled.is_pending(), "{polled:?}");
        tokio::task::yield_now().await;
    }
    drop(taken);
    World::settle().await;
    assert_eq!(made.load(Relaxed), 0, "the client has no room for it");
    calls.take_turns();
}

#[tokio::test]
async fn a_read_that_always_has_something_to_send_lets_others_have_their_turn() {
    let (mut calls, connection) = calls().await;
    tokio::spawn(connection);
    let (made, sending, _body) = calls.answer(true).await;
    let mut sending = pin!(sending);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(sending.as_mut().poll(&mut cx).is_pending());
    assert_eq!(made.load(Relaxed), limits::STEPS_IN_TURN / 3);
    assert!(sending.as_mut().poll(&mut cx).is_pending());
    assert_eq!(made.load(Relaxed), 2 * limits::STEPS_IN_TURN / 3);
}

/// A source with one message, and then the end.
struct One {
    message: Bytes,
    sent: bool,
}

impl Source for One {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        let sent = std::mem::replace(&mut self.sent, true);
        Poll::Ready(Ok((!sent).then(|| vec![self.message.clone()])))
    }

    fn is_light(&self) -> bool {
        true
    }

    fn is_complete(&self) -> bool {
        self.sent
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        Ok(vec![self.message.clone()])
    }

    fn memory(&self) -> usize {
        0
    }

    fn let_go(&mut self) {}

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}

impl One {
    fn of(bytes: usize) -> Self {
        Self {
            message: vec![7; bytes].into(),
            sent: false,
        }
    }
}

/// A read whose end lies within HTTP/2, where the client takes nothing.
#[tokio::test]
async fn the_end_of_a_read_may_stall_and_is_dropped_where_others_need_the_memory() {
    let (mut calls, mut connection) = calls_with(Duration::ZERO).await;
    let mut ends = Vec::new();
    for _ in 0..3 {
        let answering = calls.answer_from(One::of(40_000));
        let (sending, body) = tokio::select! {
            answered = answering => answered,
            ended = &mut connection => panic!("{ended:?}"),
        };
        ends.push((sending, body));
    }
    let ends: Vec<_> = ends
        .into_iter()
        .map(|(sending, body)| (tokio::spawn(sending), body))
        .collect();
    World::settle().await;
    let stalled = |ends: &[(tokio::task::JoinHandle<()>, RecvStream)]| {
        ends.iter()
            .filter(|(sending, _)| !sending.is_finished())
            .count()
    };
    let before = stalled(&ends);
    assert!(before > 0, "the socket does not take all of them");
    let places = calls.shares().places;
    let dropped = async {
        while stalled(&ends) == before {
            assert!(calls.part.used() > 2 * limits::SMALL_PIECES_BYTES);
            calls.reads.end_longest_stalled(&places, true);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dropped)
        .await
        .expect("it has stalled");
    assert_eq!(stalled(&ends), before - 1);
}

#[tokio::test]
async fn what_is_kept_of_the_rest_of_a_message_counts() {
    const BYTES: usize = 4 << 20;
    let (mut calls, connection) = calls().await;
    tokio::spawn(connection);
    let (sending, _body) = calls.answer_from(One::of(BYTES)).await;
    tokio::spawn(sending);
    let let_go = async {
        while !calls.reads.let_go() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, let_go)
        .await
        .expect("it stalls");
    World::settle().await;
    // A checksum for each part that the client has not taken, and its position.
    let parts = (BYTES - 65_535) / limits::SMALL_PIECES_BYTES;
    let counted = calls.part.used() - limits::READ_BYTES;
    assert!((12 * parts..=48 * parts).contains(&counted), "{counted}");
}
