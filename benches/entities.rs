//! What entities cost: conditional appends, reads of one entity, and versions against none. Every
//! append is synced.
//!
//! ```text
//! cargo bench --bench entities -- appends
//! cargo bench --bench entities -- reads ENTITIES
//! cargo bench --bench entities -- versions RECORDS
//! cargo bench --bench entities -- trims KEYS
//! ```
//!
//! `appends`: one record a request, each on the condition of its entity's version, from 1 to 256
//! clients, one request at a time and streamed. `reads`: ten records of one entity out of so many,
//! cold (after a restart, and with the operating system's cache dropped where that is allowed) and
//! warm. `versions`: records of a 1,000 keys, and of ever-new keys, into a topic with versions and
//! one without, when the first holds so many records of different keys already. `trims`: what is
//! written to keep the last versions of a million keys whose segments go, as so many went before;
//! at last all that the process writes for the trim of one segment more, beside that one's index.
//!
//! Broker and clients share a process and its machine. The disk is the one that holds the target
//! directory.

#![allow(
    clippy::disallowed_methods,
    reason = "the files of a directory on the real disk are looked at"
)]

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use taffrail::{
    client::{Append, AppendHandle, AppendWindow, Batch, Client, NewTopic, Record},
    testing::TestBroker,
    types::{Offset, PartitionId, Position, Version},
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Each client has as many entities, and goes round them.
const ENTITIES_OF_CLIENT: u64 = 16;
/// Requests under way of a client that streams; a divisor of the entities would make every one wait
/// for the last.
const UNDER_WAY: usize = 16;
/// Entities that are read, of all that there are.
const SAMPLED: u64 = 2_000;
/// Records of each that is read.
const RECORDS_OF_ENTITY: u64 = 10;
/// Records of a request that loads.
const LOADED_AT_ONCE: u64 = 1_000;
/// Records of one measurement of `versions`, and how often it is repeated.
const MEASURED: u64 = 4_000_000;
const ROUNDS: usize = 7;
/// Keys that are hot.
const HOT_KEYS: u64 = 1_000;
const VALUE: [u8; 100] = [b'v'; 100];
/// Keys that are trimmed at once, in segments that they fill.
const TRIMMED: u64 = 1_000_000;
/// What the index takes of a record, but for its filter.
const ROW_BYTES: u64 = 24;
/// What its filter takes, of a key.
const FILTER_BITS: u64 = 12;
/// After this time an idle broker has written its checkpoint, and done what follows from that.
const SETTLED: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let number = arguments.get(1).and_then(|number| number.parse().ok());
    let done = match (arguments.first().map(String::as_str), number) {
        (Some("appends"), _) => appends().await,
        (Some("reads"), Some(entities)) => reads(entities).await,
        (Some("versions"), Some(records)) => versions(records).await,
        (Some("trims"), Some(keys)) => trims(keys).await,
        _ => Err(
            "say what to measure: appends, reads ENTITIES, versions RECORDS or trims KEYS".into(),
        ),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(directory: &tempfile::TempDir) -> TestBroker {
    let data_dir = directory.path().join("data");
    TestBroker::builder()
        .tcp()
        .data_dir(data_dir)
        .memory_bytes(128 << 20)
        .start()
        .await
}

/// Conditional appends, one record a request.
async fn appends() -> Outcome<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let broker = start(&directory).await;
    broker
        .client()
        .topics()
        .create(&NewTopic::new("bench"))
        .await?;
    writeln!(
        io::stdout(),
        "{:>8} {:>10} {:>12} {:>10} {:>10}",
        "CLIENTS",
        "",
        "APPENDS/S",
        "P50 MS",
        "P99 MS"
    )?;
    for clients in [1u64, 8, 64, 256] {
        for streamed in [false, true] {
            let requests = if clients == 1 && !streamed {
                4_000
            } else {
                (200_000 / clients).min(20_000)
            };
            let mut running = Vec::new();
            let started = now();
            for number in 0..clients {
                let client = Client::connect(&broker.url()).await?;
                let name = format!("{clients}-{streamed}-{number}");
                running.push(tokio::spawn(async move {
                    if streamed {
                        append_streamed(client, name, requests).await
                    } else {
                        append_unary(client, name, requests).await
                    }
                }));
            }
            let mut latencies = Vec::new();
            for client in running {
                latencies.extend(client.await??);
            }
            let rate = latencies.len() as f64 / (now() - started).as_secs_f64();
            latencies.sort_unstable();
            let how = if streamed { "streamed" } else { "unary" };
            let (p50, p99) = (quantile(&latencies, 0.5), quantile(&latencies, 0.99));
            writeln!(
                io::stdout(),
                "{clients:>8} {how:>10} {rate:>12.0} {p50:>10.3} {p99:>10.3}"
            )?;
        }
    }
    Ok(())
}

fn conditional(name: &str, request: u64) -> Append {
    let key = format!("{name}-{}", request % ENTITIES_OF_CLIENT);
    let batch = Batch::of(
        "bench",
        [Record::new().key(&key).event_type("changed").value(&VALUE)],
    );
    Append::from(batch).expect_version("bench", &key, Version(request / ENTITIES_OF_CLIENT))
}

async fn append_unary(client: Client, name: String, requests: u64) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::new();
    for request in 0..requests {
        let started = now();
        client.append(conditional(&name, request)).await?;
        latencies.push(now() - started);
    }
    Ok(latencies)
}

