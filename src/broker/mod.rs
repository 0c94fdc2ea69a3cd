//! The product's operations, on one data directory.
//!
//! Three threads write. The *journal thread* takes queued commits, writes and syncs them as one,
//! applies them and answers. The *housekeeping thread* moves applied frames to segments, writes
//! checkpoints and removes what is not needed any more; nobody waits for it unless memory or the
//! journal is full. The *indexing thread* maintains key indexes and removes what was erased. A
//! fourth thread frees the space of removed files. The last one writes nothing: it waits for
//! deadlines (`schedule.rs`). Everything else runs on the caller's thread: it checks and builds its
//! append, or reads.
//!
//! `shared.rs` lists the owners of state, each with its locks.
//!
//! The path of an append: [`append`] checks it, assigns offsets under the partitions' locks and
//! queues it; `commit.rs` makes it durable; `apply.rs` applies it; then the [`Pending`] answer
//! resolves. The path of a read: [`read`] follows a partition's log up to the high watermark, and
//! continues when that has moved. It needs [`Partitions`] and nothing else.
//!
//! Invariants:
//! - Every change that clients can see goes through the journal, and is applied after it is
//!   durable; recovery applies the same entries with the same code.
//! - Offsets are assigned and queued under one lock, so the journal has a partition's frames in
//!   order.
//! - After a failed sync nothing is written, applied or answered with success any more.

mod access_tokens;
mod append;
mod apply;
mod backup;
mod clock;
mod commit;
mod compaction;
mod compression;
mod conditions;
mod deletion;
mod entities;
mod erasure;
mod error;
mod fetched;
mod groups;
mod health;
mod housekeeping;
mod import;
mod in_files;
mod journal_room;
mod key_trims;
mod keys;
mod maintenance;
mod measure;
mod memory;
mod news;
mod offsets;
mod open;
mod partition_count;
mod partition_cursor;
mod partition_list;
mod partitions;
mod pending;
mod producer_memory;
mod producers;
mod read;
mod response_limit;
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "only the command line restores")
)]
mod restored;
mod retention;
mod schedule;
mod scrub;
mod seldom;
mod sequencer;
mod shared;
mod stages;
mod state;
mod status;
mod topic_filter;
mod topics;
mod turns;
mod wakeup;
mod write_out;

#[cfg(test)]
mod tests;

