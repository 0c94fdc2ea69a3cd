//! Room for producers: what they take up, which connection holds them, and which are
//! forgotten where it runs short.
//!
//! A producer is held by the connection that used it last, for as long as that lives. How much a
//! connection may hold of each kind of room says the rule of the budget, [`budget::over_share`]; one
//! of each it may always.
//!
//! Where that is not enough, or there is none left, producers are forgotten: first those without a
//! known batch, which loses nothing, then those that have been idle the longest. One that did
//! something within [`IN_USE`] is only forgotten if no connection holds it, and nobody else is left.
//! What a forgotten producer sends again is refused, never stored a second time.
//!
//! Who is forgotten is decided on what is planned and queued as a change like any other, so that
//! what is applied, and recovery, know nothing of connections.

use std::{cmp::Reverse, collections::BTreeSet, time::Duration};

use super::{Incarnation, Producers, Refused};
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

/// How long it is not looked again whom to forget, where that was in vain.
const IN_VAIN: Duration = Duration::from_secs(1);

/// A connection on which producers are used, until it has ended. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HolderId(pub(crate) u64);

/// What producers take up, or may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Producers.
    pub(crate) producers: usize,
    /// Partitions that each of them has appended to, in all.
    pub(crate) sequences: usize,
    /// Bytes of their names.
    pub(crate) name_bytes: usize,
}

/// A kind of room.
#[derive(Clone, Copy)]
enum Kind {
    Producers,
    Sequences,
    NameBytes,
}

/// What a connection holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    room: Room,
    /// When it was last found that nothing can be forgotten for it.
    in_vain: Option<Duration>,
}

/// Who is forgotten first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// No batch of it is known, so that nothing is lost.
    Empty,
    Idle,
    /// It is in use, but no connection holds it.
    Left,
}

/// A producer that may be forgotten. The order is that in which they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    turn: Turn,
    idle: Reverse<Duration>,
    id: ProducerId,
}

/// How there comes to be room.
struct Plan<'a> {
    producers: &'a Producers,
    needed: Room,
    holder: Option<HolderId>,
    used: Room,
    held: Room,
    forgotten: BTreeSet<ProducerId>,
}

impl Room {
    /// None of it.
    pub(crate) const NONE: Self = Self {
        producers: 0,
        sequences: 0,
        name_bytes: 0,
    };

    /// What there is at most.
    pub(crate) const MOST: Self = Self {
        producers: MAX_PRODUCERS,
        sequences: MAX_PRODUCER_SEQUENCES,
        name_bytes: MAX_PRODUCER_NAMES_BYTES,
    };

    /// How much memory it takes, in bytes.
    pub(crate) fn bytes(self) -> usize {
        self.producers * PRODUCER_BYTES + self.sequences * PRODUCER_SEQUENCE_BYTES + self.name_bytes
    }

    /// What another producer of this name takes up.
    pub(crate) fn of_new(name: &str) -> Self {
        Self {
            producers: 1,
            sequences: 0,
            name_bytes: name.len(),
        }
    }

    /// That of so many sequences.
    pub(super) fn of_sequences(sequences: usize) -> Self {
        Self {
            sequences,
            ..Self::NONE
        }
    }

    /// What a producer takes up.
    pub(super) fn of(incarnation: &Incarnation) -> Self {
        Self {
            sequences: incarnation.sequences,
            ..Self::of_new(&incarnation.name)
        }
    }

    /// So much of each kind.
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

    /// Whether there is some of a kind of which there is some of the other.
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
    /// What is taken up.
    pub(crate) fn used(&self) -> Room {
        Room {
            producers: self.known.len(),
            sequences: self.next.len(),
            name_bytes: self.name_bytes,
        }
    }

    /// Whether there is this much for a connection.
    pub(super) fn has_room(&self, needed: Room, holder: Option<HolderId>) -> bool {
        let plan = Plan::new(self, needed, holder);
        plan.fits() && plan.is_within_share()
    }

    /// Whom to forget, so that there is room for what was refused for want of it. `asking` is the
    /// producer that needs it, if it is known.
    pub(crate) fn make_room(
        &mut self,
        needed: Room,
        holder: Option<HolderId>,
        asking: Option<ProducerId>,
    ) -> Result<Vec<ProducerId>, Refused> {
        if self.was_in_vain(holder) {
            return Err(Refused::TooMany);
        }
        let candidates = self.candidates(asking);
        let mut plan = Plan::new(self, needed, holder);
        plan.forget_for_all(&candidates);
        plan.forget_for_share(&candidates);
        plan.forget_left(&candidates);
        if plan.fits() && plan.is_within_share() {
            return Ok(plan.forgotten.into_iter().collect());
        }
        let in_vain = Some(self.now);
        match holder.filter(|_| !candidates.is_empty()) {
            Some(holder) => self.holders.entry(holder).or_default().in_vain = in_vain,
            None => self.in_vain = in_vain,
        }
        Err(Refused::TooMany)
    }

