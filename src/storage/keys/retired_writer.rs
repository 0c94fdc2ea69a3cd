//! Writing a retired file from facts in order.

use std::path::Path;

use super::{
    Unread,
    new_file::{NewFile, PageStream},
    retired::{RetiredFile, retired_path},
};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter::{self, BLOCK_BYTES, BLOCKS_IN_PAGE_BYTES},
            key_run::KeyHash,
            page::PAGE_BYTES,
            retired::{BLOCK_HEAD_BYTES, FenceRow, Header, Retired, seal_block},
        },
        log::Identity,
        read_only::ReadOnly,
    },
    types::Version,
};

/// A block ends when it has reached this size. A look-up reads one block in the mean, and the
/// fence, which is kept in memory while the file is written, has 24 bytes for each: 0.3 % of the
/// file.
const FULL_BLOCK_BYTES: usize = 8 << 10;

/// What a retired file is to hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) identity: Identity,
    /// Of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
    /// No other file of the partition has it, nor ever had.
    pub(crate) number: u64,
    /// About how many facts there will be, or more. The filter is made for them.
    pub(crate) expected_facts: u64,
}

/// A retired file that is being written. Dropped before [`RetiredWriter::finish`], nothing is left
/// of it.
pub(crate) struct RetiredWriter<'a> {
    files: &'a dyn FileSystem,
    out: NewFile<'a>,
    header: Header,
    filter: PageStream,
    block: Vec<u8>,
    block_at: u64,
    fence: Vec<FenceRow>,
    last: Option<(KeyHash, Version)>,
}

impl<'a> RetiredWriter<'a> {
    /// Begins a file in `dir`.
    pub(crate) fn create(
        files: &'a dyn FileSystem,
        dir: &Path,
        content: &Content,
    ) -> Result<Self, FileError> {
        let header = Header {
            topic: content.identity.topic,
            partition: content.identity.partition,
            number: content.number,
            facts: 0,
            filter_blocks: filter::blocks_for(content.expected_facts),
            blocks: 0,
            fence_at: 0,
            fingerprint: content.fingerprint,
        };
        Ok(Self {
            files,
            out: NewFile::create(files, retired_path(dir, content.number))?,
            header,
            filter: PageStream::new(header.salt(), 1),
            block: vec![0; BLOCK_HEAD_BYTES],
            block_at: header.first_block_at(),
            fence: Vec::new(),
            last: None,
        })
    }

    /// Adds a fact, which must not come before the one added last by hash and version.
    pub(crate) fn push(&mut self, fact: &Retired) -> Result<(), FileError> {
        debug_assert!(
            self.last.is_none_or(|last| last <= fact.order()),
            "facts come in order"
        );
        if self.last.is_none_or(|(hash, _)| hash != fact.hash) {
            self.add_to_filter(fact.hash)?;
        }
        if self.block.len() == BLOCK_HEAD_BYTES {
            self.fence.push(FenceRow {
                hash: fact.hash,
                version: fact.version,
                position: self.block_at,
            });
        }
        fact.encode(&mut self.block);
        self.header.facts += 1;
        self.last = Some(fact.order());
        if self.block.len() >= FULL_BLOCK_BYTES {
            self.end_block()
        } else {
            Ok(())
        }
    }

    /// Adds a block that cannot be read, in the place of facts of `old` that are lost: from this
    /// one on, and up to some of the hash `to`. What comes next must not lie before them. The
    /// filter is to be as large as that of `old`, which knows of what hashes the facts were.
    pub(super) fn push_lost(
        &mut self,
        from: (KeyHash, Version),
        to: KeyHash,
        old: &RetiredFile,
    ) -> Result<(), FileError> {
        debug_assert!(
            self.last.is_none_or(|last| last <= from) && from.0 <= to,
            "facts come in order"
        );
        if self.block.len() > BLOCK_HEAD_BYTES {
            self.end_block()?;
        }
        self.fence.push(FenceRow {
            hash: from.0,
            version: from.1,
            position: self.block_at,
        });
        let mut unreadable = [0; BLOCK_HEAD_BYTES];
        seal_block(&mut unreadable, self.header.salt(), self.block_at);
        unreadable[BLOCK_HEAD_BYTES - 1] ^= 0xff;
        self.out.write(&unreadable, self.block_at)?;
        self.block_at += BLOCK_HEAD_BYTES as u64;
        let ((first, begin), (last, end)) = (
            self.header.filter_place(from.0),
            self.header.filter_place(to),
        );
        for number in first..=last {
            self.filter.turn_to(number, &mut self.out)?;
            let begin = if number == first { begin } else { 0 };
            let end = if number == last {
                end + BLOCK_BYTES
            } else {
                BLOCKS_IN_PAGE_BYTES
            };
            let blocks = &mut self.filter.page()[begin..end];
            match old.filter_page(number) {
                Ok(known) => blocks
                    .iter_mut()
                    .zip(&known[begin..end])
                    .for_each(|(byte, known)| *byte |= known),
                Err(Unread::Damaged(_)) => blocks.fill(0xff),
                Err(Unread::Unavailable(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the rest and gives the file its name; when this returns, it is durable.
    pub(crate) fn finish(mut self) -> Result<RetiredFile, FileError> {
        if self.block.len() > BLOCK_HEAD_BYTES {
            self.end_block()?;
        }
        self.filter
            .turn_to(self.header.behind_filter(), &mut self.out)?;
        self.filter.flush(&mut self.out)?;
        self.header.blocks = self.fence.len() as u64;
        self.header.fence_at = self.block_at.next_multiple_of(PAGE_BYTES as u64);
        // The file is to end where the header says, also if there is no fence behind the padding.
        let padding = vec![0; (self.header.fence_at - self.block_at) as usize];
        self.out.write(&padding, self.block_at)?;
        self.write_fence()?;
        self.out.write(&self.header.encode(), 0)?;
        let path = self.out.path().to_owned();
        self.out.finish()?;
        let content = ReadOnly::open(self.files, &path, || {})
            .map_err(FileError::when(Action::Map, &path))?;
        Ok(RetiredFile::new(path, content, self.header))
    }

    fn add_to_filter(&mut self, hash: KeyHash) -> Result<(), FileError> {
        let (page, at) = self.header.filter_place(hash);
        self.filter.turn_to(page, &mut self.out)?;
        let block = self.filter.page()[at..]
            .first_chunk_mut::<BLOCK_BYTES>()
            .expect("blocks lie within a page");
        filter::add(block, hash.0);
        Ok(())
    }

    fn end_block(&mut self) -> Result<(), FileError> {
        seal_block(&mut self.block, self.header.salt(), self.block_at);
        self.out.write(&self.block, self.block_at)?;
        self.block_at += self.block.len() as u64;
        self.block.truncate(BLOCK_HEAD_BYTES);
        Ok(())
    }

    fn write_fence(&mut self) -> Result<(), FileError> {
        let mut pages = PageStream::new(self.header.salt(), self.header.fence_place(0).0);
        for (nth, row) in (0..).zip(&self.fence) {
            let (page, at) = self.header.fence_place(nth);
            pages.turn_to(page, &mut self.out)?;
            row.put(pages.page(), at);
        }
        if !self.fence.is_empty() {
            pages.turn(&mut self.out)?;
        }
        pages.flush(&mut self.out)
    }
}
