//! `taffrail topic …`.

use std::{collections::BTreeSet, ops::Range};

use serde_json::{Value, json};

use super::{
    Failure,
    connection::Server,
    flags::{TopicCommand, TopicFlags},
    output, question, time,
    trim::{self, Trim},
};
use crate::{
    client::{Compaction, NewTopic, Partition, Removal, Scrub, Topic, Topics},
    env::Env,
    types::shown_setting,
    types::{Offset, PartitionId},
};

pub(super) async fn run(flags: TopicFlags, env: Env) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    let topics = client.topics();
    let json = flags.connection.json;
    match flags.command {
        TopicCommand::Create {
            name,
            partitions,
            set,
        } => create(&topics, &name, partitions, &set, json).await,
        TopicCommand::List => list(&topics, json).await,
        TopicCommand::Describe { name } => describe(&topics, &name, json).await,
        TopicCommand::Alter {
            name,
            set,
            reset,
            dry_run,
        } => {
            let changes = Changes::of(&set, &reset)?;
            match dry_run {
                true => preview_alter(&topics, &name, &changes, json).await,
                false => alter(&topics, &name, &changes, json).await,
            }
        }
        TopicCommand::Delete { name, yes } => delete(&topics, &name, yes, json).await,
        TopicCommand::AddPartitions { name, to } => add_partitions(&topics, &name, to, json).await,
        TopicCommand::Compact { name, wait } => compact(&topics, &name, wait, json).await,
        TopicCommand::Trim {
            name,
            partition,
            before,
            force,
            dry_run,
        } => {
            let trim = Trim {
                name,
                partition: partition.map(PartitionId),
                before: trim::parse(&before, env.clock.now_ms())?,
                force,
            };
            match dry_run {
                true => trim.preview(&client, json).await,
                false => trim.run(&client, json).await,
            }
        }
    }
}

async fn create(
    topics: &Topics,
    name: &str,
    partitions: u32,
    set: &[String],
    json: bool,
) -> Result<(), Failure> {
    let mut topic = NewTopic::new(name).partitions(partitions);
    for (setting, value) in assignments(set)? {
        topic = topic.setting(setting, value);
    }
    let topic = topics.create(&topic).await?;
    if json {
        return Ok(output::json(&topic_json(&topic))?);
    }
    Ok(output::line(format_args!(
        "created topic {} with {}",
        topic.name,
        output::counted(topic.partitions.into(), "partition")
    ))?)
}

async fn list(topics: &Topics, json: bool) -> Result<(), Failure> {
    let topics = topics.list().await?;
    if json {
        let topics: Vec<Value> = topics.iter().map(topic_json).collect();
        return Ok(output::json(&json!({ "topics": topics }))?);
    }
    let row = |topic: &Topic| {
        [
            topic.name.clone(),
            topic.partitions.to_string(),
            changed_settings(topic),
        ]
    };
    let rows: Vec<[String; 3]> = topics.iter().map(row).collect();
    Ok(output::table(["TOPIC", "PARTITIONS", "SETTINGS"], &rows)?)
}

async fn describe(topics: &Topics, name: &str, json: bool) -> Result<(), Failure> {
    let (topic, partitions) = topics.describe(name).await?;
    if json {
        let mut value = topic_json(&topic);
        value["partition_list"] = partitions.iter().map(partition_json).collect();
        return Ok(output::json(&value)?);
    }
    output::line(format_args!("topic {} (id {})\n", topic.name, topic.id))?;
    settings_table(&topic)?;
    output::line("")?;
    let row = |partition: &Partition| {
        [
            partition.partition.to_string(),
            partition.earliest.to_string(),
            partition.high_watermark.to_string(),
            partition.segments.to_string(),
            output::bytes(partition.bytes),
        ]
    };
    let rows: Vec<[String; 5]> = partitions.iter().map(row).collect();
    output::table(
        [
            "PARTITION",
            "LOG START",
            "HIGH WATERMARK",
            "SEGMENTS",
            "SIZE",
        ],
        &rows,
    )?;
    compression_table(&partitions)?;
    compaction_table(&partitions)?;
    scrub_table(&partitions)
}

