//! Whether the broker lives, and whether it takes calls.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::figures::Sources;

/// A word, or why not.
pub(super) type Health = Result<&'static str, String>;

/// What is known of the broker, from before it is open until the process ends.
#[derive(Default)]
pub(super) struct Readiness {
    open: Mutex<Option<Arc<Sources>>>,
    stops: AtomicBool,
}

impl Readiness {
    /// The broker takes calls from now on, and these know its figures.
    pub(super) fn serves(&self, sources: Sources) {
        *self.open() = Some(Arc::new(sources));
    }

    /// It takes no more calls: it has been told to stop.
    pub(super) fn stops(&self) {
        self.stops.store(true, Relaxed);
    }

    /// The broker's power was cut; the next one is about to be opened.
    pub(super) fn starts_again(&self) {
        drop(self.open().take());
    }

    /// Lets go of the broker, so that it can be closed.
    pub(super) fn let_go(&self) {
        self.stops();
        self.starts_again();
    }

    /// Who knows the figures, while the broker is open.
    pub(super) fn sources(&self) -> Option<Arc<Sources>> {
        self.open().clone()
    }

    /// Fails when only another start of the process helps.
    pub(super) fn lives(&self) -> Health {
        match self.failure() {
            Some(failure) => Err(failure),
            None => Ok("it lives"),
        }
    }

    /// Fails while calls would be refused or wait for the start. On a full disk only appends are
    /// refused, and readers are to go on: that is no reason.
    pub(super) fn is_ready(&self) -> Health {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if self.stops.load(Relaxed) {
            return Err("it has been told to stop: calls under way are finished".to_owned());
        }
        match self.sources() {
            Some(_) => Ok("it takes calls"),
            None => Err("it is starting: the data directory is being read".to_owned()),
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Arc<Sources>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failure(&self) -> Option<String> {
        let failure = self.sources()?.failure()?;
        Some(format!("storage has failed: {failure}"))
    }
}
