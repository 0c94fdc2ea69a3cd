//! Ends streams whose callers may not go on, because a token was revoked or expired, or a grant was
//! taken away.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::Frame;
use tokio::{sync::watch, time::sleep};
use tonic::{Status, body::Body};

use super::{Access, Pace, jwt::Keys};
use crate::server::{answers::Answers, quotas::StreamPlace};

/// Resolves when a stream must end, with its status.
pub(in crate::server) type Cut = Pin<Box<dyn Future<Output = Status> + Send>>;

/// How often expired tokens are looked for. A timer is not enough, because the broker's time may go
/// faster than the machine's; streams must end within 5 s.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Resolves when the call must end. It keeps its place among the caller's streams until then.
pub(super) fn cut(access: Access, place: Option<StreamPlace>) -> Cut {
    Box::pin(async move {
        let _place = place;
        let mut grants = access.authority().auth.grants.subscribe();
        let mut tokens = access.authority().tokens.clone();
        let mut keys = access
            .authority()
            .auth
            .issuer
            .as_ref()
            .map(|issuer| issuer.watch());
        loop {
            if let Err(status) = access.may_go_on() {
                return status;
            }
            tokio::select! {
                changed = grants.changed() => gone_with_the_broker(changed.is_err()).await,
                changed = tokens.changed() => gone_with_the_broker(changed.is_err()).await,
                () = other_keys(&mut keys) => {}
                () = expiring(&access) => {}
            }
        }
    })
}

/// Never resolves; only keeps the call's place among the caller's streams.
pub(super) fn held_open(place: Option<StreamPlace>) -> Cut {
    Box::pin(async move {
        let _place = place;
        std::future::pending().await
    })
}

/// Resolves when the JWT issuer's keys have changed.
async fn other_keys(keys: &mut Option<watch::Receiver<Arc<Keys>>>) {
    match keys {
        Some(keys) => gone_with_the_broker(keys.changed().await.is_err()).await,
        None => std::future::pending().await,
    }
}

/// Never resolves if nothing can change any more, because the broker is closed.
async fn gone_with_the_broker(is_gone: bool) {
    if is_gone {
        std::future::pending::<()>().await;
    }
}

/// Resolves when the caller's token may have expired, to be looked at again.
async fn expiring(access: &Access) {
    match access.expires_ms() {
        None => std::future::pending().await,
        Some(expires_ms) => {
            let left = expires_ms.saturating_sub((access.authority().now_ms)());
            let left = Duration::from_millis(u64::try_from(left).unwrap_or(0));
            sleep(left.min(LOOK_EVERY)).await;
        }
    }
}

/// Makes a response that ends with `cut`, and is slowed down to the caller's quota.
pub(super) fn end_with(cut: Cut, access: Access, response: Response<Body>) -> Response<Body> {
    if let Some(answers) = response.extensions().get::<Answers>() {
        answers.end_with(cut, Pace::new(access));
        return response;
    }
    response.map(|body| {
        Body::new(Cuttable {
            body,
            cut: Some(cut),
        })
    })
}

/// A response body that ends when its caller may not go on.
struct Cuttable {
    body: Body,
    /// `None` once the body has ended.
    cut: Option<Cut>,
}

impl http_body::Body for Cuttable {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(cut) = &mut self.cut else {
            return Poll::Ready(None);
        };
        let Poll::Ready(status) = cut.as_mut().poll(cx) else {
            return Pin::new(&mut self.body).poll_frame(cx);
        };
        self.cut = None;
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.cut.is_none() || self.body.is_end_stream()
    }
}
