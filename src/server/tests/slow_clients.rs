//! How much a broker reads for clients that take records slowly.

use h2::RecvStream;

use super::reads::{IDLE, PATIENCE, World, value_len};
use crate::{budget::Sizes, env::sim::SimDisk, server::limits};

const READS: usize = 8;

const RECORD: usize = 1_000_000;

/// The lengths and checksums of a record that is not in memory: 12 bytes for each part, in a list
/// with twice the capacity.
const CHECKSUMS: usize = 2 * 12 * RECORD.div_ceil(limits::SMALL_PIECES_BYTES);

/// How much a client takes before it stalls again.
const BURST: usize = 200_000;

#[tokio::test]
async fn for_clients_that_stall_again_and_again_a_record_is_read_about_twice() {
    let disk = SimDisk::new(1);
    let (broker, mut ours) = World::broker_on(&disk, Sizes::default(), PATIENCE, 1).await;
    let window = u32::try_from(BURST).expect("it is small");
    let mut world = World::connected_with(&broker, ours.remove(0), window).await;
    world.append("a", RECORD).await;
    broker.checkpoint_now().expect("nothing fails");
    let read_before = disk.stats().bytes_read;

    let mut reads = Vec::new();
    for _ in 0..READS {
        let body = world.read(false).await.expect("there is room");
        reads.push((Vec::new(), body));
    }
    for burst in 1..RECORD / BURST {
        for (taken, body) in &mut reads {
            take_up_to(burst * BURST, taken, body).await;
        }
        let stalled = READS * (limits::SMALL_PIECES_BYTES + IDLE + CHECKSUMS);
        world.until_used_is_at_most(stalled).await;
        for (_, body) in &mut reads {
            let credit = body.flow_control();
            credit.release_capacity(BURST).expect("it was received");
        }
    }
    for (mut taken, mut body) in reads {
        take_up_to(RECORD, &mut taken, &mut body).await;
        body.flow_control()
            .release_capacity(BURST)
            .expect("it was received");
        take_up_to(usize::MAX, &mut taken, &mut body).await;
        assert_eq!(value_len(&taken[5..]), RECORD);
    }
    // The whole record at first, and then each part when it is needed; a burst may end within a
    // part.
    let read = disk.stats().bytes_read - read_before;
    let most = (READS * 5 * RECORD / 2) as u64;
    assert!(read <= most, "{read} bytes of {most}");
}

/// Takes bytes until there are this many, or the response ends.
async fn take_up_to(most: usize, taken: &mut Vec<u8>, body: &mut RecvStream) {
    while taken.len() < most
        && let Some(data) = body.data().await
    {
        taken.extend_from_slice(&data.expect("the connection stands"));
    }
}
