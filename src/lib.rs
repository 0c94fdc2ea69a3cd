//! Taffrail: a log broker and an event store in one binary, durable when it answers.
//!
//! For users there are `client`, with the feature `client`, which talks to a broker, and `testing`,
//! with the feature `testing`, which runs one in the process of a test. [`types`] are the values of
//! both, and [`proto`] is the protocol between them.
//!
//! The broker itself is here too, for the binary: `ARCHITECTURE.md` is its map.

#![cfg_attr(
    not(feature = "cli"),
    allow(
        dead_code,
        unused_imports,
        reason = "what only the command line uses is looked at where it is built"
    )
)]

#[cfg(feature = "broker")]
mod broker;
#[cfg(feature = "broker")]
mod budget;
#[cfg(feature = "broker")]
mod catalog;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "broker")]
mod codec;
#[cfg(feature = "cli")]
mod config;
#[cfg(feature = "broker")]
mod env;
#[cfg(feature = "broker")]
mod metrics;
pub mod proto;
#[cfg(feature = "broker")]
mod server;
#[cfg(feature = "broker")]
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg(feature = "client")]
mod tls;
pub mod types;

/// The README's examples, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
