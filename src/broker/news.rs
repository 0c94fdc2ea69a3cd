//! Which partitions of a topic have moved: a reader of thousands of partitions that is woken looks
//! at these instead of all.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Most moves that are remembered. A reader that has missed more looks at all partitions.
const MOST: usize = 4_096;

/// The partitions of a topic in which records became visible most recently.
#[derive(Default)]
pub(super) struct News(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// The partitions' numbers, oldest move first.
    partitions: VecDeque<u32>,
    /// How many moves there were, forgotten ones included.
    count: u64,
}

impl Recent {
    /// The moves since there were `seen`; `None` if some of them are forgotten.
    fn since(&self, seen: u64) -> Option<impl ExactSizeIterator<Item = u32>> {
        let new = usize::try_from(self.count - seen).ok()?;
        let known = self.partitions.len().checked_sub(new)?;
        Some(self.partitions.range(known..).copied())
    }
}

impl News {
    /// Notes that records became visible in a partition. It is remembered only if a reader follows
    /// the topic.
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

    /// How many moves there were.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    /// The partitions that have moved since there were `seen` moves, perhaps repeatedly; `None` if
    /// that is not known, or more than `most`. Updates `seen`.
    pub(super) fn take(&self, seen: &mut u64, most: usize) -> Option<Vec<u32>> {
        let recent = self.lock();
        let new = recent.since(*seen).filter(|new| new.len() <= most);
        *seen = recent.count;
        new.map(Iterator::collect)
    }

    /// The first partition that has moved since there were `seen` moves, if one has; the outer
    /// `None` if that is not known.
    pub(super) fn first(&self, seen: u64) -> Option<Option<u32>> {
        Some(self.lock().since(seen)?.next())
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
