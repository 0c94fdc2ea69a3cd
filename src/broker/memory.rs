//! Admission of appends. It bounds how many bytes may be under way to the journal at a time, how
//! much memory frames that are not in segments may use, and how much of the journal may be used by
//! entries that no checkpoint covers.
//!
//! Waiting requests are let in by *fair queueing*: all requests of a client form a [`Flow`], and a
//! request gets the place that it would have if all flows were served side by side, one byte of
//! each in turn. So a small request of one client does not wait for all large ones of another, and
//! the order within a flow is kept.
//!
//! Memory is freed only when records are in segments, which takes seconds if they are many. So that
//! a small request need not wait for others' memory, a flow that is over its share is passed over,
//! and the last quarter is reserved for flows that have little: the rule of
//! [`budget`](crate::budget). A flow that is over its share of the journal is passed over too.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Error,
    journal_room::{JournalRoom, Uncovered},
    keys::Room as KeyRoom,
    stages::{Stages, Watch},
};
use crate::{
    budget::{Part, open, over_share},
    storage::{format::frame::HEADER_BYTES, journal::Written, log::Charge},
    types::limits::{MAX_BYTES_UNDER_WAY, PRICE_OF_BATCH, PRICE_OF_RECORD, PRICE_OF_REQUEST},
};

/// Roughly what the broker adds to a record, in bytes: offset, version, append time.
const ADDED_TO_RECORD: usize = 20;

/// Admits appends, and counts their memory.
#[derive(Clone)]
pub(super) struct Memory(Arc<Room>);

struct Room {
    part: Arc<Part>,
    state: Mutex<State>,
}

struct State {
    journal: JournalRoom,
    /// Bytes that were admitted and are not applied yet.
    under_way: usize,
    /// The current position of all flows: the place of the request that was admitted last.
    now: u64,
    waiting: InLine,
    /// How many requests have come so far.
    count: u64,
    closed: bool,
}

/// Where a request would begin and end if all flows were served side by side, in bytes per flow.
/// The request that ends first is let in first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    end: u64,
    /// The order of arrival, which makes each place different.
    count: u64,
    start: u64,
}

/// The waiting requests.
#[derive(Default)]
struct InLine {
    /// The first request of each flow: only these can be let in.
    firsts: BTreeMap<Place, First>,
    by_flow: HashMap<usize, BTreeMap<Place, Waiting>>,
}

/// What a request costs, in bytes.
#[derive(Clone, Copy)]
struct Price {
    memory: usize,
    /// Roughly the size of its journal entry.
    journal: u64,
}

/// The first waiting request of a flow.
struct First {
    flow: Flow,
    price: Price,
}

struct Waiting {
    price: Price,
    admitted: oneshot::Sender<Admission>,
}

/// A waiting request. If it is dropped, it gives up its place.
struct InQueue {
    room: Arc<Room>,
    flow: Flow,
    place: Place,
    admitted: oneshot::Receiver<Admission>,
}

/// The appends of one client, which are admitted in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<FlowState>);

#[derive(Debug, Default)]
struct FlowState {
    /// Where its last request ends. Changed only under the lock of the room.
    end: AtomicU64,
    /// The memory that the flow uses, in bytes.
    has: AtomicUsize,
    /// What the flow uses of the journal.
    journal: Mutex<Uncovered>,
}

/// The parts of a request that cost memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) bytes: usize,
    pub(crate) batches: usize,
    pub(crate) records: usize,
}

/// Permission to append. Its memory counts as used until the frames are in segments.
pub(crate) struct Admission {
    memory: Used,
    under_way: UnderWay,
    /// Room for its keys, until the key tables have them.
    keys: Option<KeyRoom>,
}

/// Bytes on their way to the journal, until they are applied.
pub(super) struct UnderWay {
    room: Arc<Room>,
    flow: Flow,
    price: Price,
    times: Option<Times>,
    watch: Option<Watch>,
}

/// When a request reached certain points, by the environment's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// When it came.
    pub(super) asked: Duration,
    /// When it was admitted.
    pub(super) admitted: Duration,
}

