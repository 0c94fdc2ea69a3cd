//! Changing what is known of trimmed records: keys that are erased leave it.

use crate::{
    broker::{lock, partitions::Partitions, state::PartitionRef},
    storage::{
        files::{FileError, replace_file},
        keys::{
            Unusable,
            hash::KeyHash,
            retired::{Content, Retired, RetiredFile},
            salvage,
        },
    },
    types::Version,
};

impl Partitions {
    /// Puts another file in the place of a partition's file of retired facts, with the facts of
    /// these hashes as `edit` has them. What is damaged of it stays so, and its bytes are gone:
    /// nobody can tell whose they were.
    pub(in crate::broker) fn edit_retired(
        &self,
        partition: &PartitionRef,
        hashes: impl IntoIterator<Item = KeyHash>,
        edit: impl Fn(Retired) -> Retired,
    ) -> Result<(), FileError> {
        let _upkeep = lock(&partition.partition().upkeep);
        self.open_lost(partition)?;
        let old = lock(&partition.partition().next).keys.files.retired.clone();
        let Some(old) = old else { return Ok(()) };
        if !hashes
            .into_iter()
            .any(|hash| old.may_have(hash).unwrap_or(true))
        {
            return Ok(());
        }
        if !self.write_retired(partition, Vec::new(), |fact| Some(edit(fact)))? {
            let (dir, identity) = {
                let log = lock(&partition.partition().log);
                (log.dir(), log.identity())
            };
            let fingerprint = partition.topic.hasher.fingerprint();
            let content = Content {
                identity,
                fingerprint,
                number: old.number() + 1,
                expected_facts: old.len(),
            };
            let edit = |fact| Some(edit(fact));
            let salvaged = salvage::salvage(&*self.env.files, &dir, &content, &old, edit)?;
            self.change_retired(partition, salvaged);
        }
        let number = lock(&partition.partition().next).keys.retired_number();
        lock(&partition.partition().log).set_retired_file(number);
        Ok(())
    }

    /// Has another look at a file of retired facts that could not be opened. If it can never be,
    /// because it is not what was written, it is made empty: that it was there stays known, and so
    /// that what it had is lost.
    fn open_lost(&self, partition: &PartitionRef) -> Result<(), FileError> {
        let lost = lock(&partition.partition().next).keys.files.lost.clone();
        let Some(lost) = lost else { return Ok(()) };
        let (files, identity) = (
            &*self.env.files,
            lock(&partition.partition().log).identity(),
        );
        match RetiredFile::open(
            files,
            &lost.path,
            identity,
            partition.topic.hasher.fingerprint(),
        ) {
            Ok(file) => {
                self.change_retired(partition, file);
                Ok(())
            }
            Err(Unusable::File(error)) if error.source.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            Err(Unusable::File(error)) => Err(error),
            Err(error) => {
                tracing::error!(%error, "what is known of trimmed records cannot be read; it goes with an erasure");
                replace_file(files, &lost.path, &[])
            }
        }
    }

    /// The version of the last record of a hash that is known to be trimmed, up to this one.
    pub(in crate::broker) fn retired_version(
        &self,
        partition: &PartitionRef,
        hash: KeyHash,
        through: Version,
    ) -> Version {
        let files = lock(&partition.partition().next).keys.files.clone();
        let facts = files
            .retired
            .as_ref()
            .and_then(|retired| retired.facts(hash, Version::NONE).ok());
        let versions = facts
            .into_iter()
            .flatten()
            .map_while(Result::ok)
            .map(|fact| fact.version);
        versions
            .filter(|version| *version <= through)
            .max()
            .unwrap_or(Version::NONE)
    }
}
