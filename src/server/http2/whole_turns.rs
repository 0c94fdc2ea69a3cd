//! The order in which busy connections have their turns.
//!
//! A runtime polls its tasks in the order in which they were woken. A connection with many calls
//! uses up each of its turns, which lasts up to a millisecond, and is woken again at once. Behind
//! forty of these, a client with one call would wait for tens of milliseconds, each time its call
//! makes progress. So connections that use up their turns stand in a line of their own, and few of
//! them at a time are among the tasks that the runtime is to poll. All other connections go ahead
//! of that line.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

/// The line of a listener's busy connections.
#[derive(Clone, Debug)]
pub(in crate::server) struct WholeTurns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many connections may have a turn at a time.
    turns: usize,
    /// How many connections are busy. As long as they are no more than the turns, none waits.
    busy: AtomicUsize,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    /// How many more connections may be called. Not 0 only if none waits.
    free: usize,
    /// The connections that wait, by their tickets, in order.
    waiting: VecDeque<(u64, Waker)>,
    next_ticket: u64,
}

/// A connection's place in the line.
#[derive(Debug)]
pub(in crate::server) struct Standing {
    shared: Arc<Shared>,
    is_busy: bool,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// It is not in the line.
    Away,
    /// It waits with this ticket, or was called if the ticket is not in the line any more.
    Waiting(u64),
    /// It was called.
    Called,
}

impl WholeTurns {
    /// A line of which this many connections may have a turn at a time.
    pub(in crate::server) fn new(turns: usize) -> Self {
        Self(Arc::new(Shared {
            turns,
            busy: AtomicUsize::new(0),
            line: Mutex::new(Line {
                free: turns,
                waiting: VecDeque::new(),
                next_ticket: 0,
            }),
        }))
    }

    /// The place of a new connection.
    pub(in crate::server) fn standing(&self) -> Standing {
        Standing {
            shared: Arc::clone(&self.0),
            is_busy: false,
            place: Place::Away,
        }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the next connection in the place of one whose turn has ended.
    fn call_next(&self) {
        let mut line = self.line();
        let next = line.waiting.pop_front();
        line.free += usize::from(next.is_none());
        drop(line);
        if let Some((_, next)) = next {
            next.wake();
        }
    }
}

impl Standing {
    /// Ready when the connection may take a turn, which lasts until [`end`](Self::end).
    pub(in crate::server) fn poll_turn(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.place == Place::Called {
            return Poll::Ready(());
        }
        let is_crowded = self.shared.busy.load(Relaxed) > self.shared.turns;
        if self.place == Place::Away && !(self.is_busy && is_crowded) {
            return Poll::Ready(());
        }
        let mut line = self.shared.line();
        match self.place {
            Place::Waiting(ticket) => {
                if let Some(at) = line.find(ticket) {
                    line.waiting[at].1.clone_from(cx.waker());
                    return Poll::Pending;
                }
            }
            _ if line.free > 0 => line.free -= 1,
            _ => {
                let ticket = line.next_ticket;
                line.next_ticket += 1;
                line.waiting.push_back((ticket, cx.waker().clone()));
                self.place = Place::Waiting(ticket);
                return Poll::Pending;
            }
        }
        drop(line);
        // The runtime polls a task at once that another one has woken, ahead of all others; but one
        // that has woken itself behind all others.
        self.place = Place::Called;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ends a turn. `is_busy` is whether the connection has used it up.
    pub(in crate::server) fn end(&mut self, is_busy: bool) {
        if self.is_busy != is_busy {
            self.is_busy = is_busy;
            match is_busy {
                true => self.shared.busy.fetch_add(1, Relaxed),
                false => self.shared.busy.fetch_sub(1, Relaxed),
            };
        }
        if self.place == Place::Called {
            self.place = Place::Away;
            self.shared.call_next();
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        if let Place::Waiting(ticket) = self.place {
            let mut line = self.shared.line();
            self.place = match line.find(ticket) {
                Some(at) => {
                    line.waiting.remove(at);
                    Place::Away
                }
                None => Place::Called,
            };
        }
        self.end(false);
    }
}

impl Line {
    /// Where a ticket is in the line.
    fn find(&self, ticket: u64) -> Option<usize> {
        self.waiting
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()
    }
}
