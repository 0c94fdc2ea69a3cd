//! Room for appends: how many may be under way to the journal at a time, how much memory may be
//! used by what is not in segments yet, and how much of the journal by what no checkpoint covers.
//!
//! Requests that wait are let in by *fair queueing*: every client's requests form a [`Flow`],
//! and each request gets the place that it would have if all flows were served side by side, a
//! byte of each in turn. So a small request of one client does not wait for all large ones of
//! another, and within a flow the order is kept.
//!
//! Memory comes free only when segments have the records, which takes seconds where they are many.
//! So that a small request does not wait for that because others have all of it, a flow is passed
//! over while it has more than its share, and the last quarter is kept for flows that have little:
//! the rule of [`budget`](crate::budget). So it is while it has more than its share of the journal.

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
};
use crate::{
    budget::{Part, open, over_share},
    storage::{format::frame::HEADER_BYTES, log::Charge},
    types::limits::{MAX_BYTES_UNDER_WAY, PRICE_OF_BATCH, PRICE_OF_RECORD, PRICE_OF_REQUEST},
};

/// About what the broker adds to a record, in bytes: offset, version, append time.
const ADDED_TO_RECORD: usize = 20;

/// Counts the memory of appends.
#[derive(Clone)]
pub(super) struct Memory(Arc<Room>);

struct Room {
    part: Arc<Part>,
    state: Mutex<State>,
}

struct State {
    journal: JournalRoom,
    /// Bytes that have been admitted and are not applied.
    under_way: usize,
    /// Where the flows are: the place of the request that was admitted last.
    now: u64,
    waiting: InLine,
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

/// Those who wait.
#[derive(Default)]
struct InLine {
    /// The first of each flow: only these can be let in.
    firsts: BTreeMap<Place, First>,
    by_flow: HashMap<usize, BTreeMap<Place, Waiting>>,
}

/// What a request takes, in bytes.
#[derive(Clone, Copy)]
struct Price {
    memory: usize,
    /// About as much as its entry has.
    journal: u64,
}

/// The first request of a flow that waits.
struct First {
    flow: Flow,
    price: Price,
}

struct Waiting {
    price: Price,
    admitted: oneshot::Sender<Admission>,
}

/// A request that waits. Dropping it gives its place up.
struct InQueue {
    room: Arc<Room>,
    flow: Flow,
    place: Place,
    admitted: oneshot::Receiver<Admission>,
}

/// The appends of one client, which have their places behind each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flow(Arc<FlowState>);

#[derive(Debug, Default)]
struct FlowState {
    /// Where its last request ends. Changed under the lock of the room.
    end: AtomicU64,
    /// The memory that it has, in bytes.
    has: AtomicUsize,
    /// What it has in the journal.
    journal: Mutex<Uncovered>,
}

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
    /// Room for its keys, until they are in the tables.
    keys: Option<KeyRoom>,
}

/// Bytes on their way to the journal, until they are applied.
pub(super) struct UnderWay {
    room: Arc<Room>,
    flow: Flow,
    price: Price,
    times: Option<Times>,
}

/// When something happened to a request, by the clock of the environment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// It was there.
    pub(super) asked: Duration,
    /// There was room for it.
    pub(super) admitted: Duration,
}

/// Memory that is used until it is dropped.
struct Used {
    room: Arc<Room>,
    flow: Flow,
    bytes: usize,
}

impl Memory {
    /// For appends that go to a journal of so many bytes.
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

