//! Whether storage works and has space: how much must stay free on the disk, whether an error
//! passes, and whether it is final.

use std::{
    fmt,
    io::ErrorKind,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;

use super::{Error, Options, lock, memory::Memory, wakeup::Wakeup};
use crate::{
    env::Env,
    storage::{
        fault::Meaning,
        files::{Action, FileError},
        journal::Ring,
        log::OpenSegments,
        reserve::Reserve,
    },
    types::limits,
};

/// How often the log repeats that storage cannot be read at the moment, or that the disk is full.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// A full disk has room again when this part of what is kept free is free besides.
const ROOM_AGAIN: u64 = 16;

/// For so long the reserve file is not made again after it was given up: what has found no space
/// comes first, also where the file system has a limit that its free space does not tell.
const RESERVE_AGAIN: Duration = Duration::from_secs(10);

/// Knows whether storage works, for all of the broker.
pub(super) struct Health {
    env: Env,
    root: PathBuf,
    reserve_bytes: u64,
    /// Holds a part of these.
    reserve_file: Reserve,
    journal_file_bytes: u64,
    journal: Arc<Ring>,
    /// Counts what was taken and is in no segment yet.
    memory: Memory,
    segments: Arc<OpenSegments>,
    /// Wakes housekeeping, which frees space.
    housekeeping: Arc<Wakeup>,
    failure: watch::Sender<Option<String>>,
    /// Ends all waits that would never end once storage has failed.
    let_go: Box<dyn Fn() + Send + Sync>,
    /// How many bytes may be taken until the disk is looked at again.
    left: AtomicU64,
    /// Locked while the disk is looked at.
    looking: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Set while the disk has too little space; appends are refused until it has more.
    shortage: Option<Shortage>,
    /// When it was last logged that storage cannot be read at the moment.
    said_unavailable: Option<Duration>,
    /// Whether it was logged that the reserve file cannot be made.
    said_no_reserve: bool,
    /// When the reserve file was given up.
    gave_up: Option<Duration>,
    said_full: SaidFull,
}

/// What was logged of a full disk. One that is full and has room again many times a second, because
/// retention goes on, is logged as full once in ten seconds.
#[derive(Default)]
pub(super) struct SaidFull {
    /// Whether the last line says that it is full.
    is_last: bool,
    at: Option<Duration>,
}

/// A line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The disk is full.
    Full,
    /// It has room again.
    Room,
}

impl SaidFull {
    /// What to log now that the disk is full, or is not.
    pub(super) fn next_line(&mut self, is_full: bool, now: Duration) -> Option<Line> {
        if is_full == self.is_last {
            return None;
        }
        if !is_full {
            self.is_last = false;
            return Some(Line::Room);
        }
        let is_early = |at: Duration| now.saturating_sub(at) < SAY_AGAIN;
        if self.at.is_some_and(is_early) {
            return None;
        }
        (self.is_last, self.at) = (true, Some(now));
        Some(Line::Full)
    }
}

/// Too little space on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// How many bytes are free, if the file system says so; those in the reserve file included.
    pub(crate) free: Option<u64>,
    /// How many of them are in the reserve file.
    pub(crate) held: u64,
    /// How many bytes must be free for appends to be accepted.
    pub(crate) needed: u64,
    /// How many bytes the setting `disk.reserve_bytes` keeps free.
    pub(crate) reserve: u64,
}

impl Shortage {
    /// How many bytes must be freed, if that is known.
    pub(crate) fn missing(&self) -> Option<u64> {
        let free = self.free?;
        Some(self.needed.saturating_sub(free)).filter(|missing| *missing > 0)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.free {
            Some(free) => write!(f, "{free} bytes are free")?,
            None => f.write_str("it does not say how many bytes are free")?,
        }
        if self.held > 0 {
            write!(f, ", {} of them in the reserve file", self.held)?;
        }
        let Self {
            needed, reserve, ..
        } = self;
        write!(f, ", {needed} are needed (disk.reserve_bytes is {reserve})")?;
        match self.missing() {
            Some(missing) => write!(f, ": {missing} must be freed"),
            None => Ok(()),
        }
    }
}

/// The reserve file of a data directory: half of what is kept. The rest stays free, so that the
/// broker notices a full disk before a write does.
pub(super) fn reserve_file(env: &Env, options: &Options) -> Reserve {
    let half = options.disk_reserve_bytes / 2;
    // A file system in memory would take memory for it.
    let bytes = match env.files.volatile(&options.data_dir) {
        Ok(Some(_)) => 0,
        _ => half.min(limits::RESERVE_FILE_BYTES),
    };
    Reserve::new(env, &options.data_dir, bytes)
}

