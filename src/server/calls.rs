//! What all calls have in common, whichever service they are for: their deadlines, the memory of
//! their requests, compression, and error details in statuses that tonic makes itself.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as _, Frame};
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status, body::Body};
use tower::Service;

use super::{
    answers::Answers,
    auth::is_of_health,
    intake::{self, Intake},
    peer,
    refusals::Refusals,
    status,
    tally::{AnswersByCode, Counted, LoggedCall, Tallies},
    traces::Traces,
};
use crate::{
    codec::{ENCODINGS, Encoding},
    env::Clock,
};

/// The services, wrapped in what all calls have in common.
#[derive(Clone)]
pub(super) struct Calls<S> {
    services: S,
    intake: Intake,
    tallies: Tallies,
    /// The clock for the durations of calls in the log; `None` if calls are not logged.
    clock: Option<Arc<dyn Clock>>,
    /// None where no calls are traced.
    traces: Option<Traces>,
}

/// Resolves when the deadline of a call has passed.
type Deadline = Pin<Box<Sleep>>;

impl<S> Calls<S> {
    pub(super) fn new(services: S, intake: Intake, tallies: Tallies) -> Self {
        Self {
            services,
            intake,
            tallies,
            clock: None,
            traces: None,
        }
    }

    /// Traces calls, if that is asked for.
    pub(super) fn traced(self, traces: Option<Traces>) -> Self {
        Self { traces, ..self }
    }

    /// Logs calls with their durations, if the level is `debug`.
    pub(super) fn logged(self, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock: Some(clock),
            ..self
        }
    }
}

impl<S> Service<Request<Body>> for Calls<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.services.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let compression = match Compression::of(request.headers()) {
            Ok(compression) => compression,
            Err(encoding) => return Box::pin(async move { Ok(refuse_compressed(&encoding)) }),
        };
        if let Some(compression) = &compression {
            // The messages that are passed on are not compressed any more.
            request.headers_mut().remove(ENCODING);
            request.extensions_mut().insert(compression.encoding);
        }
        let path = request.uri().path().to_owned();
        let mut counted = self.tallies.calls.count();
        if let Some(clock) = &self.clock
            && tracing::enabled!(tracing::Level::DEBUG)
        {
            let address = peer::address(request.extensions());
            counted.logged = Some(LoggedCall::begin(&path, address, Arc::clone(clock)));
        }
        if let Some(traces) = &self.traces
            && !is_of_health(&path)
        {
            let tracing = traces.begin(request.headers(), &path);
            counted.traced = tracing.open();
            request.extensions_mut().insert(tracing);
        }
        let answers = Arc::clone(&self.tallies.answers);
        let deadline = timeout(request.headers()).map(|timeout| Box::pin(sleep(timeout)));
        let refusals = intake::refusals(request.extensions());
        let request = self.intake.meter(request);
        let kept = intake::kept(&request);
        let answer = self.services.call(request);
        let answer = async move {
            let _kept = kept;
            answer.await
        };
        Box::pin(async move {
            let Some(mut deadline) = deadline else {
                let mut response = explain(answer.await?, &path);
                if let Some(wait) = wait_of(&response, &refusals) {
                    sleep(wait).await;
                }
                count(&answers, &response);
                counted.answered(code_of(&response));
                compress(&mut response, compression);
                if let Some(answers) = response.extensions().get::<Answers>() {
                    answers.belong_to(counted, None);
                    return Ok(response);
                }
                return Ok(response.map(|body| counting(body, counted)));
            };
            let mut response = match in_time(answer, &mut deadline).await {
                Some(response) => explain(response?, &path),
                None => status::deadline_exceeded().into_http(),
            };
            if let Some(wait) = wait_of(&response, &refusals) {
                // The refusal says more than that the time is over.
                in_time(sleep(wait), &mut deadline).await;
            }
            count(&answers, &response);
            counted.answered(code_of(&response));
            compress(&mut response, compression);
            if let Some(answers) = response.extensions().get::<Answers>() {
                answers.belong_to(counted, Some(deadline));
                return Ok(response);
            }
            Ok(response.map(|body| counting(Body::new(Timed::new(body, deadline)), counted)))
        })
    }
}

/// How long a response waits, if it is the refusal of one of too many requests.
fn wait_of(response: &Response<Body>, refusals: &Refusals) -> Option<Duration> {
    match code_of(response) {
        Code::ResourceExhausted => refusals.wait(),
        _ => None,
    }
}

