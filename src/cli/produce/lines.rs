//! Lines out of one or more inputs, one behind the other.
//!
//! Where lines are JSON, a byte order mark and empty lines are passed over; without fields to look
//! for, every line is a record, byte for byte.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    fields::{Extracted, Fields},
    fixed::Fixed,
};
use crate::{cli::output, client::Record, types::limits};

/// How much is handed on at once: enough that handing it on does not count.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;

/// The longest line: the largest record that any topic may allow. A longer one is refused before it
/// fills the memory.
const MAX_LINE_BYTES: u64 = limits::RECORD_BYTES.2;

/// What some programs write at the start of a file. It is no part of a JSON object.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

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
    /// Whether it has a key of its own.
    pub(super) fn has_key(&self) -> bool {
        self.extracted.key.is_some()
    }

    /// The record, with what all records have, which counts before what is in the line.
    pub(super) fn record<'a>(&'a self, fixed: &'a Fixed) -> Record<'a> {
        let Extracted {
            key,
            event_type,
            timestamp_ms,
        } = &self.extracted;
        let mut record = Record::new().value(&self.value);
        let own = key.as_deref().map(str::as_bytes);
        if let Some(key) = fixed.key.as_deref().or(own) {
            record = record.key(key);
        }
        if let Some(event_type) = fixed.event_type.as_ref().or(event_type.as_ref()) {
            record = record.event_type(event_type);
        }
        for (name, value) in &fixed.headers {
            record = record.header(name, value);
        }
        if let Some(timestamp) = *timestamp_ms {
            record = record.timestamp_ms(timestamp);
        }
        record
    }
}

/// Why there are no more lines.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadInput {
    /// A line that cannot be a record, or behind which the input cannot be read.
    #[error("{input}, line {line}{}: {problem}", of_all(*line, *before))]
    Line {
        input: String,
        line: u64,
        /// How many lines the inputs before it have.
        before: u64,
        problem: String,
    },
    #[error(
        "{input} has {}, and --skip {skip} skips more than that; is it the same input?",
        output::counted(*lines, "line")
    )]
    TooShort {
        input: String,
        lines: u64,
        skip: u64,
    },
}

/// What is said of a line whose number is another one where the lines of all inputs are counted.
fn of_all(line: u64, before: u64) -> String {
    match before {
        0 => String::new(),
        _ => format!(" ({} of all)", before + line),
    }
}

/// Takes lines out of inputs.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    name: String,
    /// The inputs behind it, with their names.
    behind: VecDeque<(R, String)>,
    /// How many lines the inputs before it had.
    before: u64,
    fields: Fields,
    /// Lines that are not even looked at.
    skip: u64,
    /// The number of the last line read, counted over all inputs.
    number: u64,
    empty: Arc<AtomicU64>,
    /// What ends the input, once what came before it has been returned.
    bad: Option<BadInput>,
}

/// What is next in an input.
enum Next {
    Line(Line),
    /// Nothing, where a JSON object should be.
    Empty,
    End,
}

impl<R: Read> Lines<R> {
    /// All lines behind the first `skip`.
    pub(super) fn new(input: R, name: &str, fields: Fields, skip: u64) -> Self {
        let input = BufReader::with_capacity(CHUNK_BYTES, input);
        Self {
            input,
            name: name.to_owned(),
            behind: VecDeque::new(),
            before: 0,
            fields,
            skip,
            number: 0,
            empty: Arc::default(),
            bad: None,
        }
    }

    /// And then those of this input.
    pub(super) fn and(mut self, input: R, name: &str) -> Self {
        self.behind.push_back((input, name.to_owned()));
        self
    }

    /// Goes on with the next input, if there is one. Lines of two are two lines, whether the first
    /// ends with a newline or not.
    fn go_on(&mut self) -> bool {
        let Some((input, name)) = self.behind.pop_front() else {
            return false;
        };
        self.input = BufReader::with_capacity(CHUNK_BYTES, input);
        self.name = name;
        self.before = self.number;
        true
    }

    /// What is wrong with this line, counted over all inputs.
    fn bad_line(&self, number: u64, problem: String) -> BadInput {
        BadInput::Line {
            input: self.name.clone(),
            line: number - self.before,
            before: self.before,
            problem,
        }
    }

    /// How many lines were empty and no records, as far as it was read.
    pub(super) fn empty_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.empty)
    }

    /// The next lines; none at the end. Waits for input only while it has no line to return.
    ///
    /// # Errors
    ///
    /// At the first bad line, when all that came before it has been returned. There is nothing
    /// behind it.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Line>>, BadInput> {
        self.pass_over_skipped()?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while self.bad.is_none() && lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            // What is whole does not wait for the end of what is not.
            if !lines.is_empty() && !self.input.buffer().contains(&b'\n') {
                break;
            }
            match self.read_line() {
                Ok(Next::Line(line)) => {
                    bytes += line.value.len();
                    lines.push(line);
                }
                Ok(Next::Empty) => {
                    self.empty.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Next::End) if self.go_on() => {}
                Ok(Next::End) => break,
                Err(problem) => self.bad = Some(self.bad_line(self.number, problem)),
            }
        }
        if lines.is_empty() {
            self.bad.take().map_or(Ok(None), Err)
        } else {
            Ok(Some(lines))
        }
    }

    fn pass_over_skipped(&mut self) -> Result<(), BadInput> {
        while self.number < self.skip {
            let passed = self.input.skip_until(b'\n');
            let passed =
                passed.map_err(|error| self.bad_line(self.number + 1, cannot_read_on(&error)))?;
            if passed == 0 {
                if self.go_on() {
                    continue;
                }
                let input = match self.before {
                    0 => self.name.clone(),
                    _ => "the input".to_owned(),
                };
                return Err(BadInput::TooShort {
                    input,
                    lines: self.number,
                    skip: self.skip,
                });
            }
            self.number += 1;
        }
        Ok(())
    }

    fn read_line(&mut self) -> Result<Next, String> {
        self.number += 1;
        let mut value = Vec::new();
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES + 1);
        let read = limited
            .read_until(b'\n', &mut value)
            .map_err(|error| cannot_read_on(&error))?;
        let bytes = read as u64;
        match bytes {
            0 => {
                self.number -= 1;
                return Ok(Next::End);
            }
            len if len > MAX_LINE_BYTES => {
                return Err(format!("it is longer than {MAX_LINE_BYTES} bytes"));
            }
            _ => {}
        }
        if value.last() == Some(&b'\n') {
            value.pop();
        }
        if !self.fields.is_empty() {
            if value.starts_with(BYTE_ORDER_MARK) {
                value.drain(..BYTE_ORDER_MARK.len());
            }
            if value.trim_ascii().is_empty() {
                return Ok(Next::Empty);
            }
        }
        let extracted = self.fields.extract(&value)?;
        Ok(Next::Line(Line {
            number: self.number,
            bytes,
            value,
            extracted,
        }))
    }
}

fn cannot_read_on(error: &io::Error) -> String {
    format!("cannot read on: {error}")
}
