//! Named state that outlives the process, as state machines: `decide` answers and changes nothing,
//! `apply` takes durable changes and is the only mutation, live and in recovery. Nothing here does
//! I/O, takes a lock or reads a clock.

mod change;
mod erasures;
pub(crate) mod producers;

pub(crate) use change::Change;
pub(crate) use erasures::{Erasure, KnownErasure, Token};
