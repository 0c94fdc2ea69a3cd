//! How many offsets the response to a reset has.

use prost::Message as _;

use super::reads::{PATIENCE, World};
use crate::{
    broker::ResetOffset,
    budget::{Name, Sizes},
    proto::ResetGroupResponse,
    server::{auth::tests::access_of_everybody, groups::calls::reset_response, turns::Lanes},
    types::{
        Offset, PartitionId, TopicId, TopicName,
        limits::{MAX_OFFSETS_PER_RESET, MAX_PARTITIONS, MAX_TOPIC_NAME_BYTES},
    },
};

/// Offsets in so many partitions of topics with the longest names.
fn offsets(count: usize) -> Vec<ResetOffset> {
    let mut offsets = Vec::with_capacity(count);
    for number in (0..count).rev() {
        let name = format!("{number:0>MAX_TOPIC_NAME_BYTES$}");
        offsets.push(ResetOffset {
            topic: TopicName::new(&name).expect("it is a name"),
            place: (TopicId(u64::MAX), PartitionId(u32::MAX)),
            before: Some(Offset(u64::MAX)),
            next: Offset(u64::MAX),
        });
    }
    offsets
}

/// The response to a reset of these, while this share of the memory is used.
async fn respond(offsets: Vec<ResetOffset>, used: f64) -> ResetGroupResponse {
    let (broker, _ours) = World::broker(Sizes::default(), PATIENCE, 1).await;
    let part = broker.budget().part(Name::Requests);
    part.add((part.bound() as f64 * used) as usize);
    let mut turn = Lanes::new().long(part.holder()).turn().await;
    reset_response(offsets, &access_of_everybody(), &mut turn)
}

#[tokio::test]
async fn a_reset_of_all_partitions_is_answered_with_the_first_within_what_clients_take() {
    let most = respond(offsets(MAX_OFFSETS_PER_RESET), 0.0).await;
    assert_eq!(most.offsets.len(), MAX_OFFSETS_PER_RESET);
    assert!(!most.more);
    let all = respond(offsets(MAX_PARTITIONS), 0.0).await;
    assert!(all.more);
    assert_eq!(all.offsets, most.offsets, "the first by name");
    assert!(all.encoded_len() < 4 << 20, "{} bytes", all.encoded_len());
}

#[tokio::test]
async fn a_reset_is_answered_as_done_where_there_is_no_memory_to_tell_of_it() {
    let response = respond(offsets(1), 1.0).await;
    assert_eq!((response.offsets, response.more), (Vec::new(), true));
}
