//! Whether storage works and has room: how much is to be left on the disk, what there is too little
//! of, what passes, and what is final.

use std::{
    fmt,
    io::ErrorKind,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::watch;

use super::{Error, Options, lock, wakeup::Wakeup};
use crate::{
    env::Env,
    storage::{
        fault::Meaning,
        files::{Action, FileError},
        log::OpenSegments,
    },
};

/// How often the log says that storage cannot be read at the moment.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Knows whether storage works, for everybody.
pub(super) struct Health {
    env: Env,
    root: PathBuf,
    reserve: u64,
    journal_file_bytes: u64,
    segments: Arc<OpenSegments>,
    /// What makes room.
    housekeeping: Arc<Wakeup>,
    failure: watch::Sender<Option<String>>,
    /// Lets go whoever waits for what does not come once storage has failed.
    let_go: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What the disk has too little of; appends are refused until there is more.
    shortage: Option<Shortage>,
    /// When it was logged last that storage cannot be read at the moment.
    said_unavailable: Option<Duration>,
}

/// Too little room on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// How many bytes are free, if the file system says so.
    pub(crate) free: Option<u64>,
    /// How many must be, for appends to be taken.
    pub(crate) needed: u64,
    /// How many the setting `disk.reserve_bytes` keeps free.
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

impl Health {
    /// Of storage that works. Once it has failed, `let_go` is called.
    pub(super) fn new(
        env: Env,
        options: &Options,
        segments: Arc<OpenSegments>,
        housekeeping: Arc<Wakeup>,
        let_go: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self {
            env,
            root: options.data_dir.clone(),
            reserve: options.disk_reserve_bytes,
            journal_file_bytes: options.journal_file_bytes,
            segments,
            housekeeping,
            failure: watch::Sender::new(None),
            let_go: Box::new(let_go),
            state: Mutex::default(),
        }
    }

    /// Takes note that storage has failed: what waits is answered with an unknown outcome, what
    /// comes is refused.
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
                // The broker is gone without having failed.
                None => std::future::pending().await,
            }
        }
    }

    /// Refuses what would take more room on a full disk.
    pub(super) fn check_room(&self) -> Result<(), Error> {
        self.check_running()?;
        match self.shortage() {
            Some(shortage) => Err(Error::DiskFull(shortage)),
            None => Ok(()),
        }
    }

    /// Refuses what cannot be done once storage has failed.
    pub(super) fn check_running(&self) -> Result<(), Error> {
        if self.has_failed() {
            return Err(Error::ShuttingDown);
        }
        Ok(())
    }

    /// Refuses appends while the disk has less room than is to be left on it.
    pub(super) fn look_for_room(&self) -> Result<(), FileError> {
        let free = self.free_bytes()?;
        let reserve = self.reserve;
        let is_short = free.is_some_and(|free| free < reserve);
        self.set_shortage(is_short.then_some(Shortage {
            free,
            needed: reserve,
            reserve,
        }));
        Ok(())
    }

    /// What the disk has too little of, if it has.
    pub(super) fn shortage(&self) -> Option<Shortage> {
        lock(&self.state).shortage
    }

    /// Whether appends are refused because the disk has too little room.
    pub(super) fn is_short_of_room(&self) -> bool {
        self.shortage().is_some()
    }

    /// Where there is too little room, has that made which something that was just deleted or
    /// trimmed takes: by a checkpoint, for which housekeeping would wait otherwise.
    pub(super) fn make_room_soon(&self) {
        if self.is_short_of_room() {
            self.call_housekeeping();
        }
    }

    /// Has housekeeping look whether it can free memory.
    pub(super) fn call_housekeeping(&self) {
        self.housekeeping.notify();
    }

    /// How much room there is, if the file system says so. Only that the directory is gone is an
    /// error: not to know is no reason not to start, and whoever writes finds out.
    pub(super) fn free_bytes(&self) -> Result<Option<u64>, FileError> {
        let root = &self.root;
        let is_gone = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        match self.env.files.available_bytes(root) {
            Err(error) if !is_gone(error.kind()) => {
                tracing::debug!(%error, "the file system does not say how much room it has");
                Ok(None)
            }
            asked => asked.map_err(FileError::when(Action::LookForRoom, root)),
        }
    }

    /// What is lacking for another file of this size beside what is to be left; none where nothing
    /// is. A file that fills the disk for a moment would have appends refused.
    pub(super) fn shortage_beside(&self, bytes: u64) -> Result<Option<Shortage>, FileError> {
        let reserve = self.reserve;
        let needed = bytes.saturating_add(reserve);
        let free = self.free_bytes()?.filter(|free| *free < needed);
        Ok(free.map(|free| Shortage {
            free: Some(free),
            needed,
            reserve,
        }))
    }

    /// What there is to know when something has found no room.
    pub(super) fn shortage_now(&self) -> Shortage {
        let reserve = self.reserve;
        Shortage {
            free: self.free_bytes().ok().flatten(),
            needed: reserve.max(self.journal_file_bytes),
            reserve,
        }
    }

    /// Refuses appends because something has found no room.
    pub(super) fn note_full(&self) -> Shortage {
        let shortage = self.shortage_now();
        self.set_shortage(Some(shortage));
        shortage
    }

    fn set_shortage(&self, shortage: Option<Shortage>) {
        let before = std::mem::replace(&mut lock(&self.state).shortage, shortage);
        match (before, shortage) {
            (None, Some(shortage)) => {
                tracing::warn!(
                    "the disk is full: {shortage}; appends and new topics are refused until there is room, all else \
                     is served"
                );
            }
            (Some(_), None) => {
                tracing::info!("there is room on the disk: appends are taken again");
            }
            _ => {}
        }
    }

    /// What a round's error means: what passes is tried again in the next one, anything else is
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

    /// As [`settle`](Self::settle), of work that only reads what is there and writes what is
    /// derived: of that nothing but a failed write or sync is final.
    pub(super) fn settle_derived(&self, work: Result<(), FileError>) {
        match work {
            Err(error) if error.meaning() == Meaning::Damage => drop(self.unavailable(&error)),
            work => self.settle(work),
        }
    }

    /// What callers are told of an error that passes. Lets go of what is open, which may be what
    /// there is too much of.
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
