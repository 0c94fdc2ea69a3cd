//! Parses records from JSON: one object a line, one object, or a list of objects.
//!
//! They have the fields that `rendering.rs` writes, without those that the broker sets. `key` and
//! `value` are text; bytes that are no text are in `key_base64` and `value_base64` instead. A value
//! may also be an object or a list, whose JSON text is stored as it was written.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    proto::{self, wire},
    types::limits::{MAX_CONDITIONS_PER_APPEND, MAX_HEADERS},
};

/// The records of a request, encoded for the broker.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The encoded records, one behind the other.
    pub(super) run: Vec<u8>,
    /// How many records there are.
    pub(super) count: usize,
    /// The versions at which their entities are expected; at most one more than are allowed.
    pub(super) conditions: Vec<Expected>,
}

/// The version that a record expects its entity to be at.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The index of the record, from 0.
    pub(super) record: usize,
    pub(super) key: Bytes,
    pub(super) version: u64,
}

/// One record, as it is written in JSON.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Record<'a> {
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    key_base64: Option<String>,
    #[serde(default, borrow)]
    value: Option<&'a RawValue>,
    #[serde(default)]
    value_base64: Option<String>,
    #[serde(default)]
    r#type: Option<String>,
    #[serde(default)]
    headers: Headers,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default)]
    event_id: Option<String>,
    #[serde(default)]
    event_id_base64: Option<String>,
    #[serde(default)]
    expected_version: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: String,
    #[serde(default)]
    value: Option<String>,
    #[serde(default)]
    value_base64: Option<String>,
}

/// Headers, at most as many as a record may have.
#[derive(Default)]
struct Headers(Vec<Header>);

impl<'de> Deserialize<'de> for Headers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Few;
        impl<'de> Visitor<'de> for Few {
            type Value = Headers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX_HEADERS} headers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Headers, A::Error> {
                let mut headers = Vec::new();
                while let Some(header) = list.next_element()? {
                    if headers.len() == MAX_HEADERS {
                        return Err(de::Error::invalid_length(headers.len() + 1, &self));
                    }
                    headers.push(header);
                }
                Ok(Headers(headers))
            }
        }
        deserializer.deserialize_seq(Few)
    }
}

impl Records {
    /// Parses one record from each line; empty lines are skipped.
    pub(super) fn of_lines(text: &[u8]) -> Result<Self, String> {
        let mut records = Self::with_room_for(text);
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let record = serde_json::from_slice(line).map_err(|error| error.to_string());
            let added = record.and_then(|record| records.add(record));
            added.map_err(|problem| {
                // serde_json counts lines within the text, which is always one line here.
                let problem = problem.replace(" at line 1 column ", " at column ");
                format!("line {}: {problem}", number + 1)
            })?;
        }
        Ok(records)
    }

    /// Parses one object, or a list of objects.
    pub(super) fn of_json(text: &[u8]) -> Result<Self, String> {
        let mut records = Self::with_room_for(text);
        let is_list = text.trim_ascii_start().starts_with(b"[");
        if is_list {
            let mut json = serde_json::Deserializer::from_slice(text);
            let read = json.deserialize_seq(All(&mut records));
            let read = read.and_then(|()| json.end());
            read.map_err(|error| format!("record {}: {error}", records.count))?;
        } else {
            let record = serde_json::from_slice(text).map_err(|error| error.to_string());
            record.and_then(|record| records.add(record))?;
        }
        Ok(records)
    }

    /// Reserves as much memory as the JSON takes; encoded records are smaller.
    fn with_room_for(text: &[u8]) -> Self {
        Self {
            run: Vec::with_capacity(text.len()),
            ..Self::default()
        }
    }

    fn add(&mut self, record: Record<'_>) -> Result<(), String> {
        let expected_version = record.expected_version;
        let record = record.encoded()?;
        if let Some(version) = expected_version
            && self.conditions.len() <= MAX_CONDITIONS_PER_APPEND
        {
            let key = record.key.clone();
            let key = key.ok_or("expected_version is about an entity, and there is no key")?;
            self.conditions.push(Expected {
                record: self.count,
                key,
                version,
            });
        }
        wire::push_record(&mut self.run, &record);
        self.count += 1;
        Ok(())
    }
}

/// Adds the records of a JSON list one by one.
struct All<'r>(&'r mut Records);

impl<'de> Visitor<'de> for All<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(record) = list.next_element()? {
            self.0.add(record).map_err(de::Error::custom)?;
        }
        Ok(())
    }
}

impl Record<'_> {
    fn encoded(self) -> Result<proto::Record, String> {
        let mut headers = Vec::with_capacity(self.headers.0.len());
        for header in self.headers.0 {
            let value = bytes("a header's value", header.value, header.value_base64)?;
            headers.push(proto::Header {
                name: header.name,
                value: value.unwrap_or_default(),
            });
        }
        let value = self.value.map(content).transpose()?;
        let event_id = bytes("event_id", self.event_id, self.event_id_base64)?;
        Ok(proto::Record {
            key: bytes("key", self.key, self.key_base64)?,
            value: bytes("value", value, self.value_base64)?,
            r#type: self.r#type.unwrap_or_default(),
            headers,
            timestamp_ms: self.timestamp_ms,
            event_id: event_id.unwrap_or_default(),
            ..proto::Record::default()
        })
    }
}

/// The text to store for a value: the string itself, or the JSON of an object or a list.
fn content(raw: &RawValue) -> Result<String, String> {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'"') => serde_json::from_str(json).map_err(|error| error.to_string()),
        Some(b'{' | b'[') => Ok(json.to_owned()),
        _ => Err(format!(
            "value is {json}; it may be a text, an object, a list, or null for a tombstone"
        )),
    }
}

fn bytes(
    what: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!(
            "{what} is there as text and as base64; leave one out"
        )),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => match STANDARD.decode(base64) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) => Err(format!("{what} is no base64: {error}")),
        },
        (None, None) => Ok(None),
    }
}
