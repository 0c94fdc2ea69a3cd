//! No room for what has changed since a checkpoint.

use std::io::ErrorKind;

use super::{create, fill, ids, open_with, opened};
use crate::{
    broker::{Error, tests::world::options},
    env::sim::{CrashMode, Fault, OpKind, SimDisk},
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
