//! What can be typed behind `consume`.

use std::ffi::OsString;

use clap::Args;

use super::ConnectionFlags;
use crate::cli::template::LETTERS;

/// Read a topic and print its records.
///
/// Records of one partition come in order. Without --follow it stops at the end that was current
/// when it started. With --follow it tells on standard error when an entity is erased.
///
/// With --group it is a member of that group: it shares the partitions with the other members, goes
/// on where the group has come to, and commits what it has written out. It then ends when it has
/// caught up, or leaves on Ctrl-C or SIGTERM.
#[derive(Args, Debug)]
pub(in crate::cli) struct ConsumeFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    /// The topic
    pub(in crate::cli) topic: String,
    /// Where to start: earliest, latest, an offset, a time such as 2013-01-01T05:17:00Z, or -1h for
    /// so long ago [default: earliest]
    ///
    /// P:PLACE is the place in partition P, and may be given again, as 0:17,3:-1h or with another
    /// --from. Then only these partitions are read, unless a place without a partition is given as
    /// well, which is for all others, or --partition says which are read.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
    pub(in crate::cli) from: Vec<String>,
    /// Stop before this place in every partition: an offset, a time, -1h for so long ago, or end
    /// [default: end, as it is at the start; with --follow: never]
    ///
    /// P:PLACE is the place in partition P, and may be given again, as 0:17,3:-1h or with another
    /// --until. Partitions without a place are read as if there were no --until.
    ///
    /// With --follow it waits for the place: for the record before the offset, or for a record of
    /// that time or later, in every partition.
    #[arg(
        long,
        value_name = "PLACE",
        allow_hyphen_values = true,
        conflicts_with = "group"
    )]
    pub(in crate::cli) until: Vec<String>,
    /// Begin with the last N records of every partition, of those that --key and --type let through
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "group"])]
    pub(in crate::cli) last: Option<u64>,
    /// Only records with this key; may be given again, for several keys
    #[arg(long, value_name = "K", allow_hyphen_values = true)]
    pub(in crate::cli) key: Vec<OsString>,
    /// Only records of this type; may be given again, for several types
    #[arg(long = "type", value_name = "T", allow_hyphen_values = true)]
    pub(in crate::cli) event_type: Vec<String>,
    /// The partition; may be given again, or as 0,3 [default: all]
    #[arg(long, value_name = "P", value_delimiter = ',')]
    pub(in crate::cli) partition: Vec<u32>,
    /// Read as a member of this group; --from then says where to begin where nothing is committed
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) group: Option<String>,
    /// The member's own name: its partitions are kept for the next member that joins with it
    #[arg(long, value_name = "NAME", requires = "group")]
    pub(in crate::cli) member: Option<String>,
    /// Stop when this many records have been printed
    #[arg(long, value_name = "N")]
    pub(in crate::cli) max: Option<u64>,
    /// Go on with records as they are appended
    #[arg(long)]
    pub(in crate::cli) follow: bool,
    #[arg(
        long,
        value_name = "FORMAT",
        help = "What to print: value, json, or a template such as '%k %s\\n' [default: value; with \
                --json: json]",
        long_help = format!("What to print\n\n{LETTERS}")
    )]
    pub(in crate::cli) format: Option<String>,
    /// How long to look for a broker that is away; at the start too if it is given, or with
    /// --follow [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub(in crate::cli) retry_for: Option<String>,
}
