//! Removing the bytes of records that trims of entities have taken.
//!
//! Nobody waits for this, because readers do not see these records since the trim
//! (`storage/log/hidden.rs`). They are removed by the partition's next pass. If no pass would come
//! by itself, one is made when the oldest trim has waited as long as a record waits for compaction
//! (`max.compaction.lag.ms`), or when there are many trims: a segment is written anew for all of
//! them at once.
//!
//! A table of last versions keeps where the entity starts, and its last version if none of its
//! records stays. A checkpoint names the table before the first record is removed. When all are
//! removed, a journal entry says so, and nothing is hidden any more. Nobody can tell what is left
//! in a damaged segment, so a trim that may have taken records there stays known, and hides them.

use std::collections::BTreeSet;

use super::{decide::lags_ms, hindered::Hindered, pass::Pass, place_of, progress::Progress};
use crate::{
    broker::{Error, Shared, keys::Freeze, lock, state::PartitionRef},
    catalog::{Change, KeyTrim},
    storage::{
        files::FileError,
        keys::{
            hash::KeyHash,
            sorted_table::{LastVersion, Name},
        },
        log::Trimmed,
    },
    types::{Offset, TopicSettings, Version, limits},
};

impl PartitionRef {
    /// Whether the partition has records that trims of entities have taken.
    pub(super) fn has_trimmed_entities(&self) -> bool {
        !self.partition().log.view().hidden().trimmed().is_empty()
    }
}

impl Shared {
    /// When such records of a partition must be removed, and the offset behind the last of them.
    pub(super) fn trims_due(
        &self,
        partition: &PartitionRef,
        settings: &TopicSettings,
        progress: &Progress,
    ) -> (Option<i64>, Offset) {
        let view = partition.partition().log.view();
        let trimmed = view.hidden().trimmed();
        let (mut since_ms, mut end) = (None, Offset::ZERO);
        for trim in trimmed.iter() {
            since_ms = Some(trim.requested_ms.min(since_ms.unwrap_or(i64::MAX)));
            end = end.max(trim.end);
        }
        let are_many = self.sequencer.applied().key_trims().len() >= limits::MAX_KEY_TRIMS / 2;
        let due_ms = since_ms.map(|since_ms: i64| match are_many || progress.is_asked() {
            true => i64::MIN,
            false => since_ms.saturating_add(lags_ms(settings).1),
        });
        let from_ms = match progress.is_asked() {
            true => i64::MIN,
            false => progress.trims_from_ms,
        };
        (due_ms.map(|due_ms| due_ms.max(from_ms)), end)
    }

    /// The bases of the sealed segments that have such records, or may have.
    pub(super) fn segments_with_trimmed(
        &self,
        partition: &PartitionRef,
    ) -> Result<BTreeSet<Offset>, Hindered> {
        let view = partition.partition().log.view();
        let mut segments = BTreeSet::new();
        for trim in view.hidden().trimmed().iter() {
            segments.extend(self.segments_with_trim(partition, trim)?);
        }
        Ok(segments)
    }

    fn segments_with_trim(
        &self,
        partition: &PartitionRef,
        trim: &KeyTrim,
    ) -> Result<BTreeSet<Offset>, Hindered> {
        let found = self.partitions.segments_with(
            partition,
            KeyHash(trim.token.hash()),
            trim.end,
            last_gone(trim),
        );
        found.map_err(|error: Error| Hindered::Problem(error.to_string()))
    }

    /// Makes the starts of trimmed entities durable, before their records are removed.
    pub(in crate::broker) fn keep_trimmed_versions(
        &self,
        partition: &PartitionRef,
        trimmed: &Trimmed,
    ) -> Result<(), FileError> {
        let mut lasts = Vec::new();
        for trim in trimmed.iter() {
            lasts.push(LastVersion {
                hash: KeyHash(trim.token.hash()),
                version: last_gone(trim),
                name: Name::Erased {
                    token: trim.token.0,
                },
            });
        }
        if lasts.is_empty() {
            return Ok(());
        }
        lasts.sort_by_key(LastVersion::order);
        self.partitions.keep_versions(partition, &lasts)?;
        // The checkpoint names the table.
        let mut housekeeper = lock(&self.maintenance.housekeeper);
        housekeeper.checkpoint(self, Freeze::Due)
    }

    /// Completes the trims whose records the pass has removed. Returns whether it could not remove
    /// some.
    pub(super) fn end_trims(&self, pass: &Pass) -> Result<bool, FileError> {
        let partition = &pass.partition;
        let (mut done, mut leaves_some) = (Vec::new(), false);
        for trim in pass.hidden.trimmed().iter() {
            if trim.end > pass.limit {
                continue;
            }
            if !pass.left.is_empty() && self.may_be_left(pass, trim) {
                leaves_some = true;
                continue;
            }
            done.push((trim.token, trim.before));
        }
        if !done.is_empty() {
            let (topic, partition) = place_of(partition);
            let change = Change::KeysTrimmed {
                topic,
                partition,
                trims: done,
            };
            // This fails if the broker shuts down; the next start does it again.
            let mut planned = self.sequencer.planned();
            drop(self.sequencer.plan(&mut planned, change, || Ok(())));
        }
        Ok(leaves_some)
    }

    /// Whether a damaged segment may have records that a trim has taken.
    fn may_be_left(&self, pass: &Pass, trim: &KeyTrim) -> bool {
        let Ok(segments) = self.segments_with_trim(&pass.partition, trim) else {
            return true;
        };
        let mut left = pass.left.iter();
        left.any(|range| segments.contains(&range.start))
    }
}

/// The last version that a trim has taken.
fn last_gone(trim: &KeyTrim) -> Version {
    Version(trim.before.0.saturating_sub(1))
}