    /// Waits until there is room for a request. Calls `wake` if it waits for housekeeping.
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
        // Without a sender there is nobody who could let it in.
        (&mut waiting.admitted)
            .await
            .map_err(|_| Error::ShuttingDown)
    }

    /// Takes note of what has been written to the journal, of which so much is used now by what no
    /// checkpoint covers.
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

    /// A checkpoint begins.
    pub(super) fn begin_checkpoint(&self) {
        self.0.lock().journal.begin_checkpoint();
    }

    /// So much of a checkpoint's work is done: those who wait for it may go on a little.
    pub(super) fn note_checkpoint_progress(&self, done: usize, all: usize) {
        self.0
            .lock()
            .journal
            .note_progress(done as u64, all.max(done + 1) as u64);
        self.0.let_in();
    }

    /// A checkpoint is written, and so much of the journal is used by what it does not cover.
    pub(super) fn end_checkpoint(&self, journal_used: u64) {
        self.0.lock().journal.end_checkpoint(journal_used);
        self.0.let_in();
    }

    /// A checkpoint was not written: nobody waits for it any more.
    pub(super) fn fail_checkpoint(&self) {
        self.0.lock().journal.fail_checkpoint();
        self.0.let_in();
    }

    /// Whether somebody waits for a checkpoint.
    pub(super) fn waits_for_checkpoint(&self) -> bool {
        let state = self.0.lock();
        let mut firsts = state.waiting.firsts.values();
        firsts.any(|first| state.is_over_journal_share(&first.flow))
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
    /// What it costs, where so much memory is the most that one may have.
    fn price(self, most: usize) -> Price {
        let pieces = self.batches * PRICE_OF_BATCH + self.records * PRICE_OF_RECORD;
        // Half of the bytes again: they are there twice while the frames are put together.
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

    /// Lets in who is next, as long as there is room.
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
            // One that does not wait any more gives back what it was given, without the lock.
            if let Some(waiting) = waiting {
                drop(waiting.admitted.send(admission));
            }
        }
    }

    /// Who is let in next: the first in line, without those that have more than their share. Who
    /// has little is not held up by one that needs more room than there is.
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

    /// Whether a flow has more than its share, so that its next request waits.
    fn is_over_share(&self, state: &State, flow: &Flow) -> bool {
        let part = &self.part;
        over_share(part.bound(), part.holders(), flow.has(), part.used()) > 0
            || state.is_over_journal_share(flow)
    }

    /// Whether a flow has little, with one more request.
    fn is_little(&self, flow: &Flow, price: Price) -> bool {
        flow.has() + price.memory <= self.part.basic()
    }

    /// Whether there is room for one more request. The last quarter is for flows that have little,
    /// and these do not wait for what others have under way: of many records that is put together
    /// for a tenth of a second.
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
        // Within the bound: the lock is held, and nobody else takes any.
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
            },
            keys: None,
        }
    }
}

impl State {
    /// The place of a flow's next request.
    fn place(&mut self, flow: &Flow, price: Price) -> Place {
        // The lock is held: nobody else changes it.
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

    /// Adds a request at the end of its flow.
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
    /// The memory that it has, in bytes.
    fn has(&self) -> usize {
        self.0.has.load(Ordering::Acquire)
    }

    /// What it has in the journal. Changed under the lock of the room.
    fn journal(&self) -> MutexGuard<'_, Uncovered> {
        self.0
            .journal
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Another one for each flow that lives.
    fn key(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

impl Admission {
    /// The same, with room for its keys.
    pub(super) fn with(self, keys: KeyRoom) -> Self {
        Self {
            keys: Some(keys),
            ..self
        }
    }

    /// The same, with what happened when.
    pub(super) fn timed(mut self, times: Times) -> Self {
        self.under_way.times = Some(times);
        self
    }

    /// Whether it has a turn among appends of many records.
    pub(super) fn has_turn(&self) -> bool {
        self.keys.as_ref().is_some_and(KeyRoom::has_turn)
    }

    /// Makes the frames of the request pay for the memory, as long as one of them is there.
    pub(super) fn into_charge(self) -> (Charge, UnderWay) {
        (Some(Arc::new(self.memory)), self.under_way)
    }
}

impl UnderWay {
    /// When something happened to it, if that was noted.
    pub(super) fn times(&self) -> Option<Times> {
        self.times
    }
}

impl Drop for InQueue {
    fn drop(&mut self) {
        let gone = self.room.lock().waiting.remove(&self.flow, self.place);
        drop(gone);
        // It may have been first, and too large for what those behind it find room in.
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
