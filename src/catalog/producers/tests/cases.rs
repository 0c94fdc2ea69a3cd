//! The decisions of the state machine, case by case.

use std::time::Duration;

use super::{P0, P1, TOPIC, id, opened, without_idleness};
use crate::{
    catalog::producers::{Decision, Opened, Producers, Refused, Room, changes::Changes},
    types::{ProducerId, TopicId},
};

const HOUR: Duration = Duration::from_secs(3600);

/// How long after a producer was found idle it is looked at again.
const MOMENT: Duration = Duration::from_secs(1);

/// Producer 1 in epoch 1, with these sequences of partition 0 stored.
fn stored(sequences: std::ops::Range<u64>) -> Producers {
    let mut producers = opened(1);
    sequences.for_each(|sequence| producers.apply_batch(id(1), 1, TOPIC, P0, sequence));
    producers
}

#[test]
fn what_was_noted_is_looked_up_in_parts_between_which_more_may_be_applied() {
    let mut producers = Producers::default();
    for number in 1..=3 {
        producers.apply_open(id(number), 1, "");
        producers.apply_batch(id(number), 1, TOPIC, P0, 0);
    }
    producers.note_changes();
    for number in 1..=3 {
        producers.apply_batch(id(number), 1, TOPIC, P0, 1);
    }
    let mut taken = producers.take_noted();
    let mut changes = taken.changes();
    producers.look_up(&mut taken, 1, &mut changes);
    assert_eq!(changes.changed.len(), 1, "a part of it");
    producers.apply_batch(id(1), 1, TOPIC, P0, 2);
    producers.apply_batch(id(2), 1, TOPIC, P0, 2);
    producers.apply_forget(id(3));
    while !taken.is_empty() {
        producers.look_up(&mut taken, 1, &mut changes);
    }
    let next = |changes: &Changes| {
        let changed = changes.changed.iter();
        changed
            .map(|of| (of.id, of.sequences[0].next))
            .collect::<Vec<_>>()
    };
    assert_eq!(next(&changes), [(id(1), 2), (id(2), 3)]);
    assert_eq!(changes.gone, [id(3)]);

    let mut taken = producers.take_noted();
    let mut changes = taken.changes();
    producers.look_up(&mut taken, usize::MAX, &mut changes);
    assert_eq!(next(&changes), [(id(1), 3), (id(2), 3)], "noted again");
    assert_eq!(changes.gone, [id(3)]);
    assert!(taken.is_empty() && producers.take_noted().is_empty());
}

#[test]
fn what_was_noted_of_a_topic_that_is_deleted_meanwhile_is_left_out() {
    let mut producers = opened(1);
    producers.note_changes();
    producers.apply_batch(id(1), 1, TOPIC, P0, 0);
    let mut taken = producers.take_noted();
    let mut changes = taken.changes();
    producers.forget_topic(TOPIC);
    producers.look_up(&mut taken, usize::MAX, &mut changes);
    assert_eq!(changes.changed.len(), 1);
    assert_eq!(changes.changed[0].sequences, []);
    assert_eq!(producers.take_noted().changes().topics_gone, [TOPIC]);
}

#[test]
fn a_name_keeps_its_id_and_gets_the_next_epoch() {
    let producers = opened(4);
    assert_eq!(
        producers.decide_open("orders", id(9), None),
        Ok(Opened {
            id: id(1),
            epoch: 5
        })
    );
    assert_eq!(
        producers.decide_open("other", id(9), None),
        Ok(Opened {
            id: id(9),
            epoch: 1
        })
    );
}

#[test]
fn a_producer_without_a_name_is_always_new() {
    let mut producers = Producers::default();
    producers.apply_open(id(1), 1, "");
    producers.apply_open(id(2), 1, "");
    assert_eq!(
        producers.decide_open("", id(3), None),
        Ok(Opened {
            id: id(3),
            epoch: 1
        })
    );
    assert!(producers.is_known(id(1), 1) && producers.is_known(id(2), 1));
}

#[test]
fn an_id_that_is_taken_or_stands_for_none_is_passed_over() {
    let producers = opened(1);
    assert_eq!(
        producers.decide_open("", id(1), None),
        Ok(Opened {
            id: id(2),
            epoch: 1
        })
    );
    assert_eq!(
        producers.decide_open("", id(0), None),
        Ok(Opened {
            id: id(2),
            epoch: 1
        })
    );
}

#[test]
fn a_name_that_has_used_up_its_epochs_gets_another_id_and_loses_the_first() {
    let mut producers = opened(u32::MAX);
    let opened = producers
        .decide_open("orders", id(2), None)
        .expect("room for a producer");
    assert_eq!(
        opened,
        Opened {
            id: id(2),
            epoch: 1
        }
    );
    producers.apply_open(opened.id, opened.epoch, "orders");
    assert_eq!(
        producers.decide_append(id(1), u32::MAX, &[(TOPIC, P0, 0)], None),
        Err(Refused::Unknown)
    );
    assert_eq!(
        producers.decide_append(id(2), 1, &[(TOPIC, P0, 0)], None),
        Ok(Decision::New)
    );
}

