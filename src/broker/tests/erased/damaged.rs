//! Damage does not keep the bytes of an erased entity, and their removal does not hide the damage.

use std::path::PathBuf;

use super::{Secret, World, append_of, send, small_tables, try_read};
use crate::{
    broker::{Error, Filter, Read, ReadKey, Step},
    env::sim::{CrashMode, SimDisk},
    proto,
    storage::format::{
        page::PAGE_BYTES,
        sorted_table::{Header, NAME_HEAD_BYTES, ROWS_PER_PAGE, Row},
    },
    types::{Offset, PartitionId, Position, Version},
};

/// The files with this extension that contain bytes of the secret.
fn files_with(secret: &Secret, disk: &SimDisk, ending: &str) -> Vec<PathBuf> {
    let mut files = disk.files();
    files.retain(|path| {
        path.to_string_lossy().ends_with(ending)
            && secret.is_in(&disk.content(path).expect("it was just listed"))
    });
    files
}

/// The positions of the secret's marks in a file.
fn marks(secret: &Secret, disk: &SimDisk, path: &PathBuf) -> Vec<u64> {
    let content = disk.content(path).expect("it is there");
    let windows = content.windows(16).enumerate();
    let marked = windows.filter(|(_, window)| *window == secret.mark || *window == secret.key_mark);
    marked.map(|(at, _)| at as u64).collect()
}

/// Closes the broker, damages the disk, and starts the broker again.
fn damage_and_restart(world: World, damage: impl FnOnce(&SimDisk)) -> World {
    world.broker.close().expect("nothing fails");
    damage(&world.disk);
    World {
        disk: world.disk.clone(),
        ..world
    }
    .restart(Some(CrashMode::KeepAll))
}

/// Overwrites every table of records with zeros, so that the index is rebuilt from the log.
pub(super) fn lose_runs(disk: &SimDisk) {
    for path in disk.files() {
        if path.extension().is_some_and(|ending| ending == "keys") {
            let len = disk.content(&path).expect("it was just listed").len() as u64;
            disk.zero(&path, 0..len).expect("it is that long");
        }
    }
}

#[test]
fn what_is_damaged_of_a_segment_keeps_nothing_of_an_erased_entity_and_is_reported_as_before() {
    for index_is_rebuilt in [false, true] {
        let world = World::new(1, small_tables());
        let secret = Secret::new(&world.chance);
        (0..12).for_each(|nth| secret.append(&world.broker, nth, 20_000));
        world.keep_house(true);
        // Damages all frames of the second segment. An index rebuilt from the log has no rows for
        // them.
        let mut damaged = PathBuf::new();
        let world = damage_and_restart(world, |disk| {
            damaged = files_with(&secret, disk, ".log")[1].clone();
            for position in marks(&secret, disk, &damaged) {
                disk.flip_bit(&damaged, position + 16, 3)
                    .expect("it is that long");
            }
            if index_is_rebuilt {
                lose_runs(disk);
            }
        });
        let cut = try_read(&world.broker, Filter::default());
        assert!(matches!(cut, Err(Error::DamagedRecords { .. })), "{cut:?}");
        assert!(!marks(&secret, &world.disk, &damaged).is_empty());

        let erasure = secret.erase(&world.broker);
        world.complete();
        assert!(
            world
                .broker
                .describe_erasure(erasure.id)
                .expect("it is remembered")
                .complete
        );
        secret.assert_gone(&world.disk);
        for world in [World::on(world.disk.fork(), 50, small_tables()), world] {
            let again = try_read(&world.broker, Filter::default());
            assert_eq!(again, cut, "what is damaged is reported as before");
            assert_eq!(secret.append_at(&world.broker, 12, b"new"), Ok(Version(13)));
        }
    }
}

#[test]
fn what_is_undamaged_beside_damage_stays() {
    let world = World::new(2, small_tables());
    let secret = Secret::new(&world.chance);
    (0..12).for_each(|nth| secret.append(&world.broker, nth, 20_000));
    world.keep_house(true);
    let mut at = 0;
    let world = damage_and_restart(world, |disk| {
        let path = &files_with(&secret, disk, ".log")[1];
        disk.flip_bit(path, marks(&secret, disk, path)[0] + 20, 0)
            .expect("it is that long");
    });
    let Err(Error::DamagedRecords { from, to, .. }) = try_read(&world.broker, Filter::default())
    else {
        panic!("a frame is damaged")
    };
    assert_eq!(to.0 - from.0, 4, "a frame has four records");
    secret.erase(&world.broker);
    world.complete();
    let start = Position::Offset(to);
    let mut reader = world
        .broker
        .read(Read {
            topic: "t".into(),
            start,
            ..Read::default()
        })
        .expect("it can be read behind");
    while let Step::Batch(batch) = reader.step().expect("it can be read on") {
        at = batch.next_offset.0;
    }
    assert_eq!(at, 48);
}

