//! Bytes on disk: pure functions between slices and values.
//!
//! All numbers are little-endian. Every file starts with a magic number and [`VERSION`]; every
//! checksum is CRC-32 (IEEE 802.3, the polynomial of zlib and Ethernet). Decoding never panics,
//! never trusts a length and never allocates from an unchecked size.
//!
//! ```text
//! data directory
//!   taffrail               identity.rs      what this directory is; its format version
//!   lock                                    held by the broker that serves the directory
//!   admin.sock                              where it listens to administrators
//!   reserve                reserve.rs       room on the disk, given up when others have filled it; no content
//!   backup                 backup_mark.rs   only in a backup: that it is whole, and what belongs to it
//!   checkpoint             checkpoint.rs    up to which journal entry all is in segments
//!   checkpoint.N.delta     delta.rs         what has changed since, piece by piece
//!   journal/N.journal      entry.rs         what is synced to acknowledge; a ring of preallocated files
//!   journal/ring           ring.rs          what each of these files is used for
//!   topics/ID/topic        topic_file.rs    a topic's name, settings and log starts
//!   topics/ID/P/O.log      segment_file.rs  frames (frame.rs) of partition P from offset O on
//!   topics/ID/P/A-B-N.log  segment_file.rs  the same from offset A to B, written anew the Nth time; its frames may be
//!                                           compressed (block.rs)
//!   topics/ID/P/O.index    segment_file.rs  where in the segment which offsets and times are; derived
//!   topics/ID/P/A-B.keys   sorted_table.rs  records from offset A to B by key; derived
//!   topics/ID/P/A-B.versions  sorted_table.rs  last versions of records that are gone, from number A to B
//!   topics/ID/P/*.retired  retired.rs       the same as earlier versions kept it
//!   topics/ID/P/compacted  compacted.rs     how far the partition has been compacted; derived
//! ```
//!
//! Reading order: `frame.rs`, what a partition consists of; `entry.rs`, what a commit consists of;
//! the rest as needed.

mod access_token;
pub(crate) mod backup_mark;
pub(crate) mod block;
pub(crate) mod change;
pub(crate) mod checkpoint;
pub(crate) mod checksum;
pub(crate) mod compacted;
pub(crate) mod delta;
pub(crate) mod entry;
pub(crate) mod erasure;
mod fields;
pub(crate) mod filter;
pub(crate) mod frame;
mod group;
pub(crate) mod identity;
mod key_trim;
pub(crate) mod pack;
pub(crate) mod page;
pub(crate) mod retired;
pub(crate) mod ring;
pub(crate) mod segment_file;
pub(crate) mod sorted_table;
pub(crate) mod topic_file;

#[cfg(test)]
pub(crate) mod tests;

/// The version of every format on disk. A broker refuses a directory of another version; version 1
/// was never released.
pub(crate) const VERSION: u32 = 2;

/// The version of a directory whose segments may have compressed blocks; all else is as in
/// [`VERSION`].
pub(crate) const VERSION_WITH_BLOCKS: u32 = 3;

pub(crate) use checksum::{RunningCrc32, crc32};
