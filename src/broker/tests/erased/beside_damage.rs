//! An entity with damaged records can be erased, whichever records are damaged, whatever part of
//! their frames, and whatever the index knows of them.

use std::{ops::Range, path::PathBuf};

use super::{Secret, World, append_of, damaged::lose_runs, options, other, send, small_tables};
use crate::{
    broker::{Broker, Erasure, Error, Options, Read, Step},
    env::sim::{CrashMode, SimDisk},
    storage::format::{frame::Header, segment_file::HEADER_BYTES},
    types::{Offset, Position, Version},
};

/// The damaged place in a frame, as a distance from the frame's beginning.
const LENGTH: usize = 1;
const CHECKSUM: usize = 5;
const TOPIC: usize = 9;
const BASE: usize = 25;
const RECORDS: usize = 90;

/// The position of the frame with the n-th record of an entity.
fn frame_with(secret: &Secret, nth: u64, disk: &SimDisk) -> (PathBuf, Range<usize>) {
    let event_id = [&nth.to_be_bytes()[..], &secret.mark].concat();
    for path in disk.files() {
        if path.extension().is_none_or(|ending| ending != "log") {
            continue;
        }
        let content = disk.content(&path).expect("it was just listed");
        let mut windows = content.windows(event_id.len());
        let Some(place) = windows.position(|window| window == event_id) else {
            continue;
        };
        let mut start = HEADER_BYTES as usize;
        loop {
            let (length, _) = Header::peek(&content[start..]).expect("all frames are sound");
            if place < start + length {
                return (path, start..start + length);
            }
            start += length;
        }
    }
    panic!("record {nth} is in no segment")
}

fn damage(secret: &Secret, nth: u64, place: usize, disk: &SimDisk) {
    let (path, frame) = frame_with(secret, nth, disk);
    disk.flip_bit(path, (frame.start + place) as u64, 2)
        .expect("a frame is that long");
}

/// The offsets of partition 0 that can be read, and the damaged ones.
fn readable_and_damaged(broker: &Broker) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let (mut readable, mut damaged, mut from) = (Vec::new(), Vec::new(), 0);
    loop {
        let start = Position::Offset(Offset(from));
        let read = Read {
            topic: "t".into(),
            start,
            ..Read::default()
        };
        let mut reader = broker.read(read).expect("the offset is in the log");
        let gap = loop {
            match reader.step() {
                Ok(Step::Batch(batch)) => {
                    readable.push(from..batch.next_offset.0);
                    from = batch.next_offset.0;
                }
                Ok(_) => return (readable, damaged),
                Err(Error::DamagedRecords { from, to, .. }) => break from.0..to.0,
                Err(error) => panic!("{error}"),
            }
        };
        from = gap.end;
        damaged.push(gap);
    }
}

/// A world with an entity of this many records, each in its own frame, all in segments.
fn filled(seed: u64, records: u64, options: Options) -> (World, Secret) {
    let world = World::new(seed, options);
    let secret = Secret::new(&world.chance);
    (0..records).for_each(|nth| secret.append(&world.broker, nth, 20_000));
    for nth in 0..10 {
        send(&world.broker, append_of(&[other("x", nth)])).expect("nothing fails");
    }
    world.keep_house(true);
    (world, secret)
}

/// Stops the broker, damages the disk, and starts the broker again.
fn damaged(world: World, damage: impl FnOnce(&SimDisk)) -> World {
    world.broker.close().expect("nothing fails");
    damage(&world.disk);
    World {
        disk: world.disk.clone(),
        ..world
    }
    .restart(Some(CrashMode::KeepAll))
}

/// Erases the entity while there is damage. Nothing is left of the entity, and everything else is
/// as before.
fn erase_beside_damage(mut world: World, secret: &Secret) -> Erasure {
    let before = readable_and_damaged(&world.broker);
    assert!(!before.1.is_empty(), "something is damaged");
    let erasure = secret.erase(&world.broker);
    assert!(!secret.files(&world.disk).is_empty(), "it was there");
    world.complete();
    for cut in [None, Some(CrashMode::LoseUnsynced), None] {
        let described = world.broker.describe_erasure(erasure.id);
        assert!(described.expect("it is remembered").complete);
        secret.assert_gone(&world.disk);
        let after = readable_and_damaged(&world.broker);
        assert_eq!(after, before, "what is damaged is reported as before");
        let again = secret.erase(&world.broker);
        assert_eq!(
            (again.id, again.complete, again.through),
            (erasure.id, true, erasure.through),
            "there is nothing to erase any more"
        );
        world = world.restart(cut);
    }
    erasure
}

