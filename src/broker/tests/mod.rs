//! Tests of the whole broker on the simulated disk, taken step by step from one thread.
//!
//! `world.rs` is a broker with its disk, clock and chance; `ledger.rs` knows what must be found; `workload.rs` does
//! things at random; `crash.rs` cuts the power at every write and every sync of that.

mod crash;
mod damage;
mod faults;
mod ledger;
mod workload;
mod world;
