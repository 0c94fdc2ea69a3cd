//! `taffrail import`: stores the lines that `taffrail export` has written.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read as _},
    path::Path,
};

use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::task::block_in_place;

use super::{
    Failure,
    connection::{Ending, Server},
    export::lines::{EndLine, FORM, HeadLine, PartitionRange, RecordLine},
    flags::ImportFlags,
    output, said,
};
use crate::{
    client::{self, Client, Import, ImportedRecord, NewTopic, Read},
    types::{Offset, PartitionId, Position, limits::MAX_REQUEST_BYTES},
};

/// Records are sent in batches of at most this many records, and about this many bytes of lines.
const BATCH_RECORDS: usize = 1_000;
const BATCH_BYTES: usize = 512 << 10;

/// A longer line cannot be a record: JSON takes at most six bytes for one of the record's.
const MAX_LINE_BYTES: u64 = 6 * MAX_REQUEST_BYTES as u64;

pub(super) async fn run(flags: ImportFlags) -> Result<(), Failure> {
    let mut lines = ExportFile::open(flags.file.as_deref())?;
    let head = block_in_place(|| lines.head())?;
    let client = Server::new(&flags.connection)?.connect().await?;
    prepare(&client, &flags, &head).await?;
    let starts = offsets(&head, |range| range.start);
    let mut ending = Ending::of("IMPORT_UNDER_WAY");
    let import = loop {
        match client.import(&flags.topic, &starts).await {
            Ok(import) => break import,
            Err(error) => ending.wait(error).await?,
        }
    };
    let had = had(&client, &flags.topic, import.next_offsets(), &starts).await?;
    let mut importer = Importer {
        import,
        had,
        passed_over: 0,
        records: 0,
        batch: Vec::new(),
        batch_bytes: 0,
        first: (0, 0),
    };
    let counted = loop {
        match block_in_place(|| lines.next())? {
            ExportLine::Record(record) => importer.take(&lines, *record).await?,
            ExportLine::End(counted) => break counted,
        }
    };
    let (records, passed_over) = (importer.records, importer.passed_over);
    if counted != records {
        return Err(lines.bad(&format!(
            "it says that there are {counted} records, and {records} have come"
        )));
    }
    importer
        .finish(&lines, &offsets(&head, |range| range.end))
        .await?;
    if flags.connection.json {
        let done = json!({ "topic": flags.topic, "records": records, "had": passed_over });
        return Ok(output::json(&done)?);
    }
    if passed_over > 0 {
        said::remark(format_args!(
            "{} had been imported before",
            output::counted(passed_over, "record")
        ));
    }
    Ok(output::line(format_args!(
        "topic {} has {} as exported",
        output::printable(&flags.topic),
        output::counted(records, "record"),
    ))?)
}

/// Checks that the topic exists with the right number of partitions; creates it if the flag is
/// given.
async fn prepare(client: &Client, flags: &ImportFlags, head: &HeadLine) -> Result<(), Failure> {
    let exported = head.partitions.len();
    let described = client.topics().describe(&flags.topic).await;
    let unknown = |error: &client::Error| error.reason() == Some("UNKNOWN_TOPIC");
    let partitions = match described {
        Err(error) if unknown(&error) && flags.create => {
            let count = u32::try_from(exported).unwrap_or(u32::MAX);
            let mut topic = NewTopic::new(&flags.topic).partitions(count);
            for (name, value) in &head.settings {
                topic = topic.setting(name, value);
            }
            client
                .topics()
                .create(&topic.setting("appends", "import"))
                .await?;
            return Ok(());
        }
        Err(source) if unknown(&source) => {
            return Err(Failure::CallIn {
                message: format!(
                    "{source}, with {}, or give --create to have it as it was exported",
                    output::counted(exported as u64, "partition")
                ),
                source,
            });
        }
        described => described?.1.len(),
    };
    match partitions == exported {
        true => Ok(()),
        false => Err(Failure::General(format!(
            "topic {:?} has {}, and the exported one has {}: import into one with as many",
            flags.topic,
            output::counted(partitions as u64, "partition"),
            output::counted(exported as u64, "partition")
        ))),
    }
}

