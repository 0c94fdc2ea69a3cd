//! Rewrites a damaged table of last versions without the parts that cannot be read.
//!
//! The last versions in damaged pages of rows are lost already, and every look-up that might need
//! them fails. The new table has an unreadable page in their place, so look-ups keep failing, and
//! the damaged bytes are gone. If only a name is damaged, hash and version are kept.

use std::path::Path;

use super::{
    Unread,
    hash::KeyHash,
    paged::PageRef,
    sorted_table::{Content, LastVersion, Name, Row, SortedTable, TableWriter},
};
use crate::{
    env::FileSystem,
    storage::{
        files::FileError,
        format::{filter, page::Page, sorted_table::ROWS_PER_PAGE},
        log::Identity,
    },
    types::Version,
};

/// A part of a damaged file: its last versions in order, or `None` if it cannot be read.
pub(super) type Part = Option<Vec<LastVersion>>;

/// How many rows one unreadable page may cost: it replaces at least one page of rows, and the page
/// before it is filled up.
const LOST_ROWS: u64 = 2 * ROWS_PER_PAGE;

/// Rewrites the table `old` under the same name, with the last versions that can be read. `edit`
/// may replace their names. When this returns, the new table is durable.
pub(crate) fn salvage(
    files: &dyn FileSystem,
    dir: &Path,
    old: &SortedTable,
    edit: impl Fn(LastVersion) -> LastVersion,
) -> Result<SortedTable, FileError> {
    let header = old.header();
    let content = Content {
        kind: header.kind(),
        identity: Identity {
            topic: header.topic,
            partition: header.partition,
        },
        fingerprint: header.fingerprint,
        from: header.from,
        to: header.to,
        expected_rows: rows_with_lost(header.rows, header.row_pages()),
        // So that the filter gets the size of the old table's.
        expected_hashes: filter::hashes_for(header.filter_blocks),
    };
    let mut names = old.names();
    let mut last_version = |row: &Row| match Unread::unless_damaged(names.last_version(row))? {
        Some(last) => Ok(edit(last)),
        None => Ok(LastVersion {
            hash: row.hash,
            version: row.version,
            name: Name::Unreadable,
        }),
    };
    let parts = (0..header.row_pages()).map(|number| {
        match Unread::unless_damaged(old.rows_in_page(number))? {
            None => Ok(None),
            Some(rows) => rows
                .iter()
                .map(&mut last_version)
                .collect::<Result<_, _>>()
                .map(Some),
        }
    });
    let writer = TableWriter::create(files, dir, &content)?;
    write_parts(writer, parts, |page| known_page(old.filter_page(page)))
}

/// The most rows that the new table can have if some of `parts` parts are lost.
pub(super) fn rows_with_lost(rows: u64, parts: u64) -> u64 {
    rows.saturating_add(parts.saturating_mul(LOST_ROWS))
}

/// A page of a damaged file's filter; `None` if this page is damaged too.
pub(super) fn known_page(page: Result<PageRef<'_>, Unread>) -> Result<Option<Page>, FileError> {
    Ok(Unread::unless_damaged(page)?.map(|page| *page))
}

/// Writes the parts of a damaged file that can be read. `known` returns the pages of its filter,
/// see [`TableWriter::push_lost`].
pub(super) fn write_parts(
    mut writer: TableWriter<'_>,
    parts: impl Iterator<Item = Result<Part, FileError>>,
    known: impl Fn(u64) -> Result<Option<Page>, FileError>,
) -> Result<SortedTable, FileError> {
    let mut behind = (KeyHash(0), Version::NONE);
    let mut is_lost = false;
    for part in parts {
        let Some(lasts) = part?.filter(|lasts| are_in_order(lasts, behind)) else {
            is_lost = true;
            continue;
        };
        let Some(first) = lasts.first() else { continue };
        if std::mem::take(&mut is_lost) {
            writer.push_lost(first.hash, &known)?;
        }
        for last in &lasts {
            writer.push_last_version(last)?;
            behind = last.order();
        }
    }
    if is_lost {
        writer.push_lost(KeyHash(u64::MAX), &known)?;
    }
    writer.finish()
}

fn are_in_order(lasts: &[LastVersion], behind: (KeyHash, Version)) -> bool {
    lasts.iter().map(LastVersion::order).is_sorted()
        && lasts.first().is_none_or(|first| first.order() >= behind)
}
