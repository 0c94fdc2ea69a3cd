//! The checkpoint on disk: a file, and behind it what has changed since.
//!
//! The file is written anew only when the deltas have grown as long as it is, so that what a
//! checkpoint costs grows with what has changed, not with what there is. The file and its deltas
//! are there twice. Both copies of a file are replaced one after the other, and both copies of the
//! deltas grow one after the other, so one of them is whole at any time; the one that covers more
//! counts. Without a whole one, the topics are found in their directories and the logs are scanned.
//!
//! ```text
//! checkpoint, checkpoint.copy              names the number of its deltas
//! checkpoint.N.delta, checkpoint.N.copy    there before the checkpoint that names them is
//! ```
//!
//! So a missing file of deltas is known to be missing, and one that does not end behind a whole
//! delta was being written when the process ended, unless its copy does not either: then it is
//! damaged. Deltas only follow a checkpoint that the same process has written: no start appends to
//! a file that a crash may have torn.

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

/// What was found of a checkpoint.
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
    /// There was one, and it is gone or cannot be read.
    Damaged,
}

/// A copy of the checkpoint as it was found, without deltas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Missing,
    Damaged,
    /// It is whole and covers entries up to this one.
    Whole {
        applied: u64,
    },
}

/// All that was found of a checkpoint.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) found: Found,
    pub(crate) copies: [State; 2],
    /// The files that are damaged or missing.
    pub(crate) damaged: Vec<PathBuf>,
    /// The files of deltas that belong to what was found.
    deltas: Vec<PathBuf>,
    /// The last number of a file of deltas that a copy names.
    number: u64,
}

/// Writes the checkpoint.
pub(crate) struct Writer {
    path: PathBuf,
    directory: Identity,
    /// How long deltas may always grow, in bytes; 0: there are none.
    most_deltas: u64,
    /// The number of the last file of deltas.
    number: u64,
    /// How far its files reach; none before this process has written a checkpoint, and after an
    /// error, when nobody knows.
    grown: Option<Grown>,
}

/// How far the files of deltas reach.
#[derive(Clone, Copy)]
struct Grown {
    deltas: u64,
    bytes: u64,
    /// The length of the checkpoint that they go on with.
    checkpoint: u64,
}

impl Writer {
    /// For the checkpoint at `path`, of which so much was found.
    pub(crate) fn new(path: PathBuf, directory: Identity, number: u64, most_deltas: u64) -> Self {
        Self {
            path,
            directory,
            most_deltas,
            number,
            grown: None,
        }
    }

    /// Whether what has changed is enough for the next checkpoint.
    pub(crate) fn takes_deltas(&self) -> bool {
        self.most_deltas > 0
            && self
                .grown
                .is_some_and(|grown| grown.bytes < grown.checkpoint.max(self.most_deltas))
    }

    /// Writes a whole checkpoint, without deltas.
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

    /// Writes what has changed since the last checkpoint, which must have been written by this.
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

/// Removes the deltas that went on with checkpoints before the one that names this number.
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

/// The last number of a file of deltas that is beside a checkpoint; 0 if there is none.
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

/// Reads the checkpoint at `path`, and makes durable what was found of it. `is_ours` says whether a
/// file belongs to the data directory that it is named to.
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
    // A crash of the process has left them in the operating system's cache, perhaps.
    for path in &looked.deltas {
        let file = files
            .open(path, Open::Write)
            .map_err(FileError::when(Action::Open, path))?;
        file.sync_data()
            .map_err(FileError::when(Action::Sync, path))?;
    }
    Ok((looked.found, looked.number))
}

/// Looks at the checkpoint at `path`, through a function that reads files. `newest` is the last
/// number of a file of deltas that is there.
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
        // Nearly always both copies are the same.
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

/// Whether a file of deltas shows that there was a checkpoint. The first is made before the first
/// checkpoint is, and holds nothing then.
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
    /// Adds the deltas of a copy to it, and takes it if it covers more than another.
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

/// What a copy of the deltas is.
struct Deltas {
    deltas: Vec<Delta>,
    /// Whether the file ends behind the last of them.
    is_whole: bool,
    /// Whether it is the file that it should be.
    has_head: bool,
}

impl Deltas {
    /// Those in the bytes of a file with this number, up to the first that is not whole.
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

    /// Whether this copy may be what it is beside a whole one with so many deltas: it is the same,
    /// or a crash came while the last delta was written. The first copy grows first.
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
/// The file of deltas with this number, of the checkpoint at `path`.
fn delta_path(path: &Path, number: u64) -> PathBuf {
    path.with_extension(format!("{number}.delta"))
}

/// A file that is there twice: its two copies.
pub(crate) fn copies(path: &Path) -> [PathBuf; 2] {
    [path.to_owned(), path.with_extension("copy")]
}

#[cfg(test)]
pub(crate) mod tests;
