//! The key index of a partition: which records are of which entity, and which frames of which
//! producer.
//!
//! A *subject* is an entity (the records of one key) or an incarnation of a producer. A *row* says
//! that number `version` of a subject is at an offset: of an entity the record with that version,
//! of a producer the frame with sequence `version - 1`. The index consists of
//!
//! ```text
//!   run | run |  run  |  run  ...  | frozen table | table
//!   immutable files, each of a       being         memory: the newest rows,
//!   range of offsets, one behind     written       also of what is not yet
//!   the other                        out           durable
//! ```
//!
//! Rows are ordered by a hash of the subject and hold nothing else of it: the log is the truth, and
//! who looks up compares with the record at the row's offset. A run may be missing or damaged: it
//! is written again from the log.
//!
//! What outlives records that are gone cannot be had from the log and lies in *retired* files: the
//! last version of an entity, the offsets a producer was once told. Those name their subjects, and
//! damage in them is never passed over.
//!
//! Nothing here decides when to write, merge or remove, and nothing reads the log.
//!
//! Reading order: this page; `table.rs`; `run.rs` and what writes one, `run_writer.rs`; `merge.rs`;
//! `set.rs`, what is found at a start; `retired.rs`, `salvage.rs`. Underneath: `hash.rs`,
//! `new_file.rs`, `paged.rs`.

pub(crate) mod hash;
pub(crate) mod merge;
mod new_file;
mod paged;
pub(crate) mod retired;
mod retired_writer;
pub(crate) mod run;
pub(crate) mod run_writer;
pub(crate) mod salvage;
pub(crate) mod set;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub(crate) use paged::{Damaged, Unread, Unusable};
