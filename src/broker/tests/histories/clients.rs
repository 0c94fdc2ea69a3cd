//! Clients that race on a few entities of a broker, and how their calls look to the broker.
//!
//! A client has one call under way. It knows the version that it was last told of an entity, and
//! mostly uses that as the expected one. If it gets no answer, it gives the call up or makes it
//! again. It repeats only calls whose event ids let the broker recognize them, so that they take
//! effect once.

use std::{collections::BTreeMap, sync::Mutex};

use bytes::Bytes;

use super::{
    super::world::{below, encode_proto, id_of, now, read_whole},
    entity::{Answer, Expected, Key, Op},
    recorder::{CallId, Recorder},
};
use crate::{
    broker::{
        Actual, Append, AppendBatch, Appended, Broker, Condition, Error, Expected as Condition_,
        FailedCondition, KeyReader, Pending, ReadKey, lock,
    },
    env::sim::SimRandom,
    proto,
    types::{PartitionId, RecordView, Records, Version, partition_of_key},
};

/// The topics of a race, with their numbers of partitions.
pub(super) const TOPICS: [(&str, u32); 2] = [("a", 2), ("b", 1)];

/// The number of entities that all clients use most, some of them in each topic.
pub(super) const HOT: u32 = 4;

/// The number of entities that are used now and then; their numbers follow the hot ones.
pub(super) const COLD: u32 = 24;

/// The sizes to which values are padded: mostly small, now and then more than a block of the
/// journal.
const VALUE_BYTES: [u64; 8] = [30, 30, 30, 300, 300, 300, 1_500, 9_000];

/// A client, and the call it is waiting for.
#[derive(Default)]
pub(super) struct Client {
    call: Option<UnderWay>,
    known: BTreeMap<Key, u64>,
}

/// A call that is not over yet.
struct UnderWay {
    id: CallId,
    op: Op,
    /// `None` if the call must be made again.
    asked: Option<Asked>,
}

/// The broker's side of a call.
enum Asked {
    Append(Pending<Appended>),
    Read(KeyReader),
}

/// The result of a call.
enum Told {
    Answer(Answer),
    Wait(Asked),
    /// The call was refused and had no effect.
    Refused,
    /// The broker has failed.
    Failed,
}

/// Counts of what clients came across.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Met {
    pub(super) retried: u64,
    /// Appends that were made again and answered as stored already.
    pub(super) answered_again: u64,
    pub(super) refused: u64,
}

/// What all clients of a race share.
pub(super) struct Scene<'a> {
    pub(super) broker: &'a Broker,
    pub(super) chance: &'a SimRandom,
    pub(super) recorder: &'a Mutex<Recorder>,
    pub(super) met: &'a mut Met,
}

impl Client {
    /// Takes a step: makes a call, takes the answer, or gives up.
    pub(super) fn act(&mut self, number: u32, scene: &mut Scene<'_>) {
        let mut call = match self.call.take() {
            Some(call) => call,
            None => {
                let op = self.any_op(scene);
                UnderWay {
                    id: lock(scene.recorder).invoke(number, op.clone()),
                    op,
                    asked: None,
                }
            }
        };
        let told = match call.asked.take() {
            None => scene.ask(&call.op),
            Some(Asked::Append(_)) if may_be_repeated(&call.op) && one_in(scene.chance, 16) => {
                scene.met.retried += 1;
                scene.ask(&call.op)
            }
            Some(Asked::Append(_)) if one_in(scene.chance, 200) => return,
            Some(asked) => scene.hear(asked, &call.op),
        };
        match told {
            Told::Wait(asked) => {
                self.call = Some(UnderWay {
                    asked: Some(asked),
                    ..call
                });
            }
            Told::Answer(answer) => {
                self.learn(&call.op, &answer);
                lock(scene.recorder).answered(call.id, answer);
            }
            Told::Refused => {
                scene.met.refused += 1;
                // An earlier attempt may still be under way.
                self.call = Some(UnderWay {
                    asked: None,
                    ..call
                });
            }
            Told::Failed => self.call = Some(call),
        }
    }

    /// Whether the client has no call under way.
    pub(super) fn is_idle(&self) -> bool {
        self.call.is_none()
    }

    /// Tells the client that the broker has crashed. The call will be made again to the next
    /// broker, if it can be repeated.
    pub(super) fn meet_crash(
        &mut self,
        scene_chance: &SimRandom,
        recorder: &mut Recorder,
        met: &mut Met,
    ) {
        let Some(call) = self.call.take() else { return };
        if may_be_repeated(&call.op) && !one_in(scene_chance, 4) {
            recorder.retried(call.id);
            met.retried += 1;
            self.call = Some(UnderWay {
                asked: None,
                ..call
            });
        }
    }

