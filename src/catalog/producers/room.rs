//! Room for producers: how much they take, which connection holds them, and which are forgotten
//! when it runs short.
//!
//! A producer is held by the connection that used it last, as long as that is open. The budget's
//! rule [`budget::over_share`] says how much of each kind of room a connection may hold; it may
//! always hold one.
//!
//! If a producer does not fit into its connection's share, or no room is left, others are
//! forgotten: first producers without a known batch, which loses nothing, then those that have been
//! idle longest. A producer used within [`IN_USE`] is only forgotten if no connection holds it and
//! no other can be forgotten. Repeated batches of a forgotten producer are refused, never stored a
//! second time.
//!
//! The planned state decides which producers are forgotten, and queues that like any other change.
//! So the applied state, and recovery, know nothing of connections.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    time::Duration,
};

use super::{Incarnation, Producers};
use crate::{
    budget,
    types::{
        ProducerId,
        limits::{
            MAX_PRODUCER_NAMES_BYTES, MAX_PRODUCER_SEQUENCES, MAX_PRODUCERS, PRODUCER_BYTES,
            PRODUCER_SEQUENCE_BYTES,
        },
    },
};

/// A producer that did something within this time is in use.
pub(crate) const IN_USE: Duration = Duration::from_secs(300);

/// For how long producers to forget are not searched again after none were found.
const IN_VAIN: Duration = Duration::from_secs(1);

/// A connection that uses producers, until it is closed. Ids are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HolderId(pub(crate) u64);

/// An amount of room, of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// The number of producers.
    pub(crate) producers: usize,
    /// The number of partitions that producers have appended to, counted for each producer.
    pub(crate) sequences: usize,
    /// The bytes of producers' names.
    pub(crate) name_bytes: usize,
}

/// A kind of room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Producers,
    Sequences,
    NameBytes,
}

/// More of one kind than there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) kind: Kind,
    /// How much there would be.
    pub(crate) count: usize,
    /// How much there may be.
    pub(crate) most: usize,
    /// Whether it is the connection that may have so much, and not the broker.
    pub(crate) is_share: bool,
}

/// What a connection holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    room: Room,
    /// When it was last found that no producer can be forgotten for this connection.
    in_vain: Option<Duration>,
}

/// The order in which producers are forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// It has no known batch, so nothing is lost.
    Empty,
    Idle,
    /// It is in use, but no connection holds it.
    Left,
}

/// A producer that may be forgotten. Sorted in the order in which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    turn: Turn,
    idle: Reverse<Duration>,
    id: ProducerId,
}

/// The producers that may be forgotten, in order. Of many thousands, few are looked at, so only as
/// many are sorted as that.
struct Candidates {
    sorted: Vec<Candidate>,
    rest: BinaryHeap<Reverse<Candidate>>,
}

/// A plan to make room by forgetting producers.
struct Plan<'a> {
    producers: &'a Producers,
    needed: Room,
    holder: Option<HolderId>,
    used: Room,
    held: Room,
    forgotten: BTreeSet<ProducerId>,
}

impl Room {
    /// No room.
    pub(crate) const NONE: Self = Self {
        producers: 0,
        sequences: 0,
        name_bytes: 0,
    };

    /// The most room that producers may take.
    pub(crate) const MOST: Self = Self {
        producers: MAX_PRODUCERS,
        sequences: MAX_PRODUCER_SEQUENCES,
        name_bytes: MAX_PRODUCER_NAMES_BYTES,
    };

    /// Its memory, in bytes.
    pub(crate) fn bytes(self) -> usize {
        self.producers * PRODUCER_BYTES + self.sequences * PRODUCER_SEQUENCE_BYTES + self.name_bytes
    }

    /// The room for one more producer with this name.
    pub(crate) fn of_new(name: &str) -> Self {
        Self {
            producers: 1,
            sequences: 0,
            name_bytes: name.len(),
        }
    }

