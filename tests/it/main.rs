//! The broker as its clients see it, over gRPC.

mod append_and_read;
mod bad_input;
mod bank;
mod cli;
mod conditions;
mod entities;
mod exactly_once;
mod grpc;
mod producer;
mod proxy;
mod raw;
