//! No room on the disk: appends are refused before anything is written, all else works, and appends
//! work again once there is room.

use std::io::ErrorKind;

use super::{Broker, SimDisk, append, ask, create, fill, ids, now, open_with, opened, options};
use crate::{
    broker::{Error, Options, Shortage},
    budget::Name,
    env::{
        FileSystem,
        sim::{
            CrashMode, Fault, OpKind,
            fault::{EIO, ENOSYS, EOPNOTSUPP},
        },
    },
    types::{Offset, PartitionId},
};

/// The room that a broker leaves on the disk.
pub(super) const RESERVE_BYTES: u64 = 128 << 10;

pub(super) fn with_reserve() -> Options {
    Options {
        disk_reserve_bytes: RESERVE_BYTES,
        ..options()
    }
}

/// Takes all room but this much; returns the capacity that the disk has then.
pub(in crate::broker::tests) fn leave(disk: &SimDisk, bytes: u64) -> u64 {
    let available = available(disk);
    // The capacity cannot be queried. It is found by making the disk so small that exactly this
    // much is left.
    disk.set_capacity(0);
    let mut low = 0;
    let mut high = 1_u64 << 40;
    while low < high {
        let middle = low + (high - low) / 2;
        disk.set_capacity(middle);
        if self::available(disk) < bytes {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    disk.set_capacity(low);
    assert!(self::available(disk) <= available.max(bytes) + 4096);
    low
}

pub(super) fn available(disk: &SimDisk) -> u64 {
    let available = disk.available_bytes("/data".as_ref());
    available.expect("the power is on").expect("it is counted")
}

/// Whether a call was refused for want of room, with the right details.
pub(super) fn is_full<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    match result {
        Err(error @ Error::DiskFull(_)) => {
            let text = error.to_string();
            let says = [" bytes are free, ", " are needed (disk.reserve_bytes is "];
            assert!(says.iter().all(|part| text.contains(part)), "{text}");
            true
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn give_room(disk: &SimDisk) {
    disk.set_capacity(1 << 40);
}

/// Asserts everything that must work on a full disk.
fn assert_serves(broker: &Broker, disk: &SimDisk, count: u64) {
    let operations = disk.operations();
    assert!(is_full(append(broker, 0, count)));
    assert!(is_full(broker.create_topic("v", 1, &[].into()).map(drop)));
    assert_eq!(
        disk.operations(),
        operations,
        "refused before anything is written"
    );
    assert_eq!(ids(broker, 0).len() as u64, count);
    assert_eq!(
        broker.describe_topic("t").expect("it is there").1[0].high_watermark,
        Offset(count)
    );
    assert!(now(broker.failed()).is_none(), "a full disk is no failure");
}

#[test]
fn with_less_room_than_the_reserve_appends_are_refused_until_there_is_more() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    fill(&broker, 0, 100);
    broker.keep_house(true);
    // The reserve file holds half of it.
    leave(&disk, RESERVE_BYTES / 2 - 4096);
    broker.keep_house(false);
    assert_serves(&broker, &disk, 100);

    give_room(&disk);
    broker.keep_house(false);
    fill(&broker, 100, 110);
    create(&broker, "v", 1);
}

#[test]
fn a_start_with_less_room_than_the_reserve_serves_all_but_what_takes_room() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    create(&broker, "u", 1);
    fill(&broker, 0, 20);
    broker.close().expect("nothing fails");
    let disk = disk.fork();
    leave(&disk, RESERVE_BYTES - 4096);
    let free = available(&disk);

    // No round of housekeeping has run yet.
    let broker = open_with(&disk, 2, with_reserve()).expect("it starts");
    let shortage = Shortage {
        free: Some(free),
        held: 0,
        needed: RESERVE_BYTES,
        reserve: RESERVE_BYTES,
    };
    assert_eq!(
        append(&broker, 0, 20).err(),
        Some(Error::DiskFull(shortage))
    );
    assert_serves(&broker, &disk, 20);
    let trimmed = broker.trim("t", PartitionId(0), Offset(5));
    let trimmed = trimmed.expect("a full disk does not keep records");
    let deleted = broker.delete_topic("u").expect("nor topics");
    let erased = broker.erase_key("t", b"somebody").expect("nor entities");
    broker.commit_all();
    assert_eq!(now(trimmed).expect("an answer"), Ok(Offset(5)));
    now(deleted).expect("an answer").expect("it is deleted");
    now(erased).expect("an answer").expect("it is erased");

    give_room(&disk);
    broker.keep_house(false);
    assert_eq!(append(&broker, 0, 20), Ok(Offset(20)));
}

#[test]
fn a_new_directory_without_room_for_a_journal_is_refused_with_what_is_needed() {
    let disk = SimDisk::new(1);
    disk.set_capacity(64 << 10);
    let refused = open_with(&disk, 1, with_reserve());
    let said = refused.err().expect("there is no room").to_string();
    for part in ["free", "98304", "journal.file_bytes", "disk.reserve_bytes"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    give_room(&disk);
    create(&opened(&disk, 2), "t", 1);
}

#[test]
fn a_new_directory_with_room_for_one_journal_file_takes_what_needs_no_room() {
    let disk = SimDisk::new(1);
    // A journal file has 96 KiB.
    disk.set_capacity(160 << 10);
    let broker = open_with(&disk, 1, with_reserve()).expect("it starts");
    assert!(is_full(broker.create_topic("t", 1, &[].into()).map(drop)));
    give_room(&disk);
    broker.keep_house(false);
    create(&broker, "t", 1);
    fill(&broker, 0, 50);
}

#[test]
fn a_disk_that_does_not_say_how_much_room_it_has_is_not_full() {
    let disk = SimDisk::new(1);
    disk.hide_room();
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.keep_house(true);
    fill(&broker, 0, 10);
}

#[test]
fn a_disk_that_cannot_be_asked_how_much_room_it_has_is_not_full() {
    for number in [ENOSYS, EOPNOTSUPP, EIO] {
        let disk = SimDisk::new(1);
        create(&opened(&disk, 1), "t", 1);
        let disk = disk.power_cut(1, CrashMode::KeepAllDurable);
        // The first question is whether the directory exists.
        let ask_for_room = Fault::on(OpKind::Ask).at("/data".as_ref()).nth(2);
        disk.inject(ask_for_room.errno(number).for_ever());
        let broker = open_with(&disk, 2, with_reserve())
            .unwrap_or_else(|error| panic!("{number}: it starts: {error}"));
        broker.keep_house(true);
        fill(&broker, 0, 10);
        assert!(now(broker.failed()).is_none());
    }
}

#[test]
fn a_trim_or_a_deletion_makes_room_and_appends_go_on_by_themselves() {
    for delete in [false, true] {
        let disk = SimDisk::new(1);
        let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
        create(&broker, "t", 1);
        create(&broker, "u", 1);
        broker.keep_house(true);
        // Room for the journal and a few segments, which the broker then fills.
        leave(&disk, RESERVE_BYTES + (600 << 10));
        let mut count = 0;
        let error = loop {
            match append(&broker, 0, count) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            broker.keep_house(count % 20 == 0);
            assert!(count < 5_000, "the disk is never full");
        };
        assert!(is_full::<()>(Err(error)));
        assert!(count > 100);
        assert_serves(&broker, &disk, count);

        if delete {
            let deleted = broker
                .delete_topic("t")
                .expect("a full disk does not keep topics");
            broker.commit_all();
            now(deleted).expect("an answer").expect("it is deleted");
        } else {
            let trimmed = broker
                .trim("t", PartitionId(0), Offset(count))
                .expect("a full disk does not keep records");
            broker.commit_all();
            assert_eq!(now(trimmed).expect("an answer"), Ok(Offset(count)));
        }
        // It happens at once: no checkpoint is due yet, and the clock stands still. Indexing first
        // keeps the last versions of the trimmed segments, and then notifies housekeeping again.
        (0..2).for_each(|_| broker.step());
        if delete {
            create(&broker, "t", 1);
            fill(&broker, 0, 10);
        } else {
            assert_eq!(
                append(&broker, 0, count),
                Ok(Offset(count)),
                "there is room again"
            );
        }
    }
}

#[test]
fn a_disk_that_others_have_filled_to_the_last_byte_is_survived_and_loses_nothing() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    fill(&broker, 0, 20);
    leave(&disk, 0);
    assert!(is_full(broker.checkpoint_now()));
    assert_serves(&broker, &disk, 20);

    // The records in the journal survive there, even if a start finds no room either.
    drop(broker);
    for (start, mode) in CrashMode::ALL.into_iter().enumerate() {
        let survived = disk.power_cut(start as u64, mode);
        leave(&survived, 0);
        let broker = opened(&survived, 2 + start as u64);
        assert_serves(&broker, &survived, 20);
        give_room(&survived);
        broker.keep_house(true);
        fill(&broker, 20, 25);
        drop(broker);
        let survived = survived.power_cut(9, CrashMode::LoseUnsynced);
        assert_eq!(ids(&opened(&survived, 20), 0).len(), 25, "{mode:?}");
    }
}

#[test]
fn a_start_on_a_full_disk_with_a_long_journal_serves_what_is_in_it() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    let mut count = 0;
    // Until more than half of the memory that replay may take is used.
    while count < 400
        && disk
            .files()
            .iter()
            .all(|path| path.extension().is_none_or(|ending| ending != "log"))
    {
        let pending = (0..40).map(|more| ask(&broker, 0, count + more).expect("there is memory"));
        let pending: Vec<_> = pending.collect();
        broker.commit_all();
        assert!(
            pending
                .into_iter()
                .all(|pending| matches!(now(pending), Some(Ok(_))))
        );
        count += 40;
    }
    drop(broker);
    let survived = disk.power_cut(1, CrashMode::KeepAllDurable);
    leave(&survived, 0);
    let small = Options {
        memory: options().memory.with(Name::Appends, 128 << 10),
        ..options()
    };
    let broker = open_with(&survived, 2, small)
        .unwrap_or_else(|error| panic!("it starts while full: {error}"));
    assert_serves(&broker, &survived, count);
    give_room(&survived);
    broker.keep_house(true);
    fill(&broker, count, count + 5);
}

#[test]
fn a_start_on_a_full_disk_with_a_torn_tail_or_without_a_checkpoint_serves_all_the_same() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    fill(&broker, 0, 30);
    broker.checkpoint_now().expect("nothing fails");
    fill(&broker, 30, 40);
    disk.inject(Fault::on(OpKind::SyncData).in_path("journal"));
    drop(ask(&broker, 0, 40));
    broker.commit_all();
    drop(broker);
    let torn = disk.power_cut(3, CrashMode::TornLast);
    let damaged = disk.power_cut(3, CrashMode::LoseUnsynced);
    for copy in ["/data/checkpoint", "/data/checkpoint.copy"] {
        damaged.flip_bit(copy, 40, 1).expect("it is that long");
    }
    for (disk, what) in [(torn, "a torn tail"), (damaged, "no checkpoint")] {
        leave(&disk, 0);
        let broker = open_with(&disk, 2, options())
            .unwrap_or_else(|error| panic!("{what}: it starts: {error}"));
        let count = ids(&broker, 0).len() as u64;
        assert!((40..=41).contains(&count), "{what}: {count} records");
        give_room(&disk);
        broker.keep_house(true);
        fill(&broker, count, count + 5);
    }
}

