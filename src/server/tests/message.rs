//! Messages on their way to a client: whatever is freed and made again, the client gets the whole
//! message, and the memory counted is that of what exists.

use std::{
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    budget::{Name, Part},
    codec::Encoding,
    server::{
        http2::{
            alive::Alive,
            message::{Changed, Message, first_room, room},
        },
        limits::{FIRST_BYTES, PIECE_BYTES, SMALL_PIECES_BYTES},
        reads::{Reads, Shares},
        turns::Lanes,
    },
};

fn shares(bound: usize) -> Shares {
    let part = Arc::new(Part::new(Name::Reads, bound));
    let reads = Reads::new(&part, Arc::default(), Duration::ZERO);
    reads.shares(part.holder(), Lanes::new().reads())
}

/// A message to a client that reads.
fn message(slices: &[Bytes], shares: &Shares) -> Message {
    Message::new(
        slices,
        |bytes| room(shares, bytes, bytes),
        &Alive::default(),
    )
}

fn are_at_most(alive: &Alive, bytes: usize) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    alive.poll_at_most(bytes, &mut cx).is_ready()
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

/// The encoding of the message in gRPC.
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
        (reads, in_parts) in any::<(bool, bool)>(),
    ) {
        let mut made_again = 0;
        let (slices, shares, alive) = (slices(&lengths), shares(bound), Alive::default());
        let room = |bytes| match reads {
            true => room(&shares, bytes, bytes),
            false => first_room(&shares, bytes, bytes),
        };
        let mut message = Message::new(&slices, room, &alive);
        let mut sent = Vec::new();
        let mut steps = steps.into_iter().cycle();
        while !message.is_sent() {
            if message.ready() == 0 {
                let mut room = room(message.absent()).expect("nothing else has any");
                let restored = match in_parts {
                    true => {
                        let needed = message.needed(room.bytes());
                        let part = Bytes::from(slices.concat()).slice(needed.clone());
                        made_again += part.len();
                        message.restore_part(needed.start, &[part], &mut room)
                    }
                    false => message.restore(&slices, &mut room),
                };
                restored.expect("it is the same");
            }
            let (most, keep) = steps.next().expect("it repeats");
            sent.extend_from_slice(&message.next(most.max(1)).0);
            if keep < 3 {
                message.let_go(keep);
            }
        }
        prop_assert_eq!(sent, on_the_wire(&slices));
        prop_assert!(in_parts || made_again == 0);
        prop_assert_eq!((shares.pieces.has(), shares.ahead.has()), (0, 0));
        prop_assert!(are_at_most(&alive, 0));
    }
}

#[test]
fn what_is_let_go_of_costs_nothing() {
    let (slices, shares) = (slices(&[10 * PIECE_BYTES]), shares(64 * PIECE_BYTES));
    let mut message = message(&slices, &shares);
    let holder = &shares.pieces;
    assert_eq!(holder.has(), on_the_wire(&slices).len());
    message.let_go(1);
    assert_eq!(holder.has(), PIECE_BYTES);
    // Bytes count until they are written.
    let (bytes, completes) = message.next(100);
    assert!(!completes);
    message.let_go(0);
    assert_eq!(holder.has(), PIECE_BYTES);
    drop(bytes);
    assert_eq!(holder.has(), 0);
}

#[test]
fn a_message_takes_the_memory_that_there_is() {
    let (slices, shares) = (slices(&[10 * PIECE_BYTES]), shares(4 * PIECE_BYTES));
    let message = message(&slices, &shares);
    assert_eq!(message.ready(), PIECE_BYTES);
    assert_eq!(shares.pieces.has(), PIECE_BYTES);
}

#[test]
fn a_client_that_has_not_shown_that_it_reads_gets_small_pieces_and_few_beyond_a_bound() {
    let (slices, short) = (slices(&[10 * PIECE_BYTES]), shares(4 * PIECE_BYTES));
    let begun = Message::new(
        &slices,
        |bytes| first_room(&short, bytes, bytes),
        &Alive::default(),
    );
    assert_eq!(begun.in_pieces(), FIRST_BYTES);

    let shares = shares(256 * PIECE_BYTES);
    let (first, second) = (Alive::default(), Alive::default());
    let room = |bytes| first_room(&shares, bytes, bytes);
    let mut whole = Message::new(&slices, room, &first);
    let len = on_the_wire(&slices).len();
    assert_eq!((shares.pieces.has(), shares.ahead.has()), (len, len));
    assert_eq!(whole.ready(), SMALL_PIECES_BYTES);
    // The memory for such clients has room for a part of another message.
    let other = Message::new(&slices, room, &second);
    assert_eq!(other.in_pieces(), len / 8);
    assert_eq!(shares.ahead.has(), len + len / 8);
    drop(other);
    assert_eq!(shares.ahead.has(), len);

    let (written, _) = whole.next(SMALL_PIECES_BYTES);
    let (part, _) = whole.next(10);
    assert_eq!(shares.ahead.has(), len - SMALL_PIECES_BYTES - 10);
    assert!(!are_at_most(&first, whole.in_pieces()));
    drop(written);
    assert!(are_at_most(&first, whole.in_pieces()));
    whole.let_go(0);
    assert_eq!((shares.ahead.has(), whole.in_pieces()), (0, 0));
    drop(part);
    assert!(are_at_most(&first, 0));
    assert_eq!(shares.pieces.has(), 0);
}

