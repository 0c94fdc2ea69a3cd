//! The intake: sizes of messages, and the memory of all that come in.

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Request;
use http_body::{Body as _, Frame};
use proptest::prelude::*;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt;

use crate::server::intake::{Allowed, Intake, Messages};

const MANY: Allowed = Allowed {
    bytes: 40,
    many: true,
};
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

fn request(
    intake: &Intake,
    path: &str,
    pieces: impl IntoIterator<Item = Vec<u8>>,
) -> Request<Body> {
    let body = Body::new(Pieces(pieces.into_iter().collect()));
    intake.meter(Request::builder().uri(path).body(body).unwrap())
}

async fn next(request: &mut Request<Body>) -> Option<Result<usize, Status>> {
    let frame = poll_fn(|cx| Pin::new(request.body_mut()).poll_frame(cx)).await?;
    Some(frame.map(|frame| frame.data_ref().map_or(0, Bytes::len)))
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
        let mut messages = Messages::new(MANY);
        let mut at = 0;
        for cut in cuts {
            let next = (at + cut).min(bytes.len());
            messages.pass(&bytes[at..next]).unwrap();
            at = next;
            let last_end = ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(0);
            prop_assert_eq!(messages.incomplete(), at - last_end);
        }
    }
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_header_alone() {
    let status = Messages::new(MANY).pass(&message(41)[..5]).unwrap_err();
    assert_eq!(
        (status.code(), &*reason(&status)),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    assert!(status.message().contains("41 bytes"), "{status}");
}

#[test]
fn a_second_message_is_refused_where_one_is_taken() {
    let mut messages = Messages::new(Allowed {
        many: false,
        ..MANY
    });
    messages.pass(&message(10)).unwrap();
    let status = messages.pass(&[0]).unwrap_err();
    assert_eq!(reason(&status), "MALFORMED_REQUEST");
}

#[tokio::test]
async fn a_call_is_refused_as_overloaded_when_requests_take_all_memory_and_taken_when_one_has_gone()
{
    let intake = Intake::new(100);
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
    let intake = Intake::new(100);
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
    let intake = Intake::new(100);
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
