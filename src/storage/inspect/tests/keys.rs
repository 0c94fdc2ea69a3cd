//! Key indexes, producers and erasures.

use std::ops::Range;

use super::*;
use crate::{
    catalog::{Erasure as Described, KnownErasure, Token},
    storage::{
        format::page::PAGE_BYTES,
        keys::{
            hash::KeyHash,
            sorted_table::{Content as TableContent, Kind, LastVersion, Name, Row, SortedTable},
        },
    },
    types::{ProducerId, Version},
};

const PARTITION: log::Identity = log::Identity {
    topic: TOPIC,
    partition: PartitionId(0),
};

/// The fingerprint of the topic's hasher, whose seed is 0.
fn fingerprint() -> u64 {
    KeyHasher::new(TOPIC, 0).fingerprint()
}

fn content(kind: Kind, covers: Range<u64>, rows: u64) -> TableContent {
    TableContent {
        kind,
        identity: PARTITION,
        fingerprint: fingerprint(),
        from: covers.start,
        to: covers.end,
        expected_rows: rows,
        expected_hashes: rows,
    }
}

impl Directory {
    fn partition_dir(&self) -> PathBuf {
        self.data.topic(TOPIC).join("0")
    }

    /// Writes a table of records with a row for every offset.
    fn write_run(&self, from: u64, to: u64) -> PathBuf {
        let content = content(Kind::Records, from..to, to - from);
        let row = |at: u64| Row::of_record(KeyHash(at << 32), Version(1), Offset(at));
        let run = SortedTable::write(
            &*self.env.files,
            &self.partition_dir(),
            &content,
            (from..to).map(row),
        );
        run.expect("room").path().to_owned()
    }

    /// Writes a table of last versions of entities with long keys, so that it takes several pages.
    fn write_last_versions(&self, numbers: Range<u64>, rows: u64) -> PathBuf {
        let content = content(Kind::LastVersions, numbers, rows);
        let last = |at: u64| LastVersion {
            hash: KeyHash(at << 32),
            version: Version(at),
            name: Name::Entity {
                key: vec![1; 1_000].into(),
            },
        };
        let lasts: Vec<LastVersion> = (1..=rows).map(last).collect();
        let (files, dir) = (&*self.env.files, self.partition_dir());
        let table = SortedTable::write_last_versions(files, &dir, &content, &lasts);
        table.expect("room").path().to_owned()
    }

    /// Stores the last checkpoint again with this change.
    fn change_checkpoint(&self, change: impl FnOnce(&mut Content)) {
        let path = self.data.checkpoint();
        let mut content = read_file(&*self.env.files, &path)
            .unwrap()
            .and_then(|bytes| Content::decode(&bytes))
            .unwrap();
        change(&mut content);
        checkpoint_file::tests::store(&*self.env.files, &path, &content).expect("room");
    }

    fn use_last_versions(&self, number: u64) {
        self.change_checkpoint(|content| content.topics[0].partitions[0].retired = number);
    }

    fn first_partition(&self, verify: bool) -> Partition {
        self.inspect(verify)
            .topics
            .swap_remove(0)
            .partitions
            .swap_remove(0)
    }
}

fn erasure(id: u64) -> Described {
    Described {
        id,
        partition: PartitionId(1),
        token: Token::new(1, 2, b"key"),
        end: Offset(5),
        through: Version(2),
        requested_ms: 1_000,
    }
}

#[test]
fn runs_are_told_with_what_they_cover_and_what_none_covers_is_no_damage() {
    let dir = Directory::filled();
    dir.write_run(0, 20);
    dir.write_run(30, 46);
    for verify in [false, true] {
        assert_eq!(dir.inspect(verify).damage, []);
        let runs = dir.first_partition(verify).key_runs;
        let told = runs
            .iter()
            .map(|run| (run.offsets.start.0, run.offsets.end.0, run.rows, run.state));
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                (0, 20, 20, KeyFileState::Sound),
                (30, 46, 16, KeyFileState::Sound)
            ]
        );
        assert!(runs.iter().all(|run| run.bytes == 4 * PAGE_BYTES as u64));
    }
}

