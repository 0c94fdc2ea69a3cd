//! Bytes that are cut off, flipped, forged or not ours at all: decoding refuses them and never
//! panics.

use bytes::Bytes;
use proptest::{prelude::*, sample::Index};

use super::{
    earlier,
    samples::{compacted, golden, *},
};
use crate::catalog::Change;
use crate::storage::format::{
    checkpoint::Checkpoint,
    compacted::Compacted,
    crc32,
    delta::{self, Delta},
    entry::{self, FileHeader},
    frame::{Frame, Header, MAX_FRAME_BYTES},
    identity::{Identity, Unreadable},
    page, retired, ring,
    segment_file::{self, IndexRow},
    sorted_table::{self, Name},
    topic_file::TopicFile,
};

/// Decodes the bytes with one of the formats; returns whether they were accepted.
type Decoder = fn(&[u8]) -> bool;

/// Every format in which each bit counts, with an encoded value and its decoder.
fn formats() -> Vec<(&'static str, Vec<u8>, Decoder)> {
    let mut formats: Vec<(_, _, Decoder)> = vec![
        ("frame", golden::frame().bytes().to_vec(), |bytes| {
            Frame::decode(&Bytes::copy_from_slice(bytes)).is_some()
        }),
        (
            "erased frame",
            golden::erased_frame().bytes().to_vec(),
            |bytes| Frame::decode(&Bytes::copy_from_slice(bytes)).is_some(),
        ),
        (
            "compacted frame",
            compacted::compacted_frame().bytes().to_vec(),
            |bytes| Frame::decode(&Bytes::copy_from_slice(bytes)).is_some(),
        ),
        (
            "how far a partition is compacted",
            compacted::compacted().encode().to_vec(),
            |bytes| Compacted::decode(bytes).is_some(),
        ),
        ("checkpoint", golden::checkpoint().encode(), |bytes| {
            Checkpoint::decode(bytes).is_some()
        }),
        (
            "checkpoint with deltas",
            golden::checkpoint_with_deltas().encode(),
            |bytes| Checkpoint::decode(bytes).is_some(),
        ),
        (
            "checkpoint with groups",
            golden::checkpoint_with_groups().encode(),
            |bytes| Checkpoint::decode(bytes).is_some(),
        ),
        (
            "delta with groups",
            golden::delta_with_groups().encode(7, 0),
            |mut bytes| Delta::take(&mut bytes, 7, 0).is_some(),
        ),
        ("head of deltas", golden::delta_head().encode(), |bytes| {
            delta::Head::decode(bytes).is_some()
        }),
        ("delta", golden::delta().encode(7, 0), |mut bytes| {
            Delta::take(&mut bytes, 7, 0).is_some()
        }),
        ("topic file", golden::topic_file().encode(), |bytes| {
            TopicFile::decode(bytes).is_some()
        }),
        ("identity", golden::identity().encode(), |bytes| {
            Identity::decode(bytes).is_ok()
        }),
        (
            "segment header",
            golden::segment_header().encode().to_vec(),
            |bytes| segment_file::Header::decode(bytes).is_some(),
        ),
        (
            "header of a key run",
            golden::records_header().encode()[..80].to_vec(),
            |bytes| sorted_table::Header::decode(bytes).is_some(),
        ),
        ("page of a key run", golden::key_page().to_vec(), |bytes| {
            let header = golden::records_header();
            bytes
                .try_into()
                .is_ok_and(|page| page::is_sound(page, header.salt(), header.first_row_page()))
        }),
        (
            "header of last versions",
            golden::last_versions_header().encode()[..96].to_vec(),
            |bytes| sorted_table::Header::decode(bytes).is_some(),
        ),
        (
            "header of retired facts",
            earlier::retired_header().encode()[..80].to_vec(),
            |bytes| retired::Header::decode(bytes).is_some(),
        ),
        (
            "block of retired facts",
            earlier::retired_block().to_vec(),
            |bytes| {
                let header = earlier::retired_header();
                retired::open_block(
                    &Bytes::copy_from_slice(bytes),
                    header.salt(),
                    header.first_block_at(),
                )
                .is_some()
            },
        ),
        // The last four bytes are reserved: nothing is stored in them and nothing is read from
        // them.
        (
            "index row",
            golden::index_rows()[0].encode()[..20].to_vec(),
            |bytes| IndexRow::decode(&[bytes, &[0; 4]].concat()).is_some(),
        ),
    ];
    formats.extend(of_access_tokens());
    formats
}

