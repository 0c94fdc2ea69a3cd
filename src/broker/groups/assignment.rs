//! The partitions of a session: how it takes them over from the applied catalog and tells its
//! client.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::watch;

use super::{
    out_of_range, refused,
    session::{AssignedPartition, Event, NoOffset, OffsetGone, Session},
    texts::Asked,
};
use crate::{
    broker::{
        Error, lock,
        partition_cursor::PartitionCursor,
        state::{PartitionRef, Topic},
    },
    catalog::groups::{Commit, Committed, Fence, Generation, Place},
    storage::{
        format::frame::Frame,
        log::{Cursor, ReadError},
    },
    types::{Offset, PartitionId, Position, TopicName},
};

/// Roughly the most bytes that one message tells the client. Messages are in memory until the
/// client reads them.
const TOLD_BYTES: usize = 256 << 10;

/// What a partition takes in such a message, beside its topic's name.
const NAMED_BYTES: usize = 48;

impl AssignedPartition {
    fn told_bytes(&self) -> usize {
        let named = NAMED_BYTES + self.topic.as_str().len();
        let committed = self.committed.as_ref();
        let committed = committed.map_or(0, |committed| named + committed.metadata.len());
        named + committed + NAMED_BYTES
    }
}

/// A partition that the session reads.
pub(super) struct Assigned {
    pub(super) at: PartitionRef,
    pub(super) read: PartitionCursor,
    pub(super) generation: Generation,
    pub(super) replay_until: Option<Offset>,
    /// How often its topic had moved when its limit was taken.
    pub(super) moves: u64,
    /// What the client must still be told about it; `None` if it was told. Boxed, because a session
    /// may have 20,000 partitions, and has told nearly all of them.
    untold: Option<Box<AssignedPartition>>,
}

/// A topic that the session reads.
pub(super) struct Followed {
    pub(super) topic: Arc<Topic>,
    pub(super) moved: watch::Receiver<()>,
    /// How often the topic has moved, as far as the session knows.
    pub(super) moves: u64,
    /// How many notices of erasures the session has passed on or skipped.
    pub(super) notices: u64,
}

/// A partition that the session stopped reading, which the client must still be told.
pub(super) struct Revoked {
    topic: TopicName,
    /// Until when it must be handed over; `None` if another member has it already.
    until: Option<Duration>,
}

/// A partition of the member, according to the applied catalog.
struct Held {
    place: Place,
    generation: Generation,
    is_draining: bool,
    committed: Option<Committed>,
    replay_until: Option<Offset>,
    /// When the group was made, by the broker's clock.
    began_ms: Option<i64>,
}

impl Followed {
    fn new(topic: &Arc<Topic>) -> Self {
        Self {
            topic: Arc::clone(topic),
            moved: topic.moved.subscribe(),
            moves: 0,
            notices: topic.notices.count(),
        }
    }

    /// Notes whether the topic has moved, and returns it.
    pub(super) fn look(&mut self) -> bool {
        let has_moved = self.has_moved();
        if has_moved {
            self.moved.borrow_and_update();
            self.moves += 1;
        }
        has_moved
    }

    /// Whether the topic has moved since this was last noted.
    pub(super) fn has_moved(&self) -> bool {
        self.moved.has_changed().unwrap_or(false)
    }
}

impl Revoked {
    fn time_left(&self, now: Duration) -> Duration {
        self.until.unwrap_or_default().saturating_sub(now)
    }
}

