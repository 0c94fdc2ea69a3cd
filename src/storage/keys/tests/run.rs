//! Tables of records: writing, opening and asking them.

use super::*;
use crate::{
    env::Env,
    storage::{
        format::sorted_table::ROWS_PER_PAGE,
        keys::sorted_table::{TableWriter, table_path},
    },
    types::TopicId,
};

/// Looks up everything that the table has, and some things that it does not have.
fn check(run: &SortedTable, rows: &[Row]) {
    assert_eq!(run.rows(), rows.len() as u64);
    assert_eq!(scan(run), rows);
    for same_hash in rows.chunk_by(|a, b| a.hash == b.hash) {
        let hash = same_hash[0].hash;
        assert!(run.may_have(hash).expect("it is sound"));
        assert_eq!(group(run, hash).expect("it is sound"), same_hash);
        for absent in [
            hash.0.wrapping_sub(1),
            hash.0.wrapping_add(1),
            drawn(hash.0),
        ]
        .map(KeyHash)
        {
            let is_there = rows.binary_search_by_key(&absent, |row| row.hash).is_ok();
            assert_eq!(
                run.group(absent).expect("it is sound").is_empty(),
                !is_there
            );
        }
    }
    for edge in [0, u64::MAX].map(KeyHash) {
        let expected: Vec<Row> = rows
            .iter()
            .filter(|row| row.hash == edge)
            .copied()
            .collect();
        assert_eq!(group(run, edge).expect("it is sound"), expected);
    }
}

#[test]
fn what_is_written_is_found_in_runs_of_any_size() {
    let page = ROWS_PER_PAGE;
    for (count, subjects) in [
        (0, 1),
        (1, 1),
        (2, 1),
        (page, page),
        (page + 1, page),
        (page + 1, 1),
        (5_000, 700),
    ] {
        let disk = disk();
        let rows = rows_of(50, count, subjects);
        let written = write(&disk, 50, 50 + count.max(1), &rows);
        check(&written, &rows);
        let opened = open(&disk, written.path()).expect("it is sound");
        assert_eq!(
            (opened.from(), opened.to()),
            (Offset(50), Offset(50 + count.max(1)))
        );
        assert_eq!(
            opened.bytes(),
            disk.content(opened.path()).expect("it is there").len() as u64
        );
        check(&opened, &rows);
    }
}

#[test]
fn a_hundred_thousand_rows_are_found_on_a_real_disk() {
    let temp = tempfile::tempdir().expect("a temporary directory");
    let files = Env::system().files;
    let rows = rows_of(0, 100_000, 100_000);
    let content = content(0, 100_000, rows.len());
    let written = SortedTable::write(&*files, temp.path(), &content, rows.iter().copied())
        .expect("the disk takes it");
    let opened =
        SortedTable::open(&*files, written.path(), IDENTITY, FINGERPRINT).expect("it is sound");
    check(&opened, &rows);
}

#[test]
fn edges_of_the_hash_are_found() {
    let mut hashes = vec![0, 1, u64::MAX - 1, u64::MAX];
    hashes.extend((0..64).map(|bit| 1u64 << bit));
    hashes.extend((0..64).map(|bit| (1u64 << bit).wrapping_sub(1)));
    let mut rows: Vec<Row> = (0..)
        .zip(&hashes)
        .map(|(at, hash)| row(*hash, 1, at))
        .collect();
    rows.sort_unstable();
    let disk = disk();
    check(&write(&disk, 0, 1_000, &rows), &rows);
    // The layout of the file depends on how many rows were expected.
    for expected_rows in [0, 1, 171, 1 << 20] {
        let content = Content {
            expected_rows,
            expected_hashes: expected_rows,
            ..content(0, 1_000, 0)
        };
        let run = SortedTable::write(&disk, &dir(), &content, rows.iter().copied())
            .expect("the disk takes it");
        check(&run, &rows);
        check(&open(&disk, run.path()).expect("it is sound"), &rows);
    }
}

