//! How far the removal of erased bytes is, and what delays it. This is known in memory only; a
//! restart begins again.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    broker::{Shared, Shortage, lock, state::PartitionRef},
    catalog::Erasure,
    storage::files::FileError,
};

/// How long to wait until an erasure is tried again that could not be completed.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What keeps erased bytes in a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    /// Writing a segment anew beside the old one would leave too little free space on the disk.
    #[error("the disk has no room to write a segment of {bytes} bytes anew: {shortage}")]
    NoRoom { bytes: u64, shortage: Shortage },
    #[error("the disk is full: {0}")]
    DiskFull(Shortage),
    #[error("a file cannot be read now: {0}")]
    Unreadable(FileError),
    #[error("a segment that was written anew is still being read")]
    InUse,
    #[error("a backup that is being taken sends journal entries that have it")]
    BackupUnderWay,
    #[error("what it has in files cannot be found: {0}")]
    Unfindable(crate::broker::Error),
}

/// How far an erasure is.
#[derive(Default)]
pub(super) struct Progress {
    /// Whether nothing of it is left in memory, in the journal, or in a growing segment.
    is_in_sealed_segments: bool,
    /// What last delayed the erasure, and when.
    problem: Option<(Duration, String)>,
}

/// How far the erasures are that are not complete.
#[derive(Default)]
pub(in crate::broker) struct AllProgress(BTreeMap<u64, Progress>);

impl AllProgress {
    fn of(&mut self, id: u64) -> &mut Progress {
        self.0.entry(id).or_default()
    }

    /// Why an erasure could not be completed when it was last tried.
    pub(super) fn problem(&self, id: u64) -> Option<String> {
        let (_, problem) = self.0.get(&id)?.problem.as_ref()?;
        Some(problem.clone())
    }

    /// Whether what is left of an erasure is in sealed segments only.
    fn is_in_sealed_segments(&self, id: u64) -> bool {
        let progress = self.0.get(&id);
        progress.is_some_and(|progress| progress.is_in_sealed_segments)
    }

    /// Whether an erasure is not to be tried again yet.
    fn waits(&self, id: u64, now: Duration) -> bool {
        let problem = self
            .0
            .get(&id)
            .and_then(|progress| progress.problem.as_ref());
        problem.is_some_and(|(tried, _)| now.saturating_sub(*tried) < TRY_AGAIN)
    }

    /// When the next delayed erasure is tried again.
    fn next(&self) -> Option<Duration> {
        let problems = self.0.values().flat_map(|progress| &progress.problem);
        let tried = problems.map(|(tried, _)| *tried).min();
        Some(tried?.saturating_add(TRY_AGAIN))
    }

    pub(super) fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }
}

impl Shared {
    /// When the next delayed erasure is tried again.
    pub(in crate::broker) fn next_erasure(&self) -> Option<Duration> {
        lock(&self.maintenance.erasures).next()
    }

    /// The erasures to work on, by partition.
    pub(super) fn partitions_with_erased(&self) -> Vec<(PartitionRef, Vec<Erasure>)> {
        let now = self.env.clock.elapsed();
        let mut due: BTreeMap<_, Vec<Erasure>> = BTreeMap::new();
        {
            let progress = lock(&self.maintenance.erasures);
            for known in self.sequencer.applied().erasures().waiting() {
                if !progress.waits(known.erasure.id, now) {
                    due.entry((known.topic, known.erasure.partition))
                        .or_default()
                        .push(known.erasure.clone());
                }
            }
        }
        let found = due
            .into_iter()
            .filter_map(|((topic, partition), erasures)| {
                for erasure in erasures.iter().filter(|erasure| self.is_late(erasure)) {
                    tracing::error!(
                        erasure = format!("{:016x}", erasure.id),
                        "an erasure is late; it is being worked on"
                    );
                }
                let partition = self
                    .partitions
                    .topics()
                    .find_by_id(topic)?
                    .partition(partition)
                    .ok()?;
                Some((partition, erasures))
            });
        found.collect()
    }

    fn is_late(&self, erasure: &Erasure) -> bool {
        let waited = self.clock.now_ms().saturating_sub(erasure.requested_ms);
        u128::try_from(waited)
            .is_ok_and(|waited| waited > self.options.erasure_deadline.as_millis())
    }

    /// Whether what is left of these erasures is in sealed segments, and in what is derived from
    /// them, only.
    pub(super) fn are_in_sealed_segments(
        &self,
        partitions: &[(PartitionRef, Vec<Erasure>)],
    ) -> bool {
        let progress = lock(&self.maintenance.erasures);
        let mut erasures = partitions.iter().flat_map(|(_, erasures)| erasures);
        erasures.all(|erasure| progress.is_in_sealed_segments(erasure.id))
    }

    pub(super) fn note_in_sealed_segments(&self, partitions: &[(PartitionRef, Vec<Erasure>)]) {
        let mut all = lock(&self.maintenance.erasures);
        for erasure in partitions.iter().flat_map(|(_, erasures)| erasures) {
            all.of(erasure.id).is_in_sealed_segments = true;
        }
    }

    /// Forgets the progress of erasures that are complete, or not known any more.
    pub(in crate::broker) fn forget_progress(&self) {
        let mut progress = lock(&self.maintenance.erasures);
        let applied = self.sequencer.applied();
        progress.0.retain(|id, _| {
            let known = applied.erasures().get(*id);
            known.is_some_and(|known| !known.complete)
        });
    }

    /// Notes what delays the erasures of a partition.
    pub(super) fn note_problem(
        &self,
        partition: &PartitionRef,
        erasures: &[Erasure],
        problem: &Problem,
    ) {
        let (topic, id) = (&partition.topic.name, partition.partition().id.0);
        tracing::warn!(%topic, partition = id, %problem, "erased bytes cannot be removed yet; it is tried again");
        let now = self.env.clock.elapsed();
        let mut all = lock(&self.maintenance.erasures);
        for erasure in erasures {
            all.of(erasure.id).problem = Some((now, problem.to_string()));
        }
    }
}