impl Session {
    /// Takes over the assignment in the applied catalog.
    pub(super) fn follow_assignment(&mut self) -> Result<(), Error> {
        let held = self.held()?;
        // A later session of this member may have been given what was just read.
        self.live.check()?;
        self.drop_lost(&held);
        let generations = held.iter().map(|(place, held)| (*place, held.generation));
        let generations = generations.collect();
        self.look_whether_mended(&generations);
        self.forget_mended(&generations);
        let (mut unknown, mut first) = (Vec::new(), Vec::new());
        for (place, held) in held {
            let known = self.partitions.get(&place);
            if !held.is_draining {
                if known.is_none_or(|known| known.generation != held.generation)
                    && !self.failing.has(place, held.generation)
                {
                    let generation = held.generation;
                    match self.assign(held) {
                        Ok(commit) => first.extend(commit),
                        Err(error) => {
                            // The partition is not read any more under its earlier assignment.
                            self.revoke(place, None);
                            self.end_behind(place, generation, error)?;
                        }
                    }
                }
            } else if let Some(known) = known.filter(|known| known.untold.is_none()) {
                let topic = known.at.topic.name.clone();
                let until = self.draining_until(place);
                self.revoke(place, Some(until));
                self.draining.insert(place, topic);
            } else if !self.draining.contains_key(&place) {
                self.forget(place);
                unknown.push(place);
            }
        }
        self.commit_first(first)?;
        if unknown.is_empty() {
            return Ok(());
        }
        // The client was not told of these on this stream, so it has nothing to hand over.
        let shared = Arc::clone(&self.shared);
        let mut planned = shared.sequencer.planned();
        self.check_latest()?;
        self.hand_over(&mut planned, &unknown)
    }

    /// The member's partitions, according to the applied catalog.
    fn held(&self) -> Result<BTreeMap<Place, Held>, Error> {
        let applied = self.shared.sequencer.applied();
        let group = applied.groups().get(&self.live.group);
        let state = group.map(|group| group.state());
        let state = state.filter(|state| state.members.contains_key(&self.live.member));
        let Some(state) = state else {
            let group = self.live.group.to_string();
            return Err(Error::SessionEnded { group });
        };
        let mut held = BTreeMap::new();
        for (place, owned) in &state.owned {
            if owned.owner != self.live.member {
                continue;
            }
            let is_known = |known: &Assigned| known.generation == owned.since;
            let is_known = self.partitions.get(place).is_some_and(is_known);
            let committed = state.offsets.get(place).filter(|_| !is_known);
            let of = Held {
                place: *place,
                generation: owned.since,
                is_draining: owned.is_draining,
                committed: committed.cloned(),
                replay_until: state.replay_until(*place),
                began_ms: state.began_ms,
            };
            held.insert(*place, of);
        }
        Ok(held)
    }

    /// Stops reading partitions that are not the member's any more.
    fn drop_lost(&mut self, held: &BTreeMap<Place, Held>) {
        let known: Vec<Place> = self.partitions.keys().copied().collect();
        for place in known {
            if !held.contains_key(&place) {
                self.revoke(place, None);
            }
        }
        for (place, revoked) in &mut self.revoked {
            if !held.contains_key(place) {
                revoked.until = None;
            }
        }
        self.draining.retain(|place, _| held.contains_key(place));
    }

    /// Until when a partition must be handed over.
    fn draining_until(&self, place: Place) -> Duration {
        let planned = self.shared.sequencer.planned();
        let group = planned.groups().get(&self.live.group);
        let until = group.and_then(|group| group.draining_until(place));
        // The planned catalog may be ahead, and the partition taken already.
        until.unwrap_or_else(|| self.shared.env.clock.elapsed())
    }

    /// Stops reading a partition, and tells the client so if it knew of the partition.
    pub(super) fn revoke(&mut self, place: Place, until: Option<Duration>) {
        if let Some(known) = self.forget(place)
            && known.untold.is_none()
        {
            let topic = known.at.topic.name.clone();
            self.revoked.insert(place, Revoked { topic, until });
        }
    }

    fn forget(&mut self, place: Place) -> Option<Assigned> {
        let known = self.partitions.remove(&place)?;
        if self.turn == Some(place) {
            self.fetched = None;
        }
        let open = lock(&self.live.state).partitions.remove(&place);
        if open.is_some_and(|open| open.is_paused) {
            self.tell_paused(&[place], false);
        }
        let all_of_topic = (place.0, PartitionId(0))..=(place.0, PartitionId(u32::MAX));
        if self.partitions.range(all_of_topic).next().is_none() {
            self.topics.remove(&place.0);
        }
        Some(known)
    }

