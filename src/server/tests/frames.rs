//! The lengths of frames that clients announce.

use std::{
    convert::Infallible,
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::Response;
use proptest::prelude::*;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf, duplex},
    time::timeout,
};
use tonic::body::Body;
use tower::service_fn;

use super::{
    flood::{Client, serve, serve_as},
    raw::Raw,
    reads::PATIENCE,
};
use crate::{
    budget::{Budget, Sizes},
    server::{
        Options,
        http2::{
            frames::Frames,
            socket::{Socket, Traffic},
        },
        limits::{
            FIRST_WINDOW_BYTES, FRAMES_IN_TURN, MAX_FRAME_BYTES, MAX_OTHER_FRAME_BYTES,
            SMALL_FRAMES_BYTES, TURN_BYTES,
        },
        notices::{Notice, Notices},
    },
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;

fn header(length: usize, kind: u8) -> Vec<u8> {
    let length = u32::try_from(length).unwrap().to_be_bytes();
    vec![length[1], length[2], length[3], kind, 0, 0, 0, 0, 1]
}

/// The bytes of a connection: the preface, and these frames.
fn connection(frames: &[(usize, u8)]) -> Vec<u8> {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    for (length, kind) in frames {
        bytes.extend(header(*length, *kind));
        // A content that would make the worst header if it were read as one.
        bytes.extend(std::iter::repeat_n(0xff, *length));
    }
    bytes
}

fn pass(bytes: &[u8], pieces: &[usize], granted: usize) -> Result<(), String> {
    let (mut frames, mut bytes) = (Frames::new(), bytes);
    for piece in pieces {
        let (some, rest) = bytes.split_at((*piece).min(bytes.len()));
        frames
            .pass(some, granted)
            .map_err(|error| error.to_string())?;
        bytes = rest;
    }
    let passed = frames.pass(bytes, granted);
    passed.map(drop).map_err(|error| error.to_string())
}

/// How many frames of this length are read in a turn, if a connection was sent many of them.
async fn frames_in_turn(length: usize) -> usize {
    let frame = length + header(0, 0).len();
    let sent = connection(&[(length, RST_STREAM)].repeat(2 * TURN_BYTES / frame));
    let (mut ours, theirs) = duplex(sent.len());
    ours.write_all(&sent).await.unwrap();
    let traffic = Arc::new(Traffic::new());
    let mut socket = Socket::new(theirs, Bytes::new(), Arc::clone(&traffic));
    // A buffer like h2's after it has grown for a large frame.
    let mut buffer = vec![0; MAX_FRAME_BYTES as usize];
    traffic.begin_turn(TURN_BYTES);
    let mut read = 0;
    loop {
        let mut some = ReadBuf::new(&mut buffer);
        let turn = poll_fn(|cx| Poll::Ready(Pin::new(&mut socket).poll_read(cx, &mut some)));
        match turn.await {
            Poll::Ready(done) => done.unwrap(),
            Poll::Pending => break,
        }
        read += some.filled().len();
    }
    assert!(traffic.turn_is_over(), "there is more for the next one");
    read / frame
}

#[tokio::test]
async fn few_frames_are_read_in_a_turn_however_small_they_are() {
    for length in [0, 4, 13, 20] {
        let most = FRAMES_IN_TURN + SMALL_FRAMES_BYTES / (length + 9);
        let read = frames_in_turn(length).await;
        assert!((FRAMES_IN_TURN..=most).contains(&read), "{read}");
    }
    let large = 16 << 10;
    assert_eq!(frames_in_turn(large).await, TURN_BYTES.div_ceil(large));
}

proptest! {
    #[test]
    fn frames_are_told_apart_however_they_come(
        frames in proptest::collection::vec((0usize..300, 0u8..10), 0..20),
        pieces in proptest::collection::vec(0usize..100, 0..100),
        too_long in 301usize..1 << 20,
    ) {
        let mut bytes = connection(&frames);
        prop_assert_eq!(pass(&bytes, &pieces, 300), Ok(()));
        bytes.extend(header(too_long, DATA));
        let refused = format!("a frame of type 0 has {too_long} bytes, of 300 at most");
        prop_assert_eq!(pass(&bytes, &pieces, 300), Err(refused));
    }
}

#[test]
fn frames_without_data_have_a_bound_of_their_own() {
    let largest = connection(&[(MAX_OTHER_FRAME_BYTES, HEADERS)]);
    assert_eq!(pass(&largest, &[], 1 << 20), Ok(()));
    let larger = connection(&[(MAX_OTHER_FRAME_BYTES + 1, HEADERS)]);
    assert!(pass(&larger, &[], 1 << 20).is_err());
}

#[tokio::test]
async fn a_frame_that_no_window_allows_is_not_waited_for() {
    let budget = Budget::new(&Sizes::default());
    let notices = Arc::new(Notices::default());
    let service = service_fn(|_| pending::<Result<Response<Body>, Infallible>>());
    let (incoming, _stop) = serve_as(service, &budget, Options::default(), &notices);
    let (mut ours, theirs) = duplex(1 << 20);
    incoming.send(Ok(theirs)).await.unwrap();
    let mut bytes = connection(&[]);
    // The frame belongs to no stream.
    bytes.extend([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]);
    bytes.extend(header(FIRST_WINDOW_BYTES + 1, DATA));
    ours.write_all(&bytes).await.unwrap();
    // The server sends its own SETTINGS, and then ends the connection.
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, ours.read_to_end(&mut answer)).await;
    ended.expect("the connection ends").unwrap();
    // The connection would also end because its client does not respond.
    assert!(notices.has_said(Notice::ProtocolError));
}

/// The notices about a client that opens a call, and sends this data frame for it as long as it
/// can.
async fn said_of_flood(flags: u8, content: &[u8]) -> Arc<Notices> {
    let budget = Budget::new(&Sizes::default());
    let notices = Arc::new(Notices::default());
    let service = service_fn(|_| pending::<Result<Response<Body>, Infallible>>());
    let (incoming, _stop) = serve_as(service, &budget, Options::default(), &notices);
    let mut client = Raw::open(&incoming, 1 << 20).await;
    client.call(1, "/never", 0).await;
    let flood = async { while client.send(DATA, flags, 1, content).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("the connection ends");
    notices
}

#[tokio::test]
async fn a_flood_of_frames_without_data_is_called_so() {
    const PADDED: u8 = 8;
    for (flags, content) in [(0, &[][..]), (PADDED, &[0]), (PADDED, &[2, 0, 0])] {
        let notices = said_of_flood(flags, content).await;
        assert!(notices.has_said(Notice::FrameFlood), "{content:?}");
        assert!(!notices.has_said(Notice::ResetFlood), "{content:?}");
    }
}

#[tokio::test]
async fn a_client_with_a_large_window_sends_the_largest_frames() {
    let budget = Budget::new(&Sizes::default());
    let (incoming, _stop) = serve(&budget);
    let mut client = Client::open(&incoming).await;
    let (response, mut body) = client.begin("/take", "").await;
    let largest = MAX_FRAME_BYTES as usize;
    // The window grows as the client uses it.
    loop {
        body.reserve_capacity(2 * largest);
        client.settle().await;
        let capacity = body.capacity().min(largest);
        body.send_data(vec![7; capacity].into(), capacity == largest)
            .unwrap();
        if capacity == largest {
            break;
        }
    }
    assert_eq!(response.await.unwrap().status(), 200);
}
