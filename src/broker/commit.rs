//! The queue to the journal and the thread at its end.
//!
//! What is queued is taken together, written and synced as one, applied in order, and answered. A
//! commit that finds the journal full, or its next file not to be opened, stays at the head of the
//! queue until a checkpoint has released a file, or the file can be opened. On a full disk there
//! may be no checkpoint for long: then what can be as if it had never been asked for is refused.
//! Nothing of what waits has been written, so what still does at a stop is refused as well.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    Broker, Error, Shared, Shortage, lock, memory::UnderWay, partition_count::Counted,
    state::PartitionRef, wakeup::Wakeup,
};
use crate::{
    catalog::Change,
    env::{OrderedMutex, rank},
    metrics::Counts,
    storage::{
        files::FileError,
        format::entry::Item,
        journal::{self, Journal, Written},
        log::Charge,
    },
    types::limits,
};

/// One atomic commit, ready for the journal.
pub(super) struct Commit {
    /// None for a commit that only waits for those before it.
    pub(super) items: Vec<Item>,
    /// What they take in the journal.
    pub(super) bytes: usize,
    /// The partition of each frame among the items, in order.
    pub(super) partitions: Vec<PartitionRef>,
    /// Whether to sync before it is applied.
    pub(super) sync: bool,
    /// What pays for the frames' memory.
    pub(super) charge: Charge,
    /// What it has of the room for appends that are under way.
    pub(super) under_way: Option<UnderWay>,
    /// Called when the commit has been applied or is refused; dropped when nobody knows.
    pub(super) done: Box<dyn FnOnce(Result<(), Error>) + Send>,
    /// Whether it can be refused after it was queued. Not where what was queued later counts on it,
    /// as on the offsets of an append.
    pub(super) can_be_refused: bool,
    /// Whether it may wait for others, for a moment, to be written with them: see [`Gathering`].
    pub(super) gathers: bool,
    /// What counts the partitions of the topic that it creates.
    pub(super) counted: Option<Arc<Counted>>,
}

impl Commit {
    /// The changes of the catalog in it.
    pub(super) fn changes(&self) -> Vec<Change> {
        let mut changes = Vec::new();
        for item in &self.items {
            if let Item::Change(change) = item {
                changes.push(change.clone());
            }
        }
        changes
    }
}

/// Commits on their way to the journal. Bounded: appends by the memory they were admitted for, and
/// all by their number.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    commits: VecDeque<Commit>,
    /// How many have been promised room.
    reserved: usize,
    /// Refuses more; what is queued is still committed.
    closed: bool,
    /// Some of what is queued is not to wait.
    has_urgent: bool,
    gathering: Gathering,
    /// What the journal thread is to be woken for.
    awaited: Awaited,
}

/// What the thread that takes what is queued waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    /// It is at work, and looks itself when it is done.
    #[default]
    Nothing,
    /// What is not to wait. The rest it finds a moment later: commits are many, and to wake a
    /// thread costs more than to queue one.
    Urgent,
    Any,
}

/// Whether commits of members of groups wait to be written together.
///
/// A write and its sync cost the journal as much as an append of some hundred KB, and appends wait
/// for them. Where appends come, commits that are many therefore wait for the next one, or for
/// [`limits::COMMIT_GATHER_MS`]. A commit does not wait where none other came meanwhile the last
/// time: who commits alone, one after the other, is not held up. Nor does one wait where nobody
/// appends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gathering {
    /// How many writes there have been since one had records.
    since_append: Option<u32>,
    /// The last write with commits that gather had others as well.
    had_company: bool,
}

impl Gathering {
    /// How many writes without records make a pause of appends.
    const PAUSE: u32 = 8;

    /// So many commits are written, of which so many gather.
    pub(super) fn written(&mut self, commits: usize, that_gather: usize, have_records: bool) {
        self.since_append = match have_records {
            true => Some(0),
            false => self.since_append.map(|writes| writes.saturating_add(1)),
        };
        if that_gather > 0 {
            self.had_company = commits > 1;
        }
    }

    pub(super) fn is_worth_it(self) -> bool {
        let appends_come = self.since_append.is_some_and(|writes| writes < Self::PAUSE);
        appends_come && self.had_company
    }
}

impl QueueState {
    fn gathers(&self) -> bool {
        !self.has_urgent && !self.closed && self.gathering.is_worth_it()
    }
}

