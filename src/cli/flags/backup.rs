//! `taffrail backup` and `taffrail restore`.

use std::path::PathBuf;

use clap::Args;

use super::ConnectionFlags;

/// Copy all that a running broker has to a directory of this machine.
///
/// What is there afterwards is a data directory, as it was at one moment, and a mark that all of it
/// is there. Into a directory that has a backup of the broker only what has changed is sent, and
/// the backup that was there counts until the new one is whole. One that was cut off goes on where
/// it was when the command is given again.
///
/// If the broker keeps its journal (`backup.journal`), this says which commits and times the backup
/// can be restored until, or why there is its own moment alone.
#[derive(Args, Debug)]
pub(in crate::cli) struct BackupFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    /// The directory; created if missing
    pub(in crate::cli) dir: PathBuf,
}

/// Make a data directory of a backup, and check every byte of it.
///
/// A backup that is not whole, or not as it was taken, is refused. No broker has to run; when it is
/// done, `taffrail serve --data-dir` serves what the backup has.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct RestoreFlags {
    /// The directory with the backup, which is not changed
    pub(in crate::cli) dir: PathBuf,
    /// The data directory to make: one that is missing, with a parent that is there, or an empty
    /// one, such as a volume that was just mounted
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: PathBuf,
    /// A later backup of the same broker: what it knows as erased is erased in the new directory as
    /// well
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) erasures_of: Option<PathBuf>,
    /// Restore a commit between the backup before this one and this one: its number, or a time such
    /// as 2026-11-29T12:00:00Z for the last one at or before it, in UTC if it has no zone. A number
    /// alone is never a time. The broker has to keep its journal (`backup.journal`)
    #[arg(long, value_name = "COMMIT|TIME")]
    pub(in crate::cli) until: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(in crate::cli) json: bool,
}
