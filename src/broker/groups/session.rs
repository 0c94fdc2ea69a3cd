//! One member's stream, in synchronous steps: what it is told and sent next, or what it waits for.
//!
//! What a session has is what the applied catalog says that its member has; it looks there whenever
//! it was told that this may have changed, and compares. So whatever happened meanwhile, it tells
//! its client the way from what that was told last to what is so now: first which partitions are
//! revoked, then which are assigned, then records. No record of a partition follows its revocation.
//!
//! A partition is read as by [`Reader`](crate::broker::Reader), with the credit that is left as the
//! limit. Nothing is read that may not be sent: what a session holds on to is what was read ahead
//! of one partition, within its credit.

use std::{collections::BTreeMap, future::Future, ops::Range, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    CommitOutcome, GroupOffset,
    assignment::{Assigned, Followed, Revoked},
    ending::Ending,
    join::JoinGroup,
    refused,
    sessions::Live,
    under_way::{Credit, CreditLeft},
};
use crate::{
    broker::{
        Error, Filter, Pending, ReadBatch, Shared, fetched::Fetched, lock,
        partition_cursor::Returned, state::PartitionRef,
    },
    catalog::{
        Planned,
        groups::{Committed, Failed, Generation, GroupChange, Instance, MemberId, Place, Refused},
    },
    types::{Offset, PartitionId, Position, TopicId, TopicName},
};

/// Where a group begins in a partition for which it has committed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOffset {
    Start(Position),
    /// The session ends with [`Error::NoOffset`].
    Fail,
}

/// What happens where the committed offset is not there any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetGone {
    /// The session ends with [`Error::OffsetOutOfRange`].
    Fail,
    /// It goes on at the earliest record that is there. An offset above the end fails.
    Earliest,
    /// It goes on at the end.
    Latest,
}

/// What a step of a session came to.
pub(crate) enum Step {
    Event(Event),
    /// There is nothing to tell or send before this resolves, or the client says something.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// What a member is told or sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// These are its own from now on. One that it has already is assigned anew: its records begin
    /// at another offset, or what it commits of those it has is refused.
    Assigned(Vec<AssignedPartition>),
    /// No records of these follow. In this time the member hands them over; none is left if they
    /// are not its own any more.
    Revoked {
        partitions: Vec<(TopicName, Place)>,
        time: Duration,
    },
    Records(RecordsOf),
    /// All that is there has been sent.
    CaughtUp,
}

/// A partition that a member has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignedPartition {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    /// What commits have to name.
    pub(crate) generation: Generation,
    /// Where its records begin.
    pub(crate) next_offset: Offset,
    pub(crate) committed: Option<Committed>,
    pub(crate) high_watermark: Offset,
    /// See [`RecordsOf::replayed_below`].
    pub(crate) replayed_below: Option<Offset>,
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordsOf {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) generation: Generation,
    pub(crate) batch: ReadBatch,
    /// The credit that they take.
    pub(crate) cost: Credit,
    /// Records before this offset have been handled by the group that this one was forked from.
    pub(crate) replayed_below: Option<Offset>,
}

/// One member's stream. Dropped without [`leave`](Self::leave), its member has its session's time
/// to join again.
pub(crate) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) woken: watch::Receiver<()>,
    pub(super) no_offset: NoOffset,
    pub(super) offset_gone: OffsetGone,
    /// How long its client may take to hand partitions over.
    pub(super) drain: Duration,
    pub(super) credit: CreditLeft,
    /// What it had when it joined.
    first_credit: Credit,
    /// Those that are read.
    pub(super) partitions: BTreeMap<Place, Assigned>,
    /// Their topics.
    pub(super) topics: BTreeMap<TopicId, Followed>,
    /// Revoked partitions that the client is to be told of.
    pub(super) revoked: BTreeMap<Place, Revoked>,
    /// Those that the client is to hand over, with the names of their topics: none of a topic may
    /// be read any more.
    pub(super) draining: BTreeMap<Place, TopicName>,
    /// Which partition comes first in the next step.
    pub(super) turn: Option<Place>,
    /// What was read ahead of that.
    pub(super) fetched: Option<Fetched>,
    /// Where the last batch was read.
    pub(super) last: Option<(PartitionRef, Returned)>,
    pub(super) has_told_caught_up: bool,
    /// The end that it comes to, where it cannot go on with a partition.
    pub(super) ending: Option<Ending>,
    /// The last step found nothing to send. That stays so until a topic moves, or there is more
    /// that may be sent; a step does not look at partitions before.
    pub(super) is_at_rest: bool,
}