    /// Takes an answer that came before the broker crashed.
    pub(super) fn hear_last(&mut self, scene: &mut Scene<'_>) {
        let Some(UnderWay {
            id,
            op,
            asked: Some(Asked::Append(pending)),
        }) = self
            .call
            .take_if(|call| matches!(call.asked, Some(Asked::Append(_))))
        else {
            return;
        };
        match scene.hear(Asked::Append(pending), &op) {
            Told::Answer(answer) => {
                self.learn(&op, &answer);
                lock(scene.recorder).answered(id, answer);
            }
            _ => {
                self.call = Some(UnderWay {
                    id,
                    op,
                    asked: None,
                });
            }
        }
    }

    fn learn(&mut self, op: &Op, answer: &Answer) {
        match (op, answer) {
            (Op::Append { records, .. }, Answer::Appended { first_versions }) => {
                for ((key, ids), first) in records.iter().zip(first_versions) {
                    self.known.insert(*key, first + ids.len() as u64 - 1);
                }
            }
            (Op::Append { conditions, .. }, Answer::Conflict { failed }) => {
                self.known.extend(
                    failed
                        .iter()
                        .map(|(at, actual)| (conditions[*at].0, *actual)),
                );
            }
            (Op::Read { key, .. }, Answer::Records { latest, .. }) => {
                self.known.insert(*key, *latest);
            }
            (Op::Latest { keys }, Answer::Latest { latest }) => {
                self.known.extend(
                    keys.iter()
                        .zip(latest)
                        .map(|(key, (version, _))| (*key, *version)),
                );
            }
            _ => unreachable!("answers fit what was asked"),
        }
    }

    fn any_op(&self, scene: &Scene<'_>) -> Op {
        let chance = scene.chance;
        let fresh_ids = |count| lock(scene.recorder).fresh_ids(count);
        let count = 1 + below(chance, 2);
        let (one, other) = two_keys(chance);
        match below(chance, 16) {
            0 => Op::Latest {
                keys: of_one_topic(one, other),
            },
            1 => Op::read(one),
            2 => Op::Read {
                key: one,
                from: below(chance, self.version(one) + 3),
                backward: one_in(chance, 2),
                max: below(chance, 4),
            },
            3 => Op::append(one, None, &fresh_ids(count)),
            // A condition on an entity that the append does not write.
            4 => Op::Append {
                conditions: vec![
                    (other, self.any_expected(chance, other)),
                    (one, self.any_expected(chance, one)),
                ],
                records: vec![(one, fresh_ids(count))],
            },
            5 | 6 => Op::Append {
                conditions: vec![
                    (one, self.any_expected(chance, one)),
                    (other, self.any_expected(chance, other)),
                ],
                records: vec![(one, fresh_ids(count)), (other, fresh_ids(1))],
            },
            7 => Op::Append {
                conditions: Vec::new(),
                records: vec![(one, fresh_ids(1)), (other, fresh_ids(1))],
            },
            8 | 9 => {
                let cold = Key(HOT + below(chance, u64::from(COLD)) as u32);
                Op::append(
                    cold,
                    Some(self.any_expected(chance, cold)),
                    &fresh_ids(count),
                )
            }
            _ => Op::append(one, Some(self.any_expected(chance, one)), &fresh_ids(count)),
        }
    }

    fn version(&self, key: Key) -> u64 {
        self.known.get(&key).copied().unwrap_or(0)
    }

    fn any_expected(&self, chance: &SimRandom, key: Key) -> Expected {
        match below(chance, 24) {
            0 => Expected::Absent,
            1 | 2 => Expected::Exists,
            3 => Expected::At(below(chance, self.version(key) + 2)),
            _ => Expected::At(self.version(key)),
        }
    }
}

