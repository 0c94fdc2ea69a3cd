//! The intake: the sizes of messages, and the memory of all messages that come in.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use proptest::prelude::*;
use prost::Message as _;
use tokio::time::timeout;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;
use tower::{Service, service_fn};

use crate::{
    budget::{Budget, Name, Part, Sizes},
    proto::{CommitRequest, GroupOffset},
    server::{
        calls::Calls,
        incoming::Aside,
        intake::{Allowed, Intake, Messages, Metered},
        peer::Peer,
        turns::Lanes,
    },
};

const MEMBER: &str = "/taffrail.v1.Groups/Consume";
const TIMEOUT: Duration = Duration::from_secs(30);
/// A bound for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);
const APPEND: &str = "/taffrail.v1.Log/Append";
const APPEND_STREAM: &str = "/taffrail.v1.Log/AppendStream";

fn message(len: usize) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
    framed.resize(5 + len, 7);
    framed
}

/// A body that comes in these pieces.
struct Pieces(VecDeque<Vec<u8>>);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(
            self.0
                .pop_front()
                .map(|piece| Ok(Frame::data(piece.into()))),
        )
    }
}

/// An intake with this much memory, three quarters of which are free for all, and half of those for
/// one connection.
fn intake(bytes: usize) -> Intake {
    Intake::new(
        Arc::new(Part::new(Name::Requests, bytes)),
        TIMEOUT,
        Arc::default(),
    )
}

fn request(
    intake: &Intake,
    path: &str,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> Request<Body> {
    let body = Body::new(Pieces(pieces.into_iter().collect()));
    intake.meter(Request::builder().uri(path).body(body).unwrap())
}

/// How many bytes come next; if the call takes many messages, those of a whole message.
async fn next(request: &mut Request<Body>) -> Option<Result<usize, Status>> {
    if let Some(mut messages) = messages(request) {
        let message = poll_fn(|cx| messages.poll_message(cx)).await;
        request.extensions_mut().insert(Aside::new(messages));
        return Some(message?.map(|message| message.len()));
    }
    let frame = poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.data_ref().map_or(0, Bytes::len)))
}

/// The messages of a call that takes many.
fn messages(request: &Request<Body>) -> Option<Metered> {
    request.extensions().get().and_then(Aside::take)
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .expect("every status of ours has it")
        .reason
}

proptest! {
    #[test]
    fn messages_are_followed_however_they_are_cut_up(
        lengths in proptest::collection::vec(0usize..40, 0..10),
        cuts in proptest::collection::vec(1usize..20, 1..60),
    ) {
        let bytes: Vec<u8> = lengths.iter().flat_map(|len| message(*len)).collect();
        let ends: Vec<usize> = lengths.iter().scan(0, |end, len| { *end += 5 + len; Some(*end) }).collect();
        let mut messages = Messages::new(Allowed::many(40));
        let (mut at, mut begun) = (0, 0);
        for cut in cuts {
            let next = (at + cut).min(bytes.len());
            begun += messages.pass(&bytes[at..next]).unwrap();
            at = next;
            let complete = ends.iter().filter(|end| **end <= at).count();
            prop_assert_eq!(messages.count(), complete as u64);
            let last_end = ends[..complete].last().copied().unwrap_or(0);
            let declared = if at - last_end < 5 { 0 } else { ends[complete] - last_end };
            prop_assert_eq!(messages.declared(), declared);
            prop_assert_eq!(begun, last_end + declared);
        }
    }
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header_alone() {
    let status = Messages::new(Allowed::many(40))
        .pass(&message(41)[..5])
        .unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    assert!(status.message().contains("41 bytes"), "{status}");
}

#[test]
fn a_second_message_is_refused_where_one_is_taken() {
    let mut messages = Messages::new(Allowed::one(40));
    messages.pass(&message(10)).unwrap();
    let status = messages.pass(&[0]).unwrap_err();
    assert_eq!(reason(&status), "MALFORMED_REQUEST");
}

#[tokio::test]
async fn a_call_is_refused_as_overloaded_when_requests_take_all_memory_and_taken_when_one_has_gone()
{
    let intake = intake(300);
    let mut first = request(&intake, APPEND, [message(75)]);
    let mut second = request(&intake, APPEND, [message(75)]);
    let mut third = request(&intake, APPEND, [message(75)]);

    assert_eq!(next(&mut first).await.unwrap().unwrap(), 80);
    let status = next(&mut second).await.unwrap().unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::ResourceExhausted, "OVERLOADED")
    );
    assert!(status.get_details_retry_info().is_some());

    drop(first);
    assert_eq!(next(&mut third).await.unwrap().unwrap(), 80);
}

