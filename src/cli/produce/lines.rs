//! Reads lines from one or more inputs, one after the other.
//!
//! If lines are JSON, a byte order mark and empty lines are skipped; otherwise every line is a
//! record, byte for byte.

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

/// How many lines, and how many bytes, are passed on together: so many that the cost of passing
/// them on does not matter.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 1 << 20;

/// The longest line: as long as the largest record that a topic can allow. A longer line is refused
/// before it fills the memory.
const MAX_LINE_BYTES: u64 = limits::RECORD_BYTES.2;

/// Some programs write this at the start of a file. JSON does not allow it.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line that becomes a record.
#[derive(Debug)]
pub(super) struct Line {
    /// The number of the line, from 1.
    pub(super) number: u64,
    /// The length with the newline.
    pub(super) bytes: u64,
    value: Vec<u8>,
    extracted: Extracted,
}

impl Line {
    /// Whether the line itself has a key.
    pub(super) fn has_key(&self) -> bool {
        self.extracted.key.is_some()
    }

    /// The record. Fields from the flags take precedence over those in the line.
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

/// Why there are no more lines, other than the end of the inputs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadInput {
    /// The line cannot be a record, or the input cannot be read behind it.
    #[error("{input}, line {line}{}: {problem}", of_all(*line, *before))]
    Line {
        input: String,
        line: u64,
        /// How many lines the inputs before this one have.
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

/// The line's number over all inputs, for messages, if it differs from the one in its own input.
fn of_all(line: u64, before: u64) -> String {
    match before {
        0 => String::new(),
        _ => format!(" ({} of all)", before + line),
    }
}

/// Reads lines from inputs.
pub(super) struct Lines<R> {
    input: BufReader<R>,
    name: String,
    /// The inputs after the current one, with their names.
    behind: VecDeque<(R, String)>,
    /// How many lines the inputs before the current one had.
    before: u64,
    fields: Fields,
    /// How many lines are skipped at the beginning.
    skip: u64,
    /// The number of the last line read, over all inputs.
    number: u64,
    empty: Arc<AtomicU64>,
    /// The bad line, which is returned after the lines before it.
    bad: Option<BadInput>,
}

/// What comes next in an input.
enum Next {
    Line(Line),
    /// An empty line, where a JSON object was expected.
    Empty,
    End,
}

impl<R: Read> Lines<R> {
    /// Reads all lines but the first `skip`.
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

    /// Adds an input behind the others.
    pub(super) fn and(mut self, input: R, name: &str) -> Self {
        self.behind.push_back((input, name.to_owned()));
        self
    }

    /// Begins the next input, if there is one. The last line of one and the first line of the next
    /// stay apart, even without a newline.
    fn go_on(&mut self) -> bool {
        let Some((input, name)) = self.behind.pop_front() else {
            return false;
        };
        self.input = BufReader::with_capacity(CHUNK_BYTES, input);
        self.name = name;
        self.before = self.number;
        true
    }

    /// Describes a bad line, with its number over all inputs.
    fn bad_line(&self, number: u64, problem: String) -> BadInput {
        BadInput::Line {
            input: self.name.clone(),
            line: number - self.before,
            before: self.before,
            problem,
        }
    }

    /// How many empty lines were skipped so far.
    pub(super) fn empty_lines(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.empty)
    }

    /// The next lines; `None` at the end. Only waits for input if there is no line to return.
    ///
    /// # Errors
    ///
    /// At the first bad line, after all lines before it were returned. Nothing behind it is read.
    pub(super) fn next(&mut self) -> Result<Option<Vec<Line>>, BadInput> {
        self.pass_over_skipped()?;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while self.bad.is_none() && lines.len() < CHUNK_LINES && bytes < CHUNK_BYTES {
            // Complete lines are returned before waiting for the rest of an incomplete one.
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