impl Queue {
    /// Makes sure that there is room for a commit: with it, only a broker that goes down refuses
    /// the commit.
    pub(super) fn reserve(&self) -> Result<Room<'_>, Error> {
        let mut state = self.lock();
        if state.closed {
            return Err(Error::ShuttingDown);
        }
        if state.commits.len() + state.reserved >= limits::QUEUED_COMMITS {
            return Err(Error::Overloaded {
                retry_after_ms: 100,
            });
        }
        state.reserved += 1;
        Ok(Room(self))
    }

    /// Adds a commit at the end, where room was reserved for it.
    pub(super) fn push_reserved(&self, room: Room<'_>, commit: Commit) -> Result<(), Error> {
        drop(room);
        let mut state = self.lock();
        if state.closed {
            return Err(Error::ShuttingDown);
        }
        let is_awaited = match state.awaited {
            Awaited::Nothing => false,
            Awaited::Urgent => !commit.gathers,
            Awaited::Any => true,
        };
        state.has_urgent |= !commit.gathers;
        state.commits.push_back(commit);
        if is_awaited {
            state.awaited = Awaited::Nothing;
            drop(state);
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Refuses what comes.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Refuses what comes and drops what is queued: its outcome is unknown.
    pub(super) fn fail(&self) {
        drop(self.close_and_take());
    }

    /// Refuses what comes and takes what is queued.
    fn close_and_take(&self) -> VecDeque<Commit> {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        std::mem::take(&mut state.commits)
    }

    /// Waits until there is a commit; false once it is closed and empty.
    fn wait(&self) -> bool {
        let mut state = self.gather(self.lock());
        while state.commits.is_empty() && !state.closed {
            state.awaited = Awaited::Any;
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            state = self.gather(state);
        }
        state.awaited = Awaited::Nothing;
        !state.commits.is_empty()
    }

    /// Waits for a moment for what is not to wait, if commits that gather are worth that.
    fn gather<'a>(&self, mut state: MutexGuard<'a, QueueState>) -> MutexGuard<'a, QueueState> {
        if !state.gathers() {
            return state;
        }
        state.awaited = Awaited::Urgent;
        let most = Duration::from_millis(limits::COMMIT_GATHER_MS);
        let waits = |state: &mut QueueState| !state.has_urgent && !state.closed;
        let waited = self.changed.wait_timeout_while(state, most, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Takes as many commits as go into one write of at most `most` bytes, and at least one.
    fn take(&self, most: usize) -> Vec<Commit> {
        let mut state = self.lock();
        let mut bytes = 0;
        let fits = state.commits.iter().take_while(|commit| {
            bytes += commit.bytes;
            bytes <= most
        });
        let count = fits.count().max(1).min(state.commits.len());
        let taken: Vec<Commit> = state.commits.drain(..count).collect();
        state.has_urgent = state.commits.iter().any(|commit| !commit.gathers);
        let that_gather = taken.iter().filter(|commit| commit.gathers).count();
        let have_records = taken.iter().any(|commit| !commit.partitions.is_empty());
        state.gathering.written(count, that_gather, have_records);
        taken
    }

    /// Takes all that can be refused, in order.
    pub(super) fn take_refusable(&self) -> Vec<Commit> {
        let mut state = self.lock();
        let (refusable, others) = std::mem::take(&mut state.commits)
            .into_iter()
            .partition::<Vec<_>, _>(|commit| commit.can_be_refused);
        state.commits = others.into();
        refusable
    }

    /// The changes that are queued.
    pub(super) fn changes(&self) -> Vec<Change> {
        let state = self.lock();
        state.commits.iter().flat_map(Commit::changes).collect()
    }

    fn is_empty(&self) -> bool {
        self.lock().commits.is_empty()
    }

    /// Puts back what was taken.
    fn put_back(&self, commits: Vec<Commit>) {
        let mut state = self.lock();
        state.has_urgent = true;
        for commit in commits.into_iter().rev() {
            state.commits.push_front(commit);
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for one commit, given back when it is dropped.
pub(super) struct Room<'a>(&'a Queue);

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.0.lock().reserved -= 1;
    }
}

/// Owns the journal: writes what is queued, and has it applied.
pub(super) struct Committer {
    queue: Arc<Queue>,
    pub(super) ring: Arc<journal::Ring>,
    journal: OrderedMutex<Journal, rank::Committer>,
    /// The last journal entry that has been applied.
    applied: AtomicU64,
    /// The most bytes that are written as one.
    most: usize,
}

/// What a step of the committer came to.
#[derive(Debug, PartialEq, Eq)]
enum Committed {
    /// The commits taken are durable, applied and answered.
    All,
    /// The journal cannot go on at the moment; nothing was taken or written. With what a commit is
    /// to be told that is refused for it.
    Nothing(Error),
}

/// How often a stop tries to commit what is left, each time behind a checkpoint.
const LAST_TRIES: u32 = 2;

impl Committer {
    /// Of a journal that goes on behind `tip`.
    pub(super) fn new(
        queue: Arc<Queue>,
        ring: Arc<journal::Ring>,
        options: journal::Options,
        tip: journal::Tip,
    ) -> Self {
        let capacity = usize::try_from(options.capacity()).unwrap_or(usize::MAX);
        Self {
            queue,
            journal: OrderedMutex::new(Journal::new(Arc::clone(&ring), options, tip)),
            ring,
            applied: AtomicU64::new(tip.sequence),
            most: limits::COMMIT_BYTES.min(capacity),
        }
    }

    /// The last journal entry that has been applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Lets the journal go on in another file. Everything written is applied.
    pub(super) fn leave_journal_file(&self) -> Result<(), FileError> {
        lock(&self.journal).leave_file()
    }

    /// Gives up the files in use: all of it is applied, and a checkpoint is about to cover it.
    pub(super) fn give_up_journal_files(&self) {
        self.ring.give_up(self.applied() + 1);
    }

    /// Takes no more. What is queued is still committed.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// Writes what is queued, as one, and lets `then` have what is durable.
    fn step(
        &self,
        then: impl FnOnce(Vec<Commit>, Option<Written>) -> Result<(), String>,
    ) -> Result<Committed, String> {
        let mut journal = lock(&self.journal);
        let commits = self.queue.take(self.most);
        let entries: Vec<&[Item]> = commits
            .iter()
            .map(|commit| &commit.items[..])
            .filter(|items| !items.is_empty())
            .collect();
        let sync = commits.iter().any(|commit| commit.sync);
        let mut written = None;
        if !entries.is_empty() {
            match journal.write(&entries, sync) {
                Ok(done) => written = Some(done),
                Err(journal::Error::File(error)) => return Err(error.to_string()),
                Err(hindered @ (journal::Error::Full | journal::Error::Hindered(_))) => {
                    self.queue.put_back(commits);
                    return Ok(Committed::Nothing(Error::StorageUnavailable {
                        cause: hindered.to_string(),
                    }));
                }
            }
        } else if sync {
            // What an answer tells may have been written without a sync.
            journal.sync().map_err(|error| error.to_string())?;
        }
        then(commits, written)?;
        self.applied.store(journal.sequence(), Ordering::Release);
        Ok(Committed::All)
    }
}

impl Shared {
    /// Applies what has been written, unless storage has failed meanwhile.
    fn take_durable(&self, commits: Vec<Commit>, written: Option<Written>) -> Result<(), String> {
        if let Some(written) = written {
            self.count_written(&commits, written);
        }
        let under_way = commits
            .iter()
            .filter_map(|commit| commit.under_way.as_ref());
        self.memory
            .note_written(under_way, self.committer.ring.used_bytes());
        if self.health.has_failed() {
            return Err("stopped before the write was applied".to_owned());
        }
        self.apply(commits)
    }

    /// Counts how long commits waited to be written, and how long that took.
    fn count_written(&self, commits: &[Commit], written: Written) {
        let Counts {
            appends, journal, ..
        } = &self.counts;
        for commit in commits {
            let Some(times) = commit.under_way.as_ref().and_then(UnderWay::times) else {
                continue;
            };
            appends
                .wait
                .observe(times.admitted.saturating_sub(times.asked));
            appends
                .queue
                .observe(written.begun.saturating_sub(times.admitted));
        }
        journal.write.observe(written.write);
        if let Some(sync) = written.sync {
            journal.sync.observe(sync);
        }
    }

    /// Refuses all that is queued and can be refused. Only for the thread that commits: nothing
    /// that is queued meanwhile is committed.
    fn refuse_queued(&self, shortage: Shortage) {
        let mut refused = Vec::new();
        loop {
            let commits = self.sequencer.take_back_queued();
            if commits.is_empty() {
                break;
            }
            self.reopen_topics(&commits);
            refused.extend(commits);
            // Again: an append may have found a topic closed, and wait to say so.
        }
        for Commit { done, counted, .. } in refused {
            drop(counted);
            done(Err(Error::DiskFull(shortage)));
        }
    }

    /// Opens topics for appends again whose deletion is refused.
    fn reopen_topics(&self, refused: &[Commit]) {
        for item in refused.iter().flat_map(|commit| &commit.items) {
            let Item::Change(Change::Delete { topic }) = item else {
                continue;
            };
            let topic = self.partitions.topics().find_by_id(*topic).cloned();
            if let Some(topic) = topic {
                *topic.open.write() = true;
            }
        }
    }

    /// Refuses all that is queued, and what comes. Nothing of it has been written.
    fn refuse_rest(&self, cause: &Error) {
        for commit in self.committer.queue.close_and_take() {
            (commit.done)(Err(cause.clone()));
        }
    }
}

/// How whoever commits waits for housekeeping.
trait Wait {
    /// Until a checkpoint has been tried.
    fn for_checkpoint(&mut self);

    /// Until it is worth another try; false if there is to be none.
    fn for_another_try(&mut self) -> bool;
}

/// Waits for the housekeeping thread.
struct ForThread<'a>(&'a Wakeup);

