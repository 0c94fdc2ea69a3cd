//! How much a client may send ahead: HTTP/2's window of the connection, and half of that for each
//! stream, so that one call whose requests are not taken does not hold up the others.
//!
//! A connection begins with HTTP/2's initial window. A client that uses up its window within a
//! second gets twice as much, within its share of the memory for windows. One that takes longer, or
//! has more than its share because clients have joined, gets half as much. A window that was
//! granted cannot be taken back; it is only not granted again once used. So the difference counts
//! until that much has been used.
//!
//! In this way windows use what the largest number of connections would leave, and never the memory
//! of connections that have yet to come.

use std::{sync::Arc, time::Duration};

use crate::{
    budget::{Held, Holder, Part},
    server::limits::{FIRST_WINDOW_BYTES, MAX_WINDOW_BYTES},
};

/// A client that uses up its window within this time could use a larger one.
const QUICK: Duration = Duration::from_secs(1);

/// A client that takes longer than this to use up its window does not need one that large.
const SLOW: Duration = Duration::from_secs(4);

/// The memory that is left for windows to grow, if connections keep this much of it.
pub(in crate::server) fn growth(windows: &Arc<Part>, kept: usize) -> Arc<Part> {
    Arc::new(windows.within(windows.bound().saturating_sub(kept)))
}

/// The window of a connection.
pub(in crate::server) struct Window {
    holder: Holder,
    /// The memory beyond the first window.
    held: Option<Held>,
    bytes: usize,
    /// How many bytes have come in since `since`.
    came: usize,
    since: Duration,
    /// Set while the window shrinks: the difference counts until this many bytes were taken.
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

    /// The most bytes that the client may have sent without a call having taken them.
    pub(in crate::server) fn granted(&self) -> usize {
        FIRST_WINDOW_BYTES + self.held.as_ref().map_or(0, Held::bytes)
    }

    /// Updates the window: this many more bytes have come in, and calls have taken `taken` bytes in
    /// all. Returns whether the window has changed.
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

    /// Whether this window has more than its share, because other connections have come.
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