fn offsets(head: &HeadLine, of: impl Fn(&PartitionRange) -> u64) -> Vec<(PartitionId, Offset)> {
    let offset = |range: &PartitionRange| (PartitionId(range.partition), Offset(of(range)));
    head.partitions.iter().map(offset).collect()
}

/// For an import that is continued: the last record of each partition, as its line, and the next
/// offset.
type HadRecords = BTreeMap<u32, Had>;

struct Had {
    next: Offset,
    /// `None` once the line was seen, or if the record does not exist any more.
    last: Option<Vec<u8>>,
}

async fn had(
    client: &Client,
    topic: &str,
    next: &BTreeMap<PartitionId, Offset>,
    starts: &[(PartitionId, Offset)],
) -> Result<HadRecords, Failure> {
    let mut had = HadRecords::new();
    for &(partition, start) in starts {
        let next = next.get(&partition).copied().unwrap_or_default();
        let last = match next > start {
            true => stored(client, topic, partition, Offset(next.0 - 1)).await?,
            false => None,
        };
        had.insert(partition.0, Had { next, last });
    }
    Ok(had)
}

/// The record at an offset, as its line; `None` if it has been removed since.
async fn stored(
    client: &Client,
    topic: &str,
    partition: PartitionId,
    offset: Offset,
) -> Result<Option<Vec<u8>>, Failure> {
    let read = client.read(topic);
    let read = read.partition_from(partition, Position::Offset(offset));
    match first_line(read.max_records(1), partition).await {
        Err(client::Error::OffsetOutOfRange { .. }) => Ok(None),
        read => Ok(read?),
    }
}

async fn first_line(read: Read, partition: PartitionId) -> Result<Option<Vec<u8>>, client::Error> {
    let mut reading = read.open().await?;
    while let Some(batch) = reading.next_batch().await? {
        if let Some(record) = batch.records().next() {
            return Ok(Some(RecordLine::new(partition, &record?).line()));
        }
    }
    Ok(None)
}

/// Sends records in batches.
struct Importer {
    import: Import,
    had: HadRecords,
    /// How many records were skipped because they were imported before.
    passed_over: u64,
    /// How many records were read, including those.
    records: u64,
    batch: Vec<ImportedRecord>,
    batch_bytes: usize,
    /// The partition of the batch, and the line number of its first record.
    first: (u32, u64),
}

