//! A member of a group: its stream, reconnected as often as necessary.
//!
//! When the program asks for the next record, it has handled the one before: that is committed soon
//! after, and its credit is returned.

mod opening;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    future::poll_fn,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use futures_core::Stream;
use tokio::time::{Sleep, sleep, timeout};
use tonic::{Status, Streaming};

use super::{
    CommitOutcome, GroupBatch, GroupOffset, GroupPartition, GroupRecord, NewMember, Revoked,
    batch::{Opened, Place},
    upward::Upward,
};
use crate::{
    client::{
        Error,
        producer::retry::{Backoff, Verdict, verdict},
        status::AtStake,
    },
    proto::{
        CommitOffsets, Credit, DescribeGroupRequest, GroupState, Leave, Partitions, StillWorking,
        consume_request::Message,
        wire::{ConsumeMessage, ConsumeResponse},
    },
};

/// How often a member without partitions that ends when caught up checks whether it may get one.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A member of a group. Dropped without [`leave`](Self::leave), it may come back within its session
/// timeout; others get its partitions only after that.
pub struct Member {
    settings: NewMember,
    upward: Upward,
    /// `None` between two streams.
    responses: Option<Streaming<ConsumeResponse>>,
    /// The member's partitions, with their generations.
    assigned: BTreeMap<Place, u64>,
    batches: VecDeque<GroupBatch>,
    opened: Option<Opened>,
    /// What was last given to the program, which has handled it when it asks for more.
    given: Option<Given>,
    /// What was handled and is not committed yet.
    handled: BTreeMap<Place, GroupOffset>,
    /// The commits that are not answered yet, each with whether somebody waits for its answer.
    unanswered: VecDeque<bool>,
    answers: VecDeque<Vec<CommitOutcome>>,
    commit_timer: Pin<Box<Sleep>>,
    is_caught_up: bool,
    /// Set once it will not join again.
    ended: Option<Error>,
}

struct Given {
    next: GroupOffset,
    /// The credit to return.
    cost: Credit,
}

impl Member {
    pub(super) async fn join(settings: NewMember) -> Result<Self, Error> {
        let commit_timer = Box::pin(sleep(settings.commit_interval));
        let mut member = Self {
            settings,
            upward: Upward::default(),
            responses: None,
            assigned: BTreeMap::new(),
            batches: VecDeque::new(),
            opened: None,
            given: None,
            handled: BTreeMap::new(),
            unanswered: VecDeque::new(),
            answers: VecDeque::new(),
            commit_timer,
            is_caught_up: false,
            ended: None,
        };
        member.open(Backoff::new()).await?;
        Ok(member)
    }

    /// The broker's id for this member.
    #[must_use]
    pub fn member_id(&self) -> &str {
        &self.settings.join.member_id
    }

