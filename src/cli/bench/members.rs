//! The load of `bench consume --members`: the members of a group share the partitions of a topic,
//! and, for comparison, as many plain reads share them as well.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};

use super::{
    Bench,
    measure::{BrokerCpu, Latencies, Run, Stopwatch},
    payload::{Check, Payload},
    produce,
};
use crate::{
    cli::Failure,
    client::{Error, GroupPartition, Member, Read, Reading},
    env::Clock,
    types::{MalformedRecord, PartitionId, Position, RecordView},
};

/// How long a group may take to give every member its share.
const ASSIGNED: Duration = Duration::from_secs(30);

/// Fills the topic and lets the group and the plain reads read it. They take turns at which begins.
pub(super) async fn run(bench: &Bench<'_>, members: u32) -> Result<Run, Failure> {
    let group = join(bench, members).await?;
    produce::run(bench).await?;
    if bench.turn.is_multiple_of(2) {
        let plain = read_plainly(bench, members).await?;
        Ok(read_as_group(bench, group).await?.beside(plain))
    } else {
        let run = read_as_group(bench, group).await?;
        Ok(run.beside(read_plainly(bench, members).await?))
    }
}

/// A group whose members have got their partitions and ask for no records yet.
async fn join(bench: &Bench<'_>, members: u32) -> Result<Vec<Member>, Failure> {
    let mut group = Vec::new();
    for _ in 0..members {
        let client = bench.server.connect().await?;
        let member = client.member(&bench.topic).topic(&bench.topic).ephemeral();
        group.push(member.join().await?);
    }
    let share = usize::try_from(bench.plan.partitions / members).unwrap_or(usize::MAX);
    let assigned = async {
        while !has_shares(&group, share) {
            for member in &mut group {
                // The members only take their assignments and hand over partitions; the topic has
                // no records yet.
                let told = timeout(Duration::from_millis(10), member.next_batch()).await;
                told.unwrap_or(Ok(None))?;
            }
        }
        Ok::<_, Error>(())
    };
    let assigned = timeout(ASSIGNED, assigned).await;
    assigned.map_err(|_| Failure::General("the group does not come to rest".to_owned()))??;
    for member in &mut group {
        let partitions: Vec<GroupPartition> = member.partitions().collect();
        member.pause(partitions);
    }
    Ok(group)
}

fn has_shares(group: &[Member], share: usize) -> bool {
    let has_share = |member: &Member| (share..=share + 1).contains(&member.partitions().count());
    group.iter().all(has_share)
}

async fn read_as_group(bench: &Bench<'_>, group: Vec<Member>) -> Result<Run, Failure> {
    let progress = Progress::new(&bench.payload);
    let measured = Measured::start(bench);
    let mut reading = Vec::new();
    for member in group {
        let (progress, clock) = (progress.clone(), Arc::clone(&bench.env.clock));
        reading.push(tokio::spawn(read_as_member(member, progress, clock)));
    }
    let run = measured.end(reading).await?;
    progress.finish()?;
    Ok(run)
}

/// Reads as a member until the group has read everything; then the member leaves.
async fn read_as_member(
    mut member: Member,
    mut progress: Progress,
    clock: Arc<dyn Clock>,
) -> Result<Latencies, Failure> {
    let payload = Arc::clone(&progress.payload);
    let (mut check, mut latencies) = (payload.check(), Latencies::new());
    let partitions: Vec<GroupPartition> = member.partitions().collect();
    member.resume(partitions);
    loop {
        let watch = Stopwatch::start(&clock);
        let batch = tokio::select! {
            batch = member.next_batch() => batch?,
            () = progress.at_end() => break,
        };
        let Some(batch) = batch else {
            break;
        };
        latencies.record(watch.elapsed());
        let seen = compare(&mut check, batch.next.partition, batch.records())?;
        progress.add(seen);
    }
    // Leaving commits what was handled.
    tokio::spawn(member.leave());
    Ok(latencies)
}

