//! Removes erased keys from the tables of last versions.

use std::sync::Arc;

use crate::{
    broker::{lock, partitions::Partitions, state::PartitionRef},
    storage::{
        files::{Action, FileError, replace_file},
        keys::{
            hash::KeyHash,
            merge, salvage, set,
            sorted_table::{LastVersion, SortedTable},
        },
    },
    types::Version,
};

impl Partitions {
    /// Writes those of a partition's tables of last versions anew that may have one of these
    /// hashes, with the names that `edit` gives. Damaged parts stay damaged, and their bytes are
    /// removed, because nobody can tell whose they were.
    pub(in crate::broker) fn edit_last_versions(
        &self,
        partition: &PartitionRef,
        hashes: &[KeyHash],
        edit: impl Fn(LastVersion) -> LastVersion,
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        self.convert_earlier(partition)?;
        self.empty_lost(partition)?;
        let now = partition.partition().index();
        for table in now.last_versions.with_any(hashes) {
            let edited = self.edit_table(partition, &table, &edit)?;
            self.change_files(partition, |_, files| {
                files.last_versions.replace(Arc::new(edited));
            });
        }
        Ok(())
    }

    /// Writes a table anew, under its name.
    fn edit_table(
        &self,
        partition: &PartitionRef,
        table: &Arc<SortedTable>,
        edit: impl Fn(LastVersion) -> LastVersion,
    ) -> Result<SortedTable, FileError> {
        let (files, dir) = (&*self.env.files, lock(&partition.partition().log).dir());
        let tables = std::slice::from_ref(table);
        match merge::merge_last_versions(files, &dir, tables, &edit) {
            Ok(edited) => Ok(edited),
            Err(merge::Error::File(error)) => Err(error),
            Err(merge::Error::Damaged(damaged)) => {
                tracing::error!(%damaged, "what is known of trimmed records is damaged, and goes with an erasure");
                salvage::salvage(files, &dir, table, edit)
            }
        }
    }

    /// Examines tables of last versions again that could not be opened. If a file is damaged for
    /// good, it is replaced by an empty one, so that it stays known that its content is lost.
    fn empty_lost(&self, partition: &PartitionRef) -> Result<(), FileError> {
        let now = partition.partition().index();
        if now.last_versions.lost().is_empty() {
            return Ok(());
        }
        let (dir, identity) = {
            let log = lock(&partition.partition().log);
            (log.dir(), log.identity())
        };
        let files = &*self.env.files;
        let owner = set::Owner {
            files,
            dir: &dir,
            identity,
            fingerprint: partition.topic.hasher.fingerprint(),
        };
        let found = set::list_last_versions(owner, now.last_versions.through())?;
        for lost in found.lost() {
            let path = &lost.damaged.path;
            let is_there = files.exists(path);
            if is_there.map_err(FileError::when(Action::LookFor, path))? {
                let path = path.display();
                tracing::error!(%path, "what is known of trimmed records cannot be read; it goes with an erasure");
                replace_file(files, &lost.damaged.path, &[])?;
            }
        }
        self.change_files(partition, |_, files| files.last_versions = found);
        self.convert_earlier(partition)
    }

    /// The highest version of a hash, up to `through`, whose record is known to be trimmed.
    pub(in crate::broker) fn last_gone_version(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        through: Version,
    ) -> Version {
        let files = partition.partition().index();
        files.last_versions.highest_of_hash(hash, through)
    }
}
