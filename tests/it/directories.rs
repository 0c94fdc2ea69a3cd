//! Data directories that earlier commits have written are opened, and have everything in them.
//!
//! They are in `tests/fixtures/directories`, packed, each with a text that lists what the broker
//! which wrote it had. A commit that changes a file format adds one: it runs `make.py` there with a
//! build of the commit before it, if that is not there yet, and with its own build. Existing ones
//! are never written again.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the files of a directory on the real disk, before and behind a broker's"
)]

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use taffrail::{
    client::{Batch, Client, Error, Record, StoredRecord},
    testing::TestBroker,
    types::{PartitionId, ProducerId},
};

/// The length of the padding in values, which the text abbreviates with three dots.
const PADDING: usize = 4_000;

/// The size of the journal files in the directories.
const JOURNAL_FILE_BYTES: u64 = 64 << 20;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/directories")
}

/// Takes this many bytes from the front.
fn take<'a>(packed: &mut &'a [u8], bytes: usize) -> &'a [u8] {
    let (taken, rest) = packed.split_at(bytes);
    *packed = rest;
    taken
}

fn number<const N: usize>(packed: &mut &[u8]) -> u64 {
    let mut number = [0; 8];
    number[..N].copy_from_slice(take(packed, N));
    u64::from_le_bytes(number)
}

fn size<const N: usize>(packed: &mut &[u8]) -> usize {
    usize::try_from(number::<N>(packed)).expect("a small file")
}

/// Writes the files of a pack; `make.py` describes the format.
fn unpack(mut packed: &[u8], directory: &Path) -> std::io::Result<()> {
    while !packed.is_empty() {
        let name = size::<2>(&mut packed);
        let name = std::str::from_utf8(take(&mut packed, name)).expect("a path");
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("it is in the directory"))?;
        let mut file = File::create(&path)?;
        let len = number::<8>(&mut packed);
        let mut at = 0;
        while at < len {
            let literal = size::<4>(&mut packed);
            file.write_all(take(&mut packed, literal))?;
            let run = size::<4>(&mut packed);
            match take(&mut packed, 1)[0] {
                // Most of a journal file is a hole.
                0 => file.set_len(at + (literal + run) as u64)?,
                byte => file.write_all(&vec![byte; run])?,
            }
            file.seek(SeekFrom::End(0))?;
            at += (literal + run) as u64;
        }
        file.set_len(len)?;
    }
    Ok(())
}

fn text(bytes: Option<&[u8]>) -> String {
    let text = bytes.map(String::from_utf8_lossy);
    text.map_or_else(|| "-".to_owned(), |text| text.into_owned())
}

fn line(topic: &str, record: &StoredRecord) -> String {
    let version = record.version.map(|version| version.to_string());
    let value = text(record.value.as_deref()).replace(&"x".repeat(PADDING), "...");
    format!(
        "record\t{topic}\t{}\t{}\t{}\t{}\t{value}",
        record.partition,
        record.offset,
        version.as_deref().unwrap_or("-"),
        text(record.key.as_deref()),
    )
}

/// The entities whose records are trimmed; some directories have fewer of them.
const TRIMMED: [&str; 5] = ["a0", "a1", "a2", "a3", "a4"];

/// Everything that a broker has, in the format of the text.
async fn told(client: &Client) -> Result<Vec<String>, Error> {
    let mut lines = Vec::new();
    for topic in client.topics().list().await? {
        lines.push(format!("topic\t{}", topic.name));
        if topic.name.as_str() == "trimmed" {
            let latest = client.entities().latest("trimmed", TRIMMED).await?;
            lines.extend(TRIMMED.iter().zip(latest).map(|(key, latest)| {
                let version = latest.version;
                format!("latest\ttrimmed\t{key}\t{version}")
            }));
        }
        let mut reading = client.read(topic.name.as_str()).open().await?;
        while let Some(record) = reading.next_record().await? {
            lines.push(line(topic.name.as_str(), &record));
        }
    }
    for producer in client.list_producers(ProducerId(0), 1_000).await?.producers {
        lines.push(format!("producer\t{}\t{}", producer.id, producer.epoch));
    }
    for group in client.groups().list().await? {
        for at in client.groups().offsets(&group.group).await? {
            let (topic, partition, next) = (at.topic, at.partition, at.next_offset);
            let group = &group.group;
            lines.push(format!("committed\t{group}\t{topic}\t{partition}\t{next}"));
        }
    }
    lines.sort();
    Ok(lines)
}

/// Leaves out what the broker that wrote the text could not show.
fn comparable(mut lines: Vec<String>, written: &str) -> Vec<String> {
    lines.retain(|line| {
        let (kind, _) = line.split_once('\t').expect("a kind");
        kind != "producer" || written.contains("producer\t")
    });
    lines
}

/// Appends to entities that have no records any more, one of them erased: their versions continue.
async fn go_on(client: &Client, expected: &mut Vec<String>) -> Result<(), Error> {
    for (offset, key) in [(60, "a0"), (61, "a4")] {
        let before = format!("latest\ttrimmed\t{key}\t4");
        let Some(at) = expected.iter().position(|line| *line == before) else {
            continue;
        };
        let mut batch = Batch::new("trimmed");
        batch.push(&Record::new().key(key).value("again"));
        client.append(batch).await?;
        expected[at] = format!("latest\ttrimmed\t{key}\t5");
        expected.push(format!("record\ttrimmed\t0\t{offset}\t5\t{key}\tagain"));
    }
    Ok(())
}

async fn open_and_go_on(name: &str) -> Result<(), Error> {
    let directory = tempfile::tempdir().expect("there is room");
    let packed = fs::read(fixtures().join(format!("{name}.pack"))).expect("it is there");
    unpack(&packed, directory.path()).expect("there is room");
    let written = fs::read_to_string(fixtures().join(format!("{name}.txt")));
    let written = written.expect("it is there");
    let mut expected: Vec<String> = written.lines().map(str::to_owned).collect();

    let builder = TestBroker::builder().data_dir(directory.path());
    let builder = builder.journal_file_bytes(JOURNAL_FILE_BYTES);
    let mut broker = builder.start().await;
    let client = broker.client();
    assert_eq!(
        comparable(told(&client).await?, &written),
        expected,
        "{name}"
    );

    let mut batch = Batch::to_partition("small", PartitionId(0));
    batch.push(&Record::new().value("new"));
    client.append(batch).await?;
    expected.push("record\tsmall\t0\t3\t-\t-\tnew".to_owned());
    go_on(&client, &mut expected).await?;
    expected.sort();
    for _ in 0..2 {
        broker.stop().await;
        broker.restart().await;
        assert_eq!(
            comparable(told(&client).await?, &written),
            expected,
            "{name}"
        );
    }
    broker.crash().await;
    broker.restart().await;
    assert_eq!(
        comparable(told(&client).await?, &written),
        expected,
        "{name}"
    );
    Ok(())
}

#[tokio::test]
async fn directories_of_every_format_are_opened_and_rewritten_with_all_that_is_in_them()
-> Result<(), Error> {
    let mut names = Vec::new();
    for found in fs::read_dir(fixtures()).expect("it is there") {
        let path = found.expect("it is there").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "pack")
        {
            let name = path.file_stem().and_then(|name| name.to_str());
            names.push(name.expect("a name").to_owned());
        }
    }
    names.sort();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        open_and_go_on(&name).await?;
    }
    Ok(())
}
