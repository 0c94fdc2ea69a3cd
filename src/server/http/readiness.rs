//! Whether the broker lives, and whether it takes calls.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{figures::Sources, v1::Api};

/// A word, or why not.
pub(super) type Health = Result<&'static str, String>;

/// What is known of the broker, from before it is open until the process ends.
#[derive(Default)]
pub(super) struct Readiness {
    open: Mutex<Option<Arc<Sources>>>,
    api: Mutex<Option<Arc<Api>>>,
    stops: AtomicBool,
}

impl Readiness {
    /// The broker takes calls from now on, these know its figures, and calls over HTTP go there.
    pub(super) fn serves(&self, sources: Sources, api: Api) {
        *lock(&self.api) = Some(Arc::new(api));
        *lock(&self.open) = Some(Arc::new(sources));
    }

    /// It takes no more calls: it has been told to stop.
    pub(super) fn stops(&self) {
        self.stops.store(true, Relaxed);
    }

    /// The broker's power was cut; the next one is about to be opened.
    pub(super) fn starts_again(&self) {
        drop(lock(&self.open).take());
        if let Some(api) = lock(&self.api).take() {
            api.cut();
        }
    }

    /// Lets go of the broker, so that it can be closed.
    pub(super) fn let_go(&self) {
        self.stops();
        self.starts_again();
    }

    /// Whether it has been told to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.stops.load(Relaxed)
    }

    /// Where calls go, while the broker is open.
    pub(super) fn api(&self) -> Option<Arc<Api>> {
        lock(&self.api).clone()
    }

    /// Where `/metrics` gets its figures from; `None` while the broker is not open.
    pub(super) fn sources(&self) -> Option<Arc<Sources>> {
        lock(&self.open).clone()
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
        if self.is_stopping() {
            return Err("it has been told to stop: calls under way are finished".to_owned());
        }
        match self.sources() {
            Some(_) => Ok("it takes calls"),
            None => Err("it is starting: the data directory is being read".to_owned()),
        }
    }

    fn failure(&self) -> Option<String> {
        let failure = self.sources()?.failure()?;
        Some(format!("storage has failed: {failure}"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