impl Session {
    pub(super) fn new(shared: Arc<Shared>, live: Arc<Live>, join: &JoinGroup) -> Self {
        let mut session = Self {
            shared,
            woken: live.woken.subscribe(),
            live,
            no_offset: join.no_offset,
            offset_gone: join.offset_gone,
            drain: join.drain,
            credit: CreditLeft::default(),
            first_credit: join.credit,
            partitions: BTreeMap::new(),
            topics: BTreeMap::new(),
            revoked: BTreeMap::new(),
            draining: BTreeMap::new(),
            turn: None,
            fetched: None,
            last: None,
            has_told_caught_up: false,
            ending: None,
            is_at_rest: false,
        };
        session.credit(join.credit);
        session
    }

    pub(crate) fn member_id(&self) -> MemberId {
        self.live.member
    }

    /// Which client it is.
    pub(crate) fn instance(&self) -> Instance {
        self.live.instance
    }

    /// The partition of this number of the topic that the member reads or hands over under this
    /// name, if it has that, and it is the one that is meant.
    pub(crate) fn place(
        &self,
        topic: &str,
        id: Option<TopicId>,
        partition: PartitionId,
    ) -> Option<Place> {
        let topics = self.topics.iter();
        let read = topics.map(|(of, followed)| (*of, &followed.topic.name));
        let draining = self.draining.iter().map(|(place, name)| (place.0, name));
        let mut all = read.chain(draining);
        let found = all.find(|(of, name)| name.as_str() == topic && id.is_none_or(|id| id == *of));
        Some((found?.0, partition))
    }