fn of_access_tokens() -> [(&'static str, Vec<u8>, Decoder); 2] {
    [
        (
            "checkpoint with access tokens",
            golden::checkpoint_with_tokens().encode(),
            |bytes| Checkpoint::decode(bytes).is_some(),
        ),
        (
            "delta with access tokens",
            golden::delta_with_tokens().encode(7, 0),
            |mut bytes| Delta::take(&mut bytes, 7, 0).is_some(),
        ),
    ]
}

#[test]
fn nothing_that_is_cut_off_anywhere_is_decoded() {
    for (name, whole, decodes) in formats() {
        assert!(decodes(&whole), "{name}");
        for len in 0..whole.len() {
            assert!(!decodes(&whole[..len]), "{name}, cut to {len} bytes");
        }
    }
}

#[test]
fn nothing_with_a_flipped_bit_is_decoded() {
    for (name, whole, decodes) in formats() {
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!decodes(&flipped), "{name}, bit {bit} flipped");
        }
    }
}

#[test]
fn a_note_on_a_journal_file_is_known_as_long_as_one_copy_of_it_is_sound() {
    let block = golden::ring_use().encode();
    for bit in 0..block.len() * 8 {
        let mut flipped = block.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            ring::Use::decode(&flipped),
            Some(golden::ring_use()),
            "bit {bit} flipped"
        );
    }
    for sector in 0..block.len() / 512 {
        let mut zeroed = block.clone();
        zeroed[sector * 512..(sector + 1) * 512].fill(0);
        assert_eq!(
            ring::Use::decode(&zeroed),
            Some(golden::ring_use()),
            "sector {sector} zeroed"
        );
    }
    let last = block.len() - 1;
    let both = block.iter().enumerate().map(|(at, byte)| {
        if at == 20 || at == last {
            byte ^ 1
        } else {
            *byte
        }
    });
    assert_eq!(ring::Use::decode(&both.collect::<Vec<_>>()), None);
    assert_eq!(ring::Use::decode(&[0; 4096]), None);
}

#[test]
fn a_journal_file_is_known_as_long_as_one_copy_of_its_header_is_sound() {
    let block = golden::file_header().encode();
    for bit in 0..block.len() * 8 {
        let mut flipped = block.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(
            FileHeader::decode(&flipped),
            Some(golden::file_header()),
            "bit {bit} flipped"
        );
    }
    for sector in 0..block.len() / 512 {
        let mut zeroed = block.clone();
        zeroed[sector * 512..(sector + 1) * 512].fill(0);
        assert_eq!(
            FileHeader::decode(&zeroed),
            Some(golden::file_header()),
            "sector {sector} zeroed"
        );
    }
    let last = block.len() - 1;
    let both = block.iter().enumerate().map(|(at, byte)| {
        if at == 20 || at == last {
            byte ^ 1
        } else {
            *byte
        }
    });
    assert_eq!(FileHeader::decode(&both.collect::<Vec<_>>()), None);
}

#[test]
fn an_entry_that_is_cut_off_anywhere_is_none() {
    let whole = concat(&entry::encode(golden::link(), &golden::items()));
    for len in 0..whole.len() {
        assert!(
            entry::decode(&whole.slice(..len), golden::link().salt).is_none(),
            "cut to {len} bytes"
        );
    }
}

#[test]
fn a_flipped_bit_makes_an_entry_none_or_damages_the_one_item_that_it_is_in() {
    let items = golden::items();
    let encoded = entry::encode(golden::link(), &items);
    let whole = concat(&encoded);
    let mut item_of = vec![None; encoded.head.len()];
    for (at, body) in encoded.bodies.iter().enumerate() {
        item_of.resize(item_of.len() + body.len(), Some(at));
    }
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let decoded = entry::decode(&flipped.into(), golden::link().salt);
        let Some(damaged) = item_of[bit / 8] else {
            assert!(
                decoded.is_none(),
                "bit {bit} of the header or the table flipped"
            );
            continue;
        };
        let decoded = decoded.expect("header and table are sound");
        assert!(!decoded.is_whole(), "bit {bit} flipped");
        for (at, (found, expected)) in decoded.items.iter().zip(&items).enumerate() {
            match found {
                Ok(found) => assert!(at != damaged && found == expected, "bit {bit} flipped"),
                Err(_) => assert_eq!(at, damaged, "bit {bit} flipped"),
            }
        }
    }
}

#[test]
fn a_damaged_frame_in_an_entry_is_named_only_by_a_header_that_is_sound() {
    let encoded = entry::encode(golden::link(), &golden::items());
    let whole = concat(&encoded);
    let frame_at = encoded.head.len();
    for bit in 0..encoded.bodies[0].len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[frame_at + bit / 8] ^= 1 << (bit % 8);
        let decoded = entry::decode(&flipped.into(), golden::link().salt)
            .expect("header and table are sound");
        let damaged = decoded.items[0].as_ref().expect_err("the frame is damaged");
        if let Some(header) = damaged.frame {
            assert_eq!(header, *golden::frame().header(), "bit {bit} flipped");
        }
    }
}

