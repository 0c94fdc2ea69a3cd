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
    /// `None` where there is no pause. Boxed, because few partitions of many are ever paused.
    pauses: Option<Box<Pauses>>,
}

/// The pauses of a partition since its last progress.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Pauses {
    /// Those that have ended, in order.
    ended: Vec<Pause>,
    /// Who pauses it now, and since when.
    present: Option<(MemberId, Duration)>,
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
        self.pauses = self.pauses.take().filter(|pauses| pauses.present.is_some());
        if let Some(pauses) = &mut self.pauses {
            pauses.ended.clear();
        }
    }

    pub(super) fn pause(&mut self, by: MemberId, now: Duration) {
        let pauses = self.pauses.get_or_insert_default();
        pauses.present.get_or_insert((by, now));
    }

    /// The member that pauses the partition, if it is paused.
    pub(super) fn paused_by(&self) -> Option<MemberId> {
        let (by, _) = self.pauses.as_ref()?.present?;
        Some(by)
    }

    pub(super) fn resume(&mut self, now: Duration) {
        let Some(pauses) = &mut self.pauses else {
            return;
        };
        if let Some((_, since)) = pauses.present.take() {
            pauses.end(since.max(self.progress_at), now);
        }
        if pauses.ended.is_empty() {
            self.pauses = None;
        }
    }

    /// Since when the partition makes no progress: since the last progress, or since `came`, when
    /// it got something to read, if that is later. Pauses do not count: the moment is later by
    /// their length.
    pub(crate) fn since(&self, came: Duration, now: Duration) -> Duration {
        let from = self.progress_at.max(came);
        let Some(pauses) = &self.pauses else {
            return from;
        };
        let over: Duration = pauses.ended.iter().map(|pause| pause.behind(from)).sum();
        let paused = pauses.present.map(|(_, since)| since.max(from));
        let present = paused.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        from + over + present
    }
}

impl Pauses {
    /// Adds a pause that has ended.
    fn end(&mut self, from: Duration, until: Duration) {
        if until <= from {
            return;
        }
        if self.ended.len() == MOST_PAUSES {
            let first = self.ended.remove(0);
            self.ended[0] = first.with(self.ended[0]);
        }
        let time = until - from;
        self.ended.push(Pause { from, until, time });
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
