//! What state a start finds the journal's files in: in use, free, or unusable.
//!
//! A file counts as free only if it is proven that nothing in it is needed: it was never used, or a
//! checkpoint covers all its entries. A file that cannot be read, has lost both its first block and
//! its note, or is shorter than it was, may have acknowledged entries. Then the start fails, and
//! nothing is written to that file.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
};

use bytes::Bytes;

use super::{
    replay::load,
    slots::{self, Slot},
};
use crate::{
    env::{Env, Open},
    storage::{
        files::{Action, FileError},
        format::{
            checkpoint::{Checkpoint, JournalFiles},
            entry::{self, BLOCK_BYTES, FileHeader},
            ring::Use,
        },
    },
};

/// How much of the journal a checkpoint covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Covered {
    /// Entries up to this one are in segments.
    pub(crate) applied: u64,
    /// The number of the file that has, or will have, the first entry after `applied`.
    pub(crate) journal_file: u64,
    /// The journal files at the time of the checkpoint.
    pub(crate) files: JournalFiles,
}

impl Covered {
    /// What this checkpoint covers.
    pub(crate) fn by(checkpoint: &Checkpoint) -> Self {
        Self {
            applied: checkpoint.applied,
            journal_file: checkpoint.journal_file,
            files: checkpoint.journal,
        }
    }
}

/// Everything that was found of a journal.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) files: Vec<Found>,
    pub(super) notes: Vec<Slot>,
    /// The number of a file that is needed but missing.
    pub(crate) missing: Option<u64>,
    /// The highest number that a file has, or that a note or the checkpoint names.
    pub(super) newest: u64,
    /// The path of the notes, if one of them is damaged.
    pub(crate) damaged_notes: Option<PathBuf>,
}

/// A journal file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    /// The number in its name.
    pub(super) slot: u32,
    pub(crate) state: State,
    /// Its length in bytes.
    len: u64,
}

/// The state of a journal file.
#[derive(Debug)]
pub(crate) enum State {
    /// It has entries, or may have.
    Used(FileHeader),
    /// As `Used`; its first block is damaged, and the note replaces it.
    UsedByNote(FileHeader),
    /// Nothing in it is needed.
    Free,
    /// It may have entries that are needed, but is not as it was.
    Unusable {
        fault: Fault,
        header: Option<FileHeader>,
    },
    /// It cannot be read.
    Unreadable(FileError),
}

/// What is wrong with an unusable journal file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing says which use of the file its bytes are from.
    Header,
    /// It is shorter than its note says.
    CutShort { bytes: u64, of: u64 },
    /// It is shorter than new journal files are, and has no note with its length.
    Smaller { bytes: u64, of: u64 },
    /// It was in use, but is blank.
    Blank,
    /// It has an older state: it was used again since.
    Older,
    /// It is not there.
    Gone,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("has a damaged first block"),
            Self::CutShort { bytes, of } => write!(f, "is cut short to {bytes} of {of} bytes"),
            Self::Smaller { bytes, of } => write!(
                f,
                "has {bytes} bytes, fewer than journal.file_bytes ({of}; if that was raised since it was written, \
                 start once with the old value)"
            ),
            Self::Blank => f.write_str("has lost its content"),
            Self::Older => f.write_str("is an older state of the file"),
            Self::Gone => f.write_str("is gone"),
        }
    }
}

impl Found {
    /// The note to write for a file without one, at a start that goes ahead.
    pub(super) fn to_note(&self) -> Use {
        self.header().map_or(Use::FREE, |header| Use {
            header,
            bytes: self.len,
        })
    }

    /// The header, if the state has one.
    pub(crate) fn header(&self) -> Option<FileHeader> {
        match &self.state {
            State::Used(header) | State::UsedByNote(header) => Some(*header),
            State::Unusable { header, .. } => *header,
            State::Free | State::Unreadable(_) => None,
        }
    }
}

