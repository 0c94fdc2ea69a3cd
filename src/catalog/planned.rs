//! The catalog with what is queued.
//!
//! Where the journal has no room for long, changes that nothing queued behind them counts on are
//! refused, all at once. Then what is planned goes back to what is applied, and what is still
//! queued is planned again.
//!
//! Producers are left out of that. Their changes are never refused, because appends that are queued
//! behind them count on them; so there is nothing to take back, and 100,000 producers with what
//! connections hold of them need not be copied for every refusal. It also is why the deletion of a
//! topic, which may be refused, leaves the sequences of producers for it until it is applied:
//! nobody asks about them meanwhile.

use std::ops::Deref;

use super::{Catalog, Change, producers::Producers};

/// A catalog that has had every change that is durable or queued.
#[derive(Clone, Debug)]
pub(crate) struct Planned(Catalog);

impl Planned {
    /// With nothing queued.
    pub(crate) fn of(applied: &Catalog) -> Self {
        Self(Catalog {
            topics: applied.topics.clone(),
            producers: applied.producers.to_plan(),
            erasures: applied.erasures.clone(),
        })
    }

    /// What appends say of producers goes straight to them: nothing takes it back.
    pub(crate) fn producers_mut(&mut self) -> &mut Producers {
        &mut self.0.producers
    }

    /// A change is queued.
    pub(crate) fn plan(&mut self, change: &Change) {
        match change {
            Change::Delete { topic } => {
                if self.0.topics.remove(*topic) {
                    self.0.erasures.forget_topic(*topic);
                }
            }
            change => self.0.apply(change),
        }
    }

    /// A change that was planned is applied.
    pub(crate) fn settle(&mut self, change: &Change) {
        if let Change::Delete { topic } = change {
            self.0.producers.forget_topic(*topic);
        }
    }

    /// All changes that can be refused have been; these are still queued.
    pub(crate) fn take_back<'a>(
        &mut self,
        applied: &Catalog,
        queued: impl IntoIterator<Item = &'a Change>,
    ) {
        self.0.topics.clone_from(&applied.topics);
        self.0.erasures.clone_from(&applied.erasures);
        for change in queued {
            match change {
                Change::OpenProducer { .. } | Change::ForgetProducer { .. } => {}
                change => self.plan(change),
            }
        }
    }
}

impl Deref for Planned {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.0
    }
}