async fn append_streamed(client: Client, name: String, requests: u64) -> Outcome<Vec<Duration>> {
    let appender = client.append_stream_with(AppendWindow {
        requests: UNDER_WAY,
        bytes: 16 << 20,
    });
    let (mut latencies, mut under_way) = (Vec::new(), std::collections::VecDeque::new());
    for request in 0..requests {
        let oldest = if under_way.len() < UNDER_WAY {
            None
        } else {
            under_way.pop_front()
        };
        if let Some((started, handle)) = oldest {
            finished(handle, started, &mut latencies).await?;
        }
        under_way.push_back((now(), appender.append(conditional(&name, request)).await?));
    }
    for (started, handle) in under_way {
        finished(handle, started, &mut latencies).await?;
    }
    appender.finish().await?;
    Ok(latencies)
}

async fn finished(
    handle: AppendHandle,
    started: Duration,
    latencies: &mut Vec<Duration>,
) -> Outcome<()> {
    handle.await?;
    latencies.push(now() - started);
    Ok(())
}

/// Reads of one entity.
async fn reads(entities: u64) -> Outcome<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut broker = start(&directory).await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("bench")).await?;
    let every = (entities / SAMPLED).max(1);
    let started = now();
    load(&client, "bench", 0..entities, key).await?;
    for _ in 1..RECORDS_OF_ENTITY {
        load(&client, "bench", 0..SAMPLED.min(entities), |number| {
            key(number * every)
        })
        .await?;
    }
    writeln!(
        io::stdout(),
        "{entities} entities, loaded in {:.1} s",
        (now() - started).as_secs_f64()
    )?;
    broker.stop().await;
    drop_cache();
    broker.restart().await;

    let client = broker.client();
    for how in ["cold", "warm", "warm"] {
        // A task, as programs have them: the thread of `main` is none of the runtime's.
        let reading = read_each(client.clone(), SAMPLED.min(entities), every);
        let latencies = tokio::spawn(reading).await??;
        let empty = tokio::spawn(empty_calls(client.clone())).await??;
        let took: Duration = latencies.iter().sum();
        let rate = latencies.len() as f64 / took.as_secs_f64();
        let (p50, p99) = (quantile(&latencies, 0.5), quantile(&latencies, 0.99));
        writeln!(
            io::stdout(),
            "{how}  {rate:>8.0} reads/s, p50 {p50:.3} ms, p99 {p99:.3} ms; an empty call: p50 {:.3} ms",
            quantile(&empty, 0.5)
        )?;
    }
    Ok(())
}

