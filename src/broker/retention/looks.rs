//! Which partitions are to be looked at for their limits, and when.

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

/// Partitions that have limits, each with the moment of the broker's time at which it is looked at
/// next.
pub(in crate::broker) struct Looks {
    state: Mutex<State>,
    /// Who looks.
    housekeeping: Arc<Wakeup>,
    /// Who keeps what must outlive trimmed segments.
    indexing: Arc<Wakeup>,
}

#[derive(Default)]
struct State {
    by_time: BTreeSet<(i64, Place)>,
    of_place: HashMap<Place, i64>,
    /// Those whose time has come.
    due: BTreeSet<Place>,
    /// Trims that have been queued and are not applied yet.
    asked: HashMap<Place, Asked>,
    /// Partitions of which more would go if nobody held it.
    held: BTreeMap<Place, HeldFrom>,
    /// Up to where it was warned that records are about to go.
    warned: HashMap<Place, Offset>,
    /// How often a group was named then.
    warnings: u64,
}

/// A trim that has been queued.
#[derive(Clone, Copy)]
struct Asked {
    before: Offset,
    at_ms: i64,
}

/// After this time a trim is queued again that has not been applied: on a full disk it may have
/// been refused.
const ASK_AGAIN_MS: i64 = 1_000;

impl Looks {
    /// Nothing to look at yet.
    pub(in crate::broker) fn new(housekeeping: Arc<Wakeup>, indexing: Arc<Wakeup>) -> Self {
        Self {
            state: Mutex::default(),
            housekeeping,
            indexing,
        }
    }

    /// Has a partition looked at, at this moment at the latest.
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

    /// Has a partition looked at in the next round.
    pub(super) fn look_now(&self, place: Place) {
        lock(&self.state).due.insert(place);
    }

    /// Whether a partition is to be looked at, whenever that is, or when a group has gone on.
    pub(super) fn has(&self, place: Place) -> bool {
        let state = lock(&self.state);
        let is_held = state.held.contains_key(&place);
        is_held || state.due.contains(&place) || state.of_place.contains_key(&place)
    }

    /// The earliest moment at which one is to be looked at.
    pub(super) fn next_ms(&self) -> Option<i64> {
        lock(&self.state).by_time.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether the time of any has come that was not due before.
    pub(super) fn come_due(&self, now_ms: i64) -> bool {
        lock(&self.state).come_due(now_ms)
    }

    /// Takes all that are to be looked at by now.
    pub(super) fn take_due(&self, now_ms: i64) -> BTreeSet<Place> {
        let mut state = lock(&self.state);
        state.come_due(now_ms);
        std::mem::take(&mut state.due)
    }

    /// Whether a trim is to be queued; false if one that goes as far was queued a moment ago.
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

    /// Whether to warn that what is before this offset is about to go: once.
    pub(super) fn warn(&self, place: Place, before: Offset) -> bool {
        lock(&self.state).warned.insert(place, before) != Some(before)
    }

    /// Counts a warning.
    pub(super) fn count_warning(&self) {
        lock(&self.state).warnings += 1;
    }

    /// How many there have been.
    pub(in crate::broker) fn warnings(&self) -> u64 {
        lock(&self.state).warnings
    }

    /// Notes the group that holds what would be removed of a partition, if one does.
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

    /// Who holds what would go of a partition.
    pub(super) fn holder(&self, place: Place) -> Option<HeldFrom> {
        lock(&self.state).held.get(&place).cloned()
    }

    /// Has partitions looked at that this group has held.
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

    /// Takes note that a partition is trimmed.
    pub(super) fn trimmed(&self, place: Place) {
        lock(&self.state).asked.remove(&place);
    }
}

impl Looks {
    /// Has all partitions of a topic looked at, because its limits are new.
    pub(in crate::broker) fn look_at_limits(&self, topic: &Topic) {
        if !topic.settings().has_limits() {
            return;
        }
        for partition in topic.partitions.iter() {
            self.look_now((topic.id, partition.id));
        }
        self.housekeeping.notify();
    }

    /// Takes note of what was appended to a partition: the first records of one settle when they
    /// expire, and too many bytes are looked at soon.
    pub(in crate::broker) fn look_at_appended(&self, partition: &PartitionRef) {
        let settings = partition.topic.settings();
        if !settings.has_limits() {
            return;
        }
        let (_, bytes) = lock(&partition.partition().log).size();
        let most = settings.retention_bytes.unwrap_or(u64::MAX);
        let slack = match settings.retention_hold {
            RetentionHold::None => settings.roll_bytes(),
            // Appends are refused as soon as it is known who holds what would have to go.
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

    /// The same after frames were moved to segments: nothing else lets a segment go.
    pub(in crate::broker) fn look_at_written(&self, partition: &PartitionRef) {
        let Some(most) = partition.topic.settings().retention_bytes else {
            return;
        };
        let (_, bytes) = lock(&partition.partition().log).size();
        if bytes > most {
            self.look_now(place_of(partition));
        }
    }

    /// Takes note that a partition is trimmed.
    pub(in crate::broker) fn note_trimmed(&self, partition: &PartitionRef) {
        self.trimmed(place_of(partition));
        if self.has_too_much_on_disk(partition) {
            self.indexing.notify();
        }
    }

    /// Takes note that trimmed segments of a partition wait for a checkpoint to be removed, for
    /// which housekeeping would wait otherwise.
    pub(in crate::broker) fn note_retired(&self, partition: &PartitionRef) {
        if self.has_too_much_on_disk(partition) {
            self.housekeeping.ask_for_checkpoint();
        }
    }

    fn has_too_much_on_disk(&self, partition: &PartitionRef) -> bool {
        let settings = partition.topic.settings();
        let Some(most) = settings.retention_bytes else {
            return false;
        };
        let most = most.saturating_add(settings.roll_bytes());
        lock(&partition.partition().log).bytes_on_disk() > most
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