#[test]
fn an_entity_is_erased_whichever_of_its_records_is_damaged_and_wherever() {
    for nth in [0, 2, 4] {
        for place in [LENGTH, CHECKSUM, TOPIC, BASE, RECORDS, 10_000] {
            let (world, secret) = filled(nth + 1, 5, small_tables());
            let world = damaged(world, |disk| damage(&secret, nth, place, disk));
            let erasure = erase_beside_damage(world, &secret);
            assert_eq!(erasure.through, Version(5));
        }
    }
}

#[test]
fn an_entity_is_erased_of_which_every_record_is_damaged() {
    for records in [1, 3] {
        let (world, secret) = filled(7, records, small_tables());
        let world = damaged(world, |disk| {
            (0..records).for_each(|nth| damage(&secret, nth, RECORDS, disk));
        });
        let erasure = erase_beside_damage(world, &secret);
        assert_eq!(erasure.through, Version(records));
    }
}

#[test]
fn entities_with_records_in_one_damaged_frame_are_erased_each() {
    let world = World::new(8, small_tables());
    let secrets: Vec<Secret> = (0..3).map(|_| Secret::new(&world.chance)).collect();
    for nth in 0..4 {
        let records: Vec<Vec<u8>> = secrets
            .iter()
            .map(|secret| secret.record(nth, 3_000))
            .collect();
        send(&world.broker, append_of(&records)).expect("nothing fails");
    }
    world.keep_house(true);
    let mut world = damaged(world, |disk| damage(&secrets[0], 3, RECORDS, disk));
    let before = readable_and_damaged(&world.broker);
    for (at, secret) in secrets.iter().enumerate() {
        assert_eq!(secret.erase(&world.broker).through, Version(4));
        world.complete();
        secret.assert_gone(&world.disk);
        let left = secrets[at + 1..].iter();
        assert!(
            left.clone()
                .all(|other| !other.files(&world.disk).is_empty())
        );
        assert_eq!(readable_and_damaged(&world.broker), before);
        world = world.restart(None);
    }
}

#[test]
fn an_entity_with_a_damaged_record_is_erased_before_it_is_in_a_sealed_segment() {
    let world = World::new(9, small_tables());
    let secret = Secret::new(&world.chance);
    (0..2).for_each(|nth| secret.append(&world.broker, nth, 1_000));
    world.keep_house(true);
    let world = damaged(world, |disk| damage(&secret, 1, RECORDS, disk));
    let erasure = erase_beside_damage(world, &secret);
    assert_eq!(erasure.through, Version(2));
}

/// Why the index does not know the damaged records.
#[derive(Clone, Copy, Debug)]
enum Index {
    /// The broker is killed, so that records in no table yet are read from the log again.
    IsBehind,
    /// The index's files are damaged, too.
    IsDamaged,
}

/// A world whose index must be rebuilt from a damaged log.
fn unknown(
    seed: u64,
    records: u64,
    index: Index,
    damage: impl Fn(&Secret, &SimDisk),
) -> (World, Secret) {
    match index {
        Index::IsBehind => {
            let (world, secret) = filled(seed, records, options());
            damage(&secret, &world.disk);
            (world.restart(Some(CrashMode::KeepAll)), secret)
        }
        Index::IsDamaged => {
            let (world, secret) = filled(seed, records, small_tables());
            let world = damaged(world, |disk| {
                damage(&secret, disk);
                lose_runs(disk);
            });
            (world, secret)
        }
    }
}

#[test]
fn an_entity_is_erased_also_where_the_index_could_not_be_made_from_the_damaged_log() {
    for index in [Index::IsBehind, Index::IsDamaged] {
        for nth in [0, 2, 4] {
            for place in [LENGTH, TOPIC, RECORDS] {
                let (world, secret) = unknown(nth + 1, 5, index, |secret, disk| {
                    damage(secret, nth, place, disk);
                });
                let erasure = erase_beside_damage(world, &secret);
                // Versions have no gaps, so a later record reveals the version of the damaged one.
                let expected = if nth == 4 {
                    Version::UNKNOWN
                } else {
                    Version(5)
                };
                assert_eq!(erasure.through, expected, "{index:?}, record {nth}");
            }
        }
    }
}

#[test]
fn an_entity_is_erased_of_which_nothing_can_be_read_nor_is_in_the_index() {
    for index in [Index::IsBehind, Index::IsDamaged] {
        for records in [1, 3] {
            let (world, secret) = unknown(9, records, index, |secret, disk| {
                (0..records).for_each(|nth| damage(secret, nth, RECORDS, disk));
            });
            let erasure = erase_beside_damage(world, &secret);
            assert_eq!(erasure.through, Version::UNKNOWN, "{index:?}");
        }
    }
}