/// Examines the journal files in a directory. `file_bytes` is the size of new files, if it is
/// known; `covered` is `None` without a whole checkpoint.
pub(crate) fn look(
    env: &Env,
    dir: &Path,
    file_bytes: Option<u64>,
    covered: Option<Covered>,
) -> Result<Look, FileError> {
    let notes = slots::read(env, dir)?;
    let judge = Judge {
        env,
        file_bytes,
        covered,
        noted: notes.len(),
    };
    let mut files = Vec::new();
    for entry in env
        .files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?
    {
        if let Some(slot) = slot_of(&entry.name).filter(|_| !entry.is_dir) {
            files.push(judge.file(dir.join(&entry.name), slot, slots::of(&notes, slot)));
        }
    }
    files.extend(judge.gone(dir, &files, &notes));
    let noted = || notes.iter().filter_map(|slot| slot.number());
    let numbers = files.iter().filter_map(Found::header);
    let newest = noted()
        .chain(numbers.map(|header| header.number))
        .chain(covered.map(|covered| covered.files.newest))
        .max()
        .unwrap_or(0);
    let missing = match covered {
        // Without notes nobody knows how many files there were.
        Some(covered) if notes.is_empty() && covered.files.noted == 0 => None,
        Some(covered) => missing_from(&files, covered.journal_file, newest),
        None => (1..).zip(&notes).find_map(|(slot, note)| {
            let is_there = files.iter().any(|file| file.slot == slot);
            note.number().filter(|_| !is_there)
        }),
    };
    Ok(Look {
        files,
        missing,
        newest,
        damaged_notes: notes.contains(&Slot::Unknown).then(|| slots::path(dir)),
        notes,
    })
}

/// The number in a journal file's name; `None` if it is not such a name.
fn slot_of(name: &str) -> Option<u32> {
    let stem = name.strip_suffix(".journal")?;
    let slot: u32 = stem.parse().ok()?;
    (slot > 0 && stem == slot.to_string()).then_some(slot)
}

/// The first number from `first` to `newest` that no file has. Numbers are given out one by one, so
/// such a file is missing.
fn missing_from(files: &[Found], first: u64, newest: u64) -> Option<u64> {
    let there: BTreeSet<u64> = files
        .iter()
        .filter_map(Found::header)
        .map(|header| header.number)
        .collect();
    (first.max(1)..=newest).find(|number| !there.contains(number))
}

/// Decides what state each journal file is in.
struct Judge<'a> {
    env: &'a Env,
    file_bytes: Option<u64>,
    covered: Option<Covered>,
    /// How many files have a note, sound or not.
    noted: usize,
}

