//! The newest version of each key, for one pass. Its memory is counted and bounded.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    budget::Part,
    catalog::Token,
    storage::keys::{
        hash::{KeyHash, KeyHasher},
        sorted_table::{LastVersion, Name},
    },
    types::{RecordView, Version},
};

/// How many entries are allocated at a time.
const CHUNK_KEYS: usize = 1 << 10;

/// How many bytes for keys are allocated at a time; the longest key fits.
const CHUNK_BYTES: usize = 64 << 10;

/// The initial number of slots.
const FIRST_SLOTS: usize = 1 << 10;

/// What identifies an entity: its key, or its token if it was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key<'a> {
    pub(super) hash: KeyHash,
    pub(super) bytes: &'a [u8],
    pub(super) is_erased: bool,
}

impl<'a> Key<'a> {
    /// The entity of a record; `None` if the record has none.
    pub(super) fn of(record: &RecordView<'a>, hasher: &KeyHasher) -> Option<Self> {
        if let Some(bytes) = record.key {
            return Some(Self {
                hash: hasher.key(bytes),
                bytes,
                is_erased: false,
            });
        }
        let bytes = record.erased?;
        Some(Self {
            hash: KeyHash(Token::decode(bytes)?.hash()),
            bytes,
            is_erased: true,
        })
    }

    /// A last version of this entity.
    pub(super) fn last_version(&self, version: Version) -> LastVersion {
        let name = match (self.is_erased, self.bytes.try_into()) {
            (true, Ok(token)) => Name::Erased { token },
            _ => Name::Entity {
                key: Bytes::copy_from_slice(self.bytes),
            },
        };
        LastVersion {
            hash: self.hash,
            version,
            name,
        }
    }
}

/// What is known of an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Newest {
    /// The version of its newest record.
    pub(super) version: Version,
    /// The version of its newest tombstone whose time is over, or [`Version::NONE`].
    pub(super) gone: Version,
}

/// The newest versions of keys.
pub(super) struct KeyMap {
    /// Indexes of entries, from 1 on; 0 is a free slot. Their number is a power of two, and at most
    /// half are used.
    slots: Vec<u32>,
    entries: Vec<Vec<Entry>>,
    keys: Vec<Vec<u8>>,
    len: usize,
    memory: Arc<Part>,
    counted: usize,
}

struct Entry {
    hash: KeyHash,
    newest: Newest,
    /// Which chunk of keys has its bytes, and where they begin.
    chunk: u32,
    at: u32,
    len: u16,
    is_erased: bool,
}

impl KeyMap {
    /// An empty map, whose memory comes from this part.
    pub(super) fn new(memory: Arc<Part>) -> Self {
        let mut map = Self {
            slots: Vec::new(),
            entries: Vec::new(),
            keys: Vec::new(),
            len: 0,
            memory,
            counted: 0,
        };
        map.count(FIRST_SLOTS * size_of::<u32>());
        map.slots = vec![0; FIRST_SLOTS];
        map
    }

    /// The part that its memory comes from.
    pub(super) fn memory(&self) -> &Arc<Part> {
        &self.memory
    }

    /// Forgets all keys.
    pub(super) fn clear(&mut self) {
        *self = Self::new(Arc::clone(&self.memory));
    }

    /// Whether it uses at least half of the memory that it may.
    pub(super) fn is_half_full(&self) -> bool {
        self.counted >= self.memory.bound() / 2
    }

    /// What is known of a key.
    pub(super) fn find(&self, key: &Key<'_>) -> Option<Newest> {
        let place = self.slots[self.slot_of(key)];
        (place > 0).then(|| self.entry(place).newest)
    }

    /// What is known of a key, to be changed.
    pub(super) fn find_mut(&mut self, key: &Key<'_>) -> Option<&mut Newest> {
        let place = self.slots[self.slot_of(key)];
        (place > 0).then(|| &mut self.entry_mut(place).newest)
    }

    /// What is known of a key, to be changed, which is added if it is missing; `None` if there is
    /// no memory for it. There is always enough for one key.
    pub(super) fn find_or_add(&mut self, key: &Key<'_>) -> Option<&mut Newest> {
        let mut slot = self.slot_of(key);
        if self.slots[slot] == 0 {
            if !self.make_room(key.bytes.len()) {
                return None;
            }
            slot = self.slot_of(key);
            self.add(slot, key);
        }
        let place = self.slots[slot];
        Some(&mut self.entry_mut(place).newest)
    }

