//! Finds the segments that have an entity's records which must be removed.

use std::{collections::BTreeSet, ops::Range};

use crate::{
    broker::{Error, lock, partitions::Partitions, state::PartitionRef},
    storage::keys::hash::KeyHash,
    types::{Offset, Version},
};

/// A walk through the rows of an entity.
struct Places {
    /// The offsets of the sealed segments, in order.
    sealed: Vec<Range<Offset>>,
    /// The bases of segments that have records of the entity, or may have.
    found: BTreeSet<Offset>,
    /// The last version whose record was found, or is known to be gone.
    last: Version,
    /// Where the record of the next version may begin.
    behind: Offset,
}

impl Partitions {
    /// The bases of the sealed segments that have records of an entity with this hash, or may have:
    /// records up to a version, before an offset.
    ///
    /// The rows of the hash say where its records are, except for records that were damaged when
    /// their rows were built from the log. Versions have no gaps. So if a version has no row and
    /// was not trimmed, its record is in a damaged part of the segments between those of its
    /// neighbours. The same applies behind the last row, if the index could not be built from all
    /// of the log, or if the last version is not known.
    pub(in crate::broker) fn segments_with(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        end: Offset,
        through: Version,
    ) -> Result<BTreeSet<Offset>, Error> {
        let last = self.last_gone_version(partition, hash, through);
        let (sealed, behind) = {
            let log = lock(&partition.partition().log);
            (log.sealed_ranges(), log.first_kept())
        };
        let mut places = Places {
            sealed,
            found: BTreeSet::new(),
            last,
            behind,
        };
        let rows = self.for_each_row(partition, hash, end, |version, offset| {
            places.take(version, offset);
        });
        let may_be_more = match rows {
            Ok(()) => places.last < through,
            // All rows there are have been visited.
            Err(Error::DamagedRecords { .. }) => true,
            Err(error) => return Err(error),
        };
        if may_be_more {
            places.add(places.behind..end);
        }
        Ok(places.found)
    }
}

impl Places {
    /// Adds a row.
    fn take(&mut self, version: Version, offset: Offset) {
        if version > self.last.next() {
            self.add(self.behind..offset);
        }
        if version > self.last {
            (self.last, self.behind) = (version, offset.plus(1));
        }
        self.add(offset..offset.plus(1));
    }

    /// Adds the segments that have some of these offsets.
    fn add(&mut self, offsets: Range<Offset>) {
        let first = self
            .sealed
            .partition_point(|segment| segment.end <= offsets.start);
        let with = self.sealed[first..]
            .iter()
            .take_while(|segment| segment.start < offsets.end);
        self.found.extend(with.map(|segment| segment.start));
    }
}
