//! What is sent is what the protocol says, and every status is understood.

mod encoding;
mod errors;
mod producer;
mod shared;
mod socket;
