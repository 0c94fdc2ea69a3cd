//! What is remembered of batches is right, sufficient and bounded.

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use super::{P0, TOPIC, id};
use crate::{
    catalog::producers::{Producers, Room},
    types::{Offset, PartitionId, StoredBatch, limits::REMEMBERED_BATCHES},
};

/// Where the batch of this producer, partition and sequence is.
fn place(producer: u64, partition: u32, sequence: u64) -> StoredBatch {
    StoredBatch {
        base: Offset(sequence * 1_000 + producer * 10 + u64::from(partition)),
        count: 1,
        append_time_ms: 0,
    }
}

fn store(producers: &mut Producers, producer: u64, partition: u32, sequence: u64) {
    let stored = place(producer, partition, sequence);
    let partition = PartitionId(partition);
    producers.apply_stored(id(producer), 1, TOPIC, partition, sequence, stored);
}

fn find(
    producers: &Producers,
    producer: u64,
    partition: u32,
    sequence: u64,
) -> Option<StoredBatch> {
    producers.stored(id(producer), 1, (TOPIC, PartitionId(partition)), sequence)
}

#[test]
fn the_last_batches_are_remembered_and_no_older_ones() {
    let mut producers = Producers::default();
    producers.apply_open(id(1), 1, "");
    for sequence in 0..1_000 {
        store(&mut producers, 1, 0, sequence);
    }
    let first = 1_000 - REMEMBERED_BATCHES as u64;
    for sequence in 0..1_000 {
        let expected = (sequence >= first).then(|| place(1, 0, sequence));
        assert_eq!(find(&producers, 1, 0, sequence), expected, "{sequence}");
    }
    assert_eq!(find(&producers, 1, 0, 1_000), None);
    let restored = Producers::restore(producers.snapshot(), Room::MOST, 1_000);
    assert_eq!(find(&restored, 1, 0, first), Some(place(1, 0, first)));
    assert_eq!(restored.snapshot(), producers.snapshot());
}

#[test]
fn what_comes_behind_a_gap_is_not_taken_for_what_is_missing() {
    let mut producers = Producers::default();
    producers.apply_open(id(1), 1, "");
    for sequence in [0, 1, 5, 6] {
        store(&mut producers, 1, 0, sequence);
    }
    for sequence in 0..5 {
        assert_eq!(find(&producers, 1, 0, sequence), None, "{sequence}");
    }
    for sequence in [5, 6] {
        assert_eq!(
            find(&producers, 1, 0, sequence),
            Some(place(1, 0, sequence))
        );
    }
}

#[test]
fn what_is_forgotten_with_a_producer_an_epoch_or_a_topic_is_not_told_to_another() {
    let mut producers = Producers::default();
    producers.apply_open(id(1), 1, "orders");
    store(&mut producers, 1, 0, 0);
    producers.apply_open(id(1), 2, "orders");
    let of_epoch = |producers: &Producers, epoch| producers.stored(id(1), epoch, (TOPIC, P0), 0);
    assert_eq!(
        (of_epoch(&producers, 1), of_epoch(&producers, 2)),
        (None, None)
    );
    producers.apply_stored(id(1), 2, TOPIC, P0, 0, place(1, 0, 0));
    assert_eq!(of_epoch(&producers, 2), Some(place(1, 0, 0)));
    producers.forget_topic(TOPIC);
    assert_eq!(of_epoch(&producers, 2), None);
    producers.apply_stored(id(1), 2, TOPIC, P0, 0, place(1, 0, 0));
    producers.apply_forget(id(1));
    assert_eq!(of_epoch(&producers, 2), None);
    assert_eq!(producers.remembered_bytes(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever room there is: of each place the last batches are remembered without a gap, at
    /// least one; in total no more than fit; and each with its right position.
    #[test]
    fn any_history_remembers_the_last_of_each_within_its_bound(
        most in prop_oneof![Just(0usize), 1..40usize, Just(100_000usize)],
        appends in vec((1..6u64, 0..4u32, 1..12u64), 1..80),
        forgets in vec(1..6u64, 0..4),
    ) {
        let mut producers = Producers::new(Room::MOST).remembering(most);
        (1..6).for_each(|number| producers.apply_open(id(number), 1, ""));
        let mut next: BTreeMap<(u64, u32), u64> = BTreeMap::new();
        let half = appends.len() / 2;
        for (at, (producer, partition, batches)) in appends.into_iter().enumerate() {
            if at == half {
                for forgotten in &forgets {
                    producers.apply_forget(id(*forgotten));
                    producers.apply_open(id(*forgotten), 1, "");
                    next.retain(|(producer, _), _| producer != forgotten);
                }
            }
            for _ in 0..batches {
                let sequence = next.entry((producer, partition)).or_default();
                store(&mut producers, producer, partition, *sequence);
                *sequence += 1;
            }
            let mut remembered = 0;
            for (&(producer, partition), &next) in &next {
                let known = |sequence: &u64| find(&producers, producer, partition, *sequence);
                let last: Vec<StoredBatch> = (0..next).rev().map_while(|sequence| known(&sequence)).collect();
                prop_assert!(!last.is_empty());
                remembered += last.len();
                for (sequence, stored) in (0..next).rev().zip(&last) {
                    prop_assert_eq!(*stored, place(producer, partition, sequence));
                }
                let older = (0..next - last.len() as u64).find_map(|sequence| known(&sequence));
                prop_assert_eq!(older, None);
                if most == 100_000 {
                    prop_assert_eq!(last.len() as u64, next.min(REMEMBERED_BATCHES as u64));
                }
            }
            prop_assert!(remembered <= most.max(next.len()));
        }
    }
}
