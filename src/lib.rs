//! Taffrail: a log broker and an event store in one binary, durable when it answers.

mod broker;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod client;
mod config;
mod env;
pub mod proto;
mod server;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
pub mod types;
