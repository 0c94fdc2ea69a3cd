//! Which partition a key belongs to.

use super::PartitionId;

/// The partition of a key: the same number that Kafka's Java client computes, so that topics can be
/// moved over.
///
/// `toPositive(murmur2(key)) % partitions`, from
/// `org.apache.kafka.clients.producer.internals.BuiltInPartitioner`.
///
/// # Panics
///
/// If `partitions` is 0; no topic has none.
#[must_use]
pub fn partition_of_key(key: &[u8], partitions: u32) -> PartitionId {
    PartitionId((murmur2(key) & 0x7fff_ffff) % partitions)
}

/// 32-bit murmur2 with Kafka's seed, 0x9747b28c (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    const SEED: u32 = 0x9747_b28c;

    #[expect(
        clippy::cast_possible_truncation,
        reason = "the formula takes the length as 32 bits; keys are shorter"
    )]
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }

    let rest = words.remainder();
    for (i, byte) in rest.iter().enumerate() {
        hash ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}
