//! What an I/O error means: the one place that decides it.
//!
//! An error has exactly one of three meanings. *Damage* is reported with the offsets that are lost
//! (DATA_LOSS), which tells clients to continue behind them; the broker does not try again. A
//! *passing* error says nothing about what is stored: the call is refused (UNAVAILABLE) and can be
//! repeated. A *fatal* error ends the process, because nobody knows any more what is on disk: a
//! failed sync is never repeated.
//!
//! So an error on reading is damage only if the bytes are known to be gone: a file that must exist
//! is missing, too short or no file at all, or the disk reports that it cannot read them. A wrong
//! checksum, which is no I/O error, is damage as well. Every other error is passing, even one that
//! nobody has thought of: to call intact records damaged is worse than to ask again.

use std::io;

use super::files::Action;
use crate::env;

/// What an I/O error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// What should have been read is gone.
    Damage,
    /// Nothing was done, and nothing is known to be wrong with what is stored: it can be tried
    /// again.
    Passing,
    /// It is not known any more what is on disk.
    Fatal,
}

/// What it means for the broker that `action` failed with `error`.
pub(crate) fn meaning(action: Action, error: &io::Error) -> Meaning {
    match action {
        Action::Open
        | Action::Map
        | Action::Read
        | Action::List
        | Action::LookFor
        | Action::LookForRoom => of_reading(error),
        // Nothing was created, for lack of a file descriptor or memory.
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
        // A failed sync is never taken for a lack of space that passes.
        | Action::Sync => Meaning::Fatal,
    }
}

/// The meaning of an error on reading, opening or mapping. Never fatal, because nothing was
/// changed.
pub(crate) fn of_reading(error: &io::Error) -> Meaning {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory
        | io::ErrorKind::NotSeekable
        | io::ErrorKind::UnexpectedEof => Meaning::Damage,
        _ if env::is_unreadable(error) => Meaning::Damage,
        _ => Meaning::Passing,
    }
}

/// Whether the disk has no space left.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
