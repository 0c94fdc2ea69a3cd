//! What can be typed behind `group`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::ConnectionFlags;

/// Look after consumer groups: who is in them, how far they have come, and where they go on.
#[derive(Args, Debug)]
pub(in crate::cli) struct GroupFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(in crate::cli) command: GroupCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GroupCommand {
    /// List groups
    List,
    /// Show a group, its members, and how far it has come in each partition
    ///
    /// With --json it prints an object a partition, one a line, with what the group does and why;
    /// one whose topic is null for a group without partitions. group reset --from-file takes them.
    Describe {
        /// Its name
        name: String,
        /// Show it again every second, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Set where a group goes on, also while it has members
    ///
    /// A group that does not exist yet is made; --topic then says of what.
    Reset(ResetFlags),
    /// Make a group that is where another one is
    Fork {
        /// The group that is there
        name: String,
        /// The group to make
        #[arg(long = "as", value_name = "NEW")]
        new_name: String,
        /// Begin at the earliest records; those that the other group has handled come as replayed
        #[arg(long)]
        replay: bool,
    },
    /// Remove a member that does not come back, so that others get its partitions at once
    ///
    /// One that is still there ends, and does not join again by itself.
    RemoveMember {
        /// The group's name
        name: String,
        /// The member's own name, or its id, as group describe shows them
        member: String,
    },
    /// Delete a group without members, and how far it has come
    ///
    /// On a terminal it asks first.
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Args, Debug)]
#[command(group(ArgGroup::new("place").required(true).args(["to", "shift", "from_group", "from_file"])))]
pub(in crate::cli) struct ResetFlags {
    /// The group's name
    pub(in crate::cli) name: String,
    /// To earliest, latest, an offset, a time such as 2013-01-01T05:17:00Z, or -1h for so long ago
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(in crate::cli) to: Option<String>,
    /// By so many records: on, or back if the number is below 0
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub(in crate::cli) shift: Option<i64>,
    /// To where another group is
    #[arg(long, value_name = "GROUP")]
    pub(in crate::cli) from_group: Option<String>,
    /// To what group describe --json has written to a file
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) from_file: Option<PathBuf>,
    /// Only in this topic
    #[arg(long, value_name = "T")]
    pub(in crate::cli) topic: Option<String>,
    /// Only in this partition of --topic
    #[arg(long, value_name = "P", requires = "topic")]
    pub(in crate::cli) partition: Option<u32>,
    /// Set nothing, only say what would be set
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
}
