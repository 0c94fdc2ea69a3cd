//! `taffrail entity …`: one entity by its key.

use std::{
    ffi::OsStr,
    io::{self, IsTerminal, Write},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};

use super::{
    Failure,
    connection::Server,
    flags::{EntityCommand, EntityFlags},
    output, question,
    record::{Format, JsonRecord, Key},
    said, time,
};
use crate::{
    client::{
        Entities, EntityBatch, Erasure, Error, LatestRecord, ReadEntity, StoredRecord,
        TrimmedEntity,
    },
    types::Version,
};

/// How often to ask whether an erasure is complete. The broker takes seconds or minutes.
const ERASURE_POLL: Duration = Duration::from_millis(200);

pub(super) async fn run(flags: EntityFlags) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    let entities = client.entities();
    let json = flags.connection.json;
    match flags.command {
        EntityCommand::Read { max: Some(0), .. } => Ok(()),
        EntityCommand::Read {
            topic,
            key,
            from_version,
            max,
            backward,
        } => {
            let wanted = Versions {
                from: from_version.map(Version),
                backward,
                max,
            };
            let read = wanted.of(entities.read(&topic, key.as_encoded_bytes()));
            let entity = format!("entity {} of topic {topic:?}", shown(&key));
            print_records(read, &wanted, &entity, json).await
        }
        EntityCommand::Latest { topic, keys } => {
            let latest = entities
                .latest(&topic, keys.iter().map(|key| key.as_encoded_bytes()))
                .await?;
            let entries: Vec<_> = keys.iter().map(|key| &**key).zip(latest).collect();
            if json {
                print_latest_json(&entries)
            } else {
                print_latest(&entries)
            }
        }
        EntityCommand::Trim {
            topic,
            key,
            before,
            dry_run,
        } => {
            let (bytes, before) = (key.as_encoded_bytes(), Version(before));
            let found = if dry_run {
                entities.preview_trim(&topic, bytes, before).await?
            } else {
                entities.trim(&topic, bytes, before).await?
            };
            if json {
                return Ok(output::json(&trimmed_json(&topic, &key, found, dry_run))?);
            }
            let text = match dry_run {
                true => would_trim_text(&shown(&key), found, before),
                false => trimmed_text(&shown(&key), found),
            };
            Ok(output::line(text)?)
        }
        EntityCommand::Erase {
            topic,
            key,
            wait,
            yes,
        } => {
            // If the topic does not exist, that is said before asking.
            client.topics().describe(&topic).await?;
            tokio::task::block_in_place(|| {
                let what = format!("erase entity {} of topic {topic}", shown(&key));
                let consequence = "Its keys, values and headers are gone then, for good.";
                question::confirm(yes, &what, consequence)
            })?;
            let mut erasure = entities.erase(&topic, key.as_encoded_bytes()).await?;
            if wait {
                erasure = wait_until_complete(&entities, erasure).await?;
            }
            if json {
                return Ok(output::json(&erasure_json(&topic, &key, &erasure))?);
            }
            Ok(output::line(erasure_text(&shown(&key), &erasure))?)
        }
    }
}

/// Which of an entity's records to print.
struct Versions {
    from: Option<Version>,
    backward: bool,
    max: Option<u64>,
}

impl Versions {
    fn of(&self, read: ReadEntity) -> ReadEntity {
        let read = read.max_records(self.max.unwrap_or(0));
        let read = match self.from {
            Some(version) => read.from_version(version),
            None => read,
        };
        if self.backward { read.backward() } else { read }
    }

    /// The last version that was asked for and is gone, given the records that were printed.
    /// Trimming removes an entity's first records and leaves no gaps, so all versions below the
    /// lowest are gone.
    fn gone(&self, latest: Version, printed: Printed) -> Option<Version> {
        let (first, last) = if self.backward {
            (Version(1), self.from.unwrap_or(latest).min(latest))
        } else {
            (self.from.unwrap_or_default().max(Version(1)), latest)
        };
        match printed.lowest {
            None => (first <= last).then_some(last),
            // Older records may exist that were not asked for.
            Some(_) if self.backward && self.max == Some(printed.records) => None,
            Some(lowest) => (lowest > first).then(|| Version(lowest.0 - 1)),
        }
    }
}

