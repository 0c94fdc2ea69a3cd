//! A key's partition is the one that Kafka's Java client computes.

use proptest::prelude::*;

use crate::types::{murmur2, partition_of_key};

/// The test vectors of `UtilsTest.testMurmur2` in apache/kafka.
const KAFKA_VECTORS: [(&str, i32); 6] = [
    ("21", -973_932_308),
    ("foobar", -790_332_482),
    ("a-little-bit-long-string", -985_981_536),
    ("a-little-bit-longer-string", -1_486_304_829),
    (
        "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
        -58_897_971,
    ),
    ("abc", 479_470_107),
];

#[test]
fn murmur2_gives_what_kafka_gives() {
    for (key, expected) in KAFKA_VECTORS {
        assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
    }
}

#[test]
fn a_key_goes_to_the_partition_that_kafka_would_choose() {
    for (key, hash) in KAFKA_VECTORS {
        // `Utils.toPositive` clears the sign bit; it is not the absolute value.
        let expected = (hash & 0x7fff_ffff) % 6;
        assert_eq!(
            i64::from(partition_of_key(key.as_bytes(), 6).0),
            i64::from(expected),
            "{key}"
        );
    }
}

proptest! {
    #[test]
    fn a_key_always_has_one_of_the_partitions(
        key in prop::collection::vec(any::<u8>(), 0..40),
        partitions in 1u32..10_000,
    ) {
        let chosen = partition_of_key(&key, partitions);
        prop_assert!(chosen.0 < partitions);
        prop_assert_eq!(chosen, partition_of_key(&key, partitions));
    }
}

#[test]
fn keys_spread_over_the_partitions() {
    let mut counts = [0u32; 6];
    for n in 0..6_000 {
        counts[partition_of_key(format!("order-{n}").as_bytes(), 6).0 as usize] += 1;
    }
    assert!(
        counts.iter().all(|count| (900..1_100).contains(count)),
        "{counts:?}"
    );
}
