//! Hashes of keys.

use std::fmt;

use siphasher::sip::SipHasher13;

pub(crate) use crate::storage::format::sorted_table::KeyHash;
use crate::types::TopicId;

/// Hashes the keys of one topic, by SipHash-1-3 with a seed that clients do not know. A look-up
/// goes through all keys with the same hash, so a client that could choose such keys would make
/// look-ups slow.
#[derive(Clone, Copy)]
pub(crate) struct KeyHasher {
    keys: SipHasher13,
    /// A second hasher, independent of the hashes of keys.
    apart: SipHasher13,
    /// Which bits of a hash are kept. All of them, except in tests that need different keys with
    /// equal hashes.
    mask: u64,
}

impl KeyHasher {
    /// The hasher of a topic, with the topic's secret seed.
    pub(crate) fn new(topic: TopicId, seed: u64) -> Self {
        Self::with_mask(topic, seed, u64::MAX)
    }

    /// As [`KeyHasher::new`], but keeps only the bits in `mask`.
    pub(crate) fn with_mask(topic: TopicId, seed: u64, mask: u64) -> Self {
        Self {
            keys: SipHasher13::new_with_keys(topic.0, seed),
            apart: SipHasher13::new_with_keys(topic.0, !seed),
            mask,
        }
    }

    /// The hash of a record's key.
    pub(crate) fn key(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.keys.hash(key) & self.mask)
    }

    /// A number that identifies the hasher: a table made with another hasher cannot be used with
    /// this one.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.apart.hash(b"fingerprint") ^ !self.mask
    }
}

/// Does not show the secret keys.
impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}
