//! Whether the process lives, and whether the broker takes calls.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{figures::Sources, v1::Api};

/// A word if all is well, or what is wrong.
pub(super) type Health = Result<&'static str, String>;

/// The state of the broker, from before it is open until the process ends.
#[derive(Default)]
pub(super) struct Readiness {
    open: Mutex<Option<Arc<Sources>>>,
    api: Mutex<Option<Arc<Api>>>,
    stops: AtomicBool,
}

impl Readiness {
    /// The broker is open: metrics come from these sources, and calls go to this API.
    pub(super) fn serves(&self, sources: Sources, api: Api) {
        *lock(&self.api) = Some(Arc::new(api));
        *lock(&self.open) = Some(Arc::new(sources));
    }

    /// The broker has been told to stop, and takes no more calls.
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

    /// The API for calls, while the broker is open.
    pub(super) fn api(&self) -> Option<Arc<Api>> {
        lock(&self.api).clone()
    }

    /// The sources of metrics; `None` while the broker is not open.
    pub(super) fn sources(&self) -> Option<Arc<Sources>> {
        lock(&self.open).clone()
    }

    /// An error if only a restart of the process helps.
    pub(super) fn lives(&self) -> Health {
        match self.failure() {
            Some(failure) => Err(failure),
            None => Ok("it lives"),
        }
    }

    /// An error while calls would be refused, or would wait for the start. A full disk is no error:
    /// only appends are refused then, and readers must be able to go on.
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
