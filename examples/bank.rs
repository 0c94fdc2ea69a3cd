//! A bank that keeps events instead of balances.
//!
//! An account is an entity: all records of one key, numbered by version. A transfer is two records,
//! one for each account, appended together or not at all, and only if both accounts are still as
//! they were when it was decided. A balance is what an account's events add up to.
//!
//! Run it with `cargo run --example bank`. It starts a broker of its own; with
//! `TAFFRAIL_SERVER=http://127.0.0.1:9640` the accounts are on that one, and `taffrail entity read
//! accounts alice` shows what has happened to one of them.

#![expect(clippy::print_stdout, reason = "an example says what it does")]

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use taffrail::{
    client::{Append, Batch, Client, Error, NewTopic, PartitionOffset, Record, StoredRecord},
    testing::TestBroker,
    types::{Offset, PartitionId, Position, Version},
};
use tokio::sync::oneshot;

const TOPIC: &str = "accounts";

/// What happened to an account: the value of its records. What kind of event it was is the record's
/// type.
#[derive(Serialize, Deserialize)]
struct Event {
    /// What came in, or, if negative, went out.
    amount: i64,
    /// What was there then, so that an account's latest record alone says it.
    balance: i64,
    /// The transfer that it is one half of; none if the money came from outside.
    transfer: Option<String>,
}