impl Health {
    /// Storage that works. `let_go` is called once it has failed.
    pub(super) fn new(
        env: Env,
        options: &Options,
        journal: Arc<Ring>,
        memory: Memory,
        segments: Arc<OpenSegments>,
        housekeeping: Arc<Wakeup>,
        let_go: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            reserve_file: reserve_file(&env, options),
            env,
            root: options.data_dir.clone(),
            reserve_bytes: options.disk_reserve_bytes,
            journal_file_bytes: options.journal_file_bytes,
            journal,
            memory,
            segments,
            housekeeping,
            failure: watch::Sender::new(None),
            let_go: Box::new(let_go),
            left: AtomicU64::new(0),
            looking: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// Notes that storage has failed: waiting requests are answered with an unknown outcome, new
    /// ones are refused.
    pub(super) fn fail(&self, reason: String) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(reason);
            }
            first
        });
        (self.let_go)();
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Why storage has failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.borrow().clone()
    }

    /// Resolves with the reason when storage has failed.
    pub(super) fn failed(&self) -> impl Future<Output = String> + Send + 'static {
        let mut failure = self.failure.subscribe();
        async move {
            let reason = failure
                .wait_for(Option::is_some)
                .await
                .map(|reason| reason.clone())
                .ok()
                .flatten();
            match reason {
                Some(reason) => reason,
                // The broker was closed without a failure.
                None => std::future::pending().await,
            }
        }
    }

    /// Refuses requests that need more space while the disk is full.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        self.check_running()?;
        match self.shortage() {
            Some(shortage) => Err(Error::DiskFull(shortage)),
            None => Ok(()),
        }
    }

    /// Refuses requests that are impossible once storage has failed.
    pub(super) fn check_running(&self) -> Result<(), Error> {
        if self.has_failed() {
            return Err(Error::ShuttingDown);
        }
        Ok(())
    }

    /// Checks the free space; appends are refused while there is less than must stay free, besides
    /// what will be written. What is left for appends, and for the journal to grow, can be used
    /// until the next look.
    pub(super) fn look_for_room(&self) -> Result<(), FileError> {
        let _looking = lock(&self.looking);
        let mut needed = self.needed();
        if self.is_short_of_room() {
            // More than what was refused takes: else a disk that is full for every request had
            // room again as soon as the request is gone.
            needed = needed.saturating_add(self.reserve_bytes / ROOM_AGAIN);
        }
        let free = self.free_bytes()?;
        let spare = free.map_or(u64::MAX, |free| free.saturating_sub(needed));
        let (not_made, file_bytes) = self.journal.not_made();
        let room_for = spare / file_bytes.max(1);
        let files = not_made.min(u32::try_from(room_for).unwrap_or(u32::MAX));
        self.journal.may_make(files);
        let left = spare.saturating_sub(u64::from(files) * file_bytes);
        self.left.store(left, Ordering::Release);
        let is_short = free.is_some_and(|free| free < needed);
        self.set_shortage(is_short.then(|| self.shortage_of(free, needed)));
        Ok(())
    }

    /// Takes room on the disk for an append that was admitted, whose bytes count as memory already.
    /// The disk is looked at again when what the last look found is used up, so that however fast
    /// appends come, what is in memory can always be written.
    pub(super) fn take_room(&self, bytes: u64) -> Result<(), Error> {
        let less = |left: u64| left.checked_sub(bytes);
        let (set, get) = (Ordering::AcqRel, Ordering::Acquire);
        if self.left.fetch_update(set, get, less).is_ok() {
            return Ok(());
        }
        // Only housekeeping finds out that a full disk has room again.
        self.check_room()?;
        self.settle(self.look_for_room());
        self.check_room()
    }

    /// The shortage of space, if there is one.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        lock(&self.state).shortage
    }

    /// Whether appends are refused because the disk has too little room.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.shortage().is_some()
    }

    /// If there is too little space, wakes housekeeping to write a checkpoint at once: it allows to
    /// remove what was just deleted or trimmed.
    pub(super) fn make_room_soon(&self) {
        if self.is_short_of_room() {
            self.call_housekeeping();
        }
    }

    /// Wakes housekeeping to free memory.
    pub(super) fn call_housekeeping(&self) {
        self.housekeeping.notify();
    }

    /// Takes room for the reserve file, if it is not there and the disk has enough. Without it only
    /// free space is kept.
    pub(super) fn keep_reserve(&self) -> Result<(), FileError> {
        let now = self.env.clock.elapsed();
        let gave_up = lock(&self.state).gave_up;
        let is_early = gave_up.is_some_and(|when| now.saturating_sub(when) < RESERVE_AGAIN);
        if self.reserve_file.is_made() || is_early {
            return Ok(());
        }
        let free = self.free_bytes()?;
        if free.is_none_or(|free| free < self.reserve_bytes) {
            return Ok(());
        }
        let Err(error) = self.reserve_file.make() else {
            return Ok(());
        };
        let mut state = lock(&self.state);
        state.gave_up = Some(now);
        let is_said = std::mem::replace(&mut state.said_no_reserve, true);
        if !is_said && !error.is_disk_full() {
            tracing::warn!(%error, "no room can be reserved on the disk: it is only left free");
        }
        Ok(())
    }

    /// Gives up the reserve file, because a write has found no space; returns whether there is more
    /// space now.
    pub(super) fn give_up_reserve(&self) -> bool {
        let is_given_up = self.reserve_file.give_up();
        if is_given_up {
            lock(&self.state).gave_up = Some(self.env.clock.elapsed());
            tracing::info!(
                "a write has found no room: that of the reserve file is given up, for trims and deletions to make more"
            );
        }
        is_given_up
    }

    /// How much the reserve file holds.
    pub(super) fn held_bytes(&self) -> u64 {
        self.reserve_file.held()
    }

    /// The free space with that of the reserve file, if the file system can tell. It is an error
    /// only if the directory is gone; if the space is not known, the broker starts nevertheless,
    /// and the next write finds out.
    pub(super) fn free_bytes(&self) -> Result<Option<u64>, FileError> {
        let root = &self.root;
        let is_gone = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        match self.env.files.available_bytes(root) {
            Err(error) if !is_gone(error.kind()) => {
                tracing::debug!(%error, "the file system does not say how much room it has");
                Ok(None)
            }
            asked => {
                let free = asked.map_err(FileError::when(Action::LookForRoom, root))?;
                Ok(free.map(|free| free.saturating_add(self.reserve_file.held())))
            }
        }
    }

    /// The shortage if this much more is to be written; `None` if there is enough space for it. A
    /// file that fills the disk, even for a moment, would make appends fail.
    pub(super) fn shortage_beside(&self, bytes: u64) -> Result<Option<Shortage>, FileError> {
        self.shortage_below(bytes.saturating_add(self.needed()))
    }

    /// As [`shortage_beside`](Self::shortage_beside), for what is written to give back more than it
    /// takes: it may use a quarter of what is kept free, so that compaction can make room on a full
    /// disk.
    pub(super) fn shortage_beside_less(&self, bytes: u64) -> Result<Option<Shortage>, FileError> {
        let kept = self.needed() - self.reserve_bytes / 4;
        self.shortage_below(bytes.saturating_add(kept))
    }

    fn shortage_below(&self, needed: u64) -> Result<Option<Shortage>, FileError> {
        let free = self.free_bytes()?;
        let is_short = free.is_some_and(|free| free < needed);
        Ok(is_short.then(|| self.shortage_of(free, needed)))
    }

    /// How much must be free: what is kept, and room for what is in no segment yet.
    fn needed(&self) -> u64 {
        self.reserve_bytes.saturating_add(self.memory.used())
    }

    /// The present shortage, after a write has found no space.
    pub(super) fn shortage_now(&self) -> Shortage {
        let needed = self.reserve_bytes.max(self.journal_file_bytes);
        self.shortage_of(self.free_bytes().ok().flatten(), needed)
    }

    fn shortage_of(&self, free: Option<u64>, needed: u64) -> Shortage {
        Shortage {
            free,
            held: self.reserve_file.held(),
            needed,
            reserve: self.reserve_bytes,
        }
    }

    /// Refuses appends because a write has found no space, and gives up the reserve file for what
    /// must be written to free some.
    pub(super) fn note_full(&self) -> Shortage {
        if self.give_up_reserve() {
            self.call_housekeeping();
        }
        let shortage = self.shortage_now();
        self.set_shortage(Some(shortage));
        shortage
    }

    fn set_shortage(&self, shortage: Option<Shortage>) {
        let now = self.env.clock.elapsed();
        let mut state = lock(&self.state);
        let was_short = std::mem::replace(&mut state.shortage, shortage).is_some();
        let line = state.said_full.next_line(shortage.is_some(), now);
        drop(state);
        if shortage.is_some() && !was_short {
            // A checkpoint at once, if it would allow something to be removed.
            self.call_housekeeping();
        }
        match (line, shortage) {
            (Some(Line::Full), Some(shortage)) => {
                tracing::warn!(
                    "the disk is full: {shortage}; appends and new topics are refused until there is room, all else \
                     is served"
                );
            }
            (Some(Line::Room), _) => {
                tracing::info!("there is room on the disk: appends are taken again");
            }
            _ => {}
        }
    }

    /// Handles the result of a round: an error that passes is left to the next round, any other is
    /// final.
    pub(super) fn settle(&self, round: Result<(), FileError>) {
        match round {
            Ok(()) => {}
            Err(error) if error.is_disk_full() => {
                self.note_full();
            }
            Err(error) if error.meaning() == Meaning::Passing => drop(self.unavailable(&error)),
            Err(error) => self.fail(error.to_string()),
        }
    }

    /// As [`settle`](Self::settle), for work that only reads stored data and writes derived files:
    /// only a failed write or sync is final.
    pub(super) fn settle_derived(&self, work: Result<(), FileError>) {
        match work {
            Err(error) if error.meaning() == Meaning::Damage => drop(self.unavailable(&error)),
            work => self.settle(work),
        }
    }

    /// The error to report for one that passes. Also closes open files, in case there are too many.
    pub(super) fn unavailable(&self, error: &FileError) -> Error {
        let now = self.env.clock.elapsed();
        let mut state = lock(&self.state);
        let said = state.said_unavailable;
        if said.is_none_or(|said| now.saturating_sub(said) >= SAY_AGAIN) {
            state.said_unavailable = Some(now);
            tracing::warn!(%error, "storage cannot be read at the moment; it is tried again");
        }
        drop(state);
        self.segments.let_go();
        Error::StorageUnavailable {
            cause: error.to_string(),
        }
    }
}
