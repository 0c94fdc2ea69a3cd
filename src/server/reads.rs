//! The memory of reads, and which reads give way when it is short.
//!
//! A read counts what it always needs, and what is on its way to its client. These have separate
//! shares: however many reads a connection has, there is room for what its client takes. Until the
//! client has shown that it reads, by taking more than its socket holds, little is sent ahead, and
//! all such clients together have a bound for what is ready. A client that takes nothing for a
//! moment costs one piece of a message (`http2/message.rs`). If memory is short, it does not even
//! cost that: what it has not taken is read again from the log when it continues. So a read may
//! stall for as long as it likes, unless a new read finds no room for what it always needs: then
//! the read that has stalled for longest is ended, and told where to continue.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use super::{
    limits::{READ_BYTES, RETRY_AFTER_MS},
    notices::{Notice, Notices},
    tally::{Counted, Tally},
    turns::ReadTurns,
};
use crate::{
    broker::Error,
    budget::{Held, Holder, Part},
    metrics::Counter,
};

/// The reads of all connections.
#[derive(Clone)]
pub(super) struct Reads(Arc<Shared>);

struct Shared {
    /// The memory that all reads may always need together: half of their memory, so that the other
    /// half is left for what is on its way.
    places: Arc<Part>,
    /// The memory for what is ready for clients that have not shown that they read.
    ahead: Arc<Part>,
    notices: Arc<Notices>,
    counted: ReadCounts,
    /// How long a read must have stalled before it may be ended.
    patience: Duration,
    stalled: Mutex<Stalled>,
}

/// Counts of reads.
#[derive(Debug, Default)]
pub(super) struct ReadCounts {
    /// Reads that have begun.
    pub(super) begun: Counter,
    /// Reads that have not ended.
    pub(super) open: Arc<Tally>,
    /// Bytes of messages that were made for clients.
    pub(super) bytes: Counter,
}

/// A connection's share of the memory of reads, and of their turns.
#[derive(Clone, Debug)]
pub(super) struct Shares {
    /// What is on its way to the client.
    pub(super) pieces: Holder,
    /// What its reads always need.
    pub(super) always: Holder,
    /// Its share of the memory that all reads may always need together.
    pub(super) places: Holder,
    /// Its share of what is ready for clients that have not shown that they read.
    pub(super) ahead: Holder,
    /// The queues for a turn, which a read needs to begin and to make a message, perhaps from
    /// files.
    pub(super) turns: ReadTurns,
}

/// The memory in which a read is counted.
pub(super) struct Admitted {
    /// What it always needs, in bytes.
    pub(super) always: usize,
    _counted: Counted,
    _held: Held,
    _place: Held,
}

/// The reads whose clients take nothing.
#[derive(Default)]
struct Stalled {
    next: u64,
    /// Reads that hold something in memory which can be read again.
    holding: BTreeMap<u64, Arc<Told>>,
    /// Reads that may be ended, the longest stalled first, each with the holder of its place.
    ripe: BTreeMap<u64, (Holder, Arc<Told>)>,
}

/// What a stalled read has been asked, and the task to wake.
#[derive(Default)]
struct Told(Mutex<(Option<Tell>, Option<Waker>)>);

/// What a stalled read is asked to do for other reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tell {
    /// Free everything that can be read again.
    LetGo,
    /// End.
    End,
}

/// A stalled read, until it is dropped.
pub(super) struct Place {
    reads: Reads,
    number: u64,
    ripe: Option<u64>,
    told: Arc<Told>,
}

impl Reads {
    pub(super) fn new(part: &Part, notices: Arc<Notices>, patience: Duration) -> Self {
        Self(Arc::new(Shared {
            places: Arc::new(part.of_it(part.bound() / 2).for_holders(part.holders() / 2)),
            ahead: Arc::new(part.of_it(part.bound() / 8)),
            notices,
            counted: ReadCounts::default(),
            patience,
            stalled: Mutex::default(),
        }))
    }

