//! A disk that others have filled to its last byte: the room of the reserve file is given up for
//! what makes room, and is taken again later.

use std::{path::Path, time::Duration};

use bytes::Bytes;

use super::{
    Broker, SimClock, SimDisk, append, ask, create, env, fill, full::available, full::give_room,
    full::is_full, full::leave, full::with_reserve, ids, now, open_with, opened,
};
use crate::{
    broker::{
        GroupOffset, Options,
        health::{Line, SaidFull},
        tests::world::{append_of, committed_by, encode_proto, send},
    },
    env::{
        FileSystem, Open,
        sim::{CrashMode, SimRandom},
    },
    proto,
    types::{Offset, PartitionId},
};

const PATH: &str = "/data/reserve";
const HELD: u64 = super::full::RESERVE_BYTES / 2;

/// What indexes and the checkpoint may take of the reserve.
const SLACK: u64 = 24 << 10;

fn is_there(disk: &SimDisk) -> bool {
    disk.files().contains(&Path::new(PATH).to_owned())
}

/// Takes all room, so that what is given back is there again.
fn fill_up(disk: &SimDisk) {
    let capacity = leave(disk, 4096);
    disk.set_capacity(capacity - 4096);
    assert_eq!(available(disk), 0);
}

/// A broker with `count` records in segments of topic `t`, an empty topic `u`, and not a byte free
/// on its disk.
fn filled(disk: &SimDisk, count: u64) -> Broker {
    let broker = open_with(disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    create(&broker, "u", 1);
    fill(&broker, 0, count);
    broker.keep_house(true);
    assert!(is_there(disk), "it is made when there is room");
    fill_up(disk);
    broker.keep_house(false);
    assert!(is_full(append(&broker, 0, count)));
    broker
}

fn trim(broker: &Broker, to: u64) {
    let trimmed = broker.trim("t", PartitionId(0), Offset(to));
    let trimmed = trimmed.expect("a full disk does not keep records");
    broker.commit_all();
    assert_eq!(now(trimmed).expect("an answer"), Ok(Offset(to)));
}

fn commit(broker: &Broker, next: u64) {
    let offset = GroupOffset {
        topic: "t".into(),
        topic_id: None,
        partition: PartitionId(0),
        next_offset: Offset(next),
        metadata: Bytes::new(),
        generation: None,
        member: None,
    };
    let committed = broker.commit_offsets("g", vec![offset], false);
    let committed = committed.expect("a full disk does not keep groups from going on");
    broker.commit_all();
    now(committed).expect("an answer").expect("it is committed");
}

#[test]
fn a_trim_or_a_deletion_makes_room_where_others_have_left_none() {
    for delete in [false, true] {
        let disk = SimDisk::new(1);
        let broker = filled(&disk, 300);
        if delete {
            let deleted = broker.delete_topic("t").expect("it is taken");
            broker.commit_all();
            now(deleted).expect("an answer").expect("it is deleted");
        } else {
            trim(&broker, 300);
        }
        (0..4).for_each(|_| broker.step());
        assert!(!is_there(&disk), "its room was needed");
        if delete {
            create(&broker, "t", 1);
            fill(&broker, 0, 10);
        } else {
            assert_eq!(append(&broker, 0, 300), Ok(Offset(300)));
        }
    }
}

#[test]
fn what_gives_back_less_than_its_last_versions_take_goes_when_there_is_room() {
    let disk = SimDisk::new(1);
    let clock = SimClock::new(1_700_000_000_000);
    let world = env(&disk, &clock, &SimRandom::new(1));
    let broker = Broker::open_stepped(world, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    let record = encode_proto(&proto::Record {
        key: Some("somebody".into()),
        ..Default::default()
    });
    send(&broker, append_of("t", Some(0), &[record])).expect("it is stored");
    broker.keep_house(true);
    fill_up(&disk);
    let go_on = || {
        for _ in 0..4 {
            clock.advance(Duration::from_secs(2));
            broker.keep_house(true);
            // Each round of housekeeping wakes indexing.
            broker.shared.maintenance.indexing.notify();
            (0..4).for_each(|_| broker.step());
        }
        let files = disk.files();
        let names = files.iter().map(|path| path.to_string_lossy().into_owned());
        let names: Vec<_> = names
            .filter(|name| name.starts_with("/data/topics/"))
            .collect();
        [".log", ".versions"].map(|ending| names.iter().any(|name| name.ends_with(ending)))
    };
    trim(&broker, 1);
    assert_eq!(go_on(), [true, false]);
    give_room(&disk);
    assert_eq!(go_on(), [false, true]);
}

#[test]
fn groups_trims_and_erasures_go_on_for_ever_where_others_have_left_no_room() {
    let disk = SimDisk::new(1);
    let broker = filled(&disk, 100);
    // Several times what the journal has room for.
    for next in 1..=90 {
        commit(&broker, next);
        trim(&broker, next / 3);
        for _ in 0..8 {
            commit(&broker, next);
        }
        let erased = broker.erase_key("t", b"somebody").expect("it is taken");
        broker.commit_all();
        now(erased).expect("an answer").expect("it is erased");
        broker.keep_house(next % 5 == 0);
    }
    assert!(
        is_full(append(&broker, 0, 100)),
        "appends are still refused"
    );
    assert_eq!(ids(&broker, 0), (30..100).collect::<Vec<_>>());
}

#[test]
fn a_clean_stop_where_others_have_left_no_room_leaves_nothing_in_the_journal() {
    let disk = SimDisk::new(1);
    let broker = filled(&disk, 20);
    commit(&broker, 7);
    broker
        .close()
        .expect("the reserve has room for a checkpoint");
    drop(broker);
    let checkpoint = disk.content("/data/checkpoint").expect("it is there");
    let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
    fill_up(&survived);
    let broker = open_with(&survived, 2, with_reserve()).expect("it starts while full");
    assert_eq!(ids(&broker, 0).len(), 20);
    assert!(is_full(append(&broker, 0, 20)));
    assert_eq!(
        survived.content("/data/checkpoint").expect("it is there"),
        checkpoint,
        "nothing was left to settle"
    );
}

#[test]
fn the_reserve_is_taken_again_when_there_is_room_and_appends_do_not_wait_for_it() {
    let disk = SimDisk::new(1);
    let clock = SimClock::new(1_700_000_000_000);
    let world = env(&disk, &clock, &SimRandom::new(1));
    let broker = Broker::open_stepped(world, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.keep_house(true);
    fill_up(&disk);
    fill(&broker, 0, 1);
    assert!(
        broker.checkpoint_now().is_ok(),
        "in the room of the reserve"
    );
    assert!(!is_there(&disk));
    broker.keep_house(false);
    assert!(is_full(append(&broker, 0, 1)));

    give_room(&disk);
    broker.keep_house(false);
    fill(&broker, 1, 5);
    assert!(!is_there(&disk), "not at once");
    clock.advance(Duration::from_secs(10));
    let free = available(&disk);
    broker.keep_house(false);
    assert!(is_there(&disk));
    assert!(free - available(&disk) >= HELD);
}

#[test]
fn what_the_reserve_holds_counts_as_room() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.keep_house(true);
    // And room for the record.
    leave(&disk, HELD + 4096);
    broker.keep_house(false);
    fill(&broker, 0, 1);
    broker.keep_house(true);
    leave(&disk, HELD - 4096);
    broker.keep_house(false);
    let refused = append(&broker, 0, 1).expect_err("the disk is full");
    let text = refused.to_string();
    let says = "126976 bytes are free, 65536 of them in the reserve file, 131072 are needed \
                (disk.reserve_bytes is 131072): 4096 must be freed";
    assert!(text.contains(says), "{text}");
}

#[test]
fn what_is_still_to_be_written_to_segments_does_not_count_as_room() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.keep_house(true);
    fill(&broker, 0, 1);
    leave(&disk, HELD);
    broker.keep_house(false);
    assert!(is_full(append(&broker, 0, 1)), "its frame needs that room");
    give_room(&disk);
    broker.keep_house(false);
    assert_eq!(append(&broker, 0, 1), Ok(Offset(1)));
}

#[test]
fn a_disk_that_is_full_now_and_then_is_logged_once_in_ten_seconds() {
    let mut said = SaidFull::default();
    let mut next = |is_full, seconds| said.next_line(is_full, Duration::from_secs(seconds));
    assert_eq!(next(false, 0), None);
    assert_eq!(next(true, 1), Some(Line::Full));
    assert_eq!(next(true, 2), None);
    assert_eq!(next(false, 3), Some(Line::Room));
    assert_eq!((next(true, 4), next(false, 5)), (None, None));
    assert_eq!((next(true, 10), next(true, 11)), (None, Some(Line::Full)));
    assert_eq!(next(false, 12), Some(Line::Room));
}

/// Appends to `t` until the disk is full, several records a commit, and no round of housekeeping
/// looks at the disk meanwhile; returns how many records there are then.
fn append_until_full(broker: &Broker, mut count: u64) -> u64 {
    loop {
        let mut pending = Vec::new();
        let refused = (0..10).find_map(|more| match ask(broker, 0, count + more) {
            Ok(asked) => {
                pending.push(asked);
                None
            }
            Err(error) => Some(error),
        });
        broker.commit_all();
        for pending in pending {
            now(pending).expect("an answer").expect("it was admitted");
            count += 1;
        }
        if let Some(error) = refused {
            assert!(is_full::<()>(Err(error)));
            return count;
        }
        assert!(count < 1_000, "the disk is never full");
    }
}

#[test]
fn appends_stop_before_what_is_in_memory_or_the_journal_takes_the_reserve() {
    for spare in [20_u64 << 10, 100 << 10, 150 << 10] {
        let disk = SimDisk::new(1);
        let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
        create(&broker, "t", 1);
        broker.keep_house(true);
        leave(&disk, HELD + spare);
        broker.keep_house(false);
        let count = append_until_full(&broker, 0);
        assert!(count > 5, "{spare}: {count} records");
        broker.checkpoint_now().expect("there is room for all");
        let is_left = available(&disk);
        assert!(
            is_there(&disk) && is_left + SLACK >= HELD,
            "{spare}: {is_left} bytes are left"
        );
        trim(&broker, count);
        (0..4).for_each(|_| broker.step());
        assert_eq!(append(&broker, 0, count), Ok(Offset(count)), "{spare}");
    }
}

#[test]
fn a_disk_that_has_no_room_for_a_request_stays_full_when_the_request_is_gone() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.keep_house(true);
    leave(&disk, HELD + (4 << 10));
    broker.keep_house(false);
    assert!(broker.status().shortage.is_none());
    let refused = now(broker.admit_alone(7_000)).expect("an answer");
    assert!(refused.is_err());
    broker.keep_house(false);
    assert!(broker.status().shortage.is_some());
    leave(&disk, HELD + (16 << 10));
    broker.keep_house(false);
    assert!(broker.status().shortage.is_none());
}