    /// Begins to read a partition. If its first offset must be committed before, returns that
    /// commit instead.
    fn assign(&mut self, held: Held) -> Result<Option<Commit>, Error> {
        let Held {
            place, generation, ..
        } = held;
        let Some(at) = self.shared.partitions.find_partition(place.0, place.1) else {
            // The topic is deleted; the session will be told.
            return Ok(None);
        };
        let begin = match &held.committed {
            Some(committed) if self.is_passed_over(&at, committed.next) => {
                let (_, latest) = at.range();
                return Ok(self.first_commit(place, generation, latest));
            }
            Some(committed) => self.begin_at(&at, committed.next),
            // A partition that is replayed begins at its start.
            None if held.replay_until.is_some() => Ok(at.range().0),
            None => match self.no_offset {
                NoOffset::Start(Position::Earliest) => Ok(at.range().0),
                NoOffset::Start(Position::Latest) if self.came_since(&at, held.began_ms)? => {
                    Ok(at.range().0)
                }
                NoOffset::Start(position) => {
                    let found = self.shared.partitions.find_offset(&at, position);
                    let next = at.topic.unless_deleted(found)?.offset;
                    return Ok(self.first_commit(place, generation, next));
                }
                NoOffset::Fail => Err(self.no_offset_error(&at)),
            },
        };
        let next = at.topic.unless_deleted(begin)?;
        let (_, high_watermark) = at.range();
        self.open(place);
        let followed = self.topics.entry(place.0);
        let followed = followed.or_insert_with(|| Followed::new(&at.topic));
        if !Arc::ptr_eq(&followed.topic, &at.topic) {
            *followed = Followed::new(&at.topic);
        }
        let untold = AssignedPartition {
            topic: at.topic.name.clone(),
            topic_id: place.0,
            partition: place.1,
            generation,
            next_offset: next,
            committed: held.committed,
            high_watermark,
            replayed_below: held.replay_until.filter(|until| next < *until),
        };
        let assigned = Assigned {
            at,
            read: PartitionCursor::new(next, high_watermark),
            generation,
            replay_until: held.replay_until,
            moves: followed.moves,
            untold: Some(Box::new(untold)),
        };
        self.partitions.insert(place, assigned);
        self.has_told_caught_up = false;
        Ok(None)
    }

    /// Starts to count what is sent of a partition. A partition that is assigned anew stays paused.
    fn open(&mut self, place: Place) {
        if self.turn == Some(place) {
            self.fetched = None;
        }
        let mut state = lock(&self.live.state);
        let open = state.partitions.entry(place).or_default();
        open.under_way = Default::default();
        open.progress_at = self.shared.env.clock.elapsed();
    }

    /// Where to begin in a partition with this committed offset.
    pub(super) fn begin_at(&self, at: &PartitionRef, committed: Offset) -> Result<Offset, Error> {
        let (earliest, high_watermark) = at.range();
        if (earliest..=high_watermark).contains(&committed) {
            return Ok(committed);
        }
        match self.offset_gone {
            OffsetGone::Latest => Ok(high_watermark),
            OffsetGone::Earliest if committed < earliest => Ok(earliest),
            OffsetGone::Earliest | OffsetGone::Fail => {
                let range = (earliest, high_watermark);
                let group = &self.live.group;
                Err(out_of_range(group, at, committed, range, Asked::GoOn))
            }
        }
    }

    /// Whether the group must skip to the end of a partition because its committed offset was
    /// trimmed. The end is committed then; otherwise a later owner would look for the end again,
    /// and find another.
    pub(super) fn is_passed_over(&self, at: &PartitionRef, committed: Offset) -> bool {
        self.offset_gone == OffsetGone::Latest && committed < at.range().0
    }

