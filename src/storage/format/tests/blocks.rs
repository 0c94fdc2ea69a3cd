//! Compressed blocks: their encoding, and that nothing in a block is trusted before it is checked.

use bytes::Bytes;

use super::{
    golden::{check, golden_file},
    samples::{TOPIC, frame_of, frame_of_topic, golden, record},
};
use crate::{
    codec::{Codec, Method},
    storage::format::{
        VERSION,
        block::{BLOCK_BYTES, Block, BlockWriter, Unit, is_block, peek, unpacked_len},
        crc32,
        frame::{Frame, Header, MAX_FRAME_BYTES},
        segment_file,
    },
    types::{Offset, PartitionId, TopicId},
};

const METHODS: [Method; 2] = [
    Method {
        codec: Codec::Lz4,
        level: 1,
    },
    Method {
        codec: Codec::Zstd,
        level: 3,
    },
];

fn frame(base: u64, len: usize) -> Frame {
    let time = i64::try_from(base).expect("small");
    let records = [record(vec![7; len], time), record("x", time + 5)];
    frame_of(PartitionId(3), Offset(base), time + 100, &records)
}

fn packed(method: Method, frames: &[Frame]) -> Vec<Unit> {
    let mut writer = BlockWriter::new(method);
    let mut units = Vec::new();
    for frame in frames {
        writer.take(frame.clone(), &mut units);
    }
    writer.finish(&mut units);
    units
}

/// The block that these frames make; there must be exactly one.
fn block_of(method: Method, frames: &[Frame]) -> Bytes {
    let mut units = packed(method, frames);
    assert_eq!(units.len(), 1);
    assert!(is_block(&units[0].bytes));
    units.remove(0).bytes
}

fn frames_of(block: &Block) -> Vec<Frame> {
    let (mut at, mut frames) = (0, Vec::new());
    while at < block.unpacked() {
        let frame = block.frame(at).expect("it is sound");
        at += frame.bytes().len();
        frames.push(frame);
    }
    frames
}

