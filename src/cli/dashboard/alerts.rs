//! Alerting rules for Prometheus.

use std::fmt::Write as _;

use crate::metrics::Metric;

/// An alerting rule. Its texts are for the person who is woken by it.
struct Alert {
    name: &'static str,
    query: String,
    /// How long the condition must hold.
    lasts: &'static str,
    severity: &'static str,
    summary: &'static str,
    description: &'static str,
}

/// For alerts that need a reaction now.
const CRITICAL: &str = "critical";

/// For alerts that need a reaction today.
const WARNING: &str = "warning";

/// Reasons for refused appends that are not the client's fault.
const NOT_THE_CLIENTS: [&str; 5] = [
    "OVERLOADED",
    "STORAGE_UNAVAILABLE",
    "OUTCOME_UNKNOWN",
    "PARTITION_FULL",
    "RETENTION_HELD",
];

/// All rules, as a file for Prometheus.
pub(super) fn rules() -> String {
    let mut text = String::from("groups:\n  - name: taffrail\n    rules:\n");
    let alerts = storage()
        .into_iter()
        .chain(room())
        .chain(work())
        .chain(copies());
    for alert in alerts {
        write(&mut text, &alert);
    }
    text
}

fn write(text: &mut String, alert: &Alert) {
    let Alert {
        name,
        query,
        lasts,
        severity,
        summary,
        description,
    } = alert;
    // Unquoted, a brace or a colon would have a meaning in YAML.
    let written = write!(
        text,
        "      - alert: {name}\n        \
        expr: {query:?}\n        \
        for: {lasts}\n        \
        labels:\n          severity: {severity}\n        \
        annotations:\n          summary: {summary:?}\n          description: {description:?}\n"
    );
    written.expect("a String takes what is written");
}

fn storage() -> Vec<Alert> {
    vec![
        Alert {
            name: "TaffrailGone",
            query: format!("absent({})", Metric::Build.series()),
            lasts: "5m",
            severity: CRITICAL,
            summary: "No broker is scraped",
            description: "Prometheus has no metrics of any Taffrail broker: none runs, or none \
                can be reached.",
        },
        Alert {
            name: "TaffrailStorageFailed",
            query: format!("{} == 1", Metric::StorageFailed.series()),
            lasts: "0m",
            severity: CRITICAL,
            summary: "Storage of {{ $labels.instance }} has failed",
            description: "A sync or a write has failed, and the broker serves no more. Look at \
                the disk, then start the broker anew: what was acknowledged is recovered.",
        },
        Alert {
            name: "TaffrailDamagedRecords",
            query: format!("{} > 0", Metric::DamagedRanges.series()),
            lasts: "0m",
            severity: CRITICAL,
            summary: "Records on {{ $labels.instance }} are damaged",
            description: "{{ $value }} ranges of offsets cannot be read. `taffrail topic \
                describe` says which; restore them from a copy while there is one.",
        },
        Alert {
            name: "TaffrailSyncSlow",
            query: format!(
                "histogram_quantile(0.99, sum by (le, instance) (rate({}_bucket[5m]))) > 0.5",
                Metric::JournalSync.series()
            ),
            lasts: "10m",
            severity: WARNING,
            summary: "The disk of {{ $labels.instance }} syncs slowly",
            description: "One sync of the journal in a hundred takes {{ $value }} s, and every \
                append waits for one.",
        },
        Alert {
            name: "TaffrailJournalFull",
            query: format!(
                "{} >= {}",
                Metric::JournalFiles.series(),
                Metric::JournalFilesLimit.series()
            ),
            lasts: "5m",
            severity: WARNING,
            summary: "The journal of {{ $labels.instance }} is full",
            description: "Appends wait for checkpoints: segments are written more slowly than \
            records come.",
        },
        Alert {
            name: "TaffrailCheckpointOld",
            query: format!("{} > 600", Metric::CheckpointAge.series()),
            lasts: "5m",
            severity: WARNING,
            summary: "{{ $labels.instance }} has written no checkpoint for long",
            description: "What no checkpoint covers is {{ $value }} s old. The log says what \
                hinders it; a start reads all of it again.",
        },
    ]
}

