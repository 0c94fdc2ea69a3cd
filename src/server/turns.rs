//! Turns for work that keeps a thread: walking many partitions, or reading files.
//!
//! Such work keeps its thread until it is done, and there are few threads. So it is done for few
//! calls at a time. All others wait without a thread, counted as open calls; a call that is
//! cancelled or out of time leaves at once.
//!
//! The order is fair among connections: each connection has at most as many calls in the common
//! queue as may have turns at a time, and its other calls wait behind these. Administrators have
//! their own turns.

use std::{num::NonZero, sync::Arc, thread::available_parallelism};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Response;

use super::{
    blocking::{ShortReads, blocking},
    http2::whole_turns::WholeTurns,
    limits::{MIN_TURNS, RETRY_AFTER_MS, ROW_BYTES},
};
use crate::{
    broker::Error,
    budget::{Held, Holder},
};

/// The turns of all connections of a listener.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    /// For calls that walk many partitions, or whose responses are large.
    long: Lane,
    /// For reads that begin, and what else looks up one entity. None waits for the messages of
    /// others, each of which may take hundreds of times as long.
    beginnings: Lane,
    /// For reads that make a message. Each may take a frame of 16 MiB into memory.
    messages: Lane,
    /// For connections that use up their turns.
    pub(super) whole: WholeTurns,
}

/// Turns for one kind of work.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    all: Arc<Semaphore>,
    /// How many turns a connection may have at a time.
    most_of_one: usize,
}

/// The queue of one connection for the turns of a lane.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    own: Arc<Semaphore>,
    all: Arc<Semaphore>,
}

/// The queues of one connection for the turns of its reads.
#[derive(Clone, Debug)]
pub(super) struct ReadTurns {
    /// For a turn to begin a read.
    pub(super) begin: Queue,
    /// For a turn to make a message.
    pub(super) message: Queue,
}

/// Permission to work, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    // Dropped first, so that the connection's next call queues behind those of other connections.
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// The long calls of a connection.
#[derive(Clone, Debug)]
pub(super) struct Long {
    queue: Queue,
    /// The memory in which their responses are counted.
    memory: Holder,
}

/// A long call that has its turn, until its response is encoded.
#[derive(Debug)]
pub(super) struct LongTurn {
    memory: Holder,
    _turn: Turn,
    _answer: Option<Held>,
}

/// The turn and memory of a response whose message is not encoded yet, kept among the response's
/// extensions.
#[derive(Clone)]
pub(super) struct Unencoded {
    _turn: Arc<LongTurn>,
}

/// How many long calls may work at a time: half of the processors are left for everything else.
pub(super) fn long_turns() -> usize {
    (processors() / 2).max(1)
}

/// How many reads may begin at a time, and how many may make a message: one for each processor, and
/// at least [`MIN_TURNS`], as a read may wait for a disk.
pub(super) fn read_turns() -> usize {
    processors().max(MIN_TURNS)
}

/// How many connections that use up their turns may be called at a time.
pub(super) fn whole_turns() -> usize {
    processors()
}

fn processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

impl Lanes {
    pub(super) fn new() -> Self {
        Self {
            long: Lane::new(long_turns(), 1),
            beginnings: Lane::new(read_turns(), read_turns()),
            messages: Lane::new(read_turns(), read_turns()),
            whole: WholeTurns::new(whole_turns()),
        }
    }

    pub(super) fn of_administrators() -> Self {
        Self {
            long: Lane::new(1, 1),
            beginnings: Lane::new(1, 1),
            messages: Lane::new(1, 1),
            whole: WholeTurns::new(1),
        }
    }

    /// The long calls of a new connection, whose responses are counted in this memory.
    pub(super) fn long(&self, memory: Holder) -> Long {
        let queue = self.long.queue();
        Long { queue, memory }
    }

    /// The queues for the reads of a new connection.
    pub(super) fn reads(&self) -> ReadTurns {
        ReadTurns {
            begin: self.beginnings.queue(),
            message: self.messages.queue(),
        }
    }
}

impl Lane {
    pub(super) fn new(turns: usize, most_of_one: usize) -> Self {
        Self {
            all: Arc::new(Semaphore::new(turns)),
            most_of_one,
        }
    }

    /// The queue of a new connection.
    pub(super) fn queue(&self) -> Queue {
        Queue {
            own: Arc::new(Semaphore::new(self.most_of_one)),
            all: Arc::clone(&self.all),
        }
    }
}

impl Queue {
    /// A turn, if no call waits for one.
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

    /// Waits for a turn, then does the work.
    pub(super) async fn work<T>(&self, work: impl FnOnce() -> T) -> T {
        let _turn = self.next_turn().await;
        blocking(work)
    }

    /// Waits for a turn, then reads something small.
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
    /// Counts a response with this many rows, before it is made.
    pub(super) fn count(&mut self, rows: usize) -> Result<(), Error> {
        let held = self.memory.take(rows * ROW_BYTES);
        self._answer = Some(held.map_err(|_| Error::Overloaded {
            retry_after_ms: RETRY_AFTER_MS,
        })?);
        Ok(())
    }

    /// A response with this message. The turn lasts until the message is encoded, so that few
    /// responses are in memory twice.
    pub(super) fn respond<T>(self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        let _turn = Arc::new(self);
        response.extensions_mut().insert(Unencoded { _turn });
        response
    }
}
