//! `taffrail inspect`: shows the content of a data directory, without a broker.

use serde_json::{Value, json};

use super::{
    Failure,
    backup::{range_json, range_text},
    flags::InspectFlags,
    output,
    time::format_time,
};
use crate::{
    env::Env,
    storage::inspect::{
        self, CopyState, Damage, Erasure, IndexState, JournalFile, KeyFileState, KeyRun, KeyTrims,
        LastVersions, Partition, Report, Segment, SegmentState, Topic,
    },
    types::TOPIC_SETTINGS,
};

pub(super) fn run(flags: &InspectFlags) -> Result<(), Failure> {
    let report = inspect::inspect_quiet(&Env::system(), &flags.dir, flags.verify)
        .map_err(|error| Failure::Unusable(error.to_string()))?;
    if flags.json {
        output::json(&report_json(&report))?;
    } else {
        print(&report, flags.verify)?;
    }
    let lost = report
        .damage
        .iter()
        .filter(|damage| damage.loses_records())
        .count() as u64;
    if lost > 0 {
        let places = output::counted(lost, "place");
        return Err(Failure::DataLoss(format!(
            "records are damaged in {places}; everything else can be read"
        )));
    }
    Ok(())
}

fn print(report: &Report, verified: bool) -> Result<(), Failure> {
    let id = report
        .id
        .map_or_else(|| "unknown".to_owned(), |id| format!("{id:016x}"));
    output::line(format_args!(
        "data directory {id}, format version {}",
        report.version
    ))?;
    if let Some(backup) = &report.backup {
        let (commit, taken) = (backup.commit, format_time(backup.taken_ms));
        output::line(format_args!("backup of journal entry {commit}, of {taken}"))?;
        match &backup.range {
            Some(range) => output::line(format_args!("  it {}", range_text(range)))?,
            None => output::line("  it can be restored as of that moment alone")?,
        }
    }
    let [first, second] = report.checkpoint.copies.map(copy_text);
    output::line(format_args!("checkpoint: {first}; its copy: {second}"))?;
    output::line(format_args!(
        "journal: ends at entry {}",
        output::count(report.journal.end)
    ))?;
    if let Some(torn) = &report.journal.torn {
        let (path, bytes) = (torn.path.display(), &torn.bytes);
        let said = "holds a write that was never acknowledged";
        output::line(format_args!(
            "  {path} {said}, at {} up to {}",
            bytes.start, bytes.end
        ))?;
    }
    let rows: Vec<[String; 4]> = report.journal.files.iter().map(journal_row).collect();
    output::table(["JOURNAL FILE", "NUMBER", "ENTRIES", "SEQUENCES"], &rows)?;
    output::line(format_args!(
        "producers: {}",
        output::count(report.producers)
    ))?;
    if report.groups > 0 {
        output::line(format_args!(
            "groups: {}, with {} committed offsets",
            output::count(report.groups),
            output::count(report.group_offsets)
        ))?;
    }
    for erasure in &report.erasures {
        let (id, topic, partition) = (erasure.id, &erasure.topic, erasure.partition);
        output::line(format_args!(
            "erasure {id:016x} in topic {topic}, partition {partition}, is not complete"
        ))?;
    }
    for trims in &report.key_trims {
        output::line(format_args!(
            "{} trimmed entities in topic {}, partition {}, are hidden until their bytes are gone",
            output::count(trims.waiting),
            trims.topic,
            trims.partition
        ))?;
    }
    let topics = &report.topics;
    let rows: Vec<[String; 9]> = topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|partition| row(topic, partition))
        })
        .collect();
    output::line("")?;
    let headings = [
        "TOPIC",
        "PARTITION",
        "LOG START",
        "END",
        "SEGMENTS",
        "BYTES",
        "IN JOURNAL",
        "KEY RUNS",
        "LAST VERSIONS",
    ];
    output::table(headings, &rows)?;
    for leftover in &report.leftovers {
        output::line(format_args!("left over: {}", leftover.display()))?;
    }
    for damage in &report.damage {
        output::line(format_args!("damage: {damage}"))?;
    }
    let checked = if verified {
        "every frame was checked"
    } else {
        "frames were not checked; --verify does"
    };
    Ok(output::line(format_args!(
        "{}; {checked}",
        output::counted(report.damage.len() as u64, "damaged place")
    ))?)
}

fn copy_text(copy: CopyState) -> String {
    match copy {
        CopyState::Missing => "missing".to_owned(),
        CopyState::Damaged => "damaged".to_owned(),
        CopyState::Whole { applied } => format!("covers entries up to {}", output::count(applied)),
    }
}

fn journal_row(file: &JournalFile) -> [String; 4] {
    let sequences = match (file.needed, file.entries) {
        (false, _) => "covered by the checkpoint".to_owned(),
        (true, 0) => "none".to_owned(),
        _ => format!("{} up to {}", file.sequences.start, file.sequences.end),
    };
    let number = file
        .number
        .map_or_else(|| "-".to_owned(), |number| number.to_string());
    [
        file.path.display().to_string(),
        number,
        file.entries.to_string(),
        sequences,
    ]
}

fn row(topic: &Topic, partition: &Partition) -> [String; 9] {
    let bytes: u64 = partition.segments.iter().map(|segment| segment.bytes).sum();
    let runs = partition
        .key_runs
        .iter()
        .filter(|run| run.state != KeyFileState::LeftOver)
        .count();
    let last_versions = partition
        .last_versions
        .iter()
        .filter(|file| file.state != KeyFileState::LeftOver);
    [
        topic.name.to_string(),
        partition.id.to_string(),
        partition.start.to_string(),
        partition.end.to_string(),
        partition.segments.len().to_string(),
        bytes.to_string(),
        partition.journal_records.to_string(),
        runs.to_string(),
        last_versions.map(|file| file.rows).sum::<u64>().to_string(),
    ]
}