use std::{
    future::Future,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use shared::Shared;

pub(crate) use crate::catalog::producers::Room as ProducerRoom;
pub(crate) use access_tokens::WhichTokens;
pub(crate) use append::{Append, AppendBatch, Appended, AppendedRange, Attempt};
pub(crate) use backup::{Backup, BackupRefused};
pub(crate) use clock::{ClockReading, Rule as ClockRule};
pub(crate) use compaction::Compaction;
pub(crate) use conditions::{Actual, Condition, Expected, FailedCondition};
pub(crate) use entities::{KeyReader, Latest, LatestReader, ReadKey};
pub(crate) use erasure::{ErasedEntity, Erasure};
pub(crate) use error::{Error, Kind};
pub(crate) use fetched::Filter;
pub(crate) use groups::{
    AssignedPartition, CommitFenced, CommitOutcome, Credit, DescribeGroup, DescribedGroup,
    DescribedMember, DescribedPartition, Event, FailedPartition, FetchOffsets, FetchedOffset,
    GroupOffset, GroupOffsetOutOfRange, GroupState, JoinGroup, ListedGroup, NoOffset, OffsetGone,
    RecordsOf, ResetGroup, ResetOffset, ResetTo, Session, SessionStep,
};
pub(crate) use health::Shortage;
pub(crate) use import::{Import, ImportBatch, ImportRefused};
pub(crate) use memory::{Admission, Flow, Load};
pub(crate) use offsets::FoundOffset;
pub(crate) use open::OpenError;
pub(crate) use pending::Pending;
pub(crate) use producers::{ListedProducer, Producer, ProducerHolder, WhichProducer};
pub(crate) use read::{Read, ReadBatch, Reader, Step};
pub(crate) use response_limit::ResponseLimit;
pub(crate) use retention::Removal;
pub(crate) use scrub::Scrubbed;
pub(crate) use stages::{Stages, Watch};
pub(crate) use status::KeptJournal;
pub(crate) use topic_filter::TopicFilter;
pub(crate) use topics::{Meant, PartitionDescription, TopicDescription};

use crate::{
    budget::{Budget, Sizes},
    env::{Clock, Env, OrderedGuard, OrderedMutex, rank},
    metrics::Counts,
    storage::{
        journal,
        log::{Log, LogLock},
    },
};

/// How a broker uses memory and disk.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// The size of each journal file in bytes, a multiple of 4,096. The entry of an append cannot
    /// be larger.
    pub(crate) journal_file_bytes: u64,
    /// Most journal files; at least 2. A checkpoint begins when a quarter of them is full.
    pub(crate) journal_files: u32,
    /// How memory is divided. The part for appends is at least twice the largest request.
    pub(crate) memory: Sizes,
    /// How long an idle producer is remembered, counted while the broker runs.
    pub(crate) producer_idle: Duration,
    /// The most that producers may take.
    pub(crate) producer_room: ProducerRoom,
    /// How many batches of producers are remembered, to answer repeated ones with their offsets.
    pub(crate) remembered_batches: usize,
    /// How long an erasure may take until its bytes are gone.
    pub(crate) erasure_deadline: Duration,
    /// How many bytes of sealed segments are verified in a second at most; 0 turns scrubbing off.
    pub(crate) scrub_rate: u64,
    /// How long a partition of a group may make no progress until it counts as stalled.
    pub(crate) group_stalled: Duration,
    /// When the machine's wall clock is followed.
    pub(crate) clock: ClockRule,
    /// Most segments open at a time.
    pub(crate) open_segments: usize,
    /// Most of them that are open as files rather than maps: those that are written to.
    pub(crate) open_files: usize,
    /// How many bytes of journal entries are kept for restores between two backups; 0 for none.
    pub(crate) kept_journal_bytes: u64,
    /// With less free space than this on the disk, appends are refused.
    pub(crate) disk_reserve_bytes: u64,
    /// Deltas behind a checkpoint may always grow to this size, and also to the size of the
    /// checkpoint. 0 turns deltas off: each checkpoint is then written whole.
    pub(crate) delta_bytes: u64,
}

impl Options {
    /// The default options for a data directory.
    #[cfg(feature = "testing")]
    pub(crate) fn new(data_dir: PathBuf) -> Self {
        use crate::types::limits;

        Self {
            data_dir,
            journal_file_bytes: limits::JOURNAL_FILE_BYTES,
            journal_files: limits::JOURNAL_FILES,
            memory: Sizes::default(),
            producer_idle: Duration::from_millis(limits::PRODUCER_IDLE_MS),
            producer_room: ProducerRoom::MOST,
            remembered_batches: limits::MOST_REMEMBERED_BATCHES,
            erasure_deadline: Duration::from_millis(limits::ERASURE_DEADLINE_MS),
            scrub_rate: limits::SCRUB_RATE,
            group_stalled: Duration::from_millis(limits::GROUP_STALLED_MS),
            clock: ClockRule {
                jump: Duration::from_millis(limits::CLOCK_JUMP_MS),
                settle: Duration::from_millis(limits::CLOCK_SETTLE_MS),
            },
            open_segments: limits::OPEN_SEGMENTS,
            open_files: limits::OPEN_SEGMENTS,
            kept_journal_bytes: 0,
            disk_reserve_bytes: limits::DISK_RESERVE_BYTES,
            delta_bytes: limits::DELTA_BYTES,
        }
    }

    fn journal(&self) -> journal::Options {
        journal::Options {
            file_bytes: self.journal_file_bytes,
            files: self.journal_files,
        }
    }
}

/// A broker on its data directory.
pub(crate) struct Broker {
    shared: Arc<Shared>,
    /// When it was opened, on the monotonic clock.
    opened_at: Duration,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

/// The body of a background thread.
type Work = fn(&Broker);

/// A background thread's handle of the broker. If the thread panics, the broker fails.
struct Watched(Arc<Broker>);

impl Drop for Watched {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.shared.health.fail(format!(
                "the thread {} has panicked",
                thread::current().name().unwrap_or_default()
            ));
        }
    }
}

