//! The marks of backups.

use crate::storage::format::backup_mark::{BackupMark, MarkedFile};

fn mark() -> BackupMark {
    let file = |path: &str, len, checksum| MarkedFile {
        path: path.to_owned(),
        len,
        checksum,
    };
    BackupMark {
        commit: 4_711,
        directory: 0xa1,
        taken_ms: 1_700_000_000_000,
        files: vec![
            file("checkpoint", 300, 17),
            file(
                "topics/00000000000000a1/0/00000000000000000000.log",
                1 << 33,
                4,
            ),
        ],
    }
}

#[test]
fn a_mark_that_was_encoded_is_decoded_as_it_was() {
    let empty = BackupMark::default();
    for mark in [mark(), empty] {
        assert_eq!(BackupMark::decode(&mark.encode()), Some(mark));
    }
}

#[test]
fn a_mark_of_which_a_bit_is_wrong_or_a_byte_is_missing_or_too_much_is_none() {
    let whole = mark().encode();
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(BackupMark::decode(&damaged), None, "bit {bit}");
    }
    for len in 0..whole.len() {
        assert_eq!(BackupMark::decode(&whole[..len]), None, "{len} bytes");
    }
    let longer = [&whole[..], &[0]].concat();
    assert_eq!(BackupMark::decode(&longer), None);
}

#[test]
fn a_mark_is_byte_for_byte_what_it_was() {
    let mark = BackupMark {
        commit: 1,
        directory: 2,
        taken_ms: 3,
        files: vec![MarkedFile {
            path: "a".to_owned(),
            len: 4,
            checksum: 5,
        }],
    };
    let encoded = mark.encode();
    assert_eq!(encoded[..12], *b"TFRLBKUP\x02\0\0\0");
    let rest = [
        [1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0].as_slice(),
        &[3, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, b'a'],
        &[4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0],
    ];
    assert_eq!(encoded[16..], rest.concat());
}
