//! Reading a checkpoint returns what was written, whatever crash or damage comes between.

use std::path::Path;

use super::{Found, Writer, copies, delta_path, load, look};
use crate::{
    env::{
        FileSystem,
        sim::{CrashMode, Fault, OpKind, SimDisk},
    },
    storage::{
        files::{FileError, read_file, replace_file},
        format::{
            checkpoint::{Checkpoint, Clock, Producer},
            delta::{ChangedProducer, ChangedProducers, Delta},
            identity::Identity,
        },
    },
    types::{Offset, PartitionId, ProducerId, Sequence, StoredBatch, TopicId},
};

const PATH: &str = "/data/checkpoint";
const DIRECTORY: Identity = Identity { id: 9 };
const STORES: u64 = 12;

/// So small that four of these deltas are followed by a whole checkpoint.
const MOST_DELTAS: u64 = 600;

/// Writes a checkpoint as earlier versions did.
pub(crate) fn store(
    files: &dyn FileSystem,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<(), FileError> {
    let bytes = Checkpoint {
        delta_files: 0,
        ..checkpoint.clone()
    }
    .encode();
    copies(path)
        .iter()
        .try_for_each(|path| replace_file(files, path, &bytes))
}

fn disk() -> SimDisk {
    let disk = SimDisk::new(1);
    disk.create_dir(Path::new("/data")).expect("nothing fails");
    disk.sync_dir(Path::new("/")).expect("nothing fails");
    disk
}

/// A producer's sequence, of which this many batches are remembered.
fn sequence(next: u64, stored: u64) -> Sequence {
    let mut sequence = Sequence {
        topic: TopicId(1),
        partition: PartitionId(2),
        next,
        stored: Vec::new(),
    };
    for number in next - stored..next {
        sequence.stored.push(StoredBatch {
            base: Offset(number * 10),
            count: 10,
            append_time_ms: 5,
        });
    }
    sequence
}

fn clock(nth: u64) -> Clock {
    Clock {
        since_boot_ms: nth,
        ..Clock::default()
    }
}

/// The `nth` checkpoint as a whole, without the place of its deltas.
fn whole(nth: u64) -> Checkpoint {
    Checkpoint {
        applied: nth,
        clock: Some(clock(nth)),
        directory: Some(DIRECTORY),
        producers: vec![Producer {
            id: ProducerId(3),
            epoch: 1,
            idle_ms: 0,
            name: "orders".to_owned(),
            sequences: vec![sequence(nth, nth)],
        }],
        ..Checkpoint::default()
    }
}

/// The delta of the `nth` checkpoint.
fn changed(nth: u64) -> Delta {
    Delta {
        applied: nth,
        clock: clock(nth),
        producers: ChangedProducers {
            passed_ms: 10_000,
            gone: Vec::new(),
            changed: vec![ChangedProducer {
                id: ProducerId(3),
                idle_ms: 0,
                anew: None,
                sequences: vec![sequence(nth, 1)],
            }],
        },
        ..Delta::default()
    }
}

fn writer_after(number: u64) -> Writer {
    Writer::new(PATH.into(), DIRECTORY, number, MOST_DELTAS)
}

fn write(disk: &SimDisk, writer: &mut Writer, nth: u64) -> Result<(), FileError> {
    if writer.takes_deltas() {
        writer.add(disk, &changed(nth))
    } else {
        writer.store(disk, &mut whole(nth))
    }
}

fn loaded(disk: &SimDisk) -> (Found, u64) {
    load(disk, Path::new(PATH), |_, _| Ok::<_, FileError>(())).expect("nothing fails")
}

/// The number of the last checkpoint. Asserts that its content is complete.
fn last(disk: &SimDisk) -> u64 {
    let (Found::Whole(found), deltas) = loaded(disk) else {
        return 0;
    };
    let nth = found.applied;
    let expected = Checkpoint {
        delta_files: deltas,
        ..whole(nth)
    };
    let found = Checkpoint {
        delta_files: deltas,
        ..found
    };
    assert_eq!(found, expected);
    nth
}

/// A disk with a checkpoint, and some deltas behind it.
fn written() -> SimDisk {
    let (disk, mut writer) = (disk(), writer_after(0));
    for nth in 1..=3 {
        write(&disk, &mut writer, nth).expect("nothing fails");
    }
    disk
}

#[test]
fn a_crash_at_any_operation_leaves_the_last_checkpoint_or_the_one_under_way() {
    let mut states = 0;
    let mut with_deltas = 0;
    for operation in 1.. {
        let disk = disk();
        disk.crash_at(disk.operations() + operation);
        let (mut writer, mut done) = (writer_after(0), 0);
        while done < STORES && write(&disk, &mut writer, done + 1).is_ok() {
            done += 1;
        }
        if disk.is_on() {
            break;
        }
        for mode in CrashMode::ALL {
            let context = format!("operation {operation}, {mode:?}");
            let survived = disk.power_cut(operation, mode);
            // Every start does this: a name that a crashed process left may be in the cache only.
            survived
                .sync_dir(Path::new("/data"))
                .expect("nothing fails");
            let found = last(&survived);
            assert!(
                (done..=done + 1).contains(&found),
                "{found} of {done}, {context}"
            );
            // The load has made its result durable, and the next process continues from it.
            let again = survived.power_cut(operation, CrashMode::LoseUnsynced);
            assert_eq!(last(&again), found, "{context}, again");
            let (_, number) = loaded(&again);
            let mut next = writer_after(number);
            for nth in found + 1..=found + 2 {
                write(&again, &mut next, nth).expect("nothing fails");
            }
            assert_eq!(last(&again), found + 2, "{context}, further on");
            with_deltas += u64::from(next.takes_deltas());
            states += 1;
        }
    }
    assert!(states > 500 && with_deltas > 0, "{states}, {with_deltas}");
}

#[test]
fn what_is_damaged_in_one_copy_is_read_from_the_other_and_told() {
    let disk = written();
    let paths = [
        copies(Path::new(PATH)),
        copies(&delta_path(Path::new(PATH), 1)),
    ];
    for path in paths.as_flattened() {
        let len = disk.content(path).expect("it is there").len() as u64;
        for position in 0..len {
            let damaged = disk.fork();
            damaged
                .flip_bit(path, position, 3)
                .expect("it is that long");
            assert_eq!(last(&damaged), 3, "{}, byte {position}", path.display());
            let looked = look(
                Path::new(PATH),
                1,
                |path| read_file(&damaged, path),
                |_, _| Ok(()),
            );
            let told = looked.expect("nothing fails").damaged;
            // Damage of the last delta is not reported: its write may have been under way when the
            // process ended.
            let is_last = path.extension().is_some_and(|end| end == "copy")
                && delta_path(Path::new(PATH), 1).with_extension("copy") == *path;
            assert!(
                told == [path.clone()] || is_last,
                "{}, byte {position}",
                path.display()
            );
        }
        let missing = disk.fork();
        missing.remove_file(path).expect("it is there");
        assert_eq!(last(&missing), 3, "{} is missing", path.display());
    }
}

#[test]
fn deltas_of_which_no_copy_is_whole_are_damage_and_not_as_if_they_had_never_been() {
    let disk = written();
    let [first, second] = copies(&delta_path(Path::new(PATH), 1));
    let len = disk.content(&first).expect("it is there").len() as u64;
    for position in 0..len {
        let damaged = disk.fork();
        damaged
            .flip_bit(&first, position, 0)
            .expect("it is that long");
        damaged
            .flip_bit(&second, position, 0)
            .expect("it is that long");
        assert!(
            matches!(loaded(&damaged).0, Found::Damaged),
            "byte {position}"
        );
    }
    disk.remove_file(&first).expect("it is there");
    disk.remove_file(&second).expect("it is there");
    assert!(
        matches!(loaded(&disk).0, Found::Damaged),
        "both are missing"
    );
}

#[test]
fn deltas_without_a_checkpoint_show_that_there_was_one() {
    let disk = written();
    for path in copies(Path::new(PATH)) {
        disk.remove_file(&path).expect("it is there");
    }
    assert!(matches!(loaded(&disk), (Found::Damaged, 1)));
    // Finding only some of the delta files must not look as if there had been no checkpoint.
    let [first, second] = copies(&delta_path(Path::new(PATH), 1));
    disk.remove_file(&first).expect("it is there");
    assert!(matches!(loaded(&disk).0, Found::Damaged));
    disk.rename(&second, &delta_path(Path::new(PATH), 7))
        .expect("it is there");
    assert!(matches!(loaded(&disk), (Found::Damaged, 7)));
}

#[test]
fn a_first_checkpoint_that_was_cut_off_is_no_lost_one() {
    let (disk, mut writer) = (disk(), writer_after(0));
    // The file for its deltas exists before the checkpoint itself does.
    disk.inject(Fault::on(OpKind::Rename).in_path("checkpoint.new"));
    assert!(write(&disk, &mut writer, 1).is_err());
    let [first, _] = copies(&delta_path(Path::new(PATH), 1));
    assert!(disk.content(&first).is_ok());
    assert!(matches!(loaded(&disk), (Found::None, 1)));
}

#[test]
fn a_checkpoint_is_written_as_a_whole_when_its_deltas_are_as_long_and_old_deltas_go() {
    let (disk, mut writer) = (disk(), writer_after(0));
    let mut wholes = 0;
    for nth in 1..=STORES {
        wholes += u64::from(!writer.takes_deltas());
        write(&disk, &mut writer, nth).expect("nothing fails");
        assert_eq!(last(&disk), nth);
    }
    assert!((2..STORES / 2).contains(&wholes), "{wholes} of {STORES}");
    let mut expected = vec![
        "checkpoint".to_owned(),
        "checkpoint.copy".to_owned(),
        format!("checkpoint.{wholes}.copy"),
        format!("checkpoint.{wholes}.delta"),
    ];
    expected.sort();
    let entries = disk.read_dir(Path::new("/data")).expect("it is there");
    let there: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(there, expected);
}
