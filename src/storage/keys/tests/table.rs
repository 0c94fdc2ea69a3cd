//! The table in memory compared with a map, with hashes that few or all keys share.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::storage::keys::table::Table;

const FROM: u64 = 1_000_000_000_000;

/// Keys, some of which are prefixes of others.
const KEYS: [&[u8]; 6] = [
    b"a",
    b"ab",
    b"abc",
    b"b",
    &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0],
    &[1, 0, 0, 0, 0, 0, 0, 0],
];

#[derive(Clone, Debug)]
enum Step {
    /// The next record of a key.
    Push { key: usize },
    /// A record is read again, whose version is the key's latest plus this.
    PushAt { key: usize, ahead: i64 },
    /// This many records without a key.
    Skip(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    prop_oneof![
        4 => key.clone().prop_map(|key| Step::Push { key }),
        2 => (key, prop_oneof![Just(1), -3i64..20, Just(1i64 << 50)])
            .prop_map(|(key, ahead)| Step::PushAt { key, ahead }),
        1 => (0u64..50).prop_map(Step::Skip),
    ]
}

/// What the table should know about a key.
#[derive(Clone, Debug)]
struct Known {
    base: u64,
    rows: BTreeMap<u64, u64>,
}

impl Known {
    fn latest(&self) -> u64 {
        self.rows
            .last_key_value()
            .map_or(self.base, |(version, _)| *version)
    }