/// Which records were printed.
#[derive(Clone, Copy, Default)]
struct Printed {
    records: u64,
    lowest: Option<Version>,
}

impl Printed {
    fn add(&mut self, batch: &EntityBatch) -> Result<(), Error> {
        for record in batch.records() {
            let version = record?.version.map(Version);
            self.records += 1;
            self.lowest = self.lowest.min(version).or(version);
        }
        Ok(())
    }
}

/// Prints records as they are received.
async fn print_records(
    read: ReadEntity,
    wanted: &Versions,
    entity: &str,
    json: bool,
) -> Result<(), Failure> {
    let mut reading = read.open().await?;
    let latest = reading.latest_version();
    let mut printed = Printed::default();
    while let Some(batch) = reading.next_batch().await? {
        let mut out = Vec::new();
        if json {
            render_json(&mut out, &batch)?;
        } else {
            render_lines(&mut out, &batch)?;
        }
        printed.add(&batch)?;
        // Meanwhile the connection goes on receiving on another thread.
        tokio::task::block_in_place(|| io::stdout().write_all(&out))?;
    }
    if latest == Version::NONE {
        said::remark(format_args!("{entity} has no records"));
    } else if let Some(gone) = wanted.gone(latest, printed) {
        said::remark(format_args!(
            "{entity} is at version {latest}; its records up to version {gone} are gone"
        ));
    }
    Ok(())
}

fn render_json(out: &mut Vec<u8>, batch: &EntityBatch) -> Result<(), Failure> {
    for record in batch.records() {
        Format::Json.render(out, batch.partition, &record.map_err(Error::from)?);
    }
    Ok(())
}

/// Renders one line for each record: version, time, type, value.
fn render_lines(out: &mut Vec<u8>, batch: &EntityBatch) -> Result<(), Failure> {
    for record in batch.owned_records() {
        let record = record.map_err(Error::from)?;
        let version = record.version.unwrap_or(Version::NONE);
        let cells = [
            version.to_string(),
            time::format_time(record.timestamp_ms),
            event_type(&record),
            value(&record),
        ];
        writeln!(out, "{}", cells.join("  "))?;
    }
    Ok(())
}

fn print_latest(entries: &[(&OsStr, LatestRecord)]) -> Result<(), Failure> {
    let row = |(key, latest): &(&OsStr, LatestRecord)| {
        let [time, event_type, value] = match &latest.record {
            Some(record) => [
                time::format_time(record.timestamp_ms),
                event_type(record),
                value(record),
            ],
            None if latest.version == Version::NONE => {
                ["-", "-", "(never had a record)"].map(str::to_owned)
            }
            None => ["-", "-", "(trimmed)"].map(str::to_owned),
        };
        [
            one_line(key.as_encoded_bytes()),
            latest.version.to_string(),
            time,
            event_type,
            value,
        ]
    };
    let rows: Vec<[String; 5]> = entries.iter().map(row).collect();
    Ok(output::table(
        ["KEY", "VERSION", "TIME", "TYPE", "VALUE"],
        &rows,
    )?)
}

/// Prints one JSON object a line, in the order of the keys.
fn print_latest_json(entries: &[(&OsStr, LatestRecord)]) -> Result<(), Failure> {
    for (key, latest) in entries {
        let mut entry = key_json(key);
        entry["version"] = json!(latest.version.0);
        entry["record"] = json!(latest.record.as_ref().map(JsonRecord::from));
        output::json(&entry)?;
    }
    Ok(())
}

/// Waits until the bytes are gone. If the broker goes away meanwhile, the command fails, but the
/// erasure goes on.
async fn wait_until_complete(
    entities: &Entities,
    mut erasure: Erasure,
) -> Result<Erasure, Failure> {
    let waiting = ProgressBar::new_spinner()
        .with_message("erased for every reader; waiting until the bytes are gone");
    if !io::stderr().is_terminal() {
        waiting.set_draw_target(ProgressDrawTarget::hidden());
    }
    waiting.enable_steady_tick(ERASURE_POLL);
    while !erasure.complete {
        tokio::time::sleep(ERASURE_POLL).await;
        erasure = entities.erasure(erasure.id).await.map_err(|source| Failure::CallIn {
            message: format!("the entity is erased, but not known to be gone from every file: {source}; ask again"),
            source,
        })?;
        if let Some(problem) = &erasure.problem {
            waiting.set_message(format!(
                "erased for every reader; the bytes are not gone yet, because {problem}"
            ));
        }
    }
    waiting.finish_and_clear();
    Ok(erasure)
}

