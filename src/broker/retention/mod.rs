//! Retention: removes records that are too old or too many.
//!
//! Records are removed in one way only, by a trim: a change of the catalog that raises a log's
//! start. Whole segments are then removed after a checkpoint. Retention asks for trims by itself,
//! as users do with `topic trim`. The journal has all trims in one order, so two of them never work
//! on a partition at the same time.
//!
//! Each partition of a topic with a limit is next checked when its oldest segment expires. It is
//! checked earlier if it has too many bytes, and when its topic's settings change. What to remove
//! is decided by the segments' sizes and append times (`decide.rs`); the housekeeping thread
//! carries it out.
//!
//! All times are the broker's (`broker/clock.rs`). So if the machine's clock jumps, nothing is
//! removed until the broker follows that clock.

mod decide;
mod full;
mod looks;
mod loss;
mod preview;

use std::time::Duration;

use self::decide::{Decision, decide};
pub(super) use self::looks::Looks;
pub(crate) use self::preview::Removal;
pub(super) use self::preview::held_before;
use super::{Error, Shared, housekeeping::Housekeeper, lock, state::PartitionRef};
use crate::{
    catalog::{
        Change,
        groups::{HeldFrom, Place},
    },
    storage::{
        files::{Action, FileError},
        log::Part,
    },
    types::{Offset, RetentionHold, TopicSettings},
};

/// After this time a partition is checked again that could not be read, or whose trim may have been
/// refused.
const AGAIN_MS: i64 = 1_000;

/// How often frames are moved to segments in one check. If more keep coming, or there is no room
/// for them until trimmed segments are removed, the next check continues.
const MOST_SEALED: u32 = 4;

