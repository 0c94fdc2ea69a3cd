//! What compaction costs: how fast it goes, and what appends and reads beside it take.
//!
//! ```text
//! cargo bench --bench compaction -- RECORDS KEYS VALUE_BYTES
//! ```
//!
//! So many records of so many keys are loaded into each of two topics. One is compacted on command
//! while nothing else happens, the other while a client appends a record at a time and another
//! reads entities of a third topic. Both do the same before, for comparison. Every append is
//! synced.
//!
//! Broker and clients share a process and its machine. The disk is the one that holds the target
//! directory.

#![allow(
    clippy::disallowed_methods,
    reason = "the system is asked for the time that threads took"
)]

use std::{
    collections::VecDeque,
    error::Error,
    fs,
    io::{self, Write},
    ops::Range,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use taffrail::{
    client::{Batch, Client, NewTopic, Record},
    testing::TestBroker,
};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Records of a request that loads.
const LOADED_AT_ONCE: u64 = 1_000;
/// Entities that are read beside compaction, and how many records each has.
const ENTITIES: u64 = 100_000;
const RECORDS_OF_ENTITY: u64 = 3;
/// How long appends and reads are measured without compaction.
const BEFORE: Duration = Duration::from_secs(10);
/// How often each client does something: it is no load of its own.
const EVERY: Duration = Duration::from_millis(2);
/// The key indexes of the broker get a quarter of this, and a pass a quarter of that.
const MEMORY_BYTES: usize = 512 << 20;
/// The tick in which the system counts the time of threads.
const TICK: Duration = Duration::from_millis(10);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = std::env::args().skip(1);
    let numbers: Vec<u64> = arguments
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let done = match numbers[..] {
        [records, keys, value_bytes] => measure(records, keys, value_bytes).await,
        _ => Err("say what to compact: RECORDS KEYS VALUE_BYTES".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(records: u64, keys: u64, value_bytes: u64) -> Outcome<()> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let broker = TestBroker::builder()
        .tcp()
        .data_dir(directory.path().join("data"))
        .memory_bytes(MEMORY_BYTES)
        .start()
        .await;
    let client = broker.client();
    let value = vec![b'v'; usize::try_from(value_bytes)?];
    for name in ["alone", "beside"] {
        // Nothing of it is compacted before it is asked for.
        let topic = NewTopic::new(name)
            .setting("cleanup.policy", "compact")
            .setting("min.compaction.lag.ms", "86400000");
        client.topics().create(&topic).await?;
        let started = now();
        load(&client, name, 0..records, keys, &value).await?;
        let took = (now() - started).as_secs_f64();
        writeln!(
            io::stdout(),
            "{records} records of {keys} keys in {took:.1} s"
        )?;
    }
    client.topics().create(&NewTopic::new("small")).await?;
    load(
        &client,
        "small",
        0..ENTITIES * RECORDS_OF_ENTITY,
        ENTITIES,
        &value,
    )
    .await?;

    compact(&broker, "alone").await?;
    let alone = beside(&broker, tokio::time::sleep(BEFORE)).await?.1;
    let (compacted, busy) = beside(&broker, compact(&broker, "beside")).await?;
    compacted?;
    for (what, alone, busy) in [
        ("appends", &alone.appends, &busy.appends),
        ("reads", &alone.reads, &busy.reads),
    ] {
        let [p50, p99] = [0.5, 0.99].map(|part| quantile(alone, part));
        let [busy_p50, busy_p99] = [0.5, 0.99].map(|part| quantile(busy, part));
        writeln!(
            io::stdout(),
            "{what}: p50 {p50:.3} ms, p99 {p99:.3} ms; beside compaction {busy_p50:.3} and {busy_p99:.3}, {:.2} times; \
             {} and {} of them",
            busy_p99 / p99,
            alone.len(),
            busy.len()
        )?;
    }
    Ok(())
}

/// Compacts a topic, and says how fast that was.
async fn compact(broker: &TestBroker, name: &str) -> Outcome<()> {
    let topics = broker.client().topics();
    let before = bytes_of(broker, name).await?;
    let (started, cpu) = (now(), cpu_of("indexing")?);
    topics
        .alter(name, &[("min.compaction.lag.ms", "0")], &[])
        .await?;
    topics.compact_and_wait(name).await?;
    let took = (now() - started).as_secs_f64();
    let cpu = (cpu_of("indexing")? - cpu).as_secs_f64();
    let after = bytes_of(broker, name).await?;
    let rate = before as f64 / 1e6 / took;
    writeln!(
        io::stdout(),
        "{name}: {:.0} MB became {:.1} MB in {took:.2} s, {rate:.0} MB/s; {cpu:.2} s of a core, {:.0} MB/s of it",
        before as f64 / 1e6,
        after as f64 / 1e6,
        before as f64 / 1e6 / cpu.max(1e-9)
    )?;
    Ok(())
}

async fn bytes_of(broker: &TestBroker, name: &str) -> Outcome<u64> {
    let (_, partitions) = broker.client().topics().describe(name).await?;
    Ok(partitions.iter().map(|partition| partition.bytes).sum())
}

/// How long calls took.
#[derive(Default)]
struct Latencies {
    appends: Vec<Duration>,
    reads: Vec<Duration>,
}

/// Does something, and measures appends and reads as long as it takes.
async fn beside<T>(broker: &TestBroker, work: impl Future<Output = T>) -> Outcome<(T, Latencies)> {
    let is_over = Arc::new(AtomicBool::new(false));
    let appending = tokio::spawn(append_each(
        Client::connect(&broker.url()).await?,
        Arc::clone(&is_over),
    ));
    let reading = tokio::spawn(read_each(
        Client::connect(&broker.url()).await?,
        Arc::clone(&is_over),
    ));
    let done = work.await;
    is_over.store(true, Ordering::Relaxed);
    let (mut appends, mut reads) = (appending.await??, reading.await??);
    appends.sort_unstable();
    reads.sort_unstable();
    Ok((done, Latencies { appends, reads }))
}

async fn append_each(client: Client, is_over: Arc<AtomicBool>) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let started = now();
        let record = Record::new().key("appended").value("one at a time");
        client.append(Batch::of("small", [record])).await?;
        latencies.push(now() - started);
        tokio::time::sleep(EVERY).await;
    }
    Ok(latencies)
}

