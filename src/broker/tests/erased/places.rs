//! Wherever the bytes of an entity are, they are gone once its erasure is complete.

use super::{Secret, World, assert_only_the_secret_is_gone, everything, options, small_tables};
use crate::{
    broker::{Options, keys::Freeze, lock},
    env::sim::{CrashMode, SimDisk, SimRandom},
    types::{Offset, PartitionId, Version},
};

/// The extensions of the files that contain bytes of the secret.
fn endings(secret: &Secret, disk: &SimDisk) -> Vec<&'static str> {
    let files = secret.files(disk);
    let all = [".journal", ".log", ".keys", ".versions", "/aside/"];
    all.into_iter()
        .filter(|ending| files.iter().any(|file| file.contains(ending)))
        .collect()
}

/// Erases the secret. Checks the result at once, when the erasure is complete, and after restarts;
/// then appends further versions.
fn erase(mut world: World, secret: &Secret, versions: u64) {
    let before = everything(&world.broker);
    let erasure = secret.erase(&world.broker);
    assert_eq!(erasure.through, Version(versions));
    secret.assert_hidden(&world.broker, versions);
    assert_only_the_secret_is_gone(secret, &before, &everything(&world.broker));

    world.complete();
    assert!(
        world
            .broker
            .describe_erasure(erasure.id)
            .expect("it is remembered")
            .complete
    );
    secret.assert_gone(&world.disk);
    for cut in [
        Some(CrashMode::LoseUnsynced),
        None,
        Some(CrashMode::KeepAll),
    ] {
        secret.assert_hidden(&world.broker, versions);
        assert_only_the_secret_is_gone(secret, &before, &everything(&world.broker));
        world = world.restart(cut);
    }
    let again = secret.erase(&world.broker);
    assert_eq!(
        (again.id, again.complete),
        (erasure.id, true),
        "there is nothing to erase any more"
    );
    secret.assert_gone(&world.disk);

    assert_eq!(
        secret.append_at(&world.broker, versions, b"new"),
        Ok(Version(versions + 1))
    );
    let read = secret.read(&world.broker);
    assert!(
        read[&(versions + 1)].is_some(),
        "what comes after an erasure is not erased"
    );
    world.keep_house(true);
    let world = world.restart(None);
    assert_eq!(
        secret.append_at(&world.broker, versions + 1, b"newer"),
        Ok(Version(versions + 2))
    );
    let another = secret.erase(&world.broker);
    assert_eq!(another.through, Version(versions + 2));
    secret.assert_hidden(&world.broker, versions + 2);
    world.complete();
    secret.assert_gone(&world.disk);
}

/// A world with an entity of this many records of this size.
fn filled(seed: u64, options: Options, records: u64, len: usize) -> (World, Secret) {
    let world = World::new(seed, options);
    let secret = Secret::new(&world.chance);
    (0..records).for_each(|nth| secret.append(&world.broker, nth, len));
    (world, secret)
}

#[test]
fn what_is_only_in_the_journal_and_in_memory_is_erased() {
    let (world, secret) = filled(1, options(), 5, 100);
    assert_eq!(endings(&secret, &world.disk), [".journal"]);
    erase(world, &secret, 5);
}

#[test]
fn what_is_in_the_active_segment_is_erased() {
    let (world, secret) = filled(2, options(), 5, 100);
    world.keep_house(true);
    assert_eq!(endings(&secret, &world.disk), [".journal", ".log"]);
    erase(world, &secret, 5);
}

#[test]
fn what_is_in_sealed_segments_is_erased_from_them() {
    for options in [options(), small_tables()] {
        let (world, secret) = filled(3, options, 12, 20_000);
        world.keep_house(true);
        let segments = world.broker.describe_topic("t").expect("it is there").1[0].segments;
        assert!(segments > 2, "some are sealed");
        erase(world, &secret, 12);
    }
}

#[test]
fn what_a_frozen_table_knows_of_is_erased() {
    let (world, secret) = filled(4, small_tables(), 5, 100);
    lock(&world.broker.shared.maintenance.housekeeper)
        .checkpoint(&world.broker.shared, Freeze::ForClose)
        .expect("nothing fails");
    secret.append(&world.broker, 5, 100);
    erase(world, &secret, 6);
}

#[test]
fn what_runs_know_of_is_erased() {
    let (world, secret) = filled(5, small_tables(), 5, 100);
    for nth in 5..10 {
        world.broker.checkpoint_now().expect("nothing fails");
        secret.append(&world.broker, nth, 100);
    }
    assert!(
        world
            .disk
            .files()
            .iter()
            .any(|path| path.extension().is_some_and(|ending| ending == "keys"))
    );
    erase(world, &secret, 10);
}

