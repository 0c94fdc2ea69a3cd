//! Directories that a broker must not use, and one that it may use although its identity is
//! damaged.

use std::path::Path;

use super::{
    Broker, Options, SimDisk, create, fill, ids, now, open_with, opened, options, put,
    stopped_cleanly, tree,
};
use crate::{
    budget::Name,
    env::{
        FileSystem,
        sim::{
            CrashMode, Fault, OpKind,
            fault::{ENOLCK, ENOSYS, EOPNOTSUPP},
        },
    },
    storage::{
        data_dir,
        format::{VERSION, VERSION_WITH_BLOCKS, crc32},
        inspect::inspect_quiet,
        ownership,
    },
};

/// Opens a directory that must be refused, and returns the message. Nothing may be written.
pub(super) fn refused(disk: &SimDisk) -> String {
    let before = tree(disk);
    let error = open_with(disk, 9, options())
        .err()
        .expect("the directory is not to be used")
        .to_string();
    assert!(error.contains("/data"), "it names the directory: {error}");
    assert_eq!(tree(disk), before, "nothing was written: {error}");
    error
}

#[test]
fn a_directory_that_another_broker_uses_is_refused_until_that_one_is_gone() {
    let disk = stopped_cleanly(3);
    let first = opened(&disk, 1);
    let error = refused(&disk);
    assert!(
        error.contains("in use by another broker") && error.contains("stop it"),
        "{error}"
    );
    fill(&first, 3, 5);
    first.close().expect("the other has done no harm");
    assert_eq!(ids(&opened(&disk, 2), 0).len(), 5);
}

#[test]
fn a_directory_that_cannot_be_written_is_refused() {
    let disk = stopped_cleanly(3);
    disk.set_read_only(true);
    let error = refused(&disk);
    assert!(
        error.contains("cannot be written to") && error.contains("choose another directory"),
        "{error}"
    );
    disk.set_read_only(false);
    assert_eq!(ids(&opened(&disk, 1), 0).len(), 3);

    let empty = SimDisk::new(1);
    empty.set_read_only(true);
    let error = refused(&empty);
    assert!(error.contains("cannot be written to"), "{error}");
}

#[test]
fn a_directory_that_cannot_be_locked_is_refused_with_what_to_do() {
    for number in [ENOLCK, ENOSYS, EOPNOTSUPP] {
        let disk = stopped_cleanly(3);
        disk.inject(Fault::on(OpKind::Lock).errno(number).for_ever());
        let error = refused(&disk);
        assert!(
            error.contains("knows no locks") && error.contains("another file system"),
            "{error}"
        );
        assert!(!error.contains("give this user the right"), "{error}");
    }
}

#[test]
fn a_directory_of_another_format_version_is_refused() {
    for version in [1, VERSION_WITH_BLOCKS + 1] {
        let (number, id) = (version.to_le_bytes(), 7u64.to_le_bytes());
        let checksum = crc32(&[&number, &id]).to_le_bytes();
        let disk = stopped_cleanly(3);
        let identity = [&b"TFRLDATA"[..], &number, &checksum, &id].concat();
        disk.overwrite("/data/taffrail", 0, &identity)
            .expect("it is that long");
        let error = refused(&disk);
        let other = format!("format version {version} and this broker reads {VERSION}");
        assert!(
            error.contains(&other) && error.contains("use the broker that wrote it"),
            "{error}"
        );
    }
}

#[test]
fn a_directory_that_is_not_ours_is_refused() {
    let by_name = SimDisk::new(1);
    by_name.create_dir("/data".as_ref()).expect("there is none");
    put(&by_name, "/data/notes.txt", b"mine");
    let by_content = stopped_cleanly(3);
    by_content
        .overwrite("/data/taffrail", 0, b"SOMETHNG")
        .expect("it is that long");
    for disk in [by_name, by_content] {
        let error = refused(&disk);
        assert!(
            error.contains("is not a taffrail data directory"),
            "{error}"
        );
    }
}

