//! Responses that are wholly within HTTP/2, whose client takes nothing but goes on sending.

use std::{
    convert::Infallible,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tokio::time::{sleep, timeout};
use tonic::{Status, body::Body};
use tower::service_fn;

use super::{
    body::made_of,
    flood::{Incoming, serve_as},
    raw::{DATA, END_STREAM, HEADERS, PING, RST_STREAM, Raw},
    reads::{PATIENCE, World},
};
use crate::{
    budget::{Budget, Name, Sizes},
    server::{
        Options,
        limits::{CALL_BYTES, MAX_MESSAGE_BYTES, SMALL_PIECES_BYTES},
        notices::{Notice, Notices},
        stop::Stop,
    },
};

/// A client's window by default.
const ANSWER_BYTES: usize = 65_535;

/// How much of that fits in the socket.
const SOCKET_BYTES: usize = 4 << 10;

const CANCEL: &[u8] = &8u32.to_be_bytes();

static REFUSED: AtomicUsize = AtomicUsize::new(0);

/// Responds to calls of `/answer` and `/refuse`; to no others.
async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    match request.uri().path() {
        "/answer" => {}
        "/refuse" => {
            // The texts differ, because HPACK would send equal ones as one byte.
            let number = REFUSED.fetch_add(1, Relaxed);
            let status = Status::internal(format!("{number:MAX_MESSAGE_BYTES$}"));
            return Ok(status.into_http());
        }
        _ => pending().await,
    }
    let mut message = Some(Bytes::from_static(&[7; ANSWER_BYTES]));
    Ok(Response::new(made_of(move || {
        Poll::Ready(message.take().map(|message| Ok(Frame::data(message))))
    })))
}

/// A server that waits this long for a client that takes nothing.
struct Served {
    incoming: Incoming,
    budget: Budget,
    notices: Arc<Notices>,
    _stop: Stop,
}

impl Served {
    fn with(stalled_read: Duration) -> Self {
        let (budget, notices) = (Budget::new(&Sizes::default()), Arc::default());
        let options = Options {
            stalled_read,
            ..Options::default()
        };
        let (incoming, stop) = serve_as(service_fn(answer), &budget, options, &notices);
        Self {
            incoming,
            budget,
            notices,
            _stop: stop,
        }
    }

    fn used(&self, name: Name) -> usize {
        self.budget.part(name).used()
    }

    /// A client that reads nothing, and waits for a response.
    async fn client(&self) -> Raw {
        let mut client = Raw::open(&self.incoming, SOCKET_BYTES).await;
        client.call(1, "/answer", END_STREAM).await;
        while self.used(Name::Reads) == 0 {
            tokio::task::yield_now().await;
        }
        client
    }
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_take_is_dropped_and_other_calls_stay() {
    let served = Served::with(Duration::ZERO);
    let mut client = served.client().await;
    client.call(3, "/never", END_STREAM).await;
    let dropped = async {
        // Bytes that are being written cannot be dropped.
        while served.used(Name::Reads) > SMALL_PIECES_BYTES {
            client.send_priority().await.expect("it is connected");
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, dropped).await.expect("it is dropped");
    assert!(served.notices.has_said(Notice::AnswerStalled));

    let frames = client.settle().await;
    let last = frames.iter().rfind(|frame| frame.stream == 1);
    let last = last.expect("the answer has begun");
    assert_eq!((last.kind, &*last.content), (RST_STREAM, CANCEL));
    let of_data = |frame: &&super::raw::Frame| frame.kind == DATA;
    let taken: usize = frames
        .iter()
        .filter(of_data)
        .map(|frame| frame.content.len())
        .sum();
    assert!(taken <= SMALL_PIECES_BYTES, "{taken}");
    assert!(!frames.iter().any(|frame| frame.stream == 3), "it stays");
    assert_eq!(served.used(Name::Reads), 0);
}

#[tokio::test]
async fn a_connection_without_a_call_ends_whose_client_does_not_take_the_last_answer() {
    let served = Served::with(Duration::ZERO);
    let mut client = served.client().await;
    let ended = async {
        while client.send_priority().await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!((served.used(Name::Reads), served.used(Name::Calls)), (0, 0));
}

#[tokio::test]
async fn an_answer_of_which_its_client_takes_some_now_and_then_arrives() {
    let served = Served::with(PATIENCE);
    let mut client = served.client().await;
    let mut taken = 0;
    while taken < ANSWER_BYTES {
        client.send_priority().await.expect("it is connected");
        let frame = client.receive().await;
        if frame.kind == DATA {
            taken += frame.content.len();
        }
    }
    let frames = client.settle().await;
    assert!(frames.iter().all(|frame| frame.kind != RST_STREAM));
    assert_eq!((served.used(Name::Reads), served.used(Name::Calls)), (0, 0));
    assert!(!served.notices.has_said(Notice::AnswerStalled));
}

#[tokio::test]
async fn a_call_counts_until_its_status_is_written() {
    const CALLS: usize = 60;
    let served = Served::with(PATIENCE);
    let mut client = Raw::open(&served.incoming, SOCKET_BYTES).await;
    for call in 0..CALLS {
        let stream = u32::try_from(2 * call + 1).unwrap();
        client.call(stream, "/refuse", END_STREAM).await;
    }
    World::settle().await;
    // The others are in the connection's buffer.
    let waiting = CALLS / 2 * CALL_BYTES;
    assert!(
        served.used(Name::Calls) > waiting,
        "{}",
        served.used(Name::Calls)
    );
    let mut answered = 0;
    while answered < CALLS {
        let frame = client.receive().await;
        assert_ne!(frame.kind, PING);
        answered += usize::from(frame.kind == HEADERS);
    }
    client.settle().await;
    assert_eq!(served.used(Name::Calls), 0);
}