#[test]
fn sequences_begin_at_0_in_every_partition_and_epoch() {
    let mut producers = stored(0..3);
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TOPIC, P1, 0)], None),
        Ok(Decision::New)
    );
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TopicId(8), P0, 0)], None),
        Ok(Decision::New)
    );
    producers.apply_open(id(1), 2, "orders");
    assert_eq!(
        producers.decide_append(id(1), 2, &[(TOPIC, P0, 0)], None),
        Ok(Decision::New)
    );
}

#[test]
fn a_batch_that_is_stored_is_a_duplicate_however_old() {
    let producers = stored(0..1000);
    for sequence in [0, 500, 999] {
        assert_eq!(
            producers.decide_append(id(1), 1, &[(TOPIC, P0, sequence)], None),
            Ok(Decision::Duplicate)
        );
    }
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TOPIC, P0, 1000)], None),
        Ok(Decision::New)
    );
}

#[test]
fn a_gap_is_refused_with_what_is_expected() {
    let producers = stored(0..3);
    let refused = producers.decide_append(id(1), 1, &[(TOPIC, P1, 0), (TOPIC, P0, 4)], None);
    assert_eq!(refused, Err(Refused::OutOfSequence { at: 1, expected: 3 }));
}

#[test]
fn batches_for_one_partition_count_up_within_an_append() {
    let producers = stored(0..3);
    let decide = |batches: &[_]| producers.decide_append(id(1), 1, batches, None);
    assert_eq!(
        decide(&[
            (TOPIC, P0, 3),
            (TOPIC, P1, 0),
            (TOPIC, P0, 4),
            (TOPIC, P1, 1)
        ]),
        Ok(Decision::New)
    );
    assert_eq!(
        decide(&[(TOPIC, P0, 3), (TOPIC, P0, 5)]),
        Err(Refused::OutOfSequence { at: 1, expected: 4 })
    );
    // The same sequence twice in one append: the second is out of sequence, because neither is
    // stored yet.
    assert_eq!(
        decide(&[(TOPIC, P0, 3), (TOPIC, P0, 3)]),
        Err(Refused::OutOfSequence { at: 1, expected: 4 })
    );
    assert_eq!(
        decide(&[(TOPIC, P0, 1), (TOPIC, P0, 2)]),
        Ok(Decision::Duplicate)
    );
}

#[test]
fn an_append_that_is_stored_in_part_is_refused_at_its_first_stored_batch() {
    let producers = stored(0..3);
    let decide = |batches: &[_]| producers.decide_append(id(1), 1, batches, None);
    assert_eq!(
        decide(&[(TOPIC, P0, 2), (TOPIC, P0, 3)]),
        Err(Refused::OutOfSequence { at: 0, expected: 3 })
    );
    assert_eq!(
        decide(&[(TOPIC, P1, 0), (TOPIC, P0, 2)]),
        Err(Refused::OutOfSequence { at: 1, expected: 3 })
    );
}

#[test]
fn an_older_epoch_is_fenced_also_for_what_it_has_stored() {
    let mut producers = stored(0..3);
    producers.apply_open(id(1), 2, "orders");
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TOPIC, P0, 0)], None),
        Err(Refused::Fenced { current: 2 })
    );
    assert!(!producers.is_known(id(1), 1));
}

#[test]
fn what_was_never_opened_or_is_forgotten_is_unknown() {
    let mut producers = stored(0..3);
    assert_eq!(
        producers.decide_append(id(2), 1, &[(TOPIC, P0, 0)], None),
        Err(Refused::Unknown)
    );
    assert_eq!(
        producers.decide_append(id(1), 2, &[(TOPIC, P0, 0)], None),
        Err(Refused::Unknown),
        "an epoch not reached yet"
    );
    producers.apply_forget(id(1));
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TOPIC, P0, 3)], None),
        Err(Refused::Unknown)
    );
    assert_eq!(
        producers.decide_open("orders", id(5), None),
        Ok(Opened {
            id: id(5),
            epoch: 1
        }),
        "the name is free again"
    );
    assert_eq!(producers.snapshot(), []);
}

#[test]
fn facts_about_a_forgotten_producer_or_an_older_epoch_do_nothing() {
    let mut producers = stored(0..3);
    producers.apply_batch(id(2), 1, TOPIC, P0, 0);
    producers.apply_open(id(1), 2, "orders");
    let before = producers.snapshot();
    producers.apply_batch(id(1), 1, TOPIC, P0, 3);
    producers.apply_open(id(1), 1, "orders");
    assert_eq!(producers.snapshot(), before);
}

#[test]
fn a_batch_behind_a_gap_in_the_log_is_followed_by_the_next_sequence() {
    let mut producers = stored(0..3);
    producers.apply_batch(id(1), 1, TOPIC, P0, 9);
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TOPIC, P0, 10)], None),
        Ok(Decision::New)
    );
}

