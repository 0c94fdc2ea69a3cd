//! How long a partition has made no progress: since its last progress, without the time for which
//! its owner has paused it.

use std::time::Duration;

use super::MemberId;

/// How many pauses are kept apart. If there are more, the two oldest are merged, and their paused
/// time counts as spread evenly over both and the time between.
const MOST_PAUSES: usize = 4;

/// The progress of a partition with an owner. Not durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// When its offset was last committed, or when it got an owner while it had none.
    progress_at: Duration,
    /// The pauses since then that have ended, in order.
    pauses: Vec<Pause>,
    /// Who pauses it now, and since when.
    paused: Option<(MemberId, Duration)>,
}

/// A time in which a partition was paused, all of it or in part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    from: Duration,
    until: Duration,
    /// For how long within that time it was paused.
    time: Duration,
}

impl Standing {
    /// A partition that gets an owner, or makes progress, now.
    pub(super) fn from(now: Duration) -> Self {
        Self {
            progress_at: now,
            ..Self::default()
        }
    }

    /// Notes progress. A pause goes on.
    pub(super) fn progress(&mut self, now: Duration) {
        self.progress_at = now;
        self.pauses.clear();
    }

    pub(super) fn pause(&mut self, by: MemberId, now: Duration) {
        self.paused.get_or_insert((by, now));
    }

    /// The member that pauses the partition, if it is paused.
    pub(super) fn paused_by(&self) -> Option<MemberId> {
        self.paused.map(|(by, _)| by)
    }

    pub(super) fn resume(&mut self, now: Duration) {
        let Some((_, since)) = self.paused.take() else {
            return;
        };
        let from = since.max(self.progress_at);
        if now <= from {
            return;
        }
        if self.pauses.len() == MOST_PAUSES {
            let first = self.pauses.remove(0);
            self.pauses[0] = first.with(self.pauses[0]);
        }
        self.pauses.push(Pause {
            from,
            until: now,
            time: now - from,
        });
    }

    /// Since when the partition makes no progress: since the last progress, or since `came`, when
    /// it got something to read, if that is later. Pauses do not count: the moment is later by
    /// their length.
    pub(crate) fn since(&self, came: Duration, now: Duration) -> Duration {
        let from = self.progress_at.max(came);
        let over: Duration = self.pauses.iter().map(|pause| pause.behind(from)).sum();
        let paused = self.paused.map(|(_, since)| since.max(from));
        let present = paused.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        from + over + present
    }
}

impl Pause {
    /// Merges this pause with the next one.
    fn with(self, next: Self) -> Self {
        Self {
            from: self.from,
            until: next.until,
            time: self.time + next.time,
        }
    }

    /// How long it was paused after a moment.
    fn behind(self, moment: Duration) -> Duration {
        if moment <= self.from {
            return self.time;
        }
        let left = self.until.saturating_sub(moment);
        let whole = self.until.saturating_sub(self.from);
        self.time.mul_f64(left.div_duration_f64(whole))
    }
}