/// The sorted times of reads of so many entities.
async fn read_each(client: Client, entities: u64, every: u64) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::new();
    for number in 0..entities {
        // Not in the order in which they were loaded.
        let number = number * 7_919 % entities;
        let (key, started) = (key(number * every), now());
        let mut reading = client.entities().read("bench", &key).open().await?;
        let mut records = 0;
        while let Some(record) = reading.next_record().await? {
            records += 1;
            if record.version != Some(Version(records)) {
                let version = record.version;
                return Err(format!("record {records} of {key} has version {version:?}").into());
            }
        }
        if records != RECORDS_OF_ENTITY {
            return Err(format!("{key} has {records} records").into());
        }
        latencies.push(now() - started);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// The sorted times of calls for which the broker does almost nothing.
async fn empty_calls(client: Client) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::new();
    for _ in 0..SAMPLED {
        let started = now();
        client.list_offsets("bench", Position::Latest).await?;
        latencies.push(now() - started);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// Versions against none.
async fn versions(records: u64) -> Outcome<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let broker = start(&directory).await;
    let client = broker.client();
    client.topics().create(&NewTopic::new("versioned")).await?;
    client
        .topics()
        .create(&NewTopic::new("plain").setting("keys", "plain"))
        .await?;
    let started = now();
    load(&client, "versioned", 0..records, key).await?;
    let took = (now() - started).as_secs_f64();
    writeln!(
        io::stdout(),
        "{records} records of different keys, loaded in {took:.1} s"
    )?;

    let mut new = records;
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        for (at, (topic, hot)) in [
            ("plain", true),
            ("versioned", true),
            ("plain", false),
            ("versioned", false),
        ]
        .into_iter()
        .enumerate()
        {
            let started = now();
            if hot {
                load(&client, topic, 0..MEASURED, |number| {
                    format!("hot-{}", number % HOT_KEYS)
                })
                .await?;
            } else {
                load(&client, topic, new..new + MEASURED, key).await?;
            }
            // The first round creates files.
            if round > 0 {
                rates[at].push(MEASURED as f64 / (now() - started).as_secs_f64());
            }
        }
        new += MEASURED;
    }
    let [plain_hot, versioned_hot, plain_new, versioned_new] = rates.map(median);
    for (keys, plain, versioned) in [
        ("hot", plain_hot, versioned_hot),
        ("new", plain_new, versioned_new),
    ] {
        let ratio = versioned / plain;
        writeln!(
            io::stdout(),
            "{keys} keys: plain {plain:>9.0} records/s, versioned {versioned:>9.0}, ratio {ratio:.2}"
        )?;
    }
    Ok(())
}

/// Ever-new keys, whose segments are trimmed a million at a time.
async fn trims(keys: u64) -> Outcome<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let broker = start(&directory).await;
    let client = broker.client();
    let topic = NewTopic::new("trimmed").setting("segment.bytes", "64MiB");
    client.topics().create(&topic).await?;
    writeln!(
        io::stdout(),
        "{:>12} {:>10} {:>14} {:>10} {:>14} {:>7}",
        "GONE BEFORE",
        "GO NOW",
        "BYTES WRITTEN",
        "OF ROWS",
        "BYTES MERGED",
        "TABLES"
    )?;
    let mut tables = BTreeMap::new();
    let mut gone = 0;
    for number in 0..keys.div_ceil(TRIMMED) {
        let numbers = number * TRIMMED..(number + 1) * TRIMMED;
        load(&client, "trimmed", numbers.clone(), key).await?;
        let end = Offset(numbers.end);
        client.topics().trim("trimmed", PartitionId(0), end).await?;
        let before = std::mem::replace(
            &mut gone,
            removed(&client, broker.data_dir(), end, &mut tables).await?,
        );
        let (mut written, mut merged) = (0, 0);
        for (numbers, bytes) in tables.values_mut() {
            match *numbers {
                1 => written += *bytes,
                _ => merged += *bytes,
            }
            // It is counted once.
            *bytes = 0;
        }
        let there = tables.keys().filter(|path| path.exists()).count();
        let now = gone - before;
        let times = written as f64 / (now * ROW_BYTES) as f64;
        writeln!(
            io::stdout(),
            "{before:>12} {now:>10} {written:>14} {times:>10.2} {merged:>14} {there:>7}"
        )?;
    }
    trim_one(&client, broker.data_dir(), gone).await
}

/// Trims one segment more, and says what the process has written for it.
async fn trim_one(client: &Client, directory: &Path, gone: u64) -> Outcome<()> {
    let described = client.topics().describe("trimmed").await?.1;
    let mut end = described[0].high_watermark.0;
    let bases = || -> Outcome<Vec<u64>> {
        let mut bases = Vec::new();
        for path in files_of_partition(directory)? {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|ending| ending == "log") {
                bases.push(stem.unwrap_or_default().parse::<u64>()?);
            }
        }
        bases.sort_unstable();
        Ok(bases)
    };
    // The active segment has something already; it is sealed with the first records.
    while bases()?.len() < 2 {
        load(client, "trimmed", end..end + 100_000, key).await?;
        end += 100_000;
        tokio::time::sleep(SETTLED / 10).await;
    }
    tokio::time::sleep(SETTLED).await;
    let (first, next) = (bases()?[0], bases()?[1]);
    let of_keys = (next - first) * (8 * ROW_BYTES + FILTER_BITS) / 8;
    let (mut index, before) = (of_keys, written_bytes()?);
    for path in files_of_partition(directory)? {
        if path.extension().is_some_and(|ending| ending == "index") {
            let name = path.file_stem().and_then(|stem| stem.to_str());
            if name.unwrap_or_default().parse::<u64>() == Ok(first) {
                index += fs::metadata(&path)?.len();
            }
        }
    }
    client
        .topics()
        .trim("trimmed", PartitionId(0), Offset(next))
        .await?;
    while bases()?.contains(&first) {
        tokio::time::sleep(SETTLED / 100).await;
    }
    tokio::time::sleep(SETTLED).await;
    let written = written_bytes()? - before;
    writeln!(
        io::stdout(),
        "one segment of {} records, when {gone} were gone: {written} bytes written, its index has \
        {index}, {:.2} times",
        next - first,
        written as f64 / index as f64
    )?;
    Ok(())
}

