//! Removing the bytes of erased entities from every file.
//!
//! The order is what makes it complete: first nothing that is erased is left in memory or in a
//! segment that grows; then the journal goes on in another file, a checkpoint covers the ones
//! before, and zeros are written over these, so that they can be used again; then segments are
//! written anew, and tables of last versions. Each step can be repeated, and after a crash is: the
//! erasure is not complete before all are done.
//!
//! Nobody waits for it. Housekeeping is kept out for no longer than a checkpoint takes, or giving a
//! file its name; and between two segments the key indexes, which this thread also keeps, get what
//! they need.
//!
//! What keeps the erasures of one partition from being complete, such as a full disk, does not stop
//! those of others.

use std::{collections::BTreeSet, io};

use super::progress::Problem;
use crate::{
    broker::{Broker, keys::Freeze, lock, partitions::Partitions, state::PartitionRef},
    catalog::{Change, Erasure, Token},
    codec::Method,
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_tree},
        keys::{
            hash::KeyHash,
            sorted_table::{LastVersion, Name},
        },
        log::{Hidden, Rewrite, remove_gone, remove_unfinished},
    },
    types::Offset,
};

/// Why the erasures of a partition are not complete.
enum Incomplete {
    /// It is tried again later.
    Problem(Problem),
    /// As `Problem`: there was no room.
    DiskFull,
    /// The broker is being closed: the next start does it.
    Closing,
    File(FileError),
}

impl From<FileError> for Incomplete {
    fn from(error: FileError) -> Self {
        match error.meaning() {
            Meaning::Fatal => Self::File(error),
            _ if error.is_disk_full() => Self::DiskFull,
            Meaning::Passing | Meaning::Damage => Self::Problem(Problem::Unreadable(error)),
        }
    }
}

impl Broker {
    /// Removes the bytes of all erasures that wait for it.
    pub(in crate::broker) fn remove_erased(&self) -> Result<(), FileError> {
        let shared = &self.shared;
        let due = shared.partitions_with_erased();
        if due.is_empty() {
            return Ok(());
        }
        if !shared.are_in_sealed_segments(&due) {
            self.overwrite_journal(&due)?;
        }
        let mut gone = Vec::new();
        for (partition, erasures) in due {
            match self.remove_from_partition(&partition, &erasures) {
                Ok(()) => gone.push((partition, erasures)),
                Err(Incomplete::Problem(problem)) => {
                    shared.note_problem(&partition, &erasures, &problem);
                }
                Err(Incomplete::DiskFull) => {
                    let problem = Problem::DiskFull(shared.health.shortage_now());
                    shared.note_problem(&partition, &erasures, &problem);
                }
                Err(Incomplete::Closing) => return Ok(()),
                // Its files are being removed.
                Err(Incomplete::File(_)) if partition.is_deleted() => {}
                Err(Incomplete::File(error)) => return Err(error),
            }
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.complete(gone)
        }
    }

    /// Leaves nothing of these erasures in memory, in the journal, or in segments that grow.
    ///
    /// What is appended from here on has nothing in it that is erased: the erasures have been
    /// applied, and so has all that was queued before them.
    fn overwrite_journal(&self, due: &[(PartitionRef, Vec<Erasure>)]) -> Result<(), FileError> {
        let shared = &self.shared;
        shared.committer.ring.begin_overwriting()?;
        let left = self.leave_journal(due);
        // Also after an error: appends need the files.
        shared.committer.ring.overwrite()?;
        left?;
        shared.note_in_sealed_segments(due);
        Ok(())
    }

    /// Seals the segments that have something of these erasures, and lets a checkpoint release the
    /// journal files that do.
    fn leave_journal(&self, due: &[(PartitionRef, Vec<Erasure>)]) -> Result<(), FileError> {
        let shared = &self.shared;
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        housekeeper.write_out(&shared.partitions)?;
        // Who holds the housekeeper renames the directories of deleted topics.
        for (partition, erasures) in due.iter().filter(|(partition, _)| !partition.is_deleted()) {
            let end = erasures
                .iter()
                .map(|erasure| erasure.end)
                .max()
                .unwrap_or_default();
            let mut writer = lock(&partition.partition().writer);
            writer.seal_before(&partition.partition().log, &shared.partitions.segments, end)?;
        }
        shared.committer.leave_journal_file()?;
        housekeeper.checkpoint(shared, Freeze::Due)
    }

    /// Writes anew what a partition's segments and tables of last versions have of erased entities.
    fn remove_from_partition(
        &self,
        partition: &PartitionRef,
        erasures: &[Erasure],
    ) -> Result<(), Incomplete> {
        let shared = &self.shared;
        let dir = lock(&partition.partition().log).dir();
        remove_unfinished(&*shared.env.files, &dir)?;
        let mut segments = BTreeSet::new();
        for erasure in erasures {
            let hash = KeyHash(erasure.token.hash());
            let found =
                shared
                    .partitions
                    .segments_with(partition, hash, erasure.end, erasure.through);
            segments
                .extend(found.map_err(|error| Incomplete::Problem(Problem::Unfindable(error)))?);
        }
        // What was trimmed of entities goes with it: what is left of erased records could not be
        // told from it any more.
        let hidden = partition.partition().log.view().hidden().clone();
        shared.keep_trimmed_versions(partition, hidden.trimmed())?;
        for base in segments {
            self.remove_from_segment(partition, base, &hidden)?;
            shared
                .health
                .settle_derived(shared.partitions.keep_indexes());
            if shared.maintenance.indexing.is_closed() || shared.health.has_failed() {
                return Err(Incomplete::Closing);
            }
        }
        Ok(shared
            .partitions
            .remove_from_last_versions(partition, erasures)?)
    }