/// Memory that counts as used until this is dropped.
struct Used {
    room: Arc<Room>,
    flow: Flow,
    bytes: usize,
}

impl Memory {
    /// Admission to a journal of this size.
    pub(super) fn new(part: Arc<Part>, journal_bytes: u64) -> Self {
        Self(Arc::new(Room {
            part,
            state: Mutex::new(State {
                journal: JournalRoom::new(journal_bytes),
                under_way: 0,
                now: 0,
                waiting: InLine::default(),
                count: 0,
                closed: false,
            }),
        }))
    }

    /// Waits until a request is admitted. Calls `wake` if it must wait for housekeeping.
    pub(super) async fn admit(
        &self,
        flow: &Flow,
        load: Load,
        wake: impl FnOnce(),
    ) -> Result<Admission, Error> {
        let price = load.price(open(self.0.part.bound()));
        let mut waiting = {
            let mut state = self.0.lock();
            if state.closed {
                return Err(Error::ShuttingDown);
            }
            let place = state.place(flow, price);
            if self.0.is_turn_of(&state, flow, place, price) && self.0.has_room(&state, flow, price)
            {
                return Ok(self.0.admit(&mut state, flow, place.start, price));
            }
            if self.0.is_over_share(&state, flow) {
                wake();
            }
            self.0.queue(&mut state, flow, place, price)
        };
        // The sender is dropped only when the room is closed.
        (&mut waiting.admitted)
            .await
            .map_err(|_| Error::ShuttingDown)
    }

    /// Adds what was written to the journal to the flows that wrote it. `journal_used` is how much
    /// of the journal no checkpoint covers.
    pub(super) fn note_written<'a>(
        &self,
        written: impl Iterator<Item = &'a UnderWay>,
        journal_used: u64,
    ) {
        let mut state = self.0.lock();
        state.journal.set_used(journal_used);
        for UnderWay { flow, price, .. } in written {
            state.journal.add(&mut flow.journal(), price.journal);
        }
    }

    /// Notes that a checkpoint begins.
    pub(super) fn begin_checkpoint(&self) {
        self.0.lock().journal.begin_checkpoint();
    }

    /// Notes the progress of a checkpoint: requests that wait for it may continue accordingly.
    pub(super) fn note_checkpoint_progress(&self, done: usize, all: usize) {
        self.0
            .lock()
            .journal
            .note_progress(done as u64, all.max(done + 1) as u64);
        self.0.let_in();
    }

    /// Notes that a checkpoint is written. `journal_used` is how much of the journal it does not
    /// cover.
    pub(super) fn end_checkpoint(&self, journal_used: u64) {
        self.0.lock().journal.end_checkpoint(journal_used);
        self.0.let_in();
    }

    /// Notes that a checkpoint was not written: no request waits for it any more.
    pub(super) fn fail_checkpoint(&self) {
        self.0.lock().journal.fail_checkpoint();
        self.0.let_in();
    }

    /// Whether a request waits for a checkpoint.
    pub(super) fn waits_for_checkpoint(&self) -> bool {
        let state = self.0.lock();
        let mut firsts = state.waiting.firsts.values();
        firsts.any(|first| state.is_over_journal_share(&first.flow))
    }

    /// Whether more than a quarter of the memory is used, so that frames should be moved to
    /// segments.
    pub(super) fn is_pressed(&self) -> bool {
        self.0.part.used() > self.0.part.bound() / 4
    }

    /// How much of it is used: nearly all of that is still to be written to segments.
    pub(super) fn used(&self) -> u64 {
        self.0.part.used() as u64
    }

    /// Refuses all waiting and all new requests.
    pub(super) fn close(&self) {
        let mut state = self.0.lock();
        state.closed = true;
        let refused = std::mem::take(&mut state.waiting);
        drop(state);
        drop(refused);
    }
}

impl Load {
    /// The cost of the request. `most` bounds its memory, so that it can always be admitted.
    fn price(self, most: usize) -> Price {
        let pieces = self.batches * PRICE_OF_BATCH + self.records * PRICE_OF_RECORD;
        // Half of the bytes are counted again, because they are in memory twice while the frames
        // are built.
        let memory = self.bytes + self.bytes / 2 + pieces + PRICE_OF_REQUEST;
        let added = self.batches * HEADER_BYTES + self.records * ADDED_TO_RECORD;
        Price {
            memory: memory.min(most),
            journal: (self.bytes + added) as u64,
        }
    }
}