impl Judge<'_> {
    /// The files that the checkpoint knows, and of which neither the file nor its note is left.
    fn gone(&self, dir: &Path, files: &[Found], notes: &[Slot]) -> Vec<Found> {
        let known = self.covered.unwrap_or_default().files;
        let slots = 1..=known.made.min(known.noted);
        let is_gone = |slot: &u32| {
            slots::of(notes, *slot) == Slot::Unknown && files.iter().all(|file| file.slot != *slot)
        };
        let as_found = |slot| Found {
            path: dir.join(format!("{slot}.journal")),
            slot,
            state: State::Unusable {
                fault: Fault::Gone,
                header: None,
            },
            len: 0,
        };
        slots.filter(is_gone).map(as_found).collect()
    }

    /// Whether this file has, or had at the checkpoint, a block in the notes.
    fn was_noted(&self, slot: u32) -> bool {
        let known = self.covered.unwrap_or_default().files;
        slot as usize <= self.noted || slot <= known.noted
    }

    fn file(&self, path: PathBuf, slot: u32, note: Slot) -> Found {
        let (state, len) = match self.first_block(&path) {
            Ok((block, len)) => match FileHeader::decode(&block) {
                Some(header) => (self.with_header(header, note, len), len),
                None => {
                    let state = self.without_header(&path, slot, &block, note);
                    (state.unwrap_or_else(State::Unreadable), len)
                }
            },
            Err(error) => (State::Unreadable(error), 0),
        };
        Found {
            path,
            slot,
            state,
            len,
        }
    }

    /// The first block, or as much of it as there is, and the file's length.
    fn first_block(&self, path: &Path) -> Result<(Vec<u8>, u64), FileError> {
        let file = self
            .env
            .files
            .open(path, Open::Read)
            .map_err(FileError::when(Action::Open, path))?;
        let len = file.len().map_err(FileError::when(Action::Read, path))?;
        let mut block = vec![0; len.min(BLOCK_BYTES) as usize];
        file.read_exact_at(&mut block, 0)
            .map_err(FileError::when(Action::Read, path))?;
        Ok((block, len))
    }

    /// Whether entries of the file with this number may be needed.
    fn needs(&self, number: u64) -> bool {
        self.covered
            .is_none_or(|covered| number >= covered.journal_file)
    }

    fn with_header(&self, own: FileHeader, note: Slot, len: u64) -> State {
        let is_newer = note.number().is_some_and(|number| self.needs(number));
        if own == FileHeader::NEVER_USED && !is_newer {
            return State::Free;
        }
        let fault = match note {
            // The note is written after the header was synced, so the header cannot be older.
            Slot::Used(used) if used.header.number > own.number => {
                self.needs(used.header.number).then_some(Fault::Older)
            }
            Slot::Used(used) if used.header == own => self.too_short(own, used.bytes, len),
            // A crash came between writing the header and the note; no entry was written yet.
            Slot::Used(_) => None,
            Slot::Unknown => self.smaller(own, len),
        };
        match fault {
            Some(fault) => State::Unusable {
                fault,
                header: Some(own),
            },
            None => State::Used(own),
        }
    }

    fn too_short(&self, header: FileHeader, of: u64, len: u64) -> Option<Fault> {
        (len < of && self.needs(header.number)).then_some(Fault::CutShort { bytes: len, of })
    }

    fn smaller(&self, header: FileHeader, len: u64) -> Option<Fault> {
        let covered = self.covered?;
        let of = self.file_bytes?;
        let is_needed = header.number >= covered.journal_file;
        (is_needed && len < of).then_some(Fault::Smaller { bytes: len, of })
    }

    fn without_header(
        &self,
        path: &Path,
        slot: u32,
        block: &[u8],
        note: Slot,
    ) -> Result<State, FileError> {
        let begins_blank = is_blank(block);
        if note == Slot::Used(Use::FREE) && begins_blank {
            return Ok(State::Free);
        }
        let bytes = load(self.env, path)?;
        let is_blank = begins_blank && is_blank(&bytes);
        let by_note = match note {
            // An older broker without notes may have used the file since.
            Slot::Used(Use::FREE) => {
                (self.covered.is_none() || self.covers(&bytes)).then_some(State::Free)
            }
            Slot::Used(used) => self.by_note(used, &bytes, is_blank),
            Slot::Unknown if !is_blank => None,
            // A file that has a note is never blank: see `FileHeader::NEVER_USED`.
            Slot::Unknown if self.was_noted(slot) => Some(State::Unusable {
                fault: Fault::Blank,
                header: None,
            }),
            Slot::Unknown => Some(State::Free),
        };
        let may_be_new = begins_blank && !self.was_noted(slot);
        Ok(by_note.unwrap_or_else(|| self.by_entries(&bytes, may_be_new)))
    }

    /// The state of a file without a header according to its note; `None` if the note is about an
    /// earlier use.
    fn by_note(&self, used: Use, bytes: &Bytes, is_blank: bool) -> Option<State> {
        let (number, header) = (used.header.number, Some(used.header));
        let is_needed = self.needs(number);
        let unusable = |fault| State::Unusable { fault, header };
        if is_blank {
            return Some(match is_needed {
                true => unusable(Fault::Blank),
                false => State::Free,
            });
        }
        let first = any_entry(bytes, BLOCK_BYTES as usize);
        let is_of_another_use = first.is_some_and(|first| first.link.salt != used.header.salt);
        if is_of_another_use || (!is_needed && !self.covers(bytes)) {
            return None;
        }
        if let Some(fault) = self.too_short(used.header, used.bytes, bytes.len() as u64) {
            return Some(unusable(fault));
        }
        // No crash damages a synced header, so the disk did, and the first entries may be lost with
        // it without a trace. Only a sound first entry proves that they are not.
        let has_begun = any_entry(bytes, BLOCK_BYTES as usize).is_some();
        Some(match has_begun || !is_needed {
            true => State::UsedByNote(used.header),
            false => unusable(Fault::Header),
        })
    }

    /// The state of a file that has neither header nor note. Its first entry begins in its second
    /// block; if that entry is not sound, the entries that are left may all be older ones.
    fn by_entries(&self, bytes: &Bytes, may_be_new: bool) -> State {
        let begins_sound = may_be_new || any_entry(bytes, BLOCK_BYTES as usize).is_some();
        if begins_sound && self.covers(bytes) {
            return State::Free;
        }
        State::Unusable {
            fault: Fault::Header,
            header: None,
        }
    }

    /// Whether the checkpoint covers every sound entry in these bytes.
    fn covers(&self, bytes: &Bytes) -> bool {
        let Some(covered) = self.covered else {
            return false;
        };
        let mut entries = (0..bytes.len()).filter_map(|at| any_entry(bytes, at));
        entries.all(|entry| entry.link.sequence <= covered.applied)
    }
}

/// The entry at this byte, whatever its salt.
fn any_entry(bytes: &Bytes, at: usize) -> Option<entry::Decoded> {
    let rest = bytes.get(at..)?;
    let salt = entry::salt(rest).filter(|_| entry::begins(rest))?;
    entry::decode(&bytes.slice(at..), salt)
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
