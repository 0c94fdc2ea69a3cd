//! `taffrail consume`: records of a topic to standard output.
//!
//! The read is opened as often as it takes: again from where it stopped when the connection is lost, and behind the
//! damage where records are damaged. `plan.rs` knows what is left to read, `render.rs` what a record looks like.

mod plan;
mod render;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use super::{
    Failure,
    connection::Server,
    flags::{ConsumeFlags, ConsumeFormat},
    output,
    time::parse_position,
};
use crate::{
    client::{Client, Error, ReadBatch},
    types::{PartitionId, Position},
};
use plan::Plan;
use render::Format;

pub(super) async fn run(flags: ConsumeFlags) -> Result<(), Failure> {
    let server = Server::new(&flags.connection).retrying(&flags.retry_for)?;
    let from = parse_position(&flags.from).map_err(|problem| Failure::Usage(format!("--from: {problem}")))?;
    let format = match (flags.format, flags.connection.json) {
        (Some(ConsumeFormat::Json), _) | (None, true) => Format::Json,
        _ => Format::Value,
    };
    if flags.max == Some(0) {
        return Ok(());
    }

    let client = server.connect().await?;
    let partition = flags.partition.map(PartitionId);
    let plan = Plan::new(&client, &flags.topic, partition, from, flags.follow, flags.max).await?;
    let mut consumer = Consumer { plan, format, tombstones: 0, damaged: 0, out: Vec::new() };
    consumer.consume(client, &server).await?;
    consumer.conclude()
}

struct Consumer {
    plan: Plan,
    format: Format,
    /// Records left out because they have no value to print.
    tombstones: u64,
    /// Damaged ranges that were passed over.
    damaged: u64,
    /// What one batch looks like: written at once, because standard output is slow for small pieces.
    out: Vec<u8>,
}

impl Consumer {
    async fn consume(&mut self, mut client: Client, server: &Server) -> Result<(), Failure> {
        loop {
            match self.read(&client).await {
                Ok(()) => return Ok(()),
                Err(Failure::Call(Error::DamagedRecords { message, partition, to, .. })) => {
                    self.plan.pass_over(partition, to);
                    self.damaged += 1;
                    // The command goes on, and its exit code tells again.
                    let _ = writeln!(io::stderr(), "damaged: {message}");
                }
                Err(Failure::Call(error @ Error::Unavailable { .. })) => {
                    let again = server.reconnect().await;
                    client = again.map_err(|_| Failure::Call(error))?.client;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Reads and prints until there is no more.
    async fn read(&mut self, client: &Client) -> Result<(), Failure> {
        let Some(read) = self.plan.read(client) else { return Ok(()) };
        let mut reading = read.open().await?;
        while let Some(batch) = reading.next_batch().await? {
            self.print(&batch)?;
            self.plan.advance(&batch);
            if self.plan.is_complete() {
                break;
            }
        }
        Ok(())
    }

    fn print(&mut self, batch: &ReadBatch) -> Result<(), Failure> {
        self.out.clear();
        for record in batch.records() {
            let record = record.map_err(Error::from)?;
            if !self.plan.take(batch.partition, record.offset.unwrap_or_default()) {
                break;
            }
            if !self.format.render(&mut self.out, batch.partition, &record) {
                self.tombstones += 1;
            }
        }
        let out = &self.out;
        // The connection goes on receiving meanwhile, on another thread.
        tokio::task::block_in_place(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(out)?;
            stdout.flush()
        })?;
        Ok(())
    }

    fn conclude(&self) -> Result<(), Failure> {
        if self.tombstones > 0 {
            let count = output::count(self.tombstones);
            // A remark that nobody reads is no failure.
            let _ =
                writeln!(io::stderr(), "{count} tombstones have no value and were left out; --format json shows them");
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
                let problem =
                    format!("topic {topic:?} has no partition {wanted}; it has {partitions}, numbered from 0");
                return Err(Failure::General(problem));
            }
        }
        Ok(Self::of(topic, ends.iter().map(|end| (end.partition, end.high_watermark)), from, follow, max))
    }
}
