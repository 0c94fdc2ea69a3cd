//! Retired files: facts that outlive the records they are of. Nothing else knows them, so damage is
//! reported by every look-up that might have needed what is damaged.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

pub(crate) use super::retired_writer::{Content, RetiredWriter};
use super::{
    Damaged, Unread, Unusable,
    hash::KeyHash,
    merge::Error,
    new_file::NEW,
    paged::{PageRef, Paged},
};
pub(crate) use crate::storage::format::retired::{Identity, Retired};
use crate::{
    env::FileSystem,
    storage::{
        files::{Action, FileError},
        format::{
            filter::{self, BLOCK_BYTES},
            page::PAGE_BYTES,
            retired::{BLOCK_HEAD_BYTES, FenceRow, Header, block_len, open_block},
        },
        log,
        read_only::ReadOnly,
    },
    types::Version,
};

const EXTENSION: &str = "retired";

/// An immutable file of facts, open for reading.
pub(crate) struct RetiredFile {
    header: Header,
    file: Paged,
}

impl RetiredFile {
    /// Writes a file of these facts, which come in order; when this returns, it is durable.
    pub(crate) fn write<'f>(
        files: &dyn FileSystem,
        dir: &Path,
        content: &Content,
        facts: impl IntoIterator<Item = &'f Retired>,
    ) -> Result<Self, FileError> {
        let mut writer = RetiredWriter::create(files, dir, content)?;
        facts.into_iter().try_for_each(|fact| writer.push(fact))?;
        writer.finish()
    }

    /// Opens the file at `path` of this partition, written with the hasher of this fingerprint.
    /// Looks at its header only.
    pub(crate) fn open(
        files: &dyn FileSystem,
        path: &Path,
        identity: log::Identity,
        fingerprint: u64,
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
        let is_named = number_of_file(&path) == Some(header.number);
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
        Ok(Self::new(path, content, header))
    }

    pub(super) fn new(path: PathBuf, content: ReadOnly, header: Header) -> Self {
        let pages = content.len() / PAGE_BYTES as u64;
        Self {
            header,
            file: Paged::new(path, content, header.salt(), pages),
        }
    }

    /// The number of the file.
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }

    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether its filter is in memory, mostly: it may be asked while a lock is held.
    pub(crate) fn is_mapped(&self) -> bool {
        self.file.is_mapped()
    }

    /// How many facts it has.
    pub(crate) fn len(&self) -> u64 {
        self.header.facts
    }

    /// How many blocks of facts it has.
    pub(super) fn blocks(&self) -> u64 {
        self.header.blocks
    }

    /// How many blocks its filter has.
    pub(super) fn filter_blocks(&self) -> u64 {
        self.header.filter_blocks
    }

    /// A page of the filter.
    pub(super) fn filter_page(&self, number: u64) -> Result<PageRef<'_>, Unread> {
        self.file.kept_page(number)
    }

    /// How many bytes the file has.
    pub(crate) fn bytes(&self) -> u64 {
        self.header.file_bytes()
    }

    /// Whether there may be facts of a hash. Of a hundred that are not there, fewer than one may
    /// be.
    pub(crate) fn may_have(&self, hash: KeyHash) -> Result<bool, Unread> {
        let (number, at) = self.header.filter_place(hash);
        let page = self.filter_page(number)?;
        let block = page[at..]
            .first_chunk::<BLOCK_BYTES>()
            .expect("blocks lie within a page");
        Ok(filter::may_have(block, hash.0))
    }

    /// The facts of a hash with this version or a later one, in order. Ends at damage.
    pub(crate) fn facts(
        &self,
        hash: KeyHash,
        from: Version,
    ) -> Result<impl Iterator<Item = Result<Retired, Unread>>, Unread> {
        let next_block = if self.may_have(hash)? {
            self.first_block(hash, from)?
        } else {
            self.header.blocks
        };
        let facts = Scan {
            file: self,
            next_block,
            position: 0,
            rest: Bytes::new(),
        };
        // Damage is let through wherever it is met.
        Ok(facts
            .skip_while(move |fact| fact.as_ref().is_ok_and(|fact| fact.order() < (hash, from)))
            .take_while(move |fact| fact.as_ref().map_or(true, |fact| fact.hash == hash)))
    }

    /// All facts in order. Ends at damage.
    pub(crate) fn scan(&self) -> Scan<'_> {
        Scan {
            file: self,
            next_block: 0,
            position: 0,
            rest: Bytes::new(),
        }
    }

    /// The block in which the facts from this place on begin: the last whose first fact lies before
    /// it.
    fn first_block(&self, hash: KeyHash, from: Version) -> Result<u64, Unread> {
        let (mut low, mut high) = (0, self.header.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            let first = self.fence(middle)?;
            if (first.hash, first.version) < (hash, from) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low.saturating_sub(1))
    }

    pub(super) fn fence(&self, block: u64) -> Result<FenceRow, Unread> {
        let (page, at) = self.header.fence_place(block);
        Ok(FenceRow::at(&*self.file.kept_page(page)?, at))
    }

    /// The position of a block and its facts, checked.
    pub(super) fn block(&self, number: u64) -> Result<(u64, Bytes), Unread> {
        let position = self.fence(number)?.position;
        let damaged = || Unread::from(self.file.damaged_at(position));
        let within = self.header.fence_at.checked_sub(position);
        let most = within.ok_or_else(damaged)?;
        let head = self.file.read(position, BLOCK_HEAD_BYTES as u64)?;
        let len = block_len(&head).filter(|len| *len <= most);
        let block = self.file.read(position, len.ok_or_else(damaged)?)?;
        let facts = open_block(&block, self.file.salt(), position);
        Ok((position, facts.ok_or_else(damaged)?))
    }
}

