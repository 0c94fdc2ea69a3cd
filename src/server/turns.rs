//! Whose turn it is to do what keeps a thread: to walk many partitions, or to read files.
//!
//! Whatever does that has its thread until it is done, and there are few threads for everybody. So
//! it is done for few calls at a time. All others wait without a thread, each counted as the open
//! call that it is; one that is cancelled, or whose time is over, is gone at once.
//!
//! The order is fair among connections: a connection stands in the queue of all with as many calls
//! as may have turns at a time, and its other calls wait behind these. Administrators have turns of
//! their own.

use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Response;

use super::{
    blocking::{ShortReads, blocking},
    limits::{MIN_TURNS, RETRY_AFTER_MS, ROW_BYTES},
};
use crate::{
    broker::Error,
    budget::{Held, Holder},
};

/// The turns of all connections of a listener.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// For calls that walk many partitions, or whose answers are large.
    long: Lane,
    /// For reads that make a message, or begin. Each may take a frame of 16 MiB into memory.
    reads: Lane,
}

/// Turns for one kind of work.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    all: Arc<Semaphore>,
    /// How many a connection may have at a time.
    most_of_one: usize,
}

/// What waits of one connection for turns of a lane.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// Leave to work, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // What waits of the connection takes the place of this one behind those of others.
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// Long calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Long {
    queue: Queue,
    /// Where their answers are counted.
    memory: Holder,
}

/// A long call that has its turn, until its answer is encoded.
#[derive(Debug)]
pub(super) struct LongTurn {
    memory: Holder,
    _turn: Turn,
    _answer: Option<Held>,
}

/// Among the extensions of a response whose message is not encoded yet: what it has meanwhile.
#[derive(Clone)]
pub(super) struct Unencoded {
    _turn: Arc<LongTurn>,
}

/// How many long calls are worked on at a time: half of the processors are for everything else.
pub(super) fn long_turns() -> usize {
    (processors() / 2).max(1)
}

/// How many reads make a message at once: one on each processor, and some that wait for a disk.
pub(super) fn read_turns() -> usize {
    processors().max(MIN_TURNS)
}

fn processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            long: Lane::new(long_turns(), 1),
            reads: Lane::new(read_turns(), read_turns()),
        }
    }

    pub(super) fn of_administrators() -> Self {
        Self {
            long: Lane::new(1, 1),
            reads: Lane::new(1, 1),
        }
    }

    /// The long calls of one more connection, whose answers are counted there.
    pub(super) fn long(&self, memory: Holder) -> Long {
        let queue = self.long.queue();
        Long { queue, memory }
    }

    /// The reads of one more connection.
    pub(super) fn reads(&self) -> Queue {
        self.reads.queue()
    }
}

impl Lane {
    pub(super) fn new(turns: usize, most_of_one: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(turns)),
            most_of_one,
        }
    }

    /// That of one more connection.
    pub(super) fn queue(&self) -> Queue {
        Queue {
            own: Arc::new(Semaphore::new(self.most_of_one)),
            all: Arc::clone(&self.all),
        }
    }
}

impl Queue {
    /// A turn, if nobody waits for it.
    pub(super) fn try_turn(&self) -> Option<Turn> {
        let own = Arc::clone(&self.own).try_acquire_owned().ok()?;
        let all = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Turn {
            _all: all,
            _own: own,
        })
    }

    /// Waits for a turn.
    pub(super) async fn turn(self) -> Turn {
        let own = taken(self.own).await;
        let all = taken(self.all).await;
        Turn {
            _all: all,
            _own: own,
        }
    }

    /// Waits for a turn, and works.
    pub(super) async fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = self.next_turn().await;
        blocking(work)
    }

    /// Waits for a turn, and reads something that is small.
    pub(super) async fn read<T>(&self, reads: &ShortReads, read: impl FnOnce() -> T) -> T {
        let _turn = self.next_turn().await;
        reads.read(read)
    }

    async fn next_turn(&self) -> Turn {
        match self.try_turn() {
            Some(turn) => turn,
            None => self.clone().turn().await,
        }
    }
}

async fn taken(turns: Arc<Semaphore>) -> OwnedSemaphorePermit {
    let taken = turns.acquire_owned().await;
    taken.expect("the turns are there as long as anybody waits for one")
}

impl Long {
    /// Waits for a turn.
    pub(super) async fn turn(&self) -> LongTurn {
        LongTurn {
            memory: self.memory.clone(),
            _turn: self.queue.clone().turn().await,
            _answer: None,
        }
    }
}

impl LongTurn {
    /// Counts an answer with so many rows, before it is made.
    pub(super) fn count(&mut self, rows: usize) -> Result<(), Error> {
        let held = self.memory.take(rows * ROW_BYTES);
        self._answer = Some(held.map_err(|_| Error::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        })?);
        Ok(())
    }

    /// A response with this message. The turn lasts until it is encoded, so that few answers are in
    /// memory several times over.
    pub(super) fn respond<T>(self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        let _turn = Arc::new(self);
        response.extensions_mut().insert(Unencoded { _turn });
        response
    }
}