async fn read_plainly(bench: &Bench<'_>, readers: u32) -> Result<Run, Failure> {
    let ends = bench
        .client
        .list_offsets(&bench.topic, Position::Latest)
        .await?;
    let progress = Progress::new(&bench.payload);
    let mut reads = Vec::new();
    for reader in 0..readers {
        let mut read = bench.server.connect().await?.read(&bench.topic).follow();
        let mut expected = 0;
        for end in &ends {
            if end.partition.0 % readers == reader {
                read = read.partition_from(end.partition, Position::Earliest);
                expected += end.high_watermark.0;
            }
        }
        reads.push((read, expected));
    }
    let measured = Measured::start(bench);
    let mut reading = Vec::new();
    for (read, expected) in reads {
        let (progress, clock) = (progress.clone(), Arc::clone(&bench.env.clock));
        reading.push(tokio::spawn(follow(read, expected, progress, clock)));
    }
    let run = measured.end(reading).await?;
    progress.finish()?;
    Ok(run)
}

/// Reads this many records.
async fn follow(
    read: Read,
    expected: u64,
    progress: Progress,
    clock: Arc<dyn Clock>,
) -> Result<Latencies, Failure> {
    let payload = Arc::clone(&progress.payload);
    let (mut check, mut latencies) = (payload.check(), Latencies::new());
    let mut reading: Reading = read.open().await?;
    while check.seen() < expected {
        let watch = Stopwatch::start(&clock);
        let Some(batch) = reading.next_batch().await? else {
            break;
        };
        latencies.record(watch.elapsed());
        let seen = compare(&mut check, batch.partition, batch.records())?;
        progress.add(seen);
    }
    Ok(latencies)
}

/// Compares records with those appended; returns how many they are.
fn compare<'a>(
    check: &mut Check<'_>,
    partition: PartitionId,
    records: impl Iterator<Item = Result<RecordView<'a>, MalformedRecord>>,
) -> Result<u64, Failure> {
    let before = check.seen();
    for record in records {
        let record = record.map_err(Error::from)?;
        let value = record.value.unwrap_or_default();
        check
            .record(partition, record.key, value)
            .map_err(did_not_come_back)?;
    }
    Ok(check.seen() - before)
}

fn did_not_come_back(problem: String) -> Failure {
    Failure::General(format!("what was appended did not come back: {problem}"))
}

/// How many records all readers have seen together.
#[derive(Clone)]
struct Progress {
    payload: Arc<Payload>,
    seen: Arc<AtomicU64>,
    end: watch::Receiver<bool>,
    tell_end: Arc<watch::Sender<bool>>,
}

impl Progress {
    fn new(payload: &Arc<Payload>) -> Self {
        let (tell_end, end) = watch::channel(false);
        Self {
            payload: Arc::clone(payload),
            seen: Arc::default(),
            end,
            tell_end: Arc::new(tell_end),
        }
    }

    fn add(&self, seen: u64) {
        let before = self.seen.fetch_add(seen, Ordering::Relaxed);
        if before + seen >= self.payload.all_records() {
            self.tell_end.send_replace(true);
        }
    }

    async fn at_end(&mut self) {
        // The end is signalled before the sender is dropped.
        let _ = self.end.wait_for(|is_end| *is_end).await;
    }

    fn finish(&self) -> Result<(), Failure> {
        let (seen, expected) = (
            self.seen.load(Ordering::Relaxed),
            self.payload.all_records(),
        );
        if seen == expected {
            return Ok(());
        }
        Err(did_not_come_back(format!(
            "{seen} records came of {expected}"
        )))
    }
}

/// A measurement under way.
struct Measured<'a, 'b> {
    bench: &'a Bench<'b>,
    watch: Stopwatch,
    cpu: Option<BrokerCpu>,
}

impl<'a, 'b> Measured<'a, 'b> {
    fn start(bench: &'a Bench<'b>) -> Self {
        Self {
            bench,
            watch: Stopwatch::start(&bench.env.clock),
            cpu: bench.broker_cpu(),
        }
    }

    /// Waits until all readers have read everything.
    async fn end(
        self,
        reading: Vec<JoinHandle<Result<Latencies, Failure>>>,
    ) -> Result<Run, Failure> {
        let mut latencies = Latencies::new();
        for reader in reading {
            latencies.add(&reader.await.expect("a reader does not panic")?);
        }
        Ok(Run {
            records: self.bench.plan.all_records(),
            bytes: self.bench.plan.bytes(),
            took: self.watch.elapsed(),
            latencies,
            round_trip: None,
            broker_cpu: self.bench.broker_cpu_since(self.cpu),
            commits: None,
            turns: Vec::new(),
            beside: None,
        })
    }
}
