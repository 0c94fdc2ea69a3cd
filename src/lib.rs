//! Taffrail: a log broker and an event store in one binary, durable when it answers.

mod broker;
mod env;
pub mod proto;
mod storage;
pub mod types;