/// Why something was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BankError {
    #[error("{owner} has no account")]
    NoAccount { owner: String },
    #[error("{owner} has {balance}, not {amount}")]
    InsufficientFunds {
        owner: String,
        balance: i64,
        amount: i64,
    },
    #[error("a record of the topic is no event of an account: {0}")]
    NotAnEvent(#[from] serde_json::Error),
    #[error(transparent)]
    Broker(#[from] Error),
}

/// An account as it is at a version.
#[derive(Default)]
struct Account {
    balance: i64,
    version: Version,
}

/// Carries out what customers want.
#[derive(Clone)]
pub(crate) struct Bank {
    client: Client,
}

impl Bank {
    /// A bank on a broker, with a topic for the accounts if it has none.
    pub(crate) async fn new(client: Client) -> Result<Self, BankError> {
        match client
            .topics()
            .create(&NewTopic::new(TOPIC).partitions(4))
            .await
        {
            Err(error) if error.reason() != Some("TOPIC_EXISTS") => Err(error.into()),
            _ => Ok(Self { client }),
        }
    }

    /// Opens an account, unless there is one.
    pub(crate) async fn open(&self, owner: &str, deposit: i64) -> Result<(), BankError> {
        let opened = event(
            owner,
            "opened",
            &Event {
                amount: deposit,
                balance: deposit,
                transfer: None,
            },
            owner,
        )?;
        match self
            .append(Append::from(opened).expect_absent(TOPIC, owner))
            .await
        {
            Err(Error::Conflict { .. }) => Ok(()),
            answer => Ok(answer?),
        }
    }

    /// Moves money from one account to another. `id` is a name for this transfer that no other one
    /// has.
    pub(crate) async fn transfer(
        &self,
        id: &str,
        from: &str,
        to: &str,
        amount: i64,
    ) -> Result<(), BankError> {
        if from == to {
            return Ok(());
        }
        let mut backoff = Backoff::default();
        loop {
            // Decide by what is there now ...
            let (payer, payee) = (self.account(from).await?, self.account(to).await?);
            if payer.balance < amount {
                let owner = from.to_owned();
                return Err(BankError::InsufficientFunds {
                    owner,
                    balance: payer.balance,
                    amount,
                });
            }
            let transfer = Some(id.to_owned());
            let sent = Event {
                amount: -amount,
                balance: payer.balance - amount,
                transfer: transfer.clone(),
            };
            let received = Event {
                amount,
                balance: payee.balance + amount,
                transfer,
            };

            // ... and append it only if that is still what is there. Both records are stored, or
            // neither.
            let both = [
                event(from, "sent", &sent, id)?,
                event(to, "received", &received, id)?,
            ];
            let append = Append::from(both)
                .expect_version(TOPIC, from, payer.version)
                .expect_version(TOPIC, to, payee.version);
            match self.append(append).await {
                // Somebody was faster: nothing was stored, and with what is there now the decision
                // may be another.
                Err(Error::Conflict { .. }) => backoff.pause().await,
                answer => return Ok(answer?),
            }
        }
    }

    /// What an account has: everything that has happened to it, added up.
    async fn account(&self, owner: &str) -> Result<Account, BankError> {
        let records = until_answered(|| async {
            let mut reading = self.client.entities().read(TOPIC, owner).open().await?;
            let mut records = Vec::new();
            while let Some(record) = reading.next_record().await? {
                records.push(record);
            }
            Ok(records)
        });
        let mut account = Account::default();
        for record in records.await? {
            account.balance += event_of(&record)?.amount;
            account.version = record.version.unwrap_or_default();
        }
        if account.version == Version::NONE {
            Err(BankError::NoAccount {
                owner: owner.to_owned(),
            })
        } else {
            Ok(account)
        }
    }

    /// What all these accounts have together at one moment: no transfer is seen by half.
    pub(crate) async fn total(&self, owners: &[&str]) -> Result<i64, BankError> {
        let latest =
            until_answered(|| async { self.client.entities().latest(TOPIC, owners).await }).await?;
        let records = latest.iter().filter_map(|latest| latest.record.as_ref());
        records.map(|record| Ok(event_of(record)?.balance)).sum()
    }

    /// Appends, and asks again for as long as it takes to know whether it is stored. The event ids
    /// are what makes that safe: if it was stored the first time, the conditions do not hold any
    /// more, but the broker finds the very records that it is sent, and answers as it did then.
    async fn append(&self, append: Append) -> Result<(), Error> {
        until_answered(|| self.client.append(append.clone()))
            .await
            .map(drop)
    }
}

/// A record about an account.
fn event(owner: &str, event_type: &str, event: &Event, id: &str) -> Result<Batch, BankError> {
    let (value, event_id) = (serde_json::to_vec(event)?, format!("{id}/{event_type}"));
    let record = Record::new()
        .key(owner)
        .event_type(event_type)
        .value(&value)
        .event_id(&event_id);
    Ok(Batch::of(TOPIC, [record]))
}

fn event_of(record: &StoredRecord) -> Result<Event, BankError> {
    Ok(serde_json::from_slice(
        record.value.as_deref().unwrap_or_default(),
    )?)
}

/// Makes a call again while the broker is away, and while it is not known what became of it.
async fn until_answered<T, F: Future<Output = Result<T, Error>>>(
    call: impl Fn() -> F,
) -> Result<T, Error> {
    let mut backoff = Backoff::default();
    loop {
        match call().await {
            Err(Error::Unavailable { .. } | Error::OutcomeUnknown { .. }) => backoff.pause().await,
            answer => return answer,
        }
    }
}

/// Pauses that double, each of a length that others do not have as well.
#[derive(Default)]
struct Backoff {
    pauses: u32,
}

impl Backoff {
    async fn pause(&mut self) {
        let longest = 1_000 << self.pauses.min(7);
        self.pauses += 1;
        let chance = RandomState::new().hash_one(self.pauses) % longest;
        tokio::time::sleep(Duration::from_micros(longest / 2 + chance / 2)).await;
    }
}

/// All balances, as a service of its own would keep them: by following the topic.
///
/// The two halves of a transfer may be in different partitions, which are read one independently of
/// the other. It counts when both have come.
#[derive(Default)]
pub(crate) struct Balances {
    balances: BTreeMap<String, i64>,
    /// What has been paid in, which is what all balances together must be at any time.
    paid_in: i64,
    /// The transfers of which one half has come: whose it is, and how much.
    halves: BTreeMap<String, (String, i64)>,
    transfers: usize,
    /// Where to go on in each partition. A service would store this together with the balances.
    positions: BTreeMap<PartitionId, Offset>,
}

impl Balances {
    /// Follows the topic until it is told that nothing more comes, and then reads what is left.
    pub(crate) async fn follow(
        mut self,
        client: Client,
        complete: oneshot::Receiver<()>,
    ) -> Result<Self, BankError> {
        tokio::select! {
            // It goes on by itself where it was when the broker has gone away.
            read = self.read(&client, true) => read?,
            _ = complete => {}
        }
        self.read(&client, false).await?;
        Ok(self)
    }

    async fn read(&mut self, client: &Client, follow: bool) -> Result<(), BankError> {
        let mut read = client.read(TOPIC);
        let earliest = until_answered(|| client.list_offsets(TOPIC, Position::Earliest)).await?;
        for PartitionOffset { partition, .. } in earliest {
            let next = self
                .positions
                .get(&partition)
                .map_or(Position::Earliest, |next| Position::Offset(*next));
            read = read.partition_from(partition, next);
        }
        let read = if follow { read.follow() } else { read };
        let mut reading = until_answered(|| read.clone().open()).await?;
        while let Some(batch) = reading.next_batch().await? {
            for record in batch.owned_records() {
                self.apply(&record.map_err(Error::from)?)?;
            }
            self.positions.insert(batch.partition, batch.next_offset);
        }
        Ok(())
    }

    fn apply(&mut self, record: &StoredRecord) -> Result<(), BankError> {
        let event = event_of(record)?;
        let owner = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        match event.transfer {
            None => {
                self.paid_in += event.amount;
                *self.balances.entry(owner).or_default() += event.amount;
            }
            Some(transfer) => match self.halves.remove(&transfer) {
                None => drop(self.halves.insert(transfer, (owner, event.amount))),
                Some((other, amount)) => {
                    *self.balances.entry(owner).or_default() += event.amount;
                    *self.balances.entry(other).or_default() += amount;
                    self.transfers += 1;
                }
            },
        }
        assert_eq!(
            self.total(),
            self.paid_in,
            "money has come from nowhere, or gone there"
        );
        Ok(())
    }

    /// What all accounts have.
    pub(crate) fn total(&self) -> i64 {
        self.balances.values().sum()
    }

    /// How many transfers have come whole, and how many by half.
    pub(crate) fn transfers(&self) -> (usize, usize) {
        (self.transfers, self.halves.len())
    }
}

/// A customer who makes transfers at random; answers how many were carried out.
pub(crate) async fn customer(
    bank: Bank,
    owners: Vec<&str>,
    transfers: usize,
) -> Result<usize, BankError> {
    let chance = RandomState::new();
    let mut carried_out = 0;
    for number in 0..transfers {
        let drawn = chance.hash_one(number);
        let below = |end: usize, drawn: u64| {
            usize::try_from(drawn % end as u64).expect("it is below a usize")
        };
        let from = below(owners.len(), drawn);
        let to = (from + 1 + below(owners.len() - 1, drawn >> 16)) % owners.len();
        let amount = 1 + i64::try_from((drawn >> 32) % 80).expect("it is below 80");
        match bank
            .transfer(&format!("{drawn:016x}"), owners[from], owners[to], amount)
            .await
        {
            Ok(()) => carried_out += 1,
            Err(BankError::InsufficientFunds { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(carried_out)
}

#[tokio::main]
async fn main() -> Result<(), BankError> {
    const OWNERS: [&str; 6] = ["alice", "bob", "carol", "dave", "erin", "frank"];
    const CUSTOMERS: usize = 8;
    const TRANSFERS: usize = 50;

    #[expect(clippy::disallowed_methods, reason = "an example is not the broker")]
    let server = std::env::var("TAFFRAIL_SERVER");
    let own_broker;
    let client = match server {
        Ok(server) => Client::connect(&server).await?,
        Err(_) => {
            own_broker = TestBroker::start().await;
            own_broker.client()
        }
    };
    let bank = Bank::new(client.clone()).await?;
    for owner in OWNERS {
        bank.open(owner, 100).await?;
    }
    println!(
        "{} accounts with {} in all",
        OWNERS.len(),
        bank.total(&OWNERS).await?
    );

    let (complete, completed) = oneshot::channel();
    let balances = tokio::spawn(Balances::default().follow(client, completed));
    let customers: Vec<_> = (0..CUSTOMERS)
        .map(|_| tokio::spawn(customer(bank.clone(), OWNERS.to_vec(), TRANSFERS)))
        .collect();
    let mut carried_out = 0;
    for customer in customers {
        carried_out += customer.await.expect("a customer does not panic")?;
        println!(
            "at this moment the accounts have {} in all",
            bank.total(&OWNERS).await?
        );
    }
    println!(
        "{carried_out} of {} transfers were carried out, the others not covered",
        CUSTOMERS * TRANSFERS
    );

    drop(complete);
    let balances = balances.await.expect("the projection does not panic")?;
    for (owner, balance) in &balances.balances {
        println!("{balance:>6} {owner}");
    }
    println!(
        "{:>6} as the projection has it, after {} transfers",
        balances.total(),
        balances.transfers().0
    );
    Ok(())
}
