//! Counts equal denials, so that a caller who is denied something again and again fills neither the
//! log nor the audit log's topic: one a second is recorded, with the number of the others.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::audit::Told;

/// How many different denials are told apart within a second; those beyond are counted together.
/// With the longest names they take 4 MiB.
const MOST: usize = 1_024;

/// The denials since the last time that they were recorded.
#[derive(Debug, Default)]
pub(super) struct Denials(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    known: BTreeMap<Key, Again>,
    /// Those beyond [`MOST`].
    others: Option<Again>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    principal: String,
    operation: String,
    resource: String,
}

/// How often something was denied again.
#[derive(Clone, Debug, Default)]
struct Again {
    count: u64,
    /// When it was denied last, and from which address.
    time_ms: i64,
    address: String,
}

/// A number of equal denials.
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
    /// Whether to record a denial now: it is the first of its kind since the last [`Self::take`].
    /// Others are counted, and come out there.
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

    /// The denials that were counted since this was called last.
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
