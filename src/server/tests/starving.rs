//! Reads of a client that grants little window, while other clients hold the memory of reads.

use std::time::Duration;

use h2::RecvStream;
use tokio::time::{sleep, timeout};

use super::reads::{IDLE, PATIENCE, World, fill, read_nothing};
use crate::{
    budget::{Name, Sizes},
    server::limits,
};

/// More reads than the basic share of a connection has room for.
const READS: usize = 7;

/// How much a read's client takes at a time.
const TAKEN: usize = 1_000;

#[tokio::test]
async fn reads_with_little_credit_go_on_while_others_hold_the_memory() {
    go_on_while_others_hold_the_memory(PATIENCE).await;
}

#[tokio::test]
async fn no_stalled_read_is_ended_for_want_of_memory_for_pieces() {
    go_on_while_others_hold_the_memory(Duration::ZERO).await;
}

async fn go_on_while_others_hold_the_memory(stalled_read: Duration) {
    let memory = Sizes::default().with(Name::Reads, 1_500_000);
    let (broker, mut ours) = World::broker(memory.for_holders(21), stalled_read, 21).await;
    let mut client = World::connected(&broker, ours.remove(0)).await;
    client.append("a", 1_000_000).await;
    let mut reads = Vec::new();
    for _ in 0..READS {
        let mut body = client.read(false).await.expect("there is room");
        fill(&mut body).await;
        reads.push(body);
    }
    let most = READS * (limits::FIRST_BYTES + IDLE);
    client.until_used_is_at_most(most).await;
    let mut stalled = Vec::new();
    for io in ours {
        stalled.push(read_nothing(&broker, io).await);
    }
    let part = broker.budget().part(Name::Reads);
    let filled = async {
        while part.free_of_open() >= limits::FIRST_BYTES {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, filled).await.expect("it is filled");

    // More than was in memory of each read before the memory ran short.
    for _ in 0..limits::FIRST_BYTES / TAKEN + 5 {
        for body in &mut reads {
            take_some(body).await;
        }
    }
    drop(stalled);
}

/// Grants as much window as was taken, and takes that much.
async fn take_some(body: &mut RecvStream) {
    let credit = body.flow_control();
    credit.release_capacity(TAKEN).expect("it was received");
    let taken = timeout(PATIENCE, fill(body)).await;
    assert_eq!(taken.expect("it goes on").len(), TAKEN);
}
