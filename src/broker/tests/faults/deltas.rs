//! No room on the disk for the delta of a checkpoint.

use std::{collections::BTreeMap, io::ErrorKind, path::Path};

use super::{create, fill, ids, open_with, opened};
use crate::{
    broker::{
        Broker, Error,
        tests::world::{now, options},
    },
    env::sim::{CrashMode, Fault, OpKind, SimDisk, fault::EMFILE},
};

#[test]
fn where_room_runs_out_for_a_delta_the_next_checkpoint_is_a_whole_one() {
    for (what, path) in [("a delta", ".delta"), ("its copy", "checkpoint.1.copy")] {
        for is_short in [false, true] {
            let disk = SimDisk::new(1);
            let deltas = open_with(&disk, 1, options());
            let broker = deltas.expect("it can be opened");
            create(&broker, "t", 1);
            fill(&broker, 0, 15);
            let fault = Fault::on(OpKind::Write).in_path(path);
            let fault = fault.error(ErrorKind::StorageFull);
            disk.inject(if is_short { fault.short() } else { fault });
            let full = broker.checkpoint_now();
            assert!(matches!(full, Err(Error::DiskFull(_))), "{what}: {full:?}");
            let killed = disk.fork().power_cut(1, CrashMode::KeepAll);
            assert_eq!(ids(&opened(&killed, 2), 0).len(), 15, "{what}: killed");

            broker.keep_house(true);
            fill(&broker, 15, 20);
            broker.checkpoint_now().expect("there is room");
            drop(broker);
            let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
            let found = ids(&opened(&survived, 3), 0);
            assert_eq!(found, (0..20).collect::<Vec<_>>(), "{what}");
        }
    }
}

/// Sets `segment.ms` of topic `t`.
fn alter(broker: &Broker, segment_ms: &str) {
    let set = BTreeMap::from([("segment.ms".to_owned(), segment_ms.to_owned())]);
    let altered = broker.alter_topic("t", &set, &[]).expect("it is a setting");
    broker.commit_all();
    now(altered).expect("an answer").expect("it can be altered");
}

fn segment_ms(broker: &Broker) -> u64 {
    let (topic, _) = broker.describe_topic("t").expect("it is there");
    topic.settings.segment_ms
}

#[test]
fn what_fails_behind_a_checkpoint_leaves_nothing_out_of_the_next() {
    let disk = SimDisk::new(1);
    let broker = open_with(&disk, 1, options()).expect("it can be opened");
    create(&broker, "t", 1);
    alter(&broker, "20s");
    broker.checkpoint_now().expect("nothing fails");
    alter(&broker, "30s");
    let delta = Fault::on(OpKind::Write).in_path(".delta");
    disk.inject(delta.error(ErrorKind::StorageFull));
    broker
        .checkpoint_now()
        .expect_err("there is no room for the delta");
    // A whole checkpoint is stored, but the deltas of the one before cannot be listed.
    let data = Path::new("/data");
    disk.inject(Fault::on(OpKind::ReadDir).at(data).errno(EMFILE));
    broker
        .checkpoint_now()
        .expect_err("a directory cannot be listed");
    alter(&broker, "20s");
    broker.checkpoint_now().expect("nothing fails");
    drop(broker);
    let survived = disk.power_cut(1, CrashMode::KeepAll);
    assert_eq!(segment_ms(&opened(&survived, 2)), 20_000);
}
