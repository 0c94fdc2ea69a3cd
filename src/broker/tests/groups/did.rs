//! Counts of what happened in a run of chaos.

use std::time::Duration;

/// How often each thing happened.
#[derive(Debug, Default)]
pub(super) struct Did {
    pub(super) joined: u64,
    pub(super) came_back: u64,
    pub(super) fenced: u64,
    /// On its return, because another member had taken its name meanwhile.
    pub(super) fenced_as_it_came_back: u64,
    pub(super) killed: u64,
    pub(super) left: u64,
    pub(super) restarted: u64,
    pub(super) power_failed: u64,
    /// Requests unanswered before the power failed that were found to have taken effect; and those
    /// that were not.
    pub(super) doubtful_present: u64,
    pub(super) doubtful_absent: u64,
    pub(super) partitions_added: u64,
    pub(super) reset: u64,
    pub(super) committed: u64,
    pub(super) late_commits_refused: u64,
    pub(super) stolen_commits_refused: u64,
    pub(super) records: u64,
    pub(super) again: u64,
    pub(super) longest_rest: Duration,
}

impl Did {
    pub(super) fn add(&mut self, other: &Self) {
        self.joined += other.joined;
        self.came_back += other.came_back;
        self.fenced += other.fenced;
        self.fenced_as_it_came_back += other.fenced_as_it_came_back;
        self.killed += other.killed;
        self.left += other.left;
        self.restarted += other.restarted;
        self.power_failed += other.power_failed;
        self.doubtful_present += other.doubtful_present;
        self.doubtful_absent += other.doubtful_absent;
        self.partitions_added += other.partitions_added;
        self.reset += other.reset;
        self.committed += other.committed;
        self.late_commits_refused += other.late_commits_refused;
        self.stolen_commits_refused += other.stolen_commits_refused;
        self.records += other.records;
        self.again += other.again;
        self.longest_rest = self.longest_rest.max(other.longest_rest);
    }
}
