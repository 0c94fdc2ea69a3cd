//! How everything that waits learns that it should end.

use std::{future::Future, pin::Pin};

use tokio::sync::watch;

/// Gives the word, once. Dropping it gives the word too.
pub(super) struct Stop(watch::Sender<bool>);

/// Hears the word.
#[derive(Clone)]
pub(super) struct Stopping(watch::Receiver<bool>);

/// Resolves when the word has been given.
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
    /// Waits for the word.
    pub(super) fn stopped(&self) -> Stopped {
        let mut receiver = self.0.clone();
        Box::pin(async move {
            // An error means that the sender is gone, which is the word as well.
            receiver.wait_for(|given| *given).await.ok();
        })
    }
}
