//! The load of `bench consume`, which is also the check of everything appended: the whole topic is
//! read and compared.

use std::sync::Arc;

use super::{
    Bench,
    measure::{Latencies, Run, Stopwatch},
    payload::Payload,
};
use crate::{
    cli::Failure,
    client::{Error, Read},
    env::Clock,
    types::{Offset, PartitionId, Position},
};

pub(super) async fn run(bench: &Bench<'_>, consumers: u32) -> Result<Run, Failure> {
    let mut reads = Vec::new();
    for _ in 0..consumers {
        let client = bench.server.connect().await?;
        let (payload, clock) = (Arc::clone(&bench.payload), Arc::clone(&bench.env.clock));
        reads.push(read(
            client.read(&bench.topic),
            bench.preloaded.clone(),
            payload,
            clock,
        ));
    }

    let watch = Stopwatch::start(&bench.env.clock);
    let running: Vec<_> = reads.into_iter().map(tokio::spawn).collect();
    let mut latencies = Latencies::new();
    for consumer in running {
        latencies.add(&consumer.await.expect("a consumer does not panic")?);
    }
    let consumers = u64::from(consumers);
    let (records, bytes) = (
        bench.plan.all_records() * consumers,
        bench.plan.bytes() * consumers,
    );
    Ok(Run {
        records,
        bytes,
        took: watch.elapsed(),
        latencies,
        round_trip: None,
        broker_cpu: None,
        commits: None,
        turns: Vec::new(),
        beside: None,
    })
}

/// Reads the topic once, without measuring.
pub(super) async fn check(bench: &Bench<'_>) -> Result<(), Failure> {
    run(bench, 1).await.map(drop)
}

/// Reads and compares everything that was appended. The latencies are the times that each batch was
/// waited for.
async fn read(
    mut read: Read,
    preloaded: Vec<(PartitionId, Offset)>,
    payload: Arc<Payload>,
    clock: Arc<dyn Clock>,
) -> Result<Latencies, Failure> {
    let wrong = |problem: String| {
        Failure::General(format!("what was appended did not come back: {problem}"))
    };
    let mut latencies = Latencies::new();
    let mut check = payload.check();
    for (partition, end) in preloaded {
        read = read.partition_from(partition, Position::Offset(end));
    }
    let mut reading = read.open().await?;
    loop {
        let watch = Stopwatch::start(&clock);
        let Some(batch) = reading.next_batch().await? else {
            break;
        };
        latencies.record(watch.elapsed());
        for record in batch.records() {
            let record = record.map_err(Error::from)?;
            let value = record
                .value
                .ok_or_else(|| wrong("a record has no value".to_owned()))?;
            check
                .record(batch.partition, record.key, value)
                .map_err(wrong)?;
        }
    }
    check.finish().map_err(wrong)?;
    Ok(latencies)
}
