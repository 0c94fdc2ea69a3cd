//! The sequential model of entities.
//!
//! An entity is a list of records, the n-th of which has version n. The list only grows. If the end
//! of a history is known, which is what every entity held after the last call, then at every moment
//! before each entity was a prefix of its end, and its version says everything about it. The model
//! is made for given ends, and its state is the versions. An append that would put other records
//! than those of the ends is no valid step. This excludes no order that leads to the ends, and it
//! leaves few choices: only one append can follow a version.

use std::collections::BTreeMap;

use super::checker::Model;

/// An entity, that is, a topic and a key, as a number that the test assigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u32);

/// The condition for an append to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Absent,
    Exists,
    At(u64),
}

impl Expected {
    pub(super) fn holds_at(self, version: u64) -> bool {
        match self {
            Self::Absent => version == 0,
            Self::Exists => version > 0,
            Self::At(expected) => version == expected,
        }
    }
}

/// A request of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Appends records to any number of entities, all or none, if all conditions hold. A record is
    /// identified by an id that no other record has.
    Append {
        conditions: Vec<(Key, Expected)>,
        records: Vec<(Key, Vec<u64>)>,
    },
    /// Reads records of one entity from a version on; 0 is the first, or the last if it reads
    /// backward. Reads at most `max` records; 0 means all.
    Read {
        key: Key,
        from: u64,
        backward: bool,
        max: u64,
    },
    /// Reads the latest records of these entities, as of one moment.
    Latest { keys: Vec<Key> },
}

impl Op {
    /// An append to one entity.
    pub(super) fn append(key: Key, expected: Option<Expected>, ids: &[u64]) -> Self {
        Self::Append {
            conditions: expected
                .map(|expected| (key, expected))
                .into_iter()
                .collect(),
            records: vec![(key, ids.to_vec())],
        }
    }

    /// A read of all of an entity.
    pub(super) fn read(key: Key) -> Self {
        Self::Read {
            key,
            from: 0,
            backward: false,
            max: 0,
        }
    }

    /// All entities that the call concerns, perhaps with repetitions.
    pub(super) fn keys(&self) -> Vec<Key> {
        match self {
            Self::Append {
                conditions,
                records,
            } => conditions
                .iter()
                .map(|(key, _)| *key)
                .chain(records.iter().map(|(key, _)| *key))
                .collect(),
            Self::Read { key, .. } => vec![*key],
            Self::Latest { keys } => keys.clone(),
        }
    }

    /// The ids of the records that the call would append.
    pub(super) fn ids(&self) -> Vec<u64> {
        match self {
            Self::Append { records, .. } => records
                .iter()
                .flat_map(|(_, ids)| ids.iter().copied())
                .collect(),
            Self::Read { .. } | Self::Latest { .. } => Vec::new(),
        }
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The version of the first record of each entity that was appended to, in the order of the
    /// operation.
    Appended { first_versions: Vec<u64> },
    /// Each condition that does not hold, by its place in the request, with the version that the
    /// entity has.
    Conflict { failed: Vec<(usize, u64)> },
    /// The entity's version, and the version and id of each record in the order of the read.
    Records {
        latest: u64,
        records: Vec<(u64, u64)>,
    },
    /// The version and the latest record's id of each entity, in the order of the request.
    Latest { latest: Vec<(u64, Option<u64>)> },
}

/// Entities whose ends are known.
#[derive(Debug)]
pub(super) struct Entities<'a> {
    ends: BTreeMap<Key, (usize, &'a [u64])>,
}

impl<'a> Entities<'a> {
    pub(super) fn new(ends: impl IntoIterator<Item = (Key, &'a [u64])>) -> Self {
        let ends = ends
            .into_iter()
            .enumerate()
            .map(|(place, (key, end))| (key, (place, end)));
        Self {
            ends: ends.collect(),
        }
    }

    /// The place of the entity's version in the state, and the entity's end.
    fn of(&self, key: Key) -> (usize, &'a [u64]) {
        self.ends[&key]
    }

    fn append(
        &self,
        versions: &[u64],
        records: &[(Key, Vec<u64>)],
        told: Option<&[u64]>,
    ) -> Option<Vec<u64>> {
        if told.is_some_and(|told| told.len() != records.len()) {
            return None;
        }
        let mut after: Option<Vec<u64>> = None;
        for (at, (key, ids)) in records.iter().enumerate() {
            let (place, end) = self.of(*key);
            let version = after.as_deref().unwrap_or(versions)[place];
            let fits = end[version as usize..].starts_with(ids)
                && told.is_none_or(|told| told[at] == version + 1);
            if !fits {
                return None;
            }
            // Most appends that are tried do not fit, so the versions are copied only when one
            // does.
            after.get_or_insert_with(|| versions.to_vec())[place] += ids.len() as u64;
        }
        Some(after.unwrap_or_else(|| versions.to_vec()))
    }
}

impl Model for Entities<'_> {
    type Op = Op;
    type Answer = Answer;
    /// The version of each entity, in the order of keys.
    type State = Vec<u64>;

