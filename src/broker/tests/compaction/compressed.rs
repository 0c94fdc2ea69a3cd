//! Segments are compressed once they are sealed: readers get the same records, whatever happens
//! meanwhile.

use std::io::ErrorKind;

use super::world::{SECOND, TOPIC, World};
use crate::{
    broker::{Error, tests::world::now},
    env::{
        FileSystem,
        sim::{CrashMode, Fault, OpKind},
    },
    storage::{
        format::{VERSION, VERSION_WITH_BLOCKS},
        inspect::inspect,
    },
};

const DELETE: (&str, &str) = ("cleanup.policy", "delete");

/// A topic with several segments of records that compress well. All segments but the last are
/// sealed and covered by a checkpoint.
fn filled(settings: &[(&str, &str)]) -> World {
    let world = World::with(&[&[DELETE], settings].concat());
    fill(&world);
    world
}

fn fill(world: &World) {
    for nth in 0..30u8 {
        world.put(&format!("key {}", nth % 5), &[nth; 9_000]);
    }
    world.broker.keep_house(true);
    world.broker.commit_all();
}

/// Lets the broker compress all that it can.
fn compress(world: &World) {
    for _ in 0..30 {
        world.pass(SECOND);
    }
}

/// The bytes on disk, and the bytes before compression.
fn sizes(world: &World) -> (u64, u64) {
    let described = world.described();
    (described.bytes, described.uncompressed_bytes)
}

fn version(world: &World) -> u32 {
    let content = world.disk.content("/data/taffrail").expect("it is there");
    u32::from_le_bytes(content[8..12].try_into().expect("four bytes"))
}

#[test]
fn sealed_segments_are_compressed_and_every_read_finds_what_it_was() {
    for codec in ["lz4", "zstd"] {
        let plain = filled(&[]);
        let (before, read) = (sizes(&plain), plain.read());
        assert_eq!(before.0, before.1, "compression is off by default");
        let mut world = filled(&[("compression", codec)]);
        compress(&world);
        let after = sizes(&world);
        assert_eq!(after.1, before.1);
        assert!(after.0 < before.0 / 2, "{before:?} became {after:?}");
        for restarted in [None, Some(true), Some(false)] {
            if let Some(cleanly) = restarted {
                world.restart(cleanly);
            }
            assert_eq!(world.read(), read);
            assert_eq!(sizes(&world), after);
            for key in 0..5 {
                let key = format!("key {key}");
                assert_eq!(world.versions(&key), ((1..=6).collect(), 6));
            }
        }
        let report = inspected(&world);
        assert_eq!(report, [""; 0]);
    }
}

/// The damage that an inspection finds.
fn inspected(world: &World) -> Vec<String> {
    let env = crate::broker::tests::world::env(
        &world.disk.fork(),
        &world.clock,
        &crate::env::sim::SimRandom::new(9),
    );
    let report = inspect(&env, "/data".as_ref(), true).expect("it can be read");
    report
        .damage
        .iter()
        .map(|damage| format!("{damage:?}"))
        .collect()
}

#[test]
fn what_keeps_a_partition_from_being_compressed_is_told_until_it_is_gone() {
    let world = filled(&[("compression", "zstd")]);
    let full = Fault::on(OpKind::Write).in_path(".log.new");
    world
        .disk
        .inject(full.error(ErrorKind::StorageFull).for_ever());
    world.pass(2 * SECOND);
    let told = world.described().compression_problem.expect("it is told");
    assert!(told.cause.starts_with("the disk is full"), "{told:?}");
    let again_ms = told.again_ms.expect("it is tried again");
    let now_ms = world.broker.shared.clock.now_ms();
    assert!((now_ms..=now_ms + 30_000).contains(&again_ms), "{told:?}");
    world.disk.clear_faults();
    compress(&world);
    compress(&world);
    assert_eq!(world.described().compression_problem, None);
    let (bytes, uncompressed) = sizes(&world);
    assert!(bytes < uncompressed);
}

#[test]
fn an_inspection_says_of_which_version_the_formats_are() {
    for (codec, version) in [("none", VERSION), ("zstd", VERSION_WITH_BLOCKS)] {
        let world = filled(&[("compression", codec)]);
        compress(&world);
        for is_lost in [false, true] {
            let disk = world.disk.fork();
            if is_lost {
                let lost = disk.remove_file("/data/taffrail".as_ref());
                lost.expect("it is there");
            }
            let random = crate::env::sim::SimRandom::new(9);
            let env = crate::broker::tests::world::env(&disk, &world.clock, &random);
            let report = inspect(&env, "/data".as_ref(), false).expect("it can be read");
            assert_eq!(report.version, version, "{codec}, lost: {is_lost}");
        }
    }
}

