//! Records as text: a line of JSON each, or an event each.
//!
//! A record may have 8 MiB, and six times as much as text. So it is written in steps: what is long
//! in it is put into the text in small parts, each as it is needed.

use std::collections::VecDeque;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::json;

use super::events::Places;
use crate::{
    server::limits::{HTTP_PIECE_BYTES, HTTP_STEP_BYTES},
    types::{RecordView, Records},
};

/// The records of a message, on the way to be text.
pub(super) struct Rendering {
    partition: u32,
    /// What is left of the message's records.
    run: Bytes,
    /// What is left of the record that has been begun.
    parts: VecDeque<Part>,
}

/// A part of a record's text.
enum Part {
    Plain(String),
    /// Text that goes between quotes.
    Text(Bytes),
    /// Bytes that go between quotes as base64.
    Base64(Bytes),
}

/// The bytes of a message are not records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotRecords;

impl Rendering {
    /// Of a run of records of this partition.
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

    /// Writes this instead of records.
    pub(super) fn say(&mut self, text: String) {
        self.put_plain(text);
    }

    /// More of the text, about as much as goes at a time; empty at the end. Where there are places
    /// to go on, records are events.
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

    /// As `taffrail consume --format json` has it.
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
    /// Puts some of it behind the text; true when that was the last.
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
                // In threes, so that what follows can be put behind it.
                let some = left.split_to(left.len().min(HTTP_STEP_BYTES / 3 * 3));
                text.push_str(&STANDARD.encode(&some));
                left.is_empty()
            }
        }
    }
}

/// Where a step of a text ends: not within a character.
fn text_boundary(text: &[u8]) -> usize {
    let mut end = text.len().min(HTTP_STEP_BYTES);
    while end < text.len() && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    end
}
