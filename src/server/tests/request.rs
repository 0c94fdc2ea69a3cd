//! The waiting bytes of a request: they stay in order, in no more pieces than their size justifies.

use bytes::Bytes;
use proptest::prelude::*;

use crate::server::{
    http2::request::Waiting,
    limits::{JOINED_BYTES, SMALL_PIECE_BYTES},
};

/// Bytes that differ from their neighbours.
fn pieces(lengths: &[usize]) -> Vec<Bytes> {
    let mut next = 0u64;
    let mut piece = |len: &usize| {
        let bytes = (next..).take(*len).map(|number| (number % 251) as u8);
        next += *len as u64;
        bytes.collect()
    };
    lengths.iter().map(&mut piece).collect()
}

proptest! {
    #[test]
    fn pieces_come_out_whole_and_in_order_whenever_they_are_taken(
        steps in proptest::collection::vec((0usize..3 * SMALL_PIECE_BYTES / 2, any::<bool>()), 1..80),
    ) {
        let lengths: Vec<usize> = steps.iter().map(|(len, _)| *len).collect();
        let (mut waiting, mut taken) = (Waiting::default(), Vec::new());
        for (piece, (_, take)) in pieces(&lengths).into_iter().zip(&steps) {
            waiting.push(piece);
            if *take {
                taken.extend(waiting.pop());
            }
        }
        taken.extend(std::iter::from_fn(|| waiting.pop()));
        prop_assert!(taken.iter().all(|piece| !piece.is_empty()));
        prop_assert_eq!(taken.concat(), pieces(&lengths).concat());
    }

    #[test]
    fn forgetting_returns_the_bytes_that_are_left(
        lengths in proptest::collection::vec(0usize..3 * SMALL_PIECE_BYTES / 2, 1..80),
        pops in 0usize..10,
    ) {
        let mut waiting = Waiting::default();
        for piece in pieces(&lengths) {
            waiting.push(piece);
        }
        let taken: usize = (0..pops).filter_map(|_| waiting.pop()).map(|piece| piece.len()).sum();
        prop_assert_eq!(waiting.abandon(), lengths.iter().sum::<usize>() - taken);
        prop_assert!(waiting.pop().is_none());
    }
}

#[test]
fn small_pieces_are_put_together() {
    let mut waiting = Waiting::default();
    for piece in pieces(&[7; 10_000]) {
        waiting.push(piece);
    }
    let pieces = std::iter::from_fn(|| waiting.pop()).count();
    assert_eq!(
        pieces,
        (7 * 10_000usize).div_ceil(JOINED_BYTES.next_multiple_of(7))
    );
}
