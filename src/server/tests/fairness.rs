//! How long a client with one call waits while others have many: measured in polls of the other
//! calls.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use tokio::task;
use tonic::body::Body;
use tower::service_fn;

use super::flood::{Client, serve_with};
use crate::{
    budget::{Budget, Sizes},
    server::{
        limits::{POLLS_IN_TURN, SHORT_REQUEST_BYTES},
        turns::whole_turns,
    },
};

const CONNECTIONS: usize = 40;
/// More than are polled in a turn, so that each connection uses up its own.
const CALLS: usize = 2 * POLLS_IN_TURN;
const APPEND: &str = "/taffrail.v1.Log/Append";

/// Counts the polls of the other clients' calls, which never wait.
#[derive(Clone, Default)]
struct Busy(Arc<AtomicUsize>);

impl Busy {
    async fn answer(self, request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let mut left = match request.headers()["x-any"].as_bytes() {
            b"many" => usize::MAX,
            // As many steps as an append takes: one for its request, one for the journal.
            _ => 2,
        };
        poll_fn(|cx| {
            if left == 0 {
                return Poll::Ready(());
            }
            if left > 2 {
                self.0.fetch_add(1, Relaxed);
            }
            left -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        drop(request);
        Ok(Response::new(Body::empty()))
    }
}

/// How often calls of other clients are polled while one client's call is under way, if the others
/// have many.
async fn polls_of_others() -> usize {
    let busy = Busy::default();
    let budget = Budget::new(&Sizes::default());
    let answering = busy.clone();
    let (incoming, _stop) = serve_with(
        service_fn(move |request| answering.clone().answer(request)),
        &budget,
    );
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = Client::open(&incoming).await;
        for _ in 0..CALLS {
            let (response, mut body) = client.begin(APPEND, "many").await;
            body.send_data(Bytes::from_static(b"small"), true).unwrap();
            held.push(response);
        }
        client.settle().await;
    }
    let mut polite = Client::open(&incoming).await;
    polite.settle().await;
    let before = busy.0.load(Relaxed);
    let (response, mut body) = polite.begin(APPEND, "one").await;
    body.send_data(Bytes::from_static(b"small"), true).unwrap();
    response.await.unwrap();
    busy.0.load(Relaxed) - before
}

#[tokio::test]
async fn a_client_with_one_call_waits_for_few_turns_of_those_with_many() {
    let polls = polls_of_others().await;
    // One turn for the request to come in, one for each step, one for the response to go out; and
    // as many for the client itself, which is a task in the same runtime here. Each time few of the
    // others go ahead, however many there are.
    let ahead = whole_turns() + 1;
    assert!(polls <= 8 * ahead * POLLS_IN_TURN, "{polls}");
    assert!(polls > 0, "the others are served as well");
}

#[tokio::test]
async fn calls_of_a_connection_are_one_task_unless_their_requests_are_large() {
    let service = service_fn(|request: Request<Body>| async {
        let mut body = request.into_body();
        while poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))
            .await
            .is_some()
        {}
        let mut response = Response::new(Body::empty());
        let task = task::id().to_string();
        response
            .headers_mut()
            .insert("x-task", task.parse().unwrap());
        Ok::<_, Infallible>(response)
    });
    let (incoming, _stop) = serve_with(service, &Budget::new(&Sizes::default()));
    let mut client = Client::open(&incoming).await;
    let mut tasks = Vec::new();
    for bytes in [1, SHORT_REQUEST_BYTES, SHORT_REQUEST_BYTES + 1, 2] {
        let (response, mut body) = client.begin(APPEND, "").await;
        body.send_data(vec![7; bytes].into(), true).unwrap();
        let response = response.await.unwrap();
        tasks.push(response.headers()["x-task"].clone());
    }
    assert_eq!((&tasks[0], &tasks[0]), (&tasks[1], &tasks[3]));
    assert_ne!(tasks[0], tasks[2]);
}