/// What this process has written to files and sockets so far.
fn written_bytes() -> Outcome<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    Ok(line.ok_or("the system does not count it")?.parse()?)
}

/// Waits until all segments but the active one are removed, and notes the tables of last versions
/// that come meanwhile, by how many numbers they cover. Returns how many records are gone. Changes
/// a setting again and again: an idle broker takes its time with the checkpoint that lets segments
/// go.
async fn removed(
    client: &Client,
    directory: &Path,
    end: Offset,
    tables: &mut BTreeMap<PathBuf, (u64, u64)>,
) -> Outcome<u64> {
    let (mut quiet, mut segment_ms) = (0, 600_000_000);
    loop {
        segment_ms += 1;
        let changed = ("segment.ms", &*format!("{segment_ms}"));
        client.topics().alter("trimmed", &[changed], &[]).await?;
        let (mut bases, mut are_new) = (Vec::new(), false);
        for path in files_of_partition(directory)? {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let stem = stem.unwrap_or_default();
            if path.extension().is_some_and(|ending| ending == "log") {
                bases.push(stem.parse::<u64>()?);
            }
            if path.extension().is_some_and(|ending| ending == "versions")
                && !tables.contains_key(&path)
                && let Some((from, to)) = stem.split_once('-')
                && let Ok(found) = fs::metadata(&path)
            {
                let numbers = to.parse::<u64>()? - from.parse::<u64>()?;
                tables.insert(path, (numbers, found.len()));
                are_new = true;
            }
        }
        quiet = if are_new || bases.len() > 1 {
            0
        } else {
            quiet + 1
        };
        // Long enough for merges to have begun.
        if quiet > 100 {
            return Ok(bases.first().copied().unwrap_or(end.0));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn files_of_partition(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for topic in fs::read_dir(directory.join("topics"))? {
        let partition = topic?.path().join("0");
        for file in fs::read_dir(partition)? {
            files.push(file?.path());
        }
    }
    Ok(files)
}

/// Appends a record of each number's key, many in a request, many requests under way.
async fn load(
    client: &Client,
    topic: &str,
    numbers: std::ops::Range<u64>,
    key: impl Fn(u64) -> String,
) -> Outcome<()> {
    let appender = client.append_stream();
    let mut handles = std::collections::VecDeque::new();
    let mut next = numbers.start;
    while next < numbers.end {
        let mut batch = Batch::new(topic);
        batch.reserve(160 * usize::try_from(LOADED_AT_ONCE)?);
        let end = numbers.end.min(next + LOADED_AT_ONCE);
        (next..end).for_each(|number| batch.push(&Record::new().key(&key(number)).value(&VALUE)));
        next = end;
        handles.push_back(appender.append(batch).await?);
        if handles.len() > 256 {
            handles.pop_front().expect("there are many").await?;
        }
    }
    for handle in handles {
        handle.await?;
    }
    appender.finish().await?;
    Ok(())
}

fn key(number: u64) -> String {
    format!("entity-{number:012}")
}

/// Empties the operating system's cache, where this user may.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the system's switch, and none of the broker's files"
)]
fn drop_cache() {
    let dropped = std::process::Command::new("sync").status().is_ok()
        && fs::write("/proc/sys/vm/drop_caches", "1").is_ok();
    if !dropped {
        let _ = writeln!(
            io::stdout(),
            "the operating system's cache could not be dropped: cold is a restart only"
        );
    }
}

/// In milliseconds.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let at = ((sorted.len() - 1) as f64 * part) as usize;
    sorted[at].as_secs_f64() * 1e3
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Time since some fixed moment.
#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures the time that passes"
)]
fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
