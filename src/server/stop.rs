//! Tells everything that waits to end.

use std::{future::Future, pin::Pin};

use tokio::sync::watch;

/// Signals the stop, once. Dropping it signals the stop, too.
pub(super) struct Stop(watch::Sender<bool>);

/// Receives the signal.
#[derive(Clone)]
pub(super) struct Stopping(watch::Receiver<bool>);

/// Resolves when the stop was signalled.
pub(super) type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) fn channel() -> (Stop, Stopping) {
    let (sender, receiver) = watch::channel(false);
    (Stop(sender), Stopping(receiver))
}

impl Stop {
    pub(super) fn give(&self) {
        self.0.send_replace(true);
    }
}

impl Stopping {
    /// Waits for the signal.
    pub(super) fn stopped(&self) -> Stopped {
        let mut receiver = self.0.clone();
        Box::pin(async move {
            // An error means that the sender was dropped, which signals the stop, too.
            receiver.wait_for(|given| *given).await.ok();
        })
    }
}
