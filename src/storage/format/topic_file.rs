//! The file `topic` in a topic's directory: what the topic is, in case the checkpoint is lost.
//!
//! ```text
//!  0  8 bytes "TFRLTOPC"
//!  8  u32  version
//! 12  u32  checksum of the rest
//! 16  u64  id
//! 24  u64  seed of the hashes in its key indexes
//! 32  string name, settings, u32 partitions, then of each: u64 start offset
//!     u32 erasures that are not complete, then of each: an erasure (`erasure.rs`)
//!     u32 trims of entities that are not complete, then of each: a trim (`key_trim.rs`); missing where there are none
//! ```

use super::{
    VERSION,
    change::{put_settings, take_settings},
    crc32,
    erasure::ERASURE_BYTES,
    fields::{Fields, put_count, put_string},
    key_trim::KEY_TRIM_BYTES,
};
use crate::{
    catalog::{Erasure, KeyTrim, KnownErasure, KnownKeyTrim, Snapshot, Topic},
    types::{Offset, TopicId, TopicName, TopicSettings},
};

const MAGIC: [u8; 8] = *b"TFRLTOPC";

/// A topic as its directory describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TopicFile {
    pub(crate) id: TopicId,
    /// The seed of the hashes in its key indexes.
    pub(crate) seed: u64,
    pub(crate) name: TopicName,
    pub(crate) settings: TopicSettings,
    /// The first offset of each partition that has not been trimmed.
    pub(crate) starts: Vec<Offset>,
    /// Erasures that are not complete. Their records must stay hidden even if the checkpoint is
    /// lost.
    pub(crate) erasures: Vec<Erasure>,
    /// Trims of entities that are not complete, for the same reason.
    pub(crate) key_trims: Vec<KeyTrim>,
}

impl TopicFile {
    /// Adds the topic to a snapshot of the catalog.
    pub(crate) fn add_to(self, snapshot: &mut Snapshot) {
        let topic = self.id;
        snapshot.topics.push(Topic {
            id: topic,
            seed: self.seed,
            name: self.name,
            settings: self.settings,
            starts: self.starts,
        });
        for erasure in self.erasures {
            snapshot.erasures.push(KnownErasure {
                topic,
                complete: false,
                erasure,
            });
        }
        for trim in self.key_trims {
            snapshot.key_trims.push(KnownKeyTrim { topic, trim });
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut rest = Vec::new();
        rest.extend_from_slice(&self.id.0.to_le_bytes());
        rest.extend_from_slice(&self.seed.to_le_bytes());
        put_string(&mut rest, self.name.as_str());
        put_settings(&mut rest, &self.settings);
        put_count(&mut rest, self.starts.len());
        for start in &self.starts {
            rest.extend_from_slice(&start.0.to_le_bytes());
        }
        put_count(&mut rest, self.erasures.len());
        self.erasures
            .iter()
            .for_each(|erasure| erasure.put(&mut rest));
        if !self.key_trims.is_empty() {
            put_count(&mut rest, self.key_trims.len());
            self.key_trims.iter().for_each(|trim| trim.put(&mut rest));
        }
        let version = VERSION.to_le_bytes();
        let checksum = crc32(&[&version, &rest]).to_le_bytes();
        [&MAGIC[..], &version, &checksum, &rest].concat()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let magic: [u8; 8] = fields.array()?;
        let version: [u8; 4] = fields.array()?;
        let checksum = fields.u32()?;
        if magic != MAGIC
            || version != VERSION.to_le_bytes()
            || crc32(&[&version, fields.0]) != checksum
        {
            return None;
        }
        let (id, seed) = (TopicId(fields.u64()?), fields.u64()?);
        let name = TopicName::new(fields.string()?).ok()?;
        let settings = take_settings(&mut fields)?;
        let count = fields.count(8)?;
        let starts = (0..count)
            .map(|_| fields.u64().map(Offset))
            .collect::<Option<_>>()?;
        let count = fields.count(ERASURE_BYTES)?;
        let erasures = (0..count)
            .map(|_| Erasure::take(&mut fields))
            .collect::<Option<_>>()?;
        let mut key_trims = Vec::new();
        if !fields.is_empty() {
            for _ in 0..fields.count(KEY_TRIM_BYTES)? {
                key_trims.push(KeyTrim::take(&mut fields)?);
            }
        }
        fields.is_empty().then_some(Self {
            id,
            seed,
            name,
            settings,
            starts,
            erasures,
            key_trims,
        })
    }
}
