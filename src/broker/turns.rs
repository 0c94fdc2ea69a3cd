//! Which partitions of a read are next: those that are behind their limits, and those of which the
//! client has not been told that it has caught up. What is done for the others costs nothing.

use std::collections::VecDeque;

/// The partitions of a read, by where they are in its list.
pub(super) struct Turns {
    /// Those behind their limits. The turn is the first one's.
    behind: VecDeque<u32>,
    /// Those that are to be told, some of which have been meanwhile.
    untold: VecDeque<u32>,
}

impl Turns {
    /// For so many partitions; a read that does not follow tells nothing. Room is made at once, so
    /// that a read takes no more than it took when it was counted.
    pub(super) fn for_partitions(count: usize, follow: bool) -> Self {
        Self {
            behind: VecDeque::with_capacity(count),
            untold: VecDeque::with_capacity(if follow { count } else { 0 }),
        }
    }

    /// In bytes.
    pub(super) fn memory(&self) -> usize {
        (self.behind.capacity() + self.untold.capacity()) * size_of::<u32>()
    }

    /// Whose turn it is, of those behind their limits.
    pub(super) fn current(&self) -> Option<usize> {
        self.behind.front().map(|at| *at as usize)
    }

    pub(super) fn is_any_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// How many are behind their limits.
    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// One has fallen behind its limit.
    pub(super) fn fell_behind(&mut self, at: usize) {
        self.behind.push_back(short(at));
    }

    /// The turn is over of the one that had it.
    pub(super) fn next(&mut self, is_behind: bool) {
        if let Some(at) = self.behind.pop_front()
            && is_behind
        {
            self.behind.push_back(at);
        }
    }

    /// One is to be told, which is not waiting for that.
    pub(super) fn is_untold(&mut self, at: usize) {
        self.untold.push_back(short(at));
    }

    /// The first of those that are to be told.
    pub(super) fn next_untold(&mut self) -> Option<usize> {
        self.untold.pop_front().map(|at| at as usize)
    }
}

/// There are at most 20,000 partitions.
fn short(at: usize) -> u32 {
    u32::try_from(at).expect("a place in a list of partitions")
}
