//! `taffrail export`: prints a topic as lines of JSON, with everything that an import needs.
//!
//! The partitions follow one another, each from its start to the end that it had when the command
//! began. `lines.rs` declares the lines, which `taffrail import` reads.

pub(super) mod lines;

use std::{
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{Failure, connection::Server, flags::ExportFlags, output, said};
use crate::{
    client::{Client, Error, Partition},
    types::{Offset, Position},
};
use lines::{EndLine, FORM, HeadLine, PartitionRange, RecordCount, RecordLine};

pub(super) async fn run(flags: ExportFlags) -> Result<(), Failure> {
    let client = Server::new(&flags.connection)?.connect().await?;
    let (topic, partitions) = client.topics().describe(&flags.topic).await?;
    let mut out = Out::new(flags.file.as_deref())?;
    let mut head = HeadLine {
        export: FORM,
        topic: topic.name,
        ..HeadLine::default()
    };
    for (name, (value, is_default)) in topic.settings {
        // Default values are written, too, because the other broker may have other defaults.
        // `appends` is left out, because the import sets it.
        if name != "appends" {
            head.settings.insert(name, value);
        } else if !is_default {
            said::remark("the topic is being imported itself, and its records may not be all");
        }
    }
    for partition in &partitions {
        head.partitions.push(PartitionRange {
            partition: partition.partition.0,
            start: partition.earliest.0,
            end: partition.high_watermark.0,
        });
    }
    out.write(&lines::line(&head))?;
    let mut records = 0;
    for partition in &partitions {
        records += export(&client, &flags.topic, partition, &mut out).await?;
    }
    let last = EndLine {
        end: RecordCount { records },
    };
    out.write(&lines::line(&last))?;
    out.finish()?;
    if flags.file.is_some() {
        said::remark(format_args!(
            "{} exported from {}",
            output::counted(records, "record"),
            output::counted(partitions.len() as u64, "partition")
        ));
    }
    Ok(())
}

/// Writes the records of a partition; returns their number.
async fn export(
    client: &Client,
    topic: &str,
    partition: &Partition,
    out: &mut Out,
) -> Result<u64, Failure> {
    let (start, end) = (partition.earliest, partition.high_watermark);
    let mut records = 0;
    if start >= end {
        return Ok(records);
    }
    let read = client.read(topic);
    let read = read.partition_from(partition.partition, Position::Offset(start));
    let mut reading = read.open().await.map_err(incomplete)?;
    while let Some(batch) = reading.next_batch().await.map_err(incomplete)? {
        for record in batch.records() {
            let record = record.map_err(Error::from)?;
            if record.offset.is_some_and(|offset| Offset(offset) < end) {
                out.write(&RecordLine::new(partition.partition, &record).line())?;
                records += 1;
            }
        }
        if batch.next_offset >= end {
            break;
        }
    }
    Ok(records)
}

fn incomplete(source: Error) -> Failure {
    Failure::CallIn {
        message: format!(
            "{source}; the export is not complete, lacks its last line, and cannot be imported to \
             its end: take it again"
        ),
        source,
    }
}

/// The output for the lines.
struct Out(BufWriter<Box<dyn Write + Send>>);

impl Out {
    /// Opens standard output, or a file that must not exist yet.
    fn new(path: Option<&Path>) -> Result<Self, Failure> {
        let to: Box<dyn Write + Send> = match path {
            None => Box::new(io::stdout()),
            Some(path) => {
                #[expect(
                    clippy::disallowed_types,
                    reason = "the file is the user's, not the broker's"
                )]
                let file = std::fs::File::create_new(path);
                let file = file.map_err(|error| {
                    Failure::General(format!("cannot create {}: {error}", path.display()))
                })?;
                Box::new(file)
            }
        };
        Ok(Self(BufWriter::with_capacity(256 << 10, to)))
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.0.write_all(line)?;
        self.0.write_all(b"\n")?;
        Ok(())
    }

    fn finish(mut self) -> Result<(), Failure> {
        Ok(self.0.flush()?)
    }
}
