//! Where the records of an entity are that are to go.

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
    /// The bases of those that have records of the entity, or may have.
    found: BTreeSet<Offset>,
    /// The last version of which it is known where its record is, or that it is gone.
    last: Version,
    /// Where the record of the version behind it may be.
    behind: Offset,
}

impl Partitions {
    /// The bases of the sealed segments that have records of an entity with this hash up to a
    /// version, before an offset, or may have.
    ///
    /// The rows of its hash say where its records are, but for those that were damaged already when
    /// their rows were made from the log. Versions have no gaps: if one is in no row and was not
    /// trimmed, its record is in what is damaged of the segments between those of its neighbours.
    /// Behind the last row, that is so where the index could not be made from all of the log, and
    /// where nobody knows the last version.
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
            // All rows that there are have been taken.
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
    /// Takes note of a row.
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
