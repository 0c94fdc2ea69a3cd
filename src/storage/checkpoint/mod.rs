//! The checkpoint on disk: a file, and deltas with what has changed since.
//!
//! The file is written anew only when its deltas have grown as long as the file itself, so the cost
//! of a checkpoint depends on what has changed, not on what exists. The file and its deltas are
//! each stored in two copies. The two copies are written one after the other, so a crash leaves at
//! least one of them whole. If both are whole, the copy that covers more entries counts. If neither
//! is, topics are found by their directories, and the logs are scanned.
//!
//! ```text
//! checkpoint, checkpoint.copy              names the number of its deltas
//! checkpoint.N.delta, checkpoint.N.copy    there before the checkpoint that names them is
//! ```
//!
//! So a missing file of deltas is noticed. A file that does not end with a whole delta was being
//! written when the process ended; if its copy does not either, both are damaged. A process only
//! appends deltas to a checkpoint that it has written itself, never to a file that a crash may have
//! torn.

mod fold;

use std::{
    cmp::Reverse,
    path::{Path, PathBuf},
};

use self::fold::Folded;
use super::{
    files::{Action, FileError, read_file, remove_file, replace_file},
    format::{
        checkpoint::Checkpoint,
        delta::{self, Delta},
        identity::Identity,
    },
};
use crate::env::{FileSystem, Open};

/// What a start finds of a checkpoint.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, at a start"
)]
pub(crate) enum Found {
    /// There is none: nothing was ever stored.
    None,
    /// The latest one.
    Whole(Checkpoint),
    /// There was one, but it is gone or cannot be read.
    Damaged,
}

/// The state of one copy of the checkpoint file, without deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Missing,
    Damaged,
    /// The copy is whole and covers journal entries up to this one.
    Whole {
        applied: u64,
    },
}

/// Everything that was found of a checkpoint.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) found: Found,
    pub(crate) copies: [State; 2],
    /// The files that are damaged or missing.
    pub(crate) damaged: Vec<PathBuf>,
    /// The files of deltas that belong to what was found.
    deltas: Vec<PathBuf>,
    /// The highest number that a copy, or the name of a file of deltas, has.
    number: u64,
}

/// Writes checkpoints: whole ones and deltas.
pub(crate) struct Writer {
    path: PathBuf,
    directory: Identity,
    /// Deltas may always grow to this size, in bytes; 0 turns deltas off.
    most_deltas: u64,
    /// The number of the newest file of deltas.
    number: u64,
    /// The size of the current file of deltas. `None` until this process has written a whole
    /// checkpoint, and after an error, when the size is not known.
    grown: Option<Grown>,
}

/// How much the current file of deltas has.
#[derive(Clone, Copy)]
struct Grown {
    deltas: u64,
    bytes: u64,
    /// The length of the checkpoint that the deltas belong to, in bytes.
    checkpoint: u64,
}

impl Writer {
    /// A writer for the checkpoint at `path`. `number` is the highest number of a file of deltas so
    /// far.
    pub(crate) fn new(path: PathBuf, directory: Identity, number: u64, most_deltas: u64) -> Self {
        Self {
            path,
            directory,
            most_deltas,
            number,
            grown: None,
        }
    }

    /// Whether the next checkpoint should be a delta rather than a whole one: a delta may follow,
    /// and those that there are have not grown as long as the checkpoint.
    pub(crate) fn takes_deltas(&self) -> bool {
        let is_short = |grown: Grown| grown.bytes < grown.checkpoint.max(self.most_deltas);
        self.can_add() && self.grown.is_some_and(is_short)
    }

    /// Whether a delta may follow the last checkpoint.
    pub(crate) fn can_add(&self) -> bool {
        self.most_deltas > 0 && self.grown.is_some()
    }

    /// Writes a whole checkpoint, and begins an empty file of deltas.
    pub(crate) fn store(
        &mut self,
        files: &dyn FileSystem,
        checkpoint: &mut Checkpoint,
    ) -> Result<(), FileError> {
        self.grown = None;
        self.number += 1;
        let head = delta::Head {
            number: self.number,
            directory: Some(self.directory),
        };
        let head = head.encode();
        for path in copies(&delta_path(&self.path, self.number)) {
            replace_file(files, &path, &head)?;
        }
        checkpoint.delta_files = self.number;
        let bytes = checkpoint.encode();
        for path in copies(&self.path) {
            replace_file(files, &path, &bytes)?;
        }
        remove_deltas_before(files, &self.path, self.number)?;
        self.grown = Some(Grown {
            deltas: 0,
            bytes: 0,
            checkpoint: bytes.len() as u64,
        });
        Ok(())
    }

