//! The load of `bench entity`: reads entities by random keys, and compares every record.

use std::sync::Arc;

use super::{
    Bench,
    measure::{Latencies, Run, Stopwatch},
    payload::{Payload, mixed},
    plan::EntityReads,
    preload,
};
use crate::{
    cli::Failure,
    client::{Client, EntityBatch, Error},
    env::Clock,
    types::{Position, Version},
};

/// How many empty calls are made to measure the round trip.
const ROUND_TRIPS: u32 = 1_000;

pub(super) async fn run(bench: &mut Bench<'_>, plan: EntityReads) -> Result<Run, Failure> {
    // First the first records of all entities, then all second ones, so that each entity is spread
    // over the whole log.
    let records = plan.entities * u64::from(plan.records_per_entity);
    let payload = Arc::clone(&bench.payload);
    preload::append(bench, records, bench.plan.records, |number, made| {
        let (entity, before) = (number % plan.entities, number / plan.entities);
        write_key(&mut made.key, entity);
        write_value(&payload, &mut made.value, entity, before);
    })
    .await?;
    if plan.cold {
        bench.restart_cold().await?;
    }
    let round_trip = round_trip(bench).await?;

    let mut readers = Vec::new();
    for number in 0..bench.plan.clients {
        readers.push(Reader {
            client: bench.server.connect().await?,
            topic: bench.topic.clone(),
            payload: Arc::clone(&bench.payload),
            clock: Arc::clone(&bench.env.clock),
            plan,
            reads: bench.plan.requests,
            seed: u64::from(number) << 32 ^ bench.env.random.next_u64(),
        });
    }
    let watch = Stopwatch::start(&bench.env.clock);
    let running: Vec<_> = readers
        .into_iter()
        .map(|reader| tokio::spawn(reader.run()))
        .collect();
    let mut latencies = Latencies::new();
    for reader in running {
        latencies.add(&reader.await.expect("a reader does not panic")?);
    }
    let reads = u64::from(bench.plan.clients) * u64::from(bench.plan.requests);
    let records = reads * u64::from(plan.max.min(plan.records_per_entity));
    let bytes = records * bench.plan.record_bytes as u64;
    Ok(Run {
        records,
        bytes,
        took: watch.elapsed(),
        latencies,
        round_trip: Some(round_trip),
        broker_cpu: None,
        commits: None,
        turns: Vec::new(),
        beside: None,
    })
}

/// The median time of calls for which the broker does almost nothing.
async fn round_trip(bench: &Bench<'_>) -> Result<std::time::Duration, Failure> {
    let client = bench.server.connect().await?;
    let mut latencies = Latencies::new();
    for _ in 0..ROUND_TRIPS {
        let watch = Stopwatch::start(&bench.env.clock);
        client.list_offsets(&bench.topic, Position::Latest).await?;
        latencies.record(watch.elapsed());
    }
    Ok(latencies.quantile(0.5))
}

/// A client with a connection of its own.
struct Reader {
    client: Client,
    topic: String,
    payload: Arc<Payload>,
    clock: Arc<dyn Clock>,
    plan: EntityReads,
    reads: u32,
    seed: u64,
}

impl Reader {
    async fn run(self) -> Result<Latencies, Failure> {
        let entities = self.client.entities();
        let mut latencies = Latencies::new();
        let mut key = Vec::new();
        for read in 0..self.reads {
            let entity = mixed(self.seed.wrapping_add(read.into())) % self.plan.entities;
            write_key(&mut key, entity);
            let watch = Stopwatch::start(&self.clock);
            let mut reading = entities
                .read(&self.topic, &key)
                .max_records(self.plan.max.into())
                .open()
                .await?;
            let mut batches = Vec::new();
            while let Some(batch) = reading.next_batch().await? {
                batches.push(batch);
            }
            latencies.record(watch.elapsed());
            let latest = reading.latest_version();
            self.check(entity, &key, latest, &batches)?;
        }
        Ok(latencies)
    }

    /// Whether these are the first records of the entity, byte for byte.
    fn check(
        &self,
        entity: u64,
        key: &[u8],
        latest: Version,
        batches: &[EntityBatch],
    ) -> Result<(), Failure> {
        let wrong = |problem: &str| {
            Failure::General(format!(
                "entity {entity} was not read as appended: {problem}"
            ))
        };
        let (mut seen, mut value) = (0, Vec::new());
        for record in batches.iter().flat_map(EntityBatch::records) {
            let record = record.map_err(Error::from)?;
            write_value(&self.payload, &mut value, entity, seen);
            seen += 1;
            if (record.key, record.version) != (Some(key), Some(seen)) {
                return Err(wrong("a record has another key or version"));
            }
            if record.value != Some(&value) {
                return Err(wrong("a record has other bytes"));
            }
        }
        if latest.0 != u64::from(self.plan.records_per_entity) {
            return Err(wrong("its latest version is another one"));
        }
        if seen != u64::from(self.plan.max.min(self.plan.records_per_entity)) {
            return Err(wrong("it has more or fewer records"));
        }
        Ok(())
    }
}

fn write_key(key: &mut Vec<u8>, entity: u64) {
    use std::io::Write;

    key.clear();
    write!(key, "entity-{entity:010}").expect("a vector takes everything");
}

/// Writes the value of the entity's record that comes after this many others.
fn write_value(payload: &Payload, value: &mut Vec<u8>, entity: u64, before: u64) {
    payload.write(
        value,
        u32::try_from(before).expect("an entity has fewer than 2^32 records"),
        entity,
    );
}