#[test]
fn wherever_room_runs_out_behind_the_journal_it_is_only_put_off() {
    let full = |kind| Fault::on(kind).error(ErrorKind::StorageFull);
    for (what, fault) in [
        ("a segment is created", full(OpKind::Create).in_path(".log")),
        (
            "a segment is written",
            full(OpKind::Write).in_path(".log").nth(2),
        ),
        (
            "a segment is written in part",
            full(OpKind::Write).in_path(".log").nth(2).short(),
        ),
        (
            "a segment's header is written in part",
            full(OpKind::Write).in_path(".log").short(),
        ),
        (
            "a directory is created",
            full(OpKind::CreateDir).in_path("topics/"),
        ),
        (
            "a topic's file is created",
            full(OpKind::Create).in_path("topic.new"),
        ),
        (
            "a topic's file is written in part",
            full(OpKind::Write).in_path("topic.new").short(),
        ),
        (
            "the checkpoint is created",
            full(OpKind::Create).in_path("checkpoint.new"),
        ),
        (
            "the checkpoint is written in part",
            full(OpKind::Write).in_path("checkpoint.new").short(),
        ),
        (
            "the checkpoint's copy is written",
            full(OpKind::Write).in_path("checkpoint.new").nth(2),
        ),
        (
            "the checkpoint is renamed",
            full(OpKind::Rename).in_path("checkpoint.new"),
        ),
        (
            "a quota is reached",
            Fault::on(OpKind::Write)
                .error(ErrorKind::QuotaExceeded)
                .in_path(".log"),
        ),
    ] {
        let disk = SimDisk::new(1);
        let broker = opened(&disk, 1);
        create(&broker, "t", 1);
        fill(&broker, 0, 15);
        disk.inject(fault);
        assert!(is_full(broker.checkpoint_now()), "{what}");
        assert!(is_full(append(&broker, 0, 15)), "{what}");
        assert_eq!(ids(&broker, 0).len(), 15, "{what}");
        let killed = disk.fork().power_cut(1, CrashMode::LoseUnsynced);
        assert_eq!(
            ids(&opened(&killed, 2), 0).len(),
            15,
            "{what}: killed while full"
        );

        broker.keep_house(true);
        fill(&broker, 15, 20);
        broker.checkpoint_now().expect("there is room");
        drop(broker);
        let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
        assert_eq!(
            ids(&opened(&survived, 3), 0),
            (0..20).collect::<Vec<_>>(),
            "{what}"
        );
    }
}

