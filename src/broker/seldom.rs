//! Limits how often the same problem is logged: once a minute for each thing, however often clients
//! run into it.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::lock;
use crate::env::Clock;

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
    of: HashMap<T, Last>,
    of_others: Last,
}

/// When it was last logged, and how many events there were since.
#[derive(Clone, Copy, Default)]
struct Last {
    at: Option<Duration>,
    unsaid: u64,
}

impl<T: Eq + Hash> Seldom<T> {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let said = Said {
            of: HashMap::new(),
            of_others: Last::default(),
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
            said.of.retain(|_, last| !last.is_over(now));
        }
        let is_known = said.of.contains_key(&thing);
        let last = if is_known || said.of.len() < MOST {
            said.of.entry(thing).or_default()
        } else {
            &mut said.of_others
        };
        last.happened(now)
    }
}

impl Last {
    fn is_over(&self, now: Duration) -> bool {
        self.at.is_none_or(|at| now.saturating_sub(at) >= PERIOD)
    }

    fn happened(&mut self, now: Duration) -> Option<u64> {
        self.unsaid += 1;
        if !self.is_over(now) {
            return None;
        }
        self.at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}
