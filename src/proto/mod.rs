//! The wire protocol, package `taffrail.v1`: generated from `proto/`, except for the messages that
//! carry records.
//!
//! Records travel as bytes: [`wire`] holds the hand-written forms of the messages around them,
//! which leave the records' encoding alone in both directions.

#![allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code, documented in the .proto files"
)]

pub mod codec;
mod conflict;
#[cfg(feature = "broker")]
mod descriptors;
mod known_fields;
mod received;
mod refused;
#[cfg(test)]
mod tests;
pub mod wire;

#[cfg(feature = "broker")]
pub(crate) use descriptors::files;
pub(crate) use known_fields::request_of;
pub use known_fields::{Fields, Received};
pub use received::{CountedRecords, MalformedBatch, ReceivedBatch};
pub use refused::{refused, status_of_refused};

tonic::include_proto!("taffrail.v1");

/// gRPC's own protocol of health, package `grpc.health.v1`.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

/// The compiled descriptors of every file, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/taffrail_descriptor.bin"));
