//! A second model of entities, as plain as possible: lists of ids. It shares no idea with the model
//! that the checker uses, so that each tests the other.

use std::collections::BTreeMap;

use super::{
    checker::{Model, Tick},
    entity::{Answer, Expected, Key, Op},
    history::{Call, History, Outcome},
};

/// The record ids of each entity.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Plain(pub(super) BTreeMap<u32, Vec<u64>>);

impl Plain {
    pub(super) fn of(ends: &BTreeMap<Key, Vec<u64>>) -> Self {
        Self(
            ends.iter()
                .filter(|(_, ids)| !ids.is_empty())
                .map(|(key, ids)| (key.0, ids.clone()))
                .collect(),
        )
    }

    pub(super) fn ids(&self, key: Key) -> &[u64] {
        self.0.get(&key.0).map_or(&[], |ids| ids)
    }

    /// Carries out a request and returns the answer.
    pub(super) fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Append {
                conditions,
                records,
            } => {
                let failed: Vec<(usize, u64)> = (0..)
                    .zip(conditions)
                    .filter_map(|(at, (key, expected))| self.failed(at, *key, *expected))
                    .collect();
                if !failed.is_empty() {
                    return Answer::Conflict { failed };
                }
                let mut first_versions = Vec::new();
                for (key, ids) in records {
                    let list = self.0.entry(key.0).or_default();
                    first_versions.push(list.len() as u64 + 1);
                    list.extend(ids);
                }
                Answer::Appended { first_versions }
            }
            Op::Read {
                key,
                from,
                backward,
                max,
            } => {
                let mut records: Vec<(u64, u64)> =
                    (1..).zip(self.ids(*key).iter().copied()).collect();
                let latest = records.len() as u64;
                if *backward {
                    records.reverse();
                    records.retain(|(version, _)| *from == 0 || version <= from);
                } else {
                    records.retain(|(version, _)| version >= from);
                }
                if *max > 0 {
                    records.truncate(*max as usize);
                }
                Answer::Records { latest, records }
            }
            Op::Latest { keys } => {
                let latest = keys
                    .iter()
                    .map(|key| (self.ids(*key).len() as u64, self.ids(*key).last().copied()));
                Answer::Latest {
                    latest: latest.collect(),
                }
            }
        }
    }

    fn failed(&self, at: usize, key: Key, expected: Expected) -> Option<(usize, u64)> {
        let version = self.ids(key).len() as u64;
        let holds = match expected {
            Expected::Absent => self.ids(key).is_empty(),
            Expected::Exists => !self.ids(key).is_empty(),
            Expected::At(expected) => expected == version,
        };
        (!holds).then_some((at, version))
    }
}

/// A model that does not know the end in advance.
pub(super) struct PlainModel {
    pub(super) end: Plain,
}

impl Model for PlainModel {
    type Op = Op;
    type Answer = Answer;
    type State = Plain;

    fn initial(&self) -> Plain {
        Plain::default()
    }

    fn step(&self, state: &Plain, op: &Op, answer: Option<&Answer>) -> Option<Plain> {
        let mut after = state.clone();
        let says = after.apply(op);
        answer.is_none_or(|answer| *answer == says).then_some(after)
    }

    fn may_end(&self, state: &Plain) -> bool {
        *state == self.end
    }
}

/// Asserts that a history is explained by this order of all calls that took effect.
pub(super) fn assert_explains(history: &History, order: &[usize]) {
    let mut state = Plain::default();
    let mut latest_begin = Tick(0);
    for at in order {
        let Call {
            op,
            invoked,
            outcome,
            ..
        } = &history.calls[*at];
        let says = state.apply(op);
        if let Outcome::Answered { answer, .. } = outcome {
            assert_eq!(says, *answer, "{:?}", history.calls[*at]);
        }
        latest_begin = latest_begin.max(*invoked);
        let is_in_time = history.calls[*at]
            .end()
            .is_none_or(|end| latest_begin <= end);
        assert!(
            is_in_time,
            "it was over before one that is placed before it: {:?}",
            history.calls[*at]
        );
    }
    let keys: Vec<Key> = order
        .iter()
        .flat_map(|at| history.calls[*at].op.keys())
        .collect();
    assert!(
        keys.iter().all(|key| history.ends[key] == state.ids(*key)),
        "the end is another"
    );
}