/// Counts the response of a call.
fn count(answers: &AnswersByCode, response: &Response<Body>) {
    let code = code_of(response);
    answers.count(code);
    if code != Code::Ok
        && let Some(status) = Status::from_header_map(response.headers())
    {
        answers.refused(&status);
    }
}

/// The status code of a response: an error without messages is in the header.
fn code_of(response: &Response<Body>) -> Code {
    let status = response.headers().get("grpc-status");
    status.map_or(Code::Ok, |status| Code::from_bytes(status.as_bytes()))
}

/// The response; `None` if the deadline comes first.
async fn in_time<T>(answer: impl Future<Output = T>, deadline: &mut Deadline) -> Option<T> {
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Some(answer));
        }
        deadline.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// The compression of a call's messages.
#[derive(Clone, Copy)]
struct Compression {
    encoding: Encoding,
    /// Whether responses may be compressed, too.
    is_accepted: bool,
}

const ENCODING: &str = "grpc-encoding";
const ACCEPTED: &str = "grpc-accept-encoding";

impl Compression {
    /// The compression of a request's messages, if any; an error names an encoding that is not
    /// built in.
    fn of(headers: &HeaderMap) -> Result<Option<Self>, String> {
        let Some(name) = headers.get(ENCODING) else {
            return Ok(None);
        };
        let name = String::from_utf8_lossy(name.as_bytes());
        if name == "identity" {
            return Ok(None);
        }
        let Some(encoding) = Encoding::named(&name) else {
            return Err(name.into_owned());
        };
        let mut is_accepted = false;
        for accepted in headers.get_all(ACCEPTED) {
            let mut names = accepted.to_str().unwrap_or_default().split(',');
            is_accepted |= names.any(|name| name.trim() == encoding.name());
        }
        Ok(Some(Self {
            encoding,
            is_accepted,
        }))
    }
}

/// Makes responses with records be compressed, if the client compresses its requests and accepts
/// that. All other responses are small.
fn compress(response: &mut Response<Body>, compression: Option<Compression>) {
    let Some(compression) = compression else {
        return;
    };
    if let Some(answers) = response.extensions().get::<Answers>()
        && compression.is_accepted
    {
        answers.compress(compression.encoding);
        let name = HeaderValue::from_static(compression.encoding.name());
        response.headers_mut().insert(ENCODING, name);
    }
    let accepted = HeaderValue::from_static(ENCODINGS);
    response.headers_mut().insert(ACCEPTED, accepted);
}

fn refuse_compressed(encoding: &str) -> Response<Body> {
    let mut response = status::compressed(encoding).into_http();
    response
        .headers_mut()
        .insert(ACCEPTED, HeaderValue::from_static(ENCODINGS));
    response
}

/// Replaces the status of a request that tonic has refused: tonic gives no more than a code, or a
/// text about the server.
fn explain(response: Response<Body>, path: &str) -> Response<Body> {
    match Status::from_header_map(response.headers()) {
        Some(status) if status.details().is_empty() => match status.code() {
            Code::Unimplemented => status::unknown_method(path).into_http(),
            Code::Internal => status::of_undecoded(status).into_http(),
            _ => response,
        },
        _ => response,
    }
}

/// The body of a response, which keeps its call counted while it is sent.
fn counting(body: Body, counted: Counted) -> Body {
    // Nothing more will be sent of this response.
    if body.is_end_stream() {
        return body;
    }
    Body::new(Counting {
        body,
        _counted: counted,
    })
}

struct Counting {
    body: Body,
    _counted: Counted,
}

impl http_body::Body for Counting {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        http_body::Body::poll_frame(Pin::new(&mut self.body), cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// The timeout that a client gives its call: at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// A response that ends at the deadline of its call.
pub(super) struct Timed {
    body: Body,
    /// `None` once the deadline has passed and was reported.
    deadline: Option<Deadline>,
}

impl Timed {
    pub(super) fn new(body: Body, deadline: Deadline) -> Self {
        Self {
            body,
            deadline: Some(deadline),
        }
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(deadline) = &mut self.deadline else {
            return Poll::Ready(None);
        };
        // The deadline is checked first, so that it also ends a call that always has a message
        // ready.
        if deadline.as_mut().poll(cx).is_pending() {
            let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx));
            return Poll::Ready(frame);
        }
        self.deadline = None;
        // Dropping the body frees what it holds.
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        status::deadline_exceeded().add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.deadline.is_none() || self.body.is_end_stream()
    }
}
