//! The broker as its clients see it, over gRPC.

mod append_and_read;
#[path = "../../src/tls/tests/authority.rs"]
mod authority;
mod bad_input;
mod bank;
mod calls;
mod cli;
mod conditions;
mod connections;
mod directories;
mod entities;
mod exactly_once;
mod groups;
mod grpc;
mod http2;
mod imports;
#[path = "../../src/server/auth/tests/issuer.rs"]
mod issuer;
mod liveness;
mod producer;
mod projection;
mod proxy;
mod raw;
mod recreated;
mod responses;
mod resumed_reads;
mod strict;
mod too_large;