    /// Appends a delta to the last checkpoint, which this writer must have written.
    pub(crate) fn add(&mut self, files: &dyn FileSystem, delta: &Delta) -> Result<(), FileError> {
        let mut grown = self
            .grown
            .take()
            .expect("the caller has asked whether deltas may follow");
        let bytes = delta.encode(self.number, grown.deltas);
        for path in copies(&delta_path(&self.path, self.number)) {
            let file = files
                .open(&path, Open::Write)
                .map_err(FileError::when(Action::Open, &path))?;
            file.write_all_at(&[&bytes], delta::Head::BYTES as u64 + grown.bytes)
                .map_err(FileError::when(Action::Write, &path))?;
            file.sync_data()
                .map_err(FileError::when(Action::Sync, &path))?;
        }
        grown.deltas += 1;
        grown.bytes += bytes.len() as u64;
        self.grown = Some(grown);
        Ok(())
    }
}

/// The files of a data directory whose first checkpoint this is, with their names.
pub(crate) fn first_files(
    mut checkpoint: Checkpoint,
    directory: Identity,
) -> Vec<(String, Vec<u8>)> {
    let head = delta::Head {
        number: 1,
        directory: Some(directory),
    };
    checkpoint.delta_files = head.number;
    let name = Path::new("checkpoint");
    let (whole, deltas) = (checkpoint.encode(), head.encode());
    let mut files = Vec::new();
    for (path, bytes) in [
        (delta_path(name, head.number), deltas),
        (name.into(), whole),
    ] {
        for path in copies(&path) {
            files.push((path.display().to_string(), bytes.clone()));
        }
    }
    files
}

/// Removes the files of deltas with lower numbers than `number`.
fn remove_deltas_before(
    files: &dyn FileSystem,
    checkpoint: &Path,
    number: u64,
) -> Result<(), FileError> {
    let dir = dir_of(checkpoint);
    let entries = files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?;
    for entry in entries {
        if delta_number(&entry.name).is_some_and(|older| older < number) {
            remove_file(files, &dir.join(&entry.name))?;
        }
    }
    Ok(())
}

/// The highest number of a file of deltas beside a checkpoint; 0 if there is none.
pub(crate) fn newest_deltas(files: &dyn FileSystem, checkpoint: &Path) -> Result<u64, FileError> {
    let dir = dir_of(checkpoint);
    let entries = files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?;
    let numbers = entries.iter().filter_map(|entry| delta_number(&entry.name));
    Ok(numbers.max().unwrap_or_default())
}

fn dir_of(checkpoint: &Path) -> &Path {
    checkpoint
        .parent()
        .expect("every path of ours is below the data directory")
}

/// The number in the name of a file of deltas.
fn delta_number(name: &str) -> Option<u64> {
    let (number, kind) = name.strip_prefix("checkpoint.")?.split_once('.')?;
    let parsed: u64 = number.parse().ok()?;
    (["delta", "copy"].contains(&kind) && number == parsed.to_string()).then_some(parsed)
}

/// Reads the checkpoint at `path`, and syncs the deltas that were found. `is_ours` checks the data
/// directory that a file names.
pub(crate) fn load<E: From<FileError>>(
    files: &dyn FileSystem,
    path: &Path,
    is_ours: impl Fn(&Path, Option<Identity>) -> Result<(), E>,
) -> Result<(Found, u64), E> {
    let newest = newest_deltas(files, path)?;
    let looked = look(path, newest, |path| Ok(read_file(files, path)?), is_ours)?;
    for path in &looked.damaged {
        tracing::warn!(path = %path.display(), "a copy of the checkpoint is damaged or missing");
    }
    // After a crash of the process, they may be in the operating system's cache only.
    for path in &looked.deltas {
        let file = files
            .open(path, Open::Write)
            .map_err(FileError::when(Action::Open, path))?;
        file.sync_data()
            .map_err(FileError::when(Action::Sync, path))?;
    }
    Ok((looked.found, looked.number))
}

/// Examines the checkpoint at `path` without changing anything; `read` reads a file. `newest` is
/// the highest number of a file of deltas that is there.
pub(crate) fn look<E>(
    path: &Path,
    newest: u64,
    mut read: impl FnMut(&Path) -> Result<Option<Vec<u8>>, E>,
    is_ours: impl Fn(&Path, Option<Identity>) -> Result<(), E>,
) -> Result<Looked, E> {
    let mut looked = Looked {
        found: Found::None,
        copies: [State::Missing; 2],
        damaged: Vec::new(),
        deltas: Vec::new(),
        number: 0,
    };
    let mut whole: Vec<Checkpoint> = Vec::new();
    for (at, path) in copies(path).into_iter().enumerate() {
        let Some(bytes) = read(&path)? else {
            continue;
        };
        let Some(checkpoint) = Checkpoint::decode(&bytes) else {
            looked.copies[at] = State::Damaged;
            looked.found = Found::Damaged;
            looked.damaged.push(path);
            continue;
        };
        is_ours(&path, checkpoint.directory)?;
        let applied = checkpoint.applied;
        looked.copies[at] = State::Whole { applied };
        looked.number = looked.number.max(checkpoint.delta_files);
        // Both copies are nearly always equal.
        if !whole.contains(&checkpoint) {
            whole.push(checkpoint);
        }
    }
    for checkpoint in whole {
        looked.follow(path, checkpoint, &mut read, &is_ours)?;
    }
    if matches!(looked.found, Found::None) && goes_on_with_one(path, newest, &mut read)? {
        looked.found = Found::Damaged;
        looked.damaged.extend(copies(path));
    }
    looked.number = looked.number.max(newest);
    Ok(looked)
}

