//! Removing the bytes of erased entities from every file.
//!
//! The order of steps makes it complete. First nothing erased is left in memory or in a growing
//! segment. Then the journal continues in another file, a checkpoint covers the earlier ones, and
//! these are overwritten with zeros, so that they can be used again. Then segments and tables of
//! last versions are written anew. At last the journal entries that are kept for restores are
//! removed. Each step can be repeated, and is repeated after a crash, because an erasure is
//! complete only when all are done.
//!
//! Nobody waits for this. Housekeeping is blocked no longer than a checkpoint takes, or renaming a
//! file. Between two segments the key indexes are maintained, which is this thread's task too.
//!
//! If something delays the erasures of one partition, for example a full disk, those of others go
//! on.

use std::{collections::BTreeSet, io};

use super::progress::Problem;
use crate::{
    broker::{
        Broker,
        keys::{Freeze, Upkeep},
        lock,
        partitions::Partitions,
        state::PartitionRef,
    },
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
    /// The erasures are tried again later.
    Problem(Problem),
    /// As `Problem`: the disk is full.
    DiskFull,
    /// The broker is being closed; the next start does it.
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
    /// Removes the bytes of all erasures that are not complete.
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

    /// Removes these erasures' bytes from memory, the journal and growing segments.
    ///
    /// Nothing that is appended from now on has erased records, because the erasures and everything
    /// queued before them are applied.
    fn overwrite_journal(&self, due: &[(PartitionRef, Vec<Erasure>)]) -> Result<(), FileError> {
        let shared = &self.shared;
        shared.committer.ring.begin_overwriting()?;
        let left = self.leave_journal(due);
        // Even after an error, because appends need the files.
        shared.committer.ring.overwrite()?;
        left?;
        shared.note_in_sealed_segments(due);
        Ok(())
    }

    /// Seals the segments that have erased records, and writes a checkpoint that releases the
    /// journal files that do.
    fn leave_journal(&self, due: &[(PartitionRef, Vec<Erasure>)]) -> Result<(), FileError> {
        let shared = &self.shared;
        let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
        housekeeper.write_out(&shared.partitions)?;
        // With the housekeeper's lock, the directories of deleted topics are not renamed meanwhile.
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

    /// Removes erased entities from a partition's segments and tables of last versions.
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
        // Trimmed records must be removed too: once they are erased, they could not be recognized
        // as trimmed any more.
        let hidden = partition.partition().log.view().hidden().clone();
        shared.keep_trimmed_versions(partition, hidden.trimmed())?;
        for base in segments {
            self.remove_from_segment(partition, base, &hidden)?;
            shared
                .health
                .settle_derived(shared.partitions.keep_indexes(Upkeep::InBackground));
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
        // With this lock, nobody removes segments or renames the directories of deleted topics
        // meanwhile.
        let _housekeeper = lock(&self.shared.maintenance.housekeeper);
        Ok(rewritten.install(log)?)
    }

    /// Whether the files of replaced segments are gone. They are not while somebody reads them.
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
        // Other files were removed when the log was opened, or by trims. None of them may come
        // back.
        let dir = lock(log).dir();
        match shared.env.files.sync_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            synced => synced
                .map(|()| true)
                .map_err(FileError::when(Action::Sync, &dir)),
        }
    }

    /// Removes the journal entries that are kept for restores, if they have what is erased. The
    /// housekeeper's lock must be held, so that no backup begins meanwhile; one under way sends
    /// them.
    fn forget_kept(&self, gone: &[(PartitionRef, Vec<Erasure>)]) -> Result<bool, FileError> {
        let shared = &self.shared;
        if !shared.kept.is_closed() {
            return Ok(true);
        }
        if shared.maintenance.backups.is_any_under_way() && !shared.kept.is_empty() {
            for (partition, erasures) in gone {
                shared.note_problem(partition, erasures, &Problem::BackupUnderWay);
            }
            return Ok(false);
        }
        shared.kept.forget()?;
        Ok(true)
    }

    /// Completes these erasures, once their bytes are gone.
    fn complete(&self, mut gone: Vec<(PartitionRef, Vec<Erasure>)>) -> Result<(), FileError> {
        let shared = &self.shared;
        {
            let mut housekeeper = lock(&self.shared.maintenance.housekeeper);
            // The checkpoint allows to remove segments that were trimmed meanwhile.
            housekeeper.checkpoint(shared, Freeze::Due)?;
            // The housekeeper's lock must be held to remove files.
            let removed = gone
                .iter()
                .map(|(partition, erasures)| self.remove_replaced(partition, erasures));
            let removed = removed.collect::<Result<Vec<bool>, _>>()?;
            let mut removed = removed.into_iter();
            gone.retain(|_| removed.next() == Some(true));
            if !self.forget_kept(&gone)? {
                return Ok(());
            }
        }
        for (partition, _) in gone.iter().filter(|(partition, _)| !partition.is_deleted()) {
            // Removes files that a crash has left.
            match shared.partitions.remove_unused_last_versions(partition) {
                Err(_) if partition.is_deleted() => {}
                removed => removed?,
            }
        }
        // Bytes that recovery has cut off and saved may be of any entity.
        remove_tree(&*shared.env.files, &shared.dir.aside())?;
        let root = &shared.options.data_dir;
        shared
            .env
            .files
            .sync_dir(root)
            .map_err(FileError::when(Action::Sync, root))?;
        for erasure in gone.iter().flat_map(|(_, erasures)| erasures) {
            // This fails if the broker shuts down; the next start does it again.
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
    /// Replaces erased keys by tokens in the tables of last versions.
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
