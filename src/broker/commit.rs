//! The queue of commits, and the journal thread that writes them.
//!
//! All queued commits are taken together, written and synced as one, applied in order, and
//! answered. If the journal is full, or its next file cannot be opened, a commit stays at the head
//! of the queue until a checkpoint has released a file, or the file can be opened. On a full disk
//! there may be no checkpoint for long; then all queued commits that nothing relies on are refused.
//! Nothing that waits has been written, so when the broker stops, what still waits is refused as
//! well.

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
    /// Empty for a commit that only waits for the earlier ones.
    pub(super) items: Vec<Item>,
    /// The size of its journal entry, in bytes.
    pub(super) bytes: usize,
    /// The partition of each frame among the items, in order.
    pub(super) partitions: Vec<PartitionRef>,
    /// Whether it must be synced before it is applied.
    pub(super) sync: bool,
    /// What accounts for the frames' memory.
    pub(super) charge: Charge,
    /// Its share of the room for appends under way.
    pub(super) under_way: Option<UnderWay>,
    /// Called when the commit was applied or refused; dropped if the outcome is unknown.
    pub(super) done: Box<dyn FnOnce(Result<(), Error>) + Send>,
    /// Whether it can be refused after it was queued. It cannot if commits queued later rely on it,
    /// as they do on the offsets of an append.
    pub(super) can_be_refused: bool,
    /// Whether it may wait a moment, to be written together with others: see [`Gathering`].
    pub(super) gathers: bool,
    /// Holds the count of the partitions of a topic that it creates.
    pub(super) counted: Option<Arc<Counted>>,
}

impl Commit {
    /// The catalog changes in it.
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

/// Commits on their way to the journal. The queue is bounded: appends by the memory they were
/// admitted for, and all commits by their number.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    commits: VecDeque<Commit>,
    /// For how many more commits room is reserved.
    reserved: usize,
    /// Whether new commits are refused; queued ones are still committed.
    closed: bool,
    /// Whether a queued commit must not wait for others.
    has_urgent: bool,
    gathering: Gathering,
    /// Which commits wake the journal thread.
    awaited: Awaited,
}

/// What the journal thread waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Awaited {
    /// Nothing: it is at work, and looks at the queue when it is done.
    #[default]
    Nothing,
    /// Commits that must not wait for others. It finds all others a moment later: they are many,
    /// and waking a thread costs more than queueing a commit.
    Urgent,
    Any,
}

/// Whether commits of group members wait to be written together.
///
/// A write with its sync costs the journal as much as an append of some hundred KB, and appends
/// wait for it. So while appends are coming in, the commits of members wait for the next append, or
/// for [`limits::COMMIT_GATHER_MS`]. They do not wait if no other commit came during the last wait,
/// so a member that commits alone is not delayed, nor if nobody appends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Gathering {
    /// How many writes there were since the last one with records; `None` before that.
    since_append: Option<u32>,
    /// Whether the last write with such commits had other commits as well.
    had_company: bool,
}

impl Gathering {
    /// After this many writes without records, appends count as paused.
    const PAUSE: u32 = 8;

    /// Notes a write of `commits` commits, `that_gather` of which may wait for others.
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
    /// Reserves room for a commit: with it, the commit is refused only if the broker shuts down.
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

    /// Queues a commit in reserved room.
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

    /// Refuses new commits.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Refuses new commits and drops the queued ones, whose outcome is then unknown.
    pub(super) fn fail(&self) {
        drop(self.close_and_take());
    }

    /// Refuses new commits and takes the queued ones.
    fn close_and_take(&self) -> VecDeque<Commit> {
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        std::mem::take(&mut state.commits)
    }

    /// Waits until there is a commit; returns false if the queue is closed and empty.
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

    /// Waits a moment for a commit that must not wait, if gathering is worthwhile.
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

    /// Takes as many commits as fit in one write of at most `most` bytes, and at least one.
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

    /// Takes all commits that can be refused, in order.
    pub(super) fn take_refusable(&self) -> Vec<Commit> {
        let mut state = self.lock();
        let (refusable, others) = std::mem::take(&mut state.commits)
            .into_iter()
            .partition::<Vec<_>, _>(|commit| commit.can_be_refused);
        state.commits = others.into();
        refusable
    }

    /// What `of` finds in the queued commits, in order.
    pub(super) fn of_queued<T>(&self, of: impl Fn(&Commit) -> Vec<T>) -> Vec<T> {
        self.lock().commits.iter().flat_map(of).collect()
    }

    fn is_empty(&self) -> bool {
        self.lock().commits.is_empty()
    }

    /// Puts commits back at the head of the queue.
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

/// Owns the journal: writes queued commits, and has them applied.
pub(super) struct Committer {
    pub(super) queue: Arc<Queue>,
    pub(super) ring: Arc<journal::Ring>,
    journal: OrderedMutex<Journal, rank::Committer>,
    /// The sequence of the last journal entry that was applied.
    applied: AtomicU64,
    /// The most bytes of one write.
    most: usize,
}

/// The result of a step of the committer.
#[derive(Debug, PartialEq, Eq)]
enum Committed {
    /// All taken commits are durable, applied and answered.
    All,
    /// The journal cannot continue at the moment; nothing was taken or written. Commits refused
    /// because of it get this error.
    Nothing(Error),
}

/// How often a stop tries to commit what is left, after a checkpoint each time.
const LAST_TRIES: u32 = 2;

impl Committer {
    /// A committer for a journal that continues behind `tip`.
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