impl Scene<'_> {
    fn ask(&mut self, op: &Op) -> Told {
        let asked = match op {
            Op::Append {
                conditions,
                records,
            } => {
                let append = append_of(conditions, records);
                let bytes = append.batches.iter().map(|batch| batch.records.len()).sum();
                let Some(admitted) = now(self.broker.admit_alone(bytes)) else {
                    return Told::Refused;
                };
                let pending = admitted.and_then(|admission| self.broker.append(append, admission));
                pending.map(|pending| Told::Wait(Asked::Append(pending)))
            }
            Op::Read {
                key,
                from,
                backward,
                max,
            } => {
                let (topic, key) = (topic_of(*key), key_of(*key));
                let (from, max_records) = (Version(*from), *max);
                let read = ReadKey {
                    topic,
                    key,
                    from,
                    backward: *backward,
                    max_records,
                    ..ReadKey::default()
                };
                self.broker
                    .read_key(read)
                    .map(|reader| Told::Wait(Asked::Read(reader)))
            }
            Op::Latest { keys } => {
                let wanted: Vec<Bytes> = keys.iter().copied().map(key_of).collect();
                self.broker
                    .get_latest(&topic_of(keys[0]), &wanted)
                    .map(|latest| {
                        let one = |latest: crate::broker::Latest| {
                            let id = latest.record.map(|record| {
                                id_in(&RecordView::parse(&record).expect("a record"))
                            });
                            (latest.version.0, id)
                        };
                        Told::Answer(Answer::Latest {
                            latest: latest.into_iter().map(one).collect(),
                        })
                    })
            }
        };
        asked.unwrap_or_else(|error| self.failed(&error))
    }

    fn hear(&mut self, asked: Asked, op: &Op) -> Told {
        match asked {
            Asked::Append(mut pending) => match now(&mut pending) {
                None => Told::Wait(Asked::Append(pending)),
                Some(Ok(appended)) => {
                    self.met.answered_again += u64::from(pending.is_unsettled());
                    Told::Answer(Answer::Appended {
                        first_versions: first_versions(&appended, op),
                    })
                }
                Some(Err(Error::Conflict { failed })) => Told::Answer(conflict(&failed)),
                Some(Err(error)) => self.failed(&error),
            },
            Asked::Read(reader) => {
                let latest = reader.latest().0;
                match read_out(reader) {
                    Ok(records) => Told::Answer(Answer::Records { latest, records }),
                    Err(error) => self.failed(&error),
                }
            }
        }
    }

    fn failed(&self, error: &Error) -> Told {
        assert!(
            self.broker.shared.health.has_failed() || is_off(self.broker),
            "refused with the power on: {error}"
        );
        Told::Failed
    }
}

fn is_off(broker: &Broker) -> bool {
    broker
        .shared
        .env
        .files
        .exists(&broker.shared.options.data_dir)
        .is_err()
}

fn one_in(chance: &SimRandom, count: u64) -> bool {
    below(chance, count) == 0
}

/// Two different hot entities.
fn two_keys(chance: &SimRandom) -> (Key, Key) {
    let one = below(chance, u64::from(HOT)) as u32;
    let other = (one + 1 + below(chance, u64::from(HOT) - 1) as u32) % HOT;
    (Key(one), Key(other))
}

/// Both entities if they are in one topic, else only the first.
fn of_one_topic(one: Key, other: Key) -> Vec<Key> {
    if topic_of(one) == topic_of(other) {
        vec![one, other]
    } else {
        vec![one]
    }
}

/// The topic of an entity.
pub(super) fn topic_of(key: Key) -> String {
    TOPICS[usize::from(key.0 % 4 == 3)].0.to_owned()
}

/// The key of an entity.
pub(super) fn key_of(key: Key) -> Bytes {
    format!("entity {}", key.0).into()
}

/// Whether the broker recognizes a repetition of the append by its event ids: every entity that it
/// writes must have a condition that fixes the records' versions.
fn may_be_repeated(op: &Op) -> bool {
    let Op::Append {
        conditions,
        records,
    } = op
    else {
        return false;
    };
    let says = |key: &Key| {
        conditions.iter().any(|(of, expected)| {
            of == key && matches!(expected, Expected::Absent | Expected::At(_))
        })
    };
    records.iter().all(|(key, _)| says(key))
}

fn append_of(conditions: &[(Key, Expected)], records: &[(Key, Vec<u64>)]) -> Append {
    let condition = |(key, expected): &(Key, Expected)| {
        let (topic, key) = (topic_of(*key), key_of(*key));
        let expected = match expected {
            Expected::Absent => Condition_::KeyAbsent { key },
            Expected::Exists => Condition_::KeyExists { key },
            Expected::At(version) => Condition_::KeyAt {
                key,
                version: Version(*version),
            },
        };
        Condition {
            topic,
            topic_id: None,
            expected,
        }
    };
    let batch = |(key, ids): &(Key, Vec<u64>)| AppendBatch {
        topic_id: None,
        topic: topic_of(*key),
        partition: None,
        sequence: None,
        records: ids
            .iter()
            .flat_map(|id| encode(*key, *id))
            .collect::<Vec<u8>>()
            .into(),
    };
    Append {
        batches: records.iter().map(batch).collect(),
        conditions: conditions.iter().map(condition).collect(),
        producer: None,
        holder: None,
        return_versions: true,
        group_offsets: Vec::new(),
    }
}

