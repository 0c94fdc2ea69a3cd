//! Records that are not durable yet cannot be read; a request without memory waits or is refused.

use std::collections::BTreeMap;

use super::{Broker, SimDisk, ask, create, fill, ids, now, opened, options, world};
use crate::{
    broker::{Error, Read, Step},
    budget::Name,
    env::sim::{CrashMode, Hold, OpKind},
    types::{Durability, Offset, PartitionId, limits},
};

/// Waits until a sync is held, which must happen before the request is answered.
fn until_held(hold: &Hold, mut is_answered: impl FnMut() -> bool) {
    while hold.waiting() == 0 {
        assert!(!is_answered(), "it is answered before it is synced");
        std::thread::yield_now();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_visible_and_nothing_is_answered_before_it_is_synced() {
    let disk = SimDisk::new(1);
    let broker = Broker::open(world(&disk, 1), options()).expect("nothing fails");
    let created = broker
        .create_topic("t", 1, &BTreeMap::new())
        .expect("it is a good name");
    created.await.expect("nothing fails");
    // From here on only the journal has anything to sync.
    broker.housekeeping_round(false);

    let hold = disk.hold(OpKind::SyncData);
    let mut follow = broker
        .read(Read {
            topic: "t".into(),
            follow: true,
            ..Read::default()
        })
        .expect("it is there");
    assert!(
        matches!(follow.step(), Ok(Step::Batch(batch)) if batch.records.is_empty()),
        "it has caught up"
    );
    let Ok(Step::Wait(mut moved)) = follow.step() else {
        panic!("there is nothing to read")
    };
    let mut appended = ask(&broker, 0, 0).expect("it is queued");
    let mut second = broker
        .create_topic("u", 1, &BTreeMap::new())
        .expect("it is a good name");
    until_held(&hold, || now(&mut appended).is_some());

    assert_eq!(ids(&broker, 0), [0_u64; 0], "a reader sees nothing");
    assert_eq!(
        broker.describe_topic("t").expect("it is there").1[0].high_watermark,
        Offset::ZERO
    );
    assert!(now(&mut moved).is_none(), "a following reader is not woken");
    assert!(now(&mut appended).is_none(), "the append is not answered");
    assert!(
        now(&mut second).is_none(),
        "nor is what is queued behind it"
    );
    assert_eq!(
        broker.list_topics("", "", 10, |_| true).0.len(),
        1,
        "nor is that visible"
    );

    drop(hold);
    assert_eq!(
        appended.await.expect("nothing fails").batches[0][0].first_offset,
        Offset::ZERO
    );
    moved.await;
    assert!(matches!(follow.step(), Ok(Step::Batch(batch)) if !batch.records.is_empty()));
    assert_eq!(ids(&broker, 0), [0]);
    second.await.expect("nothing fails");
    broker.close().expect("nothing fails");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_because_of_something_that_is_not_durable_waits_for_it_too() {
    let disk = SimDisk::new(1);
    let broker = Broker::open(world(&disk, 1), options()).expect("nothing fails");
    let created = broker
        .create_topic("u", 1, &BTreeMap::new())
        .expect("it is a good name");
    created.await.expect("nothing fails");
    broker.housekeeping_round(false);

    let hold = disk.hold(OpKind::SyncData);
    let created = broker
        .create_topic("t", 1, &BTreeMap::new())
        .expect("it is a good name");
    let mut refused = broker
        .create_topic("t", 1, &BTreeMap::new())
        .expect("it may still come to nothing");
    until_held(&hold, || now(&mut refused).is_some());
    assert!(
        now(&mut refused).is_none(),
        "that the topic exists could still turn out wrong"
    );
    drop(hold);
    created.await.expect("nothing fails");
    assert_eq!(
        refused.await.err(),
        Some(Error::TopicExists {
            topic: "t".to_owned()
        })
    );
    broker.close().expect("nothing fails");
}

#[test]
fn with_durability_os_nothing_is_synced_and_a_later_sync_covers_it() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    let altered = broker.alter_topic(
        "t",
        &BTreeMap::from([("durability".to_owned(), "os".to_owned())]),
        &[],
    );
    let altered = altered.expect("it is a setting");
    broker.commit_all();
    assert_eq!(
        now(altered)
            .expect("an answer")
            .expect("nothing fails")
            .settings
            .durability,
        Durability::Os
    );
    let syncs = |disk: &SimDisk| {
        disk.stats()
            .operations
            .get(&OpKind::SyncData)
            .copied()
            .unwrap_or(0)
    };
    let before = syncs(&disk);
    fill(&broker, 0, 3);
    assert_eq!(syncs(&disk), before, "no sync was waited for");
    create(&broker, "u", 1);
    assert_eq!(
        syncs(&disk),
        before + 1,
        "one sync covers all that was written"
    );
    drop(broker);
    let survived = disk.power_cut(1, CrashMode::LoseUnsynced);
    assert_eq!(ids(&opened(&survived, 2), 0), [0, 1, 2]);
}

#[test]
fn a_synced_append_makes_durable_what_was_left_unsynced_in_an_earlier_journal_file() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    let settings = BTreeMap::from([("durability".to_owned(), "os".to_owned())]);
    let created = broker
        .create_topic("os", 1, &settings)
        .expect("it is a good name");
    broker.commit_all();
    now(created).expect("an answer").expect("nothing fails");
    // More blocks than one journal file takes, one for each record.
    for id in 0..30 {
        let admission = now(broker.admit_alone(100))
            .expect("there is memory")
            .expect("there is room");
        let append = super::append_of("os", Some(0), &[super::encode_record(id, 100)]);
        let pending = broker
            .append(append, admission)
            .expect("it is a good append");
        broker.commit_all();
        now(pending).expect("an answer").expect("nothing fails");
    }
    fill(&broker, 0, 1);
    drop(broker);
    for mode in CrashMode::ALL {
        let broker = opened(&disk.power_cut(1, mode), 2);
        assert_eq!(ids(&broker, 0), [0], "{mode:?}");
        assert_eq!(
            super::read_all(&broker, "os", PartitionId(0)).len(),
            30,
            "{mode:?}"
        );
    }
}

#[test]
fn memory_is_used_until_what_was_appended_is_in_segments() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    let mut count = 0;
    while let Some(admission) = now(broker.admit_alone(super::VALUE_BYTES)) {
        let append = super::append_of(
            "t",
            Some(0),
            &[super::encode_record(count, super::VALUE_BYTES)],
        );
        drop(
            broker
                .append(append, admission.expect("there is room"))
                .expect("it is a good append"),
        );
        broker.commit_all();
        count += 1;
        assert!(count < 10_000, "memory is not counted");
        if !disk
            .files()
            .iter()
            .all(|path| path.extension().is_none_or(|ending| ending != "log"))
        {
            // The journal was full before the memory was, so segments were written.
            break;
        }
    }
    assert!(
        count as usize * super::VALUE_BYTES <= options().memory.of(Name::Appends),
        "{count} records are not in segments"
    );
    broker.checkpoint_now().expect("nothing fails");
    let all = now(broker.admit_alone(options().memory.of(Name::Appends)))
        .expect("all memory is free again");
    drop(all);
    assert_eq!(ids(&broker, 0), (0..count).collect::<Vec<_>>());
}

