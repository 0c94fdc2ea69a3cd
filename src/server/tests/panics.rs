//! A bug in the broker that panics ends the call in which it happens, and nothing else.

use std::{convert::Infallible, pin::Pin, task::Poll};

use bytes::Bytes;
use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower::service_fn;

use super::{
    body::made_of,
    flood::{Client, serve_with},
};
use crate::{
    budget::{Budget, Sizes},
    server::limits::is_short,
};

const SHORT: &str = "/taffrail.v1.Log/Append";
const OTHER: &str = "/taffrail.v1.Log/ListOffsets";

async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    match request.headers()["x-any"].as_bytes() {
        b"panics" => panic!("on purpose, when the call is served"),
        b"answer panics" => Ok(Response::new(made_of(|| {
            panic!("on purpose, when the answer is sent")
        }))),
        b"waits" => std::future::pending().await,
        _ => Ok(Response::new(Body::empty())),
    }
}

#[tokio::test]
async fn a_call_that_panics_ends_as_internal_and_the_others_of_its_connection_go_on() {
    let budget = Budget::new(&Sizes::default());
    let (incoming, _stop) = serve_with(service_fn(answer), &budget);
    let mut client = Client::open(&incoming).await;
    assert!(is_short(SHORT) && !is_short(OTHER));
    for path in [SHORT, OTHER] {
        let (mut waiting, _body) = client.begin(path, "waits").await;
        for header in ["panics", "answer panics"] {
            let (response, _body) = client.begin(path, header).await;
            let ended = match response.await {
                Ok(response) if header == "panics" => {
                    Status::from_header_map(response.headers()).map(|status| status.code())
                }
                // The response has begun, so only the reset can tell the status.
                Ok(response) => response.into_body().data().await.and_then(internal),
                Err(error) => internal::<()>(Err(error)),
            };
            assert_eq!(ended, Some(Code::Internal), "{path}, {header}");
        }
        let (response, mut body) = client.begin(path, "is answered").await;
        body.send_data(Bytes::new(), true).unwrap();
        assert!(response.await.is_ok(), "{path}");
        client.settle().await;
        assert!(now(&mut waiting).await.is_pending(), "{path}");
    }
}

/// The status that gRPC clients derive from a stream reset with an internal error.
fn internal<T>(ended: Result<T, h2::Error>) -> Option<Code> {
    let reason = ended.err()?.reason()?;
    (reason == h2::Reason::INTERNAL_ERROR).then_some(Code::Internal)
}

/// The state of a future, polled once.
async fn now<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}
