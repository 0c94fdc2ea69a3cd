//! Lines become records, and each record is stored once.

mod delivery;
mod fields;
mod lines;
