//! The decisions of compaction, and what it knows of keys; the rest has its tests in
//! `broker/tests/compaction`.

mod decide;
mod key_map;
mod merge;
mod pause;
