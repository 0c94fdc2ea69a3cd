//! The result of a run that is checked: all calls on its entities, and the records of the entities
//! at the end.
//!
//! The end keeps the check short. It is read **at rest**: after every answer, and when no call can
//! take effect any more, as after a last restart of the broker. This has three consequences.
//!
//! - **The end settles unknown outcomes.** Ids of records are not used twice, and no record is ever
//!   removed. So an unanswered append took effect if one of its records is in the end, and else it
//!   did not and never will. An append that took effect must be placed in the order like an
//!   answered one, and one that did not is left out like a refused one. No outcome has to be tried
//!   both ways, and no order that could explain the history is lost. No fault is hidden either: if
//!   only part of an append is in the end, the append must be placed as a whole, which fails; and
//!   if its records had been seen and are gone, the call that saw them has no place.
//! - **The end fixes the order of appends of an entity**, see `entity.rs`.
//! - **The end is the last answer**: a history that cannot arrive there is not accepted, whatever
//!   was answered before.
//!
//! A history of several objects is linearizable if and only if its part for each object is (Herlihy
//! and Wing, "Linearizability: A Correctness Condition for Concurrent Objects", ACM TOPLAS 12(3),
//! 1990, theorem 1). So each entity is checked on its own, unless one call concerns several: that
//! this call happened in all of them at one moment would be lost. Such entities are checked
//! together as one object, which takes longer the more there are.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::{self, Write},
};

use super::{
    checker::{self, Rejection, Tick},
    entity::{Answer, Entities, Key, Op},
};

pub(super) type Call = checker::Call<Op, Answer>;
pub(super) type Outcome = checker::Outcome<Answer>;

/// A run, as its clients saw it.
#[derive(Clone, Debug)]
pub(super) struct History {
    /// The calls in the order in which they were made, without the refused ones.
    pub(super) calls: Vec<Call>,
    /// The ids of every entity that a call concerned, read at rest.
    pub(super) ends: BTreeMap<Key, Vec<u64>>,
}

/// Counts of an accepted history, so that the suite knows that it tested something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Answered calls.
    pub(super) appended: usize,
    pub(super) conflicts: usize,
    pub(super) reads: usize,
    /// Unanswered appends that took effect, and those that did not.
    pub(super) unknown_happened: usize,
    pub(super) unknown_never: usize,
    /// For each part that was checked on its own, its calls in an order that explains them.
    pub(super) orders: Vec<Vec<usize>>,
}