    fn remove_from_segment(
        &self,
        partition: &PartitionRef,
        base: Offset,
        hidden: &Hidden,
    ) -> Result<(), Incomplete> {
        let (shared, log) = (&self.shared, &partition.partition().log);
        let edit = |frame: &_| hidden.edit(&partition.topic.hasher, frame);
        let Some(rewrite) = Rewrite::of(log, &shared.partitions.segments, base)? else {
            return Ok(());
        };
        if !rewrite.is_needed(edit)? {
            return Ok(());
        }
        let rewrite = rewrite.compressed(Method::of(&partition.topic.settings()));
        let bytes = rewrite.room()?;
        if let Some(shortage) = shared.health.shortage_beside(bytes)? {
            return Err(Incomplete::Problem(Problem::NoRoom { bytes, shortage }));
        }
        let rewritten = rewrite.write(edit)?;
        // Who holds this removes segments, and renames the directories of deleted topics.
        let _housekeeper = lock(&self.shared.maintenance.housekeeper);
        Ok(rewritten.install(log)?)
    }

    /// Whether the segments of a partition that were written anew are gone: somebody may be reading
    /// them.
    fn remove_replaced(
        &self,
        partition: &PartitionRef,
        erasures: &[Erasure],
    ) -> Result<bool, FileError> {
        let shared = &self.shared;
        if partition.is_deleted() {
            return Ok(true);
        }
        let log = &partition.partition().log;
        let are_gone = remove_gone(log, &shared.partitions.segments)?;
        if !are_gone {
            shared.note_problem(partition, erasures, &Problem::InUse);
            return Ok(false);
        }
        // Others were removed when the log was opened, or trimmed. None of them may come back.
        let dir = lock(log).dir();
        match shared.env.files.sync_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            synced => synced
                .map(|()| true)
                .map_err(FileError::when(Action::Sync, &dir)),
        }
    }

    /// Says that the bytes of these erasures are gone, once they are.
    fn complete(&self, mut gone: Vec<(PartitionRef, Vec<Erasure>)>) -> Result<(), FileError> {
        let shared = &self.shared;
        {
            let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
            // Lets segments go that were trimmed meanwhile.
            housekeeper.checkpoint(shared, Freeze::Due)?;
            // Who holds the housekeeper removes files.
            let removed = gone
                .iter()
                .map(|(partition, erasures)| self.remove_replaced(partition, erasures));
            let removed = removed.collect::<Result<Vec<bool>, _>>()?;
            let mut removed = removed.into_iter();
            gone.retain(|_| removed.next() == Some(true));
        }
        for (partition, _) in gone.iter().filter(|(partition, _)| !partition.is_deleted()) {
            // What a crash has left behind.
            match shared.partitions.remove_unused_last_versions(partition) {
                Err(_) if partition.is_deleted() => {}
                removed => removed?,
            }
        }
        // What recovery has cut off and kept may have anything in it.
        remove_tree(&*shared.env.files, &shared.dir.aside())?;
        let root = &shared.options.data_dir;
        shared
            .env
            .files
            .sync_dir(root)
            .map_err(FileError::when(Action::Sync, root))?;
        for erasure in gone.iter().flat_map(|(_, erasures)| erasures) {
            // Refused when the broker goes down; the next start does it again.
            let change = Change::ErasureComplete { id: erasure.id };
            drop(
                shared
                    .sequencer
                    .plan(&mut shared.sequencer.planned(), change, || Ok(())),
            );
        }
        Ok(())
    }
}

impl Partitions {
    /// Puts tokens in the place of keys in last versions of records that are gone.
    fn remove_from_last_versions(
        &self,
        partition: &PartitionRef,
        erasures: &[Erasure],
    ) -> Result<(), FileError> {
        let token_of = |last: &LastVersion| {
            let Name::Entity { key } = &last.name else {
                return None;
            };
            let mut of_hash = erasures
                .iter()
                .filter(|erasure| erasure.token.hash() == last.hash.0);
            let is_it =
                |erasure: &&Erasure| last.version <= erasure.through && erasure.token.is_of(key);
            of_hash.find(is_it).map(|erasure| erasure.token)
        };
        let hashes = erasures.iter().map(|erasure| KeyHash(erasure.token.hash()));
        let hashes: Vec<KeyHash> = hashes.collect();
        self.edit_last_versions(partition, &hashes, |last| match token_of(&last) {
            Some(Token(token)) => LastVersion {
                name: Name::Erased { token },
                ..last
            },
            None => last,
        })
    }
}
