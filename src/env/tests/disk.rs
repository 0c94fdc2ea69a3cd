//! What only the real disk does.

use crate::env::{File, disk::DiskFile};

#[test]
fn room_is_taken_by_writing_zeros_where_it_cannot_be_reserved() {
    let file = DiskFile(tempfile::tempfile().unwrap());
    file.write_all_at(&[b"abc"], 0).unwrap();
    file.write_zeros(3, 600_000).unwrap();
    let mut content = vec![1; 600_000];
    file.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content[..3], b"abc");
    assert!(content[3..].iter().all(|&byte| byte == 0));
    file.write_zeros(600_000, 5).unwrap();
    assert_eq!(file.len().unwrap(), 600_000);
}
