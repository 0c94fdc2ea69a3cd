//! Room for appends: how many may be under way to the journal at a time, and how much memory may be
//! used by what is not in segments yet.
//!
//! Requests that wait are let in by *fair queueing*: every client's requests form a [`Flow`],
//! and each request gets the place that it would have if all flows were served side by side, a
//! byte of each in turn. So a small request of one client does not wait for all large ones of
//! another, and within a flow the order is kept.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::oneshot;

use super::Error;
use crate::{
    budget::Part,
    storage::log::Charge,
    types::limits::{MAX_BYTES_UNDER_WAY, PRICE_OF_BATCH, PRICE_OF_RECORD, PRICE_OF_REQUEST},
};

/// Counts the memory of appends.
pub(super) struct Memory(Arc<Room>);

struct Room {
    part: Arc<Part>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Bytes that have been admitted and are not applied.
    under_way: usize,
    /// Where the flows are: the place of the request that was admitted last.
    now: u64,
    /// Those who wait.
    waiting: BTreeMap<Place, Waiting>,
    /// How many requests have come.
    count: u64,
    closed: bool,
}

/// Where a request would begin and end if all flows were served side by side, in bytes of each. The
/// one that ends first is let in first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    end: u64,
    /// Makes each different: the order in which they came.
    count: u64,
    start: u64,
}

struct Waiting {
    price: usize,
    admitted: oneshot::Sender<Admission>,
}

/// A request that waits. Dropping it gives its place up.
struct InQueue {
    room: Arc<Room>,
    place: Place,
    admitted: oneshot::Receiver<Admission>,
}

/// The appends of one client, which have their places behind each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<AtomicU64>);

/// What a request brings that takes memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) bytes: usize,
    pub(crate) batches: usize,
    pub(crate) records: usize,
}

/// Leave to append. Its bytes count as used until the frames are in segments.
pub(crate) struct Admission {
    memory: Used,
    under_way: UnderWay,
}

/// Bytes on their way to the journal, until they are applied.
pub(super) struct UnderWay {
    room: Arc<Room>,
    bytes: usize,
}

/// Memory that is used until it is dropped.
struct Used {
    room: Arc<Room>,
    bytes: usize,
}

impl Memory {
    pub(super) fn new(part: Arc<Part>) -> Self {
        Self(Arc::new(Room {
            part,
            state: Mutex::default(),
        }))
    }

    /// Waits until there is room for a request.
    pub(super) async fn admit(&self, flow: &Flow, load: Load) -> Result<Admission, Error> {
        let price = load.price().min(self.0.part.bound());
        let mut waiting = {
            let mut state = self.0.lock();
            if state.closed {
                return Err(Error::ShuttingDown);
            }
            let place = state.place(flow, price);
            if state.waiting.is_empty() && self.0.has_room(&state, price) {
                return Ok(self.0.admit(&mut state, place.start, price));
            }
            self.0.queue(&mut state, place, price)
        };
        // Without a sender there is nobody who could let it in.
        (&mut waiting.admitted)
            .await
            .map_err(|_| Error::ShuttingDown)
    }

    /// Whether so much is used that frames should be moved into segments: a quarter.
    pub(super) fn is_pressed(&self) -> bool {
        self.0.part.used() > self.0.part.bound() / 4
    }

    /// Refuses all who wait and all who come.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        let refused = std::mem::take(&mut state.waiting);
        drop(state);
        drop(refused);
    }
}

impl Load {
    /// What it costs, in bytes. Half of the bytes again: they are there twice while the frames are
    /// put together.
    fn price(self) -> usize {
        let pieces = self.batches * PRICE_OF_BATCH + self.records * PRICE_OF_RECORD;
        self.bytes + self.bytes / 2 + pieces + PRICE_OF_REQUEST
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(self: &Arc<Self>, state: &mut State, place: Place, price: usize) -> InQueue {
        let (sender, admitted) = oneshot::channel();
        let waiting = Waiting {
            price,
            admitted: sender,
        };
        state.waiting.insert(place, waiting);
        InQueue {
            room: Arc::clone(self),
            place,
            admitted,
        }
    }

    /// Lets in who is first, as long as there is room.
    fn let_in(self: &Arc<Self>) {
        loop {
            let (waiting, admission) = {
                let mut state = self.lock();
                let Some((&place, first)) = state.waiting.first_key_value() else {
                    return;
                };
                let price = first.price;
                if !self.has_room(&state, price) {
                    return;
                }
                let admission = self.admit(&mut state, place.start, price);
                (state.waiting.remove(&place), admission)
            };
            // One that does not wait any more gives back what it was given, without the lock.
            if let Some(waiting) = waiting {
                drop(waiting.admitted.send(admission));
            }
        }
    }

    /// Whether there is room for one more; then its memory is taken.
    fn has_room(&self, state: &State, price: usize) -> bool {
        state.under_way < MAX_BYTES_UNDER_WAY && self.part.add_within_bound(price)
    }

    fn admit(self: &Arc<Self>, state: &mut State, start: u64, bytes: usize) -> Admission {
        state.under_way += bytes;
        state.now = state.now.max(start);
        Admission {
            memory: Used {
                room: Arc::clone(self),
                bytes,
            },
            under_way: UnderWay {
                room: Arc::clone(self),
                bytes,
            },
        }
    }
}

impl State {
    /// The place of a flow's next request.
    fn place(&mut self, flow: &Flow, price: usize) -> Place {
        // The lock is held: nobody else changes it.
        let start = self.now.max(flow.0.load(Ordering::Relaxed));
        let end = start + price as u64;
        flow.0.store(end, Ordering::Relaxed);
        self.count += 1;
        Place {
            end,
            count: self.count,
            start,
        }
    }
}

impl Admission {
    /// Makes the frames of the request pay for the memory, as long as one of them is there.
    pub(super) fn into_charge(self) -> (Charge, UnderWay) {
        (Some(Arc::new(self.memory)), self.under_way)
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        self.room.lock().waiting.remove(&self.place);
        // It may have been first, and too large for what those behind it find room in.
        self.room.let_in();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.room.lock().under_way -= self.bytes;
        self.room.let_in();
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.room.part.subtract(self.bytes);
        self.room.let_in();
    }
}
