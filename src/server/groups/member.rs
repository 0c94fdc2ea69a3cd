//! A member's stream: takes its requests as they come, and responds with the events of its session.
//!
//! A member's requests are taken even while it does not read its responses: it may commit what it
//! has, and it counts as alive as long as it sends. Its commits wait here for their responses,
//! counted in the memory of requests; while many bytes of them wait, no further requests are taken.

use std::{
    collections::VecDeque,
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tonic::{Code, Status};

use super::{
    events::{self, Asked, Message},
    join, offsets,
};
use crate::{
    broker::{CommitOutcome, Error, Pending, Session, SessionStep},
    budget::{Held, Holder},
    catalog::groups::Place,
    proto::{
        CommitOffsets, Committed, ConsumeRequest, GroupPartition, Partitions,
        consume_request::Message as Request, wire::ConsumeMessage,
    },
    server::{
        answers::{Source, part_of},
        auth::Access,
        blocking::blocking,
        limits::{
            FEW_OFFSETS, HEARTBEAT_INTERVAL, LIGHT_BYTES, MAX_COMMITS_IN_FLIGHT,
            MAX_UNANSWERED_BYTES, RETRY_AFTER_MS,
        },
        log::position,
        peer::Pulse,
        status,
        stop::Stopped,
        turns::{Long, LongTurn},
    },
    types::{Offset, PartitionId},
};

/// The responses of a `Consume`.
pub(in crate::server) struct MemberAnswers<S> {
    /// `None` once the member has left.
    session: Option<Session>,
    requests: S,
    /// Whether no more requests are taken.
    requests_ended: bool,
    /// The memory in which commits are counted that wait for their responses.
    counts_as: Holder,
    access: Access,
    /// The long calls of its connection, which keep a thread.
    long: Long,
    /// A commit that has to wait: for its caller's quotas, and for its turn if it has many offsets.
    held_up: Option<(CommitOffsets, Turn)>,
    /// Commits without a response yet.
    commits: VecDeque<UnderWay>,
    /// The response to a durable commit.
    committed: Option<Message>,
    leaving: Option<Pending<()>>,
    /// Why the stream ends.
    end: Option<Status>,
    /// What the session must wait for before its next step.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    first: Option<Message>,
    heartbeat: Heartbeat,
    /// Set if an answered ping counts as a heartbeat of the member.
    listening: Option<Listening>,
    stopped: Stopped,
    /// The last message, without its records.
    head: Bytes,
    has_records: bool,
    /// The memory in which the head is counted if it responds to a commit.
    head_held: Option<Held>,
}

type Turn = Pin<Box<dyn Future<Output = Option<LongTurn>> + Send>>;

/// A commit, with the offsets it names.
struct UnderWay {
    asked: Vec<Asked>,
    outcomes: Pending<Vec<CommitOutcome>>,
    held: Held,
}

/// Sends the client a heartbeat now and then.
struct Heartbeat {
    interval: Duration,
    timer: Pin<Box<Sleep>>,
}

/// Checks whether anything was received on the connection.
struct Listening {
    pulse: Pulse,
    heard: u64,
    interval: Duration,
    timer: Pin<Box<Sleep>>,
}

impl<S> MemberAnswers<S>
where
    S: Stream<Item = Result<ConsumeRequest, Status>> + Unpin + Send,
{
    /// `pulse` is given if the member does not send heartbeats itself. `counts_as` is the
    /// connection's share of the memory of requests.
    pub(in crate::server) fn new(
        session: Session,
        (first, session_time): (Message, Duration),
        (requests, counts_as, access, long): (S, Holder, Access, Long),
        pulse: Option<Pulse>,
        stopped: Stopped,
    ) -> Self {
        let interval = session_time / 3;
        Self {
            session: Some(session),
            requests,
            requests_ended: false,
            counts_as,
            access,
            long,
            held_up: None,
            commits: VecDeque::new(),
            committed: None,
            leaving: None,
            end: None,
            waiting: None,
            first: Some(first),
            heartbeat: Heartbeat::new(interval.min(HEARTBEAT_INTERVAL)),
            listening: pulse.map(|pulse| Listening::new(pulse, interval)),
            stopped,
            head: Bytes::new(),
            has_records: false,
            head_held: None,
        }
    }

    fn poll_requests(&mut self, cx: &mut Context<'_>) {
        while !self.requests_ended && self.poll_held_up(cx).is_ready() && self.may_take() {
            let Poll::Ready(request) = Pin::new(&mut self.requests).poll_next(cx) else {
                return;
            };
            // The session may be waiting for what this request brings. A commit notifies the
            // session of its outcome by itself.
            if !matches!(
                &request,
                Some(Ok(ConsumeRequest {
                    message: Some(Request::Commit(_))
                }))
            ) {
                self.waiting = None;
            }
            let taken = match request {
                Some(Ok(request)) => match self.permit(&request) {
                    Ok(wait) => self.take(request, wait),
                    Err(denied) => {
                        self.end_with(denied);
                        return;
                    }
                },
                Some(Err(status)) => {
                    self.end_with(status::of_undecoded(status));
                    return;
                }
                None => self.leave(),
            };
            if let Err(error) = taken {
                self.fail(error);
            }
        }
    }

    /// Ready when no commit waits.
    fn poll_held_up(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some((_, turn)) = &mut self.held_up {
            let _turn = ready!(turn.as_mut().poll(cx));
            self.waiting = None;
            if let Some((commit, _)) = self.held_up.take()
                && let Err(error) = blocking(|| self.commit_now(commit))
            {
                self.fail(error);
            }
        }
        Poll::Ready(())
    }

    /// Whether more requests are taken; not while the client leaves many responses unread.
    fn may_take(&self) -> bool {
        let under_way = self.commits.iter().map(|commit| commit.held.bytes());
        let answer = self.committed.as_ref().map_or(0, Message::held_bytes);
        self.commits.len() < MAX_COMMITS_IN_FLIGHT
            && under_way.sum::<usize>() + answer < MAX_UNANSWERED_BYTES
    }

    /// Ends the stream with this error, after the responses to commits.
    fn fail(&mut self, error: Error) {
        self.requests_ended = true;
        if self.end.is_some() {
            return;
        }
        if let Some(session) = &self.session {
            self.leaving = session.fail(&error);
        }
        self.end = Some(error.into());
    }

    /// Ends the stream when no more requests can come, because they were refused or the stream has
    /// broken.
    fn end_with(&mut self, status: Status) {
        self.requests_ended = true;
        let is_refused = matches!(
            status.code(),
            Code::InvalidArgument
                | Code::ResourceExhausted
                | Code::Unimplemented
                | Code::PermissionDenied
        );
        if let Some(session) = &self.session
            && is_refused
        {
            self.leaving = session.fail_at_bytes(status.message().to_owned());
        }
        self.end.get_or_insert(status);
    }

    /// Checks that the caller may send this request, and counts it; returns how long it waits. All
    /// partitions it names are the member's own, except those of a commit.
    fn permit(&self, request: &ConsumeRequest) -> Result<Duration, Status> {
        let Some(Request::Commit(commit)) = &request.message else {
            return Ok(Duration::ZERO);
        };
        self.access.permit(commit)?;
        self.access.commit(offsets::bytes(&commit.offsets))
    }

    fn take(&mut self, request: ConsumeRequest, wait: Duration) -> Result<(), Error> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        session.heard();
        match request.message {
            Some(Request::Credit(more)) => session.credit(join::credit(more)),
            Some(Request::Commit(commit)) => return self.commit(commit, wait),
            Some(Request::Drained(partitions)) => {
                let places = places(session, partitions)?;
                session.drained(&places)?;
            }
            Some(Request::Pause(partitions)) => {
                let places = places(session, partitions)?;
                session.pause(&places);
            }
            Some(Request::Resume(partitions)) => {
                let places = places(session, partitions)?;
                session.resume(&places);
            }
            Some(Request::StillWorking(working)) => {
                let places = named(session, working.partitions)?;
                session.still_working(&places);
            }
            Some(Request::Leave(_)) => return self.leave(),
            Some(Request::Join(_)) => {
                return Err(Error::MalformedRequest {
                    reason: "the member has joined already; open another stream for another one"
                        .to_owned(),
                });
            }
            None => {
                return Err(Error::MalformedRequest {
                    reason: "the message says nothing".to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Commits, at once or when it has waited, in its turn.
    fn commit(&mut self, commit: CommitOffsets, wait: Duration) -> Result<(), Error> {
        let is_large = commit.offsets.len() > FEW_OFFSETS;
        if !is_large && wait.is_zero() {
            return self.commit_now(commit);
        }
        let long = self.long.clone();
        let turn = async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            match is_large {
                true => Some(long.turn().await),
                false => None,
            }
        };
        self.held_up = Some((commit, Box::pin(turn)));
        Ok(())
    }

    /// Commits, if there is memory for what waits until the client reads the response.
    fn commit_now(&mut self, commit: CommitOffsets) -> Result<(), Error> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let bytes = commit.offsets.iter().map(Asked::bytes_of).sum();
        let held = self.counts_as.take(bytes);
        let held = held.map_err(|_| Error::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        })?;
        let offsets = offsets::group_offsets(commit.offsets)?;
        self.commits.push_back(UnderWay {
            asked: offsets.iter().map(Asked::of).collect(),
            outcomes: session.commit(offsets)?,
            held,
        });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Error> {
        self.requests_ended = true;
        if let Some(session) = self.session.take() {
            self.leaving = Some(session.leave()?);
        }
        Ok(())
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, Status>> {
        loop {
            if let Some(first) = self.first.take() {
                return Poll::Ready(Ok(Some(first)));
            }
            if let Some(committed) = self.next_committed(cx) {
                return Poll::Ready(Ok(Some(committed)));
            }
            // Earlier commits get their responses before the stream ends, and other members get the
            // partitions.
            if self.commits.is_empty()
                && let Some(leaving) = &mut self.leaving
            {
                let left = ready!(Pin::new(leaving).poll(cx));
                return Poll::Ready(match self.end.take() {
                    Some(status) => Err(status),
                    None => left.map(|()| None).map_err(Status::from),
                });
            }
            if self.commits.is_empty()
                && let Some(status) = self.end.take()
            {
                return Poll::Ready(Err(status));
            }
            if self.stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(Error::ShuttingDown.into()));
            }
            if let Some(waiting) = &mut self.waiting
                && waiting.as_mut().poll(cx).is_pending()
            {
                ready!(self.heartbeat.poll(cx));
                return Poll::Ready(Ok(Some(events::heartbeat())));
            }
            self.waiting = None;
            let Some(session) = self.session.as_mut().filter(|_| self.end.is_none()) else {
                return Poll::Pending;
            };
            let step = match session.is_light(LIGHT_BYTES) {
                true => session.step(),
                false => blocking(|| session.step()),
            };
            match step {
                Ok(SessionStep::Event(event)) => return Poll::Ready(Ok(Some(event.into()))),
                Ok(SessionStep::Wait(waiting)) => self.waiting = Some(waiting),
                Err(error) => self.fail(error),
            }
        }
    }

    fn next_committed(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        self.look_for_committed(cx);
        let committed = self.committed.take();
        self.look_for_committed(cx);
        committed
    }

    /// Checks whether the response to a commit comes next: it does not wait until records are read.
    fn look_for_committed(&mut self, cx: &mut Context<'_>) {
        if self.committed.is_none() {
            self.committed = self.poll_committed(cx);
        }
    }

    fn poll_committed(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        let first = self.commits.front_mut()?;
        let Poll::Ready(outcomes) = Pin::new(&mut first.outcomes).poll(cx) else {
            return None;
        };
        let UnderWay { asked, held, .. } = self.commits.pop_front()?;
        let outcomes = match outcomes {
            Ok(outcomes) => Some(outcomes),
            Err(error) => {
                let is_unknown = error == Error::OutcomeUnknown;
                self.fail(error);
                if !is_unknown {
                    self.commits.clear();
                    return None;
                }
                None
            }
        };
        let outcome = |at: usize| outcomes.as_ref().and_then(|outcomes| outcomes.get(at));
        let results = asked.into_iter().enumerate();
        let results = results.map(|(at, of)| events::commit_result(of, outcome(at)));
        let results = results.collect();
        let message = Message::from(ConsumeMessage::Committed(Committed { results }));
        Some(message.counted_with(held))
    }
}

/// The named partitions, without those that the member does not have.
fn places(session: &Session, partitions: Partitions) -> Result<Vec<Place>, Error> {
    named(session, partitions.partitions)
}

fn named(session: &Session, partitions: Vec<GroupPartition>) -> Result<Vec<Place>, Error> {
    let mut places = Vec::with_capacity(partitions.len());
    for GroupPartition {
        topic,
        partition,
        topic_id,
    } in partitions
    {
        let id = position::topic_id(&topic_id)?;
        places.extend(session.place(&topic, id, PartitionId(partition)));
    }
    Ok(places)
}

impl Heartbeat {
    fn new(interval: Duration) -> Self {
        Self {
            interval,
            timer: Box::pin(sleep(interval)),
        }
    }

    fn restart(&mut self) {
        self.timer.set(sleep(self.interval));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }
}

impl Listening {
    fn new(pulse: Pulse, interval: Duration) -> Self {
        pulse.want(interval);
        Self {
            heard: pulse.heard(),
            pulse,
            interval,
            timer: Box::pin(sleep(interval)),
        }
    }

    /// Whether anything was received since the last call.
    fn poll_heard(&mut self, cx: &mut Context<'_>) -> bool {
        let before = self.heard;
        while self.timer.as_mut().poll(cx).is_ready() {
            self.heard = self.pulse.heard();
            self.timer.set(sleep(self.interval));
        }
        self.heard != before
    }
}

impl<S> Source for MemberAnswers<S>
where
    S: Stream<Item = Result<ConsumeRequest, Status>> + Unpin + Send,
{
    fn take_requests(&mut self, cx: &mut Context<'_>) {
        self.poll_requests(cx);
        self.look_for_committed(cx);
        if let (Some(listening), Some(session)) = (&mut self.listening, &mut self.session)
            && listening.poll_heard(cx)
        {
            session.heard();
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        let Some(message) = ready!(self.poll_message(cx))? else {
            return Poll::Ready(Ok(None));
        };
        self.heartbeat.restart();
        self.head = message.head;
        self.head_held = message.held;
        self.has_records = !message.records.is_empty();
        let mut slices = vec![self.head.clone()];
        slices.extend(message.records);
        Poll::Ready(Ok(Some(slices)))
    }

    fn is_light(&self) -> bool {
        let session = self.session.as_ref();
        self.first.is_some()
            || self.committed.is_some()
            || session.is_none_or(|session| session.is_light(LIGHT_BYTES))
    }

    fn is_complete(&self) -> bool {
        false
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let mut slices = vec![self.head.clone()];
        if let Some(session) = self.session.as_mut().filter(|_| self.has_records) {
            slices.extend(session.again()?);
        }
        Ok(slices)
    }

    fn part_again(&mut self, part: Range<usize>) -> Option<Vec<Bytes>> {
        let session = self.session.as_ref().filter(|_| self.has_records)?;
        part_of(&self.head, part, |records| session.part_again(records))
    }

    fn memory(&self) -> usize {
        // The response to a commit is counted separately.
        let head = match self.head_held {
            Some(_) => 0,
            None => self.head.len(),
        };
        head + self.session.as_ref().map_or(0, Session::memory)
    }

    fn let_go(&mut self) {
        if let Some(session) = &mut self.session {
            session.let_go();
        }
    }

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }

    fn may_be_ended(&self) -> bool {
        false
    }
}
