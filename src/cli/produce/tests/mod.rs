//! Lines into records, and records into the log, once each.

mod delivery;
mod fields;
mod lines;
