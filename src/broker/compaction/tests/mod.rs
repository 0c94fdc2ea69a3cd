//! The decisions of compaction, and its key map; `broker/tests/compaction` tests the rest.

mod decide;
mod key_map;
mod merge;
mod pause;