fn room() -> Vec<Alert> {
    vec![
        Alert {
            name: "TaffrailDiskFull",
            query: format!("{} == 1", Metric::DiskFull.series()),
            lasts: "0m",
            severity: CRITICAL,
            summary: "The disk of {{ $labels.instance }} is full",
            description: "Appends are refused until something is freed. `taffrail status` says \
            how much.",
        },
        Alert {
            name: "TaffrailDiskFillsUp",
            query: format!(
                "predict_linear({free}[6h], 86400) < {reserve} and {free} < 10 * {reserve}",
                free = Metric::DiskFree.series(),
                reserve = Metric::DiskReserve.series()
            ),
            lasts: "1h",
            severity: WARNING,
            summary: "The disk of {{ $labels.instance }} will be full within a day",
            description: "As its free room has shrunk in the last six hours, appends will be \
                refused within a day.",
        },
        Alert {
            name: "TaffrailCertificateEnds",
            query: format!("{} - time() < 604800", Metric::CertificateEnd.series()),
            lasts: "1h",
            severity: WARNING,
            summary: "The certificate of {{ $labels.instance }} is soon not valid any more",
            description: "In {{ $value }} s no client connects any more. Put a new one in the \
                place of the old: the broker looks at the files.",
        },
        Alert {
            name: "TaffrailMemoryFull",
            query: share(Metric::MemoryUsed, Metric::MemoryLimit, "0.95"),
            lasts: "10m",
            severity: WARNING,
            summary: "The memory for {{ $labels.part }} of {{ $labels.instance }} is used up",
            description: "Calls wait or are refused for want of it. `taffrail status --json` \
                says what this part is for.",
        },
        Alert {
            name: "TaffrailConnectionsFull",
            query: share(Metric::Connections, Metric::ConnectionsLimit, "0.9"),
            lasts: "10m",
            severity: WARNING,
            summary: "Nearly all connections of {{ $labels.instance }} are taken",
            description: "Beyond the limit newcomers are turned away (server.max_connections).",
        },
        Alert {
            name: "TaffrailFilesFull",
            query: share(Metric::ProcessOpenFiles, Metric::ProcessMaxFiles, "0.9"),
            lasts: "10m",
            severity: WARNING,
            summary: "{{ $labels.instance }} has nearly all files open that it may",
            description: "Raise the limit of open files (ulimit -n).",
        },
        Alert {
            name: "TaffrailPartitionsFull",
            query: share(Metric::Partitions, Metric::PartitionsLimit, "0.9"),
            lasts: "10m",
            severity: WARNING,
            summary: "{{ $labels.instance }} has nearly all partitions that it can have",
            description: "Beyond the limit no topics are made.",
        },
    ]
}

fn work() -> Vec<Alert> {
    vec![
        Alert {
            name: "TaffrailAppendsRefused",
            query: format!(
                "sum by (instance, reason) (rate({}{{reason=~\"{}\"}}[5m])) > 0",
                Metric::AppendRefusals.series(),
                NOT_THE_CLIENTS.join("|")
            ),
            lasts: "10m",
            severity: WARNING,
            summary: "{{ $labels.instance }} refuses appends: {{ $labels.reason }}",
            description: "{{ $value }} appends a second are not stored for a reason that is not \
                their client's.",
        },
        Alert {
            name: "TaffrailGroupStalled",
            query: format!("{} > 0", Metric::GroupStalled.series()),
            lasts: "5m",
            severity: WARNING,
            summary: "Group {{ $labels.group }} makes no progress",
            description: "{{ $value }} of its partitions have an owner and records to read, and \
                nothing is committed. `taffrail group describe` says whose they are.",
        },
        Alert {
            name: "TaffrailGroupLosesRecords",
            query: format!("{} < 14400", Metric::GroupLoss.series()),
            lasts: "5m",
            severity: CRITICAL,
            summary: "Retention is about to remove what group {{ $labels.group }} has not read",
            description: "In {{ $value }} s the first of its records are removed. Let it catch \
                up, or raise retention.ms.",
        },
        Alert {
            name: "TaffrailCompactionHindered",
            query: format!("{} > 0", Metric::CompactionsHindered.series()),
            lasts: "1h",
            severity: WARNING,
            summary: "Partitions of {{ $labels.instance }} cannot be compacted",
            description: "{{ $value }} partitions are not compacted, or not all of them, and grow. \
            `taffrail topic describe` says why.",
        },
    ]
}

fn copies() -> Vec<Alert> {
    vec![Alert {
        name: "TaffrailBackupOld",
        query: format!("{} > 172800", Metric::BackupAge.series()),
        lasts: "1h",
        severity: WARNING,
        summary: "No backup of {{ $labels.instance }} was taken for two days",
        description: "The last one that was sent to its end was begun {{ $value }} s ago, or none \
            was since the broker was started so long ago. Look at what takes them.",
    }]
}

/// A query for more than a share of a limit.
fn share(used: Metric, limit: Metric, most: &str) -> String {
    format!("{} / {} > {most}", used.series(), limit.series())
}
