//! The file `ring`: notes about what each journal file is used for.
//!
//! A note is durable before any entry is written to the journal file that it is about. If the file
//! `ring` is missing, it is made; a directory without it works, but then only the journal files
//! themselves say what they are used for.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::found::Found;
use crate::{
    env::{Env, File, Open},
    storage::{
        files::{Action, FileError, read_file, replace_file},
        format::{entry::BLOCK_BYTES, ring::Use},
    },
};

/// The note about a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// There is no note, or it is damaged.
    Unknown,
    Used(Use),
}

/// The file `ring`, open for writing notes.
pub(super) struct Slots {
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    /// How many journal files it has room for.
    count: u32,
}

/// The path of the notes of the journal in `dir`.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("ring")
}

/// The notes of the journal in `dir`, that of `1.journal` first; empty if there is no file.
pub(super) fn read(env: &Env, dir: &Path) -> Result<Vec<Slot>, FileError> {
    let bytes = read_file(&*env.files, &path(dir))?.unwrap_or_default();
    Ok(blocks(&bytes).map(decode).collect())
}

/// The note about `FILE.journal`, where FILE is `file`; `Unknown` if there is none.
pub(super) fn of(slots: &[Slot], file: u32) -> Slot {
    let at = usize::try_from(file).ok().and_then(|at| at.checked_sub(1));
    at.and_then(|at| slots.get(at))
        .copied()
        .unwrap_or(Slot::Unknown)
}

fn blocks(bytes: &[u8]) -> std::slice::ChunksExact<'_, u8> {
    bytes.chunks_exact(BLOCK_BYTES as usize)
}

fn decode(block: &[u8]) -> Slot {
    Use::decode(block).map_or(Slot::Unknown, Slot::Used)
}

impl Slot {
    /// The number of the file, if the note says that it is in use.
    pub(super) fn number(self) -> Option<u64> {
        match self {
            Self::Used(used) if used != Use::FREE => Some(used.header.number),
            Self::Used(_) | Self::Unknown => None,
        }
    }
}

impl Slots {
    /// Opens the notes in `dir`, with room for `count` journal files. `notes` are the existing
    /// ones; where one is missing or damaged, `found` says what to write. A full disk is not an
    /// error.
    ///
    /// Call it only after the start found nothing that stops it: later starts believe what is
    /// written here.
    pub(super) fn open(
        env: &Env,
        dir: &Path,
        files: u32,
        notes: &[Slot],
        found: &[Found],
    ) -> Result<Self, FileError> {
        let path = path(dir);
        let there = u32::try_from(notes.len()).unwrap_or(u32::MAX);
        let mut count = there;
        if there < files || notes.contains(&Slot::Unknown) {
            let all = there.max(files);
            match write_notes(env, &path, all, notes, found) {
                Ok(()) => count = all,
                Err(error) if error.is_disk_full() => {
                    tracing::warn!(path = %path.display(), %error, "no second copy of the headers of journal files");
                }
                Err(error) => return Err(error),
            }
        }
        let file = if count > 0 {
            let opened = env.files.open(&path, Open::Write);
            Some(opened.map_err(FileError::when(Action::Open, &path))?)
        } else {
            None
        };
        Ok(Self { path, file, count })
    }

    /// How many journal files it has room for.
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Notes what the journal file with this number in its name is used for, durably.
    pub(super) fn put(&self, file: u32, used: Use) -> Result<(), FileError> {
        let Some(notes) = self
            .file
            .as_ref()
            .filter(|_| (1..=self.count).contains(&file))
        else {
            return Ok(());
        };
        let mut block = used.encode();
        block.resize(BLOCK_BYTES as usize, 0);
        notes
            .write_all_at(&[&block], u64::from(file - 1) * BLOCK_BYTES)
            .map_err(FileError::when(Action::Write, &self.path))?;
        notes
            .sync_data()
            .map_err(FileError::when(Action::Sync, &self.path))
    }
}

/// Writes the notes for `count` files anew; where there was none, from what was found.
fn write_notes(
    env: &Env,
    path: &Path,
    count: u32,
    notes: &[Slot],
    found: &[Found],
) -> Result<(), FileError> {
    let mut bytes = Vec::new();
    for slot in 1..=count {
        let used = match (of(notes, slot), found.iter().find(|file| file.slot == slot)) {
            (Slot::Used(used), _) => used,
            (Slot::Unknown, None) => Use::FREE,
            (Slot::Unknown, Some(file)) => {
                // The note must not survive a power cut that takes away what it says.
                let handle = env
                    .files
                    .open(&file.path, Open::Write)
                    .map_err(FileError::when(Action::Open, &file.path))?;
                handle
                    .sync_data()
                    .map_err(FileError::when(Action::Sync, &file.path))?;
                file.to_note()
            }
        };
        bytes.extend(used.encode());
        bytes.resize(slot as usize * BLOCK_BYTES as usize, 0);
    }
    replace_file(&*env.files, path, &bytes)
}
