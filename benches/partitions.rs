//! Does the number of partitions cost anything? The same load, first all to one partition, then to
//! 1,000 at once, every append synced. `cargo bench --bench partitions`
//!
//! Four connections keep 250 requests each under way, so that in the second case every partition
//! has one under way all the time. The disk is the one that holds the target directory.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use taffrail::{
    client::{AppendWindow, Batch, Client, Error, NewTopic, Record},
    testing::TestBroker,
    types::PartitionId,
};

const PARTITIONS: u32 = 1000;
const CONNECTIONS: u32 = 4;
const UNDER_WAY: usize = 250;
const REQUESTS: u32 = 10_000;
const RECORDS: u32 = 100;
const VALUE: [u8; 100] = [b'v'; 100];

/// Requests of each connection before it is measured: five for every partition. A partition's first
/// records create its files, once; what is compared is how fast partitions are that exist.
const REQUESTS_BEFORE: u32 = 1250;

/// Each way is measured this often, in turns; the medians count.
const ROUNDS: usize = 3;

/// What 1,000 partitions must reach of the rate of one.
const FLOOR: f64 = 0.5;

#[tokio::main]
async fn main() -> ExitCode {
    match compare().await {
        Ok(ratio) if ratio >= FLOOR => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn compare() -> Result<f64, Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let data_dir = directory.path().join("data");
    let broker = TestBroker::builder()
        .tcp()
        .data_dir(data_dir)
        .memory_bytes(128 << 20)
        .start()
        .await;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        one.push(records_per_second(&broker, 1).await?);
        many.push(records_per_second(&broker, PARTITIONS).await?);
    }
    let (one, many) = (median(one), median(many));
    let ratio = many / one;
    writeln!(io::stdout(), "1 partition       {one:>12.0} records/s")?;
    writeln!(
        io::stdout(),
        "{PARTITIONS} partitions   {many:>12.0} records/s"
    )?;
    writeln!(
        io::stdout(),
        "ratio             {ratio:>12.2} (at least {FLOOR})"
    )?;
    Ok(ratio)
}

async fn records_per_second(
    broker: &TestBroker,
    partitions: u32,
) -> Result<f64, Box<dyn std::error::Error>> {
    let topics = broker.client().topics();
    topics
        .create(&NewTopic::new("bench").partitions(partitions))
        .await?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(&broker.url()).await?);
    }

    append_all(&clients, partitions, REQUESTS_BEFORE).await?;
    let started = now();
    append_all(&clients, partitions, REQUESTS).await?;
    let took = now() - started;

    let (_, described) = topics.describe("bench").await?;
    let stored: u64 = described
        .iter()
        .map(|partition| partition.high_watermark.0)
        .sum();
    let expected = u64::from(CONNECTIONS * (REQUESTS_BEFORE + REQUESTS) * RECORDS);
    if stored != expected {
        return Err(format!("{stored} records are stored of {expected}").into());
    }
    topics.delete("bench").await?;
    Ok(f64::from(CONNECTIONS * REQUESTS * RECORDS) / took.as_secs_f64())
}

async fn append_all(
    clients: &[Client],
    partitions: u32,
    requests: u32,
) -> Result<(), Box<dyn std::error::Error>> {
    let appending = (0..).zip(clients.iter().cloned());
    let appending = appending
        .map(|(number, client)| tokio::spawn(append(client, number, partitions, requests)));
    for connection in appending.collect::<Vec<_>>() {
        connection.await??;
    }
    Ok(())
}

/// Appends request after request, each to the next of the partitions that are this connection's.
async fn append(
    client: Client,
    connection: u32,
    partitions: u32,
    requests: u32,
) -> Result<(), Error> {
    let appender = client.append_stream_with(AppendWindow {
        requests: UNDER_WAY,
        bytes: 64 << 20,
    });
    let mut handles = Vec::new();
    for request in 0..requests {
        let partition = PartitionId((request * CONNECTIONS + connection) % partitions);
        let mut batch = Batch::to_partition("bench", partition);
        for _ in 0..RECORDS {
            batch.push(&Record::new().value(&VALUE));
        }
        handles.push(appender.append(batch).await?);
    }
    for handle in handles {
        handle.await?;
    }
    appender.finish().await
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