#[test]
fn an_identity_tells_directories_that_are_foreign_damaged_or_of_another_version_apart() {
    let ours = golden::identity().encode();
    assert_eq!(Identity::decode(b""), Err(Unreadable::Foreign));
    assert_eq!(
        Identity::decode(b"something else entirely"),
        Err(Unreadable::Foreign)
    );
    assert_eq!(Identity::decode(&ours[..20]), Err(Unreadable::Damaged));
    // The version number is understood, whatever a later version has behind it.
    let newer = [&ours[..8], &7u32.to_le_bytes()[..], b"unknown"].concat();
    assert_eq!(
        Identity::decode(&newer),
        Err(Unreadable::OtherVersion { version: 7 })
    );
    // Version 1 had its checksum at the same place. A version number that damage turned into 1 does
    // not match the checksum.
    let older = forge(&ours, 8, 1, 12, &[8..12, 16..24]);
    assert_eq!(
        Identity::decode(&older),
        Err(Unreadable::OtherVersion { version: 1 })
    );
    let fallen = [&ours[..8], &1u32.to_le_bytes()[..], &ours[12..]].concat();
    assert_eq!(Identity::decode(&fallen), Err(Unreadable::Damaged));
}

#[test]
fn a_page_or_a_block_in_another_place_or_file_is_not_taken_for_the_one_that_belongs_there() {
    let (run, page) = (golden::records_header(), golden::key_page());
    assert!(!page::is_sound(&page, run.salt(), run.first_row_page() + 1));
    let other = sorted_table::Header {
        to: run.to + 1,
        ..run
    };
    assert!(!page::is_sound(&page, other.salt(), run.first_row_page()));
    let (header, block) = (earlier::retired_header(), earlier::retired_block());
    assert!(retired::open_block(&block, header.salt(), header.first_block_at() + 8).is_none());
    let other = retired::Header {
        number: header.number + 1,
        ..header
    };
    assert!(retired::open_block(&block, other.salt(), header.first_block_at()).is_none());
}

#[test]
fn a_name_that_is_cut_off_anywhere_is_none() {
    for name in golden::names() {
        let mut whole = Vec::new();
        name.encode(&mut whole);
        for len in 0..whole.len() {
            assert_eq!(Name::decode(&whole[..len]), None, "{name:?}");
        }
        whole.push(0);
        assert_eq!(Name::decode(&whole), None, "{name:?}");
    }
    assert_eq!(Name::encoded_len(&[9, 0, 0, 0, 0]), None);
    assert_eq!(Name::encoded_len(&[0, 1, 0, 0]), None);
}

#[test]
fn a_fact_that_is_cut_off_anywhere_is_none_and_nothing_is_taken() {
    for fact in earlier::retired_facts() {
        let mut whole = Vec::new();
        fact.encode(&mut whole);
        for len in 0..whole.len() {
            let mut cut = Bytes::copy_from_slice(&whole[..len]);
            assert_eq!(
                (retired::Retired::take(&mut cut), cut.len()),
                (None, len),
                "{fact:?}"
            );
        }
    }
}

/// Replaces the 4 bytes at `at` and makes the checksum right again, so that only the number itself
/// is wrong.
fn forge(
    encoded: &[u8],
    at: usize,
    number: u32,
    checksum_at: usize,
    summed: &[std::ops::Range<usize>],
) -> Vec<u8> {
    let mut forged = encoded.to_vec();
    forged[at..at + 4].copy_from_slice(&number.to_le_bytes());
    let slices: Vec<&[u8]> = summed.iter().map(|range| &forged[range.clone()]).collect();
    let checksum = crc32(&slices);
    forged[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_le_bytes());
    forged
}

const HUGE: [u32; 4] = [u32::MAX, u32::MAX / 2, 1 << 24, 100_000];

