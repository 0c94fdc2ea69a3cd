//! The broker as its clients see it, over gRPC.

mod append_and_read;
mod bad_input;
mod cli;
mod grpc;
