//! Free heap memory is given back to the operating system.

#![expect(
    clippy::disallowed_types,
    reason = "the kernel's file of this process's pages is no file of the broker's"
)]

use std::{fs::File, os::unix::fs::FileExt};

use crate::env::trim_heap;

const PAGE_BYTES: usize = 4096;
/// Below the size from which glibc maps a block instead of taking it from the heap.
const BLOCK_BYTES: usize = 100 << 10;
const BLOCKS: usize = 256;

/// How many of the pages with these addresses are in memory.
fn present(pages: &[usize]) -> usize {
    let all = File::open("/proc/self/pagemap").unwrap();
    let is_present = |page: &&usize| {
        let mut entry = [0; 8];
        let at = **page / PAGE_BYTES * entry.len();
        all.read_exact_at(&mut entry, at as u64).unwrap();
        // The highest bit of a page's entry.
        u64::from_ne_bytes(entry) >> 63 == 1
    };
    pages.iter().filter(is_present).count()
}

#[test]
fn pages_that_are_free_between_others_in_use_are_given_back() {
    let mut pages = Vec::new();
    let (mut blocks, mut in_use) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        let block = vec![1_u8; BLOCK_BYTES];
        let from = block.as_ptr().addr().next_multiple_of(PAGE_BYTES) + PAGE_BYTES;
        let inside =
            (from..block.as_ptr().addr() + BLOCK_BYTES - 2 * PAGE_BYTES).step_by(PAGE_BYTES);
        pages.extend(inside);
        blocks.push(block);
        // Free memory behind the last block in use would be given back without a call.
        in_use.push(vec![1_u8; 2_000]);
    }
    assert_eq!(present(&pages), pages.len());
    drop(blocks);
    // Other threads may take some of the memory, which changes the number of pages.
    assert!(present(&pages) > pages.len() / 2);

    trim_heap();
    assert!(present(&pages) < pages.len() / 10);
    assert!(in_use.iter().flatten().all(|&byte| byte == 1));
}
