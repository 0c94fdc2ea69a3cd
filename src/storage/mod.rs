//! Bytes that stay: the journal, the partitions' logs, the checkpoint, and recovery from them.
//!
//! Synchronous and without threads of its own: the broker decides who calls what when, and a
//! simulation calls everything from one thread.
//!
//! - `format` is bytes to values and back; it does no I/O.
//! - `journal` is what is synced to acknowledge. An entry is one atomic commit.
//! - `log` is a partition: a tail in memory and segments on disk, written from journal entries that
//!   are durable.
//! - `keys` is a partition's index of entities and producers: which records are whose. Derived, but
//!   for what it keeps of records that are gone.
//! - `checkpoint` says up to which journal entry all is in segments; `data_dir` guards the
//!   directory, and `ownership` says which one it is.
//! - `fault` says what an I/O error means; `files` has small things done to files,
//!   `read_only` reads one that does not change, and `freeing` gives back the room of large ones.
//! - `inspect` says what a data directory holds, without changing it.
//!
//! Nothing in here acknowledges, waits for, or knows a client.

pub(crate) mod checkpoint;
pub(crate) mod data_dir;
pub(crate) mod fault;
pub(crate) mod files;
pub(crate) mod format;
pub(crate) mod freeing;
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "only the command line looks from outside")
)]
pub(crate) mod inspect;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod log;
pub(crate) mod ownership;
pub(crate) mod read_only;
