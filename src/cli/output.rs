//! Prints results: tables and sentences for people, JSON for scripts.

use std::io::{self, Write};

use serde::Serialize;

use super::said::has_colours;
use crate::{env::wait_until_unread, types::steers};

/// Begins and ends bold text on a terminal.
const BOLD: &[u8] = b"\x1b[1m";
const PLAIN: &[u8] = b"\x1b[0m";

/// Prints one line.
pub(super) fn line(text: impl std::fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Prints a value as JSON on one line.
pub(super) fn json(value: &impl Serialize) -> io::Result<()> {
    let mut text = serde_json::to_vec(value)?;
    text.push(b'\n');
    io::stdout().write_all(&text)
}

/// Resolves when the reader of standard output has closed it, so that a command that waits for
/// something to print can end.
pub(super) async fn unread() -> io::Error {
    let waiting = tokio::task::spawn_blocking(|| wait_until_unread(io::stdout()));
    match waiting.await {
        Ok(Ok(())) => io::ErrorKind::BrokenPipe.into(),
        // If this cannot be found out, the next write fails.
        _ => std::future::pending().await,
    }
}

/// Prints rows under headings, each column as wide as its widest cell; numbers are aligned to the
/// right.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([headings[column].len()]).max().unwrap_or(0)
    };
    let numeric =
        |column: usize| !rows.is_empty() && rows.iter().all(|row| is_number(&row[column]));
    let columns: [(usize, bool); N] =
        std::array::from_fn(|column| (width(column), numeric(column)));

    let mut out = Vec::new();
    let is_coloured = has_colours(&io::stdout());
    if is_coloured {
        out.extend_from_slice(BOLD);
    }
    write_row(&mut out, &headings, &columns)?;
    if is_coloured {
        out.extend_from_slice(PLAIN);
    }
    for row in rows {
        write_row(&mut out, &row.each_ref().map(String::as_str), &columns)?;
    }
    io::stdout().write_all(&out)
}

fn write_row(out: &mut Vec<u8>, cells: &[&str], columns: &[(usize, bool)]) -> io::Result<()> {
    let padded = cells
        .iter()
        .zip(columns)
        .map(|(cell, &(width, numeric))| match numeric {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
    let row: Vec<String> = padded.collect();
    writeln!(out, "{}", row.join("  ").trim_end())
}

/// Text from a client or the broker, with characters escaped that control a terminal.
pub(super) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for letter in text.chars() {
        match steers(letter) {
            true => printable.extend(letter.escape_default()),
            false => printable.push(letter),
        }
    }
    printable
}

fn is_number(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

/// A number with commas: `53,402`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).expect("digits are ASCII"))
        .collect();
    groups.join(",")
}

/// A number with a noun: `1 partition`, `53,402 records`.
pub(super) fn counted(number: u64, thing: &str) -> String {
    format!(
        "{} {thing}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// A number of bytes with a unit: `6.3 MB`.
pub(super) fn bytes(number: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are printed")]
    let mut value = number as f64;
    let mut unit = "B";
    for larger in ["kB", "MB", "GB", "TB"] {
        if value < 1000.0 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "B" {
        format!("{number} B")
    } else {
        format!("{value:.1} {unit}")
    }
}
