//! The load of `bench produce`: every producer keeps its window full.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Bench,
    measure::{Latencies, Run, Stopwatch},
    payload::Payload,
};
use crate::{
    cli::Failure,
    client::{AppendHandle, Batch, Client, Record},
    env::Clock,
};

/// More than fit the window: the window is what limits.
const HANDLES: usize = 1024;

pub(super) async fn run(bench: &Bench<'_>) -> Result<Run, Failure> {
    run_producers(bench, Producer::produce).await
}

/// Lets all producers of a plan carry out a load at the same time.
pub(super) async fn run_producers<L>(bench: &Bench<'_>, load: fn(Producer) -> L) -> Result<Run, Failure>
where
    L: Future<Output = Result<Latencies, Failure>> + Send + 'static,
{
    let mut producers = Vec::new();
    for number in 0..bench.plan.producers {
        producers.push(Producer {
            client: bench.server.connect().await?,
            topic: bench.topic.clone(),
            payload: Arc::clone(&bench.payload),
            clock: Arc::clone(&bench.env.clock),
            number,
            records: bench.plan.records.into(),
            requests: bench.plan.requests,
            value: Vec::new(),
        });
    }

    let watch = Stopwatch::start(&bench.env.clock);
    let running: Vec<_> = producers.into_iter().map(|producer| tokio::spawn(load(producer))).collect();
    let mut latencies = Latencies::new();
    for producer in running {
        latencies.add(&producer.await.expect("a producer does not panic")?);
    }
    Ok(Run { records: bench.plan.all_records(), bytes: bench.plan.bytes(), took: watch.elapsed(), latencies })
}

/// One producer, on a connection of its own.
pub(super) struct Producer {
    pub(super) client: Client,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) requests: u32,
    topic: String,
    payload: Arc<Payload>,
    number: u32,
    records: u64,
    /// Where values are put together.
    value: Vec<u8>,
}

impl Producer {
    async fn produce(mut self) -> Result<Latencies, Failure> {
        let appender = self.client.append_stream();
        let (sender, handles) = mpsc::channel(HANDLES);
        let answers = tokio::spawn(collect(handles));
        for request in 0..self.requests {
            let batch = self.batch(request);
            let watch = Stopwatch::start(&self.clock);
            let sent = match appender.append(batch).await {
                Ok(handle) => sender.send((watch, handle)).await.is_ok(),
                Err(_) => false,
            };
            if !sent {
                // The first answer that failed says why.
                break;
            }
        }
        drop(sender);
        let latencies = answers.await.expect("collecting answers does not panic")?;
        appender.finish().await?;
        Ok(latencies)
    }

    /// The records of a request.
    pub(super) fn batch(&mut self, request: u32) -> Batch {
        let first = u64::from(request) * self.records;
        let mut batch = Batch::to_partition(&self.topic, self.payload.partition(first));
        for number in first..first + self.records {
            self.payload.write(&mut self.value, self.number, number);
            let record = Record::new().value(&self.value);
            if number == first {
                let one = batch.bytes_with(&record);
                batch.reserve(one * usize::try_from(self.records).unwrap_or(1));
            }
            batch.push(&record);
        }
        batch
    }
}

async fn collect(mut handles: mpsc::Receiver<(Stopwatch, AppendHandle)>) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new();
    while let Some((watch, handle)) = handles.recv().await {
        handle.await?;
        latencies.record(watch.elapsed());
    }
    Ok(latencies)
}