    /// To look through all producers takes milliseconds: where that found too few to forget, it is
    /// not done again before time has passed.
    fn was_in_vain(&self, holder: Option<HolderId>) -> bool {
        let held = holder.and_then(|holder| self.holders.get(&holder));
        let in_vain = [self.in_vain, held.and_then(|held| held.in_vain)];
        let mut in_vain = in_vain.into_iter().flatten();
        in_vain.any(|at| self.now.saturating_sub(at) < IN_VAIN)
    }

    /// A producer is used on this connection, which holds it from now on.
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

    /// A connection has ended. What it held stays known, and nobody's.
    pub(crate) fn let_go(&mut self, holder: HolderId) {
        self.holders.remove(&holder);
    }

    /// Takes note that a producer takes up so much more.
    pub(super) fn add(&mut self, holder: Option<HolderId>, room: Room) {
        if let Some(held) = holder.and_then(|holder| self.holders.get_mut(&holder)) {
            held.room = held.room.plus(room);
        }
    }

    /// Takes note that a producer takes up so much less.
    pub(super) fn give_back(&mut self, holder: Option<HolderId>, room: Room) {
        if let Some(held) = holder.and_then(|holder| self.holders.get_mut(&holder)) {
            held.room = held.room.minus(room);
        }
    }

    fn held(&self, holder: Option<HolderId>) -> Room {
        let held = holder.and_then(|holder| self.holders.get(&holder));
        held.map(|held| held.room).unwrap_or_default()
    }

    /// Whoever may be forgotten, in the order in which they are.
    fn candidates(&self, asking: Option<ProducerId>) -> Vec<Candidate> {
        let mut candidates = Vec::new();
        for (&id, incarnation) in &self.known {
            if Some(id) == asking {
                continue;
            }
            if let Some(turn) = self.turn(incarnation) {
                let idle = Reverse(self.idleness(incarnation));
                candidates.push(Candidate { turn, idle, id });
            }
        }
        candidates.sort_unstable();
        candidates
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

    /// Whether a connection that lives holds it.
    fn is_held(&self, incarnation: &Incarnation) -> bool {
        let holder = incarnation.holder;
        holder.is_some_and(|holder| self.holders.contains_key(&holder))
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

    fn fits(&self) -> bool {
        self.over_bound(Room::NONE) == Room::NONE
    }

    fn is_within_share(&self) -> bool {
        self.over_share(Room::NONE) == Room::NONE
    }

    /// How much more there would be than there may be, with this much to spare.
    fn over_bound(&self, spare: Room) -> Room {
        let most = self.producers.most;
        let used = self.used.plus(self.needed).plus(spare);
        self.of_each_needed(|kind| used.get(kind).saturating_sub(most.get(kind)))
    }

    /// How much more the connection would hold than it may, with this much to spare.
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

    /// So much of each kind that is needed.
    fn of_each_needed(&self, amount: impl Fn(Kind) -> usize) -> Room {
        Room::of_each(|kind| match self.needed.get(kind) {
            0 => 0,
            _ => amount(kind),
        })
    }

    /// Some more than what is needed, so that the next one that comes does not have to look through
    /// all of them again.
    fn spare(&self) -> Room {
        let most = self.producers.most;
        Room::of_each(|kind| most.get(kind) / 64)
    }

    /// What others have to be forgotten for: that there is room at all, and the connection's share
    /// as long as more than five eighths are used.
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

    /// Forgets those who are not in use.
    fn forget_for_all(&mut self, candidates: &[Candidate]) {
        self.forget_until_none(Self::missing_of_all, candidates, |_, candidate| {
            candidate.turn != Turn::Left
        });
    }

    /// Forgets what the connection itself does not use, and what nobody would miss, until it has its
    /// share.
    fn forget_for_share(&mut self, candidates: &[Candidate]) {
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

    /// Forgets those who are in use and whose connections have ended, if there is no other way.
    fn forget_left(&mut self, candidates: &[Candidate]) {
        if self.fits() && self.is_within_share() {
            return;
        }
        self.forget_until_none(Self::missing_of_all, candidates, |_, candidate| {
            candidate.turn == Turn::Left
        });
    }

    /// Forgets one after the other until nothing is missing.
    fn forget_until_none(
        &mut self,
        missing: impl Fn(&Self) -> Room,
        candidates: &[Candidate],
        may_be: impl Fn(&Self, &Candidate) -> bool,
    ) {
        for candidate in candidates {
            let missing = missing(self);
            if missing == Room::NONE {
                return;
            }
            let room = Room::of(&self.producers.known[&candidate.id]);
            if room.has_some_of(missing) && may_be(self, candidate) {
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
