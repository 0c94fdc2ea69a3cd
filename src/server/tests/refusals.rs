//! When the refusals of a connection's requests are answered.

use std::{
    convert::Infallible,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Service, service_fn};

use crate::{
    broker::Error,
    budget::{Budget, Name, Sizes},
    server::{calls::Calls, intake::Intake, peer::Peer, refusals::Refusals, turns::Lanes},
};

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// A bound for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn refuse(refusals: &Refusals, times: u32) {
    (0..times).for_each(|_| refusals.refused());
}

#[test]
fn refusals_wait_longer_the_more_there_are_for_each_request_that_is_taken() {
    let refusals = Refusals::default();
    let wait = |refusals: &Refusals| refusals.wait().map(|wait| wait.as_millis());
    refuse(&refusals, 32);
    assert_eq!(wait(&refusals), None);
    let waits = [20, 40, 80, 160, 320, 640, 640];
    for expected in waits {
        refuse(&refusals, 16);
        assert_eq!(wait(&refusals), Some(expected));
    }
    refuse(&refusals, 1_000);
    // What has been refused for long is made up for by a few requests that are taken.
    for taken in 0..24 {
        assert!(refusals.wait().is_some(), "after {taken}");
        refusals.taken();
    }
    assert_eq!(wait(&refusals), None);
    for _ in 0..1_000 {
        refuse(&refusals, 4);
        refusals.taken();
    }
    assert_eq!(wait(&refusals), None, "each was made up for");
}

/// Refuses every request.
fn refusing()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
{
    let overloaded = || {
        Status::from(Error::Overloaded {
            retry_after_ms: 250,
        })
    };
    service_fn(move |_| ready(Ok(overloaded().into_http())))
}

#[tokio::test]
async fn only_a_connection_of_which_many_requests_are_refused_waits_for_refusals() {
    let budget = Budget::new(&Sizes::default());
    let requests = budget.part(Name::Requests);
    let intake = Intake::new(Arc::clone(requests), PATIENCE, Arc::default());
    let mut calls = Calls::new(refusing(), intake, Default::default());
    let peer = || {
        let windows = budget.part(Name::Windows).holder();
        Peer::new(&budget, windows, None, &Lanes::new())
    };
    let (greedy, polite) = (peer(), peer());
    refuse(&greedy.refusals, 33);
    let mut call = |of: &Peer| {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = "/taffrail.v1.Log/Append".parse().expect("it is a path");
        request.extensions_mut().insert(of.clone());
        calls.call(request)
    };
    let at_once = |mut answer: Answer| {
        let mut cx = Context::from_waker(Waker::noop());
        answer.as_mut().poll(&mut cx).is_ready()
    };
    assert!(!at_once(call(&greedy)));
    assert!(at_once(call(&polite)));
    let Ok(late) = call(&greedy).await;
    let status = Status::from_header_map(late.headers()).expect("it is refused");
    assert_eq!(status.code(), Code::ResourceExhausted);
    greedy.refusals.taken();
    assert!(at_once(call(&greedy)));
}