#[test]
fn a_segment_is_compressed_once_whatever_its_topic_is_given_later() {
    let world = filled(&[]);
    compress(&world);
    let plain = sizes(&world);
    assert_eq!(plain.0, plain.1, "compression is off by default");
    world.alter(&[("compression", "zstd")]);
    compress(&world);
    let with_zstd = sizes(&world);
    assert!(
        with_zstd.0 < plain.0 / 2,
        "what was sealed before is compressed, too"
    );
    let segments = |world: &World| {
        let mut files = world.disk.files();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
        files
    };
    let files = segments(&world);
    for codec in ["lz4", "none"] {
        world.alter(&[("compression", codec)]);
        compress(&world);
        assert_eq!(sizes(&world), with_zstd);
        assert_eq!(segments(&world), files, "nothing is written anew");
    }
    fill(&world);
    compress(&world);
    let (bytes, uncompressed) = sizes(&world);
    assert!(uncompressed - bytes <= with_zstd.1 - with_zstd.0 + 70_000);
    let read = world.read();
    assert_eq!(read.len(), 60);
}

#[test]
fn the_active_segment_and_one_that_no_checkpoint_knows_as_sealed_stay_as_they_are() {
    let world = World::with(&[DELETE, ("compression", "zstd")]);
    world.put("key", &[1; 40_000]);
    world.broker.keep_house(true);
    compress(&world);
    let (bytes, uncompressed) = sizes(&world);
    assert_eq!(bytes, uncompressed);
}

#[test]
fn an_idle_segment_is_compressed_when_it_was_sealed_for_its_age() {
    let world = World::with(&[DELETE, ("compression", "zstd"), ("segment.ms", "1m")]);
    world.put("key", &[1; 40_000]);
    world.pass(61 * SECOND);
    world.broker.keep_house(true);
    compress(&world);
    let (bytes, uncompressed) = sizes(&world);
    assert!(bytes < uncompressed / 2, "{bytes} of {uncompressed}");
}

#[test]
fn a_codec_that_is_not_built_in_is_refused_by_its_name() {
    let world = World::with(&[]);
    let altered = world.broker.alter_topic(
        TOPIC,
        &super::world::named(&[("compression", "snappy")]),
        &[],
    );
    let Err(Error::InvalidSetting(error)) = altered.map(drop) else {
        panic!("it is taken");
    };
    assert_eq!(
        error.to_string(),
        "setting compression cannot be \"snappy\"; it is one of: none, lz4, zstd"
    );
}

#[test]
fn a_directory_says_that_it_may_have_compressed_segments_before_a_topic_has_the_setting() {
    let mut world = World::with(&[]);
    assert_eq!(version(&world), VERSION);
    world.alter(&[("compaction.keep", "2")]);
    assert_eq!(version(&world), VERSION);
    world.alter(&[("compression", "lz4")]);
    assert_eq!(version(&world), VERSION_WITH_BLOCKS);
    world.alter(&[("compression", "none")]);
    assert_eq!(version(&world), VERSION_WITH_BLOCKS, "for good");
    world.restart(false);
    assert_eq!(version(&world), VERSION_WITH_BLOCKS);
    world
        .disk
        .remove_file("/data/taffrail".as_ref())
        .expect("it is there");
    world.restart(false);
    assert_eq!(version(&world), VERSION, "no segment was compressed");
    world.alter(&[("compression", "lz4")]);
    world
        .disk
        .remove_file("/data/taffrail".as_ref())
        .expect("it is there");
    world.restart(false);
    assert_eq!(version(&world), VERSION_WITH_BLOCKS, "a topic has it");
    fill(&world);
    compress(&world);
    world.alter(&[("compression", "none")]);
    world
        .disk
        .remove_file("/data/taffrail".as_ref())
        .expect("it is there");
    world.restart(false);
    assert_eq!(
        version(&world),
        VERSION_WITH_BLOCKS,
        "a segment is compressed"
    );
    let world = World::with(&[("compression", "lz4")]);
    assert_eq!(version(&world), VERSION_WITH_BLOCKS);
}

#[test]
fn compaction_and_merging_write_compressed_segments_and_read_them() {
    let world = World::with(&[("compression", "zstd")]);
    for nth in 0..40u8 {
        world.put(&format!("key {}", nth % 20), &[nth; 9_000]);
    }
    world.compact();
    compress(&world);
    let (bytes, uncompressed) = sizes(&world);
    assert!(bytes < uncompressed / 2, "{bytes} of {uncompressed}");
    let found: Vec<u64> = world.offsets();
    assert_eq!(found, (20..40).collect::<Vec<u64>>());
    // Compacts again, now with compressed segments as input.
    world.put("key 0", b"new");
    world.compact();
    compress(&world);
    let found: Vec<u64> = world.offsets();
    assert_eq!(found, (21..41).collect::<Vec<u64>>());
    assert_eq!(world.of_key("key 0"), [(3, 40)]);
}

