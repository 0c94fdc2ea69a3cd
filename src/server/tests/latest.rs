//! Answers to `GetLatest`: what was found, a response at a time.

use bytes::Bytes;
use tokio_stream::StreamExt;

use crate::{
    broker::Latest,
    server::entities::latest::LatestAnswers,
    types::{PartitionId, Version, limits::MAX_RESPONSE_BYTES},
};

async fn responses(bytes: &[Option<usize>]) -> Vec<Vec<(u64, Option<usize>)>> {
    let found = bytes.iter().zip(1..).map(|(bytes, version)| Latest {
        partition: PartitionId(0),
        version: Version(version),
        record: bytes.map(|bytes| Bytes::from(vec![0; bytes])),
    });
    let answers: Vec<_> = LatestAnswers::new(found.collect()).collect().await;
    let answers = answers.into_iter().map(|answer| answer.unwrap().latest);
    answers
        .map(|latest| latest.iter().map(|one| (one.version, one.record.as_ref().map(Bytes::len))).collect())
        .collect()
}

#[tokio::test]
async fn what_fits_goes_into_one_response_in_the_order_asked_for() {
    let found = responses(&[Some(10), None, Some(0), Some(MAX_RESPONSE_BYTES - 10)]).await;
    assert_eq!(found, [vec![(1, Some(10)), (2, None), (3, Some(0)), (4, Some(MAX_RESPONSE_BYTES - 10))]]);
    assert!(responses(&[]).await.is_empty());
}

#[tokio::test]
async fn a_response_is_closed_before_it_has_too_many_bytes_and_a_larger_record_goes_alone() {
    let half = MAX_RESPONSE_BYTES / 2;
    let found = responses(&[Some(half), Some(half), Some(1), Some(3 * half), None, Some(2)]).await;
    let versions: Vec<Vec<u64>> = found.iter().map(|one| one.iter().map(|(version, _)| *version).collect()).collect();
    assert_eq!(versions, [vec![1, 2], vec![3], vec![4], vec![5, 6]]);
}