    fn initial(&self) -> Vec<u64> {
        vec![0; self.ends.len()]
    }

    fn step(&self, versions: &Vec<u64>, op: &Op, answer: Option<&Answer>) -> Option<Vec<u64>> {
        let version_of = |key: &Key| versions[self.of(*key).0];
        let record_at = |key: &Key, version: u64| {
            Some(*self.of(*key).1.get(usize::try_from(version).ok()? - 1)?)
        };
        let told = |is_true: bool| is_true.then(|| versions.clone());
        match (op, answer) {
            (
                Op::Append {
                    conditions,
                    records,
                },
                answer,
            ) => {
                let mut failed =
                    conditions
                        .iter()
                        .enumerate()
                        .filter_map(|(at, (key, expected))| {
                            let version = version_of(key);
                            (!expected.holds_at(version)).then_some((at, version))
                        });
                match answer {
                    Some(Answer::Conflict {
                        failed: told_failed,
                    }) => told(!told_failed.is_empty() && failed.eq(told_failed.iter().copied())),
                    Some(Answer::Appended { first_versions }) if failed.next().is_none() => {
                        self.append(versions, records, Some(first_versions))
                    }
                    None if failed.next().is_none() => self.append(versions, records, None),
                    None => told(true),
                    Some(_) => None,
                }
            }
            (_, None) => told(true),
            (
                Op::Read {
                    key,
                    from,
                    backward,
                    max,
                },
                Some(Answer::Records { latest, records }),
            ) => {
                let expected = versions_read(version_of(key), *from, *backward, *max);
                told(
                    *latest == version_of(key)
                        && records.len() == expected.len()
                        && records
                            .iter()
                            .zip(expected)
                            .all(|((version, id), expected)| {
                                *version == expected && record_at(key, expected) == Some(*id)
                            }),
                )
            }
            (Op::Latest { keys }, Some(Answer::Latest { latest })) => told(
                latest.len() == keys.len()
                    && keys.iter().zip(latest).all(|(key, (version, id))| {
                        *version == version_of(key)
                            && *id
                                == version
                                    .checked_sub(1)
                                    .and_then(|_| record_at(key, *version))
                    }),
            ),
            _ => None,
        }
    }

    fn may_end(&self, versions: &Vec<u64>) -> bool {
        self.ends
            .values()
            .zip(versions)
            .all(|((_, end), version)| end.len() as u64 == *version)
    }
}

/// The versions that a read returns of an entity at version `latest`, in the order of the read.
fn versions_read(latest: u64, from: u64, backward: bool, max: u64) -> Vec<u64> {
    let max = if max == 0 { latest } else { max } as usize;
    if backward {
        let from = if from == 0 { latest } else { from.min(latest) };
        (1..=from).rev().take(max).collect()
    } else {
        (from.max(1)..=latest).take(max).collect()
    }
}
