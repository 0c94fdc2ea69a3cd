//! Finds out which requests the log holds.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::marker::Marker;
use crate::{
    client::{Client, Error, Read, ReadBatch, Refusal, Topic},
    types::{Offset, PartitionId, Position},
};

/// How long to leave a broker alone that lost the connection and is still there, before its log is read: it may still
/// be working on what it had received.
pub(super) const SETTLING: Duration = Duration::from_secs(1);

/// What the log holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The requests that are stored, and where the records without a key of each are, if it has some.
    pub(super) stored: BTreeMap<Marker, Option<PartitionId>>,
    /// By partition, how far the log was read.
    pub(super) behind: BTreeMap<PartitionId, Offset>,
}

/// Reads each partition from `behind` to its end, looking for the requests of these markers.
pub(super) async fn find(
    client: &Client,
    topic: &Topic,
    behind: &BTreeMap<PartitionId, Offset>,
    wanted: BTreeSet<Marker>,
) -> Result<Found, Error> {
    let (now, _) = client.topics().describe(&topic.name).await?;
    if now.id != topic.id {
        return Err(replaced(topic));
    }
    let mut found = Found::default();
    if wanted.is_empty() {
        return Ok(found);
    }

    let mut read = None::<Read>;
    for end in client.list_offsets(&topic.name, Position::Latest).await? {
        let from = behind.get(&end.partition).copied().unwrap_or_default().max(end.earliest);
        if from < end.high_watermark {
            let read_so_far = read.take().unwrap_or_else(|| client.read(&topic.name));
            read = Some(read_so_far.partition_from(end.partition, Position::Offset(from)));
        }
    }
    let Some(read) = read else { return Ok(found) };
    let mut reading = read.open().await?;
    while let Some(batch) = reading.next_batch().await? {
        found.look_at(&batch, &wanted)?;
    }
    Ok(found)
}

impl Found {
    fn look_at(&mut self, batch: &ReadBatch, wanted: &BTreeSet<Marker>) -> Result<(), Error> {
        for record in batch.records() {
            let record = record?;
            let Some(marker) = Marker::from_event_id(record.event_id).filter(|marker| wanted.contains(marker)) else {
                continue;
            };
            let keyless_in = self.stored.entry(marker).or_default();
            if record.key.is_none() {
                *keyless_in = Some(batch.partition);
            }
        }
        self.behind.insert(batch.partition, batch.next_offset);
        Ok(())
    }
}

fn replaced(topic: &Topic) -> Error {
    Error::Refused(Box::new(Refusal {
        code: "NotFound".to_owned(),
        reason: "UNKNOWN_TOPIC".to_owned(),
        message: format!("topic {:?} has been deleted and created again in the meantime", topic.name),
        metadata: BTreeMap::new(),
        retry_after: None,
    }))
}