    /// The room for this many sequences.
    pub(super) fn of_sequences(sequences: usize) -> Self {
        Self {
            sequences,
            ..Self::NONE
        }
    }

    /// The room that a producer takes.
    pub(super) fn of(incarnation: &Incarnation) -> Self {
        Self {
            sequences: incarnation.sequences,
            ..Self::of_new(&incarnation.name)
        }
    }

    /// An amount computed for each kind.
    fn of_each(amount: impl Fn(Kind) -> usize) -> Self {
        Self {
            producers: amount(Kind::Producers),
            sequences: amount(Kind::Sequences),
            name_bytes: amount(Kind::NameBytes),
        }
    }

    fn get(self, kind: Kind) -> usize {
        match kind {
            Kind::Producers => self.producers,
            Kind::Sequences => self.sequences,
            Kind::NameBytes => self.name_bytes,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self::of_each(|kind| self.get(kind).saturating_add(other.get(kind)))
    }

    fn minus(self, other: Self) -> Self {
        Self::of_each(|kind| self.get(kind).saturating_sub(other.get(kind)))
    }

    /// Whether both have some room of the same kind.
    fn has_some_of(self, other: Self) -> bool {
        Self::of_each(|kind| self.get(kind).min(other.get(kind))) != Self::NONE
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::NONE
    }
}

impl Producers {
    /// The room that producers take now.
    pub(crate) fn used(&self) -> Room {
        Room {
            producers: self.known.len(),
            sequences: self.next.len(),
            name_bytes: self.name_bytes,
        }
    }

    /// Checks that a connection may take this much more.
    pub(super) fn check_room(&self, needed: Room, holder: Option<HolderId>) -> Result<(), Excess> {
        match Plan::new(self, needed, holder).excess() {
            None => Ok(()),
            Some(excess) => Err(excess),
        }
    }

    /// Which producers to forget, so that a request fits that was refused for lack of room; `None`
    /// if too few may be. `asking` is the producer that needs the room, if it is known; it is not
    /// forgotten.
    pub(crate) fn make_room(
        &mut self,
        needed: Room,
        holder: Option<HolderId>,
        asking: Option<ProducerId>,
    ) -> Option<Vec<ProducerId>> {
        if self.was_in_vain(holder) {
            return None;
        }
        let mut candidates = self.candidates(asking);
        let has_candidates = !candidates.rest.is_empty();
        let mut plan = Plan::new(self, needed, holder);
        plan.forget_for_all(&mut candidates);
        plan.forget_for_share(&mut candidates);
        plan.forget_left(&mut candidates);
        if plan.fits() && plan.is_within_share() {
            return Some(plan.forgotten.into_iter().collect());
        }
        let in_vain = Some(self.now);
        match holder.filter(|_| has_candidates) {
            Some(holder) => self.holders.entry(holder).or_default().in_vain = in_vain,
            None => self.in_vain = in_vain,
        }
        None
    }

    /// Whether a search has found too few producers to forget just before. A search takes
    /// milliseconds, so it is not repeated at once.
    fn was_in_vain(&self, holder: Option<HolderId>) -> bool {
        let held = holder.and_then(|holder| self.holders.get(&holder));
        let in_vain = [self.in_vain, held.and_then(|held| held.in_vain)];
        let mut in_vain = in_vain.into_iter().flatten();
        in_vain.any(|at| self.now.saturating_sub(at) < IN_VAIN)
    }

    /// Notes that a connection uses a producer: the connection holds it from now on.
    pub(crate) fn hold(&mut self, id: ProducerId, holder: HolderId) {
        let Some(incarnation) = self.known.get_mut(&id) else {
            return;
        };
        let before = incarnation.holder.replace(holder);
        if before == Some(holder) && self.holders.contains_key(&holder) {
            return;
        }
        let room = Room::of(incarnation);
        self.give_back(before, room);
        let held = self.holders.entry(holder).or_default();
        held.room = held.room.plus(room);
    }

