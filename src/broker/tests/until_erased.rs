//! What is erased, and restored from a backup that was taken before.

use std::path::Path;

use super::{
    backup::{RESTORED, copy_to, count_files_with, open_at},
    until::{BEGUN_MS, PERSON, open_keeping, record_of},
    world::{append_of, create, now, send},
};
use crate::{
    broker::Broker,
    env::sim::{CrashMode, SimClock, SimDisk},
    storage::backup::restore as restore_whole,
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
