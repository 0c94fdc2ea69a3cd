//! The metrics.
//!
//! Names follow Prometheus' conventions: the base unit comes last, with `_total` behind it for
//! counters. Both are added when a metric is written, and left out here.

use prometheus_client::{metrics::MetricType, registry::Unit};

/// A metric without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The name without its unit, and without `_total` or `_info`.
    pub(crate) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unit: In,
    pub(super) help: &'static str,
}

/// How a metric's values behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The value only rises, from 0 at the start of the process.
    Counter,
    /// The value rises and falls.
    Gauge,
    /// Counts of observed values, by bounds.
    Histogram,
    /// Labels that describe the process.
    Info,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum In {
    Bytes,
    Seconds,
    /// A plain number.
    Numbers,
}

impl Kind {
    pub(super) fn encoded(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
            Self::Histogram => MetricType::Histogram,
            Self::Info => MetricType::Info,
        }
    }
}

impl In {
    pub(super) fn encoded(self) -> Option<Unit> {
        match self {
            Self::Bytes => Some(Unit::Bytes),
            Self::Seconds => Some(Unit::Seconds),
            Self::Numbers => None,
        }
    }
}

impl Metric {
    /// The name under which the values can be queried: with its unit, and with `_total` for a
    /// counter or `_info` for a description of the process. A histogram's series also have
    /// `_bucket`, `_sum` or `_count` at the end.
    #[cfg(feature = "cli")]
    pub(crate) fn series(self) -> String {
        let Declared {
            name, kind, unit, ..
        } = self.declared();
        let unit = match unit {
            In::Bytes => "_bytes",
            In::Seconds => "_seconds",
            In::Numbers => "",
        };
        let end = match kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        format!("{name}{unit}{end}")
    }
}

