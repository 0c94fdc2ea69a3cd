//! Members of groups, as their sessions see it.
//!
//! `world.rs` has the broker and members that check what they are told; `sessions.rs` is about one
//! session, `handing_over.rs` about partitions that go from one to another, `offsets.rs` about
//! where a group begins and goes on, `time.rs` about who waits for how long, `joining.rs` about one
//! more in a large group, and `bounds.rs` about what is too much. `chaos.rs` lets all of that
//! happen at random, and `rules.rs` says what must hold meanwhile.

mod bounds;
mod chaos;
mod did;
mod ending;
mod entity_trims;
mod handing_over;
mod joining;
mod offsets;
mod rules;
mod sessions;
mod shown;
mod time;
mod world;
