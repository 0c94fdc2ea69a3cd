//! `taffrail group describe`.

use std::{
    io::{self, IsTerminal, Write},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    cli::{
        Failure, output,
        time::{format_duration, format_time},
    },
    client::{GroupDescription, GroupMember, GroupPartitionDescription, Groups},
};

/// How often `--watch` shows the group.
const INTERVAL: Duration = Duration::from_secs(1);

/// Clears a terminal and moves its cursor to the top.
const CLEAR: &[u8] = b"\x1b[2J\x1b[H";

pub(super) async fn run(
    groups: &Groups,
    name: &str,
    watch: bool,
    json: bool,
) -> Result<(), Failure> {
    loop {
        let described = groups.describe(name).await?;
        if watch && !json && io::stdout().is_terminal() {
            io::stdout().write_all(CLEAR)?;
        }
        match json {
            true => print_json(&described)?,
            false => print(&described)?,
        }
        if !watch {
            return Ok(());
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Prints one JSON object for each partition, with the state of the group in each. A group without
/// partitions has one object, whose topic is null.
fn print_json(group: &GroupDescription) -> Result<(), Failure> {
    if group.partitions.is_empty() {
        let mut line = group_json(group);
        line["topic"] = Value::Null;
        line["partition"] = Value::Null;
        return Ok(output::json(&line)?);
    }
    for partition in &group.partitions {
        let mut line = group_json(group);
        if let (Value::Object(line), Value::Object(of)) = (&mut line, partition_json(partition)) {
            line.extend(of);
        }
        output::json(&line)?;
    }
    Ok(())
}

fn group_json(group: &GroupDescription) -> Value {
    json!({
        "group": group.group,
        "state": group.state.as_str(),
        "state_since": Some(group.state_since_ms).filter(|ms| *ms != 0).map(format_time),
        "reason": group.reason,
        "members": group.members.len(),
    })
}

fn partition_json(partition: &GroupPartitionDescription) -> Value {
    let filled = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let (id, name) = (&partition.member_id, &partition.member_name);
    json!({
        "topic": partition.topic,
        "topic_id": partition.topic_id.map(|id| id.to_string()),
        "partition": partition.partition.0,
        "member": filled(&owner(partition)),
        "member_id": filled(id),
        "member_name": filled(name),
        "committed": partition.committed.map(|offset| offset.0),
        "high_watermark": partition.high_watermark.0,
        "earliest": partition.earliest.0,
        "lag": partition.lag,
        "lag_exact": partition.lag_exact,
        "lag_seconds": partition.lag_ms / 1_000,
        "stalled": partition.stalled_since_ms.is_some(),
        "stalled_since": partition.stalled_since_ms.map(format_time),
        "paused": partition.is_paused,
        "lost_in_seconds": partition.lost_in_ms.map(|ms| ms / 1_000),
        "committed_at": partition.committed_at_ms.map(format_time),
        "offset_gone": gone(partition).is_some(),
        "error": filled(&partition.error),
    })
}

/// The owner's name, or its id if it has no name.
fn owner(partition: &GroupPartitionDescription) -> String {
    match partition.member_name.as_str() {
        "" => partition.member_id.clone(),
        name => name.to_owned(),
    }
}

/// Why the committed offset cannot be read.
fn gone(partition: &GroupPartitionDescription) -> Option<&'static str> {
    match partition.committed? {
        committed if committed < partition.earliest => Some("COMMITTED OFFSET IS TRIMMED"),
        committed if committed > partition.high_watermark => {
            Some("COMMITTED OFFSET IS ABOVE THE END")
        }
        _ => None,
    }
}

fn print(group: &GroupDescription) -> Result<(), Failure> {
    let reason = match group.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let since = match group.state_since_ms {
        0 => String::new(),
        since => format!(" since {}", format_time(since)),
    };
    output::line(format_args!(
        "group {} is {}{since}{reason}\n",
        output::printable(&group.group),
        group.state.as_str()
    ))?;
    if !group.members.is_empty() {
        let rows: Vec<[String; 8]> = group.members.iter().map(member_row).collect();
        let headings = [
            "MEMBER",
            "NAME",
            "CLIENT",
            "ADDRESS",
            "PARTITIONS",
            "STREAM",
            "CREDIT LEFT",
            "LAST HEARD",
        ];
        output::table(headings, &rows)?;
        output::line("")?;
    }
    let rows: Vec<[String; 10]> = group.partitions.iter().map(partition_row).collect();
    let headings = [
        "TOPIC",
        "PARTITION",
        "MEMBER",
        "LOG START",
        "COMMITTED",
        "LAST COMMIT",
        "HIGH WATERMARK",
        "LAG",
        "BEHIND",
        "",
    ];
    output::table(headings, &rows)?;
    for partition in &group.partitions {
        if !partition.error.is_empty() {
            output::line(format_args!(
                "\n{}/{}: {}",
                partition.topic,
                partition.partition,
                output::printable(&partition.error)
            ))?;
        }
    }
    Ok(())
}

fn member_row(member: &GroupMember) -> [String; 8] {
    let stream = match member.is_connected {
        true => "open",
        false => "broken",
    };
    let credit = member.credit_left.map(|(records, bytes)| {
        let records = output::counted(records, "record");
        format!("{records}, {}", output::bytes(bytes))
    });
    let heard = match member.last_heard_ms {
        0 => "-".to_owned(),
        heard => format_time(heard),
    };
    [
        member.member_id.clone(),
        output::printable(&member.name),
        output::printable(&member.client),
        member.address.clone(),
        member.partitions.to_string(),
        stream.to_owned(),
        credit.unwrap_or_else(|| "-".to_owned()),
        heard,
    ]
}

fn partition_row(partition: &GroupPartitionDescription) -> [String; 10] {
    let committed = partition.committed.map(|offset| offset.to_string());
    let lag = match partition.lag_exact {
        true => partition.lag.to_string(),
        false => format!("about {}", partition.lag),
    };
    let mut remarks: Vec<String> = gone(partition).map(str::to_owned).into_iter().collect();
    if !partition.error.is_empty() {
        remarks.push("CANNOT BE READ ON".to_owned());
    }
    if let Some(since) = partition.stalled_since_ms {
        remarks.push(format!("STALLED since {}", format_time(since)));
    }
    if let Some(ms) = partition.lost_in_ms {
        let left = format_duration(Duration::from_millis(ms));
        remarks.push(format!("next record is removed in {left}"));
    }
    if partition.is_paused {
        remarks.push("paused".to_owned());
    }
    if partition.is_draining {
        remarks.push("being handed over".to_owned());
    }
    [
        partition.topic.clone(),
        partition.partition.to_string(),
        output::printable(&owner(partition)),
        partition.earliest.to_string(),
        committed.unwrap_or_else(|| "-".to_owned()),
        partition
            .committed_at_ms
            .map_or_else(|| "-".to_owned(), format_time),
        partition.high_watermark.to_string(),
        lag,
        format_duration(Duration::from_millis(partition.lag_ms)),
        remarks.join(", "),
    ]
}