    /// If the version leaps by more than there were offsets, the earlier records belong to another
    /// history of the key.
    fn push_at(&mut self, version: u64, offset: u64) {
        let latest = self.latest();
        if version <= latest {
            return;
        }
        let lost = version - latest - 1;
        let places = self
            .rows
            .last_key_value()
            .map_or(0, |(_, last)| offset - last - 1);
        if lost > places {
            (self.base, self.rows) = (version - 1, BTreeMap::new());
        }
        self.rows.insert(version, offset);
    }
}

fn check(hasher: &KeyHasher, table: &Table, model: &BTreeMap<usize, Known>) {
    let mut rows = Vec::new();
    for (number, key) in KEYS.into_iter().enumerate() {
        let hash = hasher.key(key);
        let Some(known) = model.get(&number) else {
            assert_eq!(table.find(hash, key), None, "{key:?}");
            continue;
        };
        let id = table.find(hash, key).expect("it was inserted");
        assert_eq!(
            table.versions(id),
            (Version(known.base), Version(known.latest())),
            "{key:?}"
        );
        assert_eq!(table.version(id), Version(known.latest()), "{key:?}");
        for version in known.base.saturating_sub(2)..known.latest() + 3 {
            let expected = known.rows.get(&version).copied().map(Offset);
            assert_eq!(
                table.offset_of(id, Version(version)),
                expected,
                "{key:?}, version {version}"
            );
        }
        assert_eq!(table.offset_of(id, Version(u64::MAX)), None);
        let of_record = |(version, offset): (&u64, &u64)| {
            Row::of_record(hash, Version(*version), Offset(*offset))
        };
        rows.extend(known.rows.iter().map(of_record));
    }
    rows.sort_unstable();
    assert_eq!(Vec::from_iter(table.rows()), rows);
    assert_eq!(table.len_rows(), rows.len());
    assert_eq!(table.len_keys(), model.len());
}

proptest! {
    #[test]
    fn a_table_knows_what_was_put_in_whatever_the_hashes(
        mask in prop_oneof![Just(0), Just(1), Just(3 << 62), Just(u64::MAX)],
        steps in prop::collection::vec(step(), 0..120),
        first in prop_oneof![Just(0u64), 1u64..100],
    ) {
        let hasher = KeyHasher::with_mask(TOPIC, 5, mask);
        let (mut table, mut model) = (Table::new(Offset(FROM)), BTreeMap::new());
        let mut offset = FROM;
        for step in steps {
            let (Step::Push { key: number } | Step::PushAt { key: number, .. }) = step else {
                if let Step::Skip(count) = step {
                    offset += count;
                }
                continue;
            };
            let (key, hash) = (KEYS[number], hasher.key(KEYS[number]));
            let id = table.find(hash, key).unwrap_or_else(|| table.insert(hash, key, Version(first)));
            let known = model.entry(number).or_insert(Known { base: first, rows: BTreeMap::new() });
            if let Step::PushAt { ahead, .. } = step {
                let version = known.latest().saturating_add_signed(ahead);
                table.push_at(id, Offset(offset), Version(version));
                known.push_at(version, offset);
            } else {
                let version = known.latest() + 1;
                prop_assert_eq!(table.push(id, Offset(offset)), Version(version));
                known.rows.insert(version, offset);
            }
            offset += 1;
        }
        check(&hasher, &table, &model);
    }
}

#[test]
fn a_key_without_rows_has_the_version_it_was_inserted_with() {
    let hasher = KeyHasher::new(TOPIC, 5);
    let mut table = Table::new(Offset(10));
    let id = table.insert(hasher.key(b"a"), b"a", Version(7));
    assert_eq!(
        (table.version(id), table.versions(id)),
        (Version(7), (Version(7), Version(7)))
    );
    assert_eq!(table.offset_of(id, Version(7)), None);
    assert_eq!(
        (
            Vec::from_iter(table.rows()),
            table.len_rows(),
            table.len_keys()
        ),
        (vec![], 0, 1)
    );
    assert_eq!(table.push(id, Offset(10)), Version(8));
    assert_eq!(table.offset_of(id, Version(8)), Some(Offset(10)));
    assert_eq!(table.from(), Offset(10));
}

#[test]
fn many_keys_with_many_rows_are_found_and_their_memory_is_counted() {
    let hasher = KeyHasher::new(TOPIC, 5);
    let mut table = Table::new(Offset::ZERO);
    let empty = table.bytes();
    for offset in 0..100_000u64 {
        let key = (offset % 20_000).to_be_bytes();
        let hash = hasher.key(&key);
        let id = table
            .find(hash, &key)
            .unwrap_or_else(|| table.insert(hash, &key, Version::NONE));
        assert_eq!(table.push(id, Offset(offset)), Version(1 + offset / 20_000));
    }
    for offset in 0..100_000u64 {
        let key = (offset % 20_000).to_be_bytes();
        let id = table.find(hasher.key(&key), &key).expect("it was inserted");
        assert_eq!(
            table.offset_of(id, Version(1 + offset / 20_000)),
            Some(Offset(offset))
        );
    }
    assert_eq!(table.len_rows(), 100_000);
    // At least this much per key: an entry, the key, its number in the hash table, and a vector of
    // four rows.
    let least = 20_000 * (40 + 8 + 5 + 24 + 16);
    assert!(
        empty < 100 && (least..3 * least).contains(&table.bytes()),
        "{empty}, then {} bytes",
        table.bytes()
    );
}

#[test]
fn a_table_has_room_for_offsets_of_32_bits() {
    let table = Table::new(Offset(100));
    assert!(table.has_room(Offset(50)));
    assert!(table.has_room(Offset(100 + u64::from(u32::MAX))));
    assert!(!table.has_room(Offset(101 + u64::from(u32::MAX))));
}

#[test]
fn the_last_offset_that_there_is_room_for_is_not_taken_for_lost() {
    let hasher = KeyHasher::new(TOPIC, 5);
    let mut table = Table::new(Offset(100));
    let id = table.insert(hasher.key(b"a"), b"a", Version::NONE);
    let last = Offset(99 + u64::from(u32::MAX));
    table.push(id, last);
    assert_eq!(table.offset_of(id, Version(1)), Some(last));
}

#[test]
fn a_successor_knows_the_versions_of_hot_keys_and_of_no_others() {
    let mut table = Table::new(Offset(0));
    let keys: [(&[u8], u64); 3] = [(b"hot", 20), (b"cold", 2), (b"warm", 9)];
    let hash = KeyHash(1);
    let mut offset = 0;
    for (key, rows) in keys {
        let entry = table.insert(hash, key, Version(100));
        for _ in 0..rows {
            table.push(entry, Offset(offset));
            offset += 1;
        }
    }
    let mut next = table.successor(Offset(offset));
    assert_eq!(
        (next.from(), next.len_rows(), Vec::from_iter(next.rows())),
        (Offset(offset), 0, vec![])
    );
    assert_eq!(next.find(hash, b"cold"), None);
    for (key, rows) in [keys[0], keys[2]] {
        let entry = next.find(hash, key).expect("it is hot");
        assert_eq!(next.version(entry), Version(100 + rows));
        assert_eq!(next.push(entry, Offset(offset)), Version(101 + rows));
        assert_eq!(
            next.offset_of(entry, Version(101 + rows)),
            Some(Offset(offset))
        );
    }
}
