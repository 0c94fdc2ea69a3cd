//! Which partitions must be checked for their limits, and when.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use super::place_of;
use crate::{
    broker::{
        lock,
        state::{PartitionRef, Topic},
        wakeup::Wakeup,
    },
    catalog::groups::{HeldFrom, Place},
    types::{GroupName, Offset, RetentionHold},
};

/// Partitions with limits, each with the time of its next check.
pub(in crate::broker) struct Looks {
    state: Mutex<State>,
    /// Wakes the thread that checks.
    housekeeping: Arc<Wakeup>,
    /// Wakes the thread that keeps what must outlive trimmed segments.
    indexing: Arc<Wakeup>,
}

#[derive(Default)]
struct State {
    by_time: BTreeSet<(i64, Place)>,
    of_place: HashMap<Place, i64>,
    /// Partitions whose time has come.
    due: BTreeSet<Place>,
    /// Partitions with trimmed segments to remove before the next checkpoint.
    to_remove: BTreeSet<Place>,
    /// Trims that are queued and not applied yet.
    asked: HashMap<Place, Asked>,
    /// Partitions of which a group holds what would be removed.
    held: BTreeMap<Place, HeldFrom>,
    /// Up to which offset a warning of loss was logged.
    warned: HashMap<Place, Offset>,
    /// The groups that had not committed what was removed last.
    overtaken: HashMap<Place, BTreeSet<GroupName>>,
    /// How many warnings there were, counted by group.
    warnings: u64,
}

/// A queued trim.
#[derive(Clone, Copy)]
struct Asked {
    before: Offset,
    at_ms: i64,
}

/// A trim that is not applied after this time is queued again: it may have been refused on a full
/// disk.
const ASK_AGAIN_MS: i64 = 1_000;

impl Looks {
    /// No partitions to check yet.
    pub(in crate::broker) fn new(housekeeping: Arc<Wakeup>, indexing: Arc<Wakeup>) -> Self {
        Self {
            state: Mutex::default(),
            housekeeping,
            indexing,
        }
    }

    /// Has a partition checked at this time at the latest.
    pub(super) fn look_by(&self, place: Place, at_ms: i64) {
        let mut state = lock(&self.state);
        let known = state.of_place.get(&place).copied();
        if known.is_some_and(|known| known <= at_ms) {
            return;
        }
        if let Some(known) = known {
            state.by_time.remove(&(known, place));
        }
        state.by_time.insert((at_ms, place));
        state.of_place.insert(place, at_ms);
    }

    /// Has a partition checked in the next round.
    pub(in crate::broker) fn look_now(&self, place: Place) {
        lock(&self.state).due.insert(place);
    }

    /// Whether a partition will be checked, at a time or when a group commits.
    pub(super) fn has(&self, place: Place) -> bool {
        let state = lock(&self.state);
        let is_held = state.held.contains_key(&place);
        is_held || state.due.contains(&place) || state.of_place.contains_key(&place)
    }

    /// The earliest time of a check.
    pub(super) fn next_ms(&self) -> Option<i64> {
        lock(&self.state).by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether the time of a partition has come that was not due before.
    pub(super) fn come_due(&self, now_ms: i64) -> bool {
        lock(&self.state).come_due(now_ms)
    }

    /// Takes all partitions that must be checked now.
    pub(super) fn take_due(&self, now_ms: i64) -> BTreeSet<Place> {
        let mut state = lock(&self.state);
        state.come_due(now_ms);
        std::mem::take(&mut state.due)
    }

    /// Whether to queue a trim; false if one that reaches as far was queued just before.
    pub(super) fn ask(&self, place: Place, before: Offset, now_ms: i64) -> bool {
        let mut state = lock(&self.state);
        let is_asked = state.asked.get(&place).is_some_and(|asked| {
            asked.before >= before && now_ms.abs_diff(asked.at_ms) < ASK_AGAIN_MS.unsigned_abs()
        });
        if !is_asked {
            let asked = Asked {
                before,
                at_ms: now_ms,
            };
            state.asked.insert(place, asked);
        }
        !is_asked
    }

    /// Whether to warn that records before this offset are about to be removed; true once for each
    /// offset.
    pub(super) fn warn(&self, place: Place, before: Offset) -> bool {
        lock(&self.state).warned.insert(place, before) != Some(before)
    }

    /// Notes the groups that have not committed all records before this offset, which are removed
    /// now. Returns the groups that need no warning any more.
    pub(super) fn overtake(
        &self,
        place: Place,
        before: Offset,
        behind: BTreeSet<GroupName>,
    ) -> BTreeSet<GroupName> {
        let mut state = lock(&self.state);
        if behind.is_empty() {
            state.overtaken.remove(&place);
            return behind;
        }
        let known = state.overtaken.insert(place, behind.clone());
        match state.warned.get(&place) {
            // All were warned before these records became too old.
            Some(warned) if *warned >= before => behind,
            _ => known.unwrap_or_default(),
        }
    }

    /// Counts a warning.
    pub(super) fn count_warning(&self) {
        lock(&self.state).warnings += 1;
    }

    /// How many warnings there were.
    pub(in crate::broker) fn warnings(&self) -> u64 {
        lock(&self.state).warnings
    }

    /// Notes the group that holds what would be removed of a partition, or that none does.
    pub(super) fn hold(&self, place: Place, holder: Option<HeldFrom>) {
        let mut state = lock(&self.state);
        match holder {
            Some(holder) => {
                state.held.insert(place, holder);
            }
            None => {
                state.held.remove(&place);
            }
        }
    }

    /// Has the partitions checked that this group was holding.
    pub(in crate::broker) fn look_at_held_by(&self, group: &GroupName) {
        let mut state = lock(&self.state);
        let mut held = Vec::new();
        for (place, holder) in &state.held {
            if holder.group == *group {
                held.push(*place);
            }
        }
        if !held.is_empty() {
            state.due.extend(held);
            self.housekeeping.notify();
        }
    }

    /// Notes that a partition is trimmed.
    pub(super) fn trimmed(&self, place: Place) {
        lock(&self.state).asked.remove(&place);
    }
}

impl Looks {
    /// Has all partitions of a topic checked, because its limits have changed.
    pub(in crate::broker) fn look_at_limits(&self, topic: &Topic) {
        if !topic.settings().has_limits() {
            return;
        }
        for partition in topic.partitions.iter() {
            self.look_now((topic.id, partition.id));
        }
        self.housekeeping.notify();
    }

