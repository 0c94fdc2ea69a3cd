//! What a member was sent of a partition and has not committed, and how much more it may be sent.

use std::collections::VecDeque;

use crate::types::Offset;

/// How many batches are kept apart. Further ones are merged with the last, and count as committed
/// together with it.
const MOST_BATCHES: usize = 256;

/// Records and bytes that may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

/// The credit that is left. A record that is larger is sent nevertheless, and the excess is owed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CreditLeft {
    records: i64,
    bytes: i64,
}

/// What was sent of a partition and is not committed.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    batches: VecDeque<Sent>,
    total: Credit,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    /// The offset behind the batch.
    next: Offset,
    credit: Credit,
}

impl Credit {
    /// The credit that is left after `used`; `None` if either records or bytes are used up.
    pub(super) fn without(self, used: Self) -> Option<Self> {
        let left = Self {
            records: self.records.saturating_sub(used.records),
            bytes: self.bytes.saturating_sub(used.bytes),
        };
        (left.records > 0 && left.bytes > 0).then_some(left)
    }

    pub(super) fn min(self, other: Self) -> Self {
        Self {
            records: self.records.min(other.records),
            bytes: self.bytes.min(other.bytes),
        }
    }
}

impl CreditLeft {
    pub(super) fn add(&mut self, more: Credit) {
        self.records = self.records.saturating_add(signed(more.records));
        self.bytes = self.bytes.saturating_add(signed(more.bytes));
    }

    pub(super) fn take(&mut self, used: Credit) {
        self.records = self.records.saturating_sub(signed(used.records));
        self.bytes = self.bytes.saturating_sub(signed(used.bytes));
    }

    /// The credit that may be used now.
    pub(super) fn get(self) -> Credit {
        Credit {
            records: u64::try_from(self.records).unwrap_or(0),
            bytes: u64::try_from(self.bytes).unwrap_or(0),
        }
    }
}

impl UnderWay {
    /// Adds a batch that was sent and ends before `next`.
    pub(super) fn send(&mut self, next: Offset, credit: Credit) {
        self.total.records += credit.records;
        self.total.bytes += credit.bytes;
        if self.batches.len() == MOST_BATCHES
            && let Some(last) = self.batches.back_mut()
        {
            last.next = next;
            last.credit.records += credit.records;
            last.credit.bytes += credit.bytes;
            return;
        }
        self.batches.push_back(Sent { next, credit });
    }

    /// Removes batches that are committed completely, given that all records before `next` are.
    pub(super) fn commit(&mut self, next: Offset) {
        while let Some(first) = self.batches.front()
            && first.next <= next
        {
            self.total.records -= first.credit.records;
            self.total.bytes -= first.credit.bytes;
            self.batches.pop_front();
        }
    }

    pub(super) fn total(&self) -> Credit {
        self.total
    }

    /// Its memory, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.batches.capacity() * size_of::<Sent>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
