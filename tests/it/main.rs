//! The whole broker, over real gRPC.

mod append_and_read;
