//! The progress of each partition's compaction, and requests for it.

use std::{
    collections::BTreeMap,
    ops::Range,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use super::{hindered::Postponed, pass::Pass};
use crate::{
    broker::lock,
    catalog::groups::Place,
    storage::{
        files::{FileError, read_file, replace_file},
        format::compacted::Compacted,
        log::Identity,
    },
    types::Offset,
};

/// What compaction remembers.
pub(in crate::broker) struct Compactions {
    state: Mutex<State>,
    /// The current pass. The thread that works on it takes it out.
    pub(super) pass: Mutex<Option<Pass>>,
    /// Notified whenever a request is done.
    answered: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    of_place: BTreeMap<Place, Progress>,
    /// When partitions are checked next; `None` for the next round, whenever that is.
    look_at: Option<Duration>,
    /// The partition that was checked last.
    last: Option<Place>,
    /// Those that wait for room on the disk, and are not logged yet.
    postponed: Postponed,
}

/// How far a partition is compacted.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    /// The content of its file; `None` if nobody has read it.
    pub(super) stored: Option<Arc<Stored>>,
    /// The first record that is not compacted is at this offset or behind it, and was appended at
    /// this time.
    pub(super) dirty_since: Option<(Offset, i64)>,
    /// Passes for tombstones alone do not begin before this time.
    pub(super) tombstones_from_ms: i64,
    /// Passes for trims of entities do not begin before this time.
    pub(super) trims_from_ms: i64,
    /// Whether the last pass had too little memory for all keys.
    pub(super) is_unfinished: bool,
    /// How many requests there were, and how many of them are answered.
    pub(super) asked: u64,
    pub(super) answered: u64,
    pub(super) problem: Option<Problem>,
    /// The offset behind the last damaged segment, if damage was the problem of the last pass.
    pub(super) damage_to: Option<Offset>,
}

/// The content of a partition's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) clean_to: Offset,
    pub(super) keep: u64,
    pub(super) last_ms: Option<i64>,
    pub(super) oldest_tombstone_ms: Option<i64>,
}

/// Why a partition could not be compacted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) cause: String,
    /// When it is tried again; `None` if it is compacted as far as damage allows, and each later
    /// pass tries the damaged segments again.
    pub(crate) again_ms: Option<i64>,
}

impl Problem {
    /// Segments in this range are damaged.
    pub(super) fn of_damage(damage: &Range<Offset>) -> Self {
        let (from, last) = (damage.start, damage.end.0.saturating_sub(1));
        Self {
            cause: format!(
                "records between offsets {from} and {last} are damaged: their segments stay as they are, and \
                 tombstones behind them are kept, until they are trimmed or expire; \
                 each pass over newer records tries them again"
            ),
            again_ms: None,
        }
    }
}

impl Stored {
    /// A partition that was never compacted.
    const NOTHING: Self = Self {
        clean_to: Offset::ZERO,
        keep: u64::MAX,
        last_ms: None,
        oldest_tombstone_ms: None,
    };

    /// This content for a partition that is not clean by what any setting keeps.
    pub(super) fn of_nothing_kept(self) -> Self {
        Self {
            keep: u64::MAX,
            ..self
        }
    }

    /// Loads the file in this directory; `NOTHING` if there is none, or it is damaged.
    pub(super) fn load(
        files: &dyn crate::env::FileSystem,
        dir: &Path,
        identity: Identity,
    ) -> Result<Self, FileError> {
        let bytes = read_file(files, &file_in(dir))?.unwrap_or_default();
        let found = Compacted::decode(&bytes)
            .filter(|found| found.topic == identity.topic && found.partition == identity.partition);
        Ok(found.map_or(Self::NOTHING, |found| Self {
            clean_to: found.clean_to,
            keep: found.keep,
            last_ms: Some(found.last_ms),
            oldest_tombstone_ms: found.oldest_tombstone_ms,
        }))
    }

    pub(super) fn store(
        &self,
        files: &dyn crate::env::FileSystem,
        dir: &Path,
        identity: Identity,
    ) -> Result<(), FileError> {
        let content = Compacted {
            topic: identity.topic,
            partition: identity.partition,
            clean_to: self.clean_to,
            keep: self.keep,
            last_ms: self.last_ms.unwrap_or_default(),
            oldest_tombstone_ms: self.oldest_tombstone_ms,
        };
        replace_file(files, &file_in(dir), &content.encode())
    }
}

fn file_in(dir: &Path) -> std::path::PathBuf {
    dir.join("compacted")
}

