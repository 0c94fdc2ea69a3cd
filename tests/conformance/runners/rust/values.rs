//! Records, conditions and errors as the kit writes them: bytes as hexadecimal digits, numbers of
//! 64 bits as texts.

use serde_json::{Value, json};
use taffrail::{
    client::{Actual, Append, Batch, CommitOutcome, Error, Record, StoredRecord},
    types::{Offset, PartitionId, Position, Version},
};

use super::Failure;

/// The parts of a record to append that must be kept, because the record borrows them.
pub(crate) struct Owned {
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    event_type: String,
    headers: Vec<(String, Vec<u8>)>,
    timestamp_ms: Option<i64>,
    event_id: Vec<u8>,
}

impl Owned {
    pub(crate) fn all(command: &Value) -> Result<Vec<Self>, Failure> {
        list(&command["records"]).iter().map(Self::new).collect()
    }

    fn new(wire: &Value) -> Result<Self, Failure> {
        let mut headers = Vec::new();
        for header in list(&wire["headers"]) {
            headers.push((text(&header[0])?.to_owned(), octets(&header[1])?));
        }
        Ok(Self {
            key: optional(&wire["key"], octets)?,
            value: optional(&wire["value"], octets)?,
            event_type: wire["type"].as_str().unwrap_or_default().to_owned(),
            headers,
            timestamp_ms: optional(&wire["timestamp_ms"], number)?,
            event_id: optional(&wire["event_id"], octets)?.unwrap_or_default(),
        })
    }

    pub(crate) fn record(&self) -> Record<'_> {
        let mut record = match (&self.key, &self.value) {
            (Some(key), None) => Record::tombstone(key),
            (None, None) => Record::default(),
            (Some(key), Some(value)) => Record::new().key(key).value(value),
            (None, Some(value)) => Record::new().value(value),
        };
        for (name, value) in &self.headers {
            record = record.header(name, value);
        }
        if let Some(timestamp_ms) = self.timestamp_ms {
            record = record.timestamp_ms(timestamp_ms);
        }
        record.event_type(&self.event_type).event_id(&self.event_id)
    }
}

/// The append of a command, with its conditions.
pub(crate) fn append(command: &Value) -> Result<Append, Failure> {
    let topic = text(&command["topic"])?;
    let mut batch = match command["partition"].as_u64() {
        Some(number) => Batch::to_partition(topic, partition(number)?),
        None => Batch::new(topic),
    };
    for record in Owned::all(command)? {
        batch.push(&record.record());
    }
    let mut append = Append::from(batch).return_versions();
    for condition in list(&command["conditions"]) {
        append = expect(append, topic, condition)?;
    }
    Ok(append)
}

fn expect(append: Append, topic: &str, condition: &Value) -> Result<Append, Failure> {
    if let Some(number) = condition["partition"].as_u64() {
        let next = Offset(number_of(&condition["next_offset"])?);
        return Ok(append.expect_next_offset(topic, partition(number)?, next));
    }
    let key = octets(&condition["key"])?;
    if condition["version"].is_string() {
        let version = Version(number_of(&condition["version"])?);
        return Ok(append.expect_version(topic, key, version));
    }
    Ok(if condition["absent"] == true {
        append.expect_absent(topic, key)
    } else {
        append.expect_exists(topic, key)
    })
}

pub(crate) fn position(wire: &Value) -> Result<Position, Failure> {
    if wire["offset"].is_string() {
        return Ok(Position::Offset(Offset(number_of(&wire["offset"])?)));
    }
    if wire["time_ms"].is_string() {
        return Ok(Position::Timestamp(number(&wire["time_ms"])?));
    }
    Ok(if wire == "latest" {
        Position::Latest
    } else {
        Position::Earliest
    })
}

pub(crate) fn stored(record: &StoredRecord) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(name, value)| json!([name, digits(value)]))
        .collect();
    json!({
        "partition": record.partition.0,
        "offset": record.offset.0.to_string(),
        "key": record.key.as_deref().map(digits),
        "value": record.value.as_deref().map(digits),
        "type": record.event_type,
        "headers": headers,
        "timestamp_ms": record.timestamp_ms.to_string(),
        "event_id": digits(&record.event_id),
        "version": record.version.map(|version| version.0.to_string()),
        "erased": record.erased,
    })
}