#[test]
fn what_was_there_before_a_restart_is_erased_behind_it() {
    for cut in [
        None,
        Some(CrashMode::LoseUnsynced),
        Some(CrashMode::KeepAll),
    ] {
        let (world, secret) = filled(6, small_tables(), 8, 12_000);
        world.keep_house(true);
        secret.append(&world.broker, 8, 100);
        erase(world.restart(cut), &secret, 9);
    }
}

#[test]
fn the_key_of_an_entity_whose_records_are_trimmed_is_erased_from_the_last_versions() {
    for rounds in 0..4 {
        let (world, secret) = filled(7, small_tables(), 12, 20_000);
        // Makes sure that all of the secret's records are in sealed segments.
        (12..17).for_each(|nth| {
            drop(super::send(
                &world.broker,
                super::append_of(&[super::other("x", nth)]),
            ));
        });
        world.keep_house(true);
        let end = world.broker.describe_topic("t").expect("it is there").1[0].high_watermark;
        let trimmed = world
            .broker
            .trim("t", PartitionId(0), end)
            .expect("it is in the log");
        world.broker.commit_all();
        drop(trimmed);
        (0..rounds).for_each(|_| world.keep_house(true));
        if rounds > 1 {
            assert!(
                endings(&secret, &world.disk).contains(&".versions"),
                "{:?}",
                secret.files(&world.disk)
            );
        }
        erase(world, &secret, 12);
    }
}

#[test]
fn what_is_trimmed_after_it_was_erased_is_in_no_last_versions() {
    for rounds in 0..3 {
        let (world, secret) = filled(8, small_tables(), 12, 20_000);
        world.keep_house(true);
        secret.erase(&world.broker);
        (0..rounds).for_each(|_| world.keep_house(false));
        let trimmed = world
            .broker
            .trim("t", PartitionId(0), Offset(40))
            .expect("it is in the log");
        world.broker.commit_all();
        drop(trimmed);
        world.keep_house(true);
        world.keep_house(true);
        world.complete();
        secret.assert_gone(&world.disk);
        secret.assert_hidden(&world.broker, 12);
        let world = world.restart(None);
        secret.assert_hidden(&world.broker, 12);
        assert_eq!(secret.append_at(&world.broker, 12, b"new"), Ok(Version(13)));
    }
}

#[test]
fn what_recovery_has_kept_aside_is_erased() {
    let mut aside = 0;
    for operation in 1..60 {
        let (world, secret) = filled(9, options(), 3, 100);
        world.disk.crash_within(world.disk.operations() + operation);
        for nth in 3..20 {
            let records = [secret.record(nth, 9_000), secret.record(nth, 9_000)];
            if super::send(&world.broker, super::append_of(&records)).is_err() {
                break;
            }
        }
        if world.disk.is_on() {
            break;
        }
        let world = world.restart(Some(CrashMode::TornLast));
        if endings(&secret, &world.disk).contains(&"/aside/") {
            aside += 1;
            let versions = world
                .broker
                .get_latest("t", &[secret.key()])
                .expect("it is there")[0]
                .version;
            erase(world, &secret, versions.0);
        }
    }
    assert!(aside > 3, "only {aside} of them had something kept aside");
}

#[test]
fn several_entities_in_the_same_frames_are_erased_one_after_the_other() {
    let world = World::new(10, small_tables());
    let secrets: Vec<Secret> = (0..3).map(|_| Secret::new(&world.chance)).collect();
    for nth in 0..10 {
        let records: Vec<Vec<u8>> = secrets
            .iter()
            .map(|secret| secret.record(nth, 3_000))
            .collect();
        super::send(&world.broker, super::append_of(&records)).expect("nothing fails");
    }
    world.keep_house(true);
    for (at, secret) in secrets.iter().enumerate() {
        let before = everything(&world.broker);
        secret.erase(&world.broker);
        assert_only_the_secret_is_gone(secret, &before, &everything(&world.broker));
        if at > 0 {
            world.complete();
            secret.assert_gone(&world.disk);
            secrets[0].assert_gone(&world.disk);
        }
        assert_only_the_secret_is_gone(secret, &before, &everything(&world.broker));
    }
}

#[test]
fn an_entity_that_never_was_can_be_erased() {
    let world = World::new(11, options());
    let secret = Secret::new(&SimRandom::new(5));
    let erasure = secret.erase(&world.broker);
    assert_eq!(erasure.through, Version::NONE);
    world.complete();
    secret.assert_gone(&world.disk);
    assert_eq!(secret.append_at(&world.broker, 0, b"new"), Ok(Version(1)));
    assert!(secret.read(&world.broker)[&1].is_some());
}
