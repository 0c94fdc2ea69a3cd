//! An erasure that takes long, or cannot continue, holds up nothing else.

use std::time::Duration;

use super::{Secret, World, append_of, everything, options, other, send, small_tables};
use crate::{
    broker::{Options, lock},
    env::sim::{Fault, OpKind},
    types::PartitionId,
};

/// A world in which an entity with records in sealed segments was erased, whose bytes are still
/// there.
fn erased(options: Options) -> (World, Secret, u64) {
    let world = World::new(1, options);
    let secret = Secret::new(&world.chance);
    (0..12).for_each(|nth| secret.append(&world.broker, nth, 20_000));
    world.keep_house(true);
    let erasure = secret.erase(&world.broker);
    (world, secret, erasure.id)
}

fn problem(world: &World, id: u64) -> Option<String> {
    world
        .broker
        .describe_erasure(id)
        .expect("it is known")
        .problem
}

fn no_segment_is_written() -> Fault {
    Fault::on(OpKind::Create)
        .in_path(".log.new")
        .error(std::io::ErrorKind::StorageFull)
        .for_ever()
}

/// A record so large that four of them fill a journal file.
fn large(nth: u64) -> Vec<u8> {
    let value = vec![nth as u8; 20_000].into();
    super::encode_proto(&crate::proto::Record {
        value: Some(value),
        ..Default::default()
    })
}

/// Lets the time pass that lies between two attempts.
fn until_the_next_try(world: &World) {
    world.clock.advance(Duration::from_secs(10));
}

#[test]
fn appends_have_the_whole_journal_while_segments_are_not_written_anew() {
    let (world, secret, id) = erased(options());
    world.disk.inject(no_segment_is_written());
    world.keep_house(false);
    let told = problem(&world, id).expect("the disk is full");
    assert!(
        told.starts_with("the disk is full") && told.contains("disk.reserve_bytes"),
        "{told}"
    );
    assert!(
        !world
            .broker
            .describe_erasure(id)
            .expect("it is known")
            .complete
    );
    let (_, files) = world.broker.shared.committer.ring.fill();
    // No checkpoint happens in between: the records fill the journal files that exist.
    for nth in 0..4 * files as u64 {
        send(&world.broker, append_of(&[large(nth)])).expect("there is room in the journal");
    }
    assert_eq!(
        world.broker.shared.committer.ring.fill().0,
        files,
        "all files are in use"
    );
    for nth in 0..100 {
        send(&world.broker, append_of(&[large(nth)])).expect("files are used again");
        world.keep_house(false);
    }
    secret.assert_hidden(&world.broker, 12);
    world.disk.clear_faults();
    until_the_next_try(&world);
    world.complete();
    secret.assert_gone(&world.disk);
    assert_eq!(problem(&world, id), None);
}

#[test]
fn an_erasure_that_cannot_go_on_is_not_tried_all_the_time_and_does_not_stop_others() {
    let (world, secret, id) = erased(options());
    super::create(&world.broker, "another", 1);
    world.disk.inject(no_segment_is_written());
    world.keep_house(false);
    assert!(problem(&world, id).is_some());
    let another = world
        .broker
        .erase_key("another", b"k")
        .expect("it is there");
    world.broker.commit_all();
    let another = super::now(another)
        .expect("an answer")
        .expect("nothing fails");
    world.keep_house(false);
    assert!(
        world
            .broker
            .describe_erasure(another.id)
            .expect("it is known")
            .complete
    );
    world.disk.clear_faults();
    world.keep_house(false);
    assert!(
        !world
            .broker
            .describe_erasure(id)
            .expect("it is known")
            .complete,
        "it waits for the next try"
    );
    until_the_next_try(&world);
    world.complete();
    secret.assert_gone(&world.disk);
}

#[test]
fn an_erasure_is_not_complete_while_somebody_reads_what_was_written_anew() {
    let (world, secret, id) = erased(options());
    let partition = {
        let topic = world.broker.shared.partitions.topics().find("t");
        topic.expect("it is there").partition(PartitionId(0))
    };
    let partition = partition.expect("it is there");
    let view = partition.partition().log.view();
    world.keep_house(false);
    assert_eq!(
        problem(&world, id).as_deref(),
        Some("a segment that was written anew is still being read")
    );
    assert_ne!(secret.files(&world.disk), [""; 0]);
    secret.assert_hidden(&world.broker, 12);
    drop(view);
    world.keep_house(false);
    let describe = || world.broker.describe_erasure(id).expect("it is known");
    assert!(!describe().complete, "it waits for the next try");
    until_the_next_try(&world);
    world.complete();
    secret.assert_gone(&world.disk);
    assert_eq!(problem(&world, id), None);
}