impl Broker {
    /// Opens a data directory, recovers it, and starts to serve it.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used; then nothing in it was changed.
    pub(crate) fn open(env: Env, options: Options) -> Result<Arc<Self>, OpenError> {
        let broker = Arc::new(Self::open_stepped(env, options)?);
        let threads: [(&str, Work); 5] = [
            ("journal", Self::commit_until_closed),
            ("housekeeping", Self::keep_house_until_closed),
            ("indexing", Self::keep_indexes_until_closed),
            ("freeing", Self::free_until_closed),
            ("deadlines", Self::meet_deadlines_until_closed),
        ];
        for (name, work) in threads {
            let watched = Watched(Arc::clone(&broker));
            let handle = thread::Builder::new()
                .name(name.into())
                .spawn(move || work(&watched.0));
            lock(&broker.threads).push(handle.map_err(OpenError::Thread)?);
        }
        Ok(broker)
    }

    /// Finishes requests under way, refuses new ones, and brings everything to segments, so that
    /// the next start has nothing to replay. Blocks until that is done.
    ///
    /// # Errors
    ///
    /// If storage fails; then the next start recovers from the journal.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.stop_threads();
        self.commit_rest();
        self.shared.committer.give_up_journal_files();
        // The second checkpoint allows those key tables to be written out that were frozen behind
        // others.
        let closed = self.checkpoint_now().and_then(|()| self.checkpoint_now());
        self.shared.dir.release();
        closed
    }

    /// Stops at once, as if the process had been killed: nothing more is written or answered.
    pub(crate) fn abandon(&self) {
        self.shared.health.fail("abandoned".to_owned());
        self.stop_threads();
        self.shared.dir.release();
    }

    /// Resolves with the reason when storage has failed for good.
    pub(crate) fn failed(&self) -> impl Future<Output = String> + Send + 'static {
        self.shared.health.failed()
    }

    /// Why storage has failed, if it has.
    pub(crate) fn failure(&self) -> Option<String> {
        self.shared.health.failure()
    }

    /// Counts of what the broker has done so far.
    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// Counts an append that was refused because its client is not allowed to make it.
    pub(crate) fn note_denied(&self) {
        self.shared.counts.appends.denied.add(1);
    }

    /// Counts an append that was not looked at, because its client has used up a quota.
    pub(crate) fn note_over_quota(&self) {
        self.shared.counts.appends.over_quota.add(1);
    }

    /// Counts an append that was not stored.
    pub(crate) fn note_refused(&self, error: &Error) {
        let appends = &self.shared.counts.appends;
        match error {
            Error::Conflict { .. } => appends.conflicts.add(1),
            _ => appends.refusals.count(error.reason()),
        }
    }

    /// The clock for measuring time; append times have a clock of their own.
    pub(crate) fn system_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.env.clock)
    }

    /// For how long a producer that does nothing is remembered, and how many batches of all.
    pub(crate) fn producer_limits(&self) -> (Duration, usize) {
        let options = &self.shared.options;
        (options.producer_idle, options.remembered_batches)
    }

    /// The memory budget of the process.
    pub(crate) fn budget(&self) -> &Budget {
        &self.shared.budget
    }

    fn stop_threads(&self) {
        self.shared.committer.close();
        self.shared.maintenance.close();
        self.shared.alarm.close();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for handle in threads {
            if handle.join().is_err() {
                self.shared
                    .health
                    .fail("a thread of the broker has panicked".to_owned());
            }
        }
    }
}

/// A mutex that may have a rank in the order of locks.
trait Lock {
    type Guard<'a>
    where
        Self: 'a;

    fn lock(&self) -> Self::Guard<'_>;
}

impl<T> Lock for Mutex<T> {
    type Guard<'a>
        = MutexGuard<'a, T>
    where
        T: 'a;

    fn lock(&self) -> MutexGuard<'_, T> {
        Self::lock(self).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R: rank::Rank> Lock for OrderedMutex<T, R> {
    type Guard<'a>
        = OrderedGuard<'a, T>
    where
        Self: 'a;

    fn lock(&self) -> OrderedGuard<'_, T> {
        Self::lock(self)
    }
}

impl Lock for LogLock {
    type Guard<'a> = OrderedGuard<'a, Log>;

    fn lock(&self) -> OrderedGuard<'_, Log> {
        Self::lock(self)
    }
}

/// Locks a mutex. A panic of another thread leaves nothing half done that matters here.
fn lock<L: Lock>(mutex: &L) -> L::Guard<'_> {
    mutex.lock()
}
