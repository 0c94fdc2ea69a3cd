//! The file `ring`: what each journal file is used for, as far as it was noted.
//!
//! A note is durable before an entry goes to the file that it is about. The file `ring` is made when
//! it is missing, and a directory without it works: then journal files are known by themselves only.

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

/// What is noted of a journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing can be said: there is no note, or it is damaged.
    Unknown,
    /// The file was never used.
    Unused,
    Used(Use),
}

/// The file `ring`, open to take notes.
pub(super) struct Slots {
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    /// How many journal files it has room for.
    count: u32,
}

/// Where the notes of the journal in `dir` are.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("ring")
}

/// The notes of the journal in `dir`, that of `1.journal` first; none without a file.
pub(super) fn read(env: &Env, dir: &Path) -> Result<Vec<Slot>, FileError> {
    let bytes = read_file(&*env.files, &path(dir))?.unwrap_or_default();
    Ok(blocks(&bytes).map(decode).collect())
}

/// The note of the journal file with this number in its name.
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
    match Use::decode(block) {
        Some(used) => Slot::Used(used),
        None if block.iter().all(|byte| *byte == 0) => Slot::Unused,
        None => Slot::Unknown,
    }
}

impl Slots {
    /// Opens the notes in `dir`, with room for so many journal files. Of files that had no room
    /// yet, `found` says what to note. A full disk is no reason to fail.
    pub(super) fn open(
        env: &Env,
        dir: &Path,
        files: u32,
        found: &[Found],
    ) -> Result<Self, FileError> {
        let path = path(dir);
        let there = read_file(&*env.files, &path)?.unwrap_or_default();
        let mut count = u32::try_from(blocks(&there).len()).unwrap_or(u32::MAX);
        if count < files {
            match grow(env, &path, &there, count..files, found) {
                Ok(()) => count = files,
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

/// Makes room for the notes on more files.
fn grow(
    env: &Env,
    path: &Path,
    there: &[u8],
    new: std::ops::Range<u32>,
    found: &[Found],
) -> Result<(), FileError> {
    let block = BLOCK_BYTES as usize;
    let mut bytes = there[..new.start as usize * block].to_vec();
    bytes.resize(new.end as usize * block, 0);
    for file in found {
        let Some((used, at)) = file.to_note().zip(file.slot.checked_sub(1)) else {
            continue;
        };
        if !new.contains(&at) {
            continue;
        }
        // The note must not outlive what it is about.
        let handle = env
            .files
            .open(&file.path, Open::Write)
            .map_err(FileError::when(Action::Open, &file.path))?;
        handle
            .sync_data()
            .map_err(FileError::when(Action::Sync, &file.path))?;
        let encoded = used.encode();
        bytes[at as usize * block..][..encoded.len()].copy_from_slice(&encoded);
    }
    replace_file(&*env.files, path, &bytes)
}
