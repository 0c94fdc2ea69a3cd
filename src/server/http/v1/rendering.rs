//! Turns records into text: one line of JSON each, or one server-sent event each.
//!
//! A record may have 8 MiB, and six times as much as JSON. So the text is written in steps: long
//! fields are converted in small parts, each when it is needed.

use std::collections::VecDeque;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::json;

use super::events::Places;
use crate::{
    server::limits::{HTTP_PIECE_BYTES, HTTP_STEP_BYTES},
    types::{RecordView, Records},
};

/// The records of a message that are being turned into text.
pub(super) struct Rendering {
    partition: u32,
    /// The records that have not been begun.
    run: Bytes,
    /// The rest of the record that was begun.
    parts: VecDeque<Part>,
}

/// A part of a record's text.
enum Part {
    Plain(String),
    /// Bytes of UTF-8, to be written as a JSON string.
    Text(Bytes),
    /// Bytes to be written as a string of base64.
    Base64(Bytes),
}

/// The bytes of a message are not records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotRecords;

impl Rendering {
    /// Renders the encoded records `run` of a partition.
    pub(super) fn new(partition: u32, run: Bytes) -> Self {
        Self {
            partition,
            run,
            parts: VecDeque::new(),
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.run.is_empty() && self.parts.is_empty()
    }

    /// Writes this text instead of records.
    pub(super) fn say(&mut self, text: String) {
        self.put_plain(text);
    }

    /// The next piece of text, of about [`HTTP_PIECE_BYTES`]; empty at the end. With `places`,
    /// records become events, and the places are moved on.
    pub(super) fn next(&mut self, places: &mut Option<Places>) -> Result<String, NotRecords> {
        let mut text = String::new();
        while text.len() < HTTP_PIECE_BYTES {
            match self.parts.front_mut() {
                Some(part) => {
                    if part.write_some(&mut text) {
                        self.parts.pop_front();
                    }
                }
                None if self.run.is_empty() => break,
                None => self.begin_record(places)?,
            }
        }
        Ok(text)
    }

    fn begin_record(&mut self, places: &mut Option<Places>) -> Result<(), NotRecords> {
        let run = self.run.clone();
        let (place, encoded) = match Records::new(&run).next() {
            Some(Ok(found)) => found,
            _ => return Err(NotRecords),
        };
        let record = RecordView::parse(encoded).map_err(|_| NotRecords)?;
        if let Some(places) = places {
            let behind = record.offset.unwrap_or_default() + 1;
            places.go_on_at(self.partition, behind);
            self.parts
                .push_back(Part::Plain(format!("{}data: ", places.id_line())));
        }
        self.put_record(&record);
        let end = if places.is_some() { "\n\n" } else { "\n" };
        self.parts.push_back(Part::Plain(end.to_owned()));
        self.run = run.slice(place.end..);
        Ok(())
    }

    /// Writes a record in the format of `taffrail consume --format json`.
    fn put_record(&mut self, record: &RecordView<'_>) {
        let append_time_ms = record.append_time_ms.unwrap_or_default();
        let offset = record.offset.unwrap_or_default();
        self.put_plain(format!(
            r#"{{"partition":{},"offset":{offset},"version":{},"erased":{},"#,
            self.partition,
            json!(record.version),
            record.erased.is_some(),
        ));
        self.put("key", record.key);
        self.put_plain(format!(
            r#","type":{},"timestamp_ms":{},"append_time_ms":{append_time_ms},"headers":["#,
            json!(record.event_type),
            record.timestamp_ms.unwrap_or(append_time_ms),
        ));
        for (nth, (name, value)) in record.headers().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            self.put_plain(format!(r#"{comma}{{"name":{},"#, json!(name)));
            self.put("value", Some(value));
            self.put_plain("}".to_owned());
        }
        self.put_plain("],".to_owned());
        self.put("value", record.value);
        self.put_plain("}".to_owned());
    }

    fn put_plain(&mut self, text: String) {
        match self.parts.back_mut() {
            Some(Part::Plain(before)) => before.push_str(&text),
            _ => self.parts.push_back(Part::Plain(text)),
        }
    }

    fn put(&mut self, name: &str, bytes: Option<&[u8]>) {
        let Some(bytes) = bytes else {
            return self.put_plain(format!(r#""{name}":null"#));
        };
        let slice = self.run.slice_ref(bytes);
        let part = match std::str::from_utf8(bytes) {
            Ok(_) => {
                self.put_plain(format!(r#""{name}":""#));
                Part::Text(slice)
            }
            Err(_) => {
                self.put_plain(format!(r#""{name}_base64":""#));
                Part::Base64(slice)
            }
        };
        self.parts.push_back(part);
        self.put_plain("\"".to_owned());
    }
}

impl Part {
    /// Appends some of the part to the text; true if that was the rest.
    fn write_some(&mut self, text: &mut String) -> bool {
        match self {
            Self::Plain(plain) => {
                text.push_str(plain);
                true
            }
            Self::Text(left) => {
                let some = left.split_to(text_boundary(left));
                let quoted = json!(String::from_utf8_lossy(&some)).to_string();
                text.push_str(&quoted[1..quoted.len() - 1]);
                left.is_empty()
            }
            Self::Base64(left) => {
                // Base64 turns three bytes into four characters, so steps of a multiple of three
                // can be joined.
                let some = left.split_to(left.len().min(HTTP_STEP_BYTES / 3 * 3));
                text.push_str(&STANDARD.encode(&some));
                left.is_empty()
            }
        }
    }
}

/// Where to end a step, so that it does not split a character.
fn text_boundary(text: &[u8]) -> usize {
    let mut end = text.len().min(HTTP_STEP_BYTES);
    while end < text.len() && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}
