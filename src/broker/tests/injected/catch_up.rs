//! A part of the log that cannot be read while the key index is rebuilt from it after a crash.

use std::time::Duration;

use super::{
    keyed::{Timed, append, crashed, open_timed, read_entity, segments, version},
    *,
};
use crate::{
    env::{FileSystem, Open, sim::CrashMode},
    storage::{
        inspect,
        keys::sorted_table::{Content, Kind, SortedTable},
        log::Identity,
    },
};

/// The number of entities, with one record each, about twelve to a segment.
const ENTITIES: u64 = 40;

/// Whether the answer is that the records from `from` up to `to` are damaged.
fn is_damage<T>(answer: Result<T, Error>, damaged: (u64, u64)) -> bool {
    matches!(answer, Err(Error::DamagedRecords { from, to, .. }) if (from.0, to.0) == damaged)
}

/// Damaged records are never taken for records that never existed: every answer that depends on
/// them reports the damage, and every other answer is right.
fn check(broker: &Broker, damaged: (u64, u64)) {
    for number in 0..ENTITIES {
        if number < damaged.1 {
            assert!(is_damage(version(broker, number), damaged), "{number}");
            assert!(is_damage(append(broker, number, true), damaged), "{number}");
            assert!(
                is_damage(append(broker, number, false), damaged),
                "{number}"
            );
            assert!(
                is_damage(read_entity(broker, number, false), damaged),
                "{number}"
            );
        } else {
            assert_eq!(version(broker, number), Ok(1), "{number}");
            assert_eq!(read_entity(broker, number, false), Ok(vec![1]), "{number}");
            assert_eq!(read_entity(broker, number, true), Ok(vec![1]), "{number}");
            let refused = append(broker, number, true);
            assert!(
                matches!(refused, Err(Error::Conflict { .. })),
                "{refused:?}"
            );
        }
    }
    let never_seen = 1_000;
    assert!(is_damage(version(broker, never_seen), damaged));
    assert!(is_damage(append(broker, never_seen, true), damaged));
}

/// Checks several starts: the index is read from the log by the first call, or by housekeeping, or
/// was read before.
fn check_starts(disk: &SimDisk, damaged: (u64, u64)) {
    let Timed { broker, .. } = open_timed(&disk.fork(), 3);
    check(&broker, damaged);

    let disk = disk.fork();
    let Timed { broker, clock } = open_timed(&disk, 4);
    for _ in 0..20 {
        broker.keep_house(true);
        clock.advance(Duration::from_secs(3));
    }
    check(&broker, damaged);
    // The version behind the damage is known, whatever was before it.
    assert_eq!(append(&broker, damaged.1, false), Ok(2));
    assert_eq!(version(&broker, damaged.1), Ok(2));
    assert_eq!(read_entity(&broker, damaged.1, false), Ok(vec![1, 2]));
    assert_eq!(read_entity(&broker, damaged.1, true), Ok(vec![2, 1]));
    broker.close().expect("nothing fails");

    let disk = disk.fork();
    let Timed { broker, .. } = open_timed(&disk, 5);
    assert!(is_damage(version(&broker, damaged.0), damaged));
    assert_eq!(version(&broker, damaged.1), Ok(2));
    assert_eq!(read_entity(&broker, damaged.1, false), Ok(vec![1, 2]));
    trim(&broker, damaged.1);
    assert_eq!(version(&broker, damaged.1), Ok(2));
    assert_eq!(
        append(&broker, 1_000, true),
        Ok(1),
        "nothing is in the way any more"
    );
}

fn trim(broker: &Broker, before: u64) {
    let trimmed = broker
        .trim("t", PartitionId(0), Offset(before))
        .expect("it is in the log");
    broker.commit_all();
    now(trimmed).expect("an answer").expect("nothing fails");
    for _ in 0..4 {
        broker.keep_house(true);
    }
}

#[test]
fn entities_in_a_damaged_record_are_not_taken_for_such_that_never_were() {
    let disk = crashed(ENTITIES);
    disk.flip_bit(&segments(&disk)[0], 20_000, 1)
        .expect("it is that long");
    check_starts(&disk, (3, 4));
}

#[test]
fn a_run_that_lacks_rows_is_found_by_inspection() {
    let disk = crashed(ENTITIES);
    let Timed { broker, .. } = open_timed(&disk, 3);
    assert_eq!(version(&broker, 3), Ok(1));
    let topic = broker
        .shared
        .partitions
        .topics()
        .find("t")
        .expect("it is there");
    broker.close().expect("nothing fails");
    let disk = disk.fork();
    let environment = crate::broker::tests::world::env(
        &disk,
        &crate::env::sim::SimClock::new(0),
        &crate::env::sim::SimRandom::new(9),
    );
    let damage = |verify| {
        let report = inspect::inspect(&environment, Path::new("/data"), verify);
        let damage = report.expect("it can be looked at").damage;
        damage
            .into_iter()
            .map(|damage| damage.kind)
            .collect::<Vec<_>>()
    };
    assert_eq!(damage(true), []);
    let mut runs = disk.files();
    runs.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "keys")
    });
    let run = runs.first().expect("the index was written");
    let stem = run.file_stem().and_then(|stem| stem.to_str());
    let (from, to) = stem.and_then(|stem| stem.split_once('-')).expect("a range");
    let content = Content {
        kind: Kind::Records,
        identity: Identity {
            topic: topic.id,
            partition: PartitionId(0),
        },
        fingerprint: topic.hasher.fingerprint(),
        from: from.parse().expect("a number"),
        to: to.parse().expect("a number"),
        expected_rows: 0,
        expected_hashes: 0,
    };
    let dir = run.parent().expect("it is in a directory");
    SortedTable::write(&disk, dir, &content, []).expect("nothing fails");
    assert_eq!(damage(false), []);
    assert_eq!(damage(true), [inspect::DamageKind::IncompleteRun]);
}