#[test]
fn a_group_may_span_pages_and_be_searched_by_version() {
    let disk = disk();
    for (before, of_group, after) in [
        (0, 1_000, 0),
        (100, 70, 3),
        (100, 71, 0),
        (169, 341, 500),
        (170, 170, 170),
    ] {
        let (front, middle, end) = (row(5, 1, 0), row(1 << 63, 1, 0), row(u64::MAX - 9, 1, 0));
        let mut rows: Vec<Row> = Vec::new();
        let mut add = |like: Row, count: u64| {
            let first = rows.len() as u64;
            // Versions from 11 on, each twice, as if two keys shared the hash.
            rows.extend((0..count).map(|at| row(like.hash.0, 11 + at / 2, first + at)));
        };
        add(front, before);
        add(middle, of_group);
        add(end, after);
        let run = write(&disk, 0, 10_000, &rows);
        check(&run, &rows);
        let group = run.group(middle.hash).expect("it is sound");
        assert_eq!(group.len() as u64, of_group);
        for version in 0..of_group / 2 + 14 {
            let expected = (version.saturating_sub(11) * 2).min(of_group) as usize;
            assert_eq!(
                group.lower_bound(Version(version)).expect("it is sound"),
                expected,
                "version {version}"
            );
        }
    }
}

#[test]
fn hashes_of_few_bits_are_found() {
    for mask in [0, 1, 0xff, 3 << 62, 0xff << 32] {
        let hasher = KeyHasher::with_mask(TOPIC, 1, mask);
        let mut rows: Vec<Row> = (0..3_000u64)
            .map(|at| row(hasher.key(&(at % 500).to_le_bytes()).0, 1 + at / 500, at))
            .collect();
        rows.sort_unstable();
        let disk = disk();
        check(&write(&disk, 0, 3_000, &rows), &rows);
    }
}

#[test]
fn fewer_than_two_of_a_hundred_absent_keys_may_be_there() {
    let hasher = KeyHasher::new(TOPIC, 9);
    let mut rows: Vec<Row> = (0..100_000u64)
        .map(|at| row(hasher.key(&at.to_be_bytes()).0, 1, at))
        .collect();
    rows.sort_unstable();
    let disk = disk();
    let run = write(&disk, 0, 100_000, &rows);
    let present: Vec<KeyHash> = rows.iter().map(|row| row.hash).collect();
    let absent: Vec<KeyHash> = (100_000..200_000u64)
        .map(|at| hasher.key(&at.to_be_bytes()))
        .collect();
    let mut found = vec![false; 100_000];
    run.may_have_each(&present, &mut found)
        .expect("it is sound");
    assert!(
        found.iter().all(|found| *found),
        "what is there is never denied"
    );
    run.may_have_each(&absent, &mut found).expect("it is sound");
    let wrong = found.iter().filter(|found| **found).count();
    println!("{wrong} of 100,000");
    assert!((1..2_000).contains(&wrong), "{wrong} of 100,000");
    for (hash, found) in absent.iter().zip(&found).step_by(97) {
        assert_eq!(run.may_have(*hash).expect("it is sound"), *found);
    }
}

#[test]
fn a_run_that_is_not_finished_leaves_nothing() {
    let disk = disk();
    let mut writer =
        TableWriter::create(&disk, &dir(), &content(0, 10, 2)).expect("the disk takes it");
    writer.push(row(1, 1, 1)).expect("the disk takes it");
    drop(writer);
    assert_eq!(disk.files(), [] as [PathBuf; 0]);
}

#[test]
fn a_run_of_another_partition_hasher_or_range_is_not_used() {
    let disk = disk();
    let run = write(&disk, 0, 10, &rows_of(0, 10, 10));
    let path = run.path();
    assert_eq!(path, table_path(&dir(), Kind::Records, 0..10));
    let other_partition = Identity {
        partition: PartitionId(4),
        ..IDENTITY
    };
    let other_topic = Identity {
        topic: TopicId(1),
        ..IDENTITY
    };
    for other in [other_partition, other_topic] {
        let opened = SortedTable::open(&disk, path, other, FINGERPRINT);
        assert!(matches!(opened, Err(Unusable::Misplaced { .. })));
    }
    assert!(matches!(
        SortedTable::open(&disk, path, IDENTITY, FINGERPRINT + 1),
        Err(Unusable::Hasher { .. })
    ));
    let elsewhere = table_path(&dir(), Kind::Records, 0..11);
    disk.rename(path, &elsewhere).expect("it can be renamed");
    assert!(matches!(
        open(&disk, &elsewhere),
        Err(Unusable::Misplaced { .. })
    ));
    assert!(matches!(open(&disk, path), Err(Unusable::File(_))));
}