#[test]
fn a_journal_that_goes_round_on_a_full_disk_keeps_what_no_checkpoint_covers() {
    for (what, fault) in [
        ("no segment", Fault::on(OpKind::Write).in_path(".log")),
        (
            "no checkpoint",
            Fault::on(OpKind::Create).in_path("checkpoint.new"),
        ),
        (
            "no copy of the checkpoint",
            Fault::on(OpKind::Rename).in_path("checkpoint.new").nth(2),
        ),
    ] {
        let disk = SimDisk::new(1);
        let broker = opened(&disk, 1);
        create(&broker, "t", 1);
        fill(&broker, 0, 15);
        disk.inject(fault.error(ErrorKind::StorageFull).for_ever());
        // Trims are taken on a full disk until the journal is full as well.
        let mut trims = 0;
        loop {
            let Ok(trim) = broker.trim("t", PartitionId(0), Offset(1)) else {
                break;
            };
            broker.commit_all();
            if now(trim).expect("an answer").is_err() {
                break;
            }
            trims += 1;
            assert!(
                trims < 200,
                "{what}: entries that no checkpoint covers are written over"
            );
        }
        assert!(trims > 20, "{what}: {trims} trims");
        drop(broker);
        let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
        assert_eq!(
            ids(&opened(&survived, 2), 0),
            (1..15).collect::<Vec<_>>(),
            "{what}"
        );
    }
}

