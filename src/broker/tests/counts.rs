//! What a broker counts.

use std::time::Duration;

use bytes::Bytes;

use super::{
    compaction::world::World,
    world::{append_of, create, encode_record, env, now, options, send},
};
use crate::{
    broker::{Broker, GroupOffset, groups::Rebalances},
    env::sim::{SimClock, SimDisk, SimRandom},
    metrics::Histogram,
    types::{GroupName, Offset, PartitionId},
};

/// The number of observations, and their sum in ms.
fn counted(histogram: &Histogram) -> (u64, f64) {
    let distribution = histogram.distribution();
    (distribution.count(), (distribution.sum * 1e3).round())
}

#[test]
fn what_is_stored_is_counted_with_how_long_each_part_of_its_way_took() {
    let (disk, clock) = (SimDisk::new(1), SimClock::new(1_700_000_000_000));
    let open = |seed| {
        let env = env(&disk, &clock, &SimRandom::new(seed));
        Broker::open_stepped(env, options()).expect("nothing fails")
    };
    let broker = open(1);
    create(&broker, "t", 1);
    for ms in [5, 20] {
        let admission = now(broker.admit_alone(100)).expect("there is memory");
        let records = [encode_record(1, 10), encode_record(2, 10)];
        let append = append_of("t", Some(0), &records);
        let admission = admission.expect("nothing fails");
        let pending = broker.append(append, admission).expect("it is taken");
        clock.advance(Duration::from_millis(ms));
        broker.commit_all();
        now(pending).expect("an answer").expect("nothing fails");
    }
    let appends = &broker.counts().appends;
    assert_eq!(appends.stored.get(), 2, "a topic is no append");
    assert_eq!(appends.records.get(), 4);
    assert!(appends.bytes.get() > 4 * 10, "{}", appends.bytes.get());
    assert_eq!(counted(&appends.wait), (2, 0.0));
    assert_eq!(counted(&appends.queue), (2, 25.0));
    assert_eq!(counted(&appends.whole), (2, 25.0));
    let journal = &broker.counts().journal;
    assert_eq!(counted(&journal.write).0, 3, "with the topic");
    assert_eq!(counted(&journal.sync).0, 3);
    assert_eq!(counted(&journal.apply).0, 3);

    drop(broker);
    let broker = open(2);
    let appends = &broker.counts().appends;
    assert_eq!(appends.records.get(), 0, "what is found was stored before");
}

/// A broker with two topics of two partitions, each with some records.
fn with_topics(clock: &SimClock) -> Broker {
    let env = env(&SimDisk::new(1), clock, &SimRandom::new(1));
    let broker = Broker::open_stepped(env, options()).expect("nothing fails");
    for (topic, records) in [("a", 3), ("b", 5)] {
        create(&broker, topic, 2);
        for id in 0..records {
            for partition in 0..2 {
                let append = append_of(topic, Some(partition), &[encode_record(id, 10)]);
                send(&broker, append).expect("nothing fails");
            }
        }
    }
    broker
}

#[test]
fn all_topics_are_measured_together_and_the_first_by_themselves() {
    let broker = with_topics(&SimClock::new(1_700_000_000_000));
    let trimmed = broker.trim("a", PartitionId(1), Offset(2));
    broker.commit_all();
    let trimmed = now(trimmed.expect("it may be")).expect("an answer");
    trimmed.expect("nothing fails");
    let measured = broker.measure_topics(1);
    assert_eq!((measured.all.partitions, measured.all.end), (4, 16));
    assert_eq!(measured.omitted, 1);
    let [(name, extent)] = &measured.first[..] else {
        panic!("{measured:?}");
    };
    assert_eq!(name.as_str(), "a");
    assert_eq!((extent.partitions, extent.start, extent.end), (2, 2, 6));
    assert!(extent.bytes > 0 && extent.bytes < measured.all.bytes);
    let partitions = broker.measure_partitions("b", 1).expect("it is there");
    assert_eq!(partitions.len(), 1);
    assert_eq!((partitions[0].0, partitions[0].1.end), (PartitionId(0), 5));
    broker
        .measure_partitions("c", 1)
        .expect_err("there is none");
}