    /// All keys, and what is known of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Key<'_>, Newest)> {
        let entries = self.entries.iter().flatten();
        entries.map(|entry| (self.key_of(entry), entry.newest))
    }

    fn key_of(&self, entry: &Entry) -> Key<'_> {
        let (chunk, at) = (&self.keys[entry.chunk as usize], entry.at as usize);
        Key {
            hash: entry.hash,
            bytes: &chunk[at..at + usize::from(entry.len)],
            is_erased: entry.is_erased,
        }
    }

    fn add(&mut self, slot: usize, key: &Key<'_>) {
        let chunk = self.keys.len() - 1;
        let entry = Entry {
            hash: key.hash,
            newest: Newest {
                version: Version::NONE,
                gone: Version::NONE,
            },
            chunk: short(chunk),
            at: short(self.keys[chunk].len()),
            len: u16::try_from(key.bytes.len()).expect("MAX_KEY_BYTES"),
            is_erased: key.is_erased,
        };
        self.keys[chunk].extend_from_slice(key.bytes);
        let last = self.entries.last_mut().expect("room was made");
        last.push(entry);
        self.len += 1;
        self.slots[slot] = short(self.len);
    }

    /// Allocates room for a key of this length; returns false if there is no memory for it.
    fn make_room(&mut self, bytes: usize) -> bool {
        let has_entries = self.len < self.entries.len() * CHUNK_KEYS;
        let has_bytes = self
            .keys
            .last()
            .is_some_and(|chunk| chunk.len() + bytes <= CHUNK_BYTES);
        let has_slots = (self.len + 1) * 2 <= self.slots.len();
        let mut needed = 0;
        if !has_entries {
            needed += CHUNK_KEYS * size_of::<Entry>();
        }
        if !has_bytes {
            needed += CHUNK_BYTES;
        }
        // The old slots are freed only when the new ones are filled.
        let slots = self.slots.len() * size_of::<u32>();
        let at_once = if has_slots {
            needed
        } else {
            needed + 2 * slots
        };
        if self.len > 0 && self.counted + at_once > self.memory.bound() {
            return false;
        }
        self.count(needed);
        if !has_entries {
            self.entries.push(Vec::with_capacity(CHUNK_KEYS));
        }
        if !has_bytes {
            self.keys.push(Vec::with_capacity(CHUNK_BYTES));
        }
        if !has_slots {
            self.count(2 * slots);
            self.double_slots();
            self.memory.subtract(slots);
            self.counted -= slots;
        }
        true
    }

    fn double_slots(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        let places = 1..=short(self.len);
        for place in places {
            let mut slot = slot_in(&slots, self.entry(place).hash);
            while slots[slot] > 0 {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot] = place;
        }
        self.slots = slots;
    }

    /// The slot of a key, or the free slot where it would go.
    fn slot_of(&self, key: &Key<'_>) -> usize {
        let mut slot = slot_in(&self.slots, key.hash);
        while self.slots[slot] > 0 {
            let entry = self.entry(self.slots[slot]);
            if entry.hash == key.hash && self.key_of(entry) == *key {
                break;
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    fn entry(&self, place: u32) -> &Entry {
        let at = place as usize - 1;
        &self.entries[at / CHUNK_KEYS][at % CHUNK_KEYS]
    }

    fn entry_mut(&mut self, place: u32) -> &mut Entry {
        let at = place as usize - 1;
        &mut self.entries[at / CHUNK_KEYS][at % CHUNK_KEYS]
    }

    fn count(&mut self, bytes: usize) {
        self.memory.add(bytes);
        self.counted += bytes;
    }
}

impl Drop for KeyMap {
    fn drop(&mut self) {
        self.memory.subtract(self.counted);
    }
}

/// The slot at which to begin looking for a hash. Uses the upper bits, unlike the key tables, so
/// that keys which collide there do not collide here.
fn slot_in(slots: &[u32], hash: KeyHash) -> usize {
    let bits = slots.len().trailing_zeros();
    (hash.0 >> (64 - bits)) as usize
}

fn short(number: usize) -> u32 {
    u32::try_from(number).expect("memory is bounded far below 2^32 keys")
}
