//! The deadline that a client sets for a call: how it is parsed, and that it ends any call.

use std::{
    convert::Infallible,
    future::{Ready, pending, poll_fn, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use tokio::{task::yield_now, time};
use tonic::{Code, Status, body::Body};
use tower::{Service, service_fn};

use super::body::repeating;
use crate::{
    budget::{Name, Part},
    server::{
        calls::{Calls, timeout},
        intake::Intake,
    },
};

/// Longer than anything takes that is going to happen.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn the_time_that_a_client_gives_a_call_is_read_as_grpc_has_it() {
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", text.parse().unwrap());
        timeout(&headers)
    };
    let ms = |ms| Some(Duration::from_millis(ms));
    for (text, expected) in [
        ("1S", ms(1_000)),
        ("250m", ms(250)),
        ("99999999H", ms(99_999_999 * 3_600_000)),
        ("2M", ms(120_000)),
        ("5000u", ms(5)),
        ("1000000n", ms(1)),
        ("0S", ms(0)),
        ("100000000S", None),
        ("S", None),
        ("", None),
        ("1", None),
        ("-1S", None),
        ("+1S", None),
        ("1s", None),
    ] {
        assert_eq!(read(text), expected, "{text:?}");
    }
    assert_eq!(timeout(&HeaderMap::new()), None);
}

/// A call whose deadline is nearly over.
fn hurried() -> Request<Body> {
    let request = Request::post("/taffrail.v1.Log/AppendStream");
    let request = request.header("grpc-timeout", "1m");
    request.body(Body::empty()).expect("it is a request")
}

fn intake() -> Intake {
    let part = Arc::new(Part::new(Name::Requests, 1 << 20));
    Intake::new(part, PATIENCE, Arc::default())
}

fn assert_too_late(headers: &HeaderMap) {
    let status = Status::from_header_map(headers).expect("it has a status");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(!status.details().is_empty(), "{status:?}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_ends_when_its_time_is_over() {
    let never = service_fn(|_| pending::<Result<Response<Body>, Infallible>>());
    let mut calls = Calls::new(never, intake(), Default::default());
    let answer = time::timeout(PATIENCE, calls.call(hurried())).await;
    let Ok(answer) = answer.expect("it ends");
    assert_too_late(answer.headers());
}

#[tokio::test]
async fn answers_without_end_end_when_the_time_is_over() {
    let answer = || -> Ready<Result<_, Infallible>> {
        ready(Ok(Response::new(repeating(Bytes::from_static(b"more")))))
    };
    let mut calls = Calls::new(service_fn(move |_| answer()), intake(), Default::default());
    let Ok(answer) = calls.call(hurried()).await;
    let mut answers = answer.into_body();
    let ended = time::timeout(PATIENCE, async {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut answers).poll_frame(cx)).await;
            let frame = frame.expect("they end with a status").expect("a frame");
            match frame.into_trailers() {
                Ok(trailers) => return trailers,
                Err(_) => yield_now().await,
            }
        }
    });
    assert_too_late(&ended.await.expect("they end"));
    assert!(answers.is_end_stream(), "nothing is kept of the call");
}