    /// Notes that a connection was closed. Its producers stay known, held by nobody.
    pub(crate) fn let_go(&mut self, holder: HolderId) {
        self.holders.remove(&holder);
    }

    /// Adds to what a connection holds.
    pub(super) fn add(&mut self, holder: Option<HolderId>, room: Room) {
        if let Some(held) = holder.and_then(|holder| self.holders.get_mut(&holder)) {
            held.room = held.room.plus(room);
        }
    }

    /// Subtracts from what a connection holds.
    pub(super) fn give_back(&mut self, holder: Option<HolderId>, room: Room) {
        if let Some(held) = holder.and_then(|holder| self.holders.get_mut(&holder)) {
            held.room = held.room.minus(room);
        }
    }

    fn held(&self, holder: Option<HolderId>) -> Room {
        let held = holder.and_then(|holder| self.holders.get(&holder));
        held.map(|held| held.room).unwrap_or_default()
    }

    /// The producers that may be forgotten.
    fn candidates(&self, asking: Option<ProducerId>) -> Candidates {
        let mut candidates = Vec::with_capacity(self.known.len());
        for (&id, incarnation) in &self.known {
            if Some(id) == asking {
                continue;
            }
            if let Some(turn) = self.turn(incarnation) {
                let idle = Reverse(self.idleness(incarnation));
                candidates.push(Reverse(Candidate { turn, idle, id }));
            }
        }
        Candidates {
            sorted: Vec::new(),
            rest: candidates.into(),
        }
    }

    fn turn(&self, incarnation: &Incarnation) -> Option<Turn> {
        if incarnation.sequences == 0 {
            Some(Turn::Empty)
        } else if self.idleness(incarnation) >= IN_USE {
            Some(Turn::Idle)
        } else {
            (!self.is_held(incarnation)).then_some(Turn::Left)
        }
    }

    /// Whether an open connection holds the producer.
    fn is_held(&self, incarnation: &Incarnation) -> bool {
        let holder = incarnation.holder;
        holder.is_some_and(|holder| self.holders.contains_key(&holder))
    }
}

impl Candidates {
    /// The candidate at this index, if there are so many.
    fn get(&mut self, at: usize) -> Option<Candidate> {
        while self.sorted.len() <= at {
            let Reverse(next) = self.rest.pop()?;
            self.sorted.push(next);
        }
        Some(self.sorted[at])
    }
}

impl<'a> Plan<'a> {
    fn new(producers: &'a Producers, needed: Room, holder: Option<HolderId>) -> Self {
        Self {
            producers,
            needed,
            holder,
            used: producers.used(),
            held: producers.held(holder),
            forgotten: BTreeSet::new(),
        }
    }

    /// The first kind of room of which there is not enough.
    fn excess(&self) -> Option<Excess> {
        let (bound, share) = (self.over_bound(Room::NONE), self.over_share(Room::NONE));
        for kind in [Kind::Producers, Kind::Sequences, Kind::NameBytes] {
            if bound.get(kind) > 0 {
                return Some(Excess {
                    kind,
                    count: self.used.plus(self.needed).get(kind),
                    most: self.producers.most.get(kind),
                    is_share: false,
                });
            }
            if share.get(kind) > 0 {
                // What the connection does without is what all use less, too.
                let count = self.held.plus(self.needed).get(kind);
                return Some(Excess {
                    kind,
                    count,
                    most: count.saturating_sub(share.get(kind).div_ceil(2)),
                    is_share: true,
                });
            }
        }
        None
    }

    fn fits(&self) -> bool {
        self.over_bound(Room::NONE) == Room::NONE
    }

    fn is_within_share(&self) -> bool {
        self.over_share(Room::NONE) == Room::NONE
    }

    /// By how much the bound would be exceeded, if `spare` were used too.
    fn over_bound(&self, spare: Room) -> Room {
        let most = self.producers.most;
        let used = self.used.plus(self.needed).plus(spare);
        self.of_each_needed(|kind| used.get(kind).saturating_sub(most.get(kind)))
    }