#[test]
fn an_erased_record_is_gone_from_a_compressed_segment() {
    // The secret does not compress, so that a search would find its bytes.
    let world = World::with(&[DELETE, ("compression", "zstd")]);
    let secret: Vec<u8> = (0..64u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    world.put("secret", &secret);
    fill(&world);
    compress(&world);
    let has = |world: &World| {
        let files = world.disk.files();
        let has = |path: &std::path::PathBuf| {
            let bytes = world.disk.content(path).unwrap_or_default();
            let is_segment = path.extension().is_some_and(|ending| ending == "log");
            is_segment && bytes.windows(32).any(|part| part == &secret[..32])
        };
        files.iter().any(has)
    };
    assert!(has(&world), "what does not compress is there as it is");
    let erased = world.broker.erase_key(TOPIC, b"secret");
    world.broker.commit_all();
    let erased = now(erased.expect("it is there")).expect("an answer");
    erased.expect("nothing fails");
    compress(&world);
    assert!(!has(&world));
    let (bytes, uncompressed) = sizes(&world);
    assert!(bytes < uncompressed / 2, "{bytes} of {uncompressed}");
    assert_eq!(world.read().len(), 31);
}

#[test]
fn a_damaged_segment_is_left_alone_and_what_can_be_read_of_it_stays() {
    let world = filled(&[]);
    let files = world.disk.files();
    let path = files
        .iter()
        .find(|path| path.extension().is_some_and(|ending| ending == "log"));
    let path = path.expect("a segment").to_str().expect("UTF-8").to_owned();
    world
        .disk
        .flip_bit(&path, 20_000, 1)
        .expect("it is that long");
    world.broker.shared.partitions.segments.let_go();
    world.alter(&[("compression", "zstd")]);
    compress(&world);
    assert!(
        world
            .disk
            .files()
            .iter()
            .any(|file| file.to_str() == Some(&path))
    );
    let (bytes, uncompressed) = sizes(&world);
    assert!(bytes < uncompressed * 3 / 4, "the others are compressed");
}

#[test]
fn after_every_crash_each_segment_is_as_it_was_or_compressed_and_reads_the_same() {
    let prepare = || filled(&[("compression", "zstd")]);
    let (whole, mut states, mut between) = (prepare(), 0, 0);
    let (from, before, read) = (whole.disk.operations(), sizes(&whole), whole.read());
    compress(&whole);
    let (last, after) = (whole.disk.operations(), sizes(&whole));
    assert!(after.0 < before.0 / 2);
    for operation in from + 1..=last {
        let world = prepare();
        let disk = world.disk.clone();
        if operation.is_multiple_of(2) {
            disk.crash_within(operation);
        } else {
            disk.crash_at(operation);
        }
        compress(&world);
        if disk.is_on() {
            // Work that depends on the clock is not always done in the same step.
            continue;
        }
        for mode in CrashMode::ALL {
            let mut again = prepare();
            again.clock.advance(60 * SECOND);
            again.go_on_with(disk.power_cut(operation, mode));
            states += 1;
            let found = sizes(&again);
            between += u32::from(found.0 < before.0 && found.0 > after.0);
            assert_eq!(again.read(), read, "operation {operation}, {mode:?}");
            assert_eq!(
                inspected(&again),
                [""; 0],
                "operation {operation}, {mode:?}"
            );
            compress(&again);
            assert_eq!(sizes(&again).0, after.0, "operation {operation}, {mode:?}");
            assert_eq!(again.read(), read);
            again.put("key 1", b"goes on");
            assert_eq!(again.latest("key 1").0.0, 7);
        }
    }
    println!("{states} states, {between} between");
    assert!(states > 60 && between > 10, "{states} {between}");
}

#[test]
fn compression_pauses_between_two_segments() {
    let world = filled(&[("segment.bytes", "256KiB")]);
    fill(&world);
    fill(&world);
    world.alter(&[("compression", "zstd")]);
    let clock = &world.broker.shared.env.clock;
    let saved = || {
        let (bytes, uncompressed) = sizes(&world);
        uncompressed - bytes
    };
    // At 64 MiB a second, the read of a segment takes 4 ms.
    let mut moments = Vec::new();
    while moments.len() < 3 {
        let before = saved();
        world.broker.indexing_round();
        if saved() > before {
            moments.push(clock.elapsed());
        }
        world.clock.advance(std::time::Duration::from_millis(1));
    }
    let gaps: Vec<u128> = moments
        .windows(2)
        .map(|two| (two[1] - two[0]).as_millis())
        .collect();
    assert!(gaps.iter().all(|gap| (3..=5).contains(gap)), "{gaps:?}");
}