#[test]
fn a_group_is_measured_by_what_it_has_not_committed_and_how_old_that_is() {
    let clock = SimClock::new(1_700_000_000_000);
    let broker = with_topics(&clock);
    for group in ["one", "two"] {
        let offset = |partition, next| GroupOffset {
            topic: "b".to_owned(),
            topic_id: None,
            partition: PartitionId(partition),
            next_offset: Offset(next),
            metadata: Bytes::new(),
            generation: None,
            member: None,
        };
        let offsets = vec![offset(0, 1), offset(1, 5)];
        let committed = broker.commit_offsets(group, offsets, false);
        broker.commit_all();
        let committed = now(committed.expect("it may be")).expect("an answer");
        committed.expect("nothing fails");
    }
    clock.advance(Duration::from_secs(7));
    let (groups, omitted) = broker.measure_groups(10, 2);
    let [group] = &groups[..] else {
        panic!("the partitions of one are as many as may be: {groups:?}");
    };
    assert_eq!(omitted, 1);
    assert_eq!(group.name.as_str(), "one");
    assert_eq!((group.members, group.partitions, group.lag), (0, 2, 4));
    assert_eq!(group.age, Duration::from_secs(7));
    assert_eq!((group.stalled, group.lost_in), (0, None));
    assert_eq!(broker.measure_groups(1, 100).0.len(), 1);
}

#[test]
fn a_rebalance_takes_until_nothing_is_handed_over_any_more() {
    let rebalances = Rebalances::default();
    let (one, other) = (GroupName::new("one"), GroupName::new("other"));
    let (one, other) = (one.expect("it may be"), other.expect("it may be"));
    let s = Duration::from_secs;
    assert_eq!(rebalances.note(&one, true, s(1)), None);
    assert_eq!(rebalances.note(&other, false, s(2)), Some(s(0)));
    assert_eq!(rebalances.note(&one, true, s(3)), None);
    assert_eq!(rebalances.note(&one, false, s(6)), Some(s(5)));
    assert_eq!(rebalances.note(&one, false, s(9)), Some(s(0)));
    // A group that is created again is independent of the deleted one.
    assert_eq!(rebalances.note(&one, true, s(10)), None);
    rebalances.forget(&one);
    assert_eq!(rebalances.note(&one, false, s(20)), Some(s(0)));
}

#[test]
fn a_checkpoint_has_an_age_as_long_as_it_lacks_something() {
    let clock = SimClock::new(1_700_000_000_000);
    let broker = with_topics(&clock);
    clock.advance(Duration::from_secs(3));
    assert_eq!(broker.checkpoint_age(), Duration::from_secs(3));
    broker.checkpoint_now().expect("nothing fails");
    clock.advance(Duration::from_secs(4));
    assert_eq!(broker.checkpoint_age(), Duration::ZERO);
    let append = append_of("a", Some(0), &[encode_record(9, 10)]);
    send(&broker, append).expect("nothing fails");
    assert_eq!(broker.checkpoint_age(), Duration::from_secs(4));
}

#[test]
fn what_compaction_removes_is_counted() {
    let world = World::with(&[]);
    for nth in 0..40 {
        for key in ["a", "b", "c"] {
            world.put(key, &[nth; 1_000]);
        }
    }
    world.compact();
    let counts = &world.broker.counts().compaction;
    assert_eq!(world.offsets(), [117, 118, 119]);
    assert_eq!(counts.removed.get(), 117);
    assert!(counts.passes.get() > 0, "{counts:?}");
    assert!(counts.bytes.get() > 117 * 1_000, "{counts:?}");
}
