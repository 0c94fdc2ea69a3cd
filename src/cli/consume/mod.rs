//! `taffrail consume`: prints the records of a topic.
//!
//! If the connection is lost, the read is opened again from where it stopped; if records are
//! damaged, from behind them. `places.rs` parses where to start and stop, `tail.rs` finds where the
//! last records begin, and `plan.rs` knows what is left to read; `member.rs` reads as a member of a
//! group.

mod member;
mod places;
mod plan;
mod tail;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
};

use serde_json::json;

use super::{
    Failure, connection::Server, entity::version_json, flags::ConsumeFlags, output, record::Format,
    said, time::explain_offset,
};
use crate::{
    client::{Client, ErasedEntity, Error, PartitionOffset, ReadBatch},
    env::Env,
    types::{Offset, PartitionId, Position, RecordView, Version},
};
use places::{End, Start, Until};
use plan::{Left, Plan, Source};
use tail::Stretch;

pub(super) async fn run(flags: ConsumeFlags, env: Env) -> Result<(), Failure> {
    let server = Server::new(&flags.connection)?;
    let server = server.retrying(flags.retry_for.as_deref(), flags.follow)?;
    let now_ms = env.clock.now_ms();
    let from = Start::parse(&flags.from, now_ms)?;
    let until = Until::parse(&flags.until, now_ms)?;
    let format = match (&flags.format, flags.connection.json) {
        (Some(text), _) => Format::parse(text, &flags.topic)
            .map_err(|problem| Failure::Usage(format!("--format: {problem}")))?,
        (None, true) => Format::Json,
        (None, false) => Format::Value,
    };
    if flags.group.is_some() {
        check_takes_all(&flags)?;
    }
    if flags.max == Some(0) {
        return Ok(());
    }

    if let Some(group) = &flags.group {
        return member::run(&flags, group, &server, (&from, format)).await;
    }
    let client = server.connect().await?;
    let plan = Plan::new(&client, &flags, &from, &until).await?;
    let mut consumer = Consumer::new(plan, format, io::stdout());
    let consumed = tokio::select! {
        consumed = consumer.consume(client, &server) => consumed,
        error = output::unread() => Err(error.into()),
    };
    consumed.map_err(|failure| match from.only() {
        Some(Position::Offset(offset)) => explain_offset(failure, offset),
        _ => failure,
    })?;
    consumer.conclude()
}

/// Refuses filters for members of a group, which get all records of their partitions.
fn check_takes_all(flags: &ConsumeFlags) -> Result<(), Failure> {
    let filters = [
        ("--key", !flags.key.is_empty()),
        ("--type", !flags.event_type.is_empty()),
        ("--partition", !flags.partition.is_empty()),
    ];
    for (flag, is_given) in filters {
        if is_given {
            return Err(Failure::Usage(format!(
                "{flag}: a member of a group gets all records of the partitions that it is given, and what it commits \
                 none of the group gets again, so nothing can be left out; leave {flag} out and pass over what is \
                 not wanted where the records are handled, or leave --group out"
            )));
        }
    }
    Ok(())
}

struct Consumer<W> {
    output: W,
    plan: Plan,
    format: Format,
    without_value: WithoutValue,
    /// How many damaged ranges were skipped.
    damaged: u64,
    printed: u64,
    /// The text of one batch, which is written at once, because small writes to standard output are
    /// slow.
    out: Vec<u8>,
}

/// Records that were not printed because they have no value.
#[derive(Default)]
struct WithoutValue {
    tombstones: u64,
    erased: u64,
}

impl<W: Write> Consumer<W> {
    fn new(plan: Plan, format: Format, output: W) -> Self {
        Self {
            output,
            plan,
            format,
            without_value: WithoutValue::default(),
            damaged: 0,
            printed: 0,
            out: Vec::new(),
        }
    }