#[test]
fn a_start_counts_what_it_must_write_before_it_takes_appends() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.keep_house(true);
    for at in 0..6 {
        let asked: Vec<_> = (0..10)
            .map(|more| ask(&broker, 0, at * 10 + more))
            .collect();
        broker.commit_all();
        for pending in asked {
            let answer = now(pending.expect("there is room")).expect("an answer");
            answer.expect("it is stored");
        }
    }
    drop(broker);
    let disk = disk.power_cut(1, CrashMode::KeepAllDurable);
    leave(&disk, HELD + (30 << 10));
    let broker = open_with(&disk, 2, with_reserve()).expect("it starts");
    assert!(is_full(append(&broker, 0, 60)), "60 KB were to be written");
    trim(&broker, 60);
    (0..4).for_each(|_| broker.step());
    assert_eq!(append(&broker, 0, 60), Ok(Offset(60)));
}

#[test]
fn a_start_that_must_write_where_others_have_left_no_room_gives_up_the_reserve() {
    let disk = SimDisk::new(1);
    let broker = filled(&disk, 20);
    drop(broker);
    let mut disk = disk.power_cut(1, CrashMode::KeepAllDurable);
    fill_up(&disk);
    // Which directory it is must be written again.
    disk.remove_file("/data/taffrail".as_ref())
        .expect("it is there");
    fill_up(&disk);
    let broker = open_with(&disk, 2, with_reserve()).expect("it starts while full");
    assert!(!is_there(&disk));
    assert_eq!(ids(&broker, 0).len(), 20);
    drop(broker);
    disk = disk.power_cut(2, CrashMode::LoseUnsynced);
    assert_eq!(ids(&opened(&disk, 3), 0).len(), 20);
}

