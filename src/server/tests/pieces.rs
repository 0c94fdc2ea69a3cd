//! How much is sent ahead to clients that take nothing, and to clients that read.

use std::{collections::BTreeMap, sync::Arc};

use super::reads::{IDLE, PATIENCE, World, read_nothing, takes_nothing};
use crate::{
    budget::{Name, Sizes},
    proto::ReadRequest,
    server::limits,
};

#[tokio::test]
async fn a_client_that_has_not_shown_that_it_reads_costs_little_at_any_time() {
    let memory = Sizes::default().with(Name::Reads, 40 << 20);
    let (broker, mut ours) = World::broker(memory.for_holders(21), PATIENCE, 21).await;
    let world = World::connected(&broker, ours.remove(0)).await;
    for _ in 0..2 {
        world.append("a", 1_000_000).await;
    }
    let mut stalled = Vec::new();
    for io in ours {
        stalled.push(read_nothing(&broker, io).await);
    }
    // Two pieces are within HTTP/2, and one waits.
    let small = 3 * limits::SMALL_PIECES_BYTES + IDLE;
    World::settle().await;
    assert!(
        world.used() > 20 * limits::SMALL_PIECES_BYTES,
        "they are under way"
    );
    world.until_used_is_at_most(20 * small).await;
    let part = broker.budget().part(Name::Reads);
    let most = part.bound() / 8 + 20 * (small + limits::FIRST_BYTES);
    assert!(part.most() <= most, "{} of {most}", part.most());
    drop(stalled);
}

/// What calls hold is bounded wherever in a piece the socket is full.
#[tokio::test]
async fn pieces_of_odd_sizes_are_not_more_for_a_client_that_has_not_shown_that_it_reads() {
    let (broker, mut ours) = World::broker(Sizes::default(), PATIENCE, 4).await;
    let world = World::connected(&broker, ours.remove(0)).await;
    for (nth, io) in ours.into_iter().enumerate() {
        let topic = odd_pieces(&world, nth).await;
        let (client, mut connection) = takes_nothing(io).await;
        let broker = Arc::clone(&broker);
        let mut stalled = World { broker, client };
        let request = ReadRequest {
            topic,
            ..ReadRequest::default()
        };
        let response = stalled.call("/taffrail.v1.Log/Read", &request);
        let response = tokio::select! {
            biased;
            response = response => response.expect("an answer"),
            ended = &mut connection => panic!("{ended:?}"),
        };
        World::settle().await;
        let most = 3 * limits::SMALL_PIECES_BYTES + IDLE + ODD_MESSAGES * 64;
        let least = limits::FIRST_UNWRITTEN_BYTES / 2;
        assert!(world.used() > least, "it is under way");
        world.until_used_is_at_most(most).await;
        drop((response, stalled, connection));
        world.until_used_is_at_most(0).await;
    }
}

const ODD_MESSAGES: usize = 8;

/// A topic with messages of one whole piece and a part of another, after a message that shifts them
/// by `moved` bytes.
async fn odd_pieces(world: &World, moved: usize) -> String {
    let topic = format!("odd{moved}");
    let partitions = u32::try_from(ODD_MESSAGES).expect("it is small");
    let created = world
        .broker
        .create_topic(&topic, partitions, &BTreeMap::new());
    created.expect("a good name").await.expect("nothing fails");
    for partition in 0..partitions {
        let bytes = match partition {
            0 => moved * 20_000,
            _ => limits::SMALL_PIECES_BYTES + 20_000,
        };
        world.append_to(&topic, Some(partition), None, bytes).await;
    }
    topic
}

#[tokio::test]
async fn a_client_that_has_shown_that_it_reads_gets_large_pieces() {
    let (broker, mut ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let mut world = World::connected_with(&broker, ours.remove(0), 1 << 20).await;
    for _ in 0..14 {
        world.append("a", 1_000_000).await;
    }
    let mut body = world.read(false).await.expect("there is room");
    let (mut taken, mut largest_first, mut largest) = (0, 0, 0);
    while let Some(data) = body.data().await {
        let bytes = data.expect("the connection stands").len();
        let released = body.flow_control().release_capacity(bytes);
        released.expect("it was received");
        taken += bytes;
        match taken <= limits::SHOWN_BYTES {
            true => largest_first = bytes.max(largest_first),
            false => largest = bytes.max(largest),
        }
    }
    assert!(taken > 14_000_000);
    assert_eq!(largest_first, limits::SMALL_PIECES_BYTES);
    assert_eq!(largest, limits::PIECE_BYTES);
}
