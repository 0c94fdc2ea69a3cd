//! The power fails in the middle of a write or a sync, and clients do not learn whether it
//! succeeded.

use std::{collections::BTreeMap, time::Duration};

use super::{Chaos, offset_of};
use crate::{
    broker::{
        Append,
        tests::world::{append_of, below, encode_record, now, read_all},
    },
    catalog::groups::Place,
    env::sim::CrashMode,
    types::{Offset, PartitionId},
};

/// The most disk operations before the power fails.
const MOST_OPERATIONS: u64 = 12;

/// What was asked for and not answered.
#[derive(Default)]
struct Doubtful {
    /// Offsets that may or may not be committed.
    commits: BTreeMap<Place, Offset>,
    /// Records that may or may not be appended, with their topic and partition.
    appends: Vec<(String, u32, Vec<u64>)>,
    /// Output that may or may not be appended: its partition, its records, and the partition whose
    /// offset the append commits.
    written_out: Vec<(u32, Vec<u64>, Place)>,
}

impl Chaos {
    /// Members commit and records are appended until the power fails. What was answered before must
    /// be there; of each other append, all or nothing.
    pub(super) fn fail_power(&mut self) {
        // What is due by now is done before, so that it is not in doubt.
        self.advance(Duration::from_millis(1));
        let disk = self.world.disk.clone();
        let operation = disk.operations() + 1 + below(&self.chance, MOST_OPERATIONS);
        match below(&self.chance, 2) {
            0 => disk.crash_at(operation),
            _ => disk.crash_within(operation),
        }
        let mut doubtful = Doubtful::default();
        while disk.is_on() {
            match below(&self.chance, 8) {
                0..3 => self.ask_for_commits(&mut doubtful),
                3..5 => self.ask_for_append(&mut doubtful),
                5..7 => drop(self.world.broker().commit_queued(1)),
                _ => self.world.broker().keep_house(below(&self.chance, 2) == 0),
            }
        }
        let modes = CrashMode::ALL.len() as u64;
        let mode = CrashMode::ALL[below(&self.chance, modes) as usize];
        self.world.kill(mode);
        self.start_again(&doubtful.commits);
        self.find_out(doubtful);
        self.did.power_failed += 1;
    }

    /// A member commits the offsets it has handled, and does not learn whether they are committed.
    fn ask_for_commits(&mut self, doubtful: &mut Doubtful) {
        let Some(at) = self.pick_running() else {
            return self.ask_for_append(doubtful);
        };
        let Some(mut member) = self.clients[at].member.take() else {
            return;
        };
        let owned = self.world.state("g").owned;
        for (&place, has) in &member.has {
            let of = owned.get(&place);
            let is_its_own =
                of.is_some_and(|of| of.owner == member.id && of.since == has.generation);
            if !is_its_own || doubtful.commits.contains_key(&place) {
                continue;
            }
            if !self.writes_out {
                let offset = offset_of(&member, place, has);
                drop(member.session.commit(vec![offset]));
                doubtful.commits.insert(place, has.next);
                continue;
            }
            let got = member.got.iter().filter(|got| got.place == place);
            let ids: Vec<u64> = got.map(|got| got.id).collect();
            if ids.is_empty() {
                continue;
            }
            let out = place.1.0 % 2;
            let records: Vec<Vec<u8>> = ids.iter().map(|id| encode_record(*id, 40)).collect();
            self.ask(Append {
                group_offsets: vec![("g".to_owned(), vec![offset_of(&member, place, has)])],
                ..append_of("out", Some(out), &records)
            });
            doubtful.commits.insert(place, has.next);
            doubtful.written_out.push((out, ids, place));
        }
        self.clients[at].member = Some(member);
    }

    fn ask_for_append(&mut self, doubtful: &mut Doubtful) {
        let topic = format!("t{}", below(&self.chance, u64::from(self.topics)));
        let ids = self.world.draw_ids(1 + below(&self.chance, 3));
        let records: Vec<Vec<u8>> = ids.iter().map(|id| encode_record(*id, 40)).collect();
        self.ask(append_of(&topic, Some(0), &records));
        doubtful.appends.push((topic, 0, ids));
    }

    /// Queues an append if that is possible, without waiting for the answer.
    fn ask(&self, append: Append) {
        let broker = self.world.broker();
        let bytes = append.batches.iter().map(|batch| batch.records.len()).sum();
        if let Some(Ok(admission)) = now(broker.admit_alone(bytes)) {
            drop(broker.append(append, admission));
        }
    }

    /// Finds out which of the unanswered requests have taken effect.
    fn find_out(&mut self, doubtful: Doubtful) {
        for (topic, partition, ids) in doubtful.appends {
            if self.is_there(&topic, partition, &ids) {
                self.did.records += ids.len() as u64;
                self.appended.extend(ids);
            }
        }
        let offsets = self.world.state("g").offsets;
        for (out, ids, place) in doubtful.written_out {
            let committed = offsets.get(&place).map(|committed| committed.next);
            let is_committed = committed == doubtful.commits.get(&place).copied();
            let is_there = self.is_there("out", out, &ids);
            assert_eq!(is_there, is_committed, "{ids:?} of {place:?}");
            if is_there {
                for id in ids {
                    assert!(self.handled.insert(id), "{id} is written out twice");
                }
            }
        }
    }

    /// Whether the records of one append are there. Asserts that all of them are, or none.
    fn is_there(&mut self, topic: &str, partition: u32, ids: &[u64]) -> bool {
        let all = read_all(self.world.broker(), topic, PartitionId(partition));
        let there = ids.iter().filter(|id| all.iter().any(|(_, of)| of == *id));
        let (there, all) = (there.count(), ids.len());
        assert!(there == 0 || there == all, "{there} of {ids:?} are there");
        match there {
            0 => self.did.doubtful_absent += 1,
            _ => self.did.doubtful_present += 1,
        }
        there > 0
    }
}
