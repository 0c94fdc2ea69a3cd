//! Histories of entities: what concurrent clients were told about versions, and whether that can be
//! true.
//!
//! `checker.rs` decides whether any history is linearizable, for any sequential model;
//! `timeline.rs` is its list of calls by time. `entity.rs` is the model of entities, `history.rs`
//! has the history that is checked and why the search is short, `recorder.rs` records a run.
//!
//! `race.rs`, on one thread, and `threads.rs`, on many, record such histories of the broker, which
//! must be accepted; `clients.rs` has their clients.
//!
//! The rest tests the checker: `plain.rs` is a second, slow and obvious model; `random.rs` makes
//! histories with it, which `accepted.rs` expects to be accepted; `rejected.rs` has histories that
//! must be refused, case by case; `exhaustive.rs` compares the checker with a search of all orders
//! of small histories.

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