fn report_json(report: &Report) -> Value {
    let files = report.journal.files.iter().map(|file| {
        json!({
            "path": file.path, "number": file.number, "needed": file.needed, "entries": file.entries,
            "first_sequence": file.sequences.start, "end_sequence": file.sequences.end,
        })
    });
    let torn = report
        .journal
        .torn
        .as_ref()
        .map(|torn| json!({ "path": torn.path, "from_byte": torn.bytes.start, "to_byte": torn.bytes.end }));
    json!({
        "backup": report.backup.as_ref().map(|backup| json!({
            "commit": backup.commit,
            "taken_ms": backup.taken_ms,
            "range": backup.range.as_ref().map(range_json),
        })),
        "id": report.id.map(|id| format!("{id:016x}")),
        "version": report.version,
        "checkpoint": {
            "copies": report.checkpoint.copies.map(copy_json),
            "applied": report.checkpoint.applied,
            "journal_file": report.checkpoint.journal_file,
        },
        "journal": { "end": report.journal.end, "torn": torn, "files": files.collect::<Vec<_>>() },
        "producers": report.producers,
        "groups": report.groups,
        "group_offsets": report.group_offsets,
        "erasures": report.erasures.iter().map(erasure_json).collect::<Vec<_>>(),
        "key_trims": report.key_trims.iter().map(key_trims_json).collect::<Vec<_>>(),
        "topics": report.topics.iter().map(topic_json).collect::<Vec<_>>(),
        "leftovers": report.leftovers,
        "damage": report.damage.iter().map(damage_json).collect::<Vec<_>>(),
    })
}

fn copy_json(copy: CopyState) -> Value {
    match copy {
        CopyState::Missing => json!({ "state": "missing" }),
        CopyState::Damaged => json!({ "state": "damaged" }),
        CopyState::Whole { applied } => json!({ "state": "whole", "applied": applied }),
    }
}

fn erasure_json(erasure: &Erasure) -> Value {
    json!({
        "id": format!("{:016x}", erasure.id), "topic": erasure.topic.as_str(), "partition": erasure.partition.0,
        "requested_ms": erasure.requested_ms,
    })
}

fn key_trims_json(trims: &KeyTrims) -> Value {
    json!({
        "topic": trims.topic.as_str(), "partition": trims.partition.0, "waiting": trims.waiting,
    })
}

fn topic_json(topic: &Topic) -> Value {
    let settings = TOPIC_SETTINGS.iter().map(|setting| {
        let value = setting.get(&topic.settings);
        (setting.name.to_owned(), value.into())
    });
    json!({
        "name": topic.name.as_str(),
        "id": topic.id.to_string(),
        "settings": settings.collect::<serde_json::Map<_, Value>>(),
        "partitions": topic.partitions.iter().map(partition_json).collect::<Vec<_>>(),
    })
}

fn partition_json(partition: &Partition) -> Value {
    json!({
        "partition": partition.id.0, "start": partition.start.0, "end": partition.end.0,
        "journal_records": partition.journal_records,
        "segments": partition.segments.iter().map(segment_json).collect::<Vec<_>>(),
        "key_runs": partition.key_runs.iter().map(key_run_json).collect::<Vec<_>>(),
        "last_versions": partition.last_versions.iter().map(last_versions_json).collect::<Vec<_>>(),
    })
}

fn key_run_json(run: &KeyRun) -> Value {
    json!({
        "path": run.path, "from": run.offsets.start.0, "to": run.offsets.end.0, "rows": run.rows, "bytes": run.bytes,
        "state": key_file_state(run.state),
    })
}

fn last_versions_json(file: &LastVersions) -> Value {
    json!({
        "path": file.path, "from": file.numbers.start, "to": file.numbers.end, "rows": file.rows, "bytes": file.bytes,
        "state": key_file_state(file.state),
    })
}

fn key_file_state(state: KeyFileState) -> &'static str {
    match state {
        KeyFileState::Sound => "sound",
        KeyFileState::Damaged => "damaged",
        KeyFileState::LeftOver => "left_over",
    }
}

fn segment_json(segment: &Segment) -> Value {
    let state = match segment.state {
        SegmentState::Sealed => "sealed",
        SegmentState::Active => "active",
        SegmentState::BehindCheckpoint => "behind_checkpoint",
    };
    let index = match segment.index {
        IndexState::NotYet => "not_yet",
        IndexState::Sound => "sound",
        IndexState::Missing => "missing",
        IndexState::Damaged => "damaged",
    };
    json!({
        "path": segment.path, "base": segment.base.0, "end": segment.end.0, "bytes": segment.bytes,
        "records": segment.records, "state": state, "index": index,
    })
}

fn damage_json(damage: &Damage) -> Value {
    json!({
        "path": damage.path,
        "what": damage.kind.to_string(),
        "topic": damage.topic.as_ref().map(|topic| topic.as_str()),
        "partition": damage.partition.map(|partition| partition.0),
        "from_offset": damage.offsets.as_ref().map(|offsets| offsets.start.0),
        "to_offset": damage.offsets.as_ref().map(|offsets| offsets.end.0),
        "loses_records": damage.loses_records(),
    })
}
