//! A directory whose file `taffrail` is lost: its other files tell its identity.

use std::path::Path;

use super::{SimDisk, append, directory::refused, ids, opened, put, stopped_cleanly, world};
use crate::{
    env::{FileSystem, Open},
    storage::{
        format::{VERSION, checkpoint::Checkpoint, identity::Identity, segment_file::Header},
        inspect::inspect,
    },
    types::Offset,
};

const FILE: &str = "/data/taffrail";
const CHECKPOINTS: [&str; 2] = ["/data/checkpoint", "/data/checkpoint.copy"];

/// A way to lose the file.
type Loss = (&'static str, fn(&SimDisk));

const LOSSES: [Loss; 4] = [
    ("removed", |disk| {
        disk.remove_file(FILE.as_ref()).expect("it is there");
    }),
    ("empty", |disk| replace(disk, FILE, b"")),
    ("zeros", |disk| replace(disk, FILE, &[0; 24])),
    ("damaged", |disk| {
        disk.flip_bit(FILE, 20, 3).expect("it is that long");
    }),
];

fn replace(disk: &SimDisk, path: &str, content: &[u8]) {
    disk.remove_file(path.as_ref()).expect("it is there");
    put(disk, path, content);
}

fn identity(disk: &SimDisk) -> Option<Identity> {
    let content = disk.content(FILE).ok()?;
    Identity::decode(&content).ok()
}

fn segments(disk: &SimDisk) -> Vec<String> {
    let files = disk.files().into_iter();
    let files = files.map(|path| path.to_str().expect("UTF-8").to_owned());
    files.filter(|path| path.ends_with(".log")).collect()
}

/// Makes a copy of the checkpoint name another directory, or none.
fn rename_checkpoint(disk: &SimDisk, path: &str, directory: Option<Identity>) {
    let content = disk.content(path).expect("it is there");
    let mut checkpoint = Checkpoint::decode(&content).expect("it is whole");
    checkpoint.directory = directory;
    if directory.is_none() {
        // Checkpoints that name no directory have no deltas either.
        checkpoint.delta_files = 0;
    }
    replace(disk, path, &checkpoint.encode());
}

/// Makes a segment name another directory, or none.
fn rename_segment(disk: &SimDisk, path: &str, directory: Option<Identity>) {
    let content = disk.content(path).expect("it is there");
    let header = Header::decode(&content).expect("it is whole");
    let header = Header {
        directory,
        ..header
    };
    let file = disk.open(path.as_ref(), Open::Write).expect("it is there");
    file.write_all_at(&[&header.encode()], 0).expect("room");
}

fn damage_checkpoints(disk: &SimDisk) {
    for path in CHECKPOINTS {
        disk.flip_bit(path, 40, 1).expect("it is that long");
    }
}

#[test]
fn a_lost_identity_is_made_anew_as_checkpoint_and_segments_name_it() {
    for (what, lose) in LOSSES {
        for has_checkpoint in [true, false] {
            let context = format!("{what}, with a checkpoint: {has_checkpoint}");
            let disk = stopped_cleanly(3);
            let before = identity(&disk).expect("it was written");
            lose(&disk);
            if !has_checkpoint {
                damage_checkpoints(&disk);
            }
            let report = inspect(&world(&disk, 5), "/data".as_ref(), false);
            let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(report.id, Some(before.id), "{context}");
            assert!(!report.damage.is_empty(), "{context}");

            let broker = opened(&disk, 7);
            assert_eq!(ids(&broker, 0), [0, 1, 2], "{context}");
            assert_eq!(identity(&disk), Some(before), "{context}");
            assert_eq!(append(&broker, 0, 3), Ok(Offset(3)), "{context}");
            broker.close().expect("nothing fails");
            assert_eq!(ids(&opened(&disk, 8), 0).len(), 4, "{context}");
        }
    }
}

#[test]
fn a_lost_identity_that_no_file_names_is_a_new_one() {
    for (what, lose) in LOSSES {
        let disk = stopped_cleanly(3);
        // As before checkpoints and segments named their directory.
        for path in CHECKPOINTS {
            rename_checkpoint(&disk, path, None);
        }
        for path in segments(&disk) {
            rename_segment(&disk, &path, None);
        }
        lose(&disk);
        let broker = opened(&disk, 7);
        assert_eq!(ids(&broker, 0), [0, 1, 2], "{what}");
        let new = identity(&disk).expect("it was written");
        assert_eq!(append(&broker, 0, 3), Ok(Offset(3)), "{what}");
        broker.close().expect("nothing fails");

        // Now they name their directory.
        for path in CHECKPOINTS {
            let content = disk.content(path).expect("it is there");
            let checkpoint = Checkpoint::decode(&content).expect("it is whole");
            assert_eq!(checkpoint.directory, Some(new), "{what}");
        }
        lose(&disk);
        assert_eq!(ids(&opened(&disk, 8), 0).len(), 4, "{what}");
        assert_eq!(identity(&disk), Some(new), "{what}");
    }
}

#[test]
fn files_of_two_directories_are_refused_and_both_are_named() {
    let other = Identity { id: 0xabcd };
    let copy = CHECKPOINTS[1];
    let check = |disk: &SimDisk, one: &str, another: &str| {
        let id = format!("{:016x}", other.id);
        let inspected = inspect(&world(disk, 5), Path::new("/data"), false);
        let inspected = inspected.map(drop).expect_err("they differ").to_string();
        for said in [refused(disk), inspected] {
            for part in [one, another, &id, "put together what belongs together"] {
                assert!(said.contains(part), "{part}: {said}");
            }
        }
    };
    let disk = stopped_cleanly(3);
    rename_checkpoint(&disk, copy, Some(other));
    check(&disk, FILE, copy);
    LOSSES[0].1(&disk);
    check(&disk, CHECKPOINTS[0], copy);

    let disk = stopped_cleanly(3);
    let segment = segments(&disk).pop().expect("there are some");
    rename_segment(&disk, &segment, Some(other));
    LOSSES[0].1(&disk);
    check(&disk, CHECKPOINTS[0], &segment);
}

#[test]
fn a_lost_identity_does_not_hide_another_version_of_the_formats() {
    let disk = stopped_cleanly(3);
    for path in disk.files() {
        let len = disk.content(&path).expect("it is there").len();
        // Each file begins with a magic number and the version; a journal file twice.
        for at in [8, 2048 + 8].into_iter().filter(|at| at + 4 <= len) {
            let version = (VERSION + 1).to_le_bytes();
            let written = disk.overwrite(&path, at as u64, &version);
            written.expect("it is that long");
        }
    }
    LOSSES[0].1(&disk);
    let said = refused(&disk);
    let version = format!("has format version {}", VERSION + 1);
    assert!(said.contains(&version), "{said}");
}
