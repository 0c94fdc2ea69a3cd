//! Finds where the last records of partitions begin.
//!
//! Offsets do not tell, because compaction leaves gaps and a filter skips records. So the end of
//! each partition is read, and four times as much if that had too few records.

use std::collections::{BTreeMap, VecDeque};

use super::{Failure, plan::Source};
use crate::{
    client::{Client, Error},
    types::{Offset, PartitionId, Position},
};

/// How much more is read if there were too few records.
const WIDER: u64 = 4;

/// The range of offsets in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first offset that has not been trimmed.
    pub(super) earliest: Offset,
    /// The high watermark.
    pub(super) end: Offset,
}

/// The end of a partition, which is being read.
struct Window {
    stretch: Stretch,
    /// Where to continue if the read is interrupted.
    next: Offset,
    /// The offsets of the last matching records.
    last: VecDeque<Offset>,
}

/// The position in each partition from which its last `count` records follow.
pub(super) async fn starts(
    client: &Client,
    source: &Source,
    partitions: &BTreeMap<PartitionId, Stretch>,
    count: u64,
) -> Result<BTreeMap<PartitionId, Offset>, Failure> {
    let mut starts = BTreeMap::new();
    let mut wanted = BTreeMap::new();
    for (&partition, &stretch) in partitions {
        starts.insert(partition, stretch.end);
        if count > 0 && stretch.earliest < stretch.end {
            wanted.insert(partition, stretch);
        }
    }
    let mut width = count;
    while !wanted.is_empty() {
        let windows = read(client, source, &wanted, width, count).await?;
        for (partition, window) in windows {
            let is_whole = width >= window.stretch.end.0 - window.stretch.earliest.0;
            let is_enough = window.last.len() as u64 == count;
            if let Some(first) = window.last.front() {
                starts.insert(partition, *first);
            }
            if is_whole || is_enough {
                wanted.remove(&partition);
            }
        }
        width = width.saturating_mul(WIDER);
    }
    Ok(starts)
}

/// Reads the last `width` offsets of partitions, and returns the last `count` matching records
/// among them.
async fn read(
    client: &Client,
    source: &Source,
    wanted: &BTreeMap<PartitionId, Stretch>,
    width: u64,
    count: u64,
) -> Result<BTreeMap<PartitionId, Window>, Failure> {
    let mut windows = BTreeMap::new();
    for (&partition, &stretch) in wanted {
        let from = Offset(stretch.end.0.saturating_sub(width));
        let window = Window {
            stretch,
            next: from.max(stretch.earliest),
            last: VecDeque::new(),
        };
        windows.insert(partition, window);
    }
    loop {
        match read_on(client, source, &mut windows, count).await {
            Ok(()) => return Ok(windows),
            // Printing the records reports the damage.
            Err(Error::DamagedRecords { partition, to, .. }) => {
                if let Some(window) = windows.get_mut(&partition) {
                    window.next = to.min(window.stretch.end);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn read_on(
    client: &Client,
    source: &Source,
    windows: &mut BTreeMap<PartitionId, Window>,
    count: u64,
) -> Result<(), Error> {
    let mut read = source.read(client);
    let mut is_any_left = false;
    for (&partition, window) in &*windows {
        if window.next < window.stretch.end {
            read = read.partition_from(partition, Position::Offset(window.next));
            is_any_left = true;
        }
    }
    if !is_any_left {
        return Ok(());
    }
    let mut reading = read.open().await?;
    while let Some(batch) = reading.next_batch().await? {
        let Some(window) = windows.get_mut(&batch.partition) else {
            continue;
        };
        for record in batch.records() {
            let offset = Offset(record?.offset.unwrap_or_default());
            if offset < window.stretch.end {
                window.last.push_back(offset);
            }
            if window.last.len() as u64 > count {
                window.last.pop_front();
            }
        }
        window.next = batch.next_offset.min(window.stretch.end);
    }
    Ok(())
}