#[test]
fn a_copy_of_the_reserve_that_has_holes_gets_room_for_all_of_it() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    create(&broker, "t", 1);
    broker.close().expect("nothing fails");
    drop(broker);
    for len in [10, HELD, 4 * HELD] {
        let disk = disk.fork();
        let before = available(&disk);
        if is_there(&disk) {
            disk.remove_file(PATH.as_ref()).expect("it is there");
        }
        let copy = disk
            .open(PATH.as_ref(), Open::Create)
            .expect("there is room");
        copy.set_len(len).expect("there is room");
        drop(copy);
        let broker = open_with(&disk, 2, with_reserve()).expect("it starts");
        broker.keep_house(false);
        let len = disk.content(PATH).expect("it is there").len();
        assert_eq!(len as u64, HELD);
        assert!(before - available(&disk) >= HELD, "{len}");
    }
}

#[test]
fn where_none_is_wanted_or_possible_none_is_made() {
    let small = Options {
        disk_reserve_bytes: 0,
        ..with_reserve()
    };
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, small).expect("nothing fails");
    broker.keep_house(true);
    assert!(!is_there(&disk));

    let disk = SimDisk::new(1);
    disk.hide_room();
    let broker = open_with(&disk, 1, with_reserve()).expect("nothing fails");
    broker.keep_house(true);
    assert!(
        !is_there(&disk),
        "nobody knows whether there is room for it"
    );
}

#[test]
fn a_power_cut_at_any_operation_while_the_reserve_is_given_up_loses_nothing() {
    let filled_disk = || {
        let disk = SimDisk::new(1);
        let broker = filled(&disk, 40);
        commit(&broker, 7);
        (disk, broker)
    };
    let (disk, broker) = filled_disk();
    let before = disk.operations();
    broker.keep_house(true);
    let operations = disk.operations() - before;
    assert!(operations > 10 && !is_there(&disk), "{operations}");
    for cut in 0..operations {
        let (disk, broker) = filled_disk();
        disk.crash_at(disk.operations() + cut);
        broker.keep_house(true);
        drop(broker);
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(cut, mode);
            fill_up(&survived);
            let broker = open_with(&survived, 2, with_reserve()).expect("it starts while full");
            assert_eq!(ids(&broker, 0).len(), 40, "{cut} {mode:?}");
            let committed = committed_by(&broker, "g").expect("it is there");
            assert_eq!(committed[0].committed.next, Offset(7), "{cut} {mode:?}");
        }
    }
}
