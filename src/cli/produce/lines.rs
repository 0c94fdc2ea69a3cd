//! Lines out of an input.

use std::io::{BufRead, BufReader, Read};

use super::fields::{Extracted, Fields};
use crate::{client::Record, types::limits};

/// How much is handed on at once: enough that handing it on does not count.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;

/// The longest line: the largest record that any topic may allow. A longer one is refused before it
/// fills the memory.
const MAX_LINE_BYTES: u64 = limits::RECORD_BYTES.2;

/// What is to become a record.
#[derive(Debug)]
pub(super) struct Line {
    /// From 1.
    pub(super) number: u64,
    /// With its newline.
    pub(super) bytes: u64,
    value: Vec<u8>,
    extracted: Extracted,
}

impl Line {
    /// The record, with this key, if one is given, instead of one out of the line.
    pub(super) fn record<'a>(&'a self, key: Option<&'a [u8]>) -> Record<'a> {
        let Extracted {
            key: own,
            event_type,
            timestamp_ms,
        } = &self.extracted;
        let mut record = Record::new().value(&self.value);
        if let Some(key) = key.or(own.as_deref().map(str::as_bytes)) {
            record = record.key(key);
        }
        if let Some(event_type) = event_type {
            record = record.event_type(event_type);
        }
        if let Some(timestamp) = *timestamp_ms {
            record = record.timestamp_ms(timestamp);
        }
        record
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

/// Takes lines out of an input.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    name: String,
    fields: Fields,
    /// The number of the last line read.
    number: u64,
    /// What ends the input, once what came before it has been returned.
    bad: Option<BadLine>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(input: R, name: &str, fields: Fields) -> Self {
        let input = BufReader::with_capacity(CHUNK_BYTES, input);
        Self {
            input,
            name: name.to_owned(),
            fields,
            number: 0,
            bad: None,
        }
    }

    /// The next lines; none at the end. Waits for input only while it has no line to return.
    ///
    /// # Errors
    ///
    /// At the first bad line, when all that came before it has been returned. There is nothing
    /// behind it.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Line>>, BadLine> {
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while self.bad.is_none() && lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            if !lines.is_empty() && self.input.buffer().is_empty() {
                break;
            }
            match self.read_line() {
                Ok(Some(line)) => {
                    bytes += line.value.len();
                    lines.push(line);
                }
                Ok(None) => break,
                Err(problem) => {
                    self.bad = Some(BadLine {
                        input: self.name.clone(),
                        line: self.number,
                        problem,
                    });
                }
            }
        }
        if lines.is_empty() {
            self.bad.take().map_or(Ok(None), Err)
        } else {
            Ok(Some(lines))
        }
    }

    fn read_line(&mut self) -> Result<Option<Line>, String> {
        self.number += 1;
        let mut value = Vec::new();
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES + 1);
        let read = limited
            .read_until(b'\n', &mut value)
            .map_err(|error| format!("cannot read on: {error}"))?;
        let bytes = read as u64;
        match bytes {
            0 => return Ok(None),
            len if len > MAX_LINE_BYTES => {
                return Err(format!("it is longer than {MAX_LINE_BYTES} bytes"));
            }
            _ => {}
        }
        if value.last() == Some(&b'\n') {
            value.pop();
        }
        let extracted = self.fields.extract(&value)?;
        Ok(Some(Line {
            number: self.number,
            bytes,
            value,
            extracted,
        }))
    }
}