#[test]
fn a_run_that_was_merged_or_is_ahead_of_the_log_is_left_over() {
    let dir = Directory::filled();
    dir.write_run(0, 20);
    dir.write_run(0, 40);
    dir.write_run(20, 40);
    dir.write_run(40, 47);
    assert_eq!(dir.inspect(true).damage, []);
    let told: Vec<_> = dir
        .first_partition(true)
        .key_runs
        .iter()
        .map(|run| (run.offsets.end.0, run.state))
        .collect();
    let left_over = |end| (end, KeyFileState::LeftOver);
    assert_eq!(
        told,
        [
            (40, KeyFileState::Sound),
            left_over(20),
            left_over(40),
            left_over(47)
        ]
    );
}

#[test]
fn any_damaged_part_of_a_run_is_listed_and_costs_nothing() {
    let dir = Directory::filled();
    let path = dir.write_run(0, 46);
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    // Every part of the header, then bytes of the filter, the fence and the rows.
    let pages = (1..4).flat_map(|page| [0, 700, 4_095].map(|at| page * PAGE_BYTES as u64 + at));
    for at in (0..80).chain(pages) {
        dir.flip(&path, at);
        let report = dir.inspect(true);
        assert_eq!(
            names(&report.damage),
            [(name.clone(), None, DamageKind::KeyRun)],
            "byte {at}"
        );
        assert!(!report.damage[0].loses_records());
        assert_eq!(
            report.topics[0].partitions[0].key_runs[0].state,
            KeyFileState::Damaged
        );
        assert_eq!(dir.inspect(false).damage.is_empty(), at >= 80, "byte {at}");
        dir.flip(&path, at);
    }
    let file = dir
        .env
        .files
        .open(&path, Open::Write)
        .expect("there is one");
    for len in [0, 79, PAGE_BYTES as u64, 3 * PAGE_BYTES as u64 + 1] {
        file.set_len(len).expect("it can be cut");
        assert_eq!(
            names(&dir.inspect(false).damage)[0].2,
            DamageKind::KeyRun,
            "cut to {len}"
        );
    }
}

#[test]
fn a_run_under_another_name_or_of_another_hasher_is_damaged() {
    let dir = Directory::filled();
    let path = dir.write_run(0, 20);
    let other = dir
        .partition_dir()
        .join(format!("{:020}-{:020}.keys", 0, 21));
    dir.env
        .files
        .rename(&path, &other)
        .expect("it can be renamed");
    assert_eq!(dir.damage()[0].2, DamageKind::KeyRun);
    dir.env
        .files
        .rename(&other, &path)
        .expect("it can be renamed");
    assert_eq!(dir.damage(), []);
    dir.change_checkpoint(|content| content.topics[0].seed = 1);
    assert_eq!(dir.damage()[0].2, DamageKind::KeyRun);
}

/// The numbers, rows and states of the first partition's tables of last versions.
fn told(dir: &Directory, verify: bool) -> Vec<(Range<u64>, u64, KeyFileState)> {
    let tables = dir.first_partition(verify).last_versions;
    let tables = tables.into_iter();
    tables
        .map(|table| (table.numbers, table.rows, table.state))
        .collect()
}

#[test]
fn tables_of_last_versions_are_told_and_those_that_were_merged_are_left_over() {
    let dir = Directory::filled();
    for numbers in [1..2, 2..3, 1..3, 3..4] {
        dir.write_last_versions(numbers.clone(), 30 + numbers.end);
    }
    dir.use_last_versions(2);
    for verify in [false, true] {
        assert_eq!(dir.inspect(verify).damage, []);
        assert_eq!(
            told(&dir, verify),
            [
                (1..3, 33, KeyFileState::Sound),
                (1..2, 0, KeyFileState::LeftOver),
                (2..3, 0, KeyFileState::LeftOver),
                (3..4, 34, KeyFileState::Sound),
            ]
        );
    }
}