    /// The sequence of the last journal entry that was applied.
    pub(super) fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Makes the journal continue in another file. Everything written must be applied.
    pub(super) fn leave_journal_file(&self) -> Result<(), FileError> {
        lock(&self.journal).leave_file()
    }

    /// Stops using the current journal files: all of their entries are applied, and a checkpoint is
    /// about to cover them.
    pub(super) fn give_up_journal_files(&self) {
        self.ring.give_up(self.applied() + 1);
    }

    /// Looks at what is there behind a durable journal entry, before the next one is written.
    pub(super) fn between_entries<T>(&self, look: impl FnOnce(u64) -> T) -> Result<T, FileError> {
        let mut journal = lock(&self.journal);
        journal.sync()?;
        Ok(look(journal.sequence()))
    }

    /// Refuses new commits; queued ones are still committed.
    pub(super) fn close(&self) {
        self.queue.close();
    }

    /// Writes queued commits as one, and passes those that are durable to `then`.
    fn step(
        &self,
        then: impl FnOnce(Vec<Commit>, Option<Written>) -> Result<(), String>,
    ) -> Result<Committed, String> {
        let mut journal = lock(&self.journal);
        let mut commits = self.queue.take(self.most);
        let sync = commits.iter().any(|commit| commit.sync);
        let mut entries: Vec<&mut [Item]> = commits
            .iter_mut()
            .map(|commit| &mut commit.items[..])
            .filter(|items| !items.is_empty())
            .collect();
        let mut written = None;
        if !entries.is_empty() {
            match journal.write(&mut entries, sync) {
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
            // What an answer relies on may have been written without a sync.
            journal.sync().map_err(|error| error.to_string())?;
        }
        then(commits, written)?;
        self.applied.store(journal.sequence(), Ordering::Release);
        Ok(Committed::All)
    }
}

impl Shared {
    /// Applies written commits, unless storage has failed meanwhile.
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
        self.apply(commits, written)
    }

    /// Counts how long commits waited to be written, and how long the write took.
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

    /// Refuses all queued commits that can be refused. Only for the journal thread, so that nothing
    /// is committed meanwhile.
    fn refuse_queued(&self, shortage: Shortage) {
        let mut refused = Vec::new();
        loop {
            let commits = self.sequencer.take_back_queued();
            if commits.is_empty() {
                break;
            }
            self.reopen_topics(&commits);
            refused.extend(commits);
            // Once more: an append may have found a topic closed and queued a refusal that tells
            // so.
        }
        for Commit { done, counted, .. } in refused {
            drop(counted);
            done(Err(Error::DiskFull(shortage)));
        }
    }

    /// Lets appends to topics go on whose deletion is refused.
    fn reopen_topics(&self, refused: &[Commit]) {
        for item in refused.iter().flat_map(|commit| &commit.items) {
            let Item::Change(Change::Delete { topic }) = item else {
                continue;
            };
            let topic = self.partitions.topics().find_by_id(*topic).cloned();
            if let Some(topic) = topic {
                let planned = self.sequencer.planned().topics().get(topic.id).cloned();
                *topic.open.write() = planned.map(|planned| planned.settings.appends);
            }
        }
    }

    /// Refuses all queued commits, none of which was written, and new ones.
    fn refuse_rest(&self, cause: &Error) {
        for commit in self.committer.queue.close_and_take() {
            (commit.done)(Err(cause.clone()));
        }
    }
}

/// How the committing thread waits for housekeeping.
trait Wait {
    /// Waits until a checkpoint was tried.
    fn for_checkpoint(&mut self);

    /// Waits until another try is worthwhile; returns false to give up.
    fn for_another_try(&mut self) -> bool;
}

/// Waits for the housekeeping thread.
struct ForThread<'a>(&'a Wakeup);

impl Wait for ForThread<'_> {
    fn for_checkpoint(&mut self) {
        self.0.want_checkpoint();
    }

    fn for_another_try(&mut self) -> bool {
        // Housekeeping tries a checkpoint again from time to time.
        self.0.pause();
        !self.0.is_closed()
    }
}

/// Does the housekeeping itself, on this thread.
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
    /// Runs the journal thread. Commits that it leaves in the queue are for
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

    /// Commits what is queued, on this thread. Returns the reason if something is left after
    /// `tries` tries.
    pub(super) fn commit_queued(&self, tries: u32) -> Option<Error> {
        let here = OnThisThread {
            broker: self,
            tries,
        };
        self.commit_while(|| !self.shared.committer.queue.is_empty(), here)
    }

    /// Commits as long as `is_any` finds something and, if the journal cannot continue, `wait`
    /// wants another try. Returns the reason if something is left in the queue.
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

    /// Commits what is queued. If the journal cannot continue, the first time is ignored, because a
    /// checkpoint may just have released a file. If it happens again and the disk is full, commits
    /// that can be refused are, and the rest must wait. `None` once storage has failed.
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

    /// Commits what is queued, as one write. `None` once storage has failed.
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
