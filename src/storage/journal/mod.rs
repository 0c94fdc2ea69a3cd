//! The journal: the only thing that is synced before appends are acknowledged.
//!
//! It is a ring of preallocated files. A *write* is one or more entries, padded to whole blocks and
//! synced once; it never spans two files. When a file is full, the next one is taken: one that a
//! checkpoint has released, or a new one as long as there are fewer than the most allowed. If there
//! is neither, the write fails with [`Error::Full`], and if a file cannot be opened for the moment,
//! with [`Error::Hindered`]; in both cases nothing was written.
//!
//! Invariants:
//! - Entries are numbered without gaps, and each carries the checksum of the one before it.
//! - A block that holds an entry is not written again before a checkpoint has released its file.
//! - After a failed write or sync the journal is not used again (the caller sees to that).
//!
//! Reading order: this page; `ring.rs`, which file is used for what; `slots.rs`, the notes about
//! that, which are stored apart from the files; `found.rs`, how a start finds the state of each
//! file; `replay.rs`, how a start reads the entries; `kept.rs`, entries that stay for restores;
//! `gathered.rs`, the entries of one write.

mod found;
mod gathered;
mod kept;
mod new_file;
mod replay;
mod ring;
mod slots;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub(crate) use found::{Covered, Fault, Found, State, look};
pub(crate) use kept::{Entries, KEPT, Kept, KeptFile, is_beginning, parse as parse_kept};
pub(crate) use replay::{FirstOffsets, Lost, Replay};
pub(crate) use ring::Ring;

use super::{
    files::{Action, FileError},
    format::entry::{self, BLOCK_BYTES, Item, Link},
};
use crate::env::Env;
use gathered::Gathered;

/// How many bytes are copied until they are handed to the disk. Measured near the disk's limit, 1
/// MiB reaches 80 % of the throughput of 8 MiB.
const CHUNK_BYTES: usize = 2 << 20;

/// How large the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The size of each file in bytes: a multiple of 4,096. The largest entry is one block smaller.
    pub(crate) file_bytes: u64,
    /// Most files; at least 2.
    pub(crate) files: u32,
}

/// Why a write was not made durable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Every file holds entries that no checkpoint covers. Nothing was written.
    #[error("the journal is full, and no checkpoint has released a file")]
    Full,
    /// The next file cannot be opened or made at the moment; what is stored is intact. Nothing was
    /// written.
    #[error("the journal cannot go on in its next file: {0}")]
    Hindered(FileError),
    /// The disk failed. The entries may have been written or not.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "journal file {} {fault}, and may hold what was acknowledged; put it back as it was, or, to go on without \
         what it held, move it, {} and the checkpoint with its copy out of the way",
        path.display(),
        ring.display()
    )]
    Unusable {
        path: PathBuf,
        fault: Fault,
        ring: PathBuf,
    },
    #[error(
        "the journal file with the number {number} is missing in {}, and may hold what was acknowledged; put it \
         back, or, to go on without what it held, move {} and the checkpoint with its copy out of the way",
        dir.display(),
        ring.display()
    )]
    Missing {
        number: u64,
        dir: PathBuf,
        ring: PathBuf,
    },
    #[error(transparent)]
    File(#[from] FileError),
}

/// The writing end of the journal.
pub(crate) struct Journal {
    ring: Arc<Ring>,
    gathered: Gathered,
    current: Option<Current>,
    options: Options,
    sequence: u64,
    durable: u64,
    previous: u32,
}

/// The file that entries go to.
struct Current {
    file: ring::RingFile,
    position: u64,
}

/// When a write began, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// By the environment's clock.
    pub(crate) begun: Duration,
    pub(crate) write: Duration,
    /// How long the sync took, if there was one.
    pub(crate) sync: Option<Duration>,
}

/// Where the chain of entries ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    /// The last entry's sequence; 0 before the first.
    pub(crate) sequence: u64,
    /// The last entry's checksum.
    pub(crate) checksum: u32,
}

impl Journal {
    /// A journal that continues behind `tip`, in a new file.
    pub(crate) fn new(ring: Arc<Ring>, options: Options, tip: Tip) -> Self {
        ring.give_up(tip.sequence + 1);
        Self {
            ring,
            gathered: Gathered::new(),
            current: None,
            options,
            sequence: tip.sequence,
            durable: tip.sequence,
            previous: tip.checksum,
        }
    }