    /// Whether all records of a partition were appended after the group had been made: the
    /// partition was added since, or its topic was created. A group that begins at the end reads
    /// all of these; they are none of the past that it skips.
    fn came_since(&self, at: &PartitionRef, began_ms: Option<i64>) -> Result<bool, Error> {
        let Some(began_ms) = began_ms else {
            return Ok(false);
        };
        let partitions = &self.shared.partitions;
        loop {
            let start = at.range().0;
            match partitions.reader(at).read(&mut Cursor::new(start), 1) {
                Ok(frames) => {
                    let first = frames.first().map(Frame::header);
                    return Ok(first.is_some_and(|first| first.append_time_ms > began_ms));
                }
                // The first records have been removed meanwhile.
                Err(ReadError::BelowStart) if at.range().0 > start => {}
                // Damaged records are no reason to read those behind them.
                Err(ReadError::Damaged { .. }) => return Ok(false),
                Err(error) => return Err(partitions.explain_at(at, start, error)),
            }
        }
    }

    fn no_offset_error(&self, at: &PartitionRef) -> Error {
        Error::NoOffset {
            group: self.live.group.to_string(),
            topic: at.topic.name.to_string(),
            partition: at.partition().id,
        }
    }

    /// The commit of a partition's first offset, unless it is under way. Without it, the next owner
    /// would look for the latest record again, and find another.
    fn first_commit(&self, place: Place, generation: Generation, next: Offset) -> Option<Commit> {
        let now = self.shared.env.clock.elapsed();
        let mut state = lock(&self.live.state);
        if state.placing.contains_key(&place) {
            return None;
        }
        state.placing.insert(place, now);
        Some(self.commit_to(place, generation, next))
    }

    /// The commit of an offset that the session has chosen itself.
    pub(super) fn commit_to(&self, place: Place, generation: Generation, next: Offset) -> Commit {
        Commit {
            place,
            next,
            metadata: Bytes::new(),
            fence: Fence::Owned {
                since: generation,
                by: Some(self.live.member),
            },
        }
    }

    /// Commits offsets that the session has chosen itself. It is notified when they are applied.
    pub(super) fn commit_first(&self, commits: Vec<Commit>) -> Result<(), Error> {
        if commits.is_empty() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let group = &self.live.group;
        let ends: BTreeMap<Place, Offset> = commits
            .iter()
            .map(|commit| (commit.place, commit.next))
            .collect();
        let at_ms = shared.clock.now_ms();
        let mut planned = shared.sequencer.planned();
        let end = |place| ends.get(&place).copied();
        let decided = planned.groups().decide_commit(group, commits, end, at_ms);
        let (_, change) = decided.map_err(|error| refused(group, error))?;
        match change {
            Some(change) => self.plan(&mut planned, change),
            // The partitions are not the member's any more, or a commit is under way.
            None => Ok(()),
        }
    }

    /// The next partitions that the client must be told to hand over, or has lost.
    pub(super) fn next_revoked(&mut self) -> Option<Event> {
        let now = self.shared.env.clock.elapsed();
        let (_, first) = self.revoked.first_key_value()?;
        let time = first.time_left(now);
        let (mut partitions, mut bytes) = (Vec::new(), 0);
        self.revoked.retain(|place, revoked| {
            let stays = bytes >= TOLD_BYTES || revoked.time_left(now) != time;
            if !stays {
                bytes += NAMED_BYTES + revoked.topic.as_str().len();
                partitions.push((revoked.topic.clone(), *place));
            }
            stays
        });
        Some(Event::Revoked { partitions, time })
    }

    /// The next partitions that the client must be told it has.
    pub(super) fn next_assigned(&mut self) -> Option<Event> {
        let (mut untold, mut bytes) = (Vec::new(), 0);
        for assigned in self.partitions.values_mut() {
            if bytes >= TOLD_BYTES {
                break;
            }
            if let Some(partition) = assigned.untold.take() {
                bytes += partition.told_bytes();
                untold.push(*partition);
            }
        }
        (!untold.is_empty()).then_some(Event::Assigned(untold))
    }
}