impl Wait for ForThread<'_> {
    fn for_checkpoint(&mut self) {
        self.0.want_checkpoint();
    }

    fn for_another_try(&mut self) -> bool {
        // A checkpoint is tried again now and then.
        self.0.pause();
        !self.0.is_closed()
    }
}

/// Keeps house itself.
struct OnThisThread<'a> {
    broker: &'a Broker,
    /// How many tries are left.
    tries: u32,
}

impl Wait for OnThisThread<'_> {
    fn for_checkpoint(&mut self) {
        self.broker.housekeeping_round(true);
    }

    fn for_another_try(&mut self) -> bool {
        self.tries -= 1;
        self.tries > 0
    }
}

impl Broker {
    /// The journal thread. What it leaves in the queue when it ends is for
    /// [`commit_rest`](Self::commit_rest).
    pub(super) fn commit_until_closed(&self) {
        let housekeeping = ForThread(&self.shared.maintenance.housekeeping);
        self.commit_while(|| self.shared.committer.queue.wait(), housekeeping);
    }

    /// Commits what is queued when the broker stops, on this thread, and refuses what cannot be
    /// committed.
    pub(super) fn commit_rest(&self) {
        if let Some(cause) = self.commit_queued(LAST_TRIES) {
            self.shared.refuse_rest(&cause);
        }
    }

