//! Tests of the wire types.

mod append_request;
mod conflict;
mod received_batch;
mod responses;
