//! Compaction: which records stay, when, and what readers are told. `random.rs` compares it with a
//! model, and `crash.rs` cuts the power at every write and every sync. `compressed.rs` tests
//! compression, which the same thread does in the same way.

mod compressed;
mod crash;
mod damage;
mod erased;
mod index;
mod memory;
mod policy;
mod random;
mod readers;
mod removal;
mod rules;
mod time;
mod tombstones;
mod trimmed;
mod trimmed_crash;
pub(super) mod world;
