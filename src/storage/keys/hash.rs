//! Hashes of keys.

use std::fmt;

use siphasher::sip::SipHasher13;

pub(crate) use crate::storage::format::sorted_table::KeyHash;
use crate::types::TopicId;

/// Makes the hashes of one topic: SipHash-1-3 with keys that clients do not know. Look-ups take
/// time in the number of keys with one hash, and a client that could choose keys of one hash
/// would make them slow.
#[derive(Clone, Copy)]
pub(crate) struct KeyHasher {
    keys: SipHasher13,
    /// What has nothing to do with the hash of any key.
    apart: SipHasher13,
    /// Which bits of a hash are kept: all, but in tests that want different keys of one hash.
    mask: u64,
}

impl KeyHasher {
    /// The hasher of a topic in a data directory with this secret seed.
    pub(crate) fn new(topic: TopicId, seed: u64) -> Self {
        Self::with_mask(topic, seed, u64::MAX)
    }

    /// As [`KeyHasher::new`], with only these bits of each hash.
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

    /// A number that other hashers do not have: hashes of one say nothing to another.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.apart.hash(b"fingerprint") ^ !self.mask
    }
}

/// The keys stay secret.
impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}
