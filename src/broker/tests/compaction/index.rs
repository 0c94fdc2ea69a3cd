//! The key index of compacted records.

use super::world::{TOPIC, World};
use crate::{
    broker::tests::world::{append_of, encode_proto, send},
    types::Version,
};

const KEYS: u64 = 50;

/// Appends a record of each key, this many times.
fn write_all(world: &World, times: u64) {
    for _ in 0..times {
        let record = |key| {
            encode_proto(&crate::proto::Record {
                key: Some(format!("key-{key}").into()),
                value: Some(vec![7; 100].into()),
                ..Default::default()
            })
        };
        let records: Vec<Vec<u8>> = (0..KEYS).map(record).collect();
        send(&world.broker, append_of(TOPIC, Some(0), &records)).expect("they are taken");
    }
}

/// The total size of the index's tables of records, and the number of these tables.
fn index(world: &World) -> (usize, usize) {
    let dir = world.dir();
    let (mut bytes, mut files) = (0, 0);
    for path in world.disk.files() {
        if path.starts_with(&dir) && path.extension().is_some_and(|ending| ending == "keys") {
            bytes += world.disk.content(&path).expect("it is there").len();
            files += 1;
        }
    }
    (bytes, files)
}

#[test]
fn the_index_of_keys_that_are_written_for_ever_has_a_bounded_number_of_bytes_and_files() {
    let mut world = World::with(&[]);
    let mut written = 0;
    for round in 0..30 {
        write_all(&world, 30);
        written += 30;
        world.roll();
        // The restart writes the index's tables that are in memory.
        world.restart(true);
        world.compact();
        let (bytes, files) = index(&world);
        assert!(files <= 8, "{files} files in round {round}");
        // A table of few rows has 16 KiB; the table of a round that is not compacted has 40 KiB.
        assert!(bytes <= 8 * (16 << 10), "{bytes} bytes in round {round}");
    }
    for cleanly in [true, false] {
        for key in [0, 7, KEYS - 1] {
            let key = format!("key-{key}");
            assert_eq!(world.latest(&key).0, Version(written));
            assert_eq!(world.versions(&key), (vec![written], written));
        }
        world.restart(cleanly);
    }
    write_all(&world, 1);
    assert_eq!(
        world.versions("key-3"),
        (vec![written, written + 1], written + 1)
    );
}

#[test]
fn rows_of_records_that_stay_are_not_dropped() {
    let mut world = World::with(&[("compaction.keep", "3")]);
    for key in ["once", "twice", "twice"] {
        world.put(key, b"early");
    }
    for _ in 0..8 {
        write_all(&world, 20);
        world.roll();
        world.restart(true);
        world.compact();
    }
    let (bytes, _) = index(&world);
    assert!(bytes < 8 * (16 << 10), "rows were dropped: {bytes} bytes");
    assert_eq!(world.versions("once"), (vec![1], 1));
    assert_eq!(world.versions("twice"), (vec![1, 2], 2));
    for key in 0..KEYS {
        let versions = world.versions(&format!("key-{key}"));
        assert_eq!(versions, (vec![158, 159, 160], 160));
    }
}