fn erasure_text(key: &str, erasure: &Erasure) -> String {
    let Erasure {
        complete,
        through,
        deadline_ms,
        ref problem,
        ..
    } = *erasure;
    if through == Version::NONE {
        return format!("{key} has no records; nothing was erased");
    }
    let erased = match through {
        Version::UNKNOWN => {
            format!("erased {key}, whose last version is unknown because records are damaged")
        }
        through => format!("erased {key} up to version {through}"),
    };
    match (complete, problem) {
        (true, _) => format!("{erased}; its bytes are gone from every file"),
        (false, Some(problem)) => {
            format!("{erased}; its bytes are not gone from every file yet: {problem}")
        }
        (false, None) => format!(
            "{erased}; its bytes will be gone from every file by {}",
            time::format_time(deadline_ms)
        ),
    }
}

fn erasure_json(topic: &str, key: &OsStr, erasure: &Erasure) -> Value {
    let mut value = key_json(key);
    value["topic"] = json!(topic);
    // In hexadecimal: many JSON parsers read numbers as floating point, which loses digits.
    value["id"] = json!(format!("{:016x}", erasure.id));
    value["complete"] = json!(erasure.complete);
    value["requested_ms"] = json!(erasure.requested_ms);
    value["deadline_ms"] = json!(erasure.deadline_ms);
    value["through_version"] = version_json(erasure.through);
    value["problem"] = json!(erasure.problem);
    value
}

fn trimmed_text(key: &str, trimmed: TrimmedEntity) -> String {
    let TrimmedEntity { first, latest } = trimmed;
    if first > latest {
        format!(
            "{key} is at version {latest}, and has no records; the next one gets version {first}"
        )
    } else {
        format!("{key} starts at version {first}; its latest is {latest}")
    }
}

fn would_trim_text(key: &str, found: TrimmedEntity, before: Version) -> String {
    if before <= found.first {
        return format!("nothing would go: {key} starts at version {}", found.first);
    }
    format!(
        "the records of {key} from version {} to {} would go; its latest is {}",
        found.first,
        before.0 - 1,
        found.latest
    )
}

fn trimmed_json(topic: &str, key: &OsStr, trimmed: TrimmedEntity, dry_run: bool) -> Value {
    let mut value = key_json(key);
    value["topic"] = json!(topic);
    value["first_version"] = json!(trimmed.first.0);
    value["latest_version"] = json!(trimmed.latest.0);
    value["dry_run"] = json!(dry_run);
    value
}

/// The last erased version; null if it is unknown because records are damaged.
pub(super) fn version_json(through: Version) -> Value {
    match through {
        Version::UNKNOWN => Value::Null,
        Version(version) => json!(version),
    }
}

/// A JSON object with the key, in the form that records have.
pub(super) fn key_json(key: &OsStr) -> Value {
    json!(Key::new(Some(key.as_encoded_bytes())))
}

/// The key as text for messages.
pub(super) fn shown(key: &OsStr) -> String {
    format!("\"{}\"", one_line(key.as_encoded_bytes()))
}

fn event_type(record: &StoredRecord) -> String {
    if record.event_type.is_empty() {
        "-".to_owned()
    } else {
        one_line(record.event_type.as_bytes())
    }
}

fn value(record: &StoredRecord) -> String {
    match &record.value {
        _ if record.erased => "(erased)".to_owned(),
        Some(value) => one_line(value),
        None => "(tombstone)".to_owned(),
    }
}

/// Bytes as text on one line, which cannot control a terminal. Bytes that are not UTF-8 are
/// replaced; `--json` has them all.
fn one_line(bytes: &[u8]) -> String {
    output::printable(&String::from_utf8_lossy(bytes))
}