impl Importer {
    async fn take(&mut self, lines: &ExportFile, record: RecordLine) -> Result<(), Failure> {
        self.records += 1;
        let Some(had) = self.had.get_mut(&record.partition) else {
            return Err(lines.bad(&format!(
                "it is of partition {}, which the first line does not have",
                record.partition
            )));
        };
        if record.offset < had.next.0 {
            let is_last = record.offset + 1 == had.next.0;
            if is_last && had.last.take().is_some_and(|last| last != record.line()) {
                return Err(other(lines));
            }
            self.passed_over += 1;
            return Ok(());
        }
        if had.last.is_some() {
            return Err(other(lines));
        }
        let (partition, number) = (record.partition, lines.number);
        if !self.batch.is_empty() && self.first.0 != partition {
            self.send().await?;
        }
        if self.batch.is_empty() {
            self.first = (partition, number);
        }
        self.batch
            .push(record.imported().map_err(|problem| lines.bad(&problem))?);
        self.batch_bytes += lines.line.len();
        if self.batch.len() >= BATCH_RECORDS || self.batch_bytes >= BATCH_BYTES {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Failure> {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let (partition, number) = self.first;
        let sent = self.import.send(PartitionId(partition), number, &batch);
        sent.await.map_err(told)
    }

    async fn finish(
        mut self,
        lines: &ExportFile,
        ends: &[(PartitionId, Offset)],
    ) -> Result<(), Failure> {
        if self.had.values().any(|had| had.last.is_some()) {
            return Err(other(lines));
        }
        if !self.batch.is_empty() {
            self.send().await?;
        }
        self.import.finish(ends).await.map_err(told)?;
        Ok(())
    }
}

/// The error if the topic has other records than the lines before this one.
fn other(lines: &ExportFile) -> Failure {
    lines.bad(
        "the topic has another record where this import would go on: what was imported before is of another export; \
         delete the topic and import again",
    )
}

/// Explains the failure of an import that was not completed.
fn told(source: client::Error) -> Failure {
    let line = match &source {
        client::Error::Refused(refusal) => refusal.metadata.get("number").cloned(),
        _ => None,
    };
    let message = match line {
        Some(line) => format!(
            "line {line}: {source}; nothing of it or behind it is stored: given again with lines that are right, the \
             command goes on from what is"
        ),
        None => format!(
            "the import was broken off: {source}; given again, the command goes on from what is stored"
        ),
    };
    Failure::CallIn { message, source }
}

/// The file with the exported lines.
struct ExportFile {
    input: BufReader<Box<dyn io::Read + Send + Sync>>,
    name: String,
    /// The number of the last line read, from 1.
    number: u64,
    line: Vec<u8>,
}

/// Any line but the first.
enum ExportLine {
    Record(Box<RecordLine>),
    /// The last line, with the number of records that it states.
    End(u64),
}

impl ExportFile {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let path = path.filter(|path| path.as_os_str() != "-");
        let (input, name): (Box<dyn io::Read + Send + Sync>, _) = match path {
            None => (Box::new(io::stdin()), "standard input".to_owned()),
            Some(path) => {
                #[expect(
                    clippy::disallowed_types,
                    reason = "the input is the user's, not the broker's, and may be a pipe"
                )]
                let file = std::fs::File::open(path);
                let file = file.map_err(|error| {
                    Failure::General(format!("cannot read {}: {error}", path.display()))
                })?;
                (Box::new(file), path.display().to_string())
            }
        };
        Ok(Self {
            input: BufReader::with_capacity(256 << 10, input),
            name,
            number: 0,
            line: Vec::new(),
        })
    }

    fn bad(&self, problem: &str) -> Failure {
        Failure::General(format!("{}, line {}: {problem}", self.name, self.number))
    }

    /// Reads the next line; returns false at the end.
    fn read(&mut self) -> Result<bool, Failure> {
        self.number += 1;
        self.line.clear();
        let mut limited = (&mut self.input).take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut self.line);
        let read = read.map_err(|error| self.bad(&format!("cannot read on: {error}")))?;
        if read as u64 == MAX_LINE_BYTES {
            return Err(self.bad(&format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        Ok(read > 0)
    }

    fn parse<T: DeserializeOwned>(&self, what: &str) -> Result<T, Failure> {
        serde_json::from_slice(&self.line).map_err(|error| {
            // serde_json counts lines within the text, which is always one line here.
            let problem = error
                .to_string()
                .replace(" at line 1 column ", " at column ");
            self.bad(&format!(
                "it is not {what} of an exported topic ({problem})"
            ))
        })
    }

    fn head(&mut self) -> Result<HeadLine, Failure> {
        if !self.read()? {
            return Err(self.bad("there is none; give what `taffrail export` has written"));
        }
        let head: HeadLine = self.parse("the first line")?;
        match head.export {
            FORM => Ok(head),
            other => Err(self.bad(&format!(
                "the export has form {other}, and this version reads form {FORM}; use a later one"
            ))),
        }
    }

    fn next(&mut self) -> Result<ExportLine, Failure> {
        if !self.read()? {
            return Err(self.bad(
                "there is none: the export was cut off, because its last line says how many records there are; \
                 nobody can append to the topic until all is imported: give the whole export",
            ));
        }
        if !self.line.starts_with(b"{\"end\"") {
            return Ok(ExportLine::Record(Box::new(self.parse("a record")?)));
        }
        let last: EndLine = self.parse("the last line")?;
        let end = ExportLine::End(last.end.records);
        match self.read()? {
            false => Ok(end),
            true => Err(self.bad("it comes behind the last line of the export")),
        }
    }
}
