//! What is checked of a run: all calls on its entities, and what the entities held at the end.
//!
//! The end is what keeps the check short. It is read **at rest**: after every answer, and when no
//! call can take effect any more, as behind a last restart of the broker. Three things follow from
//! it.
//!
//! - **It settles what is unknown.** Ids of records are not used twice, and no record is ever
//!   removed. So if a record of an unanswered append is in the end, that append took effect; and if
//!   none is, it did not, as it would still be there, and it will not any more. An append that took
//!   effect must be placed in the order like one that was answered, and one that did not is left
//!   out, like a refused one. Nothing is tried both ways, and no order that could explain the
//!   history is lost. Nor is a fault hidden: if a part of the append is in the end, it must be
//!   placed, which only all of it can be; and if its records had been seen and are gone, what saw
//!   them has no place.
//! - **It fixes the order of appends of an entity**, see `entity.rs`.
//! - **It is the last answer**: a history that cannot arrive at it is not accepted, whatever was
//!   answered before.
//!
//! A history of several things is linearizable if and only if its part about each of them is
//! (Herlihy and Wing, "Linearizability: A Correctness Condition for Concurrent Objects", ACM TOPLAS
//! 12(3), 1990, theorem 1). So each entity is checked on its own, except those that one call is
//! about together: that this call had its place at one moment in all of them is exactly what would
//! be lost. They are checked as one thing, which takes longer the more there are.

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
    /// In the order in which they were made, without those that were refused.
    pub(super) calls: Vec<Call>,
    /// The ids of every entity that a call was about, read at rest.
    pub(super) ends: BTreeMap<Key, Vec<u64>>,
}

/// What an accepted history consisted of, for a suite to know that it tested something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Accepted {
    /// Answered calls.
    pub(super) appended: usize,
    pub(super) conflicts: usize,
    pub(super) reads: usize,
    /// Unanswered appends that took effect, and that did not.
    pub(super) unknown_happened: usize,
    pub(super) unknown_never: usize,
    /// For each part that was checked on its own, calls in an order that explains it.
    pub(super) orders: Vec<Vec<usize>>,
}

/// A history that is not accepted, with what there is to see of the place where it goes wrong.
#[derive(Debug)]
pub(super) struct Fault(String);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl History {
    /// Whether entities that are what they should be can have given these answers.
    ///
    /// # Panics
    ///
    /// If the history is not one: if two calls append the same id, or an entity was not read at the
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

    /// The calls that took effect, with their place in the history; of each it is known that it
    /// did.
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
                // What only looks leaves no trace of having happened, and nothing depends on it.
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

    /// The entities, those together that a call is about together.
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

    /// Says where the order stops that explains most of a part.
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
    // Reads of all of an entity can be long.
    if line.chars().count() > 300 {
        line.chars().take(300).chain("...".chars()).collect()
    } else {
        line
    }
}
