//! Retention: which records are removed, when, and which stay. `random.rs` compares it with a
//! model.

mod bytes;
mod combined;
mod full;
mod held;
mod loss;
mod preview;
mod random;
mod stall;
mod time;
mod world;
