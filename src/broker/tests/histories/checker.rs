//! Decides whether a history of concurrent calls is linearizable.
//!
//! It is if all calls can be put in one order in which a sequential model gives the recorded
//! answers, and in which no call stands behind another that was made only after its answer. The
//! search for this order follows Wing and Gong ("Testing and Verifying Concurrent Objects", Journal
//! of Parallel and Distributed Computing 17, 1993): of the calls not placed yet, each that was made
//! before the first of them was answered may be next. Where no call fits, the search goes back to
//! the last choice. Lowe's addition ("Testing for linearizability", Concurrency and Computation:
//! Practice and Experience 29(4), 2017) makes that affordable: what can follow depends only on the
//! set of placed calls and on the model's state, so a pair of these that was seen before is not
//! searched again.
//!
//! There are three additions:
//!
//! - A call without an answer may take effect at any time after it was made, perhaps only up to a
//!   known end, or never. *Never* is the last choice, tried where the call's end comes.
//! - A call that may be next and does not change the state is placed at once and for good: if any
//!   order from here exists, the order with this call moved to its front is valid, too.
//! - Among the calls that may be next, those with the nearest end are tried first. This is a guess,
//!   which costs only time if it is wrong.

use std::{
    collections::HashSet,
    fmt::{self, Debug},
    hash::Hash,
};

use super::timeline::{Point, Timeline};

/// A sequential model of something, as a single client sees it.
pub(super) trait Model {
    /// A request.
    type Op;
    /// The answer to a request.
    type Answer;
    /// The state between two calls.
    type State: Clone + Debug + Eq + Hash;

    /// The state before the first call.
    fn initial(&self) -> Self::State;

    /// The state after a call with this answer, or with any answer if it is not known. `None` if
    /// the model in this state cannot give this answer.
    fn step(
        &self,
        state: &Self::State,
        op: &Self::Op,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;

    /// Whether a history may end in this state.
    fn may_end(&self, state: &Self::State) -> bool;
}

/// A moment of a history; only the order of moments matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(pub(super) u64);

/// A call of a history.
#[derive(Clone, Debug)]
pub(super) struct Call<Op, Answer> {
    pub(super) client: u32,
    pub(super) op: Op,
    pub(super) invoked: Tick,
    pub(super) outcome: Outcome<Answer>,
}

/// The outcome of a call.
#[derive(Clone, Debug)]
pub(super) enum Outcome<Answer> {
    /// The call took effect, and the client got this answer.
    Answered { answer: Answer, at: Tick },
    /// The call changed the state by this time (`None`: at any time), with an answer that no client
    /// got.
    Happened { by: Option<Tick> },
    /// The call changed the state by this time (`None`: at any time), or never.
    Unknown { by: Option<Tick> },
}

impl<Op, Answer> Call<Op, Answer> {
    /// When the call was over; `None` if it never was.
    pub(super) fn end(&self) -> Option<Tick> {
        match self.outcome {
            Outcome::Answered { at, .. } => Some(at),
            Outcome::Happened { by } | Outcome::Unknown { by } => by,
        }
    }

    fn answer(&self) -> Option<&Answer> {
        match &self.outcome {
            Outcome::Answered { answer, .. } => Some(answer),
            Outcome::Happened { .. } | Outcome::Unknown { .. } => None,
        }
    }

    /// Whether the call may have had no effect.
    fn is_optional(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown { .. })
    }
}

/// Why a history is not accepted.
#[derive(Debug)]
pub(super) enum Rejection<State> {
    /// The history is not linearizable: every order has been tried.
    NoOrder {
        /// The first of the orders that went furthest; calls by their place in the history.
        placed: Vec<usize>,
        /// The state after these calls.
        state: State,
        /// The calls one of which had to be next.
        open: Vec<usize>,
    },
    /// Undecided: the search takes more than [`MOST_CONFIGURATIONS`].
    TooManyOrders,
}

impl<State> fmt::Display for Rejection<State> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoOrder { .. } => f.write_str("not linearizable"),
            Self::TooManyOrders => {
                write!(f, "undecided after {MOST_CONFIGURATIONS} configurations")
            }
        }
    }
}

/// The most pairs of placed calls and state that are remembered, which take some hundred MB. A
/// search that needs more would take minutes.
const MOST_CONFIGURATIONS: usize = 2_000_000;

/// Returns an order that explains the history: the calls that took effect, by their place in it.
pub(super) fn check<M: Model>(
    model: &M,
    calls: &[Call<M::Op, M::Answer>],
) -> Result<Vec<usize>, Rejection<M::State>> {
    Search::new(model, calls).run()
}

struct Search<'a, M: Model> {
    model: &'a M,
    calls: &'a [Call<M::Op, M::Answer>],
    /// The calls that are not placed yet, by time.
    timeline: Timeline,
    /// The calls that are placed, in order.
    placed: Vec<Placed>,
    set: PlacedSet,
    state: M::State,
    /// How many calls must be placed and are not yet.
    required: usize,
    seen: HashSet<(Box<[u64]>, M::State)>,
    deepest: Option<(Vec<usize>, M::State, Vec<usize>)>,
}

#[derive(Clone, Copy)]
struct Placed {
    call: usize,
    /// False if the search decided that the call never happened.
    happened: bool,
}

