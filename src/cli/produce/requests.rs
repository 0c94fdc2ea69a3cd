//! Lines into requests, each one atomic commit of up to about 1,000 records or 1 MiB.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read},
};

use super::{fields::Fields, marker::Marker};
use crate::{
    client::{Append, Batch, Record},
    types::{PartitionId, limits, partition_of_key},
};

/// How much goes into one request: enough that a request's own cost does not count, little enough that what is under
/// way when a connection is lost is soon read again.
const REQUEST_RECORDS: u64 = 1_000;
const REQUEST_BYTES: usize = 1 << 20;

/// The longest line: the largest record that any topic may allow. A longer one is refused before it fills the memory.
const MAX_LINE_BYTES: u64 = limits::RECORD_BYTES.2;

/// Some lines as one atomic commit, and what is known about it without the broker.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) append: Append,
    pub(super) marker: Marker,
    /// The first and the last line, from 1.
    pub(super) lines: (u64, u64),
    pub(super) bytes: u64,
    /// How many records with a key go to each partition, and how many have none.
    pub(super) keyed: BTreeMap<PartitionId, u64>,
    pub(super) keyless: u64,
}

impl Request {
    pub(super) fn records(&self) -> u64 {
        self.lines.1 - self.lines.0 + 1
    }
}

/// A line that cannot be a record, or an input that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{input}, line {line}: {problem}")]
pub(super) struct BadLine {
    input: String,
    line: u64,
    problem: String,
}

/// Where requests go.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) topic: String,
    /// How many partitions the topic has.
    pub(super) partitions: u32,
    /// The partition for all records, if one was named.
    pub(super) partition: Option<PartitionId>,
}

/// Takes requests out of an input.
pub(super) struct Requests<R> {
    input: BufReader<R>,
    name: String,
    fields: Fields,
    target: Target,
    marker: Marker,
    /// The number of the last line read.
    line: u64,
    buffer: Vec<u8>,
    /// What ends the input, once what came before it has been returned.
    bad: Option<BadLine>,
}

impl<R: Read> Requests<R> {
    pub(super) fn new(input: R, name: &str, fields: Fields, target: Target, marker: Marker) -> Self {
        let input = BufReader::with_capacity(REQUEST_BYTES, input);
        Self { input, name: name.to_owned(), fields, target, marker, line: 0, buffer: Vec::new(), bad: None }
    }

    /// The next request; none at the end. Waits for input only while it has no line to send.
    ///
    /// # Errors
    ///
    /// At the first bad line, when all that came before it has been returned. There is nothing behind it.
    pub(super) fn next(&mut self) -> Result<Option<Request>, BadLine> {
        let mut building = Building::new(&self.target, self.marker.next());
        while self.bad.is_none() && !building.is_full() && (building.is_empty() || !self.input.buffer().is_empty()) {
            match self.add_line(&mut building) {
                Ok(true) => {}
                Ok(false) => break,
                Err(problem) => {
                    self.bad = Some(BadLine { input: self.name.clone(), line: self.line, problem });
                }
            }
        }
        if building.is_empty() {
            return self.bad.take().map_or(Ok(None), Err);
        }
        self.marker = building.marker;
        Ok(Some(building.finish()))
    }

    /// Moves a line into the request; answers whether there was one.
    fn add_line(&mut self, building: &mut Building) -> Result<bool, String> {
        self.line += 1;
        self.buffer.clear();
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES + 1);
        let read = limited.read_until(b'\n', &mut self.buffer).map_err(|error| format!("cannot read on: {error}"))?;
        match read as u64 {
            0 => return Ok(false),
            len if len > MAX_LINE_BYTES => return Err(format!("it is longer than {MAX_LINE_BYTES} bytes")),
            _ => building.push(&self.buffer, &self.fields, self.line)?,
        }
        Ok(true)
    }
}

/// A request that is being filled.
struct Building {
    partitions: u32,
    partition: Option<PartitionId>,
    marker: Marker,
    batch: Batch,
    lines: Option<(u64, u64)>,
    bytes: u64,
    keyed: BTreeMap<PartitionId, u64>,
    keyless: u64,
}

impl Building {
    fn new(target: &Target, marker: Marker) -> Self {
        let batch = match target.partition {
            Some(partition) => Batch::to_partition(&target.topic, partition),
            None => Batch::new(&target.topic),
        };
        let Target { partition, partitions, .. } = *target;
        Self { partitions, partition, marker, batch, lines: None, bytes: 0, keyed: BTreeMap::new(), keyless: 0 }
    }

    fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    fn is_full(&self) -> bool {
        self.batch.len() as u64 >= REQUEST_RECORDS || self.batch.bytes() >= REQUEST_BYTES
    }

    /// Adds a line, with its newline.
    fn push(&mut self, line: &[u8], fields: &Fields, number: u64) -> Result<(), String> {
        let value = line.strip_suffix(b"\n").unwrap_or(line);
        let extracted = fields.extract(value)?;
        let mut record = Record::new().value(value);
        if let Some(key) = &extracted.key {
            record = record.key(key);
        }
        if let Some(event_type) = &extracted.event_type {
            record = record.event_type(event_type);
        }
        if let Some(timestamp) = extracted.timestamp_ms {
            record = record.timestamp_ms(timestamp);
        }

        let marker = self.marker.as_event_id();
        if self.count(extracted.key.as_deref()) {
            record = record.event_id(&marker);
        }
        self.batch.push(&record);
        self.bytes += line.len() as u64;
        self.lines = Some((self.lines.map_or(number, |(first, _)| first), number));
        Ok(())
    }

    /// Counts a record where it goes; answers whether it is the first with a key, or the first without one.
    fn count(&mut self, key: Option<&str>) -> bool {
        let Some(key) = key else {
            self.keyless += 1;
            return self.keyless == 1;
        };
        let first = self.keyed.is_empty();
        let by_key = || partition_of_key(key.as_bytes(), self.partitions);
        *self.keyed.entry(self.partition.unwrap_or_else(by_key)).or_default() += 1;
        first
    }

    fn finish(self) -> Request {
        let lines = self.lines.expect("a request that is sent has a line");
        let Self { marker, bytes, keyed, keyless, batch, .. } = self;
        Request { append: batch.into(), marker, lines, bytes, keyed, keyless }
    }
}
