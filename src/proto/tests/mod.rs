//! Tests of the wire types.

mod append_request;
mod received_batch;
