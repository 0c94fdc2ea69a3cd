//! Deadlines, and the rounds that threads make: the one owner of time.
//!
//! Whatever has to happen at some moment, without anybody calling, is known here: when something is
//! over in the catalog, when a member of a group is gone, when a segment is as old as it may
//! become, when housekeeping looks around or writes a checkpoint, when an erasure is tried again,
//! when compaction or scrubbing goes on. Everybody who has deadlines says which one is next; one
//! thread waits for the earliest and then does what is due:
//!
//! 1. What is over for producers, and for groups and their sessions, becomes changes, which are
//!    queued. It takes no file and waits for nobody.
//! 2. If housekeeping or indexing is due, housekeeping makes a round.
//! 3. When that is done, it calls indexing.
//! 4. Where files are gone, the next step is taken of giving back their room.
//!
//! A deadline that comes up earlier than the one that is waited for wakes the thread
//! ([`Alarm::wake_by`]). In a simulation nobody waits: time stands still until it is moved, and
//! then whoever takes the steps of a broker without threads does what is due, in the same order.
//!
//! [`Alarm::wake_by`]: crate::env::Alarm::wake_by

use std::time::Duration;

use super::{Broker, Shared, lock};
#[cfg(feature = "testing")]
use super::{Error, Pending};

/// How long whoever gives back the room of files pauses at least between two steps.
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

    /// Does what is due, or calls whoever does.
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

    /// Has the room of files given back that are gone, unless that is under way.
    fn free_soon(&self) {
        let wakeup = &self.maintenance.freeing;
        if self.partitions.segments.freeing().has_any() && wakeup.due().is_none() {
            wakeup.notify();
        }
    }
}

impl Broker {
    /// The thread that looks after deadlines.
    pub(super) fn meet_deadlines_until_closed(&self) {
        let shared = &self.shared;
        while shared.alarm.wait_until(shared.next_deadline()) && !shared.health.has_failed() {
            shared.on_deadline();
        }
    }

    /// In how much time something is due next in the catalog, or for groups.
    #[cfg(feature = "testing")]
    pub(crate) fn time_to_deadline(&self) -> Option<Duration> {
        let catalog = self.shared.sequencer.planned().next_deadline();
        let next = catalog.into_iter().chain(self.shared.next_group_deadline());
        let now = self.shared.env.clock.elapsed();
        next.min().map(|next| next.saturating_sub(now))
    }

    /// Does what is due; answers when what came of it is applied. Rounds of housekeeping go on
    /// behind that.
    #[cfg(feature = "testing")]
    pub(crate) fn meet_deadlines(&self) -> Result<Pending<()>, Error> {
        self.shared.on_deadline();
        self.shared.sequencer.queue_barrier(|| Ok(()))
    }

    /// The housekeeping thread.
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

    /// The indexing thread.
    pub(super) fn keep_indexes_until_closed(&self) {
        while self.shared.maintenance.indexing.wait().is_some() && !self.shared.health.has_failed()
        {
            self.indexing_round();
        }
    }

    /// The thread that gives back the room of files that are gone.
    pub(super) fn free_until_closed(&self) {
        while self.shared.maintenance.freeing.wait().is_some() && !self.shared.health.has_failed() {
            self.freeing_round();
        }
    }

    /// Gives back some of the room of files that are gone.
    pub(super) fn freeing_round(&self) {
        let shared = &self.shared;
        let began = shared.env.clock.elapsed();
        let is_more = shared.partitions.segments.freeing().step();
        let now = shared.env.clock.elapsed();
        let pause = FREEING_PAUSE.max(4 * now.saturating_sub(began));
        let next = is_more.then(|| now.saturating_add(pause));
        shared.maintenance.freeing.round_done(next);
    }

    /// One round of housekeeping, after which the indexes are looked at.
    pub(super) fn housekeeping_round(&self, checkpoint_wanted: bool) {
        let shared = &self.shared;
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        let round = housekeeper.round(shared, checkpoint_wanted);
        let next = housekeeper.next_round(shared);
        drop(housekeeper);
        if round.is_ok() && shared.journal_wants_checkpoint() {
            shared.maintenance.housekeeping.notify();
        }
        shared.health.settle(round);
        shared.watch_groups(&mut lock(&shared.maintenance.housekeeper).group_watch);
        shared.free_soon();
        shared.maintenance.indexing.notify();
        shared.maintenance.housekeeping.round_done(Some(next));
    }

    /// One round of indexing, of what is erased, a step of compaction, one of compression, and one
    /// of scrubbing.
    pub(super) fn indexing_round(&self) {
        let shared = &self.shared;
        shared
            .health
            .settle_derived(shared.partitions.keep_indexes());
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