#[test]
fn any_damaged_part_of_last_versions_is_a_loss() {
    let dir = Directory::filled();
    let path = dir.write_last_versions(1..8, 40);
    dir.use_last_versions(7);
    let len = dir
        .env
        .files
        .open(&path, Open::Read)
        .and_then(|file| file.len())
        .expect("there is one");
    for at in (0..96).chain((PAGE_BYTES as u64..len).step_by(511)) {
        dir.flip(&path, at);
        let report = dir.inspect(true);
        assert_eq!(report.damage.len(), 1, "byte {at}");
        assert_eq!(
            (
                report.damage[0].kind.clone(),
                report.damage[0].loses_records()
            ),
            (DamageKind::LastVersions, true)
        );
        assert!(
            report.damage[0]
                .to_string()
                .contains("topic flights, partition 0")
        );
        dir.flip(&path, at);
    }
    assert_eq!(dir.damage(), []);
}

#[test]
fn last_versions_that_are_missing_are_a_loss() {
    let dir = Directory::filled();
    dir.write_last_versions(2..3, 5);
    dir.write_last_versions(4..6, 6);
    dir.use_last_versions(7);
    let lost = |from, to| {
        let name = format!("{from:020}-{to:020}.versions");
        (name, None, DamageKind::LastVersions)
    };
    for verify in [false, true] {
        let damage = names(&dir.inspect(verify).damage);
        assert_eq!(damage, [lost(1, 2), lost(3, 4), lost(6, 8)]);
    }
    // Without a checkpoint, the tables found in the directory count.
    for copy in checkpoint_file::copies(&dir.data.checkpoint()) {
        dir.env.files.remove_file(&copy).expect("there is one");
    }
    assert_eq!(
        told(&dir, true),
        [
            (2..3, 5, KeyFileState::Sound),
            (4..6, 6, KeyFileState::Sound)
        ]
    );
}

#[test]
fn producers_are_counted_of_checkpoint_and_journal() {
    let mut dir = Directory::filled();
    let known = |id| checkpoint::Producer {
        id: ProducerId(id),
        epoch: 1,
        idle_ms: 0,
        name: String::new(),
        sequences: Vec::new(),
    };
    dir.change_checkpoint(|content| content.producers = vec![known(1), known(2)]);
    let open = |id, epoch| Change::OpenProducer {
        producer: ProducerId(id),
        epoch,
        name: String::new(),
    };
    let changes = [
        open(2, 2),
        open(3, 1),
        open(4, 1),
        Change::ForgetProducer {
            producer: ProducerId(1),
        },
    ];
    dir.commit(changes.map(Item::Change).into());
    assert_eq!(dir.inspect(false).producers, 3);
}

#[test]
fn erasures_that_are_not_complete_are_told() {
    let mut dir = Directory::filled();
    let known = |id, complete| KnownErasure {
        topic: TOPIC,
        complete,
        erasure: erasure(id),
    };
    dir.change_checkpoint(|content| {
        content.erasures = vec![known(1, true), known(2, false), known(3, false)];
    });
    let gone = Change::Erase {
        topic: TopicId(99),
        erasure: erasure(5),
    };
    let erase = Change::Erase {
        topic: TOPIC,
        erasure: erasure(4),
    };
    dir.commit(
        [erase, gone, Change::ErasureComplete { id: 2 }]
            .map(Item::Change)
            .into(),
    );
    let told = dir.inspect(false).erasures;
    assert_eq!(
        told.iter().map(|erasure| erasure.id).collect::<Vec<_>>(),
        [3, 4]
    );
    assert_eq!(
        (&told[0].topic, told[0].partition, told[0].requested_ms),
        (&name(), PartitionId(1), 1_000)
    );
}

#[test]
fn without_a_checkpoint_erasures_are_those_of_the_topics_own_files() {
    let dir = Directory::filled();
    let path = dir.data.topic(TOPIC).join("topic");
    let mut file = read_file(&*dir.env.files, &path)
        .unwrap()
        .and_then(|bytes| TopicFile::decode(&bytes))
        .unwrap();
    file.erasures = vec![erasure(8)];
    replace_file(&*dir.env.files, &path, &file.encode()).expect("room");
    assert_eq!(
        dir.inspect(false).erasures,
        [],
        "the checkpoint knows better"
    );
    for copy in checkpoint_file::copies(&dir.data.checkpoint()) {
        dir.env.files.remove_file(&copy).expect("there is one");
    }
    let told = dir.inspect(false).erasures;
    assert_eq!(
        told.iter().map(|erasure| erasure.id).collect::<Vec<_>>(),
        [8]
    );
}
