//! The load of `bench append`: every producer waits for one answer before it sends the next request.

use super::{
    Bench,
    measure::{Latencies, Run, Stopwatch},
    produce::{Producer, run_producers},
};
use crate::cli::Failure;

pub(super) async fn run(bench: &Bench<'_>) -> Result<Run, Failure> {
    run_producers(bench, append).await
}

async fn append(mut producer: Producer) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new();
    for request in 0..producer.requests {
        let batch = producer.batch(request);
        let watch = Stopwatch::start(&producer.clock);
        producer.client.append(batch).await?;
        latencies.record(watch.elapsed());
    }
    Ok(latencies)
}
