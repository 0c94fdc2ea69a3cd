//! What was asked of the broker, what it answered, and therefore what must be found.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::world::{Found, read_whole};
use crate::{
    broker::{Appended, Broker},
    types::{Offset, PartitionId, TopicId},
};

/// Whether something is known to have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// It was asked for and not answered.
    Maybe,
    /// It was acknowledged.
    Yes,
}

/// The record of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    pub(super) topics: BTreeMap<u64, TopicEntry>,
    appends: Vec<AppendEntry>,
    next_id: u64,
}

/// A topic that was asked for. Topics that had the same name one after the other are different
/// entries.
#[derive(Clone, Debug)]
pub(super) struct TopicEntry {
    pub(super) name: String,
    pub(super) partitions: u32,
    pub(super) created: Known,
    pub(super) deleted: Option<Known>,
    /// Whether its settings allow retention to remove records.
    pub(super) limited: bool,
    /// The topic's id, once the creation has been acknowledged or seen.
    id: Option<TopicId>,
    /// For each partition: the start that was acknowledged, and the furthest start that was asked
    /// for.
    starts: BTreeMap<u32, (u64, u64)>,
    /// The record ids that were acknowledged or seen, by partition and offset.
    found: HashMap<(u32, u64), u64>,
    /// The record that was seen for each version of each key.
    versions: BTreeMap<(Vec<u8>, u64), u64>,
}

/// An append that was asked for.
#[derive(Clone, Debug)]
struct AppendEntry {
    topic: u64,
    ids: Vec<u64>,
    known: Known,
    refused: bool,
}

/// What a check came across, so that the suite knows that it tested something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) records: u64,
    pub(super) unknown_present: u64,
    pub(super) unknown_absent: u64,
}

impl Ledger {
    /// An id that no record has yet.
    pub(super) fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn create_asked(&mut self, name: &str, partitions: u32) -> u64 {
        let key = self.topics.len() as u64;
        self.topics.insert(
            key,
            TopicEntry {
                name: name.to_owned(),
                partitions,
                created: Known::Maybe,
                deleted: None,
                limited: false,
                id: None,
                starts: BTreeMap::new(),
                found: HashMap::new(),
                versions: BTreeMap::new(),
            },
        );
        key
    }

    pub(super) fn create_answered(&mut self, key: u64, id: TopicId) {
        let topic = self.topic(key);
        topic.created = Known::Yes;
        topic.id = Some(id);
    }

    pub(super) fn topic(&mut self, key: u64) -> &mut TopicEntry {
        self.topics
            .get_mut(&key)
            .expect("keys come from this ledger")
    }

    pub(super) fn trim_asked(&mut self, key: u64, partition: u32, before: u64) {
        let start = self.topic(key).starts.entry(partition).or_default();
        start.1 = start.1.max(before);
    }

    pub(super) fn trim_answered(&mut self, key: u64, partition: u32, start: Offset) {
        let entry = self.topic(key).starts.entry(partition).or_default();
        assert!(start.0 >= entry.0, "a log's start went back");
        entry.0 = start.0;
    }

    /// The furthest start that a partition was seen to have.
    pub(super) fn start_of(&self, key: u64, partition: u32) -> u64 {
        let starts = &self.topics[&key].starts;
        starts.get(&partition).map_or(0, |(seen, _)| *seen)
    }

    /// Records an append that is asked for; returns its number.
    pub(super) fn append_asked(&mut self, topic: u64, ids: Vec<u64>) -> usize {
        self.appends.push(AppendEntry {
            topic,
            ids,
            known: Known::Maybe,
            refused: false,
        });
        self.appends.len() - 1
    }

    pub(super) fn append_refused(&mut self, key: usize) {
        self.appends[key].refused = true;
    }

    pub(super) fn append_answered(&mut self, key: usize, appended: &Appended) {
        let entry = &mut self.appends[key];
        entry.known = Known::Yes;
        // All appends here go to one partition, so that ids and offsets can be matched.
        let ranges = &appended.batches[0];
        assert_eq!(ranges.len(), 1);
        let (partition, first) = (ranges[0].partition.0, ranges[0].first_offset.0);
        assert_eq!(ranges[0].count as usize, entry.ids.len());
        let (topic, ids) = (entry.topic, entry.ids.clone());
        for (at, id) in ids.into_iter().enumerate() {
            let before = self
                .topic(topic)
                .found
                .insert((partition, first + at as u64), id);
            assert_eq!(before.unwrap_or(id), id, "an offset was acknowledged twice");
        }
    }

    /// Compares the broker with everything that is known, and records what is newly known: whatever
    /// a reader has seen must stay.
    pub(super) fn check(&mut self, broker: &Broker) -> Seen {
        let mut seen = Seen::default();
        let mut present: BTreeSet<u64> = BTreeSet::new();
        let mut visible: BTreeSet<u64> = BTreeSet::new();
        for key in self.topics.keys().copied().collect::<Vec<_>>() {
            if self.settle_topic(broker, key) {
                visible.insert(key);
                present.append(&mut self.check_topic(broker, key));
            }
        }
        seen.records = present.len() as u64;
        for append in &mut self.appends {
            if !visible.contains(&append.topic) {
                continue;
            }
            let there = append.ids.iter().filter(|id| present.contains(id)).count();
            assert!(
                !append.refused || there == 0,
                "a refused append is there: {append:?}"
            );
            let topic = &self.topics[&append.topic];
            let trimmed = topic.starts.values().any(|(_, asked)| *asked > 0) || topic.limited;
            assert!(
                there == 0 || there == append.ids.len() || trimmed,
                "part of an append is there: {append:?}"
            );
            if append.known == Known::Maybe && !append.refused {
                // From now on the append must stay as it is.
                if there > 0 {
                    seen.unknown_present += 1;
                    append.known = Known::Yes;
                } else if !trimmed {
                    seen.unknown_absent += 1;
                    append.refused = true;
                }
            }
        }
        seen
    }

