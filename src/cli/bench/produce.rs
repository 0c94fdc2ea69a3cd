//! Clients that append: one request at a time (`bench append`), or with a full window (`bench
//! produce`).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};

use super::{
    Bench,
    measure::{Latencies, Run, Stopwatch},
    payload::Payload,
    plan::{Keys, Load},
};
use crate::{
    cli::Failure,
    client::{Append, AppendHandle, Batch, Client, Record},
    env::Clock,
    types::Version,
};

/// More requests than the window allows, so that only the window limits.
const HANDLES: usize = 1024;

/// Runs all clients of a plan at the same time, with many requests under way.
pub(super) async fn run(bench: &Bench<'_>) -> Result<Run, Failure> {
    run_producers(bench, Producer::stream).await
}

/// Runs all clients of a plan at the same time. Each of their tasks sends a request when the one
/// before was answered.
pub(super) async fn run_one_by_one(bench: &Bench<'_>) -> Result<Run, Failure> {
    run_producers(bench, Producer::append_one_by_one).await
}

async fn run_producers<L>(bench: &Bench<'_>, load: fn(Producer) -> L) -> Result<Run, Failure>
where
    L: Future<Output = Result<Latencies, Failure>> + Send + 'static,
{
    let mut producers = Vec::new();
    for client in 0..bench.plan.clients {
        let connected = bench.server.connect().await?;
        for task in 0..bench.plan.tasks {
            let number = client * bench.plan.tasks + task;
            producers.push(Producer::new(bench, number, connected.clone())?);
        }
    }

    let watch = Stopwatch::start(&bench.env.clock);
    let running: Vec<_> = producers
        .into_iter()
        .map(|producer| tokio::spawn(load(producer)))
        .collect();
    let mut latencies = Latencies::new();
    for producer in running {
        latencies.add(&producer.await.expect("a producer does not panic")?);
    }
    let (records, bytes) = (bench.plan.all_records(), bench.plan.bytes());
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

/// One task of a client.
struct Producer {
    client: Client,
    clock: Arc<dyn Clock>,
    topic: String,
    payload: Arc<Payload>,
    number: u32,
    requests: u32,
    records: u32,
    /// How long after one request the next is due; zero if that is at once.
    interval: Duration,
    /// The bytes of values whose appends are answered, for all tasks.
    appended: Arc<AtomicU64>,
    request_bytes: u64,
    /// The version of each of the task's own entities, if requests expect versions.
    versions: Option<Vec<Version>>,
    /// A buffer for values, and one for keys.
    value: Vec<u8>,
    key: Vec<u8>,
}

impl Producer {
    fn new(bench: &Bench<'_>, number: u32, client: Client) -> Result<Self, Failure> {
        let plan = bench.plan;
        let versions = match (plan.load, plan.keys) {
            (
                Load::Append {
                    expect_version: true,
                    ..
                },
                Keys::OfClient(entities),
            ) => {
                let entities = usize::try_from(entities).map_err(|_| {
                    Failure::Usage(
                        "--entities is more than this machine can keep the versions of".to_owned(),
                    )
                })?;
                Some(vec![Version::NONE; entities])
            }
            _ => None,
        };
        Ok(Self {
            client,
            clock: Arc::clone(&bench.env.clock),
            topic: bench.topic.clone(),
            payload: Arc::clone(&bench.payload),
            number,
            requests: plan.requests,
            records: plan.records,
            interval: plan.interval,
            appended: Arc::clone(&bench.appended),
            request_bytes: u64::from(plan.records) * plan.record_bytes as u64,
            versions,
            value: Vec::new(),
            key: Vec::new(),
        })
    }

    async fn append_one_by_one(mut self) -> Result<Latencies, Failure> {
        let mut latencies = Latencies::new();
        for request in 0..self.requests {
            let append = self.append(request);
            let watch = Stopwatch::start(&self.clock);
            self.client.append(append).await?;
            latencies.record(watch.elapsed());
        }
        Ok(latencies)
    }

    async fn stream(mut self) -> Result<Latencies, Failure> {
        let appender = self.client.append_stream();
        let (sender, handles) = mpsc::channel(HANDLES);
        let answers = tokio::spawn(collect(handles, self.request_bytes, self.appended.clone()));
        let begin = Stopwatch::start(&self.clock);
        for request in 0..self.requests {
            let append = self.append(request);
            let watch = match self.interval {
                Duration::ZERO => Stopwatch::start(&self.clock),
                interval => {
                    let due = interval * request;
                    sleep(due.saturating_sub(begin.elapsed())).await;
                    Stopwatch::after(&begin, due)
                }
            };
            let sent = match appender.append(append).await {
                Ok(handle) => sender.send((watch, handle)).await.is_ok(),
                Err(_) => false,
            };
            if !sent {
                // The failure is in one of the answers.
                break;
            }
        }
        drop(sender);
        let latencies = answers.await.expect("collecting answers does not panic")?;
        appender.finish().await?;
        Ok(latencies)
    }

    /// Makes a request: its records, and the version that it expects of their entity.
    fn append(&mut self, request: u32) -> Append {
        let append = Append::from(self.batch(request));
        let Some(versions) = &mut self.versions else {
            return append;
        };
        let entity =
            self.payload
                .entity_of_request(request.into(), self.number, versions.len() as u64);
        let version = &mut versions[usize::try_from(entity).expect("it is one of them")];
        let append = append.expect_version(&self.topic, &self.key, *version);
        // Only this task appends to the entity, and requests under way in a stream count.
        version.0 += u64::from(self.records);
        append
    }

    fn batch(&mut self, request: u32) -> Batch {
        let records = u64::from(self.records);
        let first = u64::from(request) * records;
        let mut batch = match self.payload.is_keyed() {
            true => Batch::new(&self.topic),
            false => Batch::to_partition(&self.topic, self.payload.partition(&[], first)),
        };
        for number in first..first + records {
            self.payload.write(&mut self.value, self.number, number);
            self.payload.write_key(&mut self.key, self.number, number);
            let record = Record::new().value(&self.value);
            let record = if self.key.is_empty() {
                record
            } else {
                record.key(&self.key)
            };
            if number == first {
                let one = batch.bytes_with(&record);
                batch.reserve(one * usize::try_from(records).unwrap_or(1));
            }
            batch.push(&record);
        }
        batch
    }
}

async fn collect(
    mut handles: mpsc::Receiver<(Stopwatch, AppendHandle)>,
    request_bytes: u64,
    appended: Arc<AtomicU64>,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new();
    while let Some((watch, handle)) = handles.recv().await {
        handle.await?;
        latencies.record(watch.elapsed());
        appended.fetch_add(request_bytes, Ordering::Relaxed);
    }
    Ok(latencies)
}
