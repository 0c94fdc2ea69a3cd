//! A projection that is built anew beside the one that runs, and takes over from it.
//!
//! A projection reads orders as a group, keeps a total for each customer, and thanks a customer for
//! each order, which may be done once only. Its second version keeps more. It is a fork of the
//! first: it reads all orders again, is told which of them the first one has handled, and thanks
//! nobody while it does. When it has caught up, the first one leaves, the second reads what is left
//! up to where that had come, and from there on it is the one that thanks.
//!
//! Run it with `cargo run --example projection`. It starts a broker of its own.

#![expect(clippy::print_stdout, reason = "an example says what it does")]

use std::collections::BTreeMap;

use taffrail::{
    client::{Batch, Client, Error, GroupRecord, Member, NewTopic, Record},
    testing::TestBroker,
    types::{Offset, PartitionId},
};

const TOPIC: &str = "orders";

/// How far a group has come, by partition.
type Offsets = BTreeMap<PartitionId, Offset>;

/// What is known of a customer's orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) count: u64,
    pub(crate) total: u64,
}

/// One version of the projection.
pub(crate) struct Projection {
    member: Member,
    pub(crate) orders: BTreeMap<String, Orders>,
    /// The orders that it has thanked for.
    pub(crate) thanked: Vec<String>,
    /// Before these offsets another one has thanked.
    silent_before: Offsets,
}

impl Projection {
    pub(crate) async fn start(client: &Client, group: &str) -> Result<Self, Error> {
        let member = client.member(group).topic(TOPIC).until_caught_up();
        Ok(Self {
            member: member.join().await?,
            orders: BTreeMap::new(),
            thanked: Vec::new(),
            silent_before: Offsets::new(),
        })
    }

    /// Handles what is there. Each record is committed when the next one is asked for.
    pub(crate) async fn catch_up(&mut self) -> Result<(), Error> {
        while let Some(next) = self.member.next_record().await? {
            self.handle(&next);
        }
        Ok(())
    }

    fn handle(&mut self, next: &GroupRecord) {
        let record = &next.record;
        let text = |bytes: &Option<_>| {
            let bytes: &[u8] = bytes.as_deref().unwrap_or_default();
            String::from_utf8_lossy(bytes).into_owned()
        };
        let (customer, amount) = (text(&record.key), text(&record.value));
        let orders = self.orders.entry(customer.clone()).or_default();
        orders.count += 1;
        orders.total += amount.parse::<u64>().unwrap_or_default();

        let before = self.silent_before.get(&record.partition);
        let is_silent = before.is_some_and(|before| record.offset < *before);
        if !next.is_replayed && !is_silent {
            self.thanked.push(format!("{customer} for {amount}"));
        }
    }

    /// Ends this one, and lets another one go on behind where it has come to.
    pub(crate) async fn hand_over(
        self,
        client: &Client,
        (from, to): (&str, &mut Self),
    ) -> Result<(), Error> {
        self.member.leave().await?;
        let offsets = client.groups().offsets(from).await?;
        let offsets = offsets
            .iter()
            .map(|offset| (offset.partition, offset.next_offset));
        to.silent_before = offsets.collect();
        to.catch_up().await
    }
}

pub(crate) async fn order(client: &Client, customer: &str, amount: u64) -> Result<(), Error> {
    let amount = amount.to_string();
    let record = Record::new().key(customer).value(&amount);
    client.append(Batch::of(TOPIC, [record])).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let broker = TestBroker::start().await;
    let client = broker.client();
    client
        .topics()
        .create(&NewTopic::new(TOPIC).partitions(3))
        .await?;
    for (customer, amount) in [("alice", 42), ("bob", 17), ("alice", 8)] {
        order(&client, customer, amount).await?;
    }
    let mut first = Projection::start(&client, "totals-1").await?;
    first.catch_up().await?;
    println!("the first one has thanked {}", first.thanked.join(", "));

    client.groups().fork("totals-1", "totals-2", true).await?;
    let mut second = Projection::start(&client, "totals-2").await?;
    second.catch_up().await?;
    println!(
        "the second one has {:?} and has thanked nobody",
        second.orders
    );

    order(&client, "bob", 5).await?;
    first.catch_up().await?;
    first.hand_over(&client, ("totals-1", &mut second)).await?;
    order(&client, "carol", 30).await?;
    second.catch_up().await?;
    println!("the second one has thanked {}", second.thanked.join(", "));
    Ok(())
}