#[tokio::test]
async fn a_request_is_counted_until_it_is_let_go_although_its_body_has_ended() {
    let intake = intake(300);
    let (parts, body) = request(&intake, APPEND, [message(75)]).into_parts();
    let mut first = Request::new(body);
    assert_eq!(next(&mut first).await.unwrap().unwrap(), 80);
    assert!(next(&mut first).await.is_none());
    drop(first);

    let mut second = request(&intake, APPEND, [message(75)]);
    assert!(next(&mut second).await.unwrap().is_err());
    drop(parts);
    let mut third = request(&intake, APPEND, [message(75)]);
    assert!(next(&mut third).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_stream_counts_only_what_has_not_been_admitted() {
    let intake = intake(300);
    let mut requests = vec![
        [message(30), message(30)[..20].to_vec()].concat(),
        message(30)[20..].to_vec(),
    ];
    requests.extend((0..50).map(|_| message(60)));
    let mut stream = request(&intake, APPEND_STREAM, requests);
    while let Some(piece) = next(&mut stream).await {
        piece.unwrap();
    }
}

#[tokio::test]
async fn a_request_is_refused_by_the_length_that_it_declares_before_its_bytes_come() {
    let intake = intake(300);
    let mut large = request(&intake, APPEND, [message(150)[..5].to_vec()]);
    let status = next(&mut large).await.unwrap().unwrap_err();
    assert_eq!(reason(&status), "OVERLOADED");
    let mut small = request(&intake, APPEND, [message(95)[..5].to_vec()]);
    assert_eq!(next(&mut small).await.unwrap().unwrap(), 5);
    assert!(
        next(&mut request(&intake, APPEND, [message(60)]))
            .await
            .unwrap()
            .is_err(),
        "what has not come yet is counted"
    );
}

#[tokio::test]
async fn unfinished_requests_of_one_connection_leave_room_to_others() {
    let budget = Budget::new(&Sizes::default().with(Name::Requests, 1_400));
    let intake = Intake::new(
        Arc::clone(budget.part(Name::Requests)),
        TIMEOUT,
        Arc::default(),
    );
    let of = |peer: &Peer, len| {
        let body = Body::new(Pieces([message(len)[..5].to_vec()].into()));
        let mut request = Request::builder().uri(APPEND).body(body).unwrap();
        request.extensions_mut().insert(peer.clone());
        intake.meter(request)
    };
    let windows = || budget.part(Name::Windows).holder();
    let peer = || Peer::new(&budget, windows(), None, &Lanes::new());
    let (greedy, polite) = (peer(), peer());
    let mut unfinished = Vec::new();
    loop {
        let mut request = of(&greedy, 45);
        if next(&mut request).await.unwrap().is_err() {
            break;
        }
        unfinished.push(request);
    }
    assert_eq!(unfinished.len(), 10, "half of what is open");
    for refused in 1..33 {
        assert!(greedy.refusals.wait().is_none(), "after {refused}");
        next(&mut of(&greedy, 45)).await.unwrap().unwrap_err();
    }
    assert!(greedy.refusals.wait().is_some(), "there are many by now");
    assert!(polite.refusals.wait().is_none());
    for _ in 0..100 {
        let answer = next(&mut of(&polite, 45)).await.unwrap();
        answer.expect("there is room for others");
    }
}

/// A body that stalls after these bytes.
struct Stalled(Option<Vec<u8>>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.0.take() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece.into())))),
            None => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn a_request_that_does_not_come_in_time_is_refused_and_its_room_free() {
    let budget = Budget::new(&Sizes::default());
    let part = budget.part(Name::Requests);
    let intake = Intake::new(Arc::clone(part), Duration::ZERO, Arc::default());
    let all = [0, 3, 5, 1_000];
    let calls = [APPEND, MEMBER];
    for (path, begun) in calls
        .iter()
        .flat_map(|path| all.map(|begun| (*path, begun)))
    {
        let piece = message(10_000)[..begun].to_vec();
        let body = Body::new(Stalled(Some(piece).filter(|piece| !piece.is_empty())));
        let mut stalled = intake.meter(Request::builder().uri(path).body(body).unwrap());
        if begun > 0 && path == APPEND {
            assert_eq!(next(&mut stalled).await.unwrap().unwrap(), begun);
        }
        let in_time = timeout(PATIENCE, next(&mut stalled)).await;
        let status = in_time.unwrap_or_else(|_| panic!("{path} waits for ever"));
        let status = status.unwrap().unwrap_err();
        assert_eq!(
            (status.code(), &*reason(&status)),
            (Code::Unavailable, "REQUEST_STALLED")
        );
        assert!(status.get_details_retry_info().is_some());
        drop(stalled);
        assert_eq!(part.used(), 0);
    }
}

