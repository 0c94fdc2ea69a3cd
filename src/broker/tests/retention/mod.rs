//! Retention: what goes, when, and what stays. `random.rs` compares it with a model.

mod bytes;
mod full;
mod held;
mod loss;
mod preview;
mod random;
mod time;
mod world;