    /// The counts of reads.
    pub(super) fn counted(&self) -> &ReadCounts {
        &self.0.counted
    }

    /// The shares of a new connection, which has these for what is on its way and for its turns.
    pub(super) fn shares(&self, pieces: Holder, turns: ReadTurns) -> Shares {
        Shares {
            turns,
            always: pieces.part().holder(),
            pieces,
            places: self.0.places.holder(),
            ahead: self.0.ahead.holder(),
        }
    }

    /// Counts a new read, with what its reader always needs. If there is no room, stalled reads are
    /// asked to make some for the next attempt.
    pub(super) fn admit(&self, shares: &Shares, reader_bytes: usize) -> Result<Admitted, Error> {
        let always = READ_BYTES + reader_bytes;
        let overloaded = || Error::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        };
        let Ok(place) = shares.places.take(always) else {
            let of_all = shares.places.part().free_of_open() < always;
            self.end_longest_stalled(&shares.places, of_all);
            return Err(overloaded());
        };
        let Ok(held) = shares.always.take_beyond_share(always) else {
            if !self.let_go() {
                self.end_longest_stalled(&shares.places, true);
            }
            return Err(overloaded());
        };
        let counted = &self.0.counted;
        counted.begun.add(1);
        Ok(Admitted {
            always,
            _counted: counted.open.count(),
            _held: held,
            _place: place,
        })
    }

    /// Makes stalled reads free what can be read again. Returns false if there is nothing.
    pub(super) fn let_go(&self) -> bool {
        let holding = std::mem::take(&mut self.stalled().holding);
        for told in holding.values() {
            told.tell(Tell::LetGo);
        }
        !holding.is_empty()
    }

    /// Ends the read that has stalled for longest, of all reads or only of the holder's, if it may
    /// be ended.
    pub(super) fn end_longest_stalled(&self, holder: &Holder, of_all: bool) {
        let mut stalled = self.stalled();
        let mut ripe = stalled.ripe.iter();
        let longest = ripe.find(|(_, (whose, _))| of_all || whose.is_same(holder));
        if let Some(number) = longest.map(|(number, _)| *number)
            && let Some((_, told)) = stalled.ripe.remove(&number)
        {
            told.tell(Tell::End);
            self.0.notices.happened(Notice::StalledReadEnded);
        }
    }

    /// Registers a read that has stalled and holds something that can be read again.
    pub(super) fn stall(&self) -> Place {
        let mut stalled = self.stalled();
        stalled.next += 1;
        let (number, told) = (stalled.next, Arc::<Told>::default());
        stalled.holding.insert(number, Arc::clone(&told));
        Place {
            reads: self.clone(),
            number,
            ripe: None,
            told,
        }
    }

    /// How long a read must have stalled before it may be ended.
    pub(super) fn patience(&self) -> Duration {
        self.0.patience
    }

    fn stalled(&self) -> MutexGuard<'_, Stalled> {
        self.0
            .stalled
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn tell(&self, what: Tell) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.0 = Some(what);
        if let Some(waker) = told.1.take() {
            waker.wake();
        }
    }
}

impl Place {
    /// Ready with what the read is asked to do.
    pub(super) fn poll_told(&self, cx: &mut Context<'_>) -> Poll<Tell> {
        let mut told = self.told.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(what) = told.0.take() {
            return Poll::Ready(what);
        }
        told.1 = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Registers that the read has stalled for so long that it may be ended.
    pub(super) fn ripen(&mut self, holder: &Holder) {
        let mut stalled = self.reads.stalled();
        stalled.next += 1;
        let number = stalled.next;
        let told = Arc::clone(&self.told);
        stalled.ripe.insert(number, (holder.clone(), told));
        self.ripe = Some(number);
    }

    /// Registers that its client has taken something, if only a little.
    pub(super) fn unripen(&mut self) {
        if let Some(ripe) = self.ripe.take() {
            self.reads.stalled().ripe.remove(&ripe);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unripen();
        self.reads.stalled().holding.remove(&self.number);
    }
}
