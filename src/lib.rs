//! Taffrail: a log broker and an event store in one binary, durable when it answers.
//!
//! For users there are [`client`], which talks to a broker, and, with the feature `testing`,
//! `testing`, which runs one in the process of a test. [`types`] are the values of both, and
//! [`proto`] is the protocol between them.
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

#[cfg(any(feature = "cli", feature = "testing"))]
mod broker;
#[cfg(any(feature = "cli", feature = "testing"))]
mod budget;
#[cfg(any(feature = "cli", feature = "testing"))]
mod catalog;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
pub mod client;
#[cfg(any(feature = "cli", feature = "testing"))]
mod codec;
#[cfg(feature = "cli")]
mod config;
#[cfg(any(feature = "cli", feature = "testing"))]
mod env;
#[cfg(any(feature = "cli", feature = "testing"))]
mod metrics;
pub mod proto;
#[cfg(any(feature = "cli", feature = "testing"))]
mod server;
#[cfg(any(feature = "cli", feature = "testing"))]
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg_attr(
    not(any(feature = "cli", feature = "testing")),
    allow(
        dead_code,
        unused_imports,
        reason = "the broker's end is for those who have a broker"
    )
)]
mod tls;
pub mod types;

/// The README's examples, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