/// Why a history is not accepted, with details of the place where it goes wrong.
#[derive(Debug)]
pub(super) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl History {
    /// Checks whether correct entities can have given these answers.
    ///
    /// # Panics
    ///
    /// If the history is malformed: two calls append the same id, or an entity was not read at the
    /// end.
    pub(super) fn check(&self) -> Result<Accepted, Fault> {
        self.assert_well_formed();
        let mut accepted = Accepted::default();
        let settled = self.settled(&mut accepted);
        for keys in self.parts(&settled) {
            let of_part: Vec<&(usize, Call)> = settled
                .iter()
                .filter(|(_, call)| call.op.keys().iter().any(|key| keys.contains(key)))
                .collect();
            let calls: Vec<Call> = of_part.iter().map(|(_, call)| call.clone()).collect();
            let model = Entities::new(keys.iter().map(|key| (*key, self.ends[key].as_slice())));
            let order =
                checker::check(&model, &calls).map_err(|why| self.fault(&keys, &calls, &why))?;
            accepted
                .orders
                .push(order.into_iter().map(|call| of_part[call].0).collect());
        }
        Ok(accepted)
    }

    fn assert_well_formed(&self) {
        let mut ids = HashSet::new();
        for call in &self.calls {
            assert!(
                call.op.ids().into_iter().all(|id| ids.insert(id)),
                "an id is not new: {call:?}"
            );
            assert!(
                call.op.keys().iter().all(|key| self.ends.contains_key(key)),
                "an end was not read: {call:?}"
            );
        }
        assert!(
            self.calls.is_sorted_by_key(|call| call.invoked),
            "calls are not in the order in which they were made"
        );
    }

    /// The calls that are known to have taken effect, with their places in the history.
    fn settled(&self, accepted: &mut Accepted) -> Vec<(usize, Call)> {
        let there: HashSet<u64> = self.ends.values().flatten().copied().collect();
        let mut settled = Vec::new();
        for (at, call) in self.calls.iter().enumerate() {
            let mut call = call.clone();
            match &call.outcome {
                Outcome::Answered {
                    answer: Answer::Appended { .. },
                    ..
                } => accepted.appended += 1,
                Outcome::Answered {
                    answer: Answer::Conflict { .. },
                    ..
                } => accepted.conflicts += 1,
                Outcome::Answered { .. } => accepted.reads += 1,
                Outcome::Happened { .. } => {}
                // An unanswered call that only reads leaves no trace, and nothing depends on it.
                Outcome::Unknown { .. } if call.op.ids().is_empty() => continue,
                Outcome::Unknown { by } => {
                    if !call.op.ids().iter().any(|id| there.contains(id)) {
                        accepted.unknown_never += 1;
                        continue;
                    }
                    accepted.unknown_happened += 1;
                    call.outcome = Outcome::Happened { by: *by };
                }
            }
            settled.push((at, call));
        }
        settled
    }

    /// The entities in groups: entities that one call concerns are in the same group.
    fn parts(&self, calls: &[(usize, Call)]) -> Vec<BTreeSet<Key>> {
        let mut parts: Vec<BTreeSet<Key>> =
            self.ends.keys().map(|key| BTreeSet::from([*key])).collect();
        for (_, call) in calls {
            let keys: BTreeSet<Key> = call.op.keys().into_iter().collect();
            if keys.len() > 1 {
                let (joined, apart) = parts.into_iter().partition(|part| !part.is_disjoint(&keys));
                parts = apart;
                parts.push(Vec::into_iter(joined).flatten().collect());
            }
        }
        parts
    }

    /// Describes where the longest order stops for a part of the history.
    fn fault(&self, keys: &BTreeSet<Key>, calls: &[Call], why: &Rejection<Vec<u64>>) -> Fault {
        let mut text = format!("the history of {keys:?} is {why}");
        let Rejection::NoOrder {
            placed,
            state,
            open,
        } = why
        else {
            return Fault(text);
        };
        let mut line = |what: String| write!(text, "\n  {what}").expect("strings take all");
        line(format!(
            "{} of {} calls have a place, the last of them:",
            placed.len(),
            calls.len()
        ));
        for call in &placed[placed.len().saturating_sub(3)..] {
            line(format!("  {}", line_of(&calls[*call])));
        }
        let writers: HashMap<u64, &Call> = self
            .calls
            .iter()
            .flat_map(|call| call.op.ids().into_iter().map(move |id| (id, call)))
            .collect();
        for (key, version) in keys.iter().zip(state) {
            let next = self.ends[key].get(*version as usize);
            let writer = next.map(|id| match writers.get(id) {
                Some(call) => format!(", next is {id} of: {}", line_of(call)),
                None => format!(", next is {id}, which no call has appended"),
            });
            let end = self.ends[key].len();
            line(format!(
                "{key:?} is at version {version} of {end}{}",
                writer.unwrap_or_default()
            ));
        }
        line("none of these can be next:".to_owned());
        for call in open.iter().take(10) {
            line(format!("  {}", line_of(&calls[*call])));
        }
        if open.len() > 10 {
            line(format!("  and {} more", open.len() - 10));
        }
        Fault(text)
    }
}

fn line_of(call: &Call) -> String {
    let Tick(begin) = call.invoked;
    let end = call
        .end()
        .map_or("the end".to_owned(), |Tick(end)| end.to_string());
    let outcome = match &call.outcome {
        Outcome::Answered { answer, .. } => format!("{answer:?}"),
        Outcome::Happened { .. } => "not answered, but it happened".to_owned(),
        Outcome::Unknown { .. } => "not answered".to_owned(),
    };
    let line = format!(
        "{begin} to {end}, client {}: {:?}: {outcome}",
        call.client, call.op
    );
    // The answer to a read of a whole entity can be long.
    if line.chars().count() > 300 {
        line.chars().take(300).chain("...".chars()).collect()
    } else {
        line
    }
}
