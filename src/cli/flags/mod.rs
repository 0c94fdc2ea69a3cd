//! The flags and arguments of all commands. Only their form is checked here; each command
//! interprets its own.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, value_parser};
use clap_complete::Shell;

mod backup;
mod bench;
mod connection;
mod consume;
mod export;
mod group;
mod produce;
mod token;
pub(super) mod typed;

pub(super) use backup::{BackupFlags, RestoreFlags};
pub(super) use bench::{BenchCommand, BenchFlags, BenchKeys, LoadFlags};
pub(super) use connection::ConnectionFlags;
pub(super) use consume::ConsumeFlags;
pub(super) use export::{ExportFlags, ImportFlags};
pub(super) use group::{GroupCommand, GroupFlags, ResetFlags};
pub(super) use produce::ProduceFlags;
pub(super) use token::{TokenCommand, TokenFlags};
pub(super) use typed::{command, parse};

use super::version;
use crate::types::{limits::MAX_PARTITIONS_PER_TOPIC, topic_settings_text};

/// Taffrail: a log broker and an event store in one binary, durable when it answers.
#[derive(Debug, Parser)]
#[command(name = "taffrail", version = version::TEXT, max_term_width = 100)]
pub(super) struct Flags {
    // These flags may also come before the command.
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// The list of settings for the help of `topic create` and `topic alter`.
fn topic_settings() -> String {
    format!("Settings:\n{}", topic_settings_text(100))
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a broker
    Serve(ServeFlags),
    /// Show how a broker is: what it holds, and what it uses of the room that it has
    Status(StatusFlags),
    /// Follow topics and groups: what is appended, and how far groups are behind
    Top(TopFlags),
    /// Create and look after topics
    Topic(TopicFlags),
    /// Append lines of files, or of standard input, to a topic
    Produce(ProduceFlags),
    /// Read a topic and print its records
    Consume(ConsumeFlags),
    /// Look after consumer groups: who is in them, how far they have come, and where they go on
    Group(GroupFlags),
    /// Read, look at and erase entities
    Entity(EntityFlags),
    /// List and forget producers
    Producer(ProducerFlags),
    /// Make, list and revoke access tokens, by which a broker knows its callers
    Token(TokenFlags),
    /// Show what time it is for a broker, and confirm that its machine's clock is right
    Clock(ClockFlags),
    /// Copy all that a running broker has to a directory of this machine
    Backup(BackupFlags),
    /// Make a data directory of a backup, and check every byte of it
    Restore(RestoreFlags),
    /// Print a topic as lines of JSON, with all that it takes to import it elsewhere
    Export(ExportFlags),
    /// Store what was exported: with the same offsets, versions, append times and event ids
    Import(ImportFlags),
    /// Show and verify the data directory of a broker that is not running
    Inspect(InspectFlags),
    /// Print a dashboard for Grafana, or rules for Prometheus
    Dashboard(DashboardFlags),
    /// Measure how fast a broker is, and the machine it runs on
    Bench(BenchFlags),
    /// Print what a shell needs to complete commands and flags
    Completions(CompletionsFlags),
    /// Print a page of the manual
    Man(ManFlags),
    /// Print the version of this program
    Version(VersionFlags),
}

impl Command {
    /// The flags for the connection, if the command needs a broker.
    pub(super) fn connection(&mut self) -> Option<&mut ConnectionFlags> {
        match self {
            Self::Status(flags) => Some(&mut flags.connection),
            Self::Top(flags) => Some(&mut flags.connection),
            Self::Topic(flags) => Some(&mut flags.connection),
            Self::Produce(flags) => Some(&mut flags.connection),
            Self::Consume(flags) => Some(&mut flags.connection),
            Self::Group(flags) => Some(&mut flags.connection),
            Self::Entity(flags) => Some(&mut flags.connection),
            Self::Producer(flags) => Some(&mut flags.connection),
            Self::Token(flags) => Some(&mut flags.connection),
            Self::Clock(flags) => Some(&mut flags.connection),
            Self::Backup(flags) => Some(&mut flags.connection),
            Self::Export(flags) => Some(&mut flags.connection),
            Self::Import(flags) => Some(&mut flags.connection),
            Self::Bench(flags) => Some(&mut flags.connection),
            Self::Serve(_)
            | Self::Inspect(_)
            | Self::Restore(_)
            | Self::Dashboard(_)
            | Self::Completions(_)
            | Self::Man(_)
            | Self::Version(_) => None,
        }
    }