    /// By how much the connection would exceed its share, if `spare` were used too.
    fn over_share(&self, spare: Room) -> Room {
        if self.holder.is_none() {
            return Room::NONE;
        }
        let most = self.producers.most;
        let held = self.held.plus(self.needed);
        let used = self.used.plus(self.needed).plus(spare);
        self.of_each_needed(|kind| match held.get(kind) {
            0 | 1 => 0,
            held => budget::over_share(most.get(kind), budget::HOLDERS, held, used.get(kind)),
        })
    }

    /// An amount computed for each kind that is needed; 0 for the others.
    fn of_each_needed(&self, amount: impl Fn(Kind) -> usize) -> Room {
        Room::of_each(|kind| match self.needed.get(kind) {
            0 => 0,
            _ => amount(kind),
        })
    }

    /// Some room more than needed, so that the next request does not search all producers again.
    fn spare(&self) -> Room {
        let most = self.producers.most;
        Room::of_each(|kind| most.get(kind) / 64)
    }

    /// How much room must come from forgetting any producers: what exceeds the bound, and what
    /// exceeds the connection's share while more than five eighths of the room are used.
    fn missing_of_all(&self) -> Room {
        let most = self.producers.most;
        let used = self.used.plus(self.needed);
        let (bound, share) = (self.over_bound(self.spare()), self.over_share(self.spare()));
        Room::of_each(|kind| {
            let kept = budget::open(most.get(kind)) - most.get(kind) / 8;
            let more_than_kept = used.get(kind).saturating_sub(kept);
            bound.get(kind).max(share.get(kind).min(more_than_kept))
        })
    }

    /// Forgets producers that are not in use.
    fn forget_for_all(&mut self, candidates: &mut Candidates) {
        self.forget_until_none(Self::missing_of_all, candidates, |_, candidate| {
            candidate.turn != Turn::Left
        });
    }

    /// Forgets idle producers of the connection itself, and producers without a batch that nobody
    /// else holds, until the connection is within its share.
    fn forget_for_share(&mut self, candidates: &mut Candidates) {
        if self.is_within_share() {
            return;
        }
        let missing = |plan: &Self| plan.over_share(plan.spare());
        self.forget_until_none(missing, candidates, |plan, candidate| {
            let incarnation = &plan.producers.known[&candidate.id];
            let is_own = incarnation.holder == plan.holder;
            let is_nobodys = !plan.producers.is_held(incarnation);
            match candidate.turn {
                Turn::Empty => is_own || is_nobodys,
                Turn::Idle => is_own,
                Turn::Left => false,
            }
        });
    }

    /// As a last resort, forgets producers that are in use but whose connections are closed.
    fn forget_left(&mut self, candidates: &mut Candidates) {
        if self.fits() && self.is_within_share() {
            return;
        }
        self.forget_until_none(Self::missing_of_all, candidates, |_, candidate| {
            candidate.turn == Turn::Left
        });
    }

    /// Forgets one candidate after the other until nothing is missing.
    fn forget_until_none(
        &mut self,
        missing: impl Fn(&Self) -> Room,
        candidates: &mut Candidates,
        may_be: impl Fn(&Self, &Candidate) -> bool,
    ) {
        for at in 0.. {
            let missing = missing(self);
            if missing == Room::NONE {
                return;
            }
            let Some(candidate) = candidates.get(at) else {
                return;
            };
            let room = Room::of(&self.producers.known[&candidate.id]);
            if room.has_some_of(missing) && may_be(self, &candidate) {
                self.forget(candidate.id, room);
            }
        }
    }

    fn forget(&mut self, id: ProducerId, room: Room) {
        if !self.forgotten.insert(id) {
            return;
        }
        self.used = self.used.minus(room);
        if self.producers.known[&id].holder == self.holder {
            self.held = self.held.minus(room);
        }
    }
}
