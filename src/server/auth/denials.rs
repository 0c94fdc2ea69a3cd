//! Equal denials, of which one a second is told: whoever is denied again and again fills neither
//! the log nor the topic of the audit log.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::audit::Told;

/// Of how many different denials equal ones are known within a second; the rest is told as one.
/// With names as long as they may be these are 4 MiB.
const MOST: usize = 1_024;

/// What was denied since it was told last.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    known: BTreeMap<Key, Again>,
    /// Those for which there was no room.
    others: Option<Again>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    principal: String,
    operation: String,
    resource: String,
}

/// What has been denied again.
#[derive(Clone, Debug, Default)]
struct Again {
    count: u64,
    /// When it was last, and from where.
    time_ms: i64,
    address: String,
}

/// Denials that are equal.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) principal: String,
    pub(super) operation: String,
    pub(super) resource: String,
    pub(super) address: String,
    pub(super) time_ms: i64,
    pub(super) count: u64,
}

impl Denials {
    /// Whether a denial is told at once: it is the first of its kind since the last
    /// [`Self::take`], which has the others.
    pub(super) fn is_first(&self, told: &Told<'_>) -> bool {
        let (principal, address) = told.who;
        let key = Key {
            principal: principal.to_owned(),
            operation: told.operation.to_owned(),
            resource: told.resource.to_owned(),
        };
        let mut recent = self.lock();
        if !recent.known.contains_key(&key) && recent.known.len() < MOST {
            recent.known.insert(key, Again::default());
            return true;
        }
        let again = match recent.known.get_mut(&key) {
            Some(again) => again,
            None => recent.others.get_or_insert_default(),
        };
        again.count += 1;
        again.time_ms = told.time_ms;
        again.address.clear();
        again.address.push_str(address);
        false
    }

    /// What has been denied again since this was called last.
    pub(super) fn take(&self) -> Vec<Denied> {
        let recent = std::mem::take(&mut *self.lock());
        let mut denied = Vec::new();
        for (key, again) in recent.known {
            if again.count > 0 {
                denied.push(again.of(key));
            }
        }
        if let Some(others) = recent.others {
            denied.push(others.of(Key {
                principal: String::new(),
                operation: String::new(),
                resource: "others".to_owned(),
            }));
        }
        denied
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Again {
    fn of(self, key: Key) -> Denied {
        Denied {
            principal: key.principal,
            operation: key.operation,
            resource: key.resource,
            address: self.address,
            time_ms: self.time_ms,
            count: self.count,
        }
    }
}
