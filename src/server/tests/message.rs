//! Messages on their way: whatever is let go of and made again, their clients get them whole, and
//! memory is counted for what is there.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    budget::{Holder, Name, Part},
    server::{
        http2::message::{Changed, Message},
        limits::PIECE_BYTES,
    },
};

fn holder(bound: usize) -> Holder {
    Arc::new(Part::new(Name::Reads, bound)).holder()
}

/// Bytes that differ from their neighbours.
fn slices(lengths: &[usize]) -> Vec<Bytes> {
    let mut next = 0u64;
    let mut slice = |len: &usize| {
        let bytes = (next..).take(*len).map(|number| (number % 251) as u8);
        next += *len as u64;
        bytes.collect()
    };
    lengths.iter().map(&mut slice).collect()
}

/// As gRPC has it on the wire.
fn on_the_wire(slices: &[Bytes]) -> Vec<u8> {
    let message = slices.concat();
    let len = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &len, &message].concat()
}

proptest! {
    #[test]
    fn a_message_arrives_whole_whatever_is_let_go_of(
        lengths in proptest::collection::vec(0usize..2 * PIECE_BYTES, 1..8),
        steps in proptest::collection::vec((0usize..2 * PIECE_BYTES, 0usize..4), 1..30),
        bound in 2 * PIECE_BYTES..20 * PIECE_BYTES,
    ) {
        let (slices, holder) = (slices(&lengths), holder(bound));
        let mut message = Message::new(&slices, &holder);
        let mut sent = Vec::new();
        let mut steps = steps.into_iter().cycle();
        while !message.is_sent() {
            if message.ready() == 0 {
                let room = message.room(&holder).expect("nothing else has any");
                message.restore(&slices, room).expect("it is the same");
            }
            let (most, keep) = steps.next().expect("it repeats");
            sent.extend_from_slice(&message.next(most.max(1)).0);
            if keep < 3 {
                message.let_go(keep);
            }
        }
        prop_assert_eq!(sent, on_the_wire(&slices));
        prop_assert_eq!(holder.has(), 0);
    }
}

#[test]
fn what_is_let_go_of_costs_nothing() {
    let (slices, holder) = (slices(&[10 * PIECE_BYTES]), holder(64 * PIECE_BYTES));
    let mut message = Message::new(&slices, &holder);
    assert_eq!(holder.has(), on_the_wire(&slices).len());
    message.let_go(1);
    assert_eq!(holder.has(), PIECE_BYTES);
    // What is being written is counted until that is done.
    let (bytes, completes) = message.next(100);
    assert!(!completes);
    message.let_go(0);
    assert_eq!(holder.has(), PIECE_BYTES);
    drop(bytes);
    assert_eq!(holder.has(), 0);
}

#[test]
fn a_message_takes_the_memory_that_there_is() {
    let (slices, holder) = (slices(&[10 * PIECE_BYTES]), holder(4 * PIECE_BYTES));
    let message = Message::new(&slices, &holder);
    assert_eq!(message.ready(), PIECE_BYTES);
    assert_eq!(holder.has(), PIECE_BYTES);
}

#[test]
fn another_message_is_not_taken_for_the_rest_of_the_first() {
    let (first, holder) = (slices(&[10, 3 * PIECE_BYTES]), holder(64 * PIECE_BYTES));
    let mut changed = first[1].to_vec();
    changed[2 * PIECE_BYTES] ^= 1;
    let others = [
        vec![first[0].clone(), changed.into()],
        vec![first[1].clone()],
        vec![first[1].clone(), first[0].clone()],
    ];
    for other in others {
        let mut message = Message::new(&first, &holder);
        message.next(PIECE_BYTES);
        message.let_go(0);
        let room = message.room(&holder).expect("there is room");
        assert_eq!(message.restore(&other, room), Err(Changed));
    }
}
