//! Finds up to which version an entity is erased, even if records are damaged.
//!
//! The index tells it, nearly always without reading a record. If a record would have to be
//! compared with the key but is damaged, its hash decides. If that record belongs to another key,
//! which happens once in 2^64 cases, the version is one that the entity has not reached, and
//! nothing more is erased than should be. If the index cannot tell either, because it could not be
//! built from a damaged log, or because last versions are damaged, the version is unknown, and
//! everything is erased that the entity may have.

use crate::{
    broker::{
        Error, Shared,
        keys::{Looked, Wanted},
        lock,
        partitions::Partitions,
        state::{Next, PartitionRef},
    },
    catalog::KnownErasure,
    storage::keys::hash::KeyHash,
    types::{Offset, Version},
};

/// Finds the last version of an entity that is to be erased.
pub(super) struct LastVersion<'a> {
    partitions: [PartitionRef; 1],
    wanted: [Wanted<'a>; 1],
    looked: Looked,
    /// The version according to hashes, if damaged records must be ignored.
    by_hash: Option<Version>,
}

impl<'a> LastVersion<'a> {
    pub(super) fn of(partition: &PartitionRef, hash: KeyHash, key: &'a [u8]) -> Self {
        Self {
            partitions: [partition.clone()],
            wanted: [Wanted { at: 0, hash, key }],
            looked: Looked::default(),
            by_hash: None,
        }
    }

    /// The version, under the partition's lock; `None` if files must be read for it. It is not
    /// added to the table, which may have no room.
    pub(super) fn version(&self, next: &Next) -> Option<Version> {
        let files = self.partitions[0].partition().index();
        let version = self.looked.version(0, self.wanted[0], &next.keys, &files);
        // Nothing can have been appended to the entity since, because an append needs its version
        // too.
        version.or(self.by_hash)
    }

    /// Looks the version up in files.
    pub(super) fn look_up(&mut self, owner: &Partitions) -> Result<(), Error> {
        let looked = self
            .looked
            .look_up(owner, &self.partitions, &self.wanted, &[0]);
        match looked {
            Err(Error::DamagedRecords { .. }) => {
                let version = owner.last_of_hash(&self.partitions[0], self.wanted[0].hash)?;
                self.by_hash = Some(version);
                Ok(())
            }
            looked => looked,
        }
    }
}

impl Shared {
    /// The erasure that has erased an entity's latest record, if it was erased and the erasure is
    /// remembered: then there is nothing to erase.
    pub(super) fn erased_before(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<Option<KnownErasure>, Error> {
        let limit = Offset(u64::MAX);
        let version = match self.partitions.latest_below(partition, hash, key, limit) {
            Ok((version, _)) => version,
            Err(Error::DamagedRecords { .. }) => self.partitions.last_of_hash(partition, hash)?,
            Err(error) => return Err(error),
        };
        let end = lock(&partition.partition().next).offset;
        let applied = self.sequencer.applied();
        let of_key = |known: &&KnownErasure| {
            known.topic == partition.topic.id
                && known.erasure.through == version
                // If the version is unknown, records behind the erasure may be the entity's.
                && (version != Version::UNKNOWN || known.erasure.end == end)
                && known.erasure.token.hash() == hash.0
                && known.erasure.token.is_of(key)
        };
        Ok(applied.erasures().iter().find(of_key).cloned())
    }
}

impl Partitions {
    /// The last version that the index has for this hash, or [`Version::UNKNOWN`] if it cannot
    /// tell.
    fn last_of_hash(&self, partition: &PartitionRef, hash: KeyHash) -> Result<Version, Error> {
        let mut last = Version::NONE;
        let rows = self.for_each_row(partition, hash, Offset(u64::MAX), |version, _| {
            last = last.max(version);
        });
        match rows {
            Ok(()) if last > Version::NONE => Ok(last),
            // The index has no row, so it is the last versions that are damaged.
            Ok(()) | Err(Error::DamagedRecords { .. }) => Ok(Version::UNKNOWN),
            Err(error) => Err(error),
        }
    }
}
