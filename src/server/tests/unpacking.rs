//! Requests with compressed messages: what a service gets, and what is counted meanwhile.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

use crate::{
    budget::{Budget, Name, Part, Sizes},
    codec::Encoding,
    server::{incoming::Aside, intake::Intake, peer::Peer, turns::Lanes},
};

const APPEND: &str = "/taffrail.v1.Log/Append";
const APPEND_STREAM: &str = "/taffrail.v1.Log/AppendStream";
const ENCODINGS: [Encoding; 2] = [Encoding::Gzip, Encoding::Zstd];

/// A body that comes in these pieces.
struct Pieces(VecDeque<Vec<u8>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let piece = self.0.pop_front();
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

fn framed(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("small");
    [&[flag], &len.to_be_bytes()[..], bytes].concat()
}

fn compressed(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
    framed(1, &encoding.compress(&[bytes]).expect("there is memory"))
}

/// What a service gets of a request in these pieces, and how the request ends, with this much
/// memory for all requests.
async fn received(
    encoding: Encoding,
    path: &str,
    pieces: Vec<Vec<u8>>,
    memory: usize,
) -> (Vec<u8>, Option<Status>, usize) {
    let part = Arc::new(Part::new(Name::Requests, memory));
    let mut request = request(&part, encoding, path, pieces, None);
    let mut messages = request.extensions().get().and_then(Aside::take);
    let (mut got, mut most) = (Vec::new(), 0);
    loop {
        let next = match &mut messages {
            Some(messages) => {
                let message = poll_fn(|cx| messages.poll_message(cx)).await;
                message.map(|message| message.map(|message| framed(0, &message)))
            }
            None => {
                let frame = poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await;
                frame.map(|frame| frame.map(|frame| frame.into_data().expect("data").to_vec()))
            }
        };
        most = most.max(part.used());
        match next {
            Some(Ok(bytes)) => got.extend_from_slice(&bytes),
            Some(Err(status)) => return (got, Some(status), most),
            None => return (got, None, most),
        }
    }
}

fn request(
    part: &Arc<Part>,
    encoding: Encoding,
    path: &str,
    pieces: Vec<Vec<u8>>,
    peer: Option<Peer>,
) -> Request<Body> {
    let intake = Intake::new(Arc::clone(part), Duration::from_secs(30), Arc::default());
    let body = Body::new(Pieces(pieces.into()));
    let request = Request::builder().uri(path).body(body);
    let mut request = request.expect("a request");
    request.extensions_mut().insert(encoding);
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    intake.meter(request)
}

fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.expect("every status of ours has it").reason
}

#[tokio::test]
async fn a_service_gets_messages_as_they_were_however_they_are_cut_up() {
    let messages = [b"the same again, ".repeat(3_000), Vec::new(), b"x".to_vec()];
    for encoding in ENCODINGS {
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for message in &messages {
            wire.extend(compressed(encoding, message));
            // A message need not be compressed.
            wire.extend(framed(0, message));
            expected.extend(framed(0, message));
            expected.extend(framed(0, message));
        }
        for cut in [1, 3, 7, 100, wire.len()] {
            let pieces = wire.chunks(cut).map(<[u8]>::to_vec).collect();
            let (got, status, _) = received(encoding, APPEND_STREAM, pieces, 64 << 20).await;
            assert!(status.is_none(), "{status:?}");
            assert_eq!(got, expected, "{encoding:?} in pieces of {cut}");
        }
    }
}

#[tokio::test]
async fn a_message_is_counted_uncompressed_before_it_is_taken_apart() {
    let large = vec![7; 10 << 20];
    for encoding in ENCODINGS {
        let wire = compressed(encoding, &large);
        assert!(wire.len() < 64 << 10);
        let (got, status, most) = received(encoding, APPEND, vec![wire.clone()], 64 << 20).await;
        assert!(status.is_none(), "{status:?}");
        assert_eq!(got.len(), 5 + large.len());
        assert!(most >= large.len(), "{most} were counted");
        // One connection has half of three quarters of the memory.
        let (got, status, _) = received(encoding, APPEND, vec![wire], 12 << 20).await;
        let status = status.expect("there is no room");
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::ResourceExhausted, "OVERLOADED")
        );
        assert!(got.is_empty());
    }
}

