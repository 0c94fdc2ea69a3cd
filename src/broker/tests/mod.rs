//! Tests of the whole broker on the simulated disk, taken step by step from one thread.
//!
//! `world.rs` is a broker with its disk, clock and chance; `ledger.rs` knows what must be found; `workload.rs` does
//! things at random; `crash.rs` cuts the power at every write and every sync of that. `histories` judges what
//! concurrent clients were told about versions.

mod crash;
mod damage;
mod faults;
mod histories;
mod ledger;
mod repeated;
mod workload;
mod world;