#[test]
fn forged_counts_and_lengths_with_a_right_checksum_are_refused_without_room_being_made_for_them() {
    // Counts and lengths so high that trusting them would reserve gigabytes.
    let checkpoint = golden::checkpoint().encode();
    let erasures = checkpoint.len() - 2 * (12 + 68) - 4;
    let sequences = erasures - 2 * 20 - 4;
    let producer_name = sequences - "gate".len() - 4;
    let topic = golden::topic_file().encode();
    let starts = topic.len() - (4 + 68) - 2 * 8 - 4;
    for number in HUGE {
        for at in [32, 52, producer_name, sequences, erasures] {
            let forged = forge(&checkpoint, at, number, 12, &[8..12, 16..checkpoint.len()]);
            assert!(Checkpoint::decode(&forged).is_none(), "{number} at {at}");
        }
        for at in [32, starts, topic.len() - 68 - 4] {
            let forged = forge(&topic, at, number, 12, &[8..12, 16..topic.len()]);
            assert!(TopicFile::decode(&forged).is_none(), "{number} at {at}");
        }
        for (what, change, at) in [("settings", 2, 9), ("bytes of a name", 4, 13)] {
            let mut change = golden::changes()[change].encode();
            change[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert!(Change::decode(&change).is_none(), "{number} {what}");
        }
    }
}

#[test]
fn forged_counts_in_a_change_of_a_group_are_refused() {
    let change = Change::Group {
        group: golden::group(),
        change: golden::group_change(),
    };
    let encoded = change.encode();
    let replayed = encoded.len() - 20 - 4;
    let metadata = replayed - "N14228".len() - 4;
    let offsets = metadata - 28 - 4;
    let owned = offsets - 16 - 2 * 32 - 4;
    let left = owned - 8 - 4;
    let joined = 9 + 4 + "invoices".len() + 12;
    for number in HUGE {
        for at in [9, joined, left, owned, offsets, metadata, replayed] {
            let mut forged = encoded.clone();
            forged[at..at + 4].copy_from_slice(&number.to_le_bytes());
            assert!(Change::decode(&forged).is_none(), "{number} at {at}");
        }
    }
}

#[test]
fn forged_counts_and_lengths_in_an_entry_are_refused() {
    let encoded = entry::encode(golden::link(), &golden::items());
    let whole = concat(&encoded);
    for number in HUGE.into_iter().chain([0, 1, 47, 48]) {
        // Length, number of items, length of the first item.
        for at in [36, 40, 52] {
            let forged = forge(&whole, at, number, 4, &[8..encoded.head.len(), 0..0]);
            assert!(
                entry::decode(&forged.into(), golden::link().salt).is_none(),
                "{number} at {at}"
            );
        }
    }
}

#[test]
fn forged_fields_of_a_frame_are_refused() {
    let frame = golden::frame();
    let sum = &[8..frame.bytes().len(), 0..0];
    let too_long = u32::try_from(MAX_FRAME_BYTES + 1).expect("64 MiB");
    for (what, at, number) in [
        ("a length below the header's", 0, 75),
        ("a length past the bound", 0, too_long),
        ("a length past the end", 0, 100_000),
        ("flags", 68, 1),
        ("more records than offsets", 20, 3),
    ] {
        let forged = forge(frame.bytes(), at, number, 4, sum);
        assert!(Frame::decode(&forged.into()).is_none(), "{what}");
    }
    // A base offset so high that the frame would end past 2^64.
    let mut bytes = frame.bytes().to_vec();
    bytes[24..32].fill(0xff);
    let forged = forge(&bytes, 72, 2, 4, sum);
    assert!(Header::peek(&forged).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn arbitrary_bytes_never_make_a_decoder_panic(bytes: Vec<u8>, salt: u64) {
        for (_, _, decodes) in formats() {
            let _decoded = decodes(&bytes);
        }
        let _decoded = (ring::Use::decode(&bytes), entry::salt(&bytes));
        let _decoded = (Change::decode(&bytes), Header::peek(&bytes), entry::has_salt(&bytes, salt));
        let _decoded = entry::decode(&bytes.into(), salt);
    }

    #[test]
    fn changed_bytes_never_make_a_decoder_panic(
        which: Index,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let formats = formats();
        let (_, whole, decodes) = which.get(&formats);
        let mut bytes = whole.clone();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        prop_assert!(!decodes(&bytes) || bytes == *whole);
    }

    /// Changes have no checksum of their own, so only the decoder stands between forged bytes and
    /// the state.
    #[test]
    fn changed_bytes_of_a_change_are_refused_or_another_change(
        change in any_change(),
        at: Index,
        byte: u8,
        len: Index,
    ) {
        let mut bytes = change.encode();
        prop_assert!(Change::decode(&bytes[..len.index(bytes.len())]).is_none());
        *at.get_mut(&mut bytes) = byte;
        if let Some(other) = Change::decode(&bytes) {
            prop_assert_eq!(Change::decode(&other.encode()), Some(other));
        }
    }

    /// If the table and its checksum are forged as well, the decoder reads with whatever lengths
    /// they give.
    #[test]
    fn an_entry_with_forged_header_and_table_never_makes_the_decoder_panic(
        items in any_items(),
        link in any_link(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..8),
    ) {
        let encoded = entry::encode(link, &items);
        let mut bytes = concat(&encoded).to_vec();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes[24..encoded.head.len()]) = byte;
        }
        let checksum = crc32(&[&bytes[8..encoded.head.len()]]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        let len = bytes.len();
        if let Some(decoded) = entry::decode(&bytes.into(), link.salt) {
            prop_assert!(decoded.length <= len);
        }
    }
}