    /// Notes an append to a partition: its first records decide when it is checked next, and if it
    /// has too many bytes it is checked soon.
    pub(in crate::broker) fn look_at_appended(&self, partition: &PartitionRef) {
        let settings = partition.topic.settings();
        if !settings.has_limits() {
            return;
        }
        let (_, bytes) = lock(&partition.partition().log).size();
        let most = settings.retention_bytes.unwrap_or(u64::MAX);
        let slack = match settings.retention_hold {
            RetentionHold::None => settings.roll_bytes(),
            // Immediately, because appends are refused at the limit, and what the groups have read
            // makes room.
            RetentionHold::Groups => 0,
        };
        let is_too_much = bytes > most.saturating_add(slack);
        let place = place_of(partition);
        let is_first = settings.expires_ms().is_some() && !self.has(place);
        if is_too_much || is_first {
            self.look_now(place);
            self.housekeeping.notify();
        }
    }

    /// Has a partition checked soon if it has too many bytes, after frames were moved to its
    /// segments: only segments can be removed.
    pub(in crate::broker) fn look_at_written(&self, partition: &PartitionRef) {
        let Some(most) = partition.topic.settings().retention_bytes else {
            return;
        };
        let (_, bytes) = lock(&partition.partition().log).size();
        if bytes > most {
            self.look_now(place_of(partition));
        }
    }

    /// Notes that a partition is trimmed.
    pub(in crate::broker) fn note_trimmed(&self, partition: &PartitionRef) {
        self.trimmed(place_of(partition));
        self.note_retired(partition);
    }

    /// Notes that trimmed segments of a partition can be removed when a checkpoint says so. If the
    /// partition has too many bytes, that is soon.
    pub(in crate::broker) fn note_retired(&self, partition: &PartitionRef) {
        let settings = partition.topic.settings();
        let Some(most) = settings.retention_bytes else {
            return;
        };
        let (on_disk, in_memory) = {
            let log = lock(&partition.partition().log);
            (log.bytes_on_disk(), log.tail_bytes() as u64)
        };
        if on_disk + in_memory > most.saturating_add(settings.roll_bytes()) {
            self.remove_soon(partition);
        }
    }

    /// Has the trimmed segments of a partition removed without waiting for the next checkpoint.
    pub(in crate::broker) fn remove_soon(&self, partition: &PartitionRef) {
        let (is_trimmed, is_retired) = {
            let log = lock(&partition.partition().log);
            (log.trimmed().is_some(), log.has_retired())
        };
        if is_retired {
            lock(&self.state).to_remove.insert(place_of(partition));
            self.housekeeping.notify();
        }
        if is_trimmed {
            // What must outlive them is kept first.
            self.indexing.notify();
        }
    }

    /// Takes the partitions with trimmed segments to remove before the next checkpoint.
    pub(in crate::broker) fn take_to_remove(&self) -> BTreeSet<Place> {
        std::mem::take(&mut lock(&self.state).to_remove)
    }
}

impl State {
    fn come_due(&mut self, now_ms: i64) -> bool {
        let mut any = false;
        while let Some((at_ms, place)) = self.by_time.first().copied()
            && at_ms <= now_ms
        {
            self.by_time.pop_first();
            self.of_place.remove(&place);
            any |= self.due.insert(place);
        }
        any
    }
}
