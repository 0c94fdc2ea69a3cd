//! What can be typed behind `bench`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::ConnectionFlags;

/// Measure how fast a broker is, and the machine it runs on.
///
/// Without --server it starts a broker of its own, a second process with its data in a directory
/// that is removed afterwards. Everything that is appended is read back and compared. What the
/// machine can do is measured in the same run: a synced sequential write, one small synced write,
/// one TCP stream over loopback.
///
/// Compare keys=versioned, which is the default, with --set keys=plain.
#[derive(Args, Debug)]
pub(in crate::cli) struct BenchFlags {
    #[command(flatten)]
    pub(in crate::cli) connection: ConnectionFlags,
    #[command(subcommand)]
    pub(in crate::cli) command: BenchCommand,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum BenchCommand {
    /// Append as fast as possible, with many requests under way
    Produce {
        #[command(flatten)]
        load: LoadFlags,
        /// Records in each request
        #[arg(long, value_name = "N", default_value_t = 1000)]
        records: u32,
        /// Connections that append at the same time
        #[arg(long, value_name = "N", default_value_t = 2)]
        producers: u32,
        /// Bytes of values to append in all
        #[arg(long, value_name = "SIZE", default_value = "2GB")]
        bytes: String,
        /// The records' keys
        #[arg(long, value_enum, value_name = "KEYS", default_value_t = BenchKeys::None)]
        keys: BenchKeys,
        /// Records that are in the topic before, each with a key of its own and a value of 8 bytes;
        /// not measured
        #[arg(long, value_name = "N", default_value_t = 0)]
        preload: u64,
        /// Consumer groups that meanwhile commit an offset ten times a second each; measured in
        /// turns with the same load without them
        #[arg(long, value_name = "N", default_value_t = 0)]
        groups: u32,
        /// Take turns of this length within each run: the groups commit in every other one. What
        /// their commits cost is the difference between turns that follow each other, with its
        /// standard error. Without --groups no turn differs from another, which shows how small a
        /// difference can be told
        #[arg(long, value_name = "MS")]
        turn_ms: Option<u32>,
        /// Bytes of values to append a second, by all producers together, instead of as many as
        /// possible; the latency of a request counts from when it was due
        #[arg(long, value_name = "SIZE")]
        rate: Option<String>,
    },
    /// Read as fast as possible
    Consume {
        #[command(flatten)]
        load: LoadFlags,
        /// Records in each request that was appended
        #[arg(long, value_name = "N", default_value_t = 1000)]
        records: u32,
        /// Connections that each read the whole topic at the same time
        #[arg(long, value_name = "N", default_value_t = 2)]
        consumers: u32,
        /// Members of one consumer group that share the partitions, each on a connection of its
        /// own, and commit every second; measured in turns with as many reads that follow, which
        /// share the partitions as well
        #[arg(long, value_name = "N", conflicts_with = "consumers")]
        members: Option<u32>,
        /// Bytes of values in the topic
        #[arg(long, value_name = "SIZE", default_value = "2GB")]
        bytes: String,
    },
    /// Append one request at a time, each when the one before is answered
    Append {
        #[command(flatten)]
        load: LoadFlags,
        /// Records in each request
        #[arg(long, value_name = "N", default_value_t = 1)]
        records: u32,
        /// Clients that append at the same time, each on a connection of its own
        #[arg(long, value_name = "N", default_value_t = 1, alias = "producers")]
        clients: u32,
        /// Tasks of each client that append at the same time, all on its connection
        #[arg(
            long,
            value_name = "N",
            default_value_t = 1,
            conflicts_with = "streamed"
        )]
        tasks: u32,
        /// Requests of each task
        #[arg(long, value_name = "N", default_value_t = 5000)]
        requests: u32,
        /// Spread requests over this many entities, at random; each task has entities of its own
        #[arg(long, value_name = "N")]
        entities: Option<u64>,
        /// Each request expects its entity at the version that it has
        #[arg(long, requires = "entities")]
        expect_version: bool,
        /// Do not wait for answers: each client keeps many requests under way on a stream
        #[arg(long)]
        streamed: bool,
    },
    /// Read entities at random, one read at a time
    Entity {
        #[command(flatten)]
        load: LoadFlags,
        /// Entities in the topic
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        entities: u64,
        /// Records of each entity, spread over the whole log
        #[arg(long, value_name = "N", default_value_t = 10)]
        records_per_entity: u32,
        /// Records of each request that was appended; they are stored together, and each is of
        /// another entity
        #[arg(long, value_name = "N", default_value_t = 100)]
        records: u32,
        /// Records to read of an entity, from its first one on
        #[arg(long, value_name = "N", default_value_t = 10)]
        max: u32,
        /// Clients that read at the same time, each on a connection of its own
        #[arg(long, value_name = "N", default_value_t = 1)]
        clients: u32,
        /// Reads of each client
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        reads: u32,
        /// Start the broker anew before the reads, with nothing of its files in memory
        #[arg(long)]
        cold: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum BenchKeys {
    /// No key
    None,
    /// One of 1,000 keys
    Hot,
    /// A key that no other record has
    New,
}

#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct LoadFlags {
    /// Bytes of each value
    #[arg(long, value_name = "SIZE", default_value = "1000")]
    pub(in crate::cli) record_bytes: String,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(in crate::cli) partitions: u32,
    /// A setting of the topic, such as durability=os; may be given again
    #[arg(long, value_name = "KEY=VALUE")]
    pub(in crate::cli) set: Vec<String>,
    /// How often to measure; the medians count
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(in crate::cli) runs: u32,
    /// Where to make the directory for the files of this measurement: on the disk that is to be
    /// measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(in crate::cli) dir: PathBuf,
}