/// A record that depends only on its id, so that a repeated call has the same record.
fn encode(key: Key, id: u64) -> Vec<u8> {
    let mut value = id.to_le_bytes().to_vec();
    let most = VALUE_BYTES[(id.wrapping_mul(0x9e37_79b9) >> 5) as usize % VALUE_BYTES.len()];
    value.resize(8 + (id * 7_919 % most) as usize, (id % 251) as u8);
    encode_proto(&proto::Record {
        key: Some(key_of(key)),
        value: Some(value.into()),
        event_id: id.to_be_bytes().to_vec().into(),
        ..Default::default()
    })
}

fn id_in(record: &RecordView<'_>) -> u64 {
    let id = id_of(record.value.expect("a value"));
    assert_eq!(
        record.event_id,
        id.to_be_bytes(),
        "the event id of record {id} has changed"
    );
    id
}

fn first_versions(appended: &Appended, op: &Op) -> Vec<u64> {
    let Op::Append { records, .. } = op else {
        unreachable!("only appends are answered with it")
    };
    assert_eq!(appended.batches.len(), records.len());
    let first = |(ranges, (_, ids)): (&Vec<crate::broker::AppendedRange>, &(Key, Vec<u64>))| {
        let [range] = &ranges[..] else {
            panic!("a batch of one key is one range: {ranges:?}")
        };
        assert_eq!(
            (range.count as usize, range.versions.len()),
            (ids.len(), ids.len()),
            "{range:?}"
        );
        assert!(
            range
                .versions
                .windows(2)
                .all(|pair| pair[1] == pair[0].next()),
            "{range:?}"
        );
        range.versions[0].0
    };
    appended.batches.iter().zip(records).map(first).collect()
}

fn conflict(failed: &[FailedCondition]) -> Answer {
    let one = |failed: &FailedCondition| match failed.actual {
        Actual::Version(version) => (failed.index, version.0),
        Actual::NextOffset(_) => unreachable!("no condition was about a partition"),
    };
    Answer::Conflict {
        failed: failed.iter().map(one).collect(),
    }
}

/// The version and id of each remaining record of a read.
pub(super) fn read_out(mut reader: KeyReader) -> Result<Vec<(u64, u64)>, Error> {
    let mut records = Vec::new();
    while let Some(slices) = reader.step()? {
        for slice in &slices {
            for element in Records::new(slice) {
                let record = RecordView::parse(element.expect("a record").1).expect("a record");
                records.push((record.version.expect("the broker's field"), id_in(&record)));
            }
        }
    }
    Ok(records)
}

/// The ids of every entity when the broker is at rest. Asserts that the index finds the same
/// records as the logs have.
pub(super) fn ends_of(broker: &Broker) -> BTreeMap<Key, Vec<u64>> {
    let ends: BTreeMap<Key, Vec<u64>> = (0..HOT + COLD)
        .map(|key| (Key(key), end_of(broker, Key(key))))
        .collect();
    for (topic, partitions) in TOPICS {
        for partition in (0..partitions).map(PartitionId) {
            let found = read_whole(broker, topic, partition);
            let is_here = |key: Key| {
                topic_of(key) == topic && partition_of_key(&key_of(key), partitions) == partition
            };
            let mut records = 0;
            for (key, end) in ends.iter().filter(|(key, _)| is_here(**key)) {
                let of_key = found
                    .iter()
                    .filter(|found| found.key.as_deref() == Some(&key_of(*key)[..]));
                let in_log: Vec<(u64, Option<Version>)> =
                    of_key.map(|found| (found.id, found.version)).collect();
                let by_index: Vec<(u64, Option<Version>)> = end
                    .iter()
                    .zip(1..)
                    .map(|(id, version)| (*id, Some(Version(version))))
                    .collect();
                assert_eq!(in_log, by_index, "{key:?} of {topic}/{partition}");
                records += in_log.len();
            }
            assert_eq!(
                found.len(),
                records,
                "{topic}/{partition} has records that nobody appended"
            );
        }
    }
    ends
}

fn end_of(broker: &Broker, key: Key) -> Vec<u64> {
    let read = ReadKey {
        topic: topic_of(key),
        key: key_of(key),
        ..ReadKey::default()
    };
    let records = read_out(broker.read_key(read).expect("it can be read")).expect("it can be read");
    assert!(
        records
            .iter()
            .zip(1..)
            .all(|((version, _), expected)| *version == expected),
        "{records:?}"
    );
    records.into_iter().map(|(_, id)| id).collect()
}