#[test]
fn a_journal_that_cannot_grow_goes_round_what_it_has() {
    let disk = SimDisk::new(1);
    disk.inject(
        Fault::on(OpKind::Allocate)
            .in_path("3.journal")
            .error(ErrorKind::StorageFull)
            .for_ever(),
    );
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    for id in 0..300 {
        assert_eq!(
            append(&broker, 0, id),
            Ok(Offset(id)),
            "two files are enough"
        );
        if id % 10 == 0 {
            broker.keep_house(false);
        }
    }
    assert_eq!(ids(&broker, 0).len(), 300);
}

/// A broker with topics `t` and `u` that can write no checkpoint and has used up its journal.
fn with_a_full_journal(disk: &SimDisk) -> Broker {
    let broker = opened(disk, 1);
    create(&broker, "t", 1);
    create(&broker, "u", 1);
    fill(&broker, 0, 15);
    disk.inject(
        Fault::on(OpKind::Create)
            .in_path("checkpoint.new")
            .error(ErrorKind::StorageFull)
            .for_ever(),
    );
    for trims in 0.. {
        assert!(trims < 200, "the journal is never full");
        let trim = broker.trim("t", PartitionId(0), Offset(1));
        let trim = trim.expect("trims are taken on a full disk");
        broker.commit_all();
        match now(trim).expect("an answer") {
            Ok(_) => {}
            Err(error) => {
                assert!(is_full::<()>(Err(error)));
                return broker;
            }
        }
    }
    unreachable!();
}

