//! `AppendStream`.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio_stream::Stream;
use tonic::Status;

use super::append::{Refused, response, take};
use crate::{
    broker::{Appended, Broker, Error, Flow, Pending, ProducerHolder},
    proto::{AppendStreamResponse, append_stream_response::Outcome, wire::AppendRequest},
    server::{
        auth::Access, blocking::elsewhere, limits::MAX_APPENDS_IN_FLIGHT, status, stop::Stopped,
    },
};

type Making = Pin<Box<dyn Future<Output = Result<Appended, Error>> + Send>>;

type Taking = Pin<Box<dyn Future<Output = Result<Pending<Appended>, Refused>> + Send>>;

/// A request of a stream whose place in the order of appends is fixed.
struct Taken {
    outcome: Result<Pending<Appended>, Refused>,
    /// Whether it has a producer, whose requests build on each other.
    has_producer: bool,
}

impl Taken {
    /// Whether it may still be refused, with all requests behind it. Its response may be known and
    /// only wait until what it reports is durable.
    fn holds_up_others(&self) -> bool {
        self.has_producer && self.outcome.as_ref().is_ok_and(Pending::is_unsettled)
    }
}

/// Whether no later request may be stored after a refusal like this.
fn ends_the_stream(refused: &Refused, has_producer: bool) -> bool {
    use Error::{MalformedRequest, OutcomeUnknown, ShuttingDown};
    has_producer
        || matches!(
            refused,
            Refused::ByBroker(MalformedRequest { .. } | ShuttingDown | OutcomeUnknown)
        )
}

/// The responses of an `AppendStream`: the next requests are taken while earlier ones wait for the
/// disk, and responses are sent in the order of requests.
///
/// Once a request ends the stream, later requests are ignored. The earlier ones still get their
/// responses; then the stream ends with that request's status. Nothing runs while no responses are
/// asked for: if a client does not read them, its requests are not read either.
pub(crate) struct AppendAnswers<S> {
    broker: Arc<Broker>,
    flow: Flow,
    requests: S,
    holder: Option<Arc<ProducerHolder>>,
    access: Access,
    /// The request that waits for admission, and whether it has a producer.
    taking: Option<(Taking, bool)>,
    /// The requests without a response.
    in_flight: VecDeque<Taken>,
    /// The next response while files are read for it, and whether its request has a producer.
    making: Option<(Making, bool)>,
    /// Why no more requests are taken.
    end: Option<Result<(), Status>>,
    stopped: Stopped,
}

impl<S> AppendAnswers<S>
where
    S: Stream<Item = Result<AppendRequest, Status>> + Unpin,
{
    pub(super) fn new(
        broker: Arc<Broker>,
        flow: Flow,
        holder: Option<Arc<ProducerHolder>>,
        access: Access,
        requests: S,
        stopped: Stopped,
    ) -> Self {
        Self {
            broker,
            flow,
            requests,
            holder,
            access,
            taking: None,
            in_flight: VecDeque::new(),
            making: None,
            end: None,
            stopped,
        }
    }

    /// Takes requests until there are none, as many wait as may wait, or one ends the stream.
    fn take_requests(&mut self, cx: &mut Context<'_>) {
        while self.end.is_none() && self.may_take() {
            match self.poll_take(cx) {
                Poll::Ready(Ok(Some(taken))) => self.take_its_place(taken),
                Poll::Ready(Ok(None)) => self.end = Some(Ok(())),
                Poll::Ready(Err(status)) => self.end = Some(Err(status)),
                Poll::Pending => return,
            }
        }
    }

    fn may_take(&self) -> bool {
        self.in_flight.len() < MAX_APPENDS_IN_FLIGHT
            && !self.in_flight.back().is_some_and(Taken::holds_up_others)
    }

    fn take_its_place(&mut self, taken: Taken) {
        match &taken.outcome {
            Err(refused) if ends_the_stream(refused, taken.has_producer) => {
                refused.count(&self.broker);
                self.end = Some(Err(refused.clone().into()));
            }
            _ => self.in_flight.push_back(taken),
        }
    }

    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Taken>, Status>> {
        if self.taking.is_none() {
            if self.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::ShuttingDown.into()));
            }
            match ready!(Pin::new(&mut self.requests).poll_next(cx)) {
                None => return Poll::Ready(Ok(None)),
                Some(Err(status)) => return Poll::Ready(Err(status::of_undecoded(status))),
                Some(Ok(request)) => {
                    let (broker, flow) = (Arc::clone(&self.broker), self.flow.clone());
                    let (holder, has_producer) = (self.holder.clone(), request.producer.is_some());
                    let access = self.access.clone();
                    let taking =
                        async move { take(&broker, &flow, holder, &access, request).await };
                    self.taking = Some((Box::pin(taking), has_producer));
                }
            }
        }
        let (taking, has_producer) = self.taking.as_mut().expect("it was just filled");
        let outcome = ready!(taking.as_mut().poll(cx));
        let has_producer = *has_producer;
        self.taking = None;
        Poll::Ready(Ok(Some(Taken {
            outcome,
            has_producer,
        })))
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<AppendStreamResponse, Status>>> {
        if let Some((making, has_producer)) = &mut self.making {
            let appended = ready!(making.as_mut().poll(cx)).map_err(Refused::from);
            let has_producer = *has_producer;
            self.making = None;
            return Poll::Ready(Some(self.answered(appended, has_producer)));
        }
        let Some(first) = self.in_flight.front_mut() else {
            return match &mut self.end {
                None => Poll::Pending,
                // Polled again after the status, the stream has ended.
                Some(end) => Poll::Ready(std::mem::replace(end, Ok(())).err().map(Err)),
            };
        };
        let unmade = match &mut first.outcome {
            Ok(pending) => Ok(ready!(pending.poll_unmade(cx))),
            Err(refused) => Err(refused.clone()),
        };
        let has_producer = first.has_producer;
        self.in_flight.pop_front();
        let appended = match unmade {
            Ok(unmade) if unmade.reads_files() => {
                self.making = Some((Box::pin(elsewhere(move || unmade.make())), has_producer));
                return self.poll_answer(cx);
            }
            Ok(unmade) => unmade.make().map_err(Refused::from),
            Err(refused) => Err(refused),
        };
        Poll::Ready(Some(self.answered(appended, has_producer)))
    }

    fn answered(
        &mut self,
        appended: Result<Appended, Refused>,
        has_producer: bool,
    ) -> Result<AppendStreamResponse, Status> {
        if let Err(refused) = &appended {
            refused.count(&self.broker);
        }
        let appended = appended.map_err(|refused| match refused {
            Refused::ByBroker(error) => Refused::ByBroker(self.access.shown(error)),
            refused => refused,
        });
        let outcome = match appended {
            Ok(appended) => Outcome::Appended(response(appended)),
            Err(refused) if ends_the_stream(&refused, has_producer) => {
                self.in_flight.clear();
                self.taking = None;
                self.end = Some(Ok(()));
                return Err(refused.into());
            }
            Err(refused) => refused.outcome(),
        };
        Ok(AppendStreamResponse {
            outcome: Some(outcome),
        })
    }
}

impl<S> Stream for AppendAnswers<S>
where
    S: Stream<Item = Result<AppendRequest, Status>> + Unpin,
{
    type Item = Result<AppendStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.take_requests(cx);
        self.poll_answer(cx)
    }
}
