//! Deadlines and the rounds of background threads: the one owner of time.
//!
//! Everything that must happen at a certain time without being called is known here: something in
//! the catalog ends, a member of a group counts as gone, a segment becomes too old, housekeeping
//! has to look around or write a checkpoint, an erasure is tried again, compaction or scrubbing
//! continues. Each owner of deadlines tells its next one. One thread waits for the earliest, and
//! then does what is due:
//!
//! 1. Deadlines of producers, groups and their sessions become changes, which are queued. This
//!    touches no file and waits for nothing.
//! 2. If housekeeping or indexing is due, housekeeping makes a round.
//! 3. When that is done, it wakes indexing.
//! 4. If files were removed, the next step of freeing their space is taken.
//!
//! A new deadline that is earlier than the one waited for wakes the thread ([`Alarm::wake_by`]). In
//! a simulation nothing waits: time stands still until the test moves it, and then the test does
//! what is due, in the same order.
//!
//! [`Alarm::wake_by`]: crate::env::Alarm::wake_by

use std::time::Duration;

use super::{Broker, Error, Pending, Shared, keys::Upkeep, lock};

/// A move of the clock is divided into steps of at least this length, and into at most this many.
const LEAST_STEP: Duration = Duration::from_millis(1);
const MOST_STEPS: u32 = 10_000;

/// The shortest pause between two steps of freeing space.
const FREEING_PAUSE: Duration = Duration::from_millis(8);

impl Shared {
    /// The next moment at which something is due.
    fn next_deadline(&self) -> Option<Duration> {
        let catalog = self.sequencer.planned().next_deadline();
        let groups = self.next_group_deadline();
        let retention = self.next_retention();
        let rounds = [
            self.maintenance.housekeeping.due(),
            self.maintenance.indexing.due(),
            self.maintenance.freeing.due(),
        ];
        let deadlines = [catalog, groups, retention].into_iter().chain(rounds);
        deadlines.flatten().min()
    }

    /// Does what is due, or wakes the thread that does.
    pub(super) fn on_deadline(&self) {
        let now = self.env.clock.elapsed();
        self.forget_idle_producers(now);
        self.keep_groups();
        let is_retention_due = self.take_retention_due();
        let is_housekeeping_due = self.maintenance.housekeeping.take_due(now) || is_retention_due;
        if self.maintenance.indexing.take_due(now) || is_housekeeping_due {
            self.maintenance.housekeeping.notify();
        }
        if self.maintenance.freeing.take_due(now) {
            self.maintenance.freeing.notify();
        }
    }

    /// Wakes the thread that frees the space of removed files, unless it is at work.
    fn free_soon(&self) {
        let wakeup = &self.maintenance.freeing;
        if self.partitions.segments.freeing().has_any() && wakeup.due().is_none() {
            wakeup.notify();
        }
    }
}

impl Broker {
    /// Runs the thread that waits for deadlines.
    pub(super) fn meet_deadlines_until_closed(&self) {
        let shared = &self.shared;
        while shared.alarm.wait_until(shared.next_deadline()) && !shared.health.has_failed() {
            shared.on_deadline();
        }
    }

    /// Lets time pass for a broker whose clock can be moved, from one deadline of the catalog and
    /// of groups to the next. Waits until everything due is done and applied: members that stayed
    /// away are removed, and their partitions are given to others. Rounds of housekeeping may
    /// continue after that.
    ///
    /// # Errors
    ///
    /// If the broker has failed, or is shutting down. The clock has then not been moved to the end.
    pub(crate) async fn pass_time(
        &self,
        by: Duration,
        move_clock: impl Fn(Duration),
    ) -> Result<(), Error> {
        let least = LEAST_STEP.max(by / MOST_STEPS);
        let mut left = by;
        while !left.is_zero() {
            let next = self.time_to_deadline().unwrap_or(left);
            let step = next.max(least).min(left);
            move_clock(step);
            left -= step;
            self.meet_deadlines()?.await?;
        }
        Ok(())
    }

    /// How long it is until something is due in the catalog or for groups.
    pub(crate) fn time_to_deadline(&self) -> Option<Duration> {
        let catalog = self.shared.sequencer.planned().next_deadline();
        let next = catalog.into_iter().chain(self.shared.next_group_deadline());
        let now = self.shared.env.clock.elapsed();
        next.min().map(|next| next.saturating_sub(now))
    }

    /// Does what is due; answers when the resulting changes are applied. Rounds of housekeeping may
    /// go on after that.
    pub(crate) fn meet_deadlines(&self) -> Result<Pending<()>, Error> {
        self.shared.on_deadline();
        self.shared.sequencer.queue_barrier(|| Ok(()))
    }

    /// Runs the housekeeping thread.
    pub(super) fn keep_house_until_closed(&self) {
        while let Some(checkpoint_wanted) = self.shared.maintenance.housekeeping.wait() {
            if self.shared.health.has_failed() {
                break;
            }
            self.housekeeping_round(checkpoint_wanted);
        }
        self.shared.maintenance.housekeeping.close();
        self.shared.maintenance.housekeeping.round_done(None);
    }

    /// Runs the indexing thread.
    pub(super) fn keep_indexes_until_closed(&self) {
        while self.shared.maintenance.indexing.wait().is_some() && !self.shared.health.has_failed()
        {
            self.indexing_round();
        }
    }

    /// Runs the thread that frees the space of removed files.
    pub(super) fn free_until_closed(&self) {
        while self.shared.maintenance.freeing.wait().is_some() && !self.shared.health.has_failed() {
            self.freeing_round();
        }
    }

    /// Frees some of the space of removed files.
    pub(super) fn freeing_round(&self) {
        let shared = &self.shared;
        let began = shared.env.clock.elapsed();
        let is_more = shared.partitions.segments.freeing().step();
        let now = shared.env.clock.elapsed();
        let pause = FREEING_PAUSE.max(4 * now.saturating_sub(began));
        let next = is_more.then(|| now.saturating_add(pause));
        shared.maintenance.freeing.round_done(next);
    }

    /// One round of housekeeping; afterwards indexing is woken.
    pub(super) fn housekeeping_round(&self, checkpoint_wanted: bool) {
        let shared = &self.shared;
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        let round = housekeeper.round(shared, checkpoint_wanted);
        let next = housekeeper.next_round(shared);
        let wants_checkpoint = housekeeper.wants_checkpoint(shared);
        drop(housekeeper);
        if round.is_ok() && wants_checkpoint {
            shared.maintenance.housekeeping.notify();
        }
        shared.health.settle(round);
        shared.watch_groups(&mut lock(&shared.maintenance.housekeeper).group_watch);
        shared.free_soon();
        shared.maintenance.indexing.notify();
        shared.maintenance.housekeeping.round_done(Some(next));
    }

    /// One round of indexing: key tables, erasures, and a step each of compaction, compression and
    /// scrubbing.
    pub(super) fn indexing_round(&self) {
        let shared = &self.shared;
        shared
            .health
            .settle_derived(shared.partitions.keep_indexes(Upkeep::InBackground));
        shared.health.settle(self.remove_erased());
        shared.health.settle(self.compact());
        shared.health.settle(self.compress());
        self.scrub();
        shared.free_soon();
        let next_compression = shared.maintenance.compressor.next();
        let deadlines = [
            shared.next_erasure(),
            shared.next_compaction(),
            next_compression,
            shared.next_scrub(),
        ];
        let next = deadlines.into_iter().flatten().min();
        shared.maintenance.indexing.round_done(next);
    }
}