#[test]
fn what_finds_the_journal_full_on_a_full_disk_is_refused_and_as_if_it_had_never_been_asked() {
    let disk = SimDisk::new(1);
    let broker = with_a_full_journal(&disk);
    let settings = [("segment.bytes".to_owned(), "128KiB".to_owned())].into();
    let before = broker.describe_topic("u").expect("it is there").0;
    let altered = broker.alter_topic("u", &settings, &[]).map(drop);
    assert!(altered.is_ok(), "{altered:?}");
    let deleted = broker.delete_topic("u").expect("it is taken");
    let again = broker.delete_topic("u").expect("it waits for the first");
    let erased = broker.erase_key("t", b"somebody").expect("it is taken");
    broker.commit_all();
    assert!(is_full(now(deleted).expect("an answer")));
    assert!(is_full(now(again).expect("an answer")));
    assert!(is_full(now(erased).expect("an answer")));
    assert_eq!(ids(&broker, 0), (1..15).collect::<Vec<_>>());

    disk.clear_faults();
    give_room(&disk);
    broker.keep_house(true);
    let unchanged = broker
        .alter_topic("u", &[].into(), &[])
        .expect("it is there");
    let deleted = broker.delete_topic("u").expect("it is there");
    broker.commit_all();
    assert_eq!(now(unchanged).expect("an answer"), Ok(before));
    now(deleted).expect("an answer").expect("there is room");
    assert_eq!(append(&broker, 0, 15), Ok(Offset(15)));
    broker.close().expect("nothing fails");
    assert_eq!(ids(&opened(&disk, 2), 0), (1..16).collect::<Vec<_>>());
}

#[test]
fn a_stop_with_the_journal_full_on_a_full_disk_ends() {
    for what in ["a trim", "an append"] {
        let disk = SimDisk::new(1);
        let broker = with_a_full_journal(&disk);
        // The append was admitted before the disk was full.
        broker.shared.health.look_for_room().expect("it says so");
        let append = (what == "an append").then(|| ask(&broker, 0, 15).expect("it is queued"));
        let trim = broker.trim("t", PartitionId(0), Offset(2));
        let trim = trim.expect("it is queued");
        broker.shared.committer.close();
        broker.shared.maintenance.housekeeping.close();
        // Ends the commit loop if it would go on for ever.
        disk.crash_at(disk.operations() + 1_000);
        broker.commit_until_closed();
        assert!(disk.is_on(), "{what}: it goes round for ever");
        assert!(is_full(broker.close()), "{what}");
        assert!(is_full(now(trim).expect("an answer")), "{what}");
        if let Some(append) = append {
            assert!(is_full(now(append).expect("an answer")), "not stored");
        }
        drop(broker);
        let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
        assert_eq!(
            ids(&opened(&survived, 2), 0),
            (1..15).collect::<Vec<_>>(),
            "{what}"
        );
    }
}