    /// Whether the topic exists, which must not contradict what is known, and must not change from
    /// now on.
    fn settle_topic(&mut self, broker: &Broker, key: u64) -> bool {
        let topic = &self.topics[&key];
        let described = broker
            .describe_topic(&topic.name)
            .ok()
            .map(|(described, _)| described);
        let others: Vec<TopicId> = self
            .topics
            .iter()
            .filter(|(k, _)| **k != key)
            .filter_map(|(_, t)| t.id)
            .collect();
        let there = described.filter(|found| match topic.id {
            Some(id) => found.id == id,
            // The creation was not acknowledged. The topic found is this one if it is none of the
            // others.
            None => {
                !others.contains(&found.id)
                    && topic.deleted != Some(Known::Yes)
                    && topic.created == Known::Maybe
            }
        });
        let topic = self.topic(key);
        match &there {
            Some(found) => {
                assert_ne!(
                    topic.deleted,
                    Some(Known::Yes),
                    "topic {} was deleted and is back",
                    topic.name
                );
                assert_eq!(found.partitions, topic.partitions);
                topic.created = Known::Yes;
                topic.id = Some(found.id);
                // An unanswered deletion has not happened, and cannot happen any more.
                topic.deleted = None;
            }
            None => {
                let may_be_gone = topic.created == Known::Maybe || topic.deleted.is_some();
                assert!(may_be_gone, "topic {} is gone", topic.name);
                topic.deleted = Some(Known::Yes);
            }
        }
        there.is_some()
    }

    /// Checks all partitions of a topic; returns the ids of its records.
    fn check_topic(&mut self, broker: &Broker, key: u64) -> BTreeSet<u64> {
        let topic = self.topics[&key].clone();
        let (_, partitions) = broker
            .describe_topic(&topic.name)
            .expect("it was described before");
        let mut present = BTreeSet::new();
        for described in partitions {
            let partition = described.partition;
            let (acknowledged, asked) = topic.starts.get(&partition.0).copied().unwrap_or_default();
            let start = described.earliest.0;
            let asked = match topic.limited {
                true => described.high_watermark.0,
                false => asked,
            };
            assert!(
                (acknowledged..=asked).contains(&start),
                "{}/{partition} starts at {start}, not in {acknowledged}..={asked}",
                topic.name
            );
            self.topic(key).starts.insert(partition.0, (start, start));
            let records = read_whole(broker, &topic.name, partition);
            self.check_versions(key, partition, start, &records);
            let records: Vec<(Offset, u64)> = records
                .iter()
                .map(|found| (found.offset, found.id))
                .collect();
            self.check_records(key, partition, start, described.high_watermark.0, &records);
            for (_, id) in records {
                assert!(present.insert(id), "record {id} is there twice");
            }
        }
        present
    }

    /// Asserts that the versions of each key have no gaps, and lie behind the versions that were
    /// seen before a trim.
    fn check_versions(&mut self, key: u64, partition: PartitionId, start: u64, records: &[Found]) {
        let topic = self.topic(key);
        let mut here: BTreeMap<&[u8], u64> = BTreeMap::new();
        for found in records {
            let Some(key) = &found.key else {
                assert_eq!(
                    found.version, None,
                    "a record without a key has a version: {found:?}"
                );
                continue;
            };
            let version = found
                .version
                .unwrap_or_else(|| panic!("a record has no version: {found:?}"))
                .0;
            let follows = match here.insert(key, version) {
                Some(before) => version == before + 1,
                None => version == 1 || start > 0,
            };
            assert!(
                follows,
                "{}/{partition}: {found:?} has a gap before it",
                topic.name
            );
            let id = *topic
                .versions
                .entry((key.clone(), version))
                .or_insert(found.id);
            assert_eq!(
                id, found.id,
                "{}/{partition}: {found:?} has a version that another record had",
                topic.name
            );
        }
    }

    fn check_records(
        &mut self,
        key: u64,
        partition: PartitionId,
        start: u64,
        end: u64,
        records: &[(Offset, u64)],
    ) {
        let name = self.topics[&key].name.clone();
        let asked: BTreeSet<u64> = self
            .appends
            .iter()
            .filter(|append| append.topic == key && !append.refused)
            .flat_map(|append| append.ids.iter().copied())
            .collect();
        let topic = self.topic(key);
        assert_eq!(
            records.len() as u64,
            end - start,
            "{name}/{partition} does not hold what lies between its ends"
        );
        for (at, (offset, id)) in records.iter().enumerate() {
            assert_eq!(offset.0, start + at as u64, "{name}/{partition} has a gap");
            assert!(
                asked.contains(id),
                "nobody appended record {id} of {name}/{partition}"
            );
            let before = *topic.found.entry((partition.0, offset.0)).or_insert(*id);
            assert_eq!(
                before, *id,
                "{name}/{partition} has another record at {offset} than before"
            );
        }
        assert!(
            records.is_sorted_by_key(|(_, id)| *id),
            "{name}/{partition} is out of order"
        );
        let lost = topic
            .found
            .keys()
            .find(|(of, offset)| *of == partition.0 && *offset >= end);
        assert_eq!(
            lost, None,
            "{name}/{partition} ends at {end} and has lost an acknowledged or visible record"
        );
    }
}
