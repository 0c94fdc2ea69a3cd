//! A member's stream, in synchronous steps: the next message for the client, or what to wait for.
//!
//! A session has the partitions that the applied catalog says its member has. Whenever it is
//! notified that these may have changed, it compares them with what it has told its client.
//! Whatever happened meanwhile, it then tells the client how to get from the old state to the new
//! one: first which partitions are revoked, then which are assigned, then records. No record of a
//! partition follows its revocation.
//!
//! A partition is read as by [`Reader`](crate::broker::Reader), bounded by the credit that is left.
//! Nothing is read that may not be sent, so a session's memory is what was read ahead in one
//! partition, within its credit.

use std::{collections::BTreeMap, future::Future, ops::Range, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    CommitOutcome, GroupOffset,
    assignment::{Assigned, Followed, Revoked},
    ending::Ending,
    failing::{FailedPartition, Failing},
    join::JoinGroup,
    refused,
    sessions::{Live, Open},
    under_way::{Credit, CreditLeft},
};
use crate::{
    broker::{
        Error, Filter, Pending, ReadBatch, ResponseLimit, Shared, fetched::Fetched, lock,
        partition_cursor::Returned, state::PartitionRef,
    },
    catalog::{
        Planned,
        groups::{
            Committed, Failed, Generation, GroupChange, Instance, MemberId, Owned, Place, Refused,
            Standing,
        },
    },
    types::{Offset, PartitionId, Position, TopicId, TopicName, limits::OWNED_PARTITION_BYTES},
};

/// Where a group begins in a partition without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOffset {
    Start(Position),
    /// The session ends with [`Error::NoOffset`].
    Fail,
}

/// What happens if the committed offset is outside the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetGone {
    /// The session ends with [`Error::OffsetOutOfRange`].
    Fail,
    /// The session continues at the earliest record. An offset behind the end is an error.
    Earliest,
    /// The session continues at the end of the log.
    Latest,
}

/// The result of a step.
pub(crate) enum Step {
    Event(Event),
    /// Nothing to tell or send until this resolves, or the client sends something.
    Wait(Pin<Box<dyn Future<Output = ()> + Send>>),
}

/// A message for the member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The member has these partitions from now on. If it had one already, that is assigned anew:
    /// its records begin at another offset, or commits under the old generation are refused.
    Assigned(Vec<AssignedPartition>),
    /// No more records of these follow. The member must hand them over within this time; `None` if
    /// another member has them already.
    Revoked {
        partitions: Vec<(TopicName, Place)>,
        time: Duration,
    },
    Records(RecordsOf),
    /// A partition cannot be read on; the others can.
    Failed(FailedPartition),
    /// Everything there is was sent.
    CaughtUp,
}

/// A partition that a member has been given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AssignedPartition {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    /// The generation, which commits must name.
    pub(crate) generation: Generation,
    /// The offset of its first record.
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
    /// How much credit they use.
    pub(crate) cost: Credit,
    /// Records before this offset were handled already by the group that this one was forked from.
    pub(crate) replayed_below: Option<Offset>,
}

