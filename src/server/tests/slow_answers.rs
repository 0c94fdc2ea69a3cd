//! Answers that are taken slowly, or not at all while the rest of a request does not come.

use std::{
    convert::Infallible,
    future::poll_fn,
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
use tokio::{task::yield_now, time};
use tonic::body::Body;
use tower::service_fn;

use super::{
    body::made_of,
    flood::{Client, serve_with},
};
use crate::{
    budget::{Budget, Name, Sizes},
    server::{Options, incoming::Aside, intake::Intake},
};

const APPEND_STREAM: &str = "/taffrail.v1.Log/AppendStream";

/// Less than is handed on in pieces where it is taken.
const MESSAGE_BYTES: usize = 4_000;

/// What a client has room for that does not say otherwise.
const WINDOW_BYTES: usize = 65_535;

/// An answer of messages without an end. It is counted how many it was asked for.
fn messages(asked: &Arc<AtomicUsize>, request: Option<Request<Body>>) -> Body {
    let asked = Arc::clone(asked);
    made_of(move || {
        // What it would go on with.
        let _ = &request;
        asked.fetch_add(1, Relaxed);
        let message = Bytes::from_static(&[7; MESSAGE_BYTES]);
        Poll::Ready(Some(Ok(Frame::data(message))))
    })
}

#[tokio::test]
async fn of_an_answer_as_much_is_handed_on_as_its_client_takes_so_that_it_is_seen_to_take_it() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let service = service_fn(move |_| {
        let answer = messages(&counting, None);
        async { Ok::<_, Infallible>(Response::new(answer)) }
    });
    let (incoming, _stop) = serve_with(service, &Budget::new(&Sizes::default()));
    let mut client = Client::open(&incoming).await;
    let (response, _request) = client.begin(APPEND_STREAM, "").await;
    let mut answer = response.await.unwrap().into_body();
    client.settle().await;
    // The last of them waits for room, and the next is not asked for.
    assert_eq!(asked.load(Relaxed), WINDOW_BYTES.div_ceil(MESSAGE_BYTES));
    let mut taken = 0;
    while taken < WINDOW_BYTES {
        let piece = answer.data().await.unwrap().unwrap();
        taken += piece.len();
        answer.flow_control().release_capacity(piece.len()).unwrap();
    }
    client.settle().await;
    assert_eq!(
        asked.load(Relaxed),
        (2 * WINDOW_BYTES).div_ceil(MESSAGE_BYTES)
    );
}

#[tokio::test]
async fn a_request_that_goes_no_further_does_not_keep_its_room_while_its_call_waits_for_its_client()
{
    let budget = Budget::new(&Sizes::default());
    let part = Arc::clone(budget.part(Name::Requests));
    let timeout = Duration::from_millis(50);
    let intake = Intake::new(Arc::clone(&part), timeout, Arc::default());
    let service = service_fn(move |request: Request<Body>| {
        let mut request = intake.meter(request);
        async move {
            // All that has come of the next request is taken, and then there is an answer.
            let aside = request.extensions().get().and_then(Aside::take);
            let mut coming = aside.expect("it takes many");
            let polled = poll_fn(|cx| Poll::Ready(coming.poll_message(cx))).await;
            assert!(polled.is_pending());
            request.extensions_mut().insert(Aside::new(coming));
            let answer = messages(&Arc::default(), Some(request));
            Ok::<_, Infallible>(Response::new(answer))
        }
    });
    let (incoming, _stop) = serve_with(service, &budget);
    let mut client = Client::open(&incoming).await;
    let (_response, mut body) = client.begin(APPEND_STREAM, "").await;
    // It declares 10,000 bytes.
    let begun = Bytes::from_static(&[0, 0, 0, 0x27, 0x10, 7]);
    body.send_data(begun, false).unwrap();
    client.settle().await;
    let let_go = async {
        while part.most() == 0 || part.used() > 0 {
            yield_now().await;
        }
    };
    // Before its answer is ended because nobody takes it.
    let ended = time::timeout(Options::default().stalled_read / 2, let_go).await;
    assert_eq!((ended, part.most()), (Ok(()), 10_005));
}