/// Declares each metric once, in the order in which they are written.
macro_rules! metrics {
    ($($metric:ident: $kind:ident $name:literal $unit:ident, $help:literal;)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Metric {
            $(#[doc = $help] $metric,)*
        }

        impl Metric {
            /// Every metric, in the order of [`Metric`].
            pub(crate) const ALL: &[Self] = &[$(Self::$metric,)*];

            pub(crate) const fn declared(self) -> Declared {
                match self {
                    $(Self::$metric => Declared {
                        name: $name,
                        kind: Kind::$kind,
                        unit: In::$unit,
                        help: $help,
                    },)*
                }
            }
        }
    };
}

metrics! {
    Build: Info "taffrail_build" Numbers,
        "The version of this broker.";
    Uptime: Gauge "taffrail_uptime" Seconds,
        "For how long the data directory has been open.";
    PageMade: Histogram "taffrail_metrics_page" Seconds,
        "How long it took to make each page of metrics before this one.";
    StorageFailed: Gauge "taffrail_storage_failed" Numbers,
        "1 when storage has failed: the broker serves no more and has to be started anew.";

    Topics: Gauge "taffrail_topics" Numbers,
        "Topics.";
    Partitions: Gauge "taffrail_partitions" Numbers,
        "Partitions of all topics.";
    PartitionsLimit: Gauge "taffrail_partitions_limit" Numbers,
        "How many partitions there can be.";
    Producers: Gauge "taffrail_producers" Numbers,
        "Producers that the broker knows.";
    ProducersLimit: Gauge "taffrail_producers_limit" Numbers,
        "How many producers can be known.";

    Appends: Counter "taffrail_appends" Numbers,
        "Appends that were stored.";
    AppendRecords: Counter "taffrail_append_records" Numbers,
        "Records that were stored.";
    AppendBytes: Counter "taffrail_append" Bytes,
        "Bytes of the records that were stored, with what the broker adds to them.";
    AppendConflicts: Counter "taffrail_append_conflicts" Numbers,
        "Appends of which a condition did not hold.";
    AppendRefusals: Counter "taffrail_append_refusals" Numbers,
        "Appends that were refused, or of which the outcome is not known, by reason.";
    AppendTime: Histogram "taffrail_append_duration" Seconds,
        "How long appends took, from when the request was there until it was durable and visible.";
    AppendWait: Histogram "taffrail_append_wait" Seconds,
        "How long appends waited for room, and for their turn; a part of \
        taffrail_append_duration_seconds.";
    AppendQueue: Histogram "taffrail_append_queue" Seconds,
        "How long it took from then on until the journal took them, their checks included; a \
            part of taffrail_append_duration_seconds.";
    JournalWrite: Histogram "taffrail_journal_write" Seconds,
        "How long each write to the journal took; many appends share one.";
    JournalSync: Histogram "taffrail_journal_sync" Seconds,
        "How long each sync of the journal took.";
    JournalApply: Histogram "taffrail_journal_apply" Seconds,
        "How long it took to make visible what each write had made durable.";

    Stored: Gauge "taffrail_stored" Bytes,
        "Bytes of all records that are stored, as they lie on the disk.";
    Segments: Gauge "taffrail_segments" Numbers,
        "Segments of all partitions.";
    TopicPartitions: Gauge "taffrail_topic_partitions" Numbers,
        "Partitions of a topic.";
    TopicStart: Gauge "taffrail_topic_start_offset" Numbers,
        "The offsets that the partitions of a topic start at, together.";
    TopicEnd: Gauge "taffrail_topic_end_offset" Numbers,
        "The offsets that the partitions of a topic end at, together: how many records were ever \
        appended.";
    TopicStored: Gauge "taffrail_topic_stored" Bytes,
        "Bytes of the records of a topic that are stored.";
    TopicSegments: Gauge "taffrail_topic_segments" Numbers,
        "Segments of a topic.";
    TopicDamaged: Gauge "taffrail_topic_damaged_ranges" Numbers,
        "Ranges of offsets of a topic that cannot be read, as far as scrubbing has found them.";
    PartitionStart: Gauge "taffrail_partition_start_offset" Numbers,
        "The offset that a partition starts at; with ?partitions=TOPIC only.";
    PartitionEnd: Gauge "taffrail_partition_end_offset" Numbers,
        "The offset that a partition ends at; with ?partitions=TOPIC only.";
    PartitionStored: Gauge "taffrail_partition_stored" Bytes,
        "Bytes of the records of a partition that are stored; with ?partitions=TOPIC only.";
    PartitionSegments: Gauge "taffrail_partition_segments" Numbers,
        "Segments of a partition; with ?partitions=TOPIC only.";

    GroupMembers: Gauge "taffrail_group_members" Numbers,
        "Members of a consumer group.";
    GroupPartitions: Gauge "taffrail_group_partitions" Numbers,
        "Partitions that a group reads or has read.";
    GroupLagRecords: Gauge "taffrail_group_lag_records" Numbers,
        "Records that are stored and that a group has not committed.";
    GroupLag: Gauge "taffrail_group_lag" Seconds,
        "The age of the oldest record that a group has not committed, of those that are next in \
            their partitions.";
    GroupStalled: Gauge "taffrail_group_stalled_partitions" Numbers,
        "Partitions of a group that have an owner and records to read, and make no progress \
            (groups.stalled).";
    GroupLoss: Gauge "taffrail_group_retention_loss" Seconds,
        "How long it takes until retention removes the first record that a group has not \
            committed; without a value where it removes none.";
    GroupRebalances: Histogram "taffrail_group_rebalance_duration" Seconds,
        "How long it took until the partitions of a group were with those who are to have them.";
    Omitted: Gauge "taffrail_metrics_omitted" Numbers,
        "Topics and groups that have no metrics of their own, because there are so many \
            (http.topics, http.groups).";

    Reads: Counter "taffrail_reads" Numbers,
        "Reads that have begun: of topics, of entities, and of members of groups.";
    ReadsOpen: Gauge "taffrail_reads_open" Numbers,
        "Reads that have not ended.";
    ReadBytes: Counter "taffrail_read" Bytes,
        "Bytes of records that were made ready for readers, before they are compressed.";

    Connections: Gauge "taffrail_connections" Numbers,
        "Open connections, by listener.";
    ConnectionsLimit: Gauge "taffrail_connections_limit" Numbers,
        "How many connections a listener takes.";
    Calls: Counter "taffrail_calls" Numbers,
        "Calls that were answered, by the code of gRPC; of a stream it is the one that it began \
        with.";
    CallRefusals: Counter "taffrail_call_refusals" Numbers,
        "Calls that were answered with an error, by reason; of a stream the one that it began \
            with. What becomes of appends is in taffrail_append_refusals.";
    CallsOpen: Gauge "taffrail_calls_open" Numbers,
        "Calls that are not answered to their end, streams included.";

    QuotaPrincipals: Gauge "taffrail_quota_principals" Numbers,
        "Principals that a [[quota]] is for and that have called.";
    QuotaRefusals: Counter "taffrail_quota_refusals" Numbers,
        "Calls, and appends in streams, that were refused because their principal has used up a \
            quota.";
    QuotaWaits: Counter "taffrail_quota_waits" Numbers,
        "How often something waited for a quota of its principal.";
    QuotaWait: Counter "taffrail_quota_wait" Seconds,
        "How long that was together.";

    AuditRecords: Counter "taffrail_audit_records" Numbers,
        "Records of the audit log that were written to its topic (audit.topic).";
    AuditLost: Counter "taffrail_audit_lost_records" Numbers,
        "Records of the audit log that its topic does not have: they came faster than they were \
            written, or it took none. The log has them.";

    TracesSent: Counter "taffrail_traces_sent" Numbers,
        "Calls that were traced, and appends of streams, that the collector has taken \
            (telemetry.otlp_endpoint).";
    TracesLost: Counter "taffrail_traces_lost" Numbers,
        "Those that it has not taken, or that came faster than they were sent.";

    CertificateEnd: Gauge "taffrail_certificate_expiry_timestamp" Seconds,
        "When the first certificate of the port for calls is not valid any more, in seconds \
            since 1970; without a value where it speaks no TLS.";
    MemoryUsed: Gauge "taffrail_memory_used" Bytes,
        "What is used of each part of the memory that memory.bytes grants.";
    MemoryPeak: Gauge "taffrail_memory_peak" Bytes,
        "The most that was used of each part at a time since the start.";
    MemoryLimit: Gauge "taffrail_memory_limit" Bytes,
        "What may be used of each part.";

    DiskFree: Gauge "taffrail_disk_free" Bytes,
        "What is free on the disk with the data, what the reserve file holds included.";
    DiskReserve: Gauge "taffrail_disk_reserve" Bytes,
        "What is kept there: appends are refused below it (disk.reserve_bytes).";
    DiskFull: Gauge "taffrail_disk_full" Numbers,
        "1 while appends are refused for want of room on the disk.";

    JournalFiles: Gauge "taffrail_journal_files" Numbers,
        "Journal files with entries that no checkpoint covers.";
    JournalFilesLimit: Gauge "taffrail_journal_files_limit" Numbers,
        "How many journal files there can be (journal.files).";
    CheckpointAge: Gauge "taffrail_checkpoint_age" Seconds,
        "For how long there has been something in the journal that no checkpoint covers.";
    CheckpointTime: Histogram "taffrail_checkpoint_duration" Seconds,
        "How long it took to write each checkpoint, with the segments that it covers.";
    Backups: Counter "taffrail_backups" Numbers,
        "Backups that were sent to their end.";
    BackupAge: Gauge "taffrail_backup_age" Seconds,
        "How long ago the last backup was begun that was sent to its end; the time since the start \
            of the broker, if none was.";
    BackupTaken: Gauge "taffrail_backup_last_timestamp" Seconds,
        "What the last of them is as of, in seconds since 1970; it and what follows have no value \
            before the first since the start.";
    BackupTime: Gauge "taffrail_backup_last_duration" Seconds,
        "How long the last of them took.";
    BackupBytes: Gauge "taffrail_backup_last" Bytes,
        "Bytes of the files of the last of them.";
    BackupSent: Gauge "taffrail_backup_last_sent" Bytes,
        "Bytes that were sent for the last of them: what its client did not have.";
    BackupJournal: Gauge "taffrail_backup_journal" Bytes,
        "Journal entries that are kept for restores until a moment between two backups.";
    BackupJournalLimit: Gauge "taffrail_backup_journal_limit" Bytes,
        "How much of them may be kept (backup.journal).";
    BackupJournalFrom: Gauge "taffrail_backup_journal_first_commit" Numbers,
        "A directory whose backup is as of this commit or a later one can be restored until any \
            commit from there on, once it has the next backup; no value while none are kept.";
    BackupJournalTo: Gauge "taffrail_backup_journal_last_commit" Numbers,
        "The commit until which that can be, if the next backup is taken now.";
    ScrubBytes: Counter "taffrail_scrub" Bytes,
        "Bytes of sealed segments that were verified.";
    ScrubRounds: Counter "taffrail_scrub_rounds" Numbers,
        "How often all sealed segments have been verified.";
    DamagedRanges: Gauge "taffrail_damaged_ranges" Numbers,
        "Ranges of offsets that cannot be read, as far as scrubbing has found them.";
    Compactions: Counter "taffrail_compactions" Numbers,
        "Passes of compaction over a partition that came to their end.";
    CompactionBytes: Counter "taffrail_compaction" Bytes,
        "Bytes that compaction has read.";
    CompactionRecords: Counter "taffrail_compaction_removed_records" Numbers,
        "Records that compaction has removed.";
    CompressionBytes: Counter "taffrail_compression" Bytes,
        "Bytes of sealed segments that were compressed, as they were before.";
    CompactionsHindered: Gauge "taffrail_compactions_hindered" Numbers,
        "Partitions that cannot be compacted, or not all of them; topic describe says why.";

    ProcessResident: Gauge "process_resident_memory" Bytes,
        "Memory that the process takes.";
    ProcessCpu: Counter "process_cpu" Seconds,
        "Time that the process has spent on processors.";
    ProcessOpenFiles: Gauge "process_open_fds" Numbers,
        "Files and sockets that the process has open.";
    ProcessMaxFiles: Gauge "process_max_fds" Numbers,
        "How many files and sockets the process may have open.";
}