async fn read_each(client: Client, is_over: Arc<AtomicBool>) -> Outcome<Vec<Duration>> {
    let mut latencies = Vec::new();
    let mut number = 0;
    while !is_over.load(Ordering::Relaxed) {
        number = (number + 7_919) % ENTITIES;
        let started = now();
        let mut reading = client.entities().read("small", key(number)).open().await?;
        let mut records = 0;
        while reading.next_record().await?.is_some() {
            records += 1;
        }
        if records != RECORDS_OF_ENTITY {
            return Err(format!("{} has {records} records", key(number)).into());
        }
        latencies.push(now() - started);
        tokio::time::sleep(EVERY).await;
    }
    Ok(latencies)
}

/// Appends records, many in a request, many requests under way, with keys in turns.
async fn load(
    client: &Client,
    topic: &str,
    numbers: Range<u64>,
    keys: u64,
    value: &[u8],
) -> Outcome<()> {
    let appender = client.append_stream();
    let mut handles = VecDeque::new();
    let mut next = numbers.start;
    while next < numbers.end {
        let mut batch = Batch::new(topic);
        let end = numbers.end.min(next + LOADED_AT_ONCE);
        for number in next..end {
            // Not in the same order again and again.
            let of_key = number.wrapping_mul(7_919) % keys;
            batch.push(&Record::new().key(&key(of_key)).value(value));
        }
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

/// How long the processors have worked for threads of this name, where the system tells; they may
/// be several.
fn cpu_of(name: &str) -> Outcome<Duration> {
    let mut ticks = 0;
    let Ok(threads) = fs::read_dir("/proc/self/task") else {
        return Ok(Duration::ZERO);
    };
    for thread in threads {
        let stat = fs::read_to_string(thread?.path().join("stat"))?;
        let Some((before, behind)) = stat.rsplit_once(')') else {
            continue;
        };
        if !before.contains(name) {
            continue;
        }
        // User and system time are the 14th and 15th field, and the third comes first here.
        let fields: Vec<&str> = behind.split_whitespace().collect();
        ticks += fields[11].parse::<u32>()? + fields[12].parse::<u32>()?;
    }
    Ok(TICK * ticks)
}

/// In milliseconds.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    sorted[(last as f64 * part) as usize].as_secs_f64() * 1e3
}

/// Time since some fixed moment.
fn now() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}