#[test]
fn a_damaged_identity_is_no_reason_not_to_start() {
    for position in [12, 16, 23] {
        let disk = stopped_cleanly(3);
        disk.flip_bit("/data/taffrail", position, 0)
            .expect("it is that long");
        for start in 1..3 {
            let broker = opened(&disk, start);
            assert_eq!(ids(&broker, 0), [0, 1, 2], "byte {position}");
        }
        let identity = disk.content("/data/taffrail").expect("it was written anew");
        assert_eq!(identity[..8], *b"TFRLDATA");
        let found = ownership::find(&super::world(&disk, 5), "/data".as_ref());
        assert!(
            matches!(found, Ok(ownership::Found::Told { .. })),
            "{found:?}"
        );
    }
}

#[test]
fn a_first_start_that_was_cut_off_anywhere_leaves_a_directory_that_is_ours() {
    let whole = SimDisk::new(1);
    drop(opened(&whole, 1));
    for operation in 1..=whole.operations() {
        for mode in CrashMode::ALL {
            let disk = SimDisk::new(1);
            disk.crash_at(operation);
            assert!(open_with(&disk, 1, options()).is_err(), "the power failed");
            let broker: Broker = opened(&disk.power_cut(operation, mode), 2);
            create(&broker, "t", 1);
            fill(&broker, 0, 2);
        }
    }
}

/// Like the lower layer of an overlay file system.
#[test]
fn a_topic_whose_directory_cannot_be_renamed_is_deleted_all_the_same() {
    let delete = |broker: &Broker| {
        let deleted = broker.delete_topic("t").expect("it is there");
        broker.commit_all();
        now(deleted).expect("an answer").expect("it is deleted");
    };
    let topics = |disk: &SimDisk| disk.read_dir("/data/topics".as_ref()).expect("it is there");
    let whole = stopped_cleanly(20);
    let t = Path::new("/data/topics").join(&topics(&whole)[0].name);
    let cannot = || {
        Fault::on(OpKind::Rename)
            .at(&t)
            .error(std::io::ErrorKind::CrossesDevices)
            .for_ever()
    };
    create(&opened(&whole, 1), "u", 1);
    let whole = whole.power_cut(1, CrashMode::KeepAllDurable);
    let there = |broker: &Broker| broker.list_topics("", "", 10, |_| true).0.len();

    let disk = whole.fork();
    disk.inject(cannot());
    let broker = opened(&disk, 2);
    delete(&broker);
    broker.close().expect("it is removed in its place");
    assert_eq!(topics(&disk).len(), 1, "{:?}", topics(&disk));
    assert_eq!(there(&opened(&disk, 3)), 1);

    // The power fails at each operation, and the next start has a checkpoint or not.
    for operation in 1.. {
        let disk = whole.fork();
        disk.inject(cannot());
        let broker = opened(&disk, 2);
        delete(&broker);
        disk.crash_at(disk.operations() + operation);
        drop(broker.close());
        if disk.is_on() {
            assert!(operation > 20, "it took {operation} operations");
            break;
        }
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(operation, mode);
            survived.inject(cannot());
            if operation % 2 == 0 {
                for copy in ["/data/checkpoint", "/data/checkpoint.copy"] {
                    survived.flip_bit(copy, 40, 1).ok();
                }
            }
            let broker = opened(&survived, 3);
            assert_eq!(there(&broker), 1, "operation {operation}, {mode:?}");
            broker.close().expect("nothing else fails");
            assert_eq!(
                topics(&survived).len(),
                1,
                "operation {operation}, {mode:?}"
            );
            assert_eq!(there(&opened(&survived, 4)), 1, "operation {operation}");
        }
    }
}

