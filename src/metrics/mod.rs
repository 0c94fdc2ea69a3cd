//! Metrics: each is declared once, with its name, its unit and its help text.
//!
//! Events are counted where they happen, in the types of `counts.rs`, without a lock. Current
//! values are looked up only when a client asks for them: each component puts its own on a
//! [`Page`], which is written in the wanted format. Reading order: `declared.rs`, the metrics;
//! `page.rs`, how they are written; `histogram.rs`, how times are counted.

mod counts;
mod declared;
mod format;
mod histogram;
mod page;
#[cfg(test)]
mod tests;

pub(crate) use counts::{Appends, Counter, Counts};
pub(crate) use declared::Metric;
pub(crate) use format::Format;
pub(crate) use histogram::{Distribution, Histogram};
pub(crate) use page::Page;