/// A world in which the secret and many other entities are known only from a table of last
/// versions, which has two pages of rows and several pages of names.
fn retired() -> (World, Secret) {
    let world = World::new(3, small_tables());
    let secret = Secret::new(&world.chance);
    (0..4).for_each(|nth| secret.append(&world.broker, nth, 20_000));
    for nth in 0..200 {
        send(&world.broker, append_of(&[long(nth)])).expect("nothing fails");
        if nth % 4 == 0 {
            world.keep_house(true);
        }
    }
    // Makes sure that all of the secret's records are in sealed segments.
    (0..20).for_each(|nth| {
        drop(send(&world.broker, append_of(&[large(nth)])).expect("nothing fails"));
    });
    world.keep_house(true);
    let end = world.broker.describe_topic("t").expect("it is there").1[0].high_watermark;
    drop(
        world
            .broker
            .trim("t", PartitionId(0), end)
            .expect("it is in the log"),
    );
    world.broker.commit_all();
    (0..3).for_each(|_| world.keep_house(true));
    assert_eq!(files_with(&secret, &world.disk, ".versions").len(), 1);
    assert_eq!(files_with(&secret, &world.disk, ".log").len(), 0);
    (world, secret)
}

fn large(nth: u64) -> Vec<u8> {
    let value = vec![nth as u8; 9_000].into();
    super::encode_proto(&proto::Record {
        value: Some(value),
        ..Default::default()
    })
}

fn long_key(nth: u64) -> String {
    format!("{nth} {}", "k".repeat(150))
}

fn long(nth: u64) -> Vec<u8> {
    super::encode_proto(&proto::Record {
        key: Some(long_key(nth).into()),
        value: Some("v".into()),
        ..Default::default()
    })
}

/// Of the other entities of [`retired`], how many are known to be at version 1, and how many are
/// reported as damaged.
fn known_and_lost(world: &World) -> (usize, usize) {
    let of = |nth: u64| {
        let read = ReadKey {
            topic: "t".into(),
            key: long_key(nth).into(),
            ..ReadKey::default()
        };
        world.broker.read_key(read).map(|reader| reader.latest())
    };
    let found: Vec<_> = (0..200).map(of).collect();
    let known = found
        .iter()
        .filter(|found| **found == Ok(Version(1)))
        .count();
    let lost = found
        .iter()
        .filter(|found| matches!(found, Err(Error::DamagedRecords { .. })))
        .count();
    let neither = found
        .iter()
        .find(|found| !matches!(found, Ok(Version(1)) | Err(Error::DamagedRecords { .. })));
    assert!(
        neither.is_none(),
        "what was known is known or lost, and never taken for new: {neither:?}"
    );
    (known, lost)
}

/// The damaged part of a table of last versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The page with the secret's row.
    Rows,
    /// The page with the secret's name.
    Names,
    /// The whole table.
    Whole,
}

impl Part {
    fn damage(self, secret: &Secret, disk: &SimDisk) {
        let path = &files_with(secret, disk, ".versions")[0];
        let content = disk.content(path).expect("it is there");
        let position = match self {
            Self::Rows => {
                let hash = Header::decode(&content)
                    .and_then(|header| row_page_of(&content, &header, secret));
                hash.expect("it has a row") * PAGE_BYTES as u64 + 5
            }
            Self::Names => marks(secret, disk, path)[0] - 2,
            Self::Whole => 40,
        };
        disk.flip_bit(path, position, 5).expect("it is that long");
    }
}

/// The page with the secret's row, which gives the position of its name.
fn row_page_of(content: &[u8], header: &Header, secret: &Secret) -> Option<u64> {
    let is_secret = |place: u64| {
        let (page, at) = header.names.expect("it has names").place(place);
        let at = page as usize * PAGE_BYTES + at + NAME_HEAD_BYTES as usize;
        content[at..].starts_with(&secret.key())
    };
    (header.first_row_page()..header.behind_rows()).find(|number| {
        let page = content[*number as usize * PAGE_BYTES..].first_chunk();
        let page = page.expect("it is that long");
        let rows = (0..ROWS_PER_PAGE as usize).map(|nth| Row::at(page, nth));
        let mut rows = rows.filter(|row| row.version != Version::NONE);
        rows.any(|row| is_secret(row.place))
    })
}

