//! A filter over hashes: it says that a hash may be there, or that it certainly is not.
//!
//! A Bloom filter in blocks of 64 bytes, which is a cache line. All bits of a hash are in one
//! block, so a question costs one access to memory. Blocks lie in pages (`page.rs`), 63 in each, so
//! that none crosses a cache line; the rest of a page is zeros.
//!
//! The number of a hash's block is proportional to the hash, so adding hashes in ascending order
//! writes the filter from front to back. Within the block, 7 groups of 9 bits of the hash, mixed by
//! [`spread`], choose the bits.
//!
//! With 12 bits per hash a block has 43 hashes in the mean, and 1 - exp(-7 · 43 / 512) = 44 % of
//! its bits are set. A hash that is not there finds its 7 bits set with a probability of 0.3 %, or
//! 0.5 % if one counts in that blocks are unevenly full.

/// The size of a block.
pub(crate) const BLOCK_BYTES: usize = 64;

/// How many blocks are in a page.
const BLOCKS_PER_PAGE: u64 = 63;

/// How many bytes of a page are blocks.
pub(crate) const BLOCKS_IN_PAGE_BYTES: usize = BLOCKS_PER_PAGE as usize * BLOCK_BYTES;

const BITS_PER_HASH: u64 = 12;
const BITS_PER_BLOCK: u64 = BLOCK_BYTES as u64 * 8;
const BITS_SET_PER_HASH: u32 = 7;
/// 2^9 is the number of bits in a block.
const BITS_PER_PLACE: u32 = 9;

/// A block as it lies in a page.
pub(crate) type Block = [u8; BLOCK_BYTES];

/// How many blocks a filter over this many hashes takes; at least one.
pub(crate) fn blocks_for(hashes: u64) -> u64 {
    hashes
        .saturating_mul(BITS_PER_HASH)
        .div_ceil(BITS_PER_BLOCK)
        .max(1)
}

/// How many hashes a filter with this many blocks is made for.
pub(crate) fn hashes_for(blocks: u64) -> u64 {
    blocks.saturating_mul(BITS_PER_BLOCK) / BITS_PER_HASH
}

/// How many pages a filter with this many blocks takes.
pub(crate) fn pages_of(blocks: u64) -> u64 {
    blocks.div_ceil(BLOCKS_PER_PAGE)
}

/// Where the block of a hash is in a filter of `blocks` blocks: its page, counted from 0, and the
/// byte in that page.
pub(crate) fn place_of(hash: u64, blocks: u64) -> (u64, usize) {
    let block = ((u128::from(hash) * u128::from(blocks)) >> 64) as u64;
    (
        block / BLOCKS_PER_PAGE,
        (block % BLOCKS_PER_PAGE) as usize * BLOCK_BYTES,
    )
}

/// Adds a hash to its block.
pub(crate) fn add(block: &mut Block, hash: u64) {
    for (byte, bit) in places(hash) {
        block[byte] |= bit;
    }
}

/// Whether a hash may be in its block. All bits are looked at: a branch that the processor cannot
/// predict costs more than the rest of them.
pub(crate) fn may_have(block: &Block, hash: u64) -> bool {
    places(hash).fold(true, |all, (byte, bit)| all & (block[byte] & bit != 0))
}

fn places(hash: u64) -> impl Iterator<Item = (usize, u8)> {
    let spread = spread(hash);
    (0..BITS_SET_PER_HASH).map(move |nth| {
        let place = (spread >> (nth * BITS_PER_PLACE)) as usize % BITS_PER_BLOCK as usize;
        (place / 8, 1 << (place % 8))
    })
}

/// Mixes a hash so that every bit depends on all others: hashes in one block have the same high
/// bits. The constants are those of the finalizer of MurmurHash3.
fn spread(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mixed = (mixed ^ (mixed >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    mixed ^ (mixed >> 33)
}
