//! What an I/O error means: the one place that decides it.
//!
//! Three things follow from an error, and they exclude each other. *Damage* is reported with the
//! offsets that it takes away (DATA_LOSS), which tells clients to go on behind them, and is never
//! tried again by itself. What is *passing* says nothing of what is stored: it is refused
//! (UNAVAILABLE) and tried again. What is *fatal* ends the process, because nobody knows any more
//! what is on disk (D8 of the design: a failed sync is never repeated).
//!
//! So an error while something is read is damage only if the bytes are known to be gone: a file
//! that is missing where there must be one, or too short, or a disk that says that it cannot read
//! them. A wrong checksum, which no error tells of, is damage as well. Everything else passes,
//! also what nobody has thought of: calling intact records damaged is worse than asking again.

use std::io;

use super::files::Action;
use crate::env;

/// What an I/O error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What was to be read is not there any more.
    Damage,
    /// Nothing was done, and nothing is known to be wrong with what is stored: try again.
    Passing,
    /// What is on disk is not known any more.
    Fatal,
}

/// What it means that an action has failed with this error.
pub(crate) fn meaning(action: Action, error: &io::Error) -> Meaning {
    match action {
        Action::Open
        | Action::Map
        | Action::Read
        | Action::List
        | Action::LookFor
        | Action::LookForRoom => of_reading(error),
        // Nothing was created: a file descriptor was missing, or memory.
        Action::Create if env::is_out_of_resources(error) => Meaning::Passing,
        Action::Create
        | Action::Write
        | Action::Reserve
        | Action::Cut
        | Action::Rename
        | Action::Remove
            if is_full(error) =>
        {
            Meaning::Passing
        }
        Action::Create
        | Action::Write
        | Action::Reserve
        | Action::Cut
        | Action::Rename
        | Action::Remove
        // A failed sync is never taken for a passing lack of room.
        | Action::Sync => Meaning::Fatal,
    }
}

/// What it means that something could not be read, opened or mapped. Never fatal: nothing has
/// changed.
pub(crate) fn of_reading(error: &io::Error) -> Meaning {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::UnexpectedEof => Meaning::Damage,
        _ if env::is_unreadable(error) => Meaning::Damage,
        _ => Meaning::Passing,
    }
}

/// Whether the disk has no room.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