#[test]
fn a_request_has_as_much_more_time_as_it_has_brought() {
    let intake = intake(300);
    for (brought, ms) in [
        (0, 0),
        (30, 0),
        (64 << 10, 1_000),
        (1 << 20, 16_000),
        (16 << 20, 30_000),
    ] {
        assert_eq!(intake.time_after(brought), Duration::from_millis(ms));
    }
}

#[tokio::test]
async fn a_stream_may_wait_for_its_next_request_as_long_as_it_likes() {
    let intake = Intake::new(
        Arc::new(Part::new(Name::Requests, 1_000)),
        Duration::ZERO,
        Arc::default(),
    );
    for path in [APPEND_STREAM, MEMBER] {
        let body = Body::new(Stalled(Some(message(20))));
        let stream = intake.meter(Request::builder().uri(path).body(body).unwrap());
        let mut messages = messages(&stream).expect("it takes many");
        let first = poll_fn(|cx| messages.poll_message(cx)).await;
        assert_eq!(first.unwrap().unwrap().len(), 20);
        for _ in 0..10 {
            let polled = poll_fn(|cx| Poll::Ready(messages.poll_message(cx))).await;
            assert!(polled.is_pending(), "{polled:?}");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_stream_keeps_nothing_of_the_messages_that_it_has_given() {
    let part = Arc::new(Part::new(Name::Requests, 64 << 20));
    let intake = Intake::new(Arc::clone(&part), TIMEOUT, Arc::default());
    let wire = [message(1_000_000), message(10)].concat();
    for cut in [16_384, wire.len()] {
        let pieces = wire.chunks(cut).map(<[u8]>::to_vec);
        let stream = request(&intake, APPEND_STREAM, pieces);
        let mut messages = messages(&stream).expect("it takes many");
        let first = poll_fn(|cx| messages.poll_message(cx)).await;
        let first = first.unwrap().unwrap();
        assert_eq!(first.len(), 1_000_000);
        assert!(first.is_unique(), "nobody else holds on to it");
        assert!(part.used() >= 1_000_000);
        drop(first);
        let second = poll_fn(|cx| messages.poll_message(cx)).await;
        assert_eq!(second.unwrap().unwrap().len(), 10);
        assert!(poll_fn(|cx| messages.poll_message(cx)).await.is_none());
        assert_eq!(part.used(), 0, "all were admitted");
    }
}

#[tokio::test]
async fn a_request_counts_with_what_it_takes_decoded_until_it_is_answered() {
    let part = Arc::new(Part::new(Name::Requests, 64 << 20));
    let intake = Intake::new(Arc::clone(&part), TIMEOUT, Arc::default());
    let offsets = vec![GroupOffset::default(); 10_000];
    let takes = offsets.len() * size_of::<GroupOffset>();
    let commit = CommitRequest {
        offsets,
        ..CommitRequest::default()
    };
    let encoded = commit.encode_to_vec();
    let mut framed = message(encoded.len());
    framed[5..].copy_from_slice(&encoded);
    let pieces = Pieces(framed.chunks(1_000).map(<[u8]>::to_vec).collect());
    let request = Request::builder().uri("/taffrail.v1.Groups/Commit");
    let request = request.body(Body::new(pieces)).unwrap();

    let counted = Arc::clone(&part);
    let service = service_fn(move |mut request: Request<Body>| {
        let part = Arc::clone(&counted);
        async move {
            while let Some(piece) = next(&mut request).await {
                piece.unwrap();
            }
            drop(request);
            assert!(part.used() > takes, "{} for {takes}", part.used());
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let mut calls = Calls::new(service, intake, Default::default());
    let Ok(_) = calls.call(request).await;
    assert_eq!(part.used(), 0);
}
