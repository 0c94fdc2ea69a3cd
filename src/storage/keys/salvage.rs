//! Writing a damaged table of last versions anew, without what cannot be read.
//!
//! What it had in pages of rows that are damaged is lost already: every look-up that might need it
//! says so. In the new table a page that nobody can read stands for them, so that look-ups go on
//! saying so, and the bytes are gone. Where only a name is damaged, hash and version stay.

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

/// A part of a damaged file: its last versions in order, or none if it cannot be read.
pub(super) type Part = Option<Vec<LastVersion>>;

/// A page that cannot be read stands for one or more others, and the one before it is filled up: so
/// many rows take the place of at least one page of rows.
const LOST_ROWS: u64 = 2 * ROWS_PER_PAGE;

/// Writes the last versions of `old` that can be read to a table of the same name, as `edit` has
/// them: it leaves their hashes and versions as they are. When this returns, the new table is
/// durable.
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
        // The filter is to be as large as that of the old table.
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

/// How many rows there are at most when some of so many parts are lost.
pub(super) fn rows_with_lost(rows: u64, parts: u64) -> u64 {
    rows.saturating_add(parts.saturating_mul(LOST_ROWS))
}

/// A page of a damaged file's filter; none if it is damaged too.
pub(super) fn known_page(page: Result<PageRef<'_>, Unread>) -> Result<Option<Page>, FileError> {
    Ok(Unread::unless_damaged(page)?.map(|page| *page))
}

/// Writes the parts of a damaged file that can be read. `known` gives the pages of its filter, as
/// [`TableWriter::push_lost`] wants them.
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
