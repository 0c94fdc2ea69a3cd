//! Hashes.

use super::*;
use crate::types::TopicId;

#[test]
fn hashes_differ_by_topic_and_seed() {
    let hasher = KeyHasher::new(TOPIC, 1);
    assert_eq!(hasher.key(b"a"), KeyHasher::new(TOPIC, 1).key(b"a"));
    assert_ne!(hasher.key(b"a"), hasher.key(b"b"));
    assert_ne!(hasher.key(b"a"), KeyHasher::new(TOPIC, 2).key(b"a"));
    assert_ne!(hasher.key(b"a"), KeyHasher::new(TopicId(1), 1).key(b"a"));
}

#[test]
fn a_fingerprint_tells_hashers_apart() {
    let hashers = [
        KeyHasher::new(TOPIC, 1),
        KeyHasher::new(TOPIC, 2),
        KeyHasher::new(TopicId(1), 1),
        KeyHasher::with_mask(TOPIC, 1, 3),
    ];
    let mut fingerprints = hashers.map(|hasher| hasher.fingerprint()).to_vec();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 4);
}

#[test]
fn a_mask_leaves_few_hashes() {
    let hasher = KeyHasher::with_mask(TOPIC, 1, 0b101 << 61);
    let mut hashes: Vec<KeyHash> = (0..100u8).map(|key| hasher.key(&[key])).collect();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes, [0, 1 << 61, 1 << 63, 5 << 61].map(KeyHash));
}