impl Room {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(
        self: &Arc<Self>,
        state: &mut State,
        flow: &Flow,
        place: Place,
        price: Price,
    ) -> InQueue {
        let (sender, admitted) = oneshot::channel();
        let waiting = Waiting {
            price,
            admitted: sender,
        };
        state.waiting.insert(flow, place, waiting);
        InQueue {
            room: Arc::clone(self),
            flow: flow.clone(),
            place,
            admitted,
        }
    }

    /// Lets in the next requests, as long as there is room.
    fn let_in(self: &Arc<Self>) {
        loop {
            let (waiting, admission) = {
                let mut state = self.lock();
                let Some((place, First { flow, price })) = self.next(&state) else {
                    return;
                };
                let (flow, price) = (flow.clone(), *price);
                let admission = self.admit(&mut state, &flow, place.start, price);
                (state.waiting.remove(&flow, place), admission)
            };
            // Without the lock, because a request that was cancelled gives its admission back here.
            if let Some(waiting) = waiting {
                drop(waiting.admitted.send(admission));
            }
        }
    }

    /// The request to let in next: the first whose flow is not over its share. If it needs more
    /// room than there is, one of a flow that has little may go ahead of it.
    fn next<'a>(&self, state: &'a State) -> Option<(Place, &'a First)> {
        if state.under_way >= MAX_BYTES_UNDER_WAY {
            return None;
        }
        let mut is_first = true;
        for (place, first) in &state.waiting.firsts {
            let First { flow, price } = first;
            if self.is_over_share(state, flow) {
                continue;
            }
            let is_turn = is_first || self.is_little(flow, *price);
            if is_turn && self.has_room(state, flow, *price) {
                return Some((*place, first));
            }
            is_first = false;
        }
        None
    }

    /// Whether it is the turn of a request that has just come.
    fn is_turn_of(&self, state: &State, flow: &Flow, place: Place, price: Price) -> bool {
        if state.waiting.has(flow) || self.is_over_share(state, flow) {
            return false;
        }
        let mut firsts = state.waiting.firsts.iter();
        let first = firsts.find(|(_, first)| !self.is_over_share(state, &first.flow));
        self.is_little(flow, price) || first.is_none_or(|(first, _)| place < *first)
    }

    /// Whether a flow is over its share, so that its next request waits.
    fn is_over_share(&self, state: &State, flow: &Flow) -> bool {
        let part = &self.part;
        over_share(part.bound(), part.holders(), flow.has(), part.used()) > 0
            || state.is_over_journal_share(flow)
    }

    /// Whether a flow has little memory even with this request.
    fn is_little(&self, flow: &Flow, price: Price) -> bool {
        flow.has() + price.memory <= self.part.basic()
    }

    /// Whether there is room for this request. The last quarter is reserved for flows that have
    /// little. Their requests do not wait for the bytes that others have under way, because an
    /// append of many records takes a tenth of a second to prepare.
    fn has_room(&self, state: &State, flow: &Flow, price: Price) -> bool {
        let needed = self.part.used() + price.memory;
        if self.is_little(flow, price) {
            return needed <= self.part.bound();
        }
        state.under_way < MAX_BYTES_UNDER_WAY && needed <= open(self.part.bound())
    }

    fn admit(
        self: &Arc<Self>,
        state: &mut State,
        flow: &Flow,
        start: u64,
        price: Price,
    ) -> Admission {
        let bytes = price.memory;
        // This stays within the bound: the lock is held, and nobody else takes memory.
        self.part.add(bytes);
        state.under_way += bytes;
        state.now = state.now.max(start);
        flow.0.has.fetch_add(bytes, Ordering::AcqRel);
        Admission {
            memory: Used {
                room: Arc::clone(self),
                flow: flow.clone(),
                bytes,
            },
            under_way: UnderWay {
                room: Arc::clone(self),
                flow: flow.clone(),
                price,
                times: None,
                watch: None,
            },
            keys: None,
        }
    }
}

