//! Histories of entities: what concurrent clients were told about versions, and whether that can be
//! true.
//!
//! `checker.rs` decides whether any history is linearizable, for any sequential model;
//! `timeline.rs` is its list of calls by time. `entity.rs` is the model of entities, `history.rs`
//! what is checked and why little of it has to be tried, `recorder.rs` how a run is written down.
//!
//! `race.rs`, on one thread, and `threads.rs`, on many, write such histories of the broker and want
//! them accepted; `clients.rs` are the clients of these.
//!
//! The rest tests the checker: `plain.rs` is a second, slow and obvious model; `random.rs` makes
//! histories of it, which `accepted.rs` wants accepted; `rejected.rs` has what must be refused,
//! case by case; `exhaustive.rs` compares with every order that small histories can be put in.

mod accepted;
mod checker;
mod clients;
mod entity;
mod exhaustive;
mod history;
mod plain;
mod race;
mod random;
mod recorder;
mod rejected;
mod threads;
mod timeline;
