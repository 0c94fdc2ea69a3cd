//! The key index of a partition: which records are of which entity.
//!
//! A *row* says that the record with number `version` of a key is at an offset. The index consists
//! of
//!
//! ```text
//!   run | run |  run  |  run  ...  | frozen table | table
//!   sorted tables, each of a       being         memory: the newest rows,
//!   range of offsets, one behind     written       also of what is not yet
//!   the other                        out           durable
//! ```
//!
//! Rows are ordered by a hash of the key and hold nothing else of it: the log is the truth, and who
//! looks up compares with the record at the row's offset. A run may be missing or damaged: it is
//! written again from the log.
//!
//! What outlives records that are gone, the last version of an entity, cannot be had from the log.
//! It lies in sorted tables of its own, which name their entities, and damage in them is never
//! passed over.
//!
//! There is one format of files, with one writer, reader and way to merge. Nothing here decides
//! when to write, merge or remove, and nothing reads the log.
//!
//! Reading order: this page; `table.rs`, what is in memory; `sorted_table.rs` and what writes one,
//! `table_writer.rs`; `merge.rs`; `last_versions.rs`; `files.rs`; `set.rs`, what is found at a
//! start; `salvage.rs`; `earlier.rs`, files of earlier versions. Underneath: `hash.rs`,
//! `new_file.rs`, `paged.rs`.

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
