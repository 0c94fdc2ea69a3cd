//! Which partitions of a topic have moved: a reader of thousands that is woken looks at these, and
//! not at all.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most partitions that are remembered. A reader that comes later than that looks at all.
const MOST: usize = 4_096;

/// The partitions of a topic in which records have become visible, the latest ones.
#[derive(Default)]
pub(super) struct News(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// Their numbers, in order.
    partitions: VecDeque<u32>,
    /// How many there have been, with those that are forgotten.
    count: u64,
}

impl Recent {
    /// Those since there were so many; none if some of them are forgotten.
    fn since(&self, seen: u64) -> Option<impl ExactSizeIterator<Item = u32>> {
        let new = usize::try_from(self.count - seen).ok()?;
        let known = self.partitions.len().checked_sub(new)?;
        Some(self.partitions.range(known..).copied())
    }
}

impl News {
    /// Records have become visible in a partition. It is remembered if somebody may ask for it.
    pub(super) fn moved(&self, partition: u32, is_followed: bool) {
        let mut recent = self.lock();
        recent.count += 1;
        if !is_followed {
            recent.partitions = VecDeque::new();
            return;
        }
        if recent.partitions.len() == MOST {
            recent.partitions.pop_front();
        }
        recent.partitions.push_back(partition);
    }

    /// How many there have been.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    /// The partitions that have moved since there were so many, with repetitions; none if that is
    /// not known, or there are more than `most`. From here on these are seen.
    pub(super) fn take(&self, seen: &mut u64, most: usize) -> Option<Vec<u32>> {
        let recent = self.lock();
        let new = recent.since(*seen).filter(|new| new.len() <= most);
        *seen = recent.count;
        new.map(Iterator::collect)
    }

    /// The first partition that has moved since there were so many, if one has; none if that is not
    /// known.
    pub(super) fn first(&self, seen: u64) -> Option<Option<u32>> {
        Some(self.lock().since(seen)?.next())
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
