//! The house rules, checked over the source.
//!
//! Each file holds one kind of rule and says why it is one. A rule is a function from a source file
//! to what is wrong with it; beside the test that holds the tree to it stand samples that it must
//! find and samples that it must not. Reading order: `source.rs`, what a rule gets to see; then any
//! of the others.
//!
//! What the linter can check is in `clippy.toml` and `Cargo.toml` instead.

mod crates;
mod layers;
mod layout;
mod pages;
mod protos;
mod source;
mod words;
