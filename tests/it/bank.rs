//! The example bank under load and across a crash: the sum of all money never changes.

#[expect(dead_code, reason = "the program that shows it is not run here")]
#[path = "../../examples/bank.rs"]
mod example;

use taffrail::testing::TestBroker;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use example::{Balances, Bank, BankError};

const OWNERS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
const DEPOSIT: i64 = 100;
const TOTAL: i64 = 500;
const CUSTOMERS: usize = 8;

/// A bank whose accounts are open.
async fn opened(broker: &TestBroker) -> Result<Bank, BankError> {
    let bank = Bank::new(broker.client()).await?;
    for owner in OWNERS {
        bank.open(owner, DEPOSIT).await?;
    }
    Ok(bank)
}

/// Customers that make one transfer after the other, as many as the test permits.
struct Customers {
    running: Vec<JoinHandle<Result<usize, BankError>>>,
    /// Receives a message for each transfer that was answered.
    answered: mpsc::Receiver<()>,
}

impl Customers {
    /// Starts customers, each with a connection of its own.
    async fn start(broker: &TestBroker, transfers: usize) -> Result<Self, BankError> {
        let (tell, answered) = mpsc::channel(CUSTOMERS * transfers);
        let mut running = Vec::new();
        for _ in 0..CUSTOMERS {
            let (bank, tell) = (Bank::new(broker.client()).await?, tell.clone());
            running.push(tokio::spawn(async move {
                let mut carried_out = 0;
                for _ in 0..transfers {
                    carried_out += example::customer(bank.clone(), OWNERS.to_vec(), 1).await?;
                    tell.send(()).await.expect("the test is there");
                }
                Ok(carried_out)
            }));
        }
        Ok(Self { running, answered })
    }

    /// Waits until this many transfers were answered.
    async fn wait_for(&mut self, transfers: usize) {
        for _ in 0..transfers {
            self.answered
                .recv()
                .await
                .expect("there are more transfers to come");
        }
    }

    /// Waits until all customers are done; returns how many transfers succeeded.
    async fn finish(self) -> Result<usize, BankError> {
        let mut carried_out = 0;
        for customer in self.running {
            carried_out += customer.await.expect("a customer does not panic")?;
        }
        Ok(carried_out)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn customers_who_race_for_the_same_accounts_leave_the_total_as_it_was()
-> Result<(), BankError> {
    let broker = TestBroker::start().await;
    let bank = opened(&broker).await?;
    let (complete, completed) = oneshot::channel();
    let balances = tokio::spawn(Balances::default().follow(broker.client(), completed));

    let mut customers = Customers::start(&broker, 25).await?;
    for _ in 0..CUSTOMERS * 25 {
        assert_eq!(bank.total(&OWNERS).await?, TOTAL, "in the middle of it");
        customers.wait_for(1).await;
    }
    let carried_out = customers.finish().await?;
    drop(complete);
    let balances = balances
        .await
        .expect("the total that it sees is the same throughout")?;

    assert_eq!(
        (bank.total(&OWNERS).await?, balances.total()),
        (TOTAL, TOTAL)
    );
    assert_eq!(
        balances.transfers(),
        (carried_out, 0),
        "each transfer is there once, and whole"
    );
    assert!(carried_out > 0, "at least the first one was covered");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_the_middle_of_transfers_leaves_the_total_as_it_was() -> Result<(), BankError> {
    let mut broker = TestBroker::start().await;
    let bank = opened(&broker).await?;
    let (complete, completed) = oneshot::channel();
    let balances = tokio::spawn(Balances::default().follow(broker.client(), completed));

    let mut customers = Customers::start(&broker, 20).await?;
    for _ in 0..3 {
        customers.wait_for(CUSTOMERS * 5).await;
        broker.crash().await;
        broker.restart().await;
        assert_eq!(bank.total(&OWNERS).await?, TOTAL, "after a crash");
    }
    let carried_out = customers.finish().await?;
    drop(complete);
    let balances = balances
        .await
        .expect("the total that it sees is the same throughout")?;

    assert_eq!(
        (bank.total(&OWNERS).await?, balances.total()),
        (TOTAL, TOTAL)
    );
    assert_eq!(
        balances.transfers(),
        (carried_out, 0),
        "each transfer is there once, and whole"
    );
    Ok(())
}