#[test]
fn a_batch_of_an_epoch_whose_opening_is_lost_fences_the_one_before() {
    let mut producers = stored(0..3);
    producers.apply_batch(id(1), 2, TOPIC, P1, 0);
    assert_eq!(
        producers.decide_append(id(1), 1, &[(TOPIC, P0, 3)], None),
        Err(Refused::Fenced { current: 2 })
    );
    assert_eq!(
        producers.decide_append(id(1), 2, &[(TOPIC, P1, 1), (TOPIC, P0, 0)], None),
        Ok(Decision::New)
    );
    assert_eq!(
        producers.decide_open("orders", id(9), None),
        Ok(Opened {
            id: id(1),
            epoch: 3
        })
    );
}

#[test]
fn the_sequences_of_a_deleted_topic_are_forgotten_and_no_others() {
    let mut producers = stored(0..3);
    producers.apply_batch(id(1), 1, TopicId(8), P1, 0);
    producers.forget_topic(TOPIC);
    let left = &producers.snapshot()[0].sequences;
    assert_eq!(
        (left.len(), left[0].topic, left[0].partition, left[0].next),
        (1, TopicId(8), P1, 1)
    );
}

#[test]
fn idle_time_is_what_was_told_since_a_producer_was_last_used() {
    let mut producers = Producers::default();
    let idle = |producers: &Producers, hours| producers.idle_for(HOUR * hours);
    for (number, name) in [
        (1, "opened"),
        (2, "appends"),
        (3, "repeats"),
        (4, "reopened"),
    ] {
        producers.apply_open(id(number), 1, name);
    }
    producers.tick(HOUR);
    producers.apply_batch(id(2), 1, TOPIC, P0, 0);
    producers.apply_use(id(3));
    producers.apply_open(id(4), 2, "reopened");
    assert_eq!(idle(&producers, 1), [id(1)]);
    producers.tick(HOUR);
    assert_eq!(idle(&producers, 2), [id(1)]);
    assert_eq!(idle(&producers, 1), [1, 2, 3, 4].map(ProducerId));
}

#[test]
fn what_is_restored_decides_as_before_and_idles_on_from_where_it_was() {
    let mut producers = stored(0..3);
    producers.tick(HOUR);
    producers.apply_open(id(2), 1, "");
    producers.apply_batch(id(2), 1, TOPIC, P1, 0);
    producers.tick(HOUR);
    let mut restored = Producers::restore(producers.snapshot(), Room::MOST, 0);
    assert_eq!(restored.snapshot(), producers.snapshot());
    restored.tick(HOUR);
    assert_eq!(restored.idle_for(HOUR * 3), [id(1)]);
    assert_eq!(
        restored.decide_append(id(1), 1, &[(TOPIC, P0, 2)], None),
        Ok(Decision::Duplicate)
    );
    assert_eq!(
        restored.decide_open("orders", id(9), None),
        Ok(Opened {
            id: id(1),
            epoch: 2
        })
    );
}

#[test]
fn the_next_deadline_is_never_later_than_somebody_has_been_idle_for_too_long() {
    let mut producers = Producers::default();
    producers.begin(HOUR, 3 * HOUR);
    assert_eq!(producers.next_deadline(), None);
    producers.tell_time(2 * HOUR);
    producers.apply_open(id(1), 1, "");
    producers.tell_time(3 * HOUR);
    producers.apply_open(id(2), 1, "");
    assert_eq!(producers.next_deadline(), Some(5 * HOUR));
    producers.apply_use(id(1));
    // The use of the first producer is not applied yet.
    assert_eq!(producers.on_deadline(5 * HOUR), []);
    assert_eq!(producers.next_deadline(), Some(6 * HOUR));
    assert_eq!(producers.on_deadline(6 * HOUR - MOMENT), []);
    assert_eq!(producers.on_deadline(6 * HOUR), [id(1), id(2)]);
    // A forgetting that is not applied is due again later.
    producers.apply_forget(id(1));
    assert_eq!(producers.next_deadline(), Some(6 * HOUR + MOMENT));
    assert_eq!(producers.on_deadline(6 * HOUR + MOMENT), [id(2)]);
    producers.apply_forget(id(2));
    assert_eq!(producers.on_deadline(7 * HOUR), []);
    assert_eq!(producers.next_deadline(), None);
    // After a restore the producers have been idle for as long as before; the time in between does
    // not count.
    producers.apply_open(id(3), 1, "");
    producers.tell_time(8 * HOUR);
    let mut restored = Producers::restore(producers.snapshot(), Room::MOST, 0);
    restored.begin(100 * HOUR, 3 * HOUR);
    assert_eq!(restored.on_deadline(102 * HOUR - MOMENT), []);
    assert_eq!(restored.next_deadline(), Some(102 * HOUR));
    assert_eq!(restored.on_deadline(102 * HOUR), [id(3)]);
}

#[test]
fn idleness_beyond_every_count_of_time_is_no_overflow() {
    let mut producers = opened(1);
    producers.tick(Duration::MAX);
    producers.tick(Duration::MAX);
    let restored = Producers::restore(producers.snapshot(), Room::MOST, 0);
    assert_eq!(restored.idle_for(Duration::MAX), [id(1)]);
    assert_eq!(without_idleness(&restored), without_idleness(&producers));
}
