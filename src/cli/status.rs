//! `taffrail status`: shows the state of a broker.

use serde_json::{Value, json};

use super::{Failure, connection::Server, flags::StatusFlags, output, time::format_duration};
use crate::{
    client::{BackupJournal, BrokerStatus, Level, Limits},
    types::limits::{MAX_PARTITIONS, MAX_PRODUCERS},
};

/// What is counted, how many there are, how many there were at most, and the limit.
type Row = [String; 4];

pub(super) async fn run(flags: StatusFlags) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    if flags.limits {
        return show_limits(&client.limits().await?, flags.connection.json);
    }
    let status = client.status().await?;
    if flags.check {
        return check(&status, flags.connection.json);
    }
    if flags.connection.json {
        return Ok(output::json(&status_json(&status))?);
    }
    output::line(format_args!(
        "taffrail {} with its data in {}, for {}\n",
        status.version,
        status.data_dir.display(),
        format_duration(status.uptime)
    ))?;
    output::table(["", "NOW", "MOST", "LIMIT"], &counts(&status))?;
    output::line("")?;
    output::table(["MEMORY", "USED", "MOST", "BOUND"], &memory(&status))?;
    output::line(format_args!("\n{}\n{}", disk(&status), journal(&status)))?;
    if let Some(kept) = status.backup_journal {
        output::line(backup_journal(kept))?;
    }
    if status.hindered_compactions > 0 {
        let partitions = output::counted(status.hindered_compactions, "partition");
        output::line(format_args!(
            "{partitions} cannot be compacted, or not all of it; topic describe says why"
        ))?;
    }
    if let Some(failure) = &status.failure {
        output::line(format_args!("it does not serve any more: {failure}"))?;
    }
    Ok(())
}

fn show_limits(limits: &Limits, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let mut all = Vec::new();
        for limit in &limits.all {
            all.push(json!({
                "name": limit.name,
                "most": limit.most,
                "least": limit.least,
                "unit": limit.unit,
                "setting": limit.setting,
                "meaning": limit.meaning,
            }));
        }
        let all = json!({ "version": limits.version, "limits": all });
        return Ok(output::json(&all)?);
    }
    output::line(format_args!("taffrail {}\n", limits.version))?;
    let mut rows = Vec::new();
    for limit in &limits.all {
        rows.push([
            limit.name.clone(),
            output::count(limit.most),
            limit.unit.clone(),
            limit.setting.clone(),
            limit.meaning.clone(),
        ]);
    }
    Ok(output::table(
        ["LIMIT", "MOST", "", "SETTING", "OF"],
        &rows,
    )?)
}

/// Fails if the broker takes no calls. A full disk is no reason: it still serves reads.
fn check(status: &BrokerStatus, json: bool) -> Result<(), Failure> {
    match &status.failure {
        Some(failure) => Err(Failure::General(format!(
            "the broker does not serve any more: {failure}"
        ))),
        None if json => Ok(output::json(&json!({ "takes_calls": true }))?),
        None => Ok(output::line("it takes calls")?),
    }
}

fn counts(status: &BrokerStatus) -> Vec<Row> {
    let count = |what: &str, now: Option<u64>, most: Option<u64>, limit: Option<u64>| {
        let shown = |number: Option<u64>| number.map(output::count).unwrap_or_default();
        [what.to_owned(), shown(now), shown(most), shown(limit)]
    };
    let level = |what, level: Level| count(what, Some(level.now), Some(level.most), level.limit);
    vec![
        count("topics", Some(status.topics), None, None),
        count(
            "partitions",
            Some(status.partitions),
            None,
            Some(MAX_PARTITIONS as u64),
        ),
        count(
            "producers",
            Some(status.producers),
            None,
            Some(MAX_PRODUCERS as u64),
        ),
        level("connections", status.connections),
        level("administrators", status.administrators),
        level("calls", status.calls),
        count(
            "open files",
            status.open_files,
            None,
            status.open_files_limit,
        ),
        count("maps", status.maps, None, None),
    ]
}

fn memory(status: &BrokerStatus) -> Vec<Row> {
    let mut rows = Vec::new();
    for part in &status.memory {
        rows.push([
            part.name.clone(),
            output::bytes(part.used_bytes),
            output::bytes(part.most_bytes),
            output::bytes(part.bound_bytes),
        ]);
    }
    if let Some(resident) = status.resident_bytes {
        let resident = output::bytes(resident);
        rows.push(["process".to_owned(), resident, String::new(), String::new()]);
    }
    rows
}

fn disk(status: &BrokerStatus) -> String {
    let free = match status.disk_free_bytes {
        Some(free) => format!("{} are free on the disk", output::bytes(free)),
        None => "the disk does not say what is free".to_owned(),
    };
    let held = match status.disk_held_bytes {
        0 => String::new(),
        held => format!(", {} of them in the reserve file", output::bytes(held)),
    };
    let kept = output::bytes(status.disk_reserve_bytes);
    let refused = match (status.disk_is_full, status.disk_missing_bytes) {
        (false, _) => String::new(),
        (true, None) => ": appends are refused".to_owned(),
        (true, Some(missing)) => format!(
            ": appends are refused until {} are freed",
            output::bytes(missing)
        ),
    };
    format!("{free}{held}, and {kept} are kept free{refused}")
}

fn journal(status: &BrokerStatus) -> String {
    let (files, limit) = (status.journal_files, status.journal_files_limit);
    format!("{files} of {limit} journal files wait for a checkpoint")
}

fn backup_journal(kept: BackupJournal) -> String {
    let Some((first, last)) = kept.commits else {
        return "no journal entries are kept for restores: the next backup begins that".to_owned();
    };
    let (bytes, limit) = (output::bytes(kept.bytes), output::bytes(kept.limit_bytes));
    format!(
        "{bytes} of {limit} are kept of the journal: a directory whose last backup is as of commit \
         {first} or later could be restored until any commit up to {last} if it had its next one \
         now"
    )
}

fn status_json(status: &BrokerStatus) -> Value {
    let level =
        |level: Level| json!({ "now": level.now, "most": level.most, "limit": level.limit });
    let mut memory = Vec::new();
    for part in &status.memory {
        memory.push(json!({
            "name": part.name,
            "purpose": part.purpose,
            "used_bytes": part.used_bytes,
            "most_bytes": part.most_bytes,
            "bound_bytes": part.bound_bytes,
        }));
    }
    json!({
        "version": status.version,
        "data_dir": status.data_dir.display().to_string(),
        "failure": status.failure,
        "uptime_ms": u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
        "topics": status.topics,
        "partitions": status.partitions,
        "producers": status.producers,
        "connections": level(status.connections),
        "administrators": level(status.administrators),
        "calls": level(status.calls),
        "memory": memory,
        "resident_bytes": status.resident_bytes,
        "open_files": status.open_files,
        "open_files_limit": status.open_files_limit,
        "maps": status.maps,
        "disk_free_bytes": status.disk_free_bytes,
        "disk_held_bytes": status.disk_held_bytes,
        "disk_reserve_bytes": status.disk_reserve_bytes,
        "disk_is_full": status.disk_is_full,
        "disk_missing_bytes": status.disk_missing_bytes,
        "journal_files": status.journal_files,
        "journal_files_limit": status.journal_files_limit,
        "hindered_compactions": status.hindered_compactions,
        "backup_journal": status.backup_journal.map(|kept| json!({
            "bytes": kept.bytes,
            "limit_bytes": kept.limit_bytes,
            "first_commit": kept.commits.map(|(first, _)| first),
            "last_commit": kept.commits.map(|(_, last)| last),
        })),
    })
}
