//! Members of groups, as their sessions see them.
//!
//! `world.rs` has the broker, and members that check what they are told. `sessions.rs` tests a
//! single session, `handing_over.rs` partitions that move between members, `offsets.rs` where a
//! group begins and continues, `time.rs` how long everyone waits, `ending.rs` and `failing.rs`
//! partitions that cannot be read on, `joining.rs` a member that joins a large group, `latest.rs`
//! what comes after a group that begins at the end, `still.rs` what happens while no time passes,
//! `removed.rs` a member that is removed, and `bounds.rs` what is too large. `chaos.rs` does all of
//! that at random, and `rules.rs` has the rules that must hold meanwhile.

mod bounds;
mod chaos;
mod did;
mod ending;
mod entity_trims;
mod failing;
mod handing_over;
mod joining;
mod latest;
mod offsets;
mod removed;
mod rules;
mod sessions;
mod shown;
mod still;
mod time;
mod world;