/// The stop renames the topic's directory, and the next start creates it again for records in the
/// journal before replay comes to the deletion.
#[test]
fn a_deleted_topic_that_replay_writes_out_again_is_no_reason_not_to_start() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    let no_checkpoint = Fault::on(OpKind::Create)
        .in_path("checkpoint.new")
        .error(std::io::ErrorKind::StorageFull);
    disk.inject(no_checkpoint.times(3));
    create(&broker, "t", 1);
    create(&broker, "u", 1);
    for first in (0..80).step_by(20) {
        let asked = (first..first + 20).map(|id| super::ask(&broker, 0, id).expect("queued"));
        let asked: Vec<_> = asked.collect();
        broker.commit_all();
        drop(asked);
    }
    assert!(broker.checkpoint_now().is_err(), "the disk is full");
    let deleted = broker.delete_topic("t").expect("it is there");
    broker.commit_all();
    now(deleted).expect("an answer").expect("it is deleted");
    assert!(broker.close().is_err(), "the disk is full");
    drop(broker);

    let small = || Options {
        memory: options().memory.with(Name::Appends, 64 << 10),
        ..options()
    };
    let topics = |disk: &SimDisk| disk.read_dir("/data/topics".as_ref()).expect("it is there");
    let there = |broker: &Broker| broker.list_topics("", "", 10, |_| true).0.len();
    assert_eq!(topics(&disk).len(), 2, "{:?}", topics(&disk));
    for operation in 1.. {
        let disk = disk.fork();
        disk.crash_at(disk.operations() + operation);
        let started = open_with(&disk, 3, small());
        let closed = started
            .as_ref()
            .is_ok_and(|broker| there(broker) == 1 && broker.close().is_ok());
        if disk.is_on() {
            assert!(closed, "{:?}", started.err());
            assert_eq!(topics(&disk).len(), 1, "{:?}", topics(&disk));
            assert!(operation > 20, "it took {operation} operations");
            break;
        }
        for mode in CrashMode::ALL {
            let survived = disk.power_cut(operation, mode);
            let broker = open_with(&survived, 4, small())
                .unwrap_or_else(|error| panic!("{operation}, {mode:?}: it starts: {error}"));
            assert_eq!(there(&broker), 1, "operation {operation}, {mode:?}");
            broker.close().expect("nothing fails");
            assert_eq!(
                topics(&survived).len(),
                1,
                "operation {operation}, {mode:?}"
            );
        }
    }
}

#[test]
fn a_directory_is_locked_also_when_its_lock_file_is_removed() {
    let disk = stopped_cleanly(3);
    let first = opened(&disk, 1);
    disk.remove_file("/data/lock".as_ref())
        .expect("it is there");
    let error = open_with(&disk, 2, options()).err().expect("it is in use");
    assert!(error.to_string().contains("in use"), "{error}");
    fill(&first, 3, 5);
    first.close().expect("the other has done no harm");
    assert_eq!(ids(&opened(&disk, 3), 0).len(), 5);
}

#[test]
fn a_directory_in_use_is_not_inspected_and_one_that_is_inspected_is_not_used() {
    let disk = stopped_cleanly(3);
    let broker = opened(&disk, 1);
    let env = super::world(&disk, 1);
    let dir = Path::new("/data");
    for removed in [false, true] {
        if removed {
            disk.remove_file("/data/lock".as_ref())
                .expect("it is there");
        }
        let error = inspect_quiet(&env, dir, true).expect_err("it is in use");
        assert!(
            error.to_string().contains("in use by another broker"),
            "{error}"
        );
    }
    broker.close().expect("nothing fails");
    let before = tree(&disk);
    let report = inspect_quiet(&env, dir, true).expect("nobody uses it");
    assert_eq!((report.damage, tree(&disk)), (vec![], before));

    let quiet = data_dir::Quiet::hold(&env, dir).expect("nobody uses it");
    let error = open_with(&disk, 2, options())
        .err()
        .expect("it is looked at");
    assert!(error.to_string().contains("being inspected"), "{error}");
    inspect_quiet(&env, dir, true).expect("others may look too");
    drop(quiet);
    opened(&disk, 3);
}
