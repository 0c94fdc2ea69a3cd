//! Consumer groups that commit while something else is measured (`bench produce --groups`).
//!
//! Their cost is shown in three figures, each beside the same load without them: the rate and
//! latency of appends, which share the processors with the groups' clients if both run on one
//! machine; the broker's CPU time for each gigabyte appended, which includes the calls of the
//! commits; and the CPU time of its journal thread, because appends wait for whatever that thread
//! does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

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
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// How many groups share a connection.
const GROUPS_OF_CONNECTION: u32 = 10;

/// How many offsets a group can commit one after the other: more than it does in a measurement, and
/// no more than one append may have records.
const RECORDS: usize = MAX_RECORDS_PER_APPEND;

/// Groups with one member each, which commit offsets of a topic of their own.
pub(super) struct Committing {
    orders: watch::Sender<Order>,
    /// The number of commits.
    made: Arc<AtomicU64>,
    groups: Vec<JoinHandle<Result<(), Failure>>>,
    client: Client,
    topic: String,
}

/// What the groups are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Commit,
    Pause,
    Leave,
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
        let (orders, order) = watch::channel(Order::Commit);
        let made = Arc::default();
        let mut groups = Vec::new();
        for ((member, first), number) in members.into_iter().zip(0..) {
            // The commits of the groups are spread over the interval.
            let wait = INTERVAL * number / bench.plan.groups;
            let commits = Commits {
                member,
                next: first,
                made: Arc::clone(&made),
            };
            groups.push(tokio::spawn(commits.make(wait, order.clone())));
        }
        Ok(Self {
            orders,
            made,
            groups,
            client: bench.client.clone(),
            topic,
        })
    }

    /// Lets the groups commit, or stand still.
    pub(super) fn go_on(&self, is_to_commit: bool) {
        self.orders.send_replace(match is_to_commit {
            true => Order::Commit,
            false => Order::Pause,
        });
    }

    /// The number of commits so far.
    pub(super) fn made(&self) -> u64 {
        self.made.load(Ordering::Relaxed)
    }

    /// Stops committing. Returns the number of commits.
    pub(super) async fn end(self) -> Result<u64, Failure> {
        self.orders.send_replace(Order::Leave);
        for group in self.groups {
            group.await.expect("a group does not panic")?;
        }
        self.client.topics().delete(&self.topic).await?;
        Ok(self.made.load(Ordering::Relaxed))
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

/// The commits of one group.
struct Commits {
    member: Member,
    next: GroupOffset,
    made: Arc<AtomicU64>,
}

impl Commits {
    /// Commits one offset after the other until the group is to leave.
    async fn make(
        mut self,
        wait: Duration,
        mut order: watch::Receiver<Order>,
    ) -> Result<(), Failure> {
        sleep(wait).await;
        let mut ticks = interval(INTERVAL);
        loop {
            // What the groups do when they go on is spread over the interval as well.
            let is_time = tokio::select! {
                _ = ticks.tick() => true,
                _ = order.changed() => false,
            };
            match *order.borrow_and_update() {
                Order::Commit if is_time => {}
                Order::Commit | Order::Pause => continue,
                Order::Leave => break,
            }
            let outcomes = self.member.commit([self.next.clone()]).await?;
            if outcomes != [CommitOutcome::Done] {
                let message = format!("a group's commit came to {outcomes:?}");
                return Err(Failure::General(message));
            }
            self.next.next_offset.0 += 1;
            self.made.fetch_add(1, Ordering::Relaxed);
        }
        self.member.leave().await?;
        Ok(())
    }
}