#[test]
fn housekeeping_goes_on_while_a_segment_is_written_anew() {
    let (world, secret, id) = erased(options());
    world.disk.inject(no_segment_is_written());
    world.keep_house(false);
    assert!(problem(&world, id).is_some());
    world.disk.clear_faults();
    until_the_next_try(&world);
    std::thread::scope(|scope| {
        // The next file to be created is a segment.
        let hold = world.disk.hold(OpKind::Create);
        let removing = scope.spawn(|| world.broker.remove_erased());
        hold.wait_for(1);
        let housekeeper = format!("{:?}", world.broker.shared.maintenance.housekeeper);
        drop(hold);
        removing
            .join()
            .expect("it does not panic")
            .expect("nothing fails");
        assert_eq!(housekeeper, "Housekeeper: free", "checkpoints wait for it");
    });
    world.broker.commit_all();
    world.complete();
    secret.assert_gone(&world.disk);
}

#[test]
fn a_segment_is_not_written_anew_where_that_would_use_what_is_reserved_on_the_disk() {
    const ROOM: u64 = 64 << 20;
    const RESERVE: u64 = 1 << 20;
    let (world, secret, id) = erased(Options {
        disk_reserve_bytes: RESERVE,
        ..small_tables()
    });
    let before = everything(&world.broker);
    // The reserve file counts as room.
    let used = ROOM - RESERVE / 2 - {
        world.disk.set_capacity(ROOM);
        available(&world)
    };
    // Room for the reserve and half a segment.
    world.disk.set_capacity(used + RESERVE + (32 << 10));
    for _ in 0..5 {
        world.keep_house(false);
        let told = problem(&world, id).expect("there is no room");
        assert!(told.contains("no room to write a segment"), "{told}");
        send(&world.broker, append_of(&[other("x", 1)])).expect("appends are taken");
        until_the_next_try(&world);
    }
    world.disk.set_capacity(ROOM);
    world.complete();
    secret.assert_gone(&world.disk);
    super::assert_only_the_secret_is_gone(
        &secret,
        &before,
        &everything(&world.broker)
            .into_iter()
            .take(before.len())
            .collect(),
    );
}

fn available(world: &World) -> u64 {
    let files: &dyn crate::env::FileSystem = &world.disk;
    files
        .available_bytes(&world.broker.shared.options.data_dir)
        .expect("it is there")
        .expect("it is counted")
}

#[test]
fn what_was_written_of_a_segment_when_the_disk_was_full_is_removed() {
    for kind in [OpKind::Write, OpKind::Rename] {
        let (world, secret, id) = erased(options());
        let full = Fault::on(kind)
            .in_path(".log.new")
            .error(std::io::ErrorKind::StorageFull);
        world.disk.inject(if kind == OpKind::Write {
            full.short()
        } else {
            full
        });
        world.keep_house(false);
        let told = problem(&world, id).expect("the disk is full");
        assert!(
            told.starts_with("the disk is full") && told.contains("disk.reserve_bytes"),
            "{told}"
        );
        let left = world
            .disk
            .files()
            .into_iter()
            .filter(|path| path.to_string_lossy().ends_with(".new"))
            .count();
        assert_eq!(left, 0);
        send(&world.broker, append_of(&[other("x", 1)])).expect("appends are taken");
        until_the_next_try(&world);
        world.complete();
        secret.assert_gone(&world.disk);
    }
}

#[test]
fn a_topic_may_be_deleted_while_its_segments_are_written_anew() {
    let (world, secret, id) = erased(options());
    world.disk.inject(no_segment_is_written());
    world.keep_house(false);
    world.disk.clear_faults();
    until_the_next_try(&world);
    std::thread::scope(|scope| {
        let hold = world.disk.hold(OpKind::SyncData);
        let removing = scope.spawn(|| world.broker.remove_erased());
        hold.wait_for(1);
        let deleting = scope.spawn(|| {
            let deleted = world.broker.delete_topic("t").expect("it is there");
            world.broker.commit_all();
            drop(deleted);
            lock(&world.broker.shared.maintenance.housekeeper)
                .checkpoint(&world.broker.shared, crate::broker::keys::Freeze::Due)
        });
        drop(hold);
        removing
            .join()
            .expect("it does not panic")
            .expect("nothing fails");
        deleting
            .join()
            .expect("it does not panic")
            .expect("nothing fails");
    });
    world.broker.commit_all();
    world.keep_house(true);
    let described = world.broker.describe_erasure(id).expect("it is known");
    assert!(described.complete && described.problem.is_none());
    secret_is_in_no_segment(&world, &secret);
}

fn secret_is_in_no_segment(world: &World, secret: &Secret) {
    let left: Vec<_> = secret
        .files(&world.disk)
        .into_iter()
        .filter(|file| file.ends_with(".log now"))
        .collect();
    assert_eq!(left, [""; 0]);
}
