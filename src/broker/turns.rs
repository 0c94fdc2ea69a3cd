//! Which partitions a read handles next: those behind their limits, and those whose client must be
//! told that it has caught up. The other partitions cost nothing.

use std::collections::VecDeque;

/// The partitions of a read, by their indexes in its list.
pub(super) struct Turns {
    /// The partitions behind their limits, in the order of their turns.
    behind: VecDeque<u32>,
    /// The partitions whose client must be told that it has caught up; for some this was done
    /// meanwhile.
    untold: VecDeque<u32>,
}

impl Turns {
    /// For `count` partitions. All memory is allocated at once, so that the read never takes more
    /// than was counted. A read that does not follow has nothing to tell.
    pub(super) fn for_partitions(count: usize, follow: bool) -> Self {
        Self {
            behind: VecDeque::with_capacity(count),
            untold: VecDeque::with_capacity(if follow { count } else { 0 }),
        }
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        (self.behind.capacity() + self.untold.capacity()) * size_of::<u32>()
    }

    /// The partition behind its limit whose turn it is.
    pub(super) fn current(&self) -> Option<usize> {
        self.behind.front().map(|at| *at as usize)
    }

    pub(super) fn is_any_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// How many partitions are behind their limits.
    pub(super) fn behind(&self) -> usize {
        self.behind.len()
    }

    /// Notes that a partition has fallen behind its limit.
    pub(super) fn fell_behind(&mut self, at: usize) {
        self.behind.push_back(short(at));
    }

    /// Ends the turn of the current partition.
    pub(super) fn next(&mut self, is_behind: bool) {
        if let Some(at) = self.behind.pop_front()
            && is_behind
        {
            self.behind.push_back(at);
        }
    }

    /// Queues a partition to be told. It must not be queued already.
    pub(super) fn is_untold(&mut self, at: usize) {
        self.untold.push_back(short(at));
    }

    /// Takes the first partition that is to be told.
    pub(super) fn next_untold(&mut self) -> Option<usize> {
        self.untold.pop_front().map(|at| at as usize)
    }
}

/// There are at most 20,000 partitions.
fn short(at: usize) -> u32 {
    u32::try_from(at).expect("a place in a list of partitions")
}
