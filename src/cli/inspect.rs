//! `taffrail inspect`: what is in a data directory, without a broker.

use serde_json::{Value, json};

use super::{Failure, flags::InspectFlags, output};
use crate::{
    env::Env,
    storage::inspect::{
        self, CopyState, Damage, IndexState, JournalFile, Partition, Report, Segment, SegmentState, Topic,
    },
    types::TopicSettings,
};

pub(super) fn run(flags: &InspectFlags) -> Result<(), Failure> {
    let report = inspect::inspect(&Env::system(), &flags.dir, flags.verify)
        .map_err(|error| Failure::Unusable(error.to_string()))?;
    if flags.json {
        output::json(&report_json(&report))?;
    } else {
        print(&report, flags.verify)?;
    }
    let lost = report.damage.iter().filter(|damage| damage.loses_records()).count() as u64;
    if lost > 0 {
        let places = output::counted(lost, "place");
        return Err(Failure::DataLoss(format!("records are damaged in {places}; everything else can be read")));
    }
    Ok(())
}

fn print(report: &Report, verified: bool) -> Result<(), Failure> {
    let id = report.id.map_or_else(|| "unknown".to_owned(), |id| format!("{id:016x}"));
    output::line(format_args!("data directory {id}, format version {}", report.version))?;
    let [first, second] = report.checkpoint.copies.map(copy_text);
    output::line(format_args!("checkpoint: {first}; its copy: {second}"))?;
    output::line(format_args!("journal: ends at entry {}", output::count(report.journal.end)))?;
    if let Some(torn) = &report.journal.torn {
        let (path, bytes) = (torn.path.display(), &torn.bytes);
        let said = "holds a write that was never acknowledged";
        output::line(format_args!("  {path} {said}, at {} up to {}", bytes.start, bytes.end))?;
    }
    let rows: Vec<[String; 4]> = report.journal.files.iter().map(journal_row).collect();
    output::table(["JOURNAL FILE", "NUMBER", "ENTRIES", "SEQUENCES"], &rows)?;
    let topics = &report.topics;
    let rows: Vec<[String; 7]> =
        topics.iter().flat_map(|topic| topic.partitions.iter().map(|partition| row(topic, partition))).collect();
    output::line("")?;
    output::table(["TOPIC", "PARTITION", "START", "END", "SEGMENTS", "BYTES", "IN JOURNAL"], &rows)?;
    for leftover in &report.leftovers {
        output::line(format_args!("left over: {}", leftover.display()))?;
    }
    for damage in &report.damage {
        output::line(format_args!("damage: {damage}"))?;
    }
    let checked = if verified { "every frame was checked" } else { "frames were not checked; --verify does" };
    Ok(output::line(format_args!("{}; {checked}", output::counted(report.damage.len() as u64, "damaged place")))?)
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
    let number = file.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    [file.path.display().to_string(), number, file.entries.to_string(), sequences]
}

fn row(topic: &Topic, partition: &Partition) -> [String; 7] {
    let bytes: u64 = partition.segments.iter().map(|segment| segment.bytes).sum();
    [
        topic.name.to_string(),
        partition.id.to_string(),
        partition.start.to_string(),
        partition.end.to_string(),
        partition.segments.len().to_string(),
        bytes.to_string(),
        partition.journal_records.to_string(),
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
        "id": report.id.map(|id| format!("{id:016x}")),
        "version": report.version,
        "checkpoint": {
            "copies": report.checkpoint.copies.map(copy_json),
            "applied": report.checkpoint.applied,
            "journal_file": report.checkpoint.journal_file,
        },
        "journal": { "end": report.journal.end, "torn": torn, "files": files.collect::<Vec<_>>() },
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

fn topic_json(topic: &Topic) -> Value {
    let settings = TopicSettings::NAMES.iter().map(|name| ((*name).to_owned(), topic.settings.get(name).into()));
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
    })
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