/// Prints up to where partitions were verified, if any of them was.
fn scrub_table(partitions: &[Partition]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for partition in partitions {
        let scrub = partition.scrub.as_ref();
        if let Some(scrub) = scrub.filter(|scrub| scrub.scrubbed_up_to > Offset(0)) {
            let complete = scrub.complete_ms.map(time::format_time);
            rows.push([
                partition.partition.to_string(),
                scrub.scrubbed_up_to.to_string(),
                complete.unwrap_or_else(|| "not yet".to_owned()),
                damaged_text(&scrub.damaged),
            ]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let headings = ["PARTITION", "SCRUBBED UP TO", "COMPLETE", "DAMAGED"];
    Ok(output::table(headings, &rows)?)
}

/// Lists the first damaged ranges, and how many more there are.
fn damaged_text(damaged: &[Range<Offset>]) -> String {
    const SHOWN: usize = 5;
    let mut places = Vec::new();
    for range in damaged.iter().take(SHOWN) {
        places.push(format!(
            "{} to {}",
            range.start,
            range.end.0.saturating_sub(1)
        ));
    }
    if damaged.len() > SHOWN {
        places.push(format!("{} more", damaged.len() - SHOWN));
    }
    places.join(", ")
}

/// Prints how far partitions are compressed, or what prevents it.
fn compression_table(partitions: &[Partition]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for partition in partitions {
        let (bytes, before) = (partition.bytes, partition.uncompressed_bytes);
        let problem = &partition.compression_problem;
        if before > bytes || problem.is_some() {
            rows.push([
                partition.partition.to_string(),
                output::bytes(before),
                output::bytes(bytes),
                format!("{:.1} %", bytes as f64 * 100.0 / before.max(1) as f64),
                problem_text(problem.as_ref(), partition.compression_retry_ms),
            ]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::line("")?;
    Ok(output::table(
        ["PARTITION", "UNCOMPRESSED", "ON DISK", "RATIO", "PROBLEM"],
        &rows,
    )?)
}

/// Prints up to where partitions are compacted, if the topic is.
fn compaction_table(partitions: &[Partition]) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for partition in partitions {
        if let Some(compaction) = &partition.compaction {
            let last = compaction.last_ms.map(time::format_time);
            rows.push([
                partition.partition.to_string(),
                compaction.clean_up_to.to_string(),
                last.unwrap_or_else(|| "never".to_owned()),
                problem_text(compaction.problem.as_ref(), compaction.retry_ms),
            ]);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let headings = ["PARTITION", "CLEAN UP TO", "COMPACTED", "PROBLEM"];
    Ok(output::table(headings, &rows)?)
}

fn problem_text(problem: Option<&String>, retry_ms: Option<i64>) -> String {
    match (problem, retry_ms) {
        (None, _) => String::new(),
        (Some(problem), None) => problem.clone(),
        (Some(problem), Some(retry_ms)) => {
            format!("{problem}; tried again at {}", time::format_time(retry_ms))
        }
    }
}

async fn compact(topics: &Topics, name: &str, wait: bool, json: bool) -> Result<(), Failure> {
    let asked = match wait {
        true => topics.compact_and_wait(name).await,
        false => topics.compact(name).await,
    };
    match asked {
        // The topic had trims of entities to complete when the call began, and has none now.
        Err(error) if error.reason() == Some("NOT_COMPACTED") => {
            return nothing_to_compact(name, json);
        }
        asked => asked?,
    }
    if !wait {
        if json {
            return Ok(output::json(&json!({ "topic": name, "asked": true }))?);
        }
        return Ok(output::line(format_args!(
            "topic {name} is being compacted"
        ))?);
    }
    let (topic, partitions) = topics.describe(name).await?;
    if json {
        let partitions: Vec<Value> = partitions.iter().map(partition_json).collect();
        let compacted = json!({ "topic": name, "partition_list": partitions });
        return Ok(output::json(&compacted)?);
    }
    for said in compacted(&topic, &partitions) {
        output::line(said)?;
    }
    compaction_table(&partitions)
}

/// Says what compaction has done, and what it has left and why.
fn compacted(topic: &Topic, partitions: &[Partition]) -> Vec<String> {
    let name = &topic.name;
    let (mut young, mut hindered, mut is_nothing) = (Vec::new(), Vec::new(), true);
    for partition in partitions {
        let Some(compaction) = &partition.compaction else {
            continue;
        };
        let clean_to = compaction.clean_up_to.max(partition.earliest);
        is_nothing &= clean_to == partition.earliest;
        if compaction.problem.is_some() {
            hindered.push(partition.partition.to_string());
        } else if clean_to < partition.high_watermark {
            young.push(format!("{} from offset {clean_to} on", partition.partition));
        }
    }
    let lag = topic.settings.get("min.compaction.lag.ms");
    let lag = lag.map_or("0", |(lag, _)| lag.as_str());
    if lag == "0" {
        // What is behind was appended meanwhile.
        young.clear();
    }
    let is_whole = young.is_empty() && hindered.is_empty();
    let mut said = vec![match (is_whole, is_nothing) {
        (true, _) => format!("topic {name} was compacted"),
        (false, true) => format!("nothing of topic {name} was compacted"),
        (false, false) => format!("topic {name} was compacted, but not all of it"),
    }];
    if !young.is_empty() {
        said.push(format!(
            "left because they are younger than min.compaction.lag.ms ({}): records of partition {}",
            shown_setting("min.compaction.lag.ms", lag),
            young.join(", ")
        ));
    }
    if !hindered.is_empty() {
        said.push(format!(
            "with a PROBLEM, which says why: partition {}",
            hindered.join(", ")
        ));
    }
    said
}

/// Says that compaction has nothing to remove in this topic.
fn nothing_to_compact(name: &str, json: bool) -> Result<(), Failure> {
    if json {
        return Ok(output::json(&json!({ "topic": name, "asked": false }))?);
    }
    Ok(output::line(format_args!(
        "there is nothing to remove: topic {name} is not compacted (cleanup.policy is delete)"
    ))?)
}

/// The settings to change.
struct Changes<'a> {
    set: Vec<(&'a str, &'a str)>,
    reset: Vec<&'a str>,
}

impl<'a> Changes<'a> {
    fn of(set: &'a [String], reset: &'a [String]) -> Result<Self, Failure> {
        let reset: Vec<&str> = reset.iter().map(String::as_str).collect();
        let set = assignments(set)?;
        no_key_twice(set.iter().map(|(key, _)| *key).chain(reset.iter().copied()))?;
        Ok(Self { set, reset })
    }
}

async fn preview_alter(
    topics: &Topics,
    name: &str,
    changes: &Changes<'_>,
    json: bool,
) -> Result<(), Failure> {
    let removals = topics.preview_alter(name, &changes.set, &changes.reset);
    show_removals(name, &removals.await?, json)
}

/// Prints what would be removed.
pub(super) fn show_removals(name: &str, removals: &[Removal], json: bool) -> Result<(), Failure> {
    if json {
        let removals: Vec<Value> = removals.iter().map(removal_json).collect();
        let shown = json!({ "topic": name, "dry_run": true, "would_remove": removals });
        return Ok(output::json(&shown)?);
    }
    if removals.iter().all(|removal| removal.records == 0) {
        return Ok(output::line("nothing would go")?);
    }
    let row = |removal: &Removal| {
        let groups = removal.groups.iter();
        let groups: Vec<String> = groups
            .map(|(group, records)| format!("{group} ({records})"))
            .collect();
        [
            removal.partition.to_string(),
            removal.before.to_string(),
            removal.records.to_string(),
            output::bytes(removal.bytes),
            groups.join(" "),
        ]
    };
    let rows: Vec<[String; 5]> = removals.iter().map(row).collect();
    let headings = [
        "PARTITION",
        "NEW LOG START",
        "RECORDS",
        "SIZE",
        "LOST TO GROUPS",
    ];
    output::table(headings, &rows)?;
    Ok(output::line(
        "\nnothing was changed: this is what would go",
    )?)
}

fn removal_json(removal: &Removal) -> Value {
    let groups = removal.groups.iter();
    let groups: serde_json::Map<String, Value> = groups
        .map(|(group, records)| (group.clone(), json!(records)))
        .collect();
    json!({
        "partition": removal.partition.0,
        "earliest": removal.before.0,
        "records": removal.records,
        "bytes": removal.bytes,
        "groups": groups,
    })
}

async fn alter(
    topics: &Topics,
    name: &str,
    changes: &Changes<'_>,
    json: bool,
) -> Result<(), Failure> {
    let topic = topics.alter(name, &changes.set, &changes.reset).await?;
    if json {
        return Ok(output::json(&topic_json(&topic))?);
    }
    settings_table(&topic)?;
    Ok(())
}

async fn delete(topics: &Topics, name: &str, yes: bool, json: bool) -> Result<(), Failure> {
    // If the topic does not exist, that is said before asking.
    topics.describe(name).await?;
    tokio::task::block_in_place(|| {
        let consequence = "All its records are gone then, for good.";
        question::confirm(yes, &format!("delete topic {name}"), consequence)
    })?;
    topics.delete(name).await?;
    if json {
        return Ok(output::json(&json!({ "deleted": name }))?);
    }
    Ok(output::line(format_args!("deleted topic {name}"))?)
}

async fn add_partitions(
    topics: &Topics,
    name: &str,
    partitions: u32,
    json: bool,
) -> Result<(), Failure> {
    let topic = topics.add_partitions(name, partitions).await?;
    if json {
        return Ok(output::json(&topic_json(&topic))?);
    }
    let partitions = output::counted(topic.partitions.into(), "partition");
    Ok(output::line(format_args!(
        "topic {} has {partitions} now",
        topic.name
    ))?)
}

/// Splits `KEY=VALUE`. A key that is given twice is refused, because only one value can be meant.
pub(super) fn assignments(texts: &[String]) -> Result<Vec<(&str, &str)>, Failure> {
    let mut assignments: Vec<(&str, &str)> = Vec::new();
    for text in texts {
        let assignment = text.split_once('=').ok_or_else(|| {
            Failure::Usage(format!("--set {text:?} is not of the form KEY=VALUE"))
        })?;
        assignments.push(assignment);
    }
    no_key_twice(assignments.iter().map(|(key, _)| *key))?;
    Ok(assignments)
}

fn no_key_twice<'a>(keys: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(Failure::Usage(format!("setting {key} is given twice")));
        }
    }
    Ok(())
}

fn settings_table(topic: &Topic) -> Result<(), Failure> {
    let row = |(name, (value, is_default)): (&String, &(String, bool))| {
        [
            name.clone(),
            shown_setting(name, value),
            if *is_default {
                "default".to_owned()
            } else {
                String::new()
            },
        ]
    };
    let rows: Vec<[String; 3]> = topic.settings.iter().map(row).collect();
    output::table(["SETTING", "VALUE", ""], &rows)?;
    match topic.longest_life {
        Some(life) => {
            let life = time::format_at_most(life);
            Ok(output::line(format_args!(
                "\na record lives for {life} at most"
            ))?)
        }
        None => Ok(()),
    }
}

fn changed_settings(topic: &Topic) -> String {
    let changed = topic
        .settings
        .iter()
        .filter(|(_, (_, is_default))| !is_default);
    changed
        .map(|(name, (value, _))| format!("{name}={}", shown_setting(name, value)))
        .collect::<Vec<_>>()
        .join(" ")
}

fn topic_json(topic: &Topic) -> Value {
    let settings: serde_json::Map<String, Value> = topic
        .settings
        .iter()
        .map(|(name, (value, _))| (name.clone(), json!(value)))
        .collect();
    json!({
        "name": topic.name,
        "id": topic.id,
        "partitions": topic.partitions,
        "settings": settings,
        "longest_life_ms": topic.longest_life.map(|life| life.as_millis() as u64),
    })
}

fn partition_json(partition: &Partition) -> Value {
    json!({
        "partition": partition.partition.0,
        "earliest": partition.earliest.0,
        "high_watermark": partition.high_watermark.0,
        "segments": partition.segments,
        "bytes": partition.bytes,
        "uncompressed_bytes": partition.uncompressed_bytes,
        "compression_problem": partition.compression_problem,
        "compression_retry_ms": partition.compression_retry_ms,
        "compaction": partition.compaction.as_ref().map(compaction_json),
        "scrub": partition.scrub.as_ref().map(scrub_json),
    })
}

fn scrub_json(scrub: &Scrub) -> Value {
    let damaged = scrub.damaged.iter();
    let damaged = damaged.map(|range| json!({ "from": range.start.0, "to": range.end.0 }));
    json!({
        "scrubbed_up_to": scrub.scrubbed_up_to.0,
        "complete_ms": scrub.complete_ms,
        "damaged": damaged.collect::<Vec<_>>(),
    })
}

fn compaction_json(compaction: &Compaction) -> Value {
    json!({
        "clean_up_to": compaction.clean_up_to.0,
        "last_ms": compaction.last_ms,
        "problem": compaction.problem,
        "retry_ms": compaction.retry_ms,
    })
}
