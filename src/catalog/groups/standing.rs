//! Since when a partition stands still: from its last progress on, without the time for which its
//! owner has paused it.

use std::time::Duration;

use super::MemberId;

/// How many pauses are told apart. Behind that many, the oldest two count as one, whose time is
/// spread over both and what is between them.
const MOST_PAUSES: usize = 4;

/// What is known of the progress of a partition that has an owner. Not durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// When its offset was committed, or it got an owner while it had none.
    progress_at: Duration,
    /// The pauses since then that are over, in their order.
    pauses: Vec<Pause>,
    /// Who has paused it, and since when.
    paused: Option<(MemberId, Duration)>,
}

/// A time in which a partition was paused, or of which it was paused for some part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pause {
    from: Duration,
    until: Duration,
    /// For how long of that it was paused.
    time: Duration,
}

impl Standing {
    /// Of a partition that gets an owner, or makes progress.
    pub(super) fn from(now: Duration) -> Self {
        Self {
            progress_at: now,
            ..Self::default()
        }
    }

    /// The partition makes progress. What is paused stays so.
    pub(super) fn progress(&mut self, now: Duration) {
        self.progress_at = now;
        self.pauses.clear();
    }

    pub(super) fn pause(&mut self, by: MemberId, now: Duration) {
        self.paused.get_or_insert((by, now));
    }

    /// Who has paused the partition, if it is paused.
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

    /// Since when it stands still, where there has been something to read since `came`. Pauses move
    /// that on: so long before `now` it would have begun to stand, had there been none.
    pub(crate) fn since(&self, came: Duration, now: Duration) -> Duration {
        let from = self.progress_at.max(came);
        let over: Duration = self.pauses.iter().map(|pause| pause.behind(from)).sum();
        let paused = self.paused.map(|(_, since)| since.max(from));
        let present = paused.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        from + over + present
    }
}

impl Pause {
    /// This pause and the one that follows it, as one.
    fn with(self, next: Self) -> Self {
        Self {
            from: self.from,
            until: next.until,
            time: self.time + next.time,
        }
    }

    /// How much of it is behind a moment.
    fn behind(self, moment: Duration) -> Duration {
        if moment <= self.from {
            return self.time;
        }
        let left = self.until.saturating_sub(moment);
        let whole = self.until.saturating_sub(self.from);
        self.time.mul_f64(left.div_duration_f64(whole))
    }
}