/// A member's stream. If it is dropped without [`leave`](Self::leave), the member may join again
/// within its session time.
pub(crate) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) live: Arc<Live>,
    pub(super) woken: watch::Receiver<()>,
    pub(super) no_offset: NoOffset,
    pub(super) offset_gone: OffsetGone,
    /// Whether the client wants to be told of partitions that cannot be read on.
    pub(super) tells_failed: bool,
    /// How long its client may take to hand partitions over.
    pub(super) drain: Duration,
    pub(super) credit: CreditLeft,
    /// The credit that it had when it joined.
    first_credit: Credit,
    pub(super) response: ResponseLimit,
    /// See [`JoinGroup::response_bytes`].
    pub(super) response_bytes: fn(&RecordsOf) -> usize,
    /// The partitions that it reads.
    pub(super) partitions: BTreeMap<Place, Assigned>,
    /// The topics of these partitions.
    pub(super) topics: BTreeMap<TopicId, Followed>,
    /// Revoked partitions that the client must still be told of.
    pub(super) revoked: BTreeMap<Place, Revoked>,
    /// Partitions that the client must hand over, with their topics' names, because the topic may
    /// not be read any more.
    pub(super) draining: BTreeMap<Place, TopicName>,
    /// The partition that comes first in the next step.
    pub(super) turn: Option<Place>,
    /// What was read ahead in that partition.
    pub(super) fetched: Option<Fetched>,
    /// The last batch, and its partition.
    pub(super) last: Option<(PartitionRef, Returned)>,
    pub(super) has_told_caught_up: bool,
    /// Set if the session must end, because it cannot continue with a partition.
    pub(super) ending: Option<Ending>,
    pub(super) failing: Failing,
    /// Whether the last step found nothing to send. That stays so until a topic moves or credit is
    /// added; until then a step does not look at partitions.
    pub(super) is_at_rest: bool,
}

/// What a partition takes that a member owns, in trees whose nodes are half full, because they were
/// filled in order: the planned and the applied catalog, and its session.
const OWNED_BYTES: usize = 2
    * (2 * size_of::<(Place, Owned)>()
        + 2 * size_of::<(Place, Standing)>()
        + size_of::<(Place, Assigned)>()
        + size_of::<(Place, Open)>());

const _: () = assert!(
    OWNED_BYTES < OWNED_PARTITION_BYTES,
    "a partition that a member owns counts with what it takes"
);