#[tokio::test]
async fn a_message_that_would_be_larger_than_its_call_allows_is_refused() {
    let bomb = vec![0; 200 << 20];
    for encoding in ENCODINGS {
        let wire = compressed(encoding, &bomb);
        let (got, status, most) = received(encoding, APPEND, vec![wire], 1 << 30).await;
        let status = status.expect("it is too large");
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
        );
        assert!(got.is_empty() && most < 40 << 20, "{most} were counted");
    }
}

#[tokio::test]
async fn what_is_not_of_the_encoding_or_ends_within_a_message_is_malformed() {
    for encoding in ENCODINGS {
        let whole = compressed(encoding, &b"the same again, ".repeat(100));
        for wire in [
            framed(1, b"neither of these"),
            framed(1, b""),
            whole[..whole.len() - 1].to_vec(),
            whole[..3].to_vec(),
        ] {
            let (got, status, _) = received(encoding, APPEND, vec![wire], 1 << 30).await;
            let status = status.expect("it is refused");
            assert_eq!(
                (status.code(), &*reason(&status)),
                (Code::InvalidArgument, "MALFORMED_REQUEST")
            );
            assert!(got.is_empty());
        }
    }
}

#[tokio::test]
async fn a_message_that_is_large_uncompressed_is_taken_apart_in_its_turn() {
    let budget = Budget::new(&Sizes::default());
    let lanes = Lanes::new();
    let peer = Peer::new(&budget, budget.part(Name::Windows).holder(), None, &lanes);
    let turn = peer.long.turn().await;
    let received = |bytes: usize| {
        let wire = compressed(Encoding::Gzip, &vec![7; bytes]);
        let part = budget.part(Name::Requests);
        let peer = Some(peer.clone());
        request(part, Encoding::Gzip, APPEND_STREAM, vec![wire], peer)
    };
    let messages = |bytes| received(bytes).extensions().get().and_then(Aside::take);
    let (mut small, mut large) = (messages(1_000).unwrap(), messages(1 << 20).unwrap());
    let polled = poll_fn(|cx| Poll::Ready(small.poll_message(cx))).await;
    assert!(polled.is_ready());
    for _ in 0..10 {
        let polled = poll_fn(|cx| Poll::Ready(large.poll_message(cx))).await;
        assert!(polled.is_pending());
        tokio::task::yield_now().await;
    }
    drop(turn);
    let message = poll_fn(|cx| large.poll_message(cx)).await;
    assert_eq!(message.unwrap().unwrap().len(), 1 << 20);
    // The turn has been given back.
    peer.long.turn().await;
}

#[tokio::test]
async fn many_small_messages_are_not_all_taken_apart_before_others_have_their_turn() {
    const MESSAGES: usize = 100;
    let part = Arc::new(Part::new(Name::Requests, 64 << 20));
    let wire = compressed(Encoding::Zstd, &[7; 32 << 10]).repeat(MESSAGES);
    let stream = request(&part, Encoding::Zstd, APPEND_STREAM, vec![wire], None);
    let mut messages = stream.extensions().get().and_then(Aside::take).unwrap();
    let (mut taken, mut most) = (0, 0);
    while taken < MESSAGES {
        let at_once = poll_fn(|cx| {
            let mut at_once = 0;
            while let Poll::Ready(Some(message)) = messages.poll_message(cx) {
                message.expect("it is a good one");
                at_once += 1;
            }
            Poll::Ready(at_once)
        });
        let at_once = at_once.await;
        (taken, most) = (taken + at_once, most.max(at_once));
    }
    assert!(most <= 4, "{most} at once");
}
