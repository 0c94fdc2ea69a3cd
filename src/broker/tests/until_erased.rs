//! What is erased, and restored from a backup that was taken before.

use std::path::Path;

use super::{
    backup::{RESTORED, copy_to, count_files_with, open_at, restore as restore_whole},
    until::{
        BEGUN_MS, PERSON, back_up, has_no_range, open_keeping, record_of, restore, restore_without,
    },
    world::{append_of, create, now, send},
};
use crate::{
    broker::Broker,
    env::sim::{CrashMode, SimClock, SimDisk},
    storage::backup::Until,
};

/// Has everything that was begun done.
fn settle(broker: &Broker) {
    for _ in 0..10 {
        broker.keep_house(true);
        broker.commit_all();
    }
}

#[test]
fn what_was_erased_in_a_topic_that_was_deleted_behind_it_is_known_to_later_backups() {
    for (waits, restarts) in [(false, false), (true, false), (true, true), (false, true)] {
        let (disk, target) = (SimDisk::new(20), SimDisk::new(21));
        let clock = SimClock::new(BEGUN_MS);
        let mut broker = open_keeping(&disk, &clock, 20);
        create(&broker, "t", 1);
        send(&broker, append_of("t", None, &[record_of(PERSON, b"one")])).expect("there is room");
        let mut begun = broker.begin_backup().expect("nothing fails");
        copy_to("/earlier", &mut begun, &target).expect("nothing fails");
        drop(begun);
        let erased = broker.erase_key("t", PERSON).expect("it is there");
        broker.commit_all();
        let erasure = now(erased).expect("an answer").expect("nothing fails");
        if waits {
            settle(&broker);
        }
        let deleted = broker.delete_topic("t").expect("it is there");
        broker.commit_all();
        now(deleted).expect("an answer").expect("nothing fails");
        if restarts {
            drop(broker);
            let disk = disk.power_cut(22, CrashMode::LoseUnsynced);
            broker = open_keeping(&disk, &clock, 23);
        }
        settle(&broker);
        let mut begun = broker.begin_backup().expect("nothing fails");
        copy_to("/later", &mut begun, &target).expect("nothing fails");

        let (from, to) = (Path::new("/earlier"), Path::new(RESTORED));
        let restored = restore_whole(&target, from, to, Some(Path::new("/later")));
        assert_eq!(restored.expect("it is whole").erased, 1);
        let served = open_at(RESTORED, &target, 24);
        settle(&served);
        let described = served.describe_erasure(erasure.id).expect("it is known");
        assert!(described.complete, "{described:?}");
        served.close().expect("nothing fails");
        assert_eq!(count_files_with(&target, RESTORED, PERSON), 0);
    }
}

#[test]
fn no_backup_behind_an_erasure_has_the_journal_from_before_it() {
    for deletes in [false, true] {
        let (disk, target) = (SimDisk::new(5), SimDisk::new(6));
        let broker = open_keeping(&disk, &SimClock::new(BEGUN_MS), 5);
        create(&broker, "t", 1);
        create(&broker, "other", 1);
        let send_one = |topic, key| {
            let one = append_of(topic, None, &[record_of(key, b"one")]);
            send(&broker, one).expect("there is room");
        };
        send_one("t", PERSON);
        let first = back_up(&broker, &target);
        send_one("t", PERSON);
        send_one("t", b"somebody else");
        back_up(&broker, &target);
        let erased = broker.erase_key("t", PERSON).expect("it is there");
        broker.commit_all();
        let erasure = now(erased).expect("an answer").expect("nothing fails");
        if deletes {
            let deleted = broker.delete_topic("t").expect("it is there");
            broker.commit_all();
            now(deleted).expect("an answer").expect("nothing fails");
        }
        let mut begun = broker.begin_backup().expect("nothing fails");
        copy_to("/later", &mut begun, &target).expect("nothing fails");
        drop(begun);

        let without = target.fork();
        let until = Until::Commit(first + 1);
        let restored = restore_without(&without, until, Some(Path::new("/later")));
        assert_eq!(restored.expect("it is there"), (first + 1, 1));
        let served = open_at(RESTORED, &without, 7);
        settle(&served);
        let described = served.describe_erasure(erasure.id).expect("it is known");
        assert!(described.complete, "{described:?}");
        served.close().expect("nothing fails");
        assert_eq!(count_files_with(&without, RESTORED, PERSON), 0);

        // The bytes are not removed yet, but what is kept begins anew, and goes on from there.
        send_one("other", b"somebody else");
        let again = back_up(&broker, &target);
        assert!(has_no_range(&target, first + 1));
        assert_eq!(count_files_with(&target, "/backup/kept", PERSON), 0);
        settle(&broker);
        assert_eq!(count_files_with(&disk, "/data/kept", PERSON), 0);
        send_one("other", b"somebody else");
        let last = back_up(&broker, &target);
        for commit in again..=last {
            restore(&target, Until::Commit(commit)).expect("it is there");
        }
    }
}
