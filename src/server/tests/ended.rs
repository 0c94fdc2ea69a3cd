//! How long calls are remembered that ended before their requests did.

use super::{
    flood::serve,
    raw::{DATA, RST_STREAM, Raw},
};
use crate::{
    budget::{Budget, Sizes},
    server::limits::MAX_ENDED,
};

const STREAM_CLOSED: &[u8] = &5u32.to_be_bytes();

#[tokio::test]
async fn no_more_calls_are_remembered_that_were_ended_early_than_may_be_open() {
    const MORE: usize = 44;
    let (incoming, _stop) = serve(&Budget::new(&Sizes::default()));
    let mut client = Raw::open(&incoming, 1 << 20).await;
    let streams = (0..MAX_ENDED + MORE).map(|call| u32::try_from(2 * call + 1).unwrap());
    for stream in streams.clone() {
        client.call(stream, "/now", 0).await;
        loop {
            let frame = client.receive().await;
            if (frame.kind, frame.stream) == (RST_STREAM, stream) {
                break;
            }
        }
    }
    // Data that comes late for a remembered call is no mistake of the client.
    for stream in streams.clone() {
        client.send(DATA, 0, stream, b"late").await.unwrap();
    }
    let mut frames = client.settle().await;
    frames.retain(|frame| frame.kind == RST_STREAM && frame.content == STREAM_CLOSED);
    // Calls are remembered for some seconds, which a slow machine may need to get here.
    assert!(
        (MORE..streams.len()).contains(&frames.len()),
        "{}",
        frames.len()
    );
}