impl State {
    /// The place of a flow's next request.
    fn place(&mut self, flow: &Flow, price: Price) -> Place {
        // Relaxed is enough, because the lock is held.
        let start = self.now.max(flow.0.end.load(Ordering::Relaxed));
        let end = start + price.memory as u64;
        flow.0.end.store(end, Ordering::Relaxed);
        self.count += 1;
        Place {
            end,
            count: self.count,
            start,
        }
    }

    fn is_over_journal_share(&self, flow: &Flow) -> bool {
        self.journal.is_over_share(&flow.journal())
    }
}

impl InLine {
    fn has(&self, flow: &Flow) -> bool {
        self.by_flow.contains_key(&flow.key())
    }

    /// Adds a waiting request at the end of its flow.
    fn insert(&mut self, flow: &Flow, place: Place, waiting: Waiting) {
        let requests = self.by_flow.entry(flow.key()).or_default();
        if requests.is_empty() {
            self.firsts.insert(place, First::of(flow, &waiting));
        }
        requests.insert(place, waiting);
    }

    fn remove(&mut self, flow: &Flow, place: Place) -> Option<Waiting> {
        let requests = self.by_flow.get_mut(&flow.key())?;
        let removed = requests.remove(&place);
        self.firsts.remove(&place);
        match requests.first_key_value() {
            Some((next, waiting)) => {
                self.firsts.insert(*next, First::of(flow, waiting));
            }
            None => {
                self.by_flow.remove(&flow.key());
            }
        }
        removed
    }
}

impl First {
    fn of(flow: &Flow, waiting: &Waiting) -> Self {
        Self {
            flow: flow.clone(),
            price: waiting.price,
        }
    }
}

impl Flow {
    /// The memory that the flow uses, in bytes.
    fn has(&self) -> usize {
        self.0.has.load(Ordering::Acquire)
    }

    /// What the flow uses of the journal. Changed only under the lock of the room.
    fn journal(&self) -> MutexGuard<'_, Uncovered> {
        self.0
            .journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Identifies the flow among all that exist.
    fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Admission {
    /// Adds the room for its keys.
    pub(super) fn with(self, keys: KeyRoom) -> Self {
        Self {
            keys: Some(keys),
            ..self
        }
    }

    /// How much memory it takes, which is at least what its frames take on the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes as u64
    }

    /// Adds the times of the request.
    pub(super) fn timed(mut self, times: Times) -> Self {
        self.under_way.times = Some(times);
        self
    }

    /// Has this told when the append is visible.
    pub(crate) fn watched_by(&mut self, watch: Watch) {
        self.under_way.watch = Some(watch);
    }

    /// Whether it has the turn for appends of many records.
    pub(super) fn has_turn(&self) -> bool {
        self.keys.as_ref().is_some_and(KeyRoom::has_turn)
    }

    /// Turns the admission into a charge for the frames, which ends when none of them is in memory,
    /// and the bytes under way.
    pub(super) fn into_charge(self) -> (Charge, UnderWay) {
        (Some(Arc::new(self.memory)), self.under_way)
    }
}

impl UnderWay {
    /// The times of the request, if they were noted.
    pub(super) fn times(&self) -> Option<Times> {
        self.times
    }

    /// Tells whoever watches the append that it is visible: it was written so, and applied between
    /// these moments.
    pub(super) fn tell(&mut self, written: Written, applied: (Duration, Duration)) {
        if let (Some(times), Some(watch)) = (self.times, self.watch.take()) {
            watch(Stages::of(times, written, applied));
        }
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        let gone = self.room.lock().waiting.remove(&self.flow, self.place);
        drop(gone);
        // If it was first in line and too large, those behind it may now find room.
        self.room.let_in();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.room.lock().under_way -= self.price.memory;
        self.room.let_in();
    }
}

impl Drop for Used {
    fn drop(&mut self) {
        self.flow.0.has.fetch_sub(self.bytes, Ordering::AcqRel);
        self.room.part.subtract(self.bytes);
        self.room.let_in();
    }
}
