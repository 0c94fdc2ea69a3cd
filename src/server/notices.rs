//! Log messages about clients that are refused or cut off: the first at once, and then one line for
//! all that follow within a minute, however many there are.

use std::{
    fmt::Display,
    sync::{Mutex, PoisonError},
};

use tracing::warn;

/// An event that clients can cause as often as they like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// A connection was closed because there are too many.
    TooManyConnections,
    /// An idle connection was closed for another one.
    IdleConnectionClosed,
    /// A connection could not be accepted.
    AcceptFailed,
    NoDescriptor,
    /// A connection did not finish its handshake in time.
    HandshakeTooSlow,
    Http1,
    /// A client spoke TLS to a port without TLS.
    Tls,
    /// A client spoke no TLS to a port with TLS.
    NoTls,
    /// Client and broker did not agree on TLS, or a certificate was refused.
    TlsFailed,
    UnknownProtocol,
    /// A connection was ended because it reset too many calls.
    ResetFlood,
    /// A connection was ended because it sent too many empty frames.
    FrameFlood,
    /// A connection was ended because it sent headers far above the limit.
    HeaderFlood,
    /// A connection was ended because it made too many mistakes with its calls.
    MistakeFlood,
    /// A connection has broken the rules of HTTP/2.
    ProtocolError,
    /// A call was refused because too many are open.
    CallRefused,
    /// A read was ended whose client did not take its responses.
    StalledReadEnded,
    /// A response was ended whose client did not take it.
    AnswerStalled,
    /// A request was refused because too many come in.
    RequestRefused,
    /// A request did not come in time.
    RequestStalled,
    /// A producer was refused because there are too many.
    ProducerRefused,
    /// A call was refused because of its token.
    Unauthenticated,
}

const ALL: [Notice; 22] = [
    Notice::TooManyConnections,
    Notice::IdleConnectionClosed,
    Notice::AcceptFailed,
    Notice::NoDescriptor,
    Notice::HandshakeTooSlow,
    Notice::Http1,
    Notice::Tls,
    Notice::NoTls,
    Notice::TlsFailed,
    Notice::UnknownProtocol,
    Notice::ResetFlood,
    Notice::FrameFlood,
    Notice::HeaderFlood,
    Notice::MistakeFlood,
    Notice::ProtocolError,
    Notice::CallRefused,
    Notice::StalledReadEnded,
    Notice::AnswerStalled,
    Notice::RequestRefused,
    Notice::RequestStalled,
    Notice::ProducerRefused,
    Notice::Unauthenticated,
];

impl Notice {
    const fn text(self) -> &'static str {
        match self {
            Self::TooManyConnections => {
                "connections closed: there are as many already as there may be \
                (server.max_connections; 16 administrators; 16 over plain HTTP)"
            }
            Self::IdleConnectionClosed => {
                "idle connections closed: others needed their places (server.max_connections)"
            }
            Self::AcceptFailed => "connections could not be accepted; it is tried again",
            Self::NoDescriptor => {
                "connections closed: this process has no file descriptor left; raise the limit \
                (ulimit -n)"
            }
            Self::HandshakeTooSlow => {
                "connections closed: their clients did not finish HTTP/2's handshake in time \
                (server.handshake_timeout)"
            }
            Self::Http1 => {
                "connections closed: their clients spoke HTTP/1; this port speaks gRPC over HTTP/2"
            }
            Self::Tls => {
                "connections closed: their clients spoke TLS, as an https:// URL makes them; this \
                port has none (tls.certificate), and takes http:// URLs"
            }
            Self::NoTls => {
                "connections closed: their clients spoke no TLS, as an http:// URL makes them; \
                this \
                port speaks nothing else (tls.certificate), and takes https:// URLs"
            }
            Self::TlsFailed => {
                "connections closed: the handshake of TLS has failed; the client does not trust \
                this broker's certificate, or has none that is taken (tls.client_ca)"
            }
            Self::UnknownProtocol => {
                "connections closed: their clients spoke neither HTTP nor TLS; this port speaks \
                gRPC over HTTP/2"
            }
            Self::ResetFlood => {
                "connections closed: their clients cancelled calls faster than they can be served"
            }
            Self::FrameFlood => {
                "connections closed: their clients sent too many frames of data with nothing in \
                them, or next to nothing"
            }
            Self::HeaderFlood => {
                "connections closed: the headers of their clients' calls were too large, or in too \
                many pieces"
            }
            Self::MistakeFlood => {
                "connections closed: their clients went on sending for calls that had ended, or \
                broke the rules of HTTP/2 in too many calls"
            }
            Self::ProtocolError => "connections closed: their clients broke the rules of HTTP/2",
            Self::CallRefused => {
                "calls refused: as many are open as the memory for them allows \
                (memory.calls_bytes)"
            }
            Self::StalledReadEnded => {
                "reads ended: their clients had not taken what they were sent for long \
                (reads.stalled), and others needed the memory (memory.reads_bytes)"
            }
            Self::AnswerStalled => {
                "answers ended: their clients had taken nothing of them for long (reads.stalled)"
            }
            Self::RequestRefused => {
                "requests refused: as many come in as the memory for them allows \
                (memory.requests_bytes)"
            }
            Self::RequestStalled => {
                "requests refused: the rest of them did not come in time (server.request_timeout)"
            }
            Self::ProducerRefused => {
                "producers refused: there are as many as there may be, and none that is idle"
            }
            Self::Unauthenticated => {
                "calls refused: their tokens are malformed, unknown, revoked, expired or not for \
                this broker"
            }
        }
    }
}

/// How often an event has happened, logged seldom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// Whether it was logged in this period already.
    said: bool,
    unsaid: u64,
}

impl Count {
    /// Counts the event; returns the number to log, if it is to be logged now.
    pub(super) fn happened(&mut self) -> Option<u64> {
        if self.said {
            self.unsaid += 1;
            return None;
        }
        self.said = true;
        Some(1)
    }

    /// Ends a period; returns how often the event has happened since it was logged, if it has.
    pub(super) fn period_over(&mut self) -> Option<u64> {
        let unsaid = std::mem::take(&mut self.unsaid);
        self.said = unsaid > 0;
        self.said.then_some(unsaid)
    }
}

/// Counts events that clients cause, and logs them.
#[derive(Debug, Default)]
pub(super) struct Notices {
    counts: Mutex<[Count; ALL.len()]>,
}

impl Notices {
    /// Counts an event.
    pub(super) fn happened(&self, notice: Notice) {
        if let Some(count) = self.count(notice, Count::happened) {
            warn!(count, "{}", notice.text());
        }
    }

    /// Whether an event was logged, in this period or the one before.
    #[allow(dead_code, reason = "tests ask for it")]
    pub(super) fn has_said(&self, notice: Notice) -> bool {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts[notice as usize].said
    }

    /// Counts an event with its cause, which is logged if the event is the first in a while.
    pub(super) fn happened_by(&self, notice: Notice, cause: &dyn Display) {
        if let Some(count) = self.count(notice, Count::happened) {
            warn!(count, %cause, "{}", notice.text());
        }
    }

    /// Logs the events since the last log messages. Must be called once in each period.
    pub(super) fn period_over(&self) {
        for notice in ALL {
            if let Some(count) = self.count(notice, Count::period_over) {
                warn!(count, "{}", notice.text());
            }
        }
    }

    fn count(&self, notice: Notice, step: impl FnOnce(&mut Count) -> Option<u64>) -> Option<u64> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        step(&mut counts[notice as usize])
    }
}
