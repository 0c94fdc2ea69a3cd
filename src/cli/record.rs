//! Formats records: the value, JSON, or a template.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::template::{Template, timestamp_ms};
use crate::{
    client::StoredRecord,
    types::{PartitionId, RecordView},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// The value as it is, and a newline.
    Value,
    /// One JSON object a line.
    Json,
    /// A template, without anything added.
    Template(Template),
}

/// A record as JSON. Bytes that are not UTF-8 are in the `_base64` field instead of the plain one;
/// a key, version or value that is absent is null.
#[derive(Serialize)]
pub(super) struct JsonRecord<'a> {
    partition: u32,
    offset: u64,
    version: Option<u64>,
    erased: bool,
    #[serde(flatten)]
    key: Key<'a>,
    r#type: &'a str,
    timestamp_ms: i64,
    append_time_ms: i64,
    headers: Vec<JsonHeader<'a>>,
    #[serde(flatten)]
    value: Value<'a>,
}

/// A key in JSON.
#[derive(Serialize)]
pub(super) enum Key<'a> {
    #[serde(rename = "key")]
    Text(Option<&'a str>),
    #[serde(rename = "key_base64")]
    Bytes(String),
}

#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "value")]
    Text(Option<&'a str>),
    #[serde(rename = "value_base64")]
    Bytes(String),
}

#[derive(Serialize)]
struct JsonHeader<'a> {
    name: &'a str,
    #[serde(flatten)]
    value: Value<'a>,
}

impl Format {
    /// Parses `--format`, for records of this topic.
    ///
    /// # Errors
    ///
    /// If it is no known format, or the template has an unknown letter.
    pub(super) fn parse(text: &str, topic: &str) -> Result<Self, String> {
        match text {
            "value" => Ok(Self::Value),
            "json" => Ok(Self::Json),
            _ if text.contains(['%', '\\']) => Template::parse(text, topic).map(Self::Template),
            _ => Err(format!(
                "{text:?} is neither value, json, nor a template such as '%k %s\\n'"
            )),
        }
    }

    /// Adds a record to the output. Returns false if there was nothing to add, because the record
    /// is a tombstone or erased.
    pub(super) fn render(
        &self,
        out: &mut Vec<u8>,
        partition: PartitionId,
        record: &RecordView<'_>,
    ) -> bool {
        match self {
            Self::Value => match record.value {
                Some(value) => out.extend_from_slice(value),
                None => return false,
            },
            Self::Json => {
                let json = JsonRecord::new(partition, record);
                serde_json::to_writer(&mut *out, &json)
                    .expect("a vector takes everything, and the keys are strings");
            }
            Self::Template(template) => {
                template.render(out, partition, record);
                return true;
            }
        }
        out.push(b'\n');
        true
    }
}

impl<'a> JsonRecord<'a> {
    pub(super) fn new(partition: PartitionId, record: &RecordView<'a>) -> Self {
        let append_time_ms = record.append_time_ms.unwrap_or_default();
        Self {
            partition: partition.0,
            offset: record.offset.unwrap_or_default(),
            version: record.version,
            erased: record.erased.is_some(),
            key: Key::new(record.key),
            r#type: record.event_type,
            timestamp_ms: timestamp_ms(record),
            append_time_ms,
            headers: record.headers().map(JsonHeader::new).collect(),
            value: Value::new(record.value),
        }
    }
}

impl<'a> From<&'a StoredRecord> for JsonRecord<'a> {
    fn from(record: &'a StoredRecord) -> Self {
        Self {
            partition: record.partition.0,
            offset: record.offset.0,
            version: record.version.map(|version| version.0),
            erased: record.erased,
            key: Key::new(record.key.as_deref()),
            r#type: &record.event_type,
            timestamp_ms: record.timestamp_ms,
            append_time_ms: record.append_time_ms,
            headers: record
                .headers
                .iter()
                .map(|(name, value)| JsonHeader::new((name, value)))
                .collect(),
            value: Value::new(record.value.as_deref()),
        }
    }
}

impl<'a> Key<'a> {
    pub(super) fn new(bytes: Option<&'a [u8]>) -> Self {
        text_or_base64(bytes).map_or_else(Self::Bytes, Self::Text)
    }
}

impl<'a> Value<'a> {
    fn new(bytes: Option<&'a [u8]>) -> Self {
        text_or_base64(bytes).map_or_else(Self::Bytes, Self::Text)
    }
}

impl<'a> JsonHeader<'a> {
    fn new((name, value): (&'a str, &'a [u8])) -> Self {
        Self {
            name,
            value: Value::new(Some(value)),
        }
    }
}

fn text_or_base64(bytes: Option<&[u8]>) -> Result<Option<&str>, String> {
    bytes
        .map(|bytes| std::str::from_utf8(bytes).map_err(|_| STANDARD.encode(bytes)))
        .transpose()
}
