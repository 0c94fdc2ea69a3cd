//! The result of a run of `produce`.

use std::{collections::BTreeMap, io, sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{cli::output, env::Clock, types::PartitionId};

/// Counts what was stored.
pub(super) struct Summary {
    clock: Arc<dyn Clock>,
    started: Duration,
    records: u64,
    without_key: u64,
    bytes: u64,
    skipped: u64,
    last_line: u64,
    partitions: BTreeMap<PartitionId, u64>,
}

/// Stored lines that are all in one partition.
pub(super) struct Stored {
    /// The number of the last line.
    pub(super) last_line: u64,
    pub(super) bytes: u64,
    pub(super) partition: PartitionId,
    pub(super) records: u64,
    /// How many of the records have no key.
    pub(super) without_key: u64,
}

impl Summary {
    /// The input's first `skipped` lines are skipped.
    pub(super) fn new(clock: Arc<dyn Clock>, skipped: u64) -> Self {
        let started = clock.elapsed();
        Self {
            clock,
            started,
            records: 0,
            without_key: 0,
            bytes: 0,
            skipped,
            last_line: skipped,
            partitions: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, stored: &Stored) {
        self.last_line = stored.last_line;
        self.bytes += stored.bytes;
        self.records += stored.records;
        self.without_key += stored.without_key;
        *self.partitions.entry(stored.partition).or_default() += stored.records;
    }

    /// How many lines are stored, for an error message.
    pub(super) fn stored(&self) -> String {
        match (self.skipped + 1, self.last_line) {
            (first, last) if last < first => "nothing was stored".to_owned(),
            (first, last) if first == last => format!("line {first} is stored"),
            (first, last) => format!("lines {first} to {last} are stored"),
        }
    }

    /// What has become of the stored lines if the topic was deleted.
    pub(super) fn gone(&self) -> String {
        let (first, last) = (self.skipped + 1, self.last_line);
        let lines = match last {
            last if last < first => return "nothing was stored".to_owned(),
            last if last == first => format!("line {first} was"),
            last => format!("lines {first} to {last} were"),
        };
        format!(
            "{lines} stored in the topic that was deleted, and went with it; a new one has none of \
             them: to store them there, start again from line {first}"
        )
    }

    /// How to continue with the first line that is not stored.
    pub(super) fn go_on(&self) -> String {
        match self.last_line {
            0 => "go on from line 1".to_owned(),
            last => format!("go on from line {} with --skip {last}", last + 1),
        }
    }

    /// How many lines were skipped.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The number of the last line that need not be sent again.
    pub(super) fn last_line(&self) -> u64 {
        self.last_line
    }

    pub(super) fn json(&self, topic: &str) -> Value {
        let partitions = self.partitions.iter();
        let partitions: Vec<_> = partitions
            .map(|(partition, records)| json!({ "partition": partition.0, "records": records }))
            .collect();
        json!({
            "topic": topic,
            "records": self.records,
            "without_key": self.without_key,
            "bytes": self.bytes,
            "last_line": self.last_line,
            "seconds": self.seconds(),
            "partitions": partitions,
        })
    }

    pub(super) fn print(&self, topic: &str) -> io::Result<()> {
        output::line(format_args!(
            "{}, {}, in {:.2} s to topic {topic}, {} without a key",
            output::counted(self.records, "record"),
            output::bytes(self.bytes),
            self.seconds(),
            output::count(self.without_key),
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