    /// The flag `--json` of a command without a broker, if it has one.
    pub(super) fn json_alone(&mut self) -> Option<&mut bool> {
        match self {
            Self::Inspect(flags) => Some(&mut flags.json),
            Self::Restore(flags) => Some(&mut flags.json),
            Self::Version(flags) => Some(&mut flags.json),
            _ => None,
        }
    }
}

/// Print what a shell needs to complete commands and flags.
///
/// For bash: taffrail completions bash > ~/.local/share/bash-completion/completions/taffrail
#[derive(Args, Debug)]
pub(super) struct CompletionsFlags {
    /// The shell
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

/// Print a page of the manual, as man reads it: taffrail man | man -l -
#[derive(Args, Debug)]
pub(super) struct ManFlags {
    /// The command that it is about, such as topic trim [default: taffrail itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    pub(super) words: Vec<String>,
    /// Write all pages, a file for each command, into this directory, which is made if it is not
    /// there
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// Print the version of this program, and the commit that it was built from if that is known.
#[derive(Args, Debug)]
pub(super) struct VersionFlags {
    /// Print JSON, for scripts
    #[arg(long)]
    pub(super) json: bool,
}

/// Run a broker.
///
/// Without any flag it keeps its data in ./taffrail-data and listens on 127.0.0.1:9640. It prints
/// one line with the address when it takes connections, and ends on SIGTERM or SIGINT when the
/// calls under way are finished, or at the second of them.
#[derive(Args, Clone, Debug)]
pub(super) struct ServeFlags {
    /// Where the data is; created if missing [default: ./taffrail-data]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<String>,
    /// Keep everything in memory, for tests: nothing is on disk, the power can be cut and the clock
    /// moved (taffrail.v1.Admin). Listens on a free port, prints a JSON object with the address, and
    /// ends with the process that started it
    #[arg(long, conflicts_with = "data_dir")]
    pub(super) ephemeral: bool,
    /// Stop when the process that started this one has ended, however it has, as with --ephemeral:
    /// for tests that need a broker on a disk
    #[arg(long)]
    pub(super) with_parent: bool,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:9640]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,
    /// Address for metrics and health over plain HTTP, or "off" [default: the port after that of
    /// --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) http_listen: Option<String>,
    /// Settings to start from; config/taffrail.toml has them all with their defaults and reasons
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Listen where other machines reach it, without encryption and without asking who they are
    #[arg(long)]
    pub(super) insecure: bool,
    /// The broker's certificate, PEM: speak TLS, and nothing else
    #[arg(long, value_name = "FILE")]
    pub(super) tls_certificate: Option<String>,
    /// The key of the certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key: Option<String>,
    /// Take only clients with a certificate that one of the authorities in this file has signed
    #[arg(long, value_name = "FILE")]
    pub(super) tls_client_ca: Option<String>,
    /// How log lines look: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(super) log_format: Option<String>,
    /// What to log: error, warn, info, debug, trace, or by module [default, also for other modules:
    /// info]
    #[arg(long, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

/// Follow topics and groups: what is appended, and how far groups are behind.
///
/// On a terminal it shows them in place; elsewhere, or with --json, one picture after the other.
#[derive(Args, Debug)]
pub(super) struct TopFlags {
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    /// How long to wait between two looks
    #[arg(long, value_name = "DURATION", default_value = "2s")]
    pub(super) interval: String,
    /// Look this many times, and end [default: until it is stopped]
    #[arg(long, value_name = "N")]
    pub(super) count: Option<u32>,
    /// Show at most this many topics, and this many groups: the first by name
    #[arg(
        long,
        value_name = "N",
        default_value_t = 40,
        value_parser = value_parser!(u32).range(1..=1_000)
    )]
    pub(super) most: u32,
}

/// Print a dashboard for Grafana, or rules for Prometheus.
///
/// Both ask for what `serve` shows at /metrics. Nothing is looked up: no broker has to run.
#[derive(Args, Debug)]
pub(super) struct DashboardFlags {
    /// The rules of which Prometheus warns, as YAML, instead of the dashboard
    #[arg(long)]
    pub(super) alerts: bool,
}

/// Show how a broker is: what it holds, and what it uses of the room that it has.
///
/// Where no connection is left for it, --server unix:DIR, with the data directory of the broker,
/// uses one of those that are kept for administrators.
#[derive(Args, Debug)]
pub(super) struct StatusFlags {
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    /// Only look whether it takes calls: the exit code is 0 if it does, 1 if its storage has
    /// failed, 5 if it cannot be reached
    #[arg(long)]
    pub(super) check: bool,
    /// Show its version and its limits instead: every bound that a client can meet, as it is set
    #[arg(long, conflicts_with = "check")]
    pub(super) limits: bool,
}

#[derive(Args, Debug)]
pub(super) struct TopicFlags {
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(super) command: TopicCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create a topic
    #[command(after_help = topic_settings())]
    Create {
        /// Its name: letters, digits, '.', '_' and '-'
        name: String,
        /// How many partitions
        #[arg(
            long,
            value_name = "N",
            default_value_t = 1,
            value_parser = value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS_PER_TOPIC))
        )]
        partitions: u32,
        /// A setting, such as segment.bytes=64MiB; may be given again
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
    },
    /// List topics
    List,
    /// Show a topic, its settings and its partitions
    Describe {
        /// Its name
        name: String,
    },
    /// Change settings of a topic
    #[command(after_help = topic_settings())]
    Alter {
        /// Its name
        name: String,
        /// A setting and its new value; may be given again
        #[arg(long, value_name = "KEY=VALUE", required_unless_present = "reset")]
        set: Vec<String>,
        /// A setting that is to have its default again; may be given again
        #[arg(long, value_name = "KEY")]
        reset: Vec<String>,
        /// Change nothing: show what would be removed at once, and which groups would lose records
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete a topic with all its records
    ///
    /// On a terminal it asks first.
    Delete {
        /// Its name
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Give a topic with keys=plain more partitions
    AddPartitions {
        /// Its name
        name: String,
        /// How many it is to have in all
        #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=i64::from(MAX_PARTITIONS_PER_TOPIC)))]
        to: u32,
    },
    /// Compact a topic now: of each key the last records stay
    Compact {
        /// Its name
        name: String,
        /// Wait until it is done
        #[arg(long)]
        wait: bool,
    },
    /// Delete the records before a place: of one partition, or of all
    Trim {
        /// The topic's name
        name: String,
        /// The partition [default: all]
        #[arg(long, value_name = "P")]
        partition: Option<u32>,
        /// The first record to keep: the first of a time such as 2013-01-01T05:17:00Z or later, or
        /// of so long ago, as -7d; or, with --partition, the one at this offset. latest keeps none
        ///
        /// The time is the record's timestamp. What lies behind the first record of that time
        /// stays, whatever its own is.
        #[arg(long, value_name = "PLACE", allow_hyphen_values = true)]
        before: String,
        /// Also what retention.hold keeps for a group that has not committed it
        #[arg(long)]
        force: bool,
        /// Trim nothing: show what would go, and which groups would lose records
        #[arg(long)]
        dry_run: bool,
    },
}

/// Read, look at and erase entities: all records of one key in one topic, by version.
#[derive(Args, Debug)]
pub(super) struct EntityFlags {
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(super) command: EntityCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum EntityCommand {
    /// Print the records of an entity, one a line, in the order of their versions
    Read {
        /// The topic
        topic: String,
        /// The entity's key; one that is a flag comes behind --
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        /// The version to start at [default: the first; with --backward the last]
        #[arg(long, value_name = "N")]
        from_version: Option<u64>,
        /// Stop after this many records
        #[arg(long, value_name = "N")]
        max: Option<u64>,
        /// From the latest version to the first
        #[arg(long)]
        backward: bool,
    },
    /// Show the version and the latest record of entities, all as they are at one moment
    Latest {
        /// The topic
        topic: String,
        /// Their keys; those that are flags come behind --
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<OsString>,
    },
    /// Trim an entity: no read returns its records below a version any more
    ///
    /// Its versions go on as before. The bytes go when the segments that they are in are next
    /// written anew: with compaction, or at the latest when max.compaction.lag.ms has passed.
    Trim {
        /// The topic
        topic: String,
        /// The entity's key; one that is a flag comes behind --
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        /// The first version to keep; one more than the latest version keeps none
        #[arg(long, value_name = "VERSION")]
        before: u64,
        /// Trim nothing: show what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Erase an entity: no read returns its keys, values and headers any more
    ///
    /// Its bytes are then removed from every file, in the background. Offsets, versions, types and
    /// times stay. Records that are appended afterwards get the versions that follow. To erase
    /// again what is erased is harmless. On a terminal it asks first.
    Erase {
        /// The topic
        topic: String,
        /// The entity's key; one that is a flag comes behind --
        #[arg(allow_hyphen_values = true)]
        key: OsString,
        /// Wait until the bytes are gone from every file
        #[arg(long)]
        wait: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Show what time it is for a broker, and confirm that its machine's clock is right.
///
/// Append times are the broker's time. A machine's clock that is more than `clock.jump` away from
/// it, which may be wrong for a moment, is not followed before it has stood for `clock.settle`.
#[derive(Args, Debug)]
pub(super) struct ClockFlags {
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(super) command: ClockCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ClockCommand {
    /// Show the broker's time, and whether the machine's clock is followed
    Show,
    /// Follow the machine's clock at once
    Accept,
}

/// List and forget producers: those who number what they append, so that it is stored once.
#[derive(Args, Debug)]
pub(super) struct ProducerFlags {
    #[command(flatten)]
    pub(super) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(super) command: ProducerCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ProducerCommand {
    /// List producers
    List,
    /// Forget a producer: what it sends from then on is refused
    ///
    /// On a terminal it asks first.
    Forget {
        /// Its name, or its id if none has that name
        #[arg(value_name = "NAME|ID")]
        producer: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// Show and verify the data directory of a broker that is not running.
#[derive(Args, Debug)]
pub(super) struct InspectFlags {
    /// The data directory
    pub(super) dir: PathBuf,
    /// Read everything and check every checksum
    #[arg(long)]
    pub(super) verify: bool,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(super) json: bool,
}
