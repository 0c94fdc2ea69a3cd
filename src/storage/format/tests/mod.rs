//! The formats: their encoding byte for byte, and that no bytes are trusted.

mod access_tokens;
mod backup_marks;
mod blocks;
mod damage;
pub(crate) mod earlier;
mod erasure;
mod golden;
mod round_trip;
pub(crate) mod samples;
