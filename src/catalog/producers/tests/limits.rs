//! Memory is bounded: a producer or sequence without room is refused, or makes others be forgotten.

use super::{P0, TOPIC, id};
use crate::{
    catalog::producers::{Decision, Excess, Kind, Opened, Producers, Refused},
    types::{
        PartitionId,
        limits::{MAX_PRODUCER_SEQUENCES, MAX_PRODUCERS},
    },
};

/// The most producers that may exist, the first of them with a name.
fn full_of_producers() -> Producers {
    let mut producers = Producers::default();
    producers.apply_open(id(1), 1, "orders");
    (2..=MAX_PRODUCERS as u64).for_each(|number| producers.apply_open(id(number), 1, ""));
    producers
}

/// The most sequences that may exist: one of producer 2, all others of producer 1.
fn full_of_sequences() -> Producers {
    let mut producers = Producers::default();
    producers.apply_open(id(1), 1, "");
    producers.apply_open(id(2), 1, "");
    producers.apply_batch(id(2), 1, TOPIC, P0, 0);
    let partitions = 0..u32::try_from(MAX_PRODUCER_SEQUENCES - 1).expect("fits");
    partitions
        .for_each(|partition| producers.apply_batch(id(1), 1, TOPIC, PartitionId(partition), 0));
    producers
}

#[test]
fn one_producer_too_many_is_refused_but_a_known_one_opens_again() {
    let mut producers = full_of_producers();
    let too_many = Err(Excess {
        kind: Kind::Producers,
        count: MAX_PRODUCERS + 1,
        most: MAX_PRODUCERS,
        is_share: false,
    });
    assert_eq!(producers.decide_open("", id(0), None), too_many);
    assert_eq!(producers.decide_open("other", id(0), None), too_many);
    assert_eq!(
        producers.decide_open("orders", id(0), None),
        Ok(Opened {
            id: id(1),
            epoch: 2
        })
    );
    producers.apply_open(id(1), 2, "orders");
    assert!(producers.is_known(id(1), 2));
    producers.apply_forget(id(2));
    assert_eq!(
        producers.decide_open("", id(2), None),
        Ok(Opened {
            id: id(2),
            epoch: 1
        })
    );
}

#[test]
fn a_producer_too_many_in_the_log_is_not_known() {
    let mut producers = full_of_producers();
    producers.apply_open(id(u64::MAX), 1, "too many");
    assert!(!producers.is_known(id(u64::MAX), 1));
    assert_eq!(producers.snapshot().len(), MAX_PRODUCERS);
}

#[test]
fn an_append_to_one_partition_too_many_is_refused_but_known_ones_are_appended_to() {
    let mut producers = full_of_sequences();
    let new = PartitionId(u32::MAX);
    assert_eq!(
        producers.decide_append(id(2), 1, &[(TOPIC, P0, 1), (TOPIC, new, 0)], None),
        Err(Refused::TooMany(Excess {
            kind: Kind::Sequences,
            count: MAX_PRODUCER_SEQUENCES + 1,
            most: MAX_PRODUCER_SEQUENCES,
            is_share: false,
        }))
    );
    assert_eq!(
        producers.decide_append(id(2), 1, &[(TOPIC, P0, 1)], None),
        Ok(Decision::New)
    );
    producers.apply_forget(id(1));
    assert_eq!(
        producers.decide_append(id(2), 1, &[(TOPIC, P0, 1), (TOPIC, new, 0)], None),
        Ok(Decision::New)
    );
}

#[test]
fn a_sequence_too_many_in_the_log_makes_its_producer_unknown_rather_than_its_batch_new_again() {
    let mut producers = full_of_sequences();
    let new = PartitionId(u32::MAX);
    producers.apply_batch(id(2), 1, TOPIC, new, 0);
    assert_eq!(
        producers.decide_append(id(2), 1, &[(TOPIC, new, 0)], None),
        Err(Refused::Unknown)
    );
    assert!(producers.is_known(id(1), 1));
}
