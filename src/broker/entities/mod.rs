//! Reading entities: one by version (`read_key.rs`), or the latest of many (`latest.rs`).
//!
//! The key index says where a record is; the log has it. A returned record does not keep its frame
//! in memory, which can be as large as a request.

mod latest;
mod read_key;

use std::sync::Arc;

pub(crate) use latest::{Latest, LatestReader};
pub(crate) use read_key::{KeyReader, ReadKey};

use super::{
    Error,
    partitions::Partitions,
    state::{PartitionRef, Topic},
};
use crate::{
    storage::{keys::hash::KeyHash, log::FoundRecord},
    types::{Offset, limits, partition_of_key},
};

impl Partitions {
    /// The record at an offset as readers may see it; `None` if it was trimmed.
    fn read_record(
        &self,
        partition: &PartitionRef,
        offset: Offset,
    ) -> Result<Option<FoundRecord>, Error> {
        let hasher = &partition.topic.hasher;
        let found = self.reader(partition).shown_record_at(offset, hasher);
        let found = found.map_err(|error| self.explain(partition, error))?;
        Ok(found.map(FoundRecord::by_itself))
    }
}

/// The partition of an entity, and the hash of its key.
pub(super) fn entity(topic: &Arc<Topic>, key: &[u8]) -> Result<(PartitionRef, KeyHash), Error> {
    if key.is_empty() || key.len() > limits::MAX_KEY_BYTES {
        let reason = format!(
            "a key has 1 to {} bytes, not {}",
            limits::MAX_KEY_BYTES,
            key.len()
        );
        return Err(Error::MalformedRequest { reason });
    }
    topic.check_versioned()?;
    let partition = topic.partition(partition_of_key(key, topic.partition_count()))?;
    Ok((partition, topic.hasher.key(key)))
}