#[test]
fn damaged_last_versions_keep_nothing_of_an_erased_entity_and_stay_lost_while_others_stay_known() {
    for part in [Part::Rows, Part::Names] {
        let (world, secret) = retired();
        assert_eq!(known_and_lost(&world), (200, 0));
        let erasure = secret.erase(&world.broker);
        let world = damage_and_restart(world, |disk| part.damage(&secret, disk));
        let (known, lost) = known_and_lost(&world);
        match part {
            Part::Rows => assert!(known > 20 && lost > 5, "{known} are known, {lost} are lost"),
            _ => assert_eq!((known, lost), (200, 0), "by their hashes"),
        }
        world.complete();
        assert!(
            world
                .broker
                .describe_erasure(erasure.id)
                .expect("it is remembered")
                .complete
        );
        secret.assert_gone(&world.disk);
        assert_eq!(known_and_lost(&world), (known, lost));
        let world = world.restart(None);
        assert_eq!(known_and_lost(&world), (known, lost));
        secret.assert_gone(&world.disk);
    }
}

#[test]
fn an_entity_of_which_only_damaged_last_versions_are_left_can_still_be_erased() {
    for (part, without_runs) in [
        (Part::Rows, false),
        (Part::Names, true),
        (Part::Whole, false),
        (Part::Whole, true),
    ] {
        let (world, secret) = retired();
        let world = damage_and_restart(world, |disk| {
            part.damage(&secret, disk);
            if without_runs {
                lose_runs(disk);
            }
        });
        let known = known_and_lost(&world);
        assert!(known.1 > 5 || part == Part::Names, "{known:?}");
        let erasure = secret.erase(&world.broker);
        let expected = match part {
            Part::Whole if without_runs => Version::UNKNOWN,
            _ => Version(4),
        };
        assert_eq!(erasure.through, expected, "{part:?}");
        world.complete();
        let described = world.broker.describe_erasure(erasure.id);
        assert!(described.expect("it is remembered").complete);
        secret.assert_gone(&world.disk);
        assert_eq!(known_and_lost(&world), known);
        // A merge may have dropped the rows from which the version was known.
        let again = secret.erase(&world.broker).through;
        assert!([expected, Version::UNKNOWN].contains(&again), "{again}");
        world.complete();
        assert_eq!(known_and_lost(&world), known);
        let world = world.restart(None);
        assert_eq!(known_and_lost(&world), known);
        secret.assert_gone(&world.disk);
    }
}

#[test]
fn last_versions_that_cannot_be_opened_at_all_keep_nothing_of_an_erased_entity() {
    let (world, secret) = retired();
    let erasure = secret.erase(&world.broker);
    let world = damage_and_restart(world, |disk| {
        disk.flip_bit(&files_with(&secret, disk, ".versions")[0], 40, 1)
            .expect("it is that long");
    });
    assert_eq!(known_and_lost(&world), (0, 200));
    world.complete();
    assert!(
        world
            .broker
            .describe_erasure(erasure.id)
            .expect("it is remembered")
            .complete
    );
    secret.assert_gone(&world.disk);
    assert_eq!(known_and_lost(&world.restart(None)), (0, 200));
}

#[test]
fn last_versions_that_could_not_be_opened_and_can_be_again_are_not_lost() {
    let (world, secret) = retired();
    secret.erase(&world.broker);
    let mut path = PathBuf::new();
    let world = damage_and_restart(world, |disk| {
        path = files_with(&secret, disk, ".versions")[0].clone();
        disk.flip_bit(&path, 40, 1).expect("it is that long");
    });
    assert_eq!(known_and_lost(&world), (0, 200));
    world.disk.flip_bit(&path, 40, 1).expect("it is that long");
    world.complete();
    secret.assert_gone(&world.disk);
    assert_eq!(known_and_lost(&world), (200, 0));
}

#[test]
fn what_a_crash_has_left_of_files_that_were_being_written_keeps_nothing_of_an_erased_entity() {
    let world = World::new(4, small_tables());
    let secret = Secret::new(&world.chance);
    (0..6).for_each(|nth| secret.append(&world.broker, nth, 20_000));
    world.keep_house(true);
    let dir = files_with(&secret, &world.disk, ".log")[0]
        .parent()
        .expect("it is in one")
        .to_owned();
    let files: &dyn crate::env::FileSystem = &world.disk;
    let names = [
        "00000000000000000000.log.new",
        "00000000000000000007.new",
        "00000000000000000007.retired",
        "00000000000000000008-00000000000000000009.new",
        "00000000000000000008-00000000000000000009.versions",
    ];
    for name in names {
        let file = files
            .open(&dir.join(name), crate::env::Open::Create)
            .expect("it is new");
        file.write_all_at(&[&secret.record(0, 100)], 0)
            .expect("there is room");
        file.sync_data().expect("nothing fails");
    }
    files.sync_dir(&dir).expect("nothing fails");
    secret.erase(&world.broker);
    world.complete();
    secret.assert_gone(&world.disk);
    let read = world.broker.read(Read {
        topic: "t".into(),
        start: Position::Offset(Offset(20)),
        ..Read::default()
    });
    assert!(read.expect("it is there").step().is_ok());
}
