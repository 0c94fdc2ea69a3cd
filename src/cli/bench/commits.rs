//! Consumer groups that commit while something else is measured (`bench produce --groups`).
//!
//! Their cost is shown in three figures, each beside the same load without them: the rate and
//! latency of appends, which share the processors with the groups' clients if both run on one
//! machine; the broker's CPU time for each gigabyte appended, which includes the calls of the
//! commits; and the CPU time of its journal thread, because appends wait for whatever that thread
//! does.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{interval, sleep},
};

use super::Bench;
use crate::{
    cli::Failure,
    client::{Batch, Client, CommitOutcome, GroupOffset, Member, NewTopic, Record},
    types::{PartitionId, limits::MAX_RECORDS_PER_APPEND},
};

/// How often each group commits.
const INTERVAL: Duration = Duration::from_millis(100);

/// How many groups share a connection.
const GROUPS_OF_CONNECTION: u32 = 10;

/// How many offsets a group can commit one after the other: more than it does in a measurement, and
/// no more than one append may have records.
const RECORDS: usize = MAX_RECORDS_PER_APPEND;

/// Groups with one member each, which commit offsets of a topic of their own.
pub(super) struct Committing {
    stop: watch::Sender<bool>,
    groups: Vec<JoinHandle<Result<u64, Failure>>>,
    client: Client,
    topic: String,
}

/// The name of the groups' topic, made from that of the measured topic.
pub(super) fn topic_beside(measured: &str) -> String {
    format!("{measured}-groups")
}

impl Committing {
    /// Creates the groups and begins to commit.
    pub(super) async fn start(bench: &Bench<'_>) -> Result<Self, Failure> {
        let topic = topic_beside(&bench.topic);
        let topics = bench.client.topics();
        topics.create(&NewTopic::new(&topic)).await?;
        append(&bench.client, &topic).await?;
        let mut members = Vec::new();
        let mut client = bench.client.clone();
        for number in 0..bench.plan.groups {
            if number % GROUPS_OF_CONNECTION == 0 {
                client = bench.server.connect().await?;
            }
            members.push(join(&client, &topic, number).await?);
        }
        let (stop, stopped) = watch::channel(false);
        let mut groups = Vec::new();
        for ((member, first), number) in members.into_iter().zip(0..) {
            // The commits of the groups are spread over the interval.
            let wait = INTERVAL * number / bench.plan.groups;
            groups.push(tokio::spawn(commit(member, first, wait, stopped.clone())));
        }
        Ok(Self {
            stop,
            groups,
            client: bench.client.clone(),
            topic,
        })
    }

    /// Stops committing. Returns the number of commits.
    pub(super) async fn end(self) -> Result<u64, Failure> {
        self.stop.send_replace(true);
        let mut commits = 0;
        for group in self.groups {
            commits += group.await.expect("a group does not panic")?;
        }
        self.client.topics().delete(&self.topic).await?;
        Ok(commits)
    }
}

async fn append(client: &Client, topic: &str) -> Result<(), Failure> {
    let mut batch = Batch::to_partition(topic, PartitionId(0));
    for _ in 0..RECORDS {
        batch.push(&Record::new().value(b"v"));
    }
    client.append(batch).await?;
    Ok(())
}

/// Joins a group of its own, and returns what the member commits first.
async fn join(client: &Client, topic: &str, number: u32) -> Result<(Member, GroupOffset), Failure> {
    let group = format!("{topic}-{number}");
    let member = client.member(&group).topic(topic).credit(1, 1);
    let mut member = member.commit_explicitly().ephemeral().join().await?;
    loop {
        let batch = member.next_batch().await?;
        let batch = batch.expect("it is not to end when it has caught up");
        if batch.bytes() > 0 {
            return Ok((member, batch.next));
        }
    }
}

/// Commits one offset after the other until it is stopped. Returns how many.
async fn commit(
    mut member: Member,
    mut next: GroupOffset,
    wait: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<u64, Failure> {
    sleep(wait).await;
    let (mut commits, mut ticks) = (0, interval(INTERVAL));
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => break,
        }
        let outcomes = member.commit([next.clone()]).await?;
        if outcomes != [CommitOutcome::Done] {
            let message = format!("a group's commit came to {outcomes:?}");
            return Err(Failure::General(message));
        }
        next.next_offset.0 += 1;
        commits += 1;
    }
    member.leave().await?;
    Ok(commits)
}
