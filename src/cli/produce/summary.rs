//! What a run of `produce` has stored.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{
    cli::{Failure, output},
    env::Clock,
    types::PartitionId,
};

/// Counts what is stored.
pub(super) struct Summary {
    clock: Arc<dyn Clock>,
    started: Duration,
    records: u64,
    bytes: u64,
    last_line: u64,
    partitions: BTreeMap<PartitionId, u64>,
}

impl Summary {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let started = clock.elapsed();
        Self {
            clock,
            started,
            records: 0,
            bytes: 0,
            last_line: 0,
            partitions: BTreeMap::new(),
        }
    }

    /// Counts what lines up to this one became.
    pub(super) fn add(&mut self, last_line: u64, bytes: u64, partition: PartitionId, records: u64) {
        self.last_line = last_line;
        self.bytes += bytes;
        self.records += records;
        *self.partitions.entry(partition).or_default() += records;
    }

    /// Whether nothing is known to be stored.
    pub(super) fn is_empty(&self) -> bool {
        self.last_line == 0
    }

    /// How far it came, for an error message.
    pub(super) fn stored(&self) -> String {
        match self.last_line {
            0 => "nothing was stored".to_owned(),
            1 => "line 1 is stored".to_owned(),
            last => format!("lines 1 to {last} are stored"),
        }
    }

    pub(super) fn json(&self, topic: &str) -> Value {
        let partitions = self.partitions.iter();
        let partitions: Vec<_> = partitions
            .map(|(partition, records)| json!({ "partition": partition.0, "records": records }))
            .collect();
        json!({
            "topic": topic,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.seconds(),
            "partitions": partitions,
        })
    }

    pub(super) fn print(&self, topic: &str) -> Result<(), Failure> {
        output::line(format_args!(
            "{}, {}, in {:.2} s to topic {topic}",
            output::counted(self.records, "record"),
            output::bytes(self.bytes),
            self.seconds()
        ))?;
        for (partition, records) in &self.partitions {
            output::line(format_args!(
                "  partition {partition}: {}",
                output::count(*records)
            ))?;
        }
        Ok(())
    }

    fn seconds(&self) -> f64 {
        (self.clock.elapsed() - self.started).as_secs_f64()
    }
}