impl Progress {
    pub(super) fn is_asked(&self) -> bool {
        self.asked > self.answered
    }

    /// Until when the partition is not tried again, if it is to wait.
    pub(super) fn waits_until(&self, now_ms: i64) -> Option<i64> {
        let again_ms = self.problem.as_ref()?.again_ms?;
        (again_ms > now_ms && !self.is_asked()).then_some(again_ms)
    }
}

impl Compactions {
    pub(in crate::broker) fn new() -> Self {
        Self {
            state: Mutex::default(),
            pass: Mutex::new(None),
            answered: watch::Sender::new(()),
        }
    }

    /// The progress of a partition.
    pub(super) fn get(&self, place: Place) -> Progress {
        let state = lock(&self.state);
        state.of_place.get(&place).cloned().unwrap_or_default()
    }

    pub(super) fn change(&self, place: Place, change: impl FnOnce(&mut Progress)) {
        change(lock(&self.state).of_place.entry(place).or_default());
    }

    /// Requests that a partition is compacted; returns the request's number.
    pub(super) fn ask(&self, place: Place) -> u64 {
        let mut state = lock(&self.state);
        state.look_at = None;
        let progress = state.of_place.entry(place).or_default();
        progress.asked += 1;
        progress.asked
    }

    /// Whether the request with this number is still to be done. It is not if the partition is not
    /// known any more.
    pub(super) fn is_waited_for(&self, place: Place, asked: u64) -> bool {
        let state = lock(&self.state);
        let progress = state.of_place.get(&place);
        progress.is_some_and(|progress| progress.answered < asked)
    }

    /// Marks requests up to this number as done.
    pub(super) fn answer(&self, place: Place, asked: u64) {
        self.change(place, |progress| {
            progress.answered = progress.answered.max(asked);
        });
        self.answered.send_replace(());
    }

    /// Notes that a partition waits for room on the disk.
    pub(super) fn postpone(&self, cause: String) {
        lock(&self.state).postponed.add(cause);
    }

    /// Logs how many wait for room on the disk.
    pub(super) fn say_postponed(&self, now: Duration) {
        let postponed = lock(&self.state).postponed.take_due(now);
        if let Some((partitions, cause)) = postponed {
            tracing::warn!(partitions, %cause, "compaction is tried again later");
        }
    }

    /// Notifies whenever a request is done.
    pub(super) fn answers(&self) -> watch::Receiver<()> {
        self.answered.subscribe()
    }

    /// Whether it is time to check partitions.
    pub(super) fn is_time_to_look(&self, now: Duration) -> bool {
        lock(&self.state).look_at.is_none_or(|at| at <= now)
    }

    /// Sets when partitions are checked next.
    pub(super) fn look_at(&self, at: Option<Duration>) {
        lock(&self.state).look_at = at;
    }

    /// When the current pass continues, or partitions are checked.
    pub(in crate::broker) fn next(&self) -> Option<Duration> {
        self.pass_goes_on_at().or_else(|| lock(&self.state).look_at)
    }

    /// When the current pass continues, if there is one.
    pub(in crate::broker) fn pass_goes_on_at(&self) -> Option<Duration> {
        lock(&self.pass).as_ref().map(Pass::goes_on_at)
    }

    /// The partition that was checked last.
    pub(super) fn last(&self) -> Option<Place> {
        lock(&self.state).last
    }

    pub(super) fn set_last(&self, place: Place) {
        lock(&self.state).last = Some(place);
    }

    /// Forgets all other partitions.
    pub(super) fn retain(&self, is_there: impl Fn(Place) -> bool) {
        let mut state = lock(&self.state);
        let before = state.of_place.len();
        state.of_place.retain(|place, _| is_there(*place));
        if state.of_place.len() < before {
            self.answered.send_replace(());
        }
    }

    /// Forgets a partition's damage if the partition now starts behind it.
    pub(super) fn forget_damage_before(&self, place: Place, start: Offset) {
        let mut state = lock(&self.state);
        let Some(progress) = state.of_place.get_mut(&place) else {
            return;
        };
        if progress.damage_to.is_some_and(|to| to <= start) {
            (progress.problem, progress.damage_to) = (None, None);
        }
    }

    /// How many partitions cannot be compacted, or not all of them.
    pub(in crate::broker) fn count_hindered(&self) -> usize {
        let state = lock(&self.state);
        let hindered = state.of_place.values();
        hindered
            .filter(|progress| progress.problem.is_some())
            .count()
    }
}