/// The block with these bytes at this place, and a matching checksum.
fn forged(block: &[u8], at: usize, bytes: &[u8]) -> Bytes {
    let mut forged = block.to_vec();
    forged[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32(&[&forged[8..]]).to_le_bytes();
    forged[4..8].copy_from_slice(&checksum);
    forged.into()
}

#[test]
fn frames_come_out_of_blocks_as_they_went_in() {
    for method in METHODS {
        let sizes = [10, 30_000, 20_000, 20_000, 1, 200_000, 5, 64_000, 64_000];
        let mut frames = Vec::new();
        for (nth, size) in sizes.into_iter().enumerate() {
            frames.push(frame(2 * nth as u64, size));
        }
        let units = packed(method, &frames);
        let mut found = Vec::new();
        for unit in &units {
            let (first, records) = (found.len(), unit.header.count);
            match is_block(&unit.bytes) {
                true => {
                    let block = Block::open(&unit.bytes).expect("it is sound");
                    assert_eq!(block.length(), unit.bytes.len());
                    assert_eq!(block.unpacked(), unit.unpacked);
                    assert_eq!(unpacked_len(&unit.bytes), Some(unit.unpacked));
                    assert_eq!(peek(&unit.bytes).map(|(_, records)| records), Some(records));
                    found.extend(frames_of(&block));
                    assert!(found.len() - first == 1 || unit.unpacked <= BLOCK_BYTES);
                }
                false => found.extend(Frame::decode(&unit.bytes)),
            }
            let these = &found[first..];
            assert_eq!(records as usize, 2 * these.len());
            assert_eq!(unit.header.base, these[0].header().base);
            assert_eq!(unit.header.end(), found[found.len() - 1].header().end());
            let latest =
                |of: fn(&Header) -> i64| these.iter().map(|frame| of(frame.header())).max();
            assert_eq!(
                Some(unit.header.append_time_ms),
                latest(|header| header.append_time_ms)
            );
            let timestamp = latest(|header| header.latest_timestamp_ms);
            assert_eq!(Some(unit.header.latest_timestamp_ms), timestamp);
        }
        assert_eq!(found, frames);
        assert!(units.len() < frames.len());
    }
}

#[test]
fn frames_between_which_offsets_are_missing_are_in_different_blocks() {
    let frames = [
        frame(0, 5_000),
        frame(2, 5_000),
        frame(6, 5_000),
        frame(8, 5_000),
    ];
    let units = packed(METHODS[1], &frames);
    let bases: Vec<u64> = units.iter().map(|unit| unit.header.base.0).collect();
    assert_eq!(bases, [0, 6]);
    // The second frame goes back to an earlier offset.
    let frames = [frame(4, 5_000), frame(0, 5_000), frame(2, 5_000)];
    let units = packed(METHODS[1], &frames);
    let bases: Vec<u64> = units.iter().map(|unit| unit.header.base.0).collect();
    assert_eq!(bases, [4, 0]);
}

#[test]
fn one_frame_of_a_block_is_found_by_its_offset() {
    let frames: Vec<Frame> = (0..20).map(|nth| frame(2 * nth, 1_000)).collect();
    let block = Block::open(&block_of(METHODS[0], &frames)).expect("it is sound");
    for offset in 0..40u64 {
        let found = block.frame_with(Offset(offset));
        let nth = usize::try_from(offset / 2).expect("small");
        assert_eq!(found.as_ref(), Some(&frames[nth]));
    }
    assert_eq!(block.frame_with(Offset(40)), None);
}

#[test]
fn a_block_with_any_bit_flipped_or_cut_anywhere_is_refused() {
    for method in METHODS {
        let block = block_of(method, &[frame(0, 300), frame(2, 200)]);
        for at in 0..block.len() {
            for bit in 0..8 {
                let mut damaged = block.to_vec();
                damaged[at] ^= 1 << bit;
                assert!(
                    Block::open(&damaged.into()).is_none(),
                    "byte {at}, bit {bit}"
                );
            }
            assert!(Block::open(&block.slice(..at)).is_none());
        }
    }
}

#[test]
fn a_block_that_says_it_has_more_than_a_frame_may_have_is_refused_before_that_is_allocated() {
    for method in METHODS {
        let block = block_of(method, &[frame(0, 300)]);
        let len = u32::try_from(unpacked_len(&block).expect("a length")).expect("small");
        let most = u32::try_from(MAX_FRAME_BYTES).expect("small");
        for wrong in [0, 1, len - 1, len + 1, 2 * len, most + 1, u32::MAX] {
            let forged = forged(&block, 48, &wrong.to_le_bytes());
            assert!(Block::open(&forged).is_none(), "{wrong} instead of {len}");
        }
        assert!(Block::open(&forged(&block, 48, &len.to_le_bytes())).is_some());
    }
}

#[test]
fn a_block_of_a_codec_that_is_not_built_in_or_with_frames_of_others_is_refused() {
    let block = block_of(METHODS[1], &[frame(0, 300), frame(2, 300)]);
    for codec in [0u32, 1, 3, u32::MAX] {
        assert!(Block::open(&forged(&block, 52, &codec.to_le_bytes())).is_none());
    }
    for (what, at, bytes) in [
        ("topic", 8, &7u64.to_le_bytes()[..]),
        ("partition", 16, &7u32.to_le_bytes()[..]),
        ("frames", 56, &3u32.to_le_bytes()[..]),
        ("base", 24, &1u64.to_le_bytes()[..]),
        ("flags", 68, &3u32.to_le_bytes()[..]),
        ("span", 72, &5u32.to_le_bytes()[..]),
    ] {
        assert!(Block::open(&forged(&block, at, bytes)).is_none(), "{what}");
    }
    let other = frame_of_topic(
        TopicId(TOPIC.0 + 1),
        PartitionId(3),
        Offset(2),
        1,
        &[record("x", 1)],
    );
    let block = block_of(METHODS[1], &[frame(0, 300), other]);
    assert!(Block::open(&block).is_none());
}

#[test]
fn a_version_that_knows_no_blocks_takes_none_for_a_frame() {
    let block = block_of(METHODS[1], &[frame(0, 300)]);
    assert!(Frame::decode(&block).is_none());
    assert!(Header::peek(&block).is_none());
}

#[test]
fn blocks_as_they_were_first_written_are_read() {
    for (name, _) in blocks() {
        let block = Block::open(&golden_file(VERSION, name).into()).expect("it is sound");
        assert_eq!(frames_of(&block), golden_frames(), "{name}");
    }
    let header = compressed_segment_header();
    let stored = check("segment-header-compressed", &header.encode());
    assert_eq!(segment_file::Header::decode(&stored), Some(header));
    let identity = golden::identity();
    let stored = check("identity-with-blocks", &identity.encode_with_blocks());
    let decoded = crate::storage::format::identity::Identity::decode(&stored);
    assert_eq!(decoded, Ok(identity));
}

fn golden_frames() -> [Frame; 3] {
    [frame(1_000, 100), frame(1_002, 50), frame(1_004, 150)]
}

fn blocks() -> [(&'static str, Bytes); 2] {
    [("block-lz4", METHODS[0]), ("block-zstd", METHODS[1])]
        .map(|(name, method)| (name, block_of(method, &golden_frames())))
}

fn compressed_segment_header() -> segment_file::Header {
    segment_file::Header {
        compressed: Some(segment_file::Compressed {
            codec: std::num::NonZeroU32::new(2).expect("not 0"),
            unpacked: 123_456,
        }),
        ..golden::later_segment_header()
    }
}

/// The golden files of blocks, which the ignored test in `golden.rs` writes together with its own.
pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut all: Vec<(&'static str, Vec<u8>)> = Vec::new();
    all.extend(blocks().map(|(name, block)| (name, block.to_vec())));
    all.push((
        "segment-header-compressed",
        compressed_segment_header().encode().to_vec(),
    ));
    all.push((
        "identity-with-blocks",
        golden::identity().encode_with_blocks(),
    ));
    all
}