    async fn consume(&mut self, mut client: Client, server: &Server) -> Result<(), Failure> {
        loop {
            match self.read(&client).await {
                Ok(()) => return Ok(()),
                Err(Failure::Call(Error::DamagedRecords {
                    message,
                    partition,
                    to,
                    ..
                })) => {
                    self.plan.pass_over(partition, to);
                    self.damaged += 1;
                    // The command goes on, and fails in the end with the code for damaged records.
                    said::remark(format_args!("damaged: {message}"));
                }
                Err(Failure::Call(error @ Error::Unavailable { .. })) => {
                    let again = server.reconnect(&error).await;
                    client = again.map_err(|_| Failure::Call(error))?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Reads and prints until nothing is left. One read may not be enough for the requested number
    /// of records: the broker also counts those that are not printed, because they were appended
    /// too late or have no value.
    async fn read(&mut self, client: &Client) -> Result<(), Failure> {
        while let Some(read) = self.plan.read(client) {
            let before = self.plan.clone();
            let mut reading = read.open().await?;
            while let Some(batch) = reading.next_batch().await? {
                self.print(&batch)?;
                let is_at_end = self.plan.advance(&batch);
                if is_at_end || self.plan.is_complete() {
                    break;
                }
            }
            // The broker returned nothing, so the rest does not exist any more.
            if self.plan == before {
                break;
            }
        }
        Ok(())
    }

    fn print(&mut self, batch: &ReadBatch) -> Result<(), Failure> {
        self.out.clear();
        for record in batch.records() {
            let record = record.map_err(Error::from)?;
            if !self.plan.is_wanted(batch.partition, &record) {
                break;
            }
            if self.format.render(&mut self.out, batch.partition, &record) {
                self.plan.count_printed();
                self.printed += 1;
            } else {
                self.without_value.count(&record);
            }
        }
        self.tell_erased(batch);
        let Self { output, out, .. } = self;
        // Meanwhile the connection goes on receiving on another thread.
        tokio::task::block_in_place(|| {
            output.write_all(out)?;
            output.flush()
        })?;
        Ok(())
    }

    /// Says on standard error that entities were erased: what was derived from their records should
    /// be erased, too.
    fn tell_erased(&self, batch: &ReadBatch) {
        for erased in batch.erased() {
            let notice = match self.format {
                Format::Json => notice_json(batch.partition, erased).to_string(),
                Format::Value | Format::Template(_) => notice_text(batch.partition, erased),
            };
            // If standard error is closed, that is no failure; neither is it below.
            let _ = writeln!(io::stderr(), "{notice}");
        }
    }

    fn conclude(&self) -> Result<(), Failure> {
        self.without_value.tell();
        let WithoutValue { tombstones, erased } = self.without_value;
        // A person who sees nothing may think that it is still reading; a script does not need
        // this.
        if self.printed + tombstones + erased == 0 && io::stderr().is_terminal() {
            said::remark("there was no such record");
        }
        match self.damaged {
            0 => Ok(()),
            ranges => Err(Failure::DataLoss(format!(
                "{} of records could not be read, see above; everything else was",
                output::counted(ranges, "damaged range")
            ))),
        }
    }
}

impl WithoutValue {
    fn count(&mut self, record: &RecordView<'_>) {
        let kind = match record.erased {
            Some(_) => &mut self.erased,
            None => &mut self.tombstones,
        };
        *kind += 1;
    }

    fn add(&mut self, more: &Self) {
        self.tombstones += more.tombstones;
        self.erased += more.erased;
    }

    fn tell(&self) {
        let WithoutValue { tombstones, erased } = *self;
        for (records, why) in [
            (tombstones, "tombstones have no value and were left out"),
            (
                erased,
                "erased records have no value any more and were left out",
            ),
        ] {
            if records > 0 {
                let count = output::count(records);
                said::remark(format_args!("{count} {why}; --format json shows them"));
            }
        }
    }
}

impl Plan {
    async fn new(
        client: &Client,
        flags: &ConsumeFlags,
        from: &Start,
        until: &Until,
    ) -> Result<Self, Failure> {
        let topic = &flags.topic;
        let found = client.list_offsets(topic, Position::Latest).await?;
        let source = Source {
            topic: topic.clone(),
            topic_id: found.first().and_then(|end| end.topic_id),
            keys: flags
                .key
                .iter()
                .map(|key| key.as_encoded_bytes().to_vec())
                .collect(),
            types: flags.event_type.clone(),
        };
        let found = match from.partitions(flags)? {
            Some(named) => only(found, &named, topic)?,
            None => found,
        };
        for partition in until.own.keys() {
            if !found.iter().any(|of| of.partition == *partition) {
                return Err(Failure::Usage(format!(
                    "--until: partition {partition} is not read"
                )));
            }
        }
        let ends = ends(client, topic, &found, until, flags.follow).await?;
        let mut starts = BTreeMap::new();
        if let Some(count) = flags.last {
            let mut stretches = BTreeMap::new();
            for of in &found {
                let end = ends.get(&of.partition).copied().flatten();
                let end = end.unwrap_or(of.high_watermark).min(of.high_watermark);
                let earliest = of.earliest;
                stretches.insert(of.partition, Stretch { earliest, end });
            }
            starts = tail::starts(client, &source, &stretches, count).await?;
        }
        let mut partitions = BTreeMap::new();
        for of in &found {
            let end = ends.get(&of.partition).copied().flatten();
            let start = match starts.get(&of.partition) {
                Some(offset) => Position::Offset(*offset),
                None => from.of(of.partition),
            };
            let left = Left::new(start, end, of.high_watermark);
            partitions.insert(of.partition, left);
        }
        let mut until_ms = BTreeMap::new();
        for &partition in partitions.keys() {
            if let Some(End::Timestamp(ms)) = until.of(partition)
                && flags.follow
            {
                until_ms.insert(partition, ms);
            }
        }
        Ok(Self::of(source, partitions, flags.follow, flags.max).until_ms(until_ms))
    }
}

/// Keeps the offsets of the named partitions.
fn only(
    mut found: Vec<PartitionOffset>,
    named: &[PartitionId],
    topic: &str,
) -> Result<Vec<PartitionOffset>, Failure> {
    let partitions = found.len();
    for wanted in named {
        if !found.iter().any(|of| of.partition == *wanted) {
            return Err(Failure::no_partition(topic, *wanted, partitions));
        }
    }
    found.retain(|of| named.contains(&of.partition));
    Ok(found)
}

/// Where each partition ends. Without `follow` at its high watermark at the latest; with it
/// nowhere, unless a place is given.
async fn ends(
    client: &Client,
    topic: &str,
    found: &[PartitionOffset],
    until: &Until,
    follow: bool,
) -> Result<BTreeMap<PartitionId, Option<Offset>>, Failure> {
    let mut at_time = BTreeMap::new();
    for ms in until.times() {
        for of in client.list_offsets(topic, Position::Timestamp(ms)).await? {
            at_time.insert((of.partition, ms), of);
        }
    }
    let mut ends = BTreeMap::new();
    for of in found {
        let end = match until.of(of.partition) {
            None => None,
            Some(End::HighWatermark) => Some(of.high_watermark),
            Some(End::Offset(offset)) => Some(offset),
            // An offset at the high watermark means that no such record exists yet.
            Some(End::Timestamp(ms)) => at_time
                .get(&(of.partition, ms))
                .filter(|at| at.offset < at.high_watermark)
                .map(|at| at.offset),
        };
        let end = match (end, follow) {
            (end, true) => end,
            (None, false) => Some(of.high_watermark),
            (Some(end), false) => Some(end.min(of.high_watermark)),
        };
        ends.insert(of.partition, end);
    }
    Ok(ends)
}

fn notice_text(partition: PartitionId, erased: &ErasedEntity) -> String {
    let through = match erased.through {
        Version::UNKNOWN => "whatever their versions: some are damaged".to_owned(),
        through => format!("up to version {through}"),
    };
    format!(
        "erased: the entity whose key has the SHA-256 {} in partition {partition}, its records before offset {}, \
         {through}",
        hex(&erased.key_sha256),
        erased.end,
    )
}

fn notice_json(partition: PartitionId, erased: &ErasedEntity) -> serde_json::Value {
    json!({ "erased": {
        "partition": partition.0,
        "key_sha256": hex(&erased.key_sha256),
        "through_version": version_json(erased.through),
        "end_offset": erased.end.0,
    }})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