/// A place in the order with more than one candidate.
struct Branch<State> {
    /// The choices that are left, each with the state after it.
    choices: std::vec::IntoIter<(Placed, State)>,
    /// How many calls come before this place in the order, and the state after them.
    placed: usize,
    state: State,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, calls: &'a [Call<M::Op, M::Answer>]) -> Self {
        let times: Vec<_> = calls
            .iter()
            .map(|call| (call.invoked.0, call.end().map(|end| end.0)))
            .collect();
        Self {
            model,
            calls,
            timeline: Timeline::new(&times),
            placed: Vec::new(),
            set: PlacedSet::new(calls.len()),
            state: model.initial(),
            required: calls.iter().filter(|call| !call.is_optional()).count(),
            seen: HashSet::new(),
            deepest: None,
        }
    }

    fn run(mut self) -> Result<Vec<usize>, Rejection<M::State>> {
        let mut branches: Vec<Branch<M::State>> = Vec::new();
        loop {
            self.place_observers();
            if self.required == 0 && self.model.may_end(&self.state) {
                return Ok(self.order());
            }
            let choices = self.choices();
            branches.push(Branch {
                choices,
                placed: self.placed.len(),
                state: self.state.clone(),
            });
            loop {
                let Some(branch) = branches.last_mut() else {
                    let (placed, state, open) =
                        self.deepest.expect("a search ends where nothing follows");
                    return Err(Rejection::NoOrder {
                        placed,
                        state,
                        open,
                    });
                };
                self.undo(branch.placed, &branch.state);
                let Some((placed, state)) = branch.choices.next() else {
                    branches.pop();
                    continue;
                };
                self.place(placed, state);
                if self.seen.len() >= MOST_CONFIGURATIONS {
                    return Err(Rejection::TooManyOrders);
                }
                if self.seen.insert((self.set.key(), self.state.clone())) {
                    break;
                }
            }
        }
    }

    /// Places every answered call that may be next and changes nothing. A call without an answer is
    /// not placed here, as that would mean that it never happened. One pass is enough: the state
    /// does not change, and calls that become possible lie further on.
    fn place_observers(&mut self) {
        let (mut at, mut point) = self.timeline.first();
        while let Point::Begin(call) = point {
            if self.calls[call].answer().is_some()
                && self.step(call).is_some_and(|state| state == self.state)
            {
                self.place(
                    Placed {
                        call,
                        happened: true,
                    },
                    self.state.clone(),
                );
            }
            (at, point) = self.timeline.behind(at);
        }
    }

    /// The calls that may be next and change the state, in the order in which they are tried. The
    /// last choice is that the call whose end comes next never happened.
    fn choices(&mut self) -> std::vec::IntoIter<(Placed, M::State)> {
        let (open, first_end) = self.timeline.open();
        let mut choices: Vec<(Placed, M::State)> = Vec::new();
        for call in &open {
            if let Some(state) = self.step(*call).filter(|state| *state != self.state) {
                choices.push((
                    Placed {
                        call: *call,
                        happened: true,
                    },
                    state,
                ));
            }
        }
        choices.sort_by_key(|(placed, _)| self.timeline.end_of(placed.call));
        if let Point::End(call) = first_end
            && self.calls[call].is_optional()
        {
            choices.push((
                Placed {
                    call,
                    happened: false,
                },
                self.state.clone(),
            ));
        }
        if choices.is_empty()
            && self
                .deepest
                .as_ref()
                .is_none_or(|(deepest, ..)| deepest.len() < self.placed.len())
        {
            self.deepest = Some((self.order(), self.state.clone(), open));
        }
        choices.into_iter()
    }

    fn step(&self, call: usize) -> Option<M::State> {
        let call = &self.calls[call];
        self.model.step(&self.state, &call.op, call.answer())
    }

    fn place(&mut self, placed: Placed, state: M::State) {
        self.timeline.take_out(placed.call);
        self.set.insert(placed.call);
        self.placed.push(placed);
        self.state = state;
        self.required -= usize::from(!self.calls[placed.call].is_optional());
    }

    fn undo(&mut self, placed: usize, state: &M::State) {
        for Placed { call, .. } in self.placed.drain(placed..).rev() {
            self.timeline.put_back(call);
            self.set.remove(call);
            self.required += usize::from(!self.calls[call].is_optional());
        }
        self.state.clone_from(state);
    }

    fn order(&self) -> Vec<usize> {
        self.placed
            .iter()
            .filter(|placed| placed.happened)
            .map(|placed| placed.call)
            .collect()
    }
}

/// The set of placed calls. Calls are placed nearly in the order in which they were made, so the
/// set has all calls at the beginning of the history and none at its end. Only the words in between
/// are compared.
struct PlacedSet {
    words: Vec<u64>,
    /// The number of full words at the beginning.
    full: usize,
    /// The number of words up to the last that is not empty.
    used: usize,
}

impl PlacedSet {
    fn new(calls: usize) -> Self {
        Self {
            words: vec![0; calls / 64 + 1],
            full: 0,
            used: 0,
        }
    }

    fn insert(&mut self, call: usize) {
        self.words[call / 64] |= 1 << (call % 64);
        self.used = self.used.max(call / 64 + 1);
        while self.words.get(self.full) == Some(&u64::MAX) {
            self.full += 1;
        }
    }

    fn remove(&mut self, call: usize) {
        self.words[call / 64] &= !(1 << (call % 64));
        self.full = self.full.min(call / 64);
        while self.used > 0 && self.words[self.used - 1] == 0 {
            self.used -= 1;
        }
    }

    /// A key that is the same for equal sets, and different for different ones.
    fn key(&self) -> Box<[u64]> {
        let between = self.words.get(self.full..self.used).unwrap_or_default();
        std::iter::once(self.full as u64)
            .chain(between.iter().copied())
            .collect()
    }
}
