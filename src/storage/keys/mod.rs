//! The key index of a partition: which records are of which entity.
//!
//! A *row* says that the record with number `version` of a key is at an offset. The index consists
//! of
//!
//! ```text
//!   table | table |   table   ...   | frozen table | growing table
//!   sorted tables in files, each of   being          in memory: the newest rows,
//!   a range of offsets, one behind    written        also of records that are
//!   the other                         out            not durable yet
//! ```
//!
//! Rows are sorted by a hash of the key and have nothing else of the key. The log is the truth: a
//! look-up compares the key with that of the record at the row's offset. A table may be missing or
//! damaged; it is then rebuilt from the log.
//!
//! The log cannot rebuild what must outlive removed records: the last version of an entity. That is
//! in sorted tables of their own, which name their entities, and damage in them is never ignored.
//!
//! All tables have the same file format, with one writer, one reader and one way to merge. Nothing
//! here decides when to write, merge or remove a table, and nothing reads the log.
//!
//! Reading order: this page; `table.rs`, the rows in memory; `sorted_table.rs`, a table on disk,
//! and `table_writer.rs`, which writes one; `merge.rs`; `last_versions.rs`; `files.rs`; `set.rs`,
//! what a start finds; `salvage.rs`; `earlier.rs`, files of earlier versions. Below these:
//! `hash.rs`, `new_file.rs`, `paged.rs`.

pub(crate) mod earlier;
mod files;
pub(crate) mod hash;
pub(crate) mod last_versions;
pub(crate) mod merge;
mod new_file;
mod paged;
pub(crate) mod salvage;
pub(crate) mod set;
pub(crate) mod sorted_table;
pub(crate) mod table;
mod table_writer;
#[cfg(test)]
mod tests;

pub(crate) use files::{Files, Hole};
pub(crate) use paged::{Damaged, Unread, Unusable};