/// The facts of a file in order.
pub(crate) struct Scan<'a> {
    file: &'a RetiredFile,
    next_block: u64,
    /// Of the block that is being read.
    position: u64,
    /// What is left of it.
    rest: Bytes,
}

impl Iterator for Scan<'_> {
    type Item = Result<Retired, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            if self.next_block >= self.file.header.blocks {
                return None;
            }
            match self.file.block(self.next_block) {
                Ok((position, facts)) => (self.position, self.rest) = (position, facts),
                Err(unread) => return Some(Err(self.end(unread))),
            }
            self.next_block += 1;
        }
        let fact = Retired::take(&mut self.rest);
        Some(fact.ok_or_else(|| self.end(self.damaged().into())))
    }
}

impl Scan<'_> {
    /// What to report of facts that are not as they were written.
    fn damaged(&self) -> Damaged {
        self.file
            .file
            .damaged_at(self.position + BLOCK_HEAD_BYTES as u64)
    }

    fn end(&mut self, unread: Unread) -> Unread {
        (self.next_block, self.rest) = (self.file.header.blocks, Bytes::new());
        unread
    }
}

/// Merges files into one in `dir`. Of the facts about one entity the highest version is kept; an
/// entity and an erased token are never taken for the same. When this returns, it is durable, and
/// the merged files can be removed.
///
/// `edit` says what becomes of each fact: nothing, itself, or, for an entity that has been erased,
/// its token. It leaves hash and version as they are.
pub(crate) fn merge(
    files: &dyn FileSystem,
    dir: &Path,
    content: &Content,
    merged: &[Arc<RetiredFile>],
    mut edit: impl FnMut(Retired) -> Option<Retired>,
) -> Result<RetiredFile, Error> {
    let mut writer = RetiredWriter::create(files, dir, content)?;
    let mut same_hash: Vec<Retired> = Vec::new();
    let mut last = None;
    for fact in Merged::new(merged)? {
        let Some(fact) = edit(fact?) else { continue };
        // A crash before merged files were removed leaves facts in two files.
        if last.as_ref() == Some(&fact) {
            continue;
        }
        last = Some(fact.clone());
        if same_hash
            .first()
            .is_some_and(|first| first.hash != fact.hash)
        {
            push_latest(&mut writer, &mut same_hash)?;
        }
        // Which fact of an entity is the last is known at the end of the hash. Of a producer, which
        // may have very many facts, all are kept: they wait only if by chance its hash is also an
        // entity's.
        if same_hash.is_empty() && matches!(fact.identity, Identity::Batch { .. }) {
            writer.push(&fact)?;
        } else {
            same_hash.push(fact);
        }
    }
    push_latest(&mut writer, &mut same_hash)?;
    Ok(writer.finish()?)
}

