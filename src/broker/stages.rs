//! When an append reached the stages of its way, for whoever follows single ones.

use std::time::Duration;

use super::memory::Times;
use crate::storage::journal::Written;

/// Called once an append is durable and visible, on the journal thread: it must not wait. It is
/// dropped if the append is refused, or its outcome is unknown.
pub(crate) type Watch = Box<dyn FnOnce(Stages) + Send>;

/// When an append reached each stage, by the environment's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stages {
    /// Its request was there.
    pub(crate) asked: Duration,
    /// There was room for it, and it was its turn.
    pub(crate) admitted: Duration,
    /// The journal began to write it, with others.
    pub(crate) taken: Duration,
    pub(crate) written: Duration,
    /// The journal was synced.
    pub(crate) synced: Duration,
    /// What the write made durable began to be made visible.
    pub(crate) applying: Duration,
    pub(crate) visible: Duration,
}

impl Stages {
    pub(super) fn of(
        times: Times,
        write: Written,
        (applying, visible): (Duration, Duration),
    ) -> Self {
        let written = write.begun + write.write;
        Self {
            asked: times.asked,
            admitted: times.admitted,
            taken: write.begun,
            written,
            synced: written + write.sync.unwrap_or_default(),
            applying,
            visible,
        }
    }
}
