//! The aligned buffer.

use crate::env::{AlignedBuffer, DIRECT_ALIGNMENT};

fn is_aligned(buffer: &AlignedBuffer) -> bool {
    buffer
        .as_slice()
        .as_ptr()
        .addr()
        .is_multiple_of(DIRECT_ALIGNMENT)
}

#[test]
fn content_starts_at_an_aligned_address_whatever_was_added() {
    for capacity in [0, 1, 100, 4096, 4097, 1 << 20] {
        let mut buffer = AlignedBuffer::with_capacity(capacity);
        assert!(is_aligned(&buffer));
        assert!(buffer.room() >= capacity);
        buffer.extend(&vec![7; capacity]);
        assert!(is_aligned(&buffer));
        assert_eq!(buffer.as_slice(), vec![7; capacity]);
        buffer.clear();
        assert!(is_aligned(&buffer));
        assert_eq!(buffer.len(), 0);
        assert!(buffer.room() >= capacity);
    }
}

#[test]
fn padding_adds_zeros_up_to_the_next_aligned_length_and_nothing_more() {
    let mut buffer = AlignedBuffer::with_capacity(2 * DIRECT_ALIGNMENT);
    buffer.pad();
    assert_eq!(buffer.len(), 0);
    buffer.extend(b"abc");
    buffer.pad();
    assert_eq!(buffer.len(), DIRECT_ALIGNMENT);
    assert_eq!(&buffer.as_slice()[..3], b"abc");
    assert!(buffer.as_slice()[3..].iter().all(|&byte| byte == 0));
    buffer.pad();
    assert_eq!(buffer.len(), DIRECT_ALIGNMENT);
}

#[test]
#[should_panic(expected = "does not grow")]
fn a_full_buffer_refuses_more_rather_than_move() {
    let mut buffer = AlignedBuffer::with_capacity(10);
    let more = vec![0; buffer.room() + 1];
    buffer.extend(&more);
}
