//! What is said of connections that are not served: at once, and then in one line for all that
//! follow within some seconds, however many a client makes.

use std::sync::{Mutex, PoisonError};

use tracing::warn;

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    TooMany,
    NoDescriptor,
    Silent,
    Http1,
    Tls,
    Unknown,
}

/// How often something happened, said seldom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// It was said in this period already.
    said: bool,
    unsaid: u64,
}

impl Count {
    /// It has happened; returns how often that is to be said.
    pub(super) fn happened(&mut self) -> Option<u64> {
        if self.said {
            self.unsaid += 1;
            return None;
        }
        self.said = true;
        Some(1)
    }

    /// A period has passed; returns how often it is to be said that it has happened meanwhile.
    pub(super) fn period_over(&mut self) -> Option<u64> {
        let unsaid = std::mem::take(&mut self.unsaid);
        self.said = unsaid > 0;
        self.said.then_some(unsaid)
    }
}

const ALL: [Refused; 6] = [
    Refused::TooMany,
    Refused::NoDescriptor,
    Refused::Silent,
    Refused::Http1,
    Refused::Tls,
    Refused::Unknown,
];

/// Counts refused connections, and logs them.
#[derive(Debug)]
pub(super) struct Notices {
    max_connections: usize,
    /// Where the limit comes from.
    limit: &'static str,
    counts: Mutex<[Count; ALL.len()]>,
}

impl Notices {
    pub(super) fn new(max_connections: usize) -> Self {
        Self {
            max_connections,
            limit: "server.max_connections",
            counts: Mutex::default(),
        }
    }

    pub(super) fn of_administrators(max_connections: usize) -> Self {
        Self {
            limit: "on the administrators' socket",
            ..Self::new(max_connections)
        }
    }

    pub(super) fn refused(&self, why: Refused) {
        let said = self.count(why, Count::happened);
        self.say(why, said);
    }

    pub(super) fn period_over(&self) {
        for why in ALL {
            let said = self.count(why, Count::period_over);
            self.say(why, said);
        }
    }

    fn count(&self, why: Refused, step: impl FnOnce(&mut Count) -> Option<u64>) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        step(&mut counts[why as usize])
    }

    fn say(&self, why: Refused, connections: Option<u64>) {
        let Some(connections) = connections else {
            return;
        };
        match why {
            Refused::TooMany => warn!(
                connections,
                "closed: there are {} connections already, as many as there may be ({})",
                self.max_connections,
                self.limit
            ),
            Refused::NoDescriptor => warn!(
                connections,
                "closed: this process has no file descriptor left; raise the limit (ulimit -n)"
            ),
            Refused::Silent => warn!(
                connections,
                "closed: the client did not begin to speak HTTP/2 in time \
                (server.handshake_timeout)"
            ),
            Refused::Http1 => warn!(
                connections,
                "closed: the client spoke HTTP/1; this port speaks gRPC over HTTP/2"
            ),
            Refused::Tls => warn!(
                connections,
                "closed: the client spoke TLS; this port speaks gRPC over HTTP/2 without it"
            ),
            Refused::Unknown => warn!(
                connections,
                "closed: the client spoke neither HTTP nor TLS; this port speaks gRPC over HTTP/2"
            ),
        }
    }
}
