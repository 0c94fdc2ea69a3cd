//! Files of retired facts, which earlier versions wrote in place of tables of last versions. They
//! are read from front to back once, to turn each into a table.

use std::{ops::Range, path::Path};

use super::{
    Unread, Unusable,
    paged::Paged,
    salvage::{Part, known_page, rows_with_lost, write_parts},
    sorted_table::{Content, Kind, LastVersion, Name, SortedTable, TableWriter, parse_number},
};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter,
            page::PAGE_BYTES,
            retired::{self, BLOCK_HEAD_BYTES, FenceRow, Header, Retired},
        },
        log::Identity,
        read_only::ReadOnly,
    },
};

const EXTENSION: &str = "retired";

/// A file of retired facts.
pub(crate) struct Earlier {
    /// The numbers that the table made from this file will cover.
    numbers: Range<u64>,
    header: Header,
    file: Paged,
}

impl Earlier {
    /// Opens the file at `path`, which must be of this partition and written with the hasher of
    /// this fingerprint. The table made from it will cover `numbers`. Reads the header only.
    pub(super) fn open(
        files: &dyn FileSystem,
        path: &Path,
        identity: Identity,
        fingerprint: u64,
        numbers: Range<u64>,
    ) -> Result<Self, Unusable> {
        let content =
            ReadOnly::open(files, path, || {}).map_err(FileError::when(Action::Map, path))?;
        let head = content
            .read(0, PAGE_BYTES as u64)
            .map_err(FileError::when(Action::Read, path))?;
        let path = path.to_owned();
        let Some(header) = Header::decode(&head) else {
            return Err(Unusable::Header { path });
        };
        let is_named = number_of(&path) == Some(header.number);
        if (header.topic, header.partition) != (identity.topic, identity.partition) || !is_named {
            return Err(Unusable::Misplaced { path });
        }
        if header.fingerprint != fingerprint {
            return Err(Unusable::Hasher { path });
        }
        let (found, expected) = (content.len(), header.file_bytes());
        if found != expected {
            return Err(Unusable::Length {
                path,
                found,
                expected,
            });
        }
        Ok(Self {
            numbers,
            file: Paged::new(path, content, header.salt(), header.behind_filter()),
            header,
        })
    }

    /// The numbers that the table made from this file will cover.
    pub(crate) fn numbers(&self) -> Range<u64> {
        self.numbers.clone()
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Writes its last versions to a table beside it. What cannot be read stays lost, as in a
    /// damaged table. When this returns, the table is durable, and the file can be removed.
    pub(crate) fn convert(
        &self,
        files: &dyn FileSystem,
        dir: &Path,
    ) -> Result<SortedTable, FileError> {
        let header = &self.header;
        let content = Content {
            kind: Kind::LastVersions,
            identity: Identity {
                topic: header.topic,
                partition: header.partition,
            },
            fingerprint: header.fingerprint,
            from: self.numbers.start,
            to: self.numbers.end,
            expected_rows: rows_with_lost(header.facts, header.blocks),
            expected_hashes: filter::hashes_for(header.filter_blocks),
        };
        let writer = TableWriter::create(files, dir, &content)?;
        let parts = (0..header.blocks).map(|number| self.part(number));
        write_parts(writer, parts, |page| known_page(self.file.kept_page(page)))
    }

    /// The last versions in a block.
    fn part(&self, number: u64) -> Result<Part, FileError> {
        let Some(mut facts) = Unread::unless_damaged(self.block(number))? else {
            return Ok(None);
        };
        let mut lasts = Vec::new();
        while !facts.is_empty() {
            let Some(fact) = Retired::take(&mut facts) else {
                return Ok(None);
            };
            lasts.extend(last_version_of(fact));
        }
        Ok(Some(lasts))
    }

    /// The facts of a block, checked.
    fn block(&self, number: u64) -> Result<bytes::Bytes, Unread> {
        let (page, at) = self.header.fence_place(number);
        let position = FenceRow::at(&*self.file.page(page)?, at).position;
        let damaged = || Unread::from(self.file.damaged_at(position));
        let most = self.header.fence_at.checked_sub(position);
        let most = most.ok_or_else(damaged)?;
        let head = self.file.read(position, BLOCK_HEAD_BYTES as u64)?;
        let len = retired::block_len(&head).filter(|len| *len <= most);
        let block = self.file.read(position, len.ok_or_else(damaged)?)?;
        retired::open_block(&block, self.file.salt(), position).ok_or_else(damaged)
    }
}

/// The last version that a fact tells; `None` for a producer's batch, which is not kept any more.
fn last_version_of(fact: Retired) -> Option<LastVersion> {
    let name = match fact.identity {
        retired::Identity::Entity { key } => Name::Entity { key },
        retired::Identity::Erased { token } => Name::Erased { token },
        retired::Identity::Unreadable => Name::Unreadable,
        retired::Identity::Batch { .. } => return None,
    };
    Some(LastVersion {
        hash: fact.hash,
        version: fact.version,
        name,
    })
}

/// The number in the name of a file of retired facts; `None` for any other name.
pub(in crate::storage) fn number_of(path: &Path) -> Option<u64> {
    (path.extension()? == EXTENSION).then(|| parse_number(path.file_stem()?.to_str()?))?
}

/// The number in the name of a file that an earlier version did not finish.
pub(super) fn number_of_unfinished(path: &Path) -> Option<u64> {
    parse_number(path.file_stem()?.to_str()?)
}