impl Housekeeper {
    /// Checks the partitions whose time has come.
    pub(super) fn keep_retention(&mut self, shared: &Shared) -> Result<(), FileError> {
        let due = shared.partitions.retention.take_due(shared.clock.now_ms());
        let mut due = due.into_iter();
        while let Some(place) = due.next() {
            let looked = match shared.partitions.find_partition(place.0, place.1) {
                Some(partition) => self.retain(shared, &partition),
                None => Ok(()),
            };
            if let Err(error) = looked {
                let again_ms = shared.clock.now_ms().saturating_add(AGAIN_MS);
                for place in std::iter::once(place).chain(due) {
                    shared.partitions.retention.look_by(place, again_ms);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Trims what is too old or too much, and sets the time of the next check.
    fn retain(&mut self, shared: &Shared, partition: &PartitionRef) -> Result<(), FileError> {
        let place = place_of(partition);
        let settings = partition.topic.settings();
        let reader = shared.partitions.reader(partition);
        let mut sealed = 0;
        // A deleted topic's files are removed as a whole.
        while !partition.is_deleted() {
            let now_ms = shared.clock.now_ms();
            let holder = shared.held_from(place, &settings);
            let held_from = holder.as_ref().map(|holder| holder.from);
            let decision = reader
                .with_parts(|parts, bytes| decide(&settings, parts, bytes, held_from, now_ms));
            match decision {
                Decision::Read(part) => shared.read_age(partition, &part, now_ms)?,
                Decision::Seal { before, .. } if sealed == MOST_SEALED || self.holds(place) => {
                    if let Some(before) = before {
                        shared.trim_by_retention(partition, &settings, before, now_ms);
                    }
                    let again_ms = now_ms.saturating_add(AGAIN_MS);
                    shared.partitions.retention.look_by(place, again_ms);
                    break;
                }
                Decision::Seal { end, .. } => {
                    sealed += 1;
                    self.seal_up_to(shared, partition, end)?;
                }
                Decision::Keep {
                    before,
                    again_ms,
                    is_held,
                } => {
                    let holder = holder.filter(|_| is_held);
                    shared.partitions.retention.hold(place, holder);
                    if let Some(before) = before {
                        shared.trim_by_retention(partition, &settings, before, now_ms);
                    }
                    if let Some(again_ms) = again_ms {
                        let from = before.unwrap_or_else(|| partition.range().0);
                        let warn_ms = shared.warn_of_loss(partition, &settings, from, again_ms);
                        shared
                            .partitions
                            .retention
                            .look_by(place, warn_ms.unwrap_or(again_ms));
                    }
                    break;
                }
            }
        }
        self.look_at_held(&shared.partitions, partition);
        Ok(())
    }

    /// Brings all records before this offset to sealed segments.
    fn seal_up_to(
        &mut self,
        shared: &Shared,
        partition: &PartitionRef,
        end: Offset,
    ) -> Result<(), FileError> {
        self.write_within_limits(&shared.partitions)?;
        let partition = partition.partition();
        lock(&partition.writer).seal_before(&partition.log, &shared.partitions.segments, end)
    }
}

impl Shared {
    /// When the next partition is checked, on the monotonic clock.
    pub(super) fn next_retention(&self) -> Option<Duration> {
        let at_ms = self.partitions.retention.next_ms()?;
        let wait_ms = at_ms.saturating_sub(self.clock.now_ms());
        let wait = Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0));
        Some(self.env.clock.elapsed().saturating_add(wait))
    }

    /// Whether that time has come; true only once.
    pub(super) fn take_retention_due(&self) -> bool {
        self.partitions.retention.come_due(self.clock.now_ms())
    }

    /// Reads when the last record of a segment was appended. If the segment cannot be read any
    /// more, it expires as if that were now, so that it delays those behind it no longer than its
    /// own retention time.
    fn read_age(
        &self,
        partition: &PartitionRef,
        part: &Part,
        now_ms: i64,
    ) -> Result<(), FileError> {
        let log = &partition.partition().log;
        let read = self.partitions.reader(partition).last_append_ms(part);
        let dir = lock(log).dir();
        let last = read.map_err(FileError::when(Action::Read, &dir))?;
        lock(log).note_last_append(part.base, last.unwrap_or(now_ms));
        Ok(())
    }

    /// The group that has still to read a partition, if retention waits for groups. The planned
    /// state is used, because a trim comes behind it in the journal.
    fn held_from(&self, place: Place, settings: &TopicSettings) -> Option<HeldFrom> {
        match settings.retention_hold {
            RetentionHold::None => None,
            RetentionHold::Groups => self.sequencer.planned().groups().holder(place),
        }
    }

    /// Queues a trim, and warns of groups that lose records. If it is refused, for example because
    /// the disk is full, the partition is checked again.
    fn trim_by_retention(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
        before: Offset,
        now_ms: i64,
    ) {
        self.warn_of_removal(partition, settings, before);
        let place = place_of(partition);
        self.partitions
            .retention
            .look_by(place, now_ms.saturating_add(AGAIN_MS));
        if !self.partitions.retention.ask(place, before, now_ms) {
            return;
        }
        if let Err(error) = self.queue_trim(place, before) {
            tracing::debug!(%error, topic = %partition.topic.name, partition = %place.1, "retention trims later");
        }
    }

    fn queue_trim(&self, (topic, partition): Place, before: Offset) -> Result<(), Error> {
        let mut planned = self.sequencer.planned();
        let Ok(known) = planned.decide_topic(topic) else {
            return Ok(());
        };
        // A group may have gone back or joined since the decision.
        let is_held = known.settings.retention_hold == RetentionHold::Groups
            && planned
                .groups()
                .holder((topic, partition))
                .is_some_and(|holder| holder.from < before);
        if is_held {
            return Ok(());
        }
        let change = Change::Trim {
            topic,
            partition,
            before,
        };
        self.sequencer
            .plan_refusable(&mut planned, change, || Ok(()))?;
        Ok(())
    }
}

fn place_of(partition: &PartitionRef) -> Place {
    (partition.topic.id, partition.partition().id)
}