pub(crate) fn outcome(outcome: CommitOutcome) -> &'static str {
    match outcome {
        CommitOutcome::Done => "DONE",
        CommitOutcome::Unchanged { .. } => "UNCHANGED",
        CommitOutcome::Fenced => "FENCED",
        CommitOutcome::UnknownPartition => "UNKNOWN_PARTITION",
        CommitOutcome::BeyondEnd { .. } => "BEYOND_END",
        _ => "OUTCOME_UNKNOWN",
    }
}

/// A client's error as the kit describes it.
pub(crate) fn described(error: &Error) -> Value {
    let mut wire = json!({
        "kind": kind(error),
        "reason": error.reason().unwrap_or_default(),
        "message": error.to_string(),
    });
    match error {
        Error::Refused(refusal) => wire["metadata"] = json!(refusal.metadata),
        Error::OffsetOutOfRange {
            partition,
            earliest,
            high_watermark,
            ..
        } => {
            wire["metadata"] = json!({
                "partition": partition.map(|partition| partition.0.to_string()),
                "earliest": earliest.0.to_string(),
                "high_watermark": high_watermark.0.to_string(),
            });
        }
        Error::Conflict { failed, .. } => {
            let actual = |actual| match actual {
                Actual::Version(version) => version.0.to_string(),
                Actual::NextOffset(offset) => offset.0.to_string(),
            };
            let failed = failed
                .iter()
                .map(|each| json!([each.index, actual(each.actual)]));
            wire["failed"] = failed.collect();
        }
        _ => {}
    }
    wire
}

fn kind(error: &Error) -> &'static str {
    match error {
        Error::Unavailable { .. } => "unavailable",
        Error::OutcomeUnknown { .. } => "outcome_unknown",
        Error::Conflict { .. } => "conflict",
        Error::OffsetOutOfRange { .. } => "out_of_range",
        Error::DamagedRecords { .. } => "damaged",
        Error::Refused(refusal) => match (refusal.reason.as_str(), refusal.code.as_str()) {
            ("FENCED" | "COMMIT_FENCED" | "OUT_OF_SEQUENCE" | "UNKNOWN_PRODUCER", _) => "fenced",
            (_, "NotFound") => "not_found",
            (_, "AlreadyExists") => "already_exists",
            _ => "refused",
        },
        _ => "unknown",
    }
}

pub(crate) fn list(wire: &Value) -> &[Value] {
    wire.as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn text(wire: &Value) -> Result<&str, Failure> {
    let missing = || Failure::command(format!("{wire} is no text"));
    wire.as_str().ok_or_else(missing)
}

pub(crate) fn optional<T>(
    wire: &Value,
    read: impl Fn(&Value) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    if wire.is_null() {
        return Ok(None);
    }
    read(wire).map(Some)
}

pub(crate) fn partition(number: u64) -> Result<PartitionId, Failure> {
    let number = u32::try_from(number).map_err(|error| Failure::command(error.to_string()))?;
    Ok(PartitionId(number))
}

pub(crate) fn number_of(wire: &Value) -> Result<u64, Failure> {
    let parsed = text(wire)?.parse::<u64>();
    parsed.map_err(|error| Failure::command(error.to_string()))
}

fn number(wire: &Value) -> Result<i64, Failure> {
    let parsed = text(wire)?.parse::<i64>();
    parsed.map_err(|error| Failure::command(error.to_string()))
}

/// The bytes that hexadecimal digits stand for.
pub(crate) fn octets(wire: &Value) -> Result<Vec<u8>, Failure> {
    let mut octets = Vec::new();
    for pair in text(wire)?.as_bytes().chunks(2) {
        let pair = str::from_utf8(pair).map_err(|error| Failure::command(error.to_string()))?;
        let octet = u8::from_str_radix(pair, 16);
        octets.push(octet.map_err(|error| Failure::command(error.to_string()))?);
    }
    Ok(octets)
}

fn digits(octets: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = String::with_capacity(2 * octets.len());
    for octet in octets {
        digits.push(DIGITS[usize::from(octet >> 4)].into());
        digits.push(DIGITS[usize::from(octet & 15)].into());
    }
    digits
}
