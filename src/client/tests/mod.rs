//! What the client sends follows the protocol, and it understands every status.

mod encoding;
mod errors;
mod producer;
mod retries;
mod shared;
mod socket;
