//! The catalog as a broker keeps it, planned and applied; and its decisions, one by one.

mod decisions;
mod replay;

use std::time::Duration;

use super::{Catalog, Snapshot};

impl Catalog {
    /// All that there is.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            producers: self.producers.snapshot(),
            groups: self.groups.snapshot(),
            ..self.snapshot_of_topics()
        }
    }
}

/// What a catalog holds, apart from how long producers have done nothing: that is counted where
/// they are used, and is not the same in what is planned and what is applied.
fn held(catalog: &Catalog) -> Snapshot {
    let mut snapshot = catalog.snapshot();
    for known in &mut snapshot.producers {
        known.idle = Duration::ZERO;
    }
    snapshot
}