/// Writes facts of one hash, but for those of an entity that a later one is about.
fn push_latest(writer: &mut RetiredWriter<'_>, facts: &mut Vec<Retired>) -> Result<(), FileError> {
    for (at, fact) in facts.iter().enumerate() {
        let is_batch = matches!(fact.identity, Identity::Batch { .. });
        if is_batch
            || facts[at + 1..]
                .iter()
                .all(|later| later.identity != fact.identity)
        {
            writer.push(fact)?;
        }
    }
    facts.clear();
    Ok(())
}

/// The facts of some files in the order of one. Ends at damage.
struct Merged<'a> {
    scans: Vec<Scan<'a>>,
    /// The next fact of each scan.
    heads: Vec<Option<Retired>>,
    /// The order of the heads, with their scans' numbers.
    order: BinaryHeap<Reverse<((KeyHash, Version), usize)>>,
}

impl<'a> Merged<'a> {
    fn new(files: &'a [Arc<RetiredFile>]) -> Result<Self, Unread> {
        let mut scans: Vec<Scan<'_>> = files.iter().map(|file| file.scan()).collect();
        let heads = scans
            .iter_mut()
            .map(|scan| scan.next().transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let order = heads
            .iter()
            .enumerate()
            .filter_map(|(at, head)| Some(Reverse((head.as_ref()?.order(), at))));
        Ok(Self {
            order: order.collect(),
            scans,
            heads,
        })
    }
}

impl Iterator for Merged<'_> {
    type Item = Result<Retired, Unread>;

    fn next(&mut self) -> Option<Self::Item> {
        let Reverse((order, number)) = self.order.pop()?;
        let scan = &mut self.scans[number];
        let next = match scan.next().transpose() {
            Ok(Some(next)) if next.order() < order => Err(scan.damaged().into()),
            next => next,
        };
        match next {
            Ok(next) => {
                self.order
                    .extend(next.as_ref().map(|next| Reverse((next.order(), number))));
                std::mem::replace(&mut self.heads[number], next).map(Ok)
            }
            Err(unread) => {
                self.order.clear();
                Some(Err(unread))
            }
        }
    }
}

/// The retired files in a directory.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// With their numbers, in order.
    pub(crate) files: Vec<(u64, PathBuf)>,
    /// Files that were not finished, to be removed: what they were made from is still there.
    pub(crate) unfinished: Vec<PathBuf>,
}

/// Looks for retired files. What is found is durable when this returns: a file may have got its
/// name in the moment the process before was killed, and others are removed because of it.
pub(crate) fn list(files: &dyn FileSystem, dir: &Path) -> Result<Found, FileError> {
    let mut found = Found::default();
    if !files
        .exists(dir)
        .map_err(FileError::when(Action::LookFor, dir))?
    {
        return Ok(found);
    }
    for entry in files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?
    {
        let path = dir.join(entry.name);
        if let Some(number) = number_of(&path, EXTENSION) {
            found.files.push((number, path));
        } else if number_of(&path, NEW).is_some() {
            found.unfinished.push(path);
        }
    }
    files
        .sync_dir(dir)
        .map_err(FileError::when(Action::Sync, dir))?;
    found.files.sort_unstable();
    Ok(found)
}

/// The file with this number.
pub(crate) fn retired_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.{EXTENSION}"))
}

/// The number of the file of facts that has this name; none if that is not such a name.
pub(in crate::storage) fn number_of_file(path: &Path) -> Option<u64> {
    number_of(path, EXTENSION)
}

fn number_of(path: &Path, extension: &str) -> Option<u64> {
    let stem = path.file_stem()?.to_str()?;
    let is_number = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && path.extension()? == extension).then(|| stem.parse().ok())?
}