#[test]
fn entities_in_a_segment_that_is_gone_are_not_taken_for_such_that_never_were() {
    for which in [0, 1] {
        let disk = crashed(ENTITIES);
        let segments = segments(&disk);
        let base = |at: usize| -> u64 {
            let stem = segments[at].file_stem().expect("a name");
            stem.to_string_lossy().parse().expect("a number")
        };
        let damaged = (base(which), base(which + 1));
        disk.remove_file(&segments[which]).expect("it is there");
        check_starts(&disk, damaged);
    }
}

#[test]
fn entities_in_a_segment_that_is_cut_are_not_taken_for_such_that_never_were() {
    let disk = crashed(ENTITIES);
    let file = disk
        .open(&segments(&disk)[1], Open::Write)
        .expect("it is there");
    file.set_len(100).expect("nothing fails");
    let base = |at: usize| -> u64 {
        let stem = segments(&disk)[at].file_stem().map(|stem| stem.to_owned());
        stem.and_then(|stem| stem.to_str()?.parse().ok())
            .expect("a number")
    };
    check_starts(&disk, (base(1), base(2)));
}

#[test]
fn what_cannot_be_read_for_a_moment_is_read_later() {
    for errno in PASSING {
        for kind in [OpKind::Map, OpKind::Open, OpKind::Read] {
            let disk = crashed(ENTITIES);
            let Timed { broker, .. } = open_timed(&disk, 3);
            broker.shared.partitions.segments.let_go();
            for kind in [kind, OpKind::Open] {
                disk.inject(Fault::on(kind).in_path(".log").errno(errno).for_ever());
            }
            for number in 0..3 {
                let refused = append(&broker, number, true);
                let is_unavailable = matches!(refused, Err(Error::StorageUnavailable { .. }));
                assert!(is_unavailable, "{kind:?} {errno}: {refused:?}");
                let refused = version(&broker, number);
                let is_unavailable = matches!(refused, Err(Error::StorageUnavailable { .. }));
                assert!(is_unavailable, "{kind:?} {errno}: {refused:?}");
            }
            broker.keep_house(true);
            disk.clear_faults();
            for number in 0..ENTITIES {
                assert_eq!(version(&broker, number), Ok(1), "{kind:?} {errno}");
            }
            assert_eq!(append(&broker, 1_000, true), Ok(1), "{kind:?} {errno}");
        }
    }
}

#[test]
fn what_the_disk_could_not_read_is_looked_at_again_after_a_while() {
    let disk = crashed(ENTITIES);
    let Timed { broker, clock } = open_timed(&disk, 3);
    broker.shared.partitions.segments.let_go();
    disk.inject(Fault::on(OpKind::Map).in_path(".log"));
    let damaged = version(&broker, 0);
    assert!(
        matches!(damaged, Err(Error::DamagedRecords { .. })),
        "{damaged:?}"
    );
    clock.advance(Duration::from_secs(10));
    for number in 0..ENTITIES {
        assert_eq!(version(&broker, number), Ok(1));
    }
    assert_eq!(append(&broker, 1_000, true), Ok(1));
}

#[test]
fn entities_in_a_journal_entry_that_is_lost_are_not_taken_for_such_that_never_were() {
    let disk = SimDisk::new(1);
    let Timed { broker, .. } = open_timed(&disk, 1);
    crate::broker::tests::world::create(&broker, "t", 1);
    for number in 0..20 {
        assert_eq!(append(&broker, number, true), Ok(1));
    }
    // No record is in a segment yet.
    let disk = disk.power_cut(1, CrashMode::LoseUnsynced);
    let journal = disk
        .files()
        .into_iter()
        .find(|path| path.ends_with("1.journal"))
        .expect("it is there");
    disk.flip_bit(&journal, 8 * 4096 + 600, 1)
        .expect("it is that long");

    for start in 2..4 {
        let Timed { broker, .. } = open_timed(&disk, start);
        let answers: Vec<_> = (0..20).map(|number| version(&broker, number)).collect();
        let damaged = answers
            .iter()
            .position(|answer| *answer == Ok(1))
            .expect("what comes behind is known");
        assert!((1..19).contains(&damaged), "{answers:?}");
        let lost = (damaged as u64 - 1, damaged as u64);
        for (number, answer) in (0..20).zip(answers) {
            if number < damaged as u64 {
                assert!(is_damage(answer, lost), "{number}");
                assert!(is_damage(append(&broker, number, true), lost), "{number}");
            } else {
                assert_eq!(answer, Ok(1), "{number}");
            }
        }
        broker.close().expect("nothing fails");
    }
}
