//! Examines the journal, and what it changes beyond the checkpoint.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{Damage, DamageKind, Journal, JournalFile, State, Torn, data_dir};
use crate::{
    env::Env,
    storage::{
        files::{Action, FileError},
        format::{
            checkpoint::Checkpoint,
            entry::{Decoded, FileHeader, Item},
        },
        journal::{self, Covered, Found, Replay, State as FileState},
    },
    types::Offset,
};

/// What was found of the journal.
pub(super) struct Look {
    pub(super) journal: Journal,
    /// Whether acknowledged entries are lost. Then a start goes by what segments have rather than
    /// by the checkpoint.
    pub(super) damaged: bool,
}

/// What the journal has of a partition beyond the checkpoint.
#[derive(Default)]
pub(super) struct Tail {
    /// Offsets whose records are there, or are listed as damaged already. In order; adjacent ranges
    /// are joined.
    pub(super) offsets: Vec<Range<Offset>>,
    pub(super) records: u64,
}

impl Tail {
    pub(super) fn add(&mut self, offsets: Range<Offset>) {
        match self.offsets.last_mut() {
            Some(last) if last.end >= offsets.start => last.end = last.end.max(offsets.end),
            _ => self.offsets.push(offsets),
        }
    }
}

/// Examines the journal in `dir`, and applies the entries behind the checkpoint to the state.
pub(super) fn look(
    env: &Env,
    dir: &Path,
    checkpoint: Option<&Checkpoint>,
    state: &mut State,
    damage: &mut Vec<Damage>,
) -> Result<Look, data_dir::Error> {
    let from_file = checkpoint.map_or(0, |checkpoint| checkpoint.journal_file);
    let listed = list(env, dir, checkpoint, damage)?;
    let needed = listed
        .iter()
        .filter_map(|file| Some((file.header()?, file.path.clone())));
    let needed = needed.filter(|(header, _)| header.number >= from_file);
    let applied = checkpoint.map(|checkpoint| checkpoint.applied);
    let replay = Replay::look(env, needed.collect(), applied)?;

    let mut files = Vec::new();
    for file in listed {
        let header = file.header();
        files.push(describe(file.path, header, from_file, &replay));
    }
    for lost in replay.lost() {
        let kind = DamageKind::JournalEntries {
            sequences: lost.sequences.clone(),
        };
        damage.push(Damage::of_file(dir, kind));
    }
    for entry in replay.entries() {
        apply(entry?, dir, state, damage);
    }
    let torn = replay.torn().map(|(path, bytes)| Torn {
        path: path.to_owned(),
        bytes,
    });
    Ok(Look {
        journal: Journal {
            files,
            end: replay.tip().sequence,
            torn,
        },
        damaged: replay.is_damaged(),
    })
}

/// The journal's files in the order of their numbers, and what is damaged of them.
fn list(
    env: &Env,
    dir: &Path,
    checkpoint: Option<&Checkpoint>,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Found>, FileError> {
    if !env
        .files
        .exists(dir)
        .map_err(FileError::when(Action::LookFor, dir))?
    {
        return Ok(Vec::new());
    }
    let covered = checkpoint.map(Covered::by);
    let mut look = journal::look(env, dir, None, covered)?;
    if let Some(path) = &look.damaged_notes {
        damage.push(Damage::of_file(path, DamageKind::JournalNotes));
    }
    for file in &look.files {
        let kind = match &file.state {
            FileState::Used(_) | FileState::Free => continue,
            FileState::UsedByNote(_) => DamageKind::JournalHeader,
            FileState::Unusable { fault, .. } => DamageKind::JournalFile { fault: *fault },
            FileState::Unreadable(error) => DamageKind::JournalUnreadable {
                cause: error.source.to_string(),
            },
        };
        damage.push(Damage::of_file(&file.path, kind));
    }
    if let Some(number) = look.missing {
        damage.push(Damage::of_file(
            dir,
            DamageKind::JournalFileMissing { number },
        ));
    }
    look.files
        .sort_by_key(|file| file.header().map(|header| header.number));
    Ok(look.files)
}

fn describe(
    path: PathBuf,
    header: Option<FileHeader>,
    from_file: u64,
    replay: &Replay,
) -> JournalFile {
    let mut found = replay
        .found()
        .filter(|(of, _)| *of == path)
        .map(|(_, link)| link.sequence);
    let first = found.next();
    let (entries, last) = found.fold((u64::from(first.is_some()), first), |(count, _), last| {
        (count + 1, Some(last))
    });
    JournalFile {
        number: header.map(|header| header.number),
        salt: header.map(|header| header.salt),
        needed: header.is_some_and(|header| header.number >= from_file),
        entries,
        sequences: first.unwrap_or(0)..last.map_or(0, |last| last + 1),
        path,
    }
}

fn apply(entry: Decoded, dir: &Path, state: &mut State, damage: &mut Vec<Damage>) {
    for item in entry.items {
        match item {
            Ok(Item::Change(change)) => state.apply(&change),
            Ok(Item::Frame(frame)) => state.apply_frame(frame.header()),
            Err(damaged) => {
                let mut found = Damage::of_file(
                    dir,
                    DamageKind::JournalItem {
                        sequence: entry.link.sequence,
                    },
                );
                if let Some(header) = damaged.frame
                    && let Some((name, partition)) = state.find(&header)
                {
                    partition.tail.add(header.base..header.end());
                    found.topic = Some(name);
                    found.partition = Some(header.partition);
                    found.offsets = Some(header.base..header.end());
                }
                damage.push(found);
            }
        }
    }
}
