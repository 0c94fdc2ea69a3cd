//! Durable bytes: the journal, the partitions' logs, the checkpoint, and recovery from them.
//!
//! It is synchronous and has no threads: the broker decides who calls what and when, and a
//! simulation calls everything from one thread.
//!
//! - `format` turns values into bytes and back; it does no I/O.
//! - `journal` is what is synced before appends are acknowledged. An entry is one atomic commit.
//! - `log` is a partition: a tail in memory, and segments on disk that are written from durable
//!   journal entries.
//! - `keys` is a partition's key index: which records belong to which entity. It is derived from
//!   the log, except for the last versions of records that are gone.
//! - `checkpoint` says up to which journal entry everything is in segments; `data_dir` locks the
//!   directory, and `ownership` finds out which one it is.
//! - `backup` copies a data directory as it is at one journal entry, and makes one of the copy.
//! - `fault` decides what an I/O error means; `files` has small operations on files, `read_only`
//!   reads a file that does not change, `freeing` frees the space of large removed ones, and
//!   `reserve` keeps room on the disk.
//! - `inspect` reports what a data directory has, without changing it.
//!
//! Nothing here acknowledges an append, waits, or knows a client.

#[cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        unused_imports,
        reason = "only the command line takes backups"
    )
)]
pub(crate) mod backup;
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
pub(crate) mod reserve;
