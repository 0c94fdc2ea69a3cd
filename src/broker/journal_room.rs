//! The part of the journal that no checkpoint covers, and the share of it that each client may use.
//!
//! A checkpoint of many partitions takes seconds. Meanwhile, a client that appends much could fill
//! the journal to its end, and then everybody would wait for the checkpoint. So a flow may use at
//! most twice as much of the journal as is left: a single flow gets two thirds, several together
//! nearly all, and flows that append little always find room.
//!
//! What a flow had in the journal when a checkpoint began counts less as the checkpoint progresses.
//! So a client that appends much is slowed down to the speed of checkpoints, rather than stopped
//! and started.

/// The room in the journal.
#[derive(Debug)]
pub(super) struct JournalRoom {
    /// The room for entries, in bytes. Less than the journal's size, because some entries are on
    /// their way.
    bytes: u64,
    /// How many bytes are used by entries that no checkpoint covers.
    used: u64,
    /// How many checkpoints have begun, not counting those that were begun again.
    checkpoints: u64,
    /// The progress of the last checkpoint.
    progress: Progress,
    /// Whether the last checkpoint failed. Then nobody waits for the next, which may take long.
    has_failed: bool,
}

/// How much of a checkpoint's work is done.
#[derive(Clone, Copy, Debug)]
struct Progress {
    done: u64,
    all: u64,
}

/// What a flow uses of the journal.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Uncovered {
    /// The number of checkpoints that had begun when it was last counted.
    checkpoints: u64,
    /// Bytes from before the last of these checkpoints began, and after the one before it.
    before: u64,
    /// Bytes since then.
    since: u64,
}

impl JournalRoom {
    /// The room in a journal with `bytes` bytes of files, none of it used.
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes: bytes - bytes / 16,
            used: 0,
            checkpoints: 0,
            progress: Progress::COMPLETE,
            has_failed: false,
        }
    }

    /// Sets how much is used.
    pub(super) fn set_used(&mut self, bytes: u64) {
        self.used = bytes;
    }

    /// Notes that a checkpoint begins. If the last one was not written, this one covers its part
    /// too.
    pub(super) fn begin_checkpoint(&mut self) {
        if self.progress.is_complete() {
            self.checkpoints += 1;
        }
        self.progress = Progress { done: 0, all: 1 };
    }

    /// Notes that `done` of `all` of a checkpoint's work is done.
    pub(super) fn note_progress(&mut self, done: u64, all: u64) {
        if !self.progress.is_complete() {
            self.progress = Progress { done, all };
        }
    }

    /// Notes that the checkpoint is written, and sets how much is used by entries that it does not
    /// cover.
    pub(super) fn end_checkpoint(&mut self, used: u64) {
        self.progress = Progress::COMPLETE;
        self.has_failed = false;
        self.used = used;
    }

    /// Notes that the checkpoint was not written.
    pub(super) fn fail_checkpoint(&mut self) {
        self.has_failed = true;
    }

    /// Adds to what a flow uses.
    pub(super) fn add(&self, flow: &mut Uncovered, bytes: u64) {
        *flow = self.now(flow);
        flow.since += bytes;
    }

    /// Whether a flow is over its share, so that its next append must wait for a checkpoint.
    pub(super) fn is_over_share(&self, flow: &Uncovered) -> bool {
        let Uncovered { before, since, .. } = self.now(flow);
        let left = self.bytes.saturating_sub(self.used);
        !self.has_failed && self.progress.rest_of(before) + since > 2 * left
    }

    /// What a flow uses now, without what a checkpoint covers.
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

    /// The part of `bytes` that is not done yet.
    fn rest_of(self, bytes: u64) -> u64 {
        let all = self.all.max(1);
        let done = u128::from(bytes) * u128::from(self.done.min(all)) / u128::from(all);
        bytes - u64::try_from(done).expect("at most all of it")
    }
}