/// Whether a file of deltas proves that there was a checkpoint. The first file of deltas does not:
/// it is made before the first checkpoint, and empty but for its head.
fn goes_on_with_one<E>(
    path: &Path,
    newest: u64,
    read: &mut impl FnMut(&Path) -> Result<Option<Vec<u8>>, E>,
) -> Result<bool, E> {
    if newest != 1 {
        return Ok(newest > 1);
    }
    for path in copies(&delta_path(path, newest)) {
        if read(&path)?.is_some_and(|bytes| bytes.len() > delta::Head::BYTES) {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Looked {
    /// Adds its deltas to a copy of the checkpoint, and keeps the result if it covers more than
    /// what was found before.
    fn follow<E>(
        &mut self,
        path: &Path,
        checkpoint: Checkpoint,
        read: &mut impl FnMut(&Path) -> Result<Option<Vec<u8>>, E>,
        is_ours: &impl Fn(&Path, Option<Identity>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut deltas = Some(Vec::new());
        let mut paths = Vec::new();
        if checkpoint.delta_files > 0 {
            let mut both = Vec::new();
            for path in copies(&delta_path(path, checkpoint.delta_files)) {
                let bytes = read(&path)?.unwrap_or_default();
                let found = Deltas::read(&bytes, checkpoint.delta_files, |named| {
                    is_ours(&path, named)
                })?;
                both.push(found);
                paths.push(path);
            }
            let longest = longest_whole(&both);
            let len = longest.map(|longest| both[longest].deltas.len());
            for (at, path) in paths.iter().enumerate() {
                if !len.is_some_and(|len| both[at].may_be_beside(len, at == 0)) {
                    self.damaged.push(path.clone());
                }
            }
            paths = (paths.into_iter().zip(&both))
                .filter(|(_, found)| found.has_head)
                .map(|(path, _)| path)
                .collect();
            deltas = longest.map(|longest| both.swap_remove(longest).deltas);
        }
        let folded = deltas.and_then(|deltas| fold(checkpoint, deltas));
        match (folded, &self.found) {
            (Some(new), Found::Whole(old)) if new.applied <= old.applied => {}
            (Some(new), _) => {
                self.found = Found::Whole(new);
                self.deltas = paths;
            }
            (None, Found::Whole(_)) => {}
            (None, _) => self.found = Found::Damaged,
        }
        Ok(())
    }
}

fn fold(checkpoint: Checkpoint, deltas: Vec<Delta>) -> Option<Checkpoint> {
    if deltas.is_empty() {
        return Some(checkpoint);
    }
    let mut folded = Folded::new(checkpoint);
    for delta in deltas {
        folded.add(delta)?;
    }
    Some(folded.finish())
}

/// One copy of a file of deltas.
struct Deltas {
    deltas: Vec<Delta>,
    /// Whether the file ends with a whole delta.
    is_whole: bool,
    /// Whether its head is sound and has the expected number.
    has_head: bool,
}

impl Deltas {
    /// Reads the deltas of file `number` from its bytes, up to the first that is not whole.
    fn read<E>(
        bytes: &[u8],
        number: u64,
        is_ours: impl FnOnce(Option<Identity>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut read = Self {
            deltas: Vec::new(),
            is_whole: false,
            has_head: false,
        };
        let Some(head) = delta::Head::decode(bytes).filter(|head| head.number == number) else {
            return Ok(read);
        };
        is_ours(head.directory)?;
        read.has_head = true;
        let mut rest = &bytes[delta::Head::BYTES..];
        while let Some(delta) = Delta::take(&mut rest, number, read.deltas.len() as u64) {
            read.deltas.push(delta);
        }
        read.is_whole = rest.is_empty();
        Ok(read)
    }

    /// Whether this copy is undamaged, given that the other one is whole with `len` deltas: it is
    /// equal, or a crash came while the last delta was written. The first copy is written first.
    fn may_be_beside(&self, len: usize, is_first: bool) -> bool {
        let own = self.deltas.len();
        self.has_head
            && match (self.is_whole, is_first) {
                (_, true) => own == len,
                (true, false) => own == len || own + 1 == len,
                (false, false) => own + 1 == len,
            }
    }
}

/// Which copy is whole and has the most deltas.
fn longest_whole(copies: &[Deltas]) -> Option<usize> {
    let whole = (0..copies.len()).filter(|at| copies[*at].is_whole);
    whole.max_by_key(|at| (copies[*at].deltas.len(), Reverse(*at)))
}
/// The file of deltas `number` of the checkpoint at `path`.
fn delta_path(path: &Path, number: u64) -> PathBuf {
    path.with_extension(format!("{number}.delta"))
}

/// The paths of both copies of a file.
pub(crate) fn copies(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), path.with_extension("copy")]
}

#[cfg(test)]
pub(crate) mod tests;
