//! The journal's room, as far as no checkpoint covers what is in it, and who may have how much.
//!
//! A checkpoint of many partitions takes seconds. Whoever appends much meanwhile would fill the
//! journal up to its end, and then everybody waits for the checkpoint. So a flow may have at most
//! twice as much in the journal as is left of it: one alone gets two thirds, several together get
//! nearly all, and those who append little always find room.
//!
//! What a flow had in the journal when a checkpoint began counts less as the checkpoint goes on. So
//! who appends much is slowed down to what checkpoints can follow, and does not stop and go.

/// The journal's room.
#[derive(Debug)]
pub(super) struct JournalRoom {
    /// For entries, in bytes. Less than there is: some are on their way.
    bytes: u64,
    /// Used by entries that no checkpoint covers.
    used: u64,
    /// How many checkpoints have begun, but for those that were begun again.
    checkpoints: u64,
    /// How far the last one has come.
    progress: Progress,
    /// The last one was not written. Nobody waits for the next: it may be long until it is.
    has_failed: bool,
}

/// How much of a checkpoint's work is done.
#[derive(Clone, Copy, Debug)]
struct Progress {
    done: u64,
    all: u64,
}

/// What a flow has in the journal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uncovered {
    /// How many checkpoints had begun when it was counted last.
    checkpoints: u64,
    /// Bytes from before the last of these began, and after the one before it.
    before: u64,
    /// Bytes since then.
    since: u64,
}

impl JournalRoom {
    /// The room of so many bytes of journal files, of which nothing is used.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes: bytes - bytes / 16,
            used: 0,
            checkpoints: 0,
            progress: Progress::COMPLETE,
            has_failed: false,
        }
    }

    /// Takes note of how much is used.
    pub(super) fn set_used(&mut self, bytes: u64) {
        self.used = bytes;
    }

    /// A checkpoint begins. It covers what the last one would have if that was not written.
    pub(super) fn begin_checkpoint(&mut self) {
        if self.progress.is_complete() {
            self.checkpoints += 1;
        }
        self.progress = Progress { done: 0, all: 1 };
    }

    /// So much of a checkpoint's work is done.
    pub(super) fn note_progress(&mut self, done: u64, all: u64) {
        if !self.progress.is_complete() {
            self.progress = Progress { done, all };
        }
    }

    /// The checkpoint is written, and so much is used by what it does not cover.
    pub(super) fn end_checkpoint(&mut self, used: u64) {
        self.progress = Progress::COMPLETE;
        self.has_failed = false;
        self.used = used;
    }

    /// The checkpoint was not written.
    pub(super) fn fail_checkpoint(&mut self) {
        self.has_failed = true;
    }

    /// Counts more for a flow.
    pub(super) fn add(&self, flow: &mut Uncovered, bytes: u64) {
        *flow = self.now(flow);
        flow.since += bytes;
    }

    /// Whether a flow has more than its share, so that its next append waits for a checkpoint.
    pub(super) fn is_over_share(&self, flow: &Uncovered) -> bool {
        let Uncovered { before, since, .. } = self.now(flow);
        let left = self.bytes.saturating_sub(self.used);
        !self.has_failed && self.progress.rest_of(before) + since > 2 * left
    }

    /// What a flow has by now: what a checkpoint covers does not count.
    fn now(&self, flow: &Uncovered) -> Uncovered {
        let (before, since) = match self.checkpoints - flow.checkpoints {
            0 => (flow.before, flow.since),
            1 => (flow.since, 0),
            _ => (0, 0),
        };
        Uncovered {
            checkpoints: self.checkpoints,
            before,
            since,
        }
    }
}

impl Progress {
    const COMPLETE: Self = Self { done: 1, all: 1 };

    fn is_complete(self) -> bool {
        self.done >= self.all
    }

    /// What is left of so much.
    fn rest_of(self, bytes: u64) -> u64 {
        let all = self.all.max(1);
        let done = u128::from(bytes) * u128::from(self.done.min(all)) / u128::from(all);
        bytes - u64::try_from(done).expect("at most all of it")
    }
}
