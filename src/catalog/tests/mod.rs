//! The catalog as a broker keeps it, as a planned and an applied instance; and its decisions one by
//! one.

mod decisions;
mod replay;

use std::time::Duration;

use super::{Catalog, Snapshot};

impl Catalog {
    /// The whole catalog.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            producers: self.producers.snapshot(),
            groups: self.groups.snapshot(),
            ..self.snapshot_of_topics()
        }
    }
}

/// The content of a catalog, without the times for which producers have been idle: these are
/// counted where producers are used, and differ between the planned and the applied instance.
fn held(catalog: &Catalog) -> Snapshot {
    let mut snapshot = catalog.snapshot();
    for known in &mut snapshot.producers {
        known.idle = Duration::ZERO;
    }
    snapshot
}