    /// The sequence of the last entry written.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Writes one entry for each list of items, and syncs them if `sync` is set. A single entry
    /// always fits; several should fit [`Options::capacity`] together.
    pub(crate) fn write(
        &mut self,
        group: &mut [&mut [Item]],
        sync: bool,
    ) -> Result<Written, Error> {
        let begun = self.ring.now();
        let (in_place, total) = self.options.len_of(group);
        let mut current = self.room_for(total)?;
        for items in group {
            let link = Link {
                salt: current.file.header.salt,
                sequence: self.sequence + 1,
                durable: self.durable,
                previous: self.previous,
            };
            let filled = match in_place {
                true => entry::encode_in_place(link, items),
                false => None,
            };
            self.previous = match filled {
                Some((entry, checksum)) => {
                    self.gathered.put_in_place(entry);
                    checksum
                }
                None => self.put_entry(&mut current, link, items)?,
            };
            self.sequence += 1;
        }
        self.gathered.write(&mut current)?;
        let ended = self.ring.now();
        let mut written = Written {
            begun,
            write: ended.saturating_sub(begun),
            sync: None,
        };
        if sync {
            current
                .file
                .handle
                .sync_data()
                .map_err(FileError::when(Action::Sync, &current.file.path))?;
            self.durable = self.sequence;
            written.sync = Some(self.ring.now().saturating_sub(ended));
        }
        self.ring.note_end(current.position);
        self.current = Some(current);
        Ok(written)
    }

    /// Syncs what was written without a sync.
    pub(crate) fn sync(&mut self) -> Result<(), FileError> {
        if let Some(current) = &self.current
            && self.durable < self.sequence
        {
            current
                .file
                .handle
                .sync_data()
                .map_err(FileError::when(Action::Sync, &current.file.path))?;
            self.durable = self.sequence;
        }
        Ok(())
    }

    /// Stops using the current file: further entries go to another, so that a checkpoint of all
    /// entries so far releases this one.
    pub(crate) fn leave_file(&mut self) -> Result<(), FileError> {
        self.sync()?;
        self.current = None;
        self.ring.give_up(self.sequence + 1);
        Ok(())
    }

    /// The current file if it has room, else the next one.
    fn room_for(&mut self, bytes: u64) -> Result<Current, Error> {
        assert!(
            bytes <= self.options.capacity(),
            "the caller keeps entries below the journal's capacity"
        );
        match self.current.take() {
            Some(current) if current.position + bytes <= self.options.file_bytes => Ok(current),
            full => {
                // Unless it is synced, its entries could be lost while those of the next file
                // survive.
                if let Some(full) = &full
                    && self.durable < self.sequence
                {
                    full.file
                        .handle
                        .sync_data()
                        .map_err(FileError::when(Action::Sync, &full.file.path))?;
                    self.durable = self.sequence;
                }
                Ok(Current {
                    file: self.ring.take_next(self.sequence + 1)?,
                    position: BLOCK_BYTES,
                })
            }
        }
    }

    /// Gathers an entry to be written; returns its checksum.
    fn put_entry(
        &mut self,
        current: &mut Current,
        link: Link,
        items: &[Item],
    ) -> Result<u32, FileError> {
        let encoded = entry::encode(link, items);
        self.gathered.put(current, &encoded.head)?;
        for body in &encoded.bodies {
            self.gathered.put(current, body)?;
        }
        Ok(encoded.checksum)
    }
}

impl Options {
    /// The size of all files together, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.file_bytes * u64::from(self.files)
    }

    /// Whether large entries can be written from where they are, and how many bytes a write then
    /// takes. Each of them begins with a block, for which there must be room.
    fn len_of(self, group: &[&mut [Item]]) -> (bool, u64) {
        let (mut apart, mut together) = (0_u64, 0);
        for items in group {
            let len = entry::encoded_len(items) as u64;
            together += len;
            match entry::len_in_place(items) {
                Some(blocks) => apart = apart.next_multiple_of(BLOCK_BYTES) + blocks,
                None => apart += len,
            }
        }
        let apart = apart.next_multiple_of(BLOCK_BYTES);
        match apart <= self.capacity() {
            true => (true, apart),
            false => (false, together.next_multiple_of(BLOCK_BYTES)),
        }
    }

    /// The most bytes that one write can take.
    pub(crate) fn capacity(&self) -> u64 {
        self.file_bytes - BLOCK_BYTES
    }
}

/// Opens the journal: what a start must replay, and the end to write to. `covered` is `None`
/// without a whole checkpoint.
pub(crate) fn open(
    env: &Env,
    dir: &Path,
    options: Options,
    covered: Option<Covered>,
) -> Result<Arc<Ring>, OpenError> {
    Ring::open(env, dir, options, covered).map(Arc::new)
}
