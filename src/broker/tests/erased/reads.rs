//! Once an erasure is answered, no read under way returns anything of the entity, and readers that
//! follow are told of the erasure.

use std::time::Duration;

use super::{Secret, World, append_of, options, other, parsed, send};
use crate::{
    broker::{
        Append, AppendBatch, ErasedEntity, Error, Filter, Options, Producer, Read, ReadBatch,
        ReadKey, Reader, Step,
    },
    budget::Name,
    storage::format::erasure::key_sha256,
    types::{Offset, PartitionId, Version},
};

/// Options with frames larger than one response.
fn large() -> Options {
    Options {
        journal_file_bytes: 4 << 20,
        memory: options().memory.with(Name::Appends, 64 << 20),
        ..options()
    }
}

/// All batches that a reader has left.
fn rest(reader: &mut Reader) -> Vec<ReadBatch> {
    let mut batches = Vec::new();
    while let Step::Batch(batch) = reader.step().expect("it can be read on") {
        batches.push(batch);
    }
    batches
}

fn assert_nothing_of(secret: &Secret, batches: &[ReadBatch]) {
    assert!(
        batches
            .iter()
            .flat_map(|batch| &batch.records)
            .all(|slice| !secret.is_in(slice)),
        "a read returns it"
    );
}

#[test]
fn a_read_under_way_lets_go_of_what_it_has_fetched() {
    for in_segments in [false, true] {
        let world = World::new(1, large());
        let secret = Secret::new(&world.chance);
        for nth in 0..2 {
            // A response takes part of such a frame, and the reader holds the rest.
            let records: Vec<Vec<u8>> = (0..12)
                .map(|at| secret.record(12 * nth + at, 100_000))
                .collect();
            send(&world.broker, append_of(&records)).expect("nothing fails");
        }
        if in_segments {
            world.keep_house(true);
        }
        for filter in [
            Filter::default(),
            Filter {
                keys: Vec::new(),
                types: vec!["happened".into()],
            },
            Filter {
                keys: vec![secret.key()],
                types: Vec::new(),
            },
        ] {
            // A fork of the disk, so that each of these reads has an entity to be erased.
            let world = World::on(world.disk.fork(), 2, large());
            let by_key = !filter.keys.is_empty();
            let read = Read {
                topic: "t".into(),
                follow: true,
                filter,
                ..Read::default()
            };
            let mut reader = world.broker.read(read).expect("it is there");
            let Ok(Step::Batch(first)) = reader.step() else {
                panic!("there is something to read")
            };
            assert!(first.records.iter().any(|slice| secret.is_in(slice)));
            assert!(
                first.next_offset < Offset(12),
                "a part of the frame is left"
            );
            let mut by_entity = world
                .broker
                .read_key(read_key(&secret))
                .expect("it is there");
            let first_of_entity = by_entity
                .step()
                .expect("it can be read")
                .expect("it has records");
            assert!(first_of_entity.iter().any(|slice| secret.is_in(slice)));

            secret.erase(&world.broker);
            let batches = rest(&mut reader);
            assert_nothing_of(&secret, &batches);
            assert_eq!(
                batches.last().expect("there is more").next_offset,
                Offset(24)
            );
            let left: usize = batches
                .iter()
                .flat_map(|batch| &batch.records)
                .map(|slice| parsed(slice).len())
                .sum();
            assert_eq!(
                left == 0,
                by_key,
                "erased records are still records, without a key"
            );
            let told: Vec<ErasedEntity> = batches
                .iter()
                .flat_map(|batch| batch.erased.clone())
                .collect();
            let notice = ErasedEntity {
                key_sha256: key_sha256(&secret.key()),
                through: Version(24),
                end: Offset(24),
            };
            assert_eq!(told, [notice], "it is told of the erasure, once");
            while let Some(slices) = by_entity.step().expect("it can be read on") {
                assert!(
                    slices.iter().all(|slice| !secret.is_in(slice)),
                    "a read of the entity returns it"
                );
            }
        }
    }
}

fn read_key(secret: &Secret) -> ReadKey {
    ReadKey {
        topic: "t".into(),
        key: secret.key(),
        ..ReadKey::default()
    }
}

#[test]
fn before_an_erasure_is_durable_everything_can_be_read_and_behind_it_nothing() {
    let world = World::new(3, options());
    let secret = Secret::new(&world.chance);
    (0..5).for_each(|nth| secret.append(&world.broker, nth, 100));
    let erased = world
        .broker
        .erase_key("t", &secret.key())
        .expect("it is there");
    assert_eq!(
        secret.read(&world.broker).values().flatten().count(),
        5,
        "a power cut could undo the erasure"
    );
    // Comes after the erasure, and is not durable yet either.
    let newer = world.broker.append(
        append_of(&[secret.record(9, 50)]),
        super::now(world.broker.admit_alone(100))
            .expect("there is memory")
            .expect("there is room"),
    );
    world.broker.commit_all();
    assert_eq!(
        super::now(erased)
            .expect("an answer")
            .expect("nothing fails")
            .through,
        Version(5)
    );
    super::now(newer.expect("it is queued"))
        .expect("an answer")
        .expect("nothing fails");
    let left = secret.read(&world.broker);
    let expected: Vec<(u64, bool)> = (1..=6).map(|version| (version, version == 6)).collect();
    assert_eq!(
        left.iter()
            .map(|(version, record)| (*version, record.is_some()))
            .collect::<Vec<_>>(),
        expected
    );
}