impl Session {
    pub(super) fn new(shared: Arc<Shared>, live: Arc<Live>, join: &JoinGroup) -> Self {
        let mut session = Self {
            shared,
            woken: live.woken.subscribe(),
            live,
            no_offset: join.no_offset,
            offset_gone: join.offset_gone,
            tells_failed: join.tells_failed,
            drain: join.drain,
            credit: CreditLeft::default(),
            first_credit: join.credit,
            response: join.response,
            response_bytes: join.response_bytes,
            partitions: BTreeMap::new(),
            topics: BTreeMap::new(),
            revoked: BTreeMap::new(),
            draining: BTreeMap::new(),
            turn: None,
            fetched: None,
            last: None,
            has_told_caught_up: false,
            ending: None,
            failing: Failing::default(),
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

    /// The partition with this number of the topic that the member reads, or hands over, under this
    /// name; `None` if it has none, or another topic is meant.
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
        // Marked as seen before anything is read, so that a later change resolves the wait.
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
        if let Some(failed) = self.failing.next_untold() {
            return Ok(Step::Event(Event::Failed(failed)));
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
            if let Some(failed) = self.failing.next_untold() {
                return Ok(Step::Event(Event::Failed(failed)));
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

    /// The client grants more credit.
    pub(crate) fn credit(&mut self, more: Credit) {
        self.credit.add(more);
        self.is_at_rest = false;
        let left = self.credit.get();
        lock(&self.live.state).credit = left;
        let Credit { records, bytes } = self.first_credit;
        if left.records >= records && left.bytes >= bytes {
            // The client works on nothing any more.
            self.works_again();
        }
    }

    /// Notes that the client makes progress. If partitions were taken from it for lack of progress,
    /// a new assignment is scheduled.
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

    /// Commits offsets. Each must name the generation in which its partition was assigned to this
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

    /// The client has handed these partitions over. Partitions that it was not asked for are
    /// ignored.
    pub(crate) fn drained(&mut self, places: &[Place]) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let mut planned = shared.sequencer.planned();
        self.check_latest()?;
        self.hand_over(&mut planned, places)
    }

    /// Pauses these partitions: no records of them are sent for now.
    pub(crate) fn pause(&mut self, places: &[Place]) {
        self.set_paused(places, true);
        self.tell_paused(places, true);
    }

    /// Resumes these partitions.
    pub(crate) fn resume(&mut self, places: &[Place]) {
        // First, so that paused time never counts as time without progress.
        self.tell_paused(places, false);
        self.set_paused(places, false);
    }

    /// The client still works on records of these partitions, which counts as progress.
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

    /// Notes that the client has sent something.
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

    /// Ends the stream with this error. If joining again does not resolve the error, others get the
    /// member's partitions at once, unless they are kept for its name; the returned answer resolves
    /// when that is durable.
    pub(crate) fn fail(&self, error: &Error) -> Option<Pending<()>> {
        if error.may_pass() {
            return None;
        }
        let place = self.place_of(error);
        self.fail_with(format!("{}: {error}", error.reason()), place)
    }

    /// Ends the stream, because the client has sent something that is not a message. Returns what
    /// [`fail`](Self::fail) does.
    pub(crate) fn fail_at_bytes(&self, error: String) -> Option<Pending<()>> {
        self.fail_with(error, None)
    }

    fn fail_with(&self, error: String, place: Option<Place>) -> Option<Pending<()>> {
        let mut planned = self.shared.sequencer.planned();
        // A member that is fenced or gone has nothing that others wait for.
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
        // If the journal refuses it now, the member is gone after its session time.
        let left = left.ok()?;
        self.live.leave();
        Some(left)
    }

    /// The partition that causes this error, with which the session cannot continue.
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

    /// Reads the records of the last batch again. They differ if records were erased or trimmed
    /// since.
    pub(crate) fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let Some((at, last)) = &mut self.last else {
            return Ok(Vec::new());
        };
        let read = last.again(&self.shared.partitions, at, &Filter::default());
        at.topic.unless_deleted(read)
    }

    /// A range of their bytes, see [`Reader::part_again`](crate::broker::Reader::part_again).
    pub(crate) fn part_again(&self, bytes: Range<usize>) -> Option<Vec<Bytes>> {
        let (at, last) = self.last.as_ref()?;
        last.part_again(&self.shared.partitions, at, bytes)
    }

    /// The session's memory, in bytes, beside that of its partitions, which count as partitions
    /// with an owner.
    pub(crate) fn memory(&self) -> usize {
        let fetched = self.fetched.as_ref().map_or(0, Fetched::memory);
        let last = self.last.as_ref().map_or(0, |(_, last)| last.memory());
        lock(&self.live.state).memory() + fetched + last
    }

    /// Drops what was read ahead; it is read again when needed.
    pub(crate) fn let_go(&mut self) {
        self.fetched = None;
    }

    /// Checks that no later session of this member has asked to join. The caller locks the planned
    /// catalog, so that nobody else decides meanwhile.
    pub(super) fn check_latest(&self) -> Result<(), Error> {
        self.live.check()?;
        if self.shared.sessions.is_latest(&self.live) {
            return Ok(());
        }
        let group = self.live.group.to_string();
        Err(Error::MemberFenced { group })
    }

    pub(super) fn hand_over(&self, planned: &mut Planned, places: &[Place]) -> Result<(), Error> {
        let (group, member) = (&self.live.group, self.live.member);
        let now = self.shared.env.clock.elapsed();
        let drained = self.shared.decide_on_groups(planned, |groups, topics| {
            groups.decide_drained(group, member, places, topics, now)
        });
        match drained {
            Ok(Some(change)) => self.plan(planned, change),
            // If the session is over, it is told elsewhere.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    pub(super) fn plan(&self, planned: &mut Planned, change: GroupChange) -> Result<(), Error> {
        let group = &self.live.group;
        self.shared.plan_group(planned, group, change, || Ok(()))?;
        Ok(())
    }

    /// Tells the catalog about pauses, by which it computes for how long partitions make no
    /// progress. A fenced session does not: its pauses have ended with the join of the later
    /// session.
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