    /// Commits what is queued, on this thread. If something is left after this many tries, why.
    pub(super) fn commit_queued(&self, tries: u32) -> Option<Error> {
        let here = OnThisThread {
            broker: self,
            tries,
        };
        self.commit_while(|| !self.shared.committer.queue.is_empty(), here)
    }

    /// Commits as long as `is_any` finds something, and, where the journal cannot go on, it is
    /// worth another try. If something is left in the queue, why.
    fn commit_while(&self, mut is_any: impl FnMut() -> bool, mut wait: impl Wait) -> Option<Error> {
        let mut is_again = false;
        while is_any() {
            match self.commit_or_refuse(&mut is_again, &mut wait)? {
                Committed::All => {}
                Committed::Nothing(_) if wait.for_another_try() => {}
                Committed::Nothing(cause) => return Some(cause),
            }
        }
        None
    }

    /// Commits what is queued, or finds that the journal cannot go on: once without a word, as a
    /// checkpoint may just have released a file. When that is so again, and the disk is full as
    /// well, what can be refused is, and the rest has to wait. None once storage has
    /// failed.
    fn commit_or_refuse(&self, is_again: &mut bool, wait: &mut impl Wait) -> Option<Committed> {
        let Committed::Nothing(cause) = self.commit_step(wait)? else {
            *is_again = false;
            return Some(Committed::All);
        };
        if !std::mem::replace(is_again, true) {
            return Some(Committed::All);
        }
        let shortage = self.shared.health.shortage();
        if let Some(shortage) = shortage {
            self.shared.refuse_queued(shortage);
        }
        let cause = shortage.map_or(cause, Error::DiskFull);
        match self.shared.committer.queue.is_empty() {
            true => Some(Committed::All),
            false => Some(Committed::Nothing(cause)),
        }
    }

    /// Commits what is queued as one write. None once storage has failed.
    fn commit_step(&self, wait: &mut impl Wait) -> Option<Committed> {
        let shared = &self.shared;
        let step = shared
            .committer
            .step(|durable, written| shared.take_durable(durable, written));
        match step {
            Ok(Committed::All) => Some(Committed::All),
            Ok(nothing) => {
                wait.for_checkpoint();
                (!shared.health.has_failed()).then_some(nothing)
            }
            Err(reason) => {
                shared.health.fail(reason);
                None
            }
        }
    }
}
