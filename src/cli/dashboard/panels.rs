//! The dashboard, in Grafana's format.

use serde_json::{Value, json};

use super::query::{events, quantile, rate, rate_by, share, value};
use crate::metrics::Metric;

/// The width of Grafana's grid.
const WIDTH: u64 = 24;

/// The width and height of a panel.
const PANEL: (u64, u64) = (8, 8);

/// A heading, and the panels below it.
struct Row {
    title: &'static str,
    panels: Vec<Panel>,
}

/// A panel with lines over time.
struct Panel {
    title: &'static str,
    /// The unit, by Grafana's name for it.
    unit: &'static str,
    lines: Vec<Line>,
}

/// A query, and the label for its lines.
struct Line {
    query: String,
    legend: &'static str,
}

fn panel<const N: usize>(
    title: &'static str,
    unit: &'static str,
    lines: [(String, &'static str); N],
) -> Panel {
    let line = |(query, legend)| Line { query, legend };
    Panel {
        title,
        unit,
        lines: lines.into_iter().map(line).collect(),
    }
}

/// The dashboard.
pub(super) fn dashboard() -> Value {
    json!({
        "title": "Taffrail",
        "uid": "taffrail",
        "tags": ["taffrail"],
        "schemaVersion": 39,
        "editable": true,
        "refresh": "30s",
        "time": { "from": "now-3h", "to": "now" },
        "timezone": "browser",
        "templating": { "list": [source(), instances()] },
        "panels": placed(&rows()),
    })
}

/// The variable to choose the Prometheus server.
fn source() -> Value {
    json!({ "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus" })
}

/// The variable to choose brokers.
fn instances() -> Value {
    let query = format!("label_values({}, instance)", Metric::Build.series());
    json!({
        "name": "instance",
        "label": "Broker",
        "type": "query",
        "datasource": { "type": "prometheus", "uid": "${source}" },
        "query": query,
        "refresh": 2,
        "includeAll": true,
        "multi": true,
        "current": { "text": "All", "value": "$__all" },
    })
}

/// The JSON of all panels, placed side by side in rows.
fn placed(rows: &[Row]) -> Vec<Value> {
    let mut placed = Vec::new();
    let mut y = 0;
    let (width, height) = PANEL;
    for row in rows {
        placed.push(json!({
            "type": "row",
            "title": row.title,
            "collapsed": false,
            "panels": [],
            "gridPos": { "x": 0, "y": y, "w": WIDTH, "h": 1 },
        }));
        y += 1;
        let mut x = 0;
        for panel in &row.panels {
            if x + width > WIDTH {
                (x, y) = (0, y + height);
            }
            let mut shown = shown(panel);
            shown["gridPos"] = json!({ "x": x, "y": y, "w": width, "h": height });
            placed.push(shown);
            x += width;
        }
        y += height;
    }
    for (id, panel) in placed.iter_mut().enumerate() {
        panel["id"] = json!(id + 1);
    }
    placed
}

fn shown(panel: &Panel) -> Value {
    let mut targets = Vec::new();
    for (line, name) in panel.lines.iter().zip('A'..='Z') {
        targets.push(json!({
            "refId": name.to_string(),
            "expr": line.query,
            "legendFormat": format!("{{{{instance}}}} {}", line.legend).trim_end(),
        }));
    }
    json!({
        "type": "timeseries",
        "title": panel.title,
        "datasource": { "type": "prometheus", "uid": "${source}" },
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
        "options": { "legend": { "displayMode": "list" }, "tooltip": { "mode": "multi" } },
        "targets": targets,
    })
}

fn rows() -> Vec<Row> {
    let row = |title, panels| Row { title, panels };
    vec![
        row("Appends", appends()),
        row("Journal and checkpoints", journal()),
        row("Reads", reads()),
        row("Consumer groups", groups()),
        row("Topics", topics()),
        row("Room", room()),
        row("Background", background()),
        row("Backups", backups()),
    ]
}

fn appends() -> Vec<Panel> {
    vec![
        panel(
            "Records appended",
            "wps",
            [(rate(Metric::AppendRecords), "records")],
        ),
        panel(
            "Bytes appended",
            "Bps",
            [(rate(Metric::AppendBytes), "bytes")],
        ),
        panel("Appends", "ops", [(rate(Metric::Appends), "appends")]),
        panel(
            "Duration of an append",
            "s",
            [
                (quantile("0.5", Metric::AppendTime), "p50"),
                (quantile("0.99", Metric::AppendTime), "p99"),
            ],
        ),
        panel(
            "Where it goes, p99",
            "s",
            [
                (quantile("0.99", Metric::AppendWait), "waits for room"),
                (
                    quantile("0.99", Metric::AppendQueue),
                    "waits for the journal",
                ),
                (quantile("0.99", Metric::JournalWrite), "write"),
                (quantile("0.99", Metric::JournalSync), "sync"),
                (quantile("0.99", Metric::JournalApply), "apply"),
            ],
        ),
        panel(
            "Not stored",
            "ops",
            [
                (rate(Metric::AppendConflicts), "conflict"),
                (
                    rate_by(Metric::AppendRefusals, "instance, reason"),
                    "{{reason}}",
                ),
            ],
        ),
    ]
}

fn journal() -> Vec<Panel> {
    vec![
        panel(
            "Journal files without a checkpoint",
            "short",
            [
                (value(Metric::JournalFiles), "files"),
                (value(Metric::JournalFilesLimit), "limit"),
            ],
        ),
        panel(
            "Age of what no checkpoint covers",
            "s",
            [(value(Metric::CheckpointAge), "")],
        ),
        panel(
            "Duration of a checkpoint, p99",
            "s",
            [(quantile("0.99", Metric::CheckpointTime), "")],
        ),
        panel(
            "Syncs of the journal",
            "ops",
            [(events(Metric::JournalSync), "syncs")],
        ),
    ]
}

fn reads() -> Vec<Panel> {
    vec![
        panel(
            "Calls answered, by code",
            "ops",
            [(rate_by(Metric::Calls, "instance, code"), "{{code}}")],
        ),
        panel("Readers", "short", [(value(Metric::ReadsOpen), "open")]),
        panel("Reads begun", "ops", [(rate(Metric::Reads), "")]),
        panel("Bytes read", "Bps", [(rate(Metric::ReadBytes), "")]),
    ]
}

fn groups() -> Vec<Panel> {
    vec![
        panel(
            "Lag in records",
            "short",
            [(value(Metric::GroupLagRecords), "{{group}}")],
        ),
        panel("Lag in time", "s", [(value(Metric::GroupLag), "{{group}}")]),
        panel(
            "Until retention removes what is not read",
            "s",
            [(value(Metric::GroupLoss), "{{group}}")],
        ),
        panel(
            "Partitions that make no progress",
            "short",
            [(value(Metric::GroupStalled), "{{group}}")],
        ),
        panel(
            "Members",
            "short",
            [(value(Metric::GroupMembers), "{{group}}")],
        ),
        panel(
            "Duration of a rebalance, p99",
            "s",
            [(quantile("0.99", Metric::GroupRebalances), "")],
        ),
    ]
}

fn topics() -> Vec<Panel> {
    let appended = format!(
        "sum by (instance, topic) (deriv({}[$__rate_interval]))",
        value(Metric::TopicEnd)
    );
    vec![
        panel(
            "Records appended by topic",
            "wps",
            [(appended, "{{topic}}")],
        ),
        panel(
            "Bytes stored by topic",
            "bytes",
            [(value(Metric::TopicStored), "{{topic}}")],
        ),
        panel(
            "Partitions and segments",
            "short",
            [
                (value(Metric::Partitions), "partitions"),
                (value(Metric::PartitionsLimit), "limit of partitions"),
                (value(Metric::Segments), "segments"),
            ],
        ),
    ]
}

fn room() -> Vec<Panel> {
    vec![
        panel(
            "Memory in use, of its limit",
            "percentunit",
            [(share(Metric::MemoryUsed, Metric::MemoryLimit), "{{part}}")],
        ),
        panel(
            "Memory of the process",
            "bytes",
            [(value(Metric::ProcessResident), "")],
        ),
        panel(
            "Free on the disk",
            "bytes",
            [
                (value(Metric::DiskFree), "free"),
                (value(Metric::DiskReserve), "kept free"),
            ],
        ),
        panel(
            "Connections, of their limit",
            "percentunit",
            [(
                share(Metric::Connections, Metric::ConnectionsLimit),
                "{{listener}}",
            )],
        ),
        panel(
            "Open files and sockets, of their limit",
            "percentunit",
            [(share(Metric::ProcessOpenFiles, Metric::ProcessMaxFiles), "")],
        ),
        panel(
            "Processors in use",
            "short",
            [(rate(Metric::ProcessCpu), "")],
        ),
    ]
}

fn background() -> Vec<Panel> {
    vec![
        panel(
            "Bytes compacted and compressed",
            "Bps",
            [
                (rate(Metric::CompactionBytes), "compaction"),
                (rate(Metric::CompressionBytes), "compression"),
            ],
        ),
        panel(
            "Bytes verified",
            "Bps",
            [(rate(Metric::ScrubBytes), "scrubbing")],
        ),
        panel(
            "Damaged ranges",
            "short",
            [(value(Metric::DamagedRanges), "")],
        ),
        panel(
            "Partitions that cannot be compacted",
            "short",
            [(value(Metric::CompactionsHindered), "")],
        ),
    ]
}

fn backups() -> Vec<Panel> {
    vec![
        panel(
            "Since the last backup was begun",
            "s",
            [(value(Metric::BackupAge), "")],
        ),
        panel(
            "Bytes of the last backup",
            "bytes",
            [
                (value(Metric::BackupBytes), "all"),
                (value(Metric::BackupSent), "sent"),
            ],
        ),
        panel(
            "Duration of the last backup",
            "s",
            [(value(Metric::BackupTime), "")],
        ),
    ]
}
