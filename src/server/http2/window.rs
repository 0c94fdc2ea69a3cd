//! How much a client may send ahead: HTTP/2's window of its connection, and half of that for each
//! stream, so that one call whose requests are not taken does not hold up the others.
//!
//! A connection begins with the window that HTTP/2 gives it. A client that uses up its window
//! within a second gets twice as much, as far as its share of all windows goes; one that takes
//! longer, or has more than its share because there are more clients by now, gets half as much.
//! What a client was granted cannot be taken back: it is not granted again when it is used. So the
//! rest counts until that much has been used.
//!
//! So windows grow into what all connections that there may be leave, and never into the room of
//! those that have yet to come.

use std::{sync::Arc, time::Duration};

use crate::{
    budget::{Held, Holder, Part},
    server::limits::{FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES},
};

/// A client that uses up its window within this time could use a larger one.
const QUICK: Duration = Duration::from_secs(1);

/// A client that takes longer than this for it has no use for so large a one.
const SLOW: Duration = Duration::from_secs(4);

/// What is left of the memory of windows for those that grow, where connections keep so much of it.
pub(in crate::server) fn growth(windows: &Arc<Part>, kept: usize) -> Arc<Part> {
    Arc::new(windows.within(windows.bound().saturating_sub(kept)))
}

/// The window of a connection.
pub(in crate::server) struct Window {
    holder: Holder,
    /// What is granted beyond the first window.
    held: Option<Held>,
    bytes: usize,
    /// How much has come in since when.
    came: usize,
    since: Duration,
    /// The window has become smaller, and the rest counts until so many bytes were taken.
    shrinks_at: Option<u64>,
}

impl Window {
    pub(in crate::server) fn new(holder: Holder, now: Duration) -> Self {
        Self {
            holder,
            held: None,
            bytes: FIRST_WINDOW_BYTES,
            came: 0,
            since: now,
            shrinks_at: None,
        }
    }

    pub(in crate::server) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The most that the client may have sent and nobody taken.
    pub(in crate::server) fn granted(&self) -> usize {
        FIRST_WINDOW_BYTES + self.held.as_ref().map_or(0, Held::bytes)
    }

    /// More has come in, and calls have taken so many bytes by now. Returns whether the window is
    /// another one from here on.
    pub(in crate::server) fn came(&mut self, bytes: usize, taken: u64, now: Duration) -> bool {
        if self.shrinks_at.is_some_and(|at| at <= taken) {
            self.shrinks_at = None;
            self.count();
        }
        self.came += bytes;
        if self.came < self.bytes {
            return false;
        }
        let (before, time) = (self.bytes, now - self.since);
        if self.shrinks_at.is_none() {
            if time > SLOW || self.is_beyond_share() {
                self.shrink(taken);
            } else if time <= QUICK {
                self.grow();
            }
        }
        self.came = 0;
        self.since = now;
        self.bytes != before
    }

    /// Whether other connections have come, and less is left for each than this one has.
    fn is_beyond_share(&self) -> bool {
        self.held.is_some() && self.holder.take(0).is_err()
    }

    fn grow(&mut self) {
        let bytes = (2 * self.bytes).min(MAX_WINDOW_BYTES);
        let more = bytes - self.bytes;
        let granted = match &mut self.held {
            Some(held) => held.grow(more),
            None => self.holder.take(more).map(|held| self.held = Some(held)),
        };
        if granted.is_ok() {
            self.bytes = bytes;
        }
    }

    fn shrink(&mut self, taken: u64) {
        let bytes = (self.bytes / 2).max(FIRST_WINDOW_BYTES);
        let less = self.bytes - bytes;
        self.bytes = bytes;
        if less > 0 {
            self.shrinks_at = Some(taken + less as u64);
        }
    }

    /// Counts no more than the window has.
    fn count(&mut self) {
        if let Some(held) = &mut self.held {
            held.shrink_to(self.bytes - FIRST_WINDOW_BYTES);
        }
    }
}