#[test]
fn requests_beyond_the_queue_are_refused_as_overloaded_and_nothing_of_them_happens() {
    let disk = SimDisk::new(1);
    let broker = opened(&disk, 1);
    create(&broker, "t", 1);
    fill(&broker, 0, 1);
    let operations = disk.operations();
    let trim = || broker.trim("t", PartitionId(0), Offset::ZERO);
    let mut queued = Vec::new();
    let error = loop {
        match trim() {
            Ok(pending) => queued.push(pending),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (queued.len(), error),
        (
            limits::QUEUED_COMMITS,
            Error::Overloaded {
                retry_after_ms: 100
            }
        )
    );
    assert!(matches!(ask(&broker, 0, 1), Err(Error::Overloaded { .. })));
    assert!(matches!(
        broker.create_topic("u", 1, &BTreeMap::new()),
        Err(Error::Overloaded { .. })
    ));
    assert!(matches!(
        broker.delete_topic("t"),
        Err(Error::Overloaded { .. })
    ));
    assert_eq!(disk.operations(), operations);

    broker.commit_all();
    assert!(
        queued
            .into_iter()
            .all(|pending| now(pending) == Some(Ok(Offset::ZERO))),
        "what was queued is answered"
    );
    fill(&broker, 1, 2);
    create(&broker, "u", 1);
}