    /// The next event. After an error the session is over.
    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        self.last = None;
        // Seen before anything is looked at: what changes after that resolves the wait.
        self.woken.borrow_and_update();
        self.live.check()?;
        let news = lock(&self.live.state).take_news();
        self.is_at_rest &= !news.is_any();
        if news.is_assignment_old {
            self.follow_assignment()?;
        }
        if let Some(event) = self.next_revoked().or_else(|| self.next_assigned()) {
            return Ok(Step::Event(event));
        }
        for followed in self.topics.values_mut() {
            self.is_at_rest &= !followed.look();
        }
        if let Some(notice) = self.next_notice() {
            return Ok(Step::Event(Event::Records(notice)));
        }
        if !self.is_at_rest {
            let is_late = self.is_late();
            if !is_late && let Some(records) = self.next_records()? {
                self.has_told_caught_up = false;
                return Ok(Step::Event(Event::Records(records)));
            }
            self.end_if_due()?;
            if !self.has_told_caught_up && self.has_caught_up() {
                self.has_told_caught_up = true;
                return Ok(Step::Event(Event::CaughtUp));
            }
            self.is_at_rest = true;
        }
        Ok(Step::Wait(self.wait()))
    }

    /// The client takes so much more.
    pub(crate) fn credit(&mut self, more: Credit) {
        self.credit.add(more);
        self.is_at_rest = false;
        let left = self.credit.get();
        lock(&self.live.state).credit = left;
        let Credit { records, bytes } = self.first_credit;
        if left.records >= records && left.bytes >= bytes {
            // It works on nothing any more.
            self.works_again();
        }
    }

    /// The client makes progress. If partitions were taken from it because it made none, it gets
    /// its share anew.
    fn works_again(&self) {
        if !self.live.take_is_stuck() {
            return;
        }
        let now = self.shared.env.clock.elapsed();
        let mut planned = self.shared.sequencer.planned();
        planned.groups_mut().share_anew(&self.live.group, now);
        drop(planned);
        self.shared.alarm.wake();
    }

    /// Commits offsets. Each names the generation in which its partition was assigned to this
    /// member.
    pub(crate) fn commit(
        &mut self,
        mut offsets: Vec<GroupOffset>,
    ) -> Result<Pending<Vec<CommitOutcome>>, Error> {
        self.live.check()?;
        self.works_again();
        if offsets.iter().any(|offset| offset.generation.is_none()) {
            let reason = "a member's commit names the generation of each partition".to_owned();
            return Err(Error::MalformedRequest { reason });
        }
        for offset in &mut offsets {
            offset.member = Some(self.live.member);
        }
        self.shared.commit_offsets(&self.live.group, offsets, false)
    }

    /// The client has handed these partitions over. What it was not asked for is left out.
    pub(crate) fn drained(&mut self, places: &[Place]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let mut planned = shared.sequencer.planned();
        self.check_latest()?;
        self.hand_over(&mut planned, places)
    }

    /// Sends no records of these for now.
    pub(crate) fn pause(&mut self, places: &[Place]) {
        self.set_paused(places, true);
        self.tell_paused(places, true);
    }

    /// Sends records of these again.
    pub(crate) fn resume(&mut self, places: &[Place]) {
        // First, so that nobody sees time that was paused count.
        self.tell_paused(places, false);
        self.set_paused(places, false);
    }

    /// The client works on records of these: they make progress.
    pub(crate) fn still_working(&mut self, places: &[Place]) {
        self.works_again();
        let now = self.shared.env.clock.elapsed();
        let mut state = lock(&self.live.state);
        for place in places {
            if let Some(open) = state.partitions.get_mut(place) {
                open.progress_at = now;
            }
        }
    }

    /// The client was heard of.
    pub(crate) fn heard(&mut self) {
        lock(&self.live.state).heard_at = self.shared.env.clock.elapsed();
    }

    /// The member leaves: others get its partitions at once.
    pub(crate) fn leave(self) -> Result<Pending<()>, Error> {
        let mut planned = self.shared.sequencer.planned();
        self.check_latest()?;
        let group = &self.live.group;
        let left = self.shared.decide_on_groups(&planned, |groups, topics| {
            groups.decide_leave(group, self.live.member, topics)
        });
        let pending = match left {
            Ok(change) => {
                let plan = &mut planned;
                self.shared.plan_group(plan, group, change, || Ok(()))?
            }
            Err(Refused::UnknownGroup | Refused::UnknownMember) => {
                self.shared.sequencer.queue_barrier(|| Ok(()))?
            }
            Err(error) => return Err(refused(group, error)),
        };
        self.live.leave();
        Ok(pending)
    }

    /// The stream ends with this error. Where joining again does not mend that, nobody waits for
    /// the member: others get its partitions, unless they are kept for its name. What is pending is
    /// that this is durable.
    pub(crate) fn fail(&self, error: &Error) -> Option<Pending<()>> {
        if error.may_pass() {
            return None;
        }
        let place = self.place_of(error);
        self.fail_with(format!("{}: {error}", error.reason()), place)
    }

    /// The same where the client sends what is no message.
    pub(crate) fn fail_at_bytes(&self, error: String) -> Option<Pending<()>> {
        self.fail_with(error, None)
    }

    fn fail_with(&self, error: String, place: Option<Place>) -> Option<Pending<()>> {
        let mut planned = self.shared.sequencer.planned();
        // One that is fenced, or gone, has nothing that others wait for.
        self.check_latest().ok()?;
        let (group, member) = (&self.live.group, self.live.member);
        let known = planned.groups().get(group)?.state().members.get(&member)?;
        let failed = Failed {
            member,
            name: Arc::clone(&known.name),
            error,
            place,
        };
        let decided = self.shared.decide_on_groups(&planned, |groups, topics| {
            groups.decide_failed(group, member, topics)
        });
        let groups = planned.groups_mut();
        groups.note_failed(group, failed);
        let Some(change) = decided.ok()? else {
            groups.lose(group, member, self.shared.env.clock.elapsed());
            return None;
        };
        let plan = &mut planned;
        let left = self.shared.plan_group(plan, group, change, || Ok(()));
        // Where the journal does not take it now, its session's time runs.
        let left = left.ok()?;
        self.live.leave();
        Some(left)
    }

    /// The partition that the session cannot go on with for this error.
    fn place_of(&self, error: &Error) -> Option<Place> {
        let (topic, partition) = match error {
            Error::GroupOffsetOutOfRange(out) => (&out.topic, out.partition),
            Error::NoOffset {
                topic, partition, ..
            }
            | Error::DamagedRecords {
                topic, partition, ..
            } => (topic, *partition),
            _ => return None,
        };
        let found = self.shared.partitions.topics().find(topic);
        found.ok().map(|found| (found.id, partition))
    }

    /// The records of the last batch, read again; others if any have been erased or trimmed since.
    pub(crate) fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let Some((at, last)) = &mut self.last else {
            return Ok(Vec::new());
        };
        let read = last.again(&self.shared.partitions, at, &Filter::default());
        at.topic.unless_deleted(read)
    }

    /// A part of them, as by [`Reader::part_again`](crate::broker::Reader::part_again).
    pub(crate) fn part_again(&self, bytes: Range<usize>) -> Option<Vec<Bytes>> {
        let (at, last) = self.last.as_ref()?;
        last.part_again(&self.shared.partitions, at, bytes)
    }

    /// The bytes of memory that the session holds on to.
    pub(crate) fn memory(&self) -> usize {
        let fetched = self.fetched.as_ref().map_or(0, Fetched::memory);
        let last = self.last.as_ref().map_or(0, |(_, last)| last.memory());
        let each = size_of::<(Place, Assigned)>();
        self.partitions.len() * each + lock(&self.live.state).memory() + fetched + last
    }

    /// Lets go of what was read ahead; it is read again when it is needed.
    pub(crate) fn let_go(&mut self) {
        self.fetched = None;
    }

    /// That no later session of this member has asked to join. Asked while nobody else decides.
    pub(super) fn check_latest(&self) -> Result<(), Error> {
        self.live.check()?;
        if self.shared.sessions.is_latest(&self.live) {
            return Ok(());
        }
        let group = self.live.group.to_string();
        Err(Error::MemberFenced { group })
    }

    pub(super) fn hand_over(&self, planned: &mut Planned, places: &[Place]) -> Result<(), Error> {
        let group = &self.live.group;
        let drained = self.shared.decide_on_groups(planned, |groups, topics| {
            groups.decide_drained(group, self.live.member, places, topics)
        });
        match drained {
            Ok(Some(change)) => self.plan(planned, change),
            // The session is told that it is over, if it is.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    pub(super) fn plan(&self, planned: &mut Planned, change: GroupChange) -> Result<(), Error> {
        let group = &self.live.group;
        self.shared.plan_group(planned, group, change, || Ok(()))?;
        Ok(())
    }

    /// Tells the catalog, by which it is shown for how long partitions have stood still. The pauses
    /// of a session that is fenced have ended with the join of the later one.
    pub(super) fn tell_paused(&self, places: &[Place], are_paused: bool) {
        if places.is_empty() || self.live.check().is_err() {
            return;
        }
        let (group, member) = (&self.live.group, self.live.member);
        let now = self.shared.env.clock.elapsed();
        let mut applied = self.shared.sequencer.applied();
        match are_paused {
            true => applied.groups_mut().pause(group, member, places, now),
            false => applied.groups_mut().resume(group, member, places, now),
        }
    }

    fn set_paused(&mut self, places: &[Place], is_paused: bool) {
        self.is_at_rest = false;
        let mut state = lock(&self.live.state);
        for place in places {
            if let Some(open) = state.partitions.get_mut(place) {
                open.is_paused = is_paused;
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let now = self.shared.env.clock.elapsed();
        let paused = lock(&self.live.state).paused();
        self.tell_paused(&paused, false);
        self.shared.sessions.close(&self.live, now);
        self.shared.alarm.wake();
    }
}
