//! Tests of the wire types.

mod append_request;
mod conflict;
mod groups;
mod known_fields;
mod received_batch;
mod responses;