#[test]
fn versions_of_an_erased_entity_go_on_whatever_reads_them() {
    let world = World::new(4, super::small_tables());
    let secret = Secret::new(&world.chance);
    (0..5).for_each(|nth| secret.append(&world.broker, nth, 100));
    secret.erase(&world.broker);
    for version in 5..30 {
        let refused = secret.append_at(&world.broker, version - 1, b"late");
        assert!(
            matches!(refused, Err(Error::Conflict { .. })),
            "{refused:?}"
        );
        assert_eq!(
            secret.append_at(&world.broker, version, b"new"),
            Ok(Version(version + 1))
        );
        world.keep_house(version % 3 == 0);
        let read = secret.read(&world.broker);
        let expected: Vec<(u64, bool)> = (1..=version + 1).map(|at| (at, at > 5)).collect();
        assert_eq!(
            read.iter()
                .map(|(at, record)| (*at, record.is_some()))
                .collect::<Vec<_>>(),
            expected
        );
    }
    world.complete();
}

#[test]
fn a_batch_that_comes_again_after_an_erasure_is_answered_as_the_first_time() {
    for rounds in 0..3 {
        let world = World::new(5, options());
        let secret = Secret::new(&world.chance);
        let opened = world
            .broker
            .open_producer("p", None)
            .expect("its name is good");
        world.broker.commit_all();
        let producer = super::now(opened)
            .expect("an answer")
            .expect("nothing fails");
        let append = |sequence| {
            of_producer(
                producer,
                sequence,
                &[other("x", sequence), secret.record(sequence, 50)],
            )
        };
        let first: Vec<_> = (0..4)
            .map(|sequence| send(&world.broker, append(sequence)))
            .collect();
        world.keep_house(true);
        secret.erase(&world.broker);
        (0..rounds).for_each(|_| world.keep_house(false));
        for (sequence, first) in first.iter().enumerate() {
            assert_eq!(send(&world.broker, append(sequence as u64)), *first);
        }
        assert!(send(&world.broker, append(4)).is_ok());
        let world = world.restart(None);
        for (sequence, first) in first.iter().enumerate() {
            assert_eq!(send(&world.broker, append(sequence as u64)), *first);
        }
    }
}

fn of_producer(producer: Producer, sequence: u64, records: &[Vec<u8>]) -> Append {
    let batch = AppendBatch {
        topic_id: None,
        topic: "t".into(),
        partition: Some(PartitionId(0)),
        sequence: Some(sequence),
        records: records.concat().into(),
    };
    Append {
        batches: vec![batch],
        producer: Some(producer),
        return_versions: true,
        ..Append::default()
    }
}

#[test]
fn a_reader_that_begins_behind_an_erasure_is_not_told_of_it_and_one_from_before_is_once() {
    let world = World::new(6, options());
    let secret = Secret::new(&world.chance);
    secret.append(&world.broker, 0, 100);
    let follow = || {
        let read = Read {
            topic: "t".into(),
            follow: true,
            ..Read::default()
        };
        world.broker.read(read).expect("it is there")
    };
    let mut before = follow();
    rest(&mut before);
    let Ok(Step::Wait(mut moved)) = before.step() else {
        panic!("there is nothing to read")
    };
    assert!(super::now(&mut moved).is_none());
    secret.erase(&world.broker);
    assert!(super::now(&mut moved).is_some(), "who follows is woken");
    assert_eq!(
        rest(&mut before)
            .iter()
            .map(|batch| batch.erased.len())
            .sum::<usize>(),
        1
    );
    assert_eq!(
        rest(&mut follow())
            .iter()
            .map(|batch| batch.erased.len())
            .sum::<usize>(),
        0
    );
    secret.erase(&world.broker);
    assert_eq!(
        rest(&mut before)
            .iter()
            .map(|batch| batch.erased.len())
            .sum::<usize>(),
        0,
        "nothing was erased"
    );
}

#[test]
fn an_erasure_that_is_late_is_completed_all_the_same() {
    let world = World::new(
        7,
        Options {
            erasure_deadline: Duration::from_millis(1),
            ..options()
        },
    );
    let secret = Secret::new(&world.chance);
    secret.append(&world.broker, 0, 100);
    let erasure = secret.erase(&world.broker);
    assert_eq!(erasure.deadline_ms, erasure.requested_ms + 1);
    world.clock.advance(Duration::from_secs(100));
    world.complete();
    secret.assert_gone(&world.disk);
}

#[test]
fn what_cannot_be_erased_or_was_not_is_refused() {
    let world = World::new(8, options());
    let secrets: Vec<Secret> = (0..3).map(|_| Secret::new(&world.chance)).collect();
    for secret in &secrets {
        assert!(!secret.erase(&world.broker).complete);
    }
    assert!(matches!(
        world.broker.describe_erasure(7),
        Err(Error::UnknownErasure { id: 7 })
    ));
    assert!(matches!(
        world.broker.erase_key("t", b""),
        Err(Error::MalformedRequest { .. })
    ));
    assert!(matches!(
        world.broker.erase_key("nowhere", b"k"),
        Err(Error::UnknownTopic { .. })
    ));
}
