//! Applies durable commits: first to the catalog, then to everything that follows the catalog. Both
//! change in no other way, live and in recovery.

use std::{sync::Arc, time::Duration};

use super::{
    Shared,
    commit::Commit,
    lock,
    memory::UnderWay,
    partition_count::Counted,
    state::{Logs, PartitionRef},
};
use crate::{
    catalog::Change,
    metrics::Appends,
    storage::{
        files::FileError,
        format::{entry::Item, frame},
        journal::Written,
    },
    types::StoredBatch,
};

/// Counts of what commits have stored.
#[derive(Default)]
struct Stored {
    appends: u64,
    records: u64,
    bytes: u64,
}

impl Stored {
    fn add_to(&self, appends: &Appends) {
        appends.stored.add(self.appends);
        appends.records.add(self.records);
        appends.bytes.add(self.bytes);
    }
}

impl Shared {
    /// Applies durable commits in order, then answers them and wakes readers. They were written so,
    /// if there was anything to write.
    pub(super) fn apply(
        &self,
        commits: Vec<Commit>,
        written: Option<Written>,
    ) -> Result<(), String> {
        let mut done = Vec::with_capacity(commits.len());
        let now = self.env.clock.elapsed();
        let commit_barrier = self.partitions.close_commit_barrier();
        let mut moved: Vec<PartitionRef> = Vec::new();
        let mut stored = Stored::default();
        for commit in commits {
            let mut partitions = commit.partitions.into_iter();
            let mut counted = commit.counted;
            stored.appends += u64::from(!partitions.as_slice().is_empty());
            for item in commit.items {
                match item {
                    Item::Frame(frame) => {
                        let partition = partitions
                            .next()
                            .expect("every frame was queued with its partition");
                        self.apply_batch(frame.header(), now);
                        stored.records += u64::from(frame.header().count);
                        stored.bytes += frame.bytes().len() as u64;
                        lock(&partition.partition().log).apply(frame, commit.charge.clone());
                        self.partitions.mark_dirty(&partition);
                        self.partitions.retention.look_at_appended(&partition);
                        let topic = &partition.topic;
                        let is_followed = topic.moved.receiver_count() > 0;
                        topic.news.moved(partition.partition().id.0, is_followed);
                        if moved
                            .last()
                            .is_none_or(|last| !Arc::ptr_eq(&last.topic, &partition.topic))
                        {
                            moved.push(partition);
                        }
                    }
                    Item::Change(change) => self
                        .apply_change(&change, Logs::New, counted.take())
                        .map_err(|error| error.to_string())?,
                }
            }
            done.push((commit.done, commit.under_way));
        }
        drop(commit_barrier);
        for partition in moved {
            partition.topic.moved.send_replace(());
        }
        let ended = self.env.clock.elapsed();
        self.counts.journal.apply.observe(ended.saturating_sub(now));
        stored.add_to(&self.counts.appends);
        for (done, mut under_way) in done {
            if let Some(times) = under_way.as_ref().and_then(UnderWay::times) {
                let took = ended.saturating_sub(times.asked);
                self.counts.appends.whole.observe(took);
            }
            if let (Some(under_way), Some(written)) = (&mut under_way, written) {
                under_way.tell(written, (now, ended));
            }
            drop(under_way);
            done(Ok(()));
        }
        if self.memory.is_pressed() || self.journal_wants_checkpoint() {
            self.maintenance.housekeeping.notify();
        }
        Ok(())
    }

    /// Applies a durable change: first to the catalog, then to everything that follows the catalog.
    /// Both change in no other way, live and in recovery. `counted` holds the count of a new
    /// topic's partitions, if they were counted already.
    pub(super) fn apply_change(
        &self,
        change: &Change,
        logs: Logs<'_>,
        counted: Option<Arc<Counted>>,
    ) -> Result<(), FileError> {
        if let Change::Group { group, change } = change {
            self.sessions.fence(group, change);
        }
        self.sequencer
            .applied()
            .apply(change, self.env.clock.elapsed());
        match change {
            Change::Create { topic, .. } => {
                let created = self.sequencer.applied().topics().get(*topic).cloned();
                if let Some(created) = created {
                    self.partitions.open_topic(&created, logs, counted)?;
                    self.note_topics();
                }
            }
            Change::Delete { topic } => {
                self.sequencer.planned().settle(change);
                self.partitions.close_topic(*topic);
                self.forget_progress();
                self.sessions.tell_all();
                self.note_topics();
            }
            Change::Alter { topic, settings } => self.partitions.alter_topic(*topic, settings),
            Change::Trim {
                topic,
                partition,
                before,
            } => self.partitions.trim(*topic, *partition, *before),
            Change::StartAt {
                topic,
                partition,
                offset,
            } => self.partitions.start_at(*topic, *partition, *offset),
            Change::AddPartitions { topic, partitions } => {
                self.partitions
                    .open_added(*topic, *partitions, logs, counted)?;
                self.note_topics();
            }
            Change::CreateToken { .. } | Change::RevokeToken { .. } => self.note_access_tokens(),
            Change::OpenProducer { .. } | Change::ForgetProducer { .. } => {}
            Change::Group { group, change } => {
                self.tell_sessions(group, change);
                self.partitions.retention.look_at_held_by(group);
            }
            Change::Erase { topic, erasure } => self.hide(*topic, erasure),
            Change::ErasureComplete { id } => self.end_hiding(*id),
            Change::TrimKey { topic, trim } => self.hide_trimmed((*topic, trim.partition)),
            Change::KeysTrimmed {
                topic, partition, ..
            } => self.hide_trimmed((*topic, *partition)),
        }
        Ok(())
    }

    /// Applies a durable frame to the catalog, if it is a producer's batch.
    pub(super) fn apply_batch(&self, header: &frame::Header, now: Duration) {
        if let Some(batch) = header.batch {
            let mut applied = self.sequencer.applied();
            applied.producers.tell_time(now);
            applied.apply_stored(
                batch.producer,
                batch.epoch,
                header.topic,
                header.partition,
                batch.sequence,
                StoredBatch {
                    base: header.base,
                    count: header.count,
                    append_time_ms: header.append_time_ms,
                },
            );
        }
    }
}
