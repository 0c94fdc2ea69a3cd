//! Removing the bytes of erased entities from every file.
//!
//! The order is what makes it complete: first nothing that is erased is left in memory or in a segment that grows; then
//! the journal goes on in another file, and a checkpoint covers the ones before; then segments are written anew,
//! retired facts too, and zeros over what the journal has given back. Each step can be repeated, and after a crash is:
//! the erasure is not complete before all are done.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    broker::{Broker, Error, Shared, keys::Freeze, lock, state::PartitionRef},
    storage::{
        files::{FileError, SYNC, remove_tree},
        format::{
            change::Change,
            erasure::{Erasure, Token, erase_in},
        },
        keys::{
            hash::KeyHash,
            retired::{Identity, Retired},
        },
        log::rewrite_segment,
    },
    types::{Offset, Version},
};

impl Broker {
    /// Removes the bytes of all erasures that wait for it.
    pub(in crate::broker) fn scrub(&self) -> Result<(), FileError> {
        let shared = &self.shared;
        let waiting = shared.partitions_to_scrub();
        if waiting.is_empty() {
            return Ok(());
        }
        {
            let mut housekeeper = lock(&self.housekeeper);
            housekeeper.write_out(shared)?;
            for (partition, erasures) in &waiting {
                let end = erasures.iter().map(|erasure| erasure.end).max().unwrap_or_default();
                let mut writer = lock(&partition.partition().writer);
                writer.seal_before(&partition.partition().log, &shared.segments, end)?;
            }
            shared.ring.begin_scrub();
            lock(&self.committer).leave_journal_file()?;
            housekeeper.checkpoint(shared, Freeze::Due)?;
        }
        for (partition, erasures) in &waiting {
            if let Err(error) = self.scrub_partition(partition, erasures)? {
                tracing::error!(%error, topic = %partition.topic.name, "an erasure cannot go on");
                return Ok(());
            }
        }
        // Names the files of retired facts that were written anew, and lets the old ones go.
        lock(&self.housekeeper).checkpoint(shared, Freeze::Due)?;
        shared.ring.scrub()?;
        // What recovery has cut off and kept may have anything in it.
        remove_tree(&*shared.env.files, &shared.dir.aside())?;
        let root = &shared.options.data_dir;
        shared.env.files.sync_dir(root).map_err(FileError::when(SYNC, root))?;
        for erasure in waiting.iter().flat_map(|(_, erasures)| erasures) {
            // Refused when the broker goes down; the next start does it again.
            drop(shared.queue_change(Change::ErasureComplete { id: erasure.id }, || Ok(())));
        }
        Ok(())
    }

    /// Writes anew what a partition's segments and retired facts have of erased entities. The inner result: why records
    /// cannot be found.
    fn scrub_partition(&self, partition: &PartitionRef, erasures: &[Erasure]) -> Result<Result<(), Error>, FileError> {
        let shared = &self.shared;
        let mut segments = BTreeSet::new();
        for erasure in erasures {
            match shared.segments_of(partition, erasure) {
                Ok(found) => segments.extend(found),
                Err(error) => return Ok(Err(error)),
            }
        }
        for base in segments {
            // Trimmed segments are removed by who holds this.
            let _housekeeper = lock(&self.housekeeper);
            rewrite_segment(&partition.partition().log, &shared.segments, base, |frame| {
                erase_in(frame, |record| {
                    let (key, offset) = (record.key?, Offset(record.offset?));
                    let erased = |erasure: &&Erasure| offset < erasure.end && erasure.token.is_of(key);
                    erasures.iter().find(erased).map(|erasure| erasure.token)
                })
            })?;
        }
        shared.scrub_retired(partition, erasures).map(Ok)
    }
}

impl Shared {
    /// The erasures that wait, by partition.
    fn partitions_to_scrub(&self) -> Vec<(PartitionRef, Vec<Erasure>)> {
        let mut waiting: BTreeMap<_, Vec<Erasure>> = BTreeMap::new();
        for known in lock(&self.erasures).waiting() {
            waiting.entry((known.topic, known.erasure.partition)).or_default().push(known.erasure.clone());
        }
        let late = |erasure: &Erasure| {
            let waited = self.env.clock.now_ms().saturating_sub(erasure.requested_ms);
            u128::try_from(waited).is_ok_and(|waited| waited > self.options.erasure_deadline.as_millis())
        };
        let found = waiting.into_iter().filter_map(|((topic, partition), erasures)| {
            for erasure in erasures.iter().filter(|erasure| late(erasure)) {
                tracing::error!(erasure = format!("{:016x}", erasure.id), "an erasure is late; it is being worked on");
            }
            let partition = self.topics().find_by_id(topic)?.partition(partition).ok()?;
            Some((partition, erasures))
        });
        found.collect()
    }

    /// The bases of the segments that have records of an erased entity, as its rows say.
    fn segments_of(&self, partition: &PartitionRef, erasure: &Erasure) -> Result<BTreeSet<Offset>, Error> {
        let mut segments = BTreeSet::new();
        let log = &partition.partition().log;
        self.for_each_offset(partition, KeyHash(erasure.token.hash()), erasure.end, |offset| {
            segments.extend(lock(log).sealed_base(offset));
        })?;
        Ok(segments)
    }

    /// Puts tokens in the place of keys in retired facts.
    fn scrub_retired(&self, partition: &PartitionRef, erasures: &[Erasure]) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        if lock(&partition.partition().next).keys.retired_number() == 0 {
            return Ok(());
        }
        let token_of = |key: &[u8], version: Version| {
            let is_it = |erasure: &&Erasure| version <= erasure.through && erasure.token.is_of(key);
            erasures.iter().find(is_it).map(|erasure| erasure.token)
        };
        let edit = |fact: Retired| {
            let token = match &fact.identity {
                Identity::Entity { key } => token_of(key, fact.version),
                _ => None,
            };
            Some(match token {
                Some(Token(token)) => Retired { identity: Identity::Erased { token }, ..fact },
                None => fact,
            })
        };
        if self.write_retired(partition, Vec::new(), edit)? {
            let number = lock(&partition.partition().next).keys.retired_number();
            lock(&partition.partition().log).set_retired_file(number);
        }
        Ok(())
    }
}