#[test]
fn another_message_is_not_taken_for_the_rest_of_the_first() {
    let (first, shares) = (slices(&[10, 3 * PIECE_BYTES]), shares(64 * PIECE_BYTES));
    let mut changed = first[1].to_vec();
    changed[2 * PIECE_BYTES] ^= 1;
    let others = [
        vec![first[0].clone(), changed.into()],
        vec![first[1].clone()],
        vec![first[1].clone(), first[0].clone()],
    ];
    for other in others {
        let mut message = message(&first, &shares);
        message.next(PIECE_BYTES);
        message.let_go(0);
        let mut room = room(&shares, message.absent(), 0).expect("there is room");
        assert_eq!(message.restore(&other, &mut room), Err(Changed));
    }
}

#[test]
fn of_a_message_that_is_let_go_of_again_and_again_each_byte_is_made_again_once() {
    let (slices, shares) = (slices(&[10 * PIECE_BYTES]), shares(64 * PIECE_BYTES));
    let mut message = message(&slices, &shares);
    message.let_go(0);
    let (mut made_again, mut sent) = (0, 0);
    while !message.is_sent() {
        let wanted = message.absent().min(SMALL_PIECES_BYTES);
        let mut room = room(&shares, wanted, 0).expect("there is room");
        let needed = message.needed(room.bytes());
        let part = slices[0].slice(needed.clone());
        made_again += part.len();
        let restored = message.restore_part(needed.start, &[part], &mut room);
        restored.expect("it is the same");
        assert_eq!(shares.pieces.has(), message.in_pieces());
        sent += message.next(SMALL_PIECES_BYTES).0.len();
        message.let_go(0);
    }
    assert_eq!(sent, on_the_wire(&slices).len());
    assert_eq!(made_again, slices[0].len());
}

#[test]
fn a_part_that_has_changed_or_is_short_is_not_taken_and_the_room_stays() {
    let (slices, shares) = (slices(&[3 * PIECE_BYTES]), shares(64 * PIECE_BYTES));
    let mut message = message(&slices, &shares);
    message.let_go(0);
    let mut room = room(&shares, PIECE_BYTES, 0).expect("there is room");
    let needed = message.needed(room.bytes());
    let mut changed = slices[0].slice(needed.clone()).to_vec();
    changed[needed.end / 2] ^= 1;
    let short = slices[0].slice(needed.start..needed.end - 1);
    for part in [Bytes::from(changed), short] {
        let restored = message.restore_part(needed.start, &[part], &mut room);
        assert_eq!(restored, Err(Changed));
        assert_eq!((message.ready(), room.bytes()), (0, PIECE_BYTES));
    }
    let restored = message.restore(&slices, &mut room);
    restored.expect("it is the same");
    assert!(message.ready() > 0);
}

#[test]
fn a_compressed_message_says_so_and_is_the_same_when_it_is_made_again() {
    let (shares, alive) = (shares(20 * PIECE_BYTES), Alive::default());
    let original = slices(&[3 * PIECE_BYTES, 5]).concat();
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let make = || Bytes::from(encoding.compress(&[&original]).expect("there is memory"));
        let mut message = Message::compressed(make(), |bytes| room(&shares, bytes, bytes), &alive);
        assert!(message.is_compressed());
        let mut wire = message.next(100).0.to_vec();
        message.let_go(0);
        assert_eq!(message.ready(), 0);
        let absent = message.absent();
        let mut again = room(&shares, absent, absent).expect("there is room");
        message
            .restore(&[make()], &mut again)
            .expect("it is the same");
        while !message.is_sent() {
            wire.extend_from_slice(&message.next(usize::MAX).0);
        }
        let compressed = make();
        assert_eq!(wire[0], 1, "compressed");
        assert_eq!(
            wire[1..5],
            u32::try_from(compressed.len()).unwrap().to_be_bytes()
        );
        assert_eq!(wire[5..], compressed);
        let other = encoding
            .compress(&[&original[1..]])
            .expect("there is memory");
        let mut message = Message::compressed(make(), |_| None, &alive);
        let absent = message.absent();
        let mut again = room(&shares, absent, absent).expect("there is room");
        assert_eq!(message.restore(&[other.into()], &mut again), Err(Changed));
    }
}
