//! What is measured: every metric once, with its name, its unit and what it says.
//!
//! What happens is counted where it happens, in the types of `counts.rs`, without a lock. What
//! there is at a moment is looked up only when somebody asks: whoever knows it puts it on a
//! [`Page`], which is written in the format that was asked for. Reading order: `declared.rs`, the
//! metrics; `page.rs`, how they are written; `histogram.rs`, how times are counted.

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
