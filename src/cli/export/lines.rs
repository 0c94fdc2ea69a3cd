//! The lines of an exported topic: its head, its records, and its end. Each is a JSON object.
//!
//! ```text
//! {"export":1,"topic":"t","settings":{...},"partitions":[{"partition":0,"start":0,"end":2}]}
//! {"partition":0,"offset":0,"version":1,"append_time_ms":...,"timestamp_ms":...,"key":"k","value":"v"}
//! {"partition":0,"offset":1,...}
//! {"end":{"records":2}}
//! ```
//!
//! Nothing in them depends on when, or by which broker, the topic was exported. What a record does
//! not have is not in its line; bytes that are no text are in the `_base64` field.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    client::ImportedRecord,
    types::{Offset, PartitionId, RecordView, Version},
};

/// The version of this format.
pub(in crate::cli) const FORM: u32 = 1;

/// The first line, which describes the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct HeadLine {
    pub(in crate::cli) export: u32,
    pub(in crate::cli) topic: String,
    pub(in crate::cli) settings: BTreeMap<String, String>,
    pub(in crate::cli) partitions: Vec<PartitionRange>,
}

/// The range of offsets in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct PartitionRange {
    pub(in crate::cli) partition: u32,
    /// The first offset that was not trimmed.
    pub(in crate::cli) start: u64,
    /// The offset behind the last one.
    pub(in crate::cli) end: u64,
}

/// The last line, which shows that the export is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct EndLine {
    pub(in crate::cli) end: RecordCount,
}

/// The number of exported records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct RecordCount {
    pub(in crate::cli) records: u64,
}

/// The line of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct RecordLine {
    pub(in crate::cli) partition: u32,
    pub(in crate::cli) offset: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    append_time_ms: i64,
    timestamp_ms: i64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderField>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event_id_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    /// The token that stands for the key of an erased record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased_base64: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderField {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
}

impl RecordLine {
    pub(in crate::cli) fn new(partition: PartitionId, record: &RecordView<'_>) -> Self {
        let (key, key_base64) = text_or_base64(record.key);
        let event_id = Some(record.event_id).filter(|id| !id.is_empty());
        let (event_id, event_id_base64) = text_or_base64(event_id);
        let (value, value_base64) = text_or_base64(record.value);
        let mut headers = Vec::new();
        for (name, value) in record.headers() {
            let (value, value_base64) = text_or_base64(Some(value));
            headers.push(HeaderField {
                name: name.to_owned(),
                value,
                value_base64,
            });
        }
        Self {
            partition: partition.0,
            offset: record.offset.unwrap_or_default(),
            version: record.version,
            append_time_ms: record.append_time_ms.unwrap_or_default(),
            timestamp_ms: record.timestamp_ms.unwrap_or_default(),
            r#type: record.event_type.to_owned(),
            key,
            key_base64,
            headers,
            event_id,
            event_id_base64,
            value,
            value_base64,
            erased_base64: record.erased.map(|token| STANDARD.encode(token)),
        }
    }

    /// Converts the line to a record; fails with what is wrong in it.
    pub(in crate::cli) fn imported(self) -> Result<ImportedRecord, String> {
        let mut headers = Vec::with_capacity(self.headers.len());
        for header in self.headers {
            let value = bytes("value", header.value, header.value_base64)?;
            headers.push((header.name, value.unwrap_or_default()));
        }
        let event_id = bytes("event_id", self.event_id, self.event_id_base64)?;
        Ok(ImportedRecord {
            offset: Offset(self.offset),
            version: self.version.map(Version),
            append_time_ms: self.append_time_ms,
            timestamp_ms: self.timestamp_ms,
            key: bytes("key", self.key, self.key_base64)?,
            value: bytes("value", self.value, self.value_base64)?,
            event_type: self.r#type,
            headers,
            event_id: event_id.unwrap_or_default(),
            erased: bytes("erased", None, self.erased_base64)?,
        })
    }

    /// The JSON of the line, without a newline.
    pub(in crate::cli) fn line(&self) -> Vec<u8> {
        line(self)
    }
}

/// The JSON of a line, without a newline.
pub(in crate::cli) fn line(of: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(of).expect("a vector takes everything, and the names of fields are text")
}

/// Bytes as text if they are UTF-8, otherwise as base64.
fn text_or_base64(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match bytes.map(|bytes| (bytes, str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text.to_owned()), None),
        Some((bytes, Err(_))) => (None, Some(STANDARD.encode(bytes))),
    }
}

fn bytes(
    name: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Bytes>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("it has both {name} and {name}_base64")),
        (Some(text), None) => Ok(Some(text.into())),
        (None, Some(base64)) => {
            let bytes = STANDARD.decode(base64);
            let bytes = bytes.map_err(|error| format!("{name}_base64 is no base64: {error}"))?;
            Ok(Some(bytes.into()))
        }
        (None, None) => Ok(None),
    }
}
