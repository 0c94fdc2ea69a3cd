//! Responses that are taken slowly, or not at all while the rest of a request is missing.

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

/// So small that a message is one piece.
const MESSAGE_BYTES: usize = 4_000;

/// A client's window by default.
const WINDOW_BYTES: usize = 65_535;

/// A response with an endless number of messages. `asked` counts how many were asked for.
fn messages(asked: &Arc<AtomicUsize>, request: Option<Request<Body>>) -> Body {
    let asked = Arc::clone(asked);
    made_of(move || {
        // The request is held until the response ends.
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
    // The last message waits for room, and no further one is asked for.
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
            // Takes everything that has come of the next request, and then responds.
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
    // The message declares 10,000 bytes.
    let begun = Bytes::from_static(&[0, 0, 0, 0x27, 0x10, 7]);
    body.send_data(begun, false).unwrap();
    client.settle().await;
    let let_go = async {
        while part.most() == 0 || part.used() > 0 {
            yield_now().await;
        }
    };
    // It happens before the response is ended because the client does not take it.
    let ended = time::timeout(Options::default().stalled_read / 2, let_go).await;
    assert_eq!((ended, part.most()), (Ok(()), 10_005));
}