    /// The name of its group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.settings.join.group
    }

    /// The partitions that the member owns now.
    pub fn partitions(&self) -> impl Iterator<Item = GroupPartition> {
        self.assigned.keys().map(Place::to_public)
    }

    /// The next record. Asking for it tells that the one before is handled, which is then
    /// committed, unless the member [commits explicitly](NewMember::commit_explicitly). Returns
    /// `None` only [when it has caught up](NewMember::until_caught_up), and everything is
    /// committed.
    ///
    /// A member that loses its connection joins again and continues behind what was committed.
    /// Records that were handled just before, and not committed yet, come again.
    ///
    /// # Errors
    ///
    /// `FENCED` if another client has joined with this member's name, `NO_OFFSET`,
    /// [`Error::OffsetOutOfRange`], [`Error::DamagedRecords`]: the member has ended, and every
    /// later call fails too. [`Error::Unavailable`] if the broker was away for too long: the next
    /// call tries again.
    pub async fn next_record(&mut self) -> Result<Option<GroupRecord>, Error> {
        self.note_handled();
        loop {
            self.take_what_came().await?;
            if let Some(record) = self.pop_record()? {
                self.commit_if_due().await;
                return Ok(Some(record));
            }
            if self.is_at_end().await? {
                return Ok(None);
            }
        }
    }

    /// The next records of a partition, or news about it. As [`next_record`](Self::next_record),
    /// but faster. Use either of them.
    ///
    /// # Errors
    ///
    /// As [`next_record`](Self::next_record).
    pub async fn next_batch(&mut self) -> Result<Option<GroupBatch>, Error> {
        self.note_handled();
        loop {
            self.take_what_came().await?;
            if let Some(batch) = self.batches.pop_front() {
                self.given = Some(Given {
                    next: batch.next.clone(),
                    cost: batch.cost,
                });
                self.commit_if_due().await;
                return Ok(Some(batch));
            }
            if self.is_at_end().await? {
                return Ok(None);
            }
        }
    }

    /// Tells that only the records before `next` were handled of what was last given. That counts
    /// when the program asks for more, or the member leaves.
    pub fn handled_only(&mut self, next: GroupOffset) {
        if let Some(given) = &mut self.given {
            given.next = next;
        }
    }

    /// Commits these offsets, and waits until that is durable; returns the outcome of each, in
    /// order.
    ///
    /// # Errors
    ///
    /// [`Error::OutcomeUnknown`] if the connection was lost before the answer came.
    pub async fn commit(
        &mut self,
        offsets: impl IntoIterator<Item = GroupOffset>,
    ) -> Result<Vec<CommitOutcome>, Error> {
        self.check_ended()?;
        let offsets: Vec<GroupOffset> = offsets.into_iter().collect();
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        if self.responses.is_none() {
            self.open(Backoff::new()).await?;
        }
        self.send_commit(offsets, true);
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Ok(answer);
            }
            if self.unanswered.is_empty() || self.responses.is_none() {
                let message = "the connection was lost before the commit was answered".to_owned();
                return Err(Error::OutcomeUnknown { message });
            }
            self.receive().await?;
        }
    }

    /// Pauses these partitions: no records of them are sent for now. The member still owns them.
    pub fn pause(&mut self, partitions: impl IntoIterator<Item = GroupPartition>) {
        let partitions = self.named(partitions);
        self.upward.send(Message::Pause(partitions));
    }

    /// Resumes these partitions.
    pub fn resume(&mut self, partitions: impl IntoIterator<Item = GroupPartition>) {
        let partitions = self.named(partitions);
        self.upward.send(Message::Resume(partitions));
    }

    /// Tells that records of these partitions are still being worked on: see
    /// [`NewMember::progress_timeout`].
    pub fn still_working(&mut self, partitions: impl IntoIterator<Item = GroupPartition>) {
        let partitions = self.named(partitions).partitions;
        let working = StillWorking { partitions };
        self.upward.send(Message::StillWorking(working));
    }

    /// Leaves the group: commits what was handled, and others get the partitions at once. What was
    /// last given counts as handled.
    ///
    /// # Errors
    ///
    /// If the broker was not reached, or the outcome is not known.
    pub async fn leave(mut self) -> Result<(), Error> {
        self.note_handled();
        self.check_ended()?;
        self.commit_handled();
        self.upward.send(Message::Leave(Leave {}));
        self.upward.close();
        let Some(mut responses) = self.responses.take() else {
            return Ok(());
        };
        let rest = async {
            while responses.message().await?.is_some() {}
            Ok::<_, Status>(())
        };
        match timeout(self.settings.request_timeout, rest).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => Err(Error::from_status(&status, AtStake::Change)),
            Err(_) => Err(Error::timed_out(AtStake::Change)),
        }
    }

    fn named(&self, partitions: impl IntoIterator<Item = GroupPartition>) -> Partitions {
        let wanted: Vec<GroupPartition> = partitions.into_iter().collect();
        let places = self.assigned.keys();
        let named = places.filter(|place| wanted.contains(&place.to_public()));
        Partitions {
            partitions: named.map(Place::to_wire).collect(),
        }
    }

    fn check_ended(&self) -> Result<(), Error> {
        match &self.ended {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Notes that what was last given is handled.
    fn note_handled(&mut self) {
        if let Some(given) = self.given.take() {
            self.is_handled(given);
        }
    }

    fn is_handled(&mut self, Given { next, cost }: Given) {
        self.give_back(cost);
        let place = Place::of(&next);
        let is_still_there = self.assigned.get(&place).copied() == next.generation;
        if is_still_there && self.settings.commits_itself {
            self.handled.insert(place, next);
        }
    }

    fn pop_record(&mut self) -> Result<Option<GroupRecord>, Error> {
        loop {
            if let Some(opened) = &mut self.opened
                && let Some(record) = opened.pop()
            {
                // The last record also stands for what the program left out behind it.
                let next = match opened.is_empty() {
                    true => (*opened.next).clone(),
                    false => record.next(),
                };
                let cost = match opened.is_empty() {
                    true => std::mem::take(&mut opened.cost),
                    false => Credit::default(),
                };
                self.given = Some(Given { next, cost });
                return Ok(Some(record));
            }
            let Some(batch) = self.batches.pop_front() else {
                return Ok(None);
            };
            let opened = Opened::new(&batch)?;
            if opened.is_empty() {
                // There is nothing to handle in it, and everything before it is handled.
                self.is_handled(Given {
                    next: batch.next,
                    cost: opened.cost,
                });
                continue;
            }
            self.opened = Some(opened);
        }
    }

    /// Called when no records are left to return: waits for the next event of the stream. Returns
    /// true if the member must end instead.
    async fn is_at_end(&mut self) -> Result<bool, Error> {
        self.commit_handled();
        if self.settings.until_caught_up && self.unanswered.is_empty() {
            if self.is_caught_up {
                return Ok(true);
            }
            if self.assigned.is_empty() && self.responses.is_some() {
                return self.is_left_out().await;
            }
        }
        self.receive().await?;
        Ok(false)
    }

    /// Waits a moment for something from the broker. Returns true if nothing came and other members
    /// have all partitions: none is being handed over, and no member is away.
    async fn is_left_out(&mut self) -> Result<bool, Error> {
        if let Ok(received) = timeout(LOOK_EVERY, self.receive()).await {
            received?;
            return Ok(false);
        }
        let mut calls = self.settings.calls.clone();
        let request = DescribeGroupRequest {
            group: self.settings.join.group.clone(),
            // Members are in each page, with how many partitions they have.
            page_size: 1,
            after: None,
        };
        let described = timeout(self.settings.request_timeout, calls.describe(request)).await;
        // If the description fails, the stream will report why.
        let Ok(Ok(described)) = described else {
            return Ok(false);
        };
        let described = described.into_inner();
        let member = &self.settings.join.member_id;
        let mut members = described.members.iter();
        let is_given_one = members.any(|other| other.member_id == *member && other.partitions > 0);
        Ok(described.state() == GroupState::Stable && !is_given_one)
    }

    fn commit_handled(&mut self) {
        let handled = std::mem::take(&mut self.handled);
        if !handled.is_empty() {
            self.send_commit(handled.into_values().collect(), false);
        }
    }

    async fn commit_if_due(&mut self) {
        let timer = &mut self.commit_timer;
        let is_due = poll_fn(|cx| Poll::Ready(timer.as_mut().poll(cx).is_ready())).await;
        // One commit at a time: the next one includes what was handled meanwhile.
        if is_due && self.unanswered.is_empty() {
            self.commit_timer.set(sleep(self.settings.commit_interval));
            self.commit_handled();
        }
    }

    fn send_commit(&mut self, offsets: Vec<GroupOffset>, is_awaited: bool) {
        let offsets = offsets.iter().map(GroupOffset::to_wire).collect();
        self.upward.send(Message::Commit(CommitOffsets { offsets }));
        self.unanswered.push_back(is_awaited);
    }

    fn give_back(&self, cost: Credit) {
        if cost != Credit::default() {
            self.upward.send(Message::Credit(cost));
        }
    }

    /// Takes what the broker has sent already.
    async fn take_what_came(&mut self) -> Result<(), Error> {
        self.check_ended()?;
        while let Some(responses) = &mut self.responses {
            let came = poll_fn(|cx| Poll::Ready(Pin::new(&mut *responses).poll_next(cx)));
            match came.await {
                Poll::Pending => break,
                Poll::Ready(came) => self.take(came.transpose())?,
            }
        }
        Ok(())
    }

    /// Waits for something from the broker; joins again if the connection is lost.
    async fn receive(&mut self) -> Result<(), Error> {
        self.check_ended()?;
        match &mut self.responses {
            Some(responses) => {
                let came = responses.message().await;
                self.take(came)
            }
            None => {
                let mut backoff = Backoff::new();
                // A pause, because all members have probably lost their connections together.
                sleep(backoff.next(None)).await;
                self.open(backoff).await
            }
        }
    }

    fn take(&mut self, came: Result<Option<ConsumeResponse>, Status>) -> Result<(), Error> {
        let error = match came {
            Ok(Some(response)) => {
                self.understand(response.message);
                return Ok(());
            }
            Ok(None) => Error::Unavailable {
                message: "the broker has ended the stream".to_owned(),
            },
            Err(status) => Error::from_status(&status, AtStake::Nothing),
        };
        self.responses = None;
        // These records come again on the next stream.
        self.batches.clear();
        self.opened = None;
        self.end_if_final(&error);
        self.check_ended()
    }

    fn end_if_final(&mut self, error: &Error) {
        match verdict(error) {
            Verdict::SendAgain(_) => self.settings.outages.begin(error),
            Verdict::Forgotten | Verdict::End => self.ended = Some(error.clone()),
        }
    }

    fn understand(&mut self, message: Option<ConsumeMessage>) {
        match message {
            Some(ConsumeMessage::Assigned(assigned)) => {
                let partitions: Vec<_> = assigned.partitions.into_iter().map(Into::into).collect();
                self.assign(&partitions);
            }
            Some(ConsumeMessage::Revoked(revoked)) => {
                let partitions = revoked.partitions.unwrap_or_default().partitions;
                let places = partitions.into_iter().map(Into::into).collect();
                self.revoke(places, revoked.drain_ms == 0);
            }
            Some(ConsumeMessage::Records(records)) => {
                self.is_caught_up = false;
                self.batches.push_back(GroupBatch::new(records));
            }
            Some(ConsumeMessage::Committed(committed)) => {
                if self.unanswered.pop_front() == Some(true) {
                    let results = committed.results.iter().map(Into::into);
                    self.answers.push_back(results.collect());
                }
            }
            Some(ConsumeMessage::CaughtUp(_)) => self.is_caught_up = true,
            Some(ConsumeMessage::Failed(failed)) => {
                if let Some(call) = &mut self.settings.on_failed {
                    call(&failed.into());
                }
            }
            Some(ConsumeMessage::Joined(_) | ConsumeMessage::Heartbeat(_)) | None => {}
        }
    }

    fn assign(&mut self, partitions: &[super::AssignedPartition]) {
        self.is_caught_up = false;
        for partition in partitions {
            // The partition may be assigned anew: records that were read before must not be handled
            // any more.
            self.forget(&partition.place());
            self.assigned
                .insert(partition.place(), partition.generation);
        }
        if let Some(call) = &mut self.settings.on_assigned {
            call(partitions);
        }
    }

    fn revoke(&mut self, places: Vec<Place>, is_taken: bool) {
        let mut revoked = Revoked {
            partitions: places.iter().map(Place::to_public).collect(),
            is_taken,
            commits: Vec::new(),
        };
        if let Some(call) = &mut self.settings.on_revoked {
            call(&mut revoked);
        }
        let handled = places.iter().filter_map(|place| self.handled.remove(place));
        let commits: Vec<GroupOffset> = handled.chain(revoked.commits).collect();
        for place in &places {
            self.forget(place);
            self.assigned.remove(place);
        }
        if is_taken {
            return;
        }
        if !commits.is_empty() {
            self.send_commit(commits, false);
        }
        let partitions = places.iter().map(Place::to_wire).collect();
        self.upward
            .send(Message::Drained(Partitions { partitions }));
    }

    /// Drops records of a partition that were not given to the program.
    fn forget(&mut self, place: &Place) {
        self.handled.remove(place);
        let (mut kept, mut costs) = (VecDeque::new(), Vec::new());
        for batch in std::mem::take(&mut self.batches) {
            match batch.place() == *place {
                true => costs.push(batch.cost),
                false => kept.push_back(batch),
            }
        }
        self.batches = kept;
        let opened = self
            .opened
            .take_if(|opened| Place::of(&opened.next) == *place);
        costs.extend(opened.map(|opened| opened.cost));
        for cost in costs {
            self.give_back(cost);
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Member");
        debug
            .field("settings", &self.settings)
            .field("assigned", &self.assigned)
            .finish_non_exhaustive()
    }
}
