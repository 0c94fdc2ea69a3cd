//! What can be typed behind `export` and `import`.

use std::path::PathBuf;

use clap::Args;

use super::ConnectionFlags;

/// Print a topic as lines of JSON, with all that it takes to import it elsewhere.
///
/// The first line is about the topic: its settings, and where its partitions start and end. Then
/// comes a line for each record, partition by partition, with its offset, version, times, type,
/// key, headers, event id and value; bytes that are no text are in the _base64 field. The last line
/// says how many there are. Nothing in them depends on when, or by which broker, it was exported.
///
/// Each partition is exported up to its end as it is at the beginning. A broker as a whole is
/// copied by taffrail backup.
#[derive(Args, Debug)]
pub(in crate::cli) struct ExportFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    /// The topic
    pub(in crate::cli) topic: String,
    /// The file to write, which must not be there [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) file: Option<PathBuf>,
}

/// Store what was exported: with the same offsets, versions, append times and event ids.
///
/// The topic must be there and never have had a record, and have as many partitions as the exported
/// one. Nobody else can append to it until the import is complete. One that was broken off, for
/// whatever reason, goes on when the command is given again with the same lines. What it cannot
/// know of an entity without records is its version: that begins at 1 again.
#[derive(Args, Debug)]
pub(in crate::cli) struct ImportFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    /// The topic
    pub(in crate::cli) topic: String,
    /// The file with the lines, or - for standard input [default: standard input]
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(in crate::cli) file: Option<PathBuf>,
    /// Create the topic if there is none, with the partitions and settings of the exported one
    #[arg(long)]
    pub(in crate::cli) create: bool,
}
