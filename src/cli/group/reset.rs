//! `taffrail group reset`.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::{
    cli::{
        Failure,
        flags::ResetFlags,
        output,
        time::{explain_offset, parse_position},
    },
    client::{GroupOffset, GroupReset, Groups, ResetGroup, ResetOffset},
    types::{Offset, PartitionId, Position, TopicId},
};

pub(super) async fn run(
    groups: &Groups,
    flags: &ResetFlags,
    now_ms: i64,
    json: bool,
) -> Result<(), Failure> {
    let place = match &flags.to {
        Some(text) => Some(position(text, now_ms)?),
        None => None,
    };
    let (reset, without) = request(flags, place).await?;
    let mut reset = reset.dry_run(flags.dry_run);
    if let Some(topic) = &flags.topic {
        reset = reset.topic(topic);
    }
    if let Some(partition) = flags.partition {
        reset = reset.partition(PartitionId(partition));
    }
    let set = groups.reset(reset).await.map_err(|error| match place {
        Some(Position::Offset(offset)) => explain_offset(error.into(), offset),
        _ => error.into(),
    })?;
    print(&set, &without, flags, json)
}

/// A topic and a partition of it.
type Named = (String, PartitionId);

fn position(text: &str, now_ms: i64) -> Result<Position, Failure> {
    parse_position(text, now_ms).map_err(|problem| Failure::Usage(format!("--to: {problem}")))
}

/// The request that the flags describe. Also returns the partitions of the file that stay
/// unchanged, because nothing was committed there when it was written.
async fn request(
    flags: &ResetFlags,
    place: Option<Position>,
) -> Result<(ResetGroup, Vec<Named>), Failure> {
    let group = &flags.name;
    if let Some(place) = place {
        return Ok((ResetGroup::to_position(group, place), Vec::new()));
    }
    if let Some(records) = flags.shift {
        return Ok((ResetGroup::by_shift(group, records), Vec::new()));
    }
    if let Some(other) = &flags.from_group {
        return Ok((ResetGroup::to_group(group, other), Vec::new()));
    }
    // Clap makes sure that one of the four flags is given.
    let file = flags.from_file.as_deref().unwrap_or(Path::new(""));
    let (mut offsets, mut without) = (Vec::new(), Vec::new());
    for (of, offset) in read(file).await? {
        let is_topic = flags.topic.as_ref().is_none_or(|topic| *topic == of.0);
        let is_partition = flags.partition.is_none_or(|id| id == of.1.0);
        match offset.filter(|_| is_topic && is_partition) {
            Some(offset) => offsets.push(offset),
            None if is_topic && is_partition => without.push(of),
            None => {}
        }
    }
    if offsets.is_empty() {
        let file = file.display();
        return Err(Failure::General(format!(
            "{file} has no committed offset of what is named"
        )));
    }
    Ok((ResetGroup::to_offsets(group, offsets), without))
}

/// Reads a file that `describe --json` has written: the partitions, and the committed offset of
/// each.
async fn read(file: &Path) -> Result<Vec<(Named, Option<GroupOffset>)>, Failure> {
    let name = file.display();
    let problem = |error| Failure::General(format!("cannot read {name}: {error}"));
    #[expect(
        clippy::disallowed_types,
        reason = "the file is the user's, not the broker's"
    )]
    let mut opened = tokio::fs::File::open(file).await.map_err(problem)?;
    let mut text = String::new();
    opened.read_to_string(&mut text).await.map_err(problem)?;
    let mut offsets = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let offset = offset(line).ok_or_else(|| {
            let number = at + 1;
            Failure::General(format!(
                "line {number} of {name} is not of the form that group describe --json writes; nothing was set"
            ))
        })?;
        offsets.extend(offset);
    }
    Ok(offsets)
}

/// Parses a line of such a file: the partition and its committed offset, if it has one. The inner
/// `None` is a line without a partition, the outer one a line that is not from such a file.
fn offset(line: &str) -> Option<Option<(Named, Option<GroupOffset>)>> {
    let value: Value = serde_json::from_str(line).ok()?;
    if value.get("group").is_some() && value.get("topic")?.is_null() {
        // The line of a group without partitions.
        return Some(None);
    }
    let topic = value.get("topic")?.as_str()?.to_owned();
    let partition = u32::try_from(value.get("partition")?.as_u64()?).ok()?;
    let partition = PartitionId(partition);
    let of = (topic.clone(), partition);
    let committed = value.get("committed")?;
    if committed.is_null() {
        return Some(Some((of, None)));
    }
    let topic_id = value.get("topic_id").and_then(Value::as_str);
    let offset = GroupOffset {
        topic,
        topic_id: topic_id.and_then(TopicId::parse),
        partition,
        next_offset: Offset(committed.as_u64()?),
        generation: None,
        metadata: Bytes::new(),
    };
    Some(Some((of, Some(offset))))
}

fn print(
    set: &GroupReset,
    without: &[Named],
    flags: &ResetFlags,
    json: bool,
) -> Result<(), Failure> {
    if json {
        let offsets: Vec<Value> = set.offsets.iter().map(offset_json).collect();
        let left = without.iter().map(|(topic, partition)| {
            let partition = partition.0;
            json!({ "topic": topic, "partition": partition })
        });
        let left: Vec<Value> = left.collect();
        let (group, dry_run) = (&flags.name, flags.dry_run);
        return Ok(output::json(&json!({
            "group": group,
            "dry_run": dry_run,
            "offsets": offsets,
            "more": set.more,
            "left_as_is": left,
        }))?);
    }
    let row = |offset: &ResetOffset| {
        let before = offset.before.map(|before| before.to_string());
        [
            offset.topic.clone(),
            offset.partition.to_string(),
            before.unwrap_or_else(|| "-".to_owned()),
            offset.next_offset.to_string(),
        ]
    };
    let rows: Vec<[String; 4]> = set.offsets.iter().map(row).collect();
    output::table(["TOPIC", "PARTITION", "BEFORE", "NEXT"], &rows)?;
    if set.more {
        output::line("and others: group describe shows all")?;
    }
    for (topic, partition) in without {
        output::line(format!(
            "partition {partition} of topic {topic}: nothing is committed in the file, left as it \
            is"
        ))?;
    }
    if flags.dry_run {
        output::line("\nnothing was set: this is what would be")?;
    }
    Ok(())
}

fn offset_json(offset: &ResetOffset) -> Value {
    json!({
        "topic": offset.topic,
        "partition": offset.partition.0,
        "before": offset.before.map(|before| before.0),
        "next": offset.next_offset.0,
    })
}
