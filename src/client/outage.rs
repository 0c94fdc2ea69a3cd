//! What a producer, a member and a read tell their program of the broker that they have lost.

use std::{fmt, sync::Arc};

use super::Error;

/// A producer, a member or a read cannot go on with its broker for now, or can again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outage {
    /// The broker is away, or takes nothing for now, as with a full disk. It is tried again, for as
    /// long as was asked for.
    Began {
        /// Why.
        cause: Error,
    },
    /// The broker is there again, and it goes on.
    Ended,
}

type Listener = Arc<dyn Fn(Outage) + Send + Sync>;

/// Tells of outages: each one once when it begins and once when it ends.
#[derive(Clone, Default)]
pub(super) struct Outages {
    listener: Option<Listener>,
    is_on: bool,
}

impl Outages {
    pub(super) fn told_to(listener: impl Fn(Outage) + Send + Sync + 'static) -> Self {
        Self {
            listener: Some(Arc::new(listener)),
            is_on: false,
        }
    }

    /// An overload is none: it passes in a moment.
    pub(super) fn begin(&mut self, cause: &Error) {
        if !self.is_on && cause.reason() != Some("OVERLOADED") {
            self.is_on = true;
            let cause = cause.clone();
            self.tell(Outage::Began { cause });
        }
    }

    pub(super) fn end(&mut self) {
        if self.is_on {
            self.is_on = false;
            self.tell(Outage::Ended);
        }
    }

    fn tell(&self, outage: Outage) {
        if let Some(listener) = &self.listener {
            listener(outage);
        }
    }
}

impl fmt::Debug for Outages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Outages");
        debug.field("is_on", &self.is_on).finish_non_exhaustive()
    }
}
