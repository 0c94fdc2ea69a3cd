//! The key map.

use std::sync::Arc;

use crate::{
    broker::compaction::key_map::{Key, KeyMap},
    budget::{Name, Part},
    storage::keys::hash::KeyHash,
    types::Version,
};

fn memory(bytes: usize) -> Arc<Part> {
    Arc::new(Part::new(Name::KeyIndex, bytes))
}

fn key(hash: u64, bytes: &[u8]) -> Key<'_> {
    Key {
        hash: KeyHash(hash),
        bytes,
        is_erased: false,
    }
}

#[test]
fn keys_of_one_hash_are_told_apart_by_their_bytes() {
    let mut map = KeyMap::new(memory(1 << 20));
    for hash in [0, 7, u64::MAX] {
        for (nth, bytes) in [&b"one"[..], b"two", b"three"].into_iter().enumerate() {
            let newest = map.find_or_add(&key(hash, bytes)).expect("there is room");
            newest.version = Version(hash / 2 + nth as u64);
        }
    }
    for hash in [0, 7, u64::MAX] {
        for (nth, bytes) in [&b"one"[..], b"two", b"three"].into_iter().enumerate() {
            let found = map.find(&key(hash, bytes)).expect("it was added");
            assert_eq!(found.version, Version(hash / 2 + nth as u64));
        }
        assert_eq!(map.find(&key(hash, b"four")), None);
    }
    let token = Key {
        is_erased: true,
        ..key(7, b"one")
    };
    assert_eq!(map.find(&token), None, "what is erased is no key");
    assert_eq!(map.iter().count(), 9);
}

#[test]
fn it_takes_no_more_memory_than_it_may_and_gives_it_back() {
    let memory = memory(256 << 10);
    let mut map = KeyMap::new(Arc::clone(&memory));
    let mut added = 0u64;
    let bytes = |nth: u64| format!("key {nth}").into_bytes();
    let hash = |nth: u64| nth.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while map.find_or_add(&key(hash(added), &bytes(added))).is_some() {
        added += 1;
    }
    assert!(added > 1_000, "{added}");
    assert!(map.is_half_full());
    assert!(memory.most() <= memory.bound(), "{memory:?}");
    for nth in 0..added {
        assert!(map.find(&key(hash(nth), &bytes(nth))).is_some(), "{nth}");
        assert!(map.find_or_add(&key(hash(nth), &bytes(nth))).is_some());
    }
    drop(map);
    assert_eq!(memory.used(), 0);
}

#[test]
fn there_is_always_room_for_one_key_also_for_the_longest() {
    let mut map = KeyMap::new(memory(1));
    let longest = vec![1; 65_535];
    assert!(map.find_or_add(&key(1, &longest)).is_some());
    assert!(map.find_or_add(&key(2, &longest)).is_none());
    assert!(map.find_or_add(&key(1, &longest)).is_some());
}
