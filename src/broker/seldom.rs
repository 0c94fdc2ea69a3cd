//! Limits how often the same problem is logged: once a minute for each thing, however often clients
//! run into it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::lock;
use crate::env::{Clock, Tally};

/// For how long nothing more is logged about a thing.
const PERIOD: Duration = Duration::from_secs(60);

/// Most things that are remembered; all others count as one.
const MOST: usize = 1_024;

/// Counts events per thing, and says when to log one.
pub(super) struct Seldom<T> {
    clock: Arc<dyn Clock>,
    said: Mutex<Said<T>>,
}

struct Said<T> {
    of: HashMap<T, Tally>,
    of_others: Tally,
}

impl<T: Eq + Hash> Seldom<T> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let said = Said {
            of: HashMap::new(),
            of_others: Tally::new(PERIOD),
        };
        Self {
            clock,
            said: Mutex::new(said),
        }
    }

    /// Counts an event. If it should be logged now, returns how many there were since the last
    /// time.
    pub(super) fn happened(&self, thing: T) -> Option<u64> {
        let now = self.clock.elapsed();
        let mut said = lock(&self.said);
        if said.of.len() == MOST && !said.of.contains_key(&thing) {
            said.of.retain(|_, tally| !tally.is_over(now));
        }
        let is_known = said.of.contains_key(&thing);
        let tally = if is_known || said.of.len() < MOST {
            said.of.entry(thing).or_insert(Tally::new(PERIOD))
        } else {
            &mut said.of_others
        };
        tally.happened(now)
    }
}
