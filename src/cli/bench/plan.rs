//! What to measure: the flags' meaning.

use std::path::PathBuf;

use crate::{
    cli::{
        Failure,
        flags::{BenchCommand, LoadFlags},
        topic::assignments,
    },
    types::parse_bytes,
};

/// A measurement, to be carried out as often as `runs` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) load: Load,
    /// Bytes of each value.
    pub(super) record_bytes: usize,
    /// Records of each request.
    pub(super) records: u32,
    pub(super) producers: u32,
    /// Requests of each producer.
    pub(super) requests: u32,
    pub(super) partitions: u32,
    pub(super) settings: Vec<(String, String)>,
    pub(super) runs: u32,
    pub(super) dir: PathBuf,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Produce,
    Consume { consumers: u32 },
    Append,
}

/// Appends the topic of `bench consume`, whose own making is not measured.
const PRODUCERS_TO_CONSUME: u32 = 2;

impl Plan {
    pub(super) fn new(command: &BenchCommand) -> Result<Self, Failure> {
        match command {
            BenchCommand::Produce { load, records, producers, bytes } => {
                Self::of_bytes(Load::Produce, load, *records, *producers, bytes)
            }
            BenchCommand::Consume { load, records, consumers, bytes } => {
                let consumers = at_least_one("--consumers", *consumers)?;
                Self::of_bytes(Load::Consume { consumers }, load, *records, PRODUCERS_TO_CONSUME, bytes)
            }
            BenchCommand::Append { load, records, producers, requests } => {
                Self::of_requests(Load::Append, load, *records, *producers, *requests)
            }
        }
    }

    /// As many requests as it takes for this many bytes.
    fn of_bytes(load: Load, flags: &LoadFlags, records: u32, producers: u32, bytes: &str) -> Result<Self, Failure> {
        let plan = Self::of_requests(load, flags, records, producers, 1)?;
        let bytes = size("--bytes", bytes)?;
        let requests = bytes.div_ceil(plan.bytes()).max(1);
        let requests = u32::try_from(requests).map_err(|_| Failure::Usage("--bytes is too much".to_owned()))?;
        Ok(Self { requests, ..plan })
    }

    fn of_requests(
        load: Load,
        flags: &LoadFlags,
        records: u32,
        producers: u32,
        requests: u32,
    ) -> Result<Self, Failure> {
        let record_bytes = size("--record-bytes", &flags.record_bytes)?;
        let settings = assignments(&flags.set)?;
        Ok(Self {
            load,
            record_bytes: usize::try_from(record_bytes).map_err(|_| too_large("--record-bytes"))?.max(1),
            records: at_least_one("--records", records)?,
            producers: at_least_one("--producers", producers)?,
            requests: at_least_one("--requests", requests)?,
            partitions: at_least_one("--partitions", flags.partitions)?,
            settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            runs: at_least_one("--runs", flags.runs)?,
            dir: flags.dir.clone(),
        })
    }

    /// Records of one producer.
    pub(super) fn records_of_producer(&self) -> u64 {
        u64::from(self.records) * u64::from(self.requests)
    }

    /// All records.
    pub(super) fn all_records(&self) -> u64 {
        self.records_of_producer() * u64::from(self.producers)
    }

    /// Bytes of all values.
    pub(super) fn bytes(&self) -> u64 {
        self.all_records() * self.record_bytes as u64
    }
}

fn at_least_one(flag: &str, number: u32) -> Result<u32, Failure> {
    if number == 0 { Err(Failure::Usage(format!("{flag} must be at least 1"))) } else { Ok(number) }
}

fn size(flag: &str, text: &str) -> Result<u64, Failure> {
    parse_bytes(text).map_err(|error| Failure::Usage(format!("{flag}: {error}")))
}

fn too_large(flag: &str) -> Failure {
    Failure::Usage(format!("{flag} is too large"))
}
