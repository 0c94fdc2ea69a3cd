//! `taffrail consume`: records of a topic to standard output.
//!
//! The read is opened as often as it takes: again from where it stopped when the connection is
//! lost, and behind the damage where records are damaged. `plan.rs` knows what is left to read;
//! `member.rs` reads as a member of a group.

mod member;
mod plan;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use serde_json::json;

use super::{
    Failure,
    connection::Server,
    entity::version_json,
    flags::{ConsumeFlags, ConsumeFormat},
    output,
    record::Format,
    time::{explain_offset, parse_position},
};
use crate::{
    client::{Client, ErasedEntity, Error, ReadBatch},
    types::{PartitionId, Position, RecordView, Version},
};
use plan::Plan;

pub(super) async fn run(flags: ConsumeFlags) -> Result<(), Failure> {
    let server = Server::new(&flags.connection)?.retrying(&flags.retry_for)?;
    let from = parse_position(&flags.from)
        .map_err(|problem| Failure::Usage(format!("--from: {problem}")))?;
    let format = match (flags.format, flags.connection.json) {
        (Some(ConsumeFormat::Json), _) | (None, true) => Format::Json,
        _ => Format::Value,
    };
    if flags.max == Some(0) {
        return Ok(());
    }

    if let Some(group) = &flags.group {
        return member::run(&flags, group, &server, (from, format)).await;
    }
    let client = server.connect().await?;
    let partition = flags.partition.map(PartitionId);
    let plan = Plan::new(
        &client,
        &flags.topic,
        partition,
        from,
        flags.follow,
        flags.max,
    )
    .await?;
    let mut consumer = Consumer::new(plan, format, io::stdout());
    let consumed = tokio::select! {
        consumed = consumer.consume(client, &server) => consumed,
        error = output::unread() => Err(error.into()),
    };
    consumed.map_err(|failure| match from {
        Position::Offset(offset) => explain_offset(failure, offset),
        _ => failure,
    })?;
    consumer.conclude()
}

struct Consumer<W> {
    output: W,
    plan: Plan,
    format: Format,
    without_value: WithoutValue,
    /// Damaged ranges that were passed over.
    damaged: u64,
    /// What one batch looks like: written at once, because standard output is slow for small
    /// pieces.
    out: Vec<u8>,
}

/// Records left out because they have no value to print.
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
                    // The command goes on, and its exit code tells again.
                    let _ = writeln!(io::stderr(), "damaged: {message}");
                }
                Err(Failure::Call(error @ Error::Unavailable { .. })) => {
                    let again = server.reconnect().await;
                    client = again.map_err(|_| Failure::Call(error))?;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Reads and prints until there is no more. One read is not always enough for as many records
    /// as are to be printed: the broker counts those as well that are not, because they came after
    /// the command was started or have no value.
    async fn read(&mut self, client: &Client) -> Result<(), Failure> {
        while let Some(read) = self.plan.read(client) {
            let before = self.plan.clone();
            let mut reading = read.open().await?;
            while let Some(batch) = reading.next_batch().await? {
                self.print(&batch)?;
                self.plan.advance(&batch);
                if self.plan.is_complete() {
                    break;
                }
            }
            // What is left is not there any more.
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
            let offset = record.offset.unwrap_or_default();
            if !self.plan.is_wanted(batch.partition, offset) {
                break;
            }
            if self.format.render(&mut self.out, batch.partition, &record) {
                self.plan.count_printed();
            } else {
                self.without_value.count(&record);
            }
        }
        self.tell_erased(batch);
        let Self { output, out, .. } = self;
        // The connection goes on receiving meanwhile, on another thread.
        tokio::task::block_in_place(|| {
            output.write_all(out)?;
            output.flush()
        })?;
        Ok(())
    }

    /// Tells on standard error of entities that have been erased meanwhile: results that were
    /// derived from what was printed should be erased too.
    fn tell_erased(&self, batch: &ReadBatch) {
        for erased in batch.erased() {
            let notice = match self.format {
                Format::Json => notice_json(batch.partition, erased).to_string(),
                Format::Value => notice_text(batch.partition, erased),
            };
            // A remark that nobody reads is no failure, here and below.
            let _ = writeln!(io::stderr(), "{notice}");
        }
    }

    fn conclude(&self) -> Result<(), Failure> {
        self.without_value.tell();
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
                let _ = writeln!(io::stderr(), "{count} {why}; --format json shows them");
            }
        }
    }
}

impl Plan {
    async fn new(
        client: &Client,
        topic: &str,
        partition: Option<PartitionId>,
        from: Position,
        follow: bool,
        max: Option<u64>,
    ) -> Result<Self, Failure> {
        let mut ends = client.list_offsets(topic, Position::Latest).await?;
        if let Some(wanted) = partition {
            let partitions = ends.len();
            ends.retain(|end| end.partition == wanted);
            if ends.is_empty() {
                let problem = format!(
                    "topic {topic:?} has no partition {wanted}; it has {partitions}, numbered from 0"
                );
                return Err(Failure::Missing(problem));
            }
        }
        let topic_id = ends.first().and_then(|end| end.topic_id);
        let ends = ends.iter().map(|end| (end.partition, end.high_watermark));
        Ok(Self::of(topic, ends, from, follow, max).of_topic_id(topic_id))
    }
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
