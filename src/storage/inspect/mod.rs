//! Reports what a data directory has, without writing to it.
//!
//! Files are opened for reading only, so this works on a read-only copy. A directory changes while
//! a broker uses it; [`inspect_quiet`] refuses such a directory. If files change nevertheless, the
//! worst that happens is that they are reported as damaged.
//!
//! The reported state is what the next start would find: the checkpoint, then the journal behind
//! it. Damage never ends the inspection; it is listed.
//!
//! Reading order: `report.rs`, the answer; this page; `journal.rs`; `partition.rs`; `keys.rs`.

mod journal;
mod keys;
mod partition;
mod report;
mod rows;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) use report::*;

use self::journal::Tail;
use super::{
    backup, checkpoint as checkpoint_file, data_dir,
    files::{Action, FileError, read_file},
    format::{
        VERSION, VERSION_WITH_BLOCKS,
        checkpoint::{self, Partition as CheckpointPartition},
        frame::Header,
        identity::Identity,
        topic_file::TopicFile,
    },
    keys::hash::KeyHasher,
    log,
    ownership::{self, Found},
};
use crate::{
    catalog::{self, Catalog, Change, Snapshot, Topics, producers::Room},
    env::Env,
    types::{Offset, PartitionId, TopicId, TopicName},
};

/// Why nothing can be reported about a directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("directory {} is not there, or empty: no broker has used it yet", path.display())]
    Empty { path: PathBuf },
    #[error(transparent)]
    DataDir(#[from] data_dir::Error),
    #[error(transparent)]
    Backup(#[from] backup::Error),
}

/// What is known of a partition without reading its segments.
struct KnownPartition {
    at: CheckpointPartition,
    tail: Tail,
}

/// The state according to checkpoint and journal.
struct State {
    catalog: Catalog,
    /// How far the logs of each topic reach.
    partitions: BTreeMap<TopicId, Vec<KnownPartition>>,
}

impl State {
    /// Loads the state from the checkpoint, or from the topics' own files if there is none.
    fn load(env: &Env, checkpoint: Option<&checkpoint::Checkpoint>, dirs: &TopicDirs) -> Self {
        let snapshot = match checkpoint {
            Some(checkpoint) => checkpoint.snapshot(|topic| !dirs.is_deleted(topic)),
            None => snapshot_of_files(env, dirs),
        };
        let mut partitions = BTreeMap::new();
        for topic in &snapshot.topics {
            let of_topic = topic
                .starts
                .iter()
                .map(|start| KnownPartition::from(*start));
            partitions.insert(topic.id, of_topic.collect());
        }
        for topic in checkpoint.map_or(&[][..], |checkpoint| &checkpoint.topics) {
            let of_topic = topic.partitions.iter().map(|at| KnownPartition {
                at: *at,
                tail: Tail::default(),
            });
            partitions.insert(topic.id, of_topic.collect());
        }
        Self {
            catalog: Catalog::restore(snapshot, Room::MOST, Duration::ZERO),
            partitions,
        }
    }

    /// Applies a change from the journal.
    fn apply(&mut self, change: &Change) {
        self.catalog.apply(change, Duration::ZERO);
        if let Change::Create {
            topic, partitions, ..
        } = change
        {
            let empty = (0..*partitions).map(|_| KnownPartition::from(Offset::ZERO));
            self.partitions
                .entry(*topic)
                .or_insert_with(|| empty.collect());
        }
        if let Change::AddPartitions { topic, partitions } = change
            && let Some(known) = self.partitions.get_mut(topic)
        {
            for _ in known.len()..usize::try_from(*partitions).unwrap_or(usize::MAX) {
                known.push(KnownPartition::from(Offset::ZERO));
            }
        }
    }

    /// Applies a frame from the journal.
    fn apply_frame(&mut self, frame: &Header) {
        if let Some(batch) = frame.batch {
            let (topic, partition) = (frame.topic, frame.partition);
            let (producer, epoch) = (batch.producer, batch.epoch);
            self.catalog
                .apply_batch(producer, epoch, topic, partition, batch.sequence);
        }
        if let Some((_, partition)) = self.find(frame) {
            partition.tail.add(frame.base..frame.end());
            partition.tail.records += u64::from(frame.count);
        }
    }

    /// The partition of a frame, with the name of its topic, if the topic exists.
    fn find(&mut self, frame: &Header) -> Option<(TopicName, &mut KnownPartition)> {
        let name = self.catalog.topics().get(frame.topic)?.name.clone();
        let at = usize::try_from(frame.partition.0).ok()?;
        let partition = self.partitions.get_mut(&frame.topic)?.get_mut(at)?;
        Some((name, partition))
    }

    /// The partitions of a topic.
    fn partitions_of(&mut self, topic: &catalog::Topic) -> Vec<KnownPartition> {
        let mut partitions = self.partitions.remove(&topic.id).unwrap_or_default();
        for (partition, start) in partitions.iter_mut().zip(&topic.starts) {
            partition.at.start = *start;
        }
        partitions
    }

    /// How many trims of entities are not complete, by partition.
    fn key_trims(&self) -> Vec<KeyTrims> {
        let trims = self.catalog.key_trims();
        let mut described = Vec::new();
        for (topic, partition) in trims.places() {
            let Some(known) = self.catalog.topics().get(topic) else {
                continue;
            };
            described.push(KeyTrims {
                topic: known.name.clone(),
                partition,
                waiting: trims.of_partition((topic, partition)).count() as u64,
            });
        }
        described
    }

    /// The erasures that are not complete.
    fn erasures(&self) -> Vec<Erasure> {
        let mut described = Vec::new();
        for known in self.catalog.erasures().waiting() {
            let Some(topic) = self.catalog.topics().get(known.topic) else {
                continue;
            };
            described.push(Erasure {
                id: known.erasure.id,
                topic: topic.name.clone(),
                partition: known.erasure.partition,
                requested_ms: known.erasure.requested_ms,
            });
        }
        described
    }
}

impl KnownPartition {
    /// An empty partition that starts and ends here.
    fn from(start: Offset) -> Self {
        Self {
            at: CheckpointPartition {
                start,
                end: start,
                ..CheckpointPartition::EMPTY
            },
            tail: Tail::default(),
        }
    }
}

/// The topics according to their own files.
fn snapshot_of_files(env: &Env, dirs: &TopicDirs) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let present = dirs.present.iter();
    for (id, dir) in present.filter(|(id, _)| !dirs.is_deleted(*id)) {
        let Ok(Some(bytes)) = read_file(&*env.files, &dir.join("topic")) else {
            continue;
        };
        if let Some(file) = TopicFile::decode(&bytes).filter(|file| file.id == *id) {
            file.add_to(&mut snapshot);
        }
    }
    snapshot
}

/// As [`inspect`], but refuses a directory that a broker uses, and keeps brokers away meanwhile.
pub(crate) fn inspect_quiet(env: &Env, dir: &Path, verify: bool) -> Result<Report, Error> {
    // A directory that is missing, or not ours, is reported by `inspect` below.
    let is_there = |file: &Path| env.files.exists(file).unwrap_or(false);
    if is_there(&dir.join(backup::MARK)) || is_there(&dir.join(backup::INCOMING)) {
        backup::refuse_special(&*env.files, dir)?;
    }
    let _quiet = match is_there(&ownership::path(dir)) || is_there(&dir.join("checkpoint")) {
        true => Some(data_dir::Quiet::hold(env, dir)?),
        false => None,
    };
    inspect(env, dir, verify)
}

/// Inspects the data directory `dir`. With `verify`, every frame of every segment is checked;
/// otherwise segments are read only as far as their indexes leave questions. The journal is always
/// checked.
pub(crate) fn inspect(env: &Env, dir: &Path, verify: bool) -> Result<Report, Error> {
    let mut damage = Vec::new();
    let (id, version) = identify(env, dir, &mut damage)?;
    let (checkpoint, found) = load_checkpoint(env, dir, id, &mut damage)?;
    let dirs = TopicDirs::list(env, &dir.join("topics"))?;
    let mut state = State::load(env, found.as_ref(), &dirs);
    let look = journal::look(
        env,
        &dir.join("journal"),
        found.as_ref(),
        &mut state,
        &mut damage,
    )?;

    let whole = found.is_some() && !look.damaged;
    let topics: Vec<catalog::Topic> = state.catalog.topics().iter().cloned().collect();
    let mut reports: Vec<Topic> = Vec::new();
    for topic in topics {
        let (id, name) = (topic.id, &topic.name);
        let dir = dir.join("topics").join(id.to_string());
        check_topic_file(env, id, name, &dir, &mut damage);
        let mut partitions = Vec::new();
        for (number, known_partition) in (0..).zip(state.partitions_of(&topic)) {
            let identity = log::Identity {
                topic: id,
                partition: PartitionId(number),
            };
            let dir = dir.join(identity.partition.to_string());
            let hasher = KeyHasher::new(id, topic.seed);
            let place = partition::Place {
                dir,
                identity,
                topic: name,
                hasher: &hasher,
                fingerprint: hasher.fingerprint(),
                whole,
                verify,
            };
            partitions.push(partition::look(env, &place, &known_partition, &mut damage));
        }
        reports.push(Topic {
            id,
            name: topic.name,
            settings: topic.settings,
            partitions,
        });
    }
    Ok(Report {
        // A restore says what is wrong with a mark.
        backup: backup::taken(&*env.files, dir).unwrap_or(None),
        id: id.map(|identity| identity.id),
        version,
        checkpoint,
        journal: look.journal,
        producers: state.catalog.producers.used().producers as u64,
        groups: state.catalog.groups().len() as u64,
        group_offsets: state.catalog.groups().offsets() as u64,
        erasures: state.erasures(),
        key_trims: state.key_trims(),
        topics: reports,
        leftovers: dirs.leftovers(state.catalog.topics()),
        damage,
    })
}

/// Which directory it is, if that can be found out, and the version of its formats. Fails if it is
/// not ours, or has an unknown version.
fn identify(
    env: &Env,
    dir: &Path,
    damage: &mut Vec<Damage>,
) -> Result<(Option<Identity>, u32), Error> {
    match ownership::find(env, dir)? {
        Found::Told { identity, version } => Ok((Some(identity), version)),
        Found::Lost { named, has_blocks } => {
            damage.push(Damage::of_file(&ownership::path(dir), DamageKind::Identity));
            let version = match has_blocks {
                true => VERSION_WITH_BLOCKS,
                false => VERSION,
            };
            Ok((named.map(|(identity, _)| identity), version))
        }
        Found::New => Err(Error::Empty {
            path: dir.to_owned(),
        }),
    }
}

fn load_checkpoint(
    env: &Env,
    dir: &Path,
    id: Option<Identity>,
    damage: &mut Vec<Damage>,
) -> Result<(Checkpoint, Option<checkpoint::Checkpoint>), Error> {
    let is_ours = |path: &Path, named| match id {
        Some(id) => ownership::check_same(dir, id, path, named),
        None => Ok(()),
    };
    let path = dir.join("checkpoint");
    let read = |path: &Path| Ok(read_or_list(env, path, damage));
    // If the directory cannot be listed, a later step reports that.
    let newest = checkpoint_file::newest_deltas(&*env.files, &path).unwrap_or_default();
    let looked = checkpoint_file::look(&path, newest, read, is_ours)?;
    let latest = match looked.found {
        checkpoint_file::Found::Whole(latest) => Some(latest),
        checkpoint_file::Found::None | checkpoint_file::Found::Damaged => None,
    };
    let kind = if latest.is_some() {
        DamageKind::CheckpointCopy
    } else {
        DamageKind::Checkpoint
    };
    for path in &looked.damaged {
        damage.push(Damage::of_file(path, kind.clone()));
    }
    let copies = looked.copies;
    let applied = latest.as_ref().map(|latest| latest.applied);
    let journal_file = latest.as_ref().map(|latest| latest.journal_file);
    let checkpoint = Checkpoint {
        copies,
        applied,
        journal_file,
    };
    Ok((checkpoint, latest))
}

/// A file's content; one that cannot be read is listed as damage.
fn read_or_list(env: &Env, path: &Path, damage: &mut Vec<Damage>) -> Option<Vec<u8>> {
    read_file(&*env.files, path).unwrap_or_else(|error| {
        damage.push(Damage::of_file(
            path,
            DamageKind::Unreadable {
                cause: error.source.to_string(),
            },
        ));
        None
    })
}

/// The directories of topics, deleted ones apart.
struct TopicDirs {
    present: Vec<(TopicId, PathBuf)>,
    deleted: Vec<(TopicId, PathBuf)>,
}

impl TopicDirs {
    fn list(env: &Env, path: &Path) -> Result<Self, data_dir::Error> {
        let mut dirs = Self {
            present: Vec::new(),
            deleted: Vec::new(),
        };
        let there = env
            .files
            .exists(path)
            .map_err(FileError::when(Action::LookFor, path))?;
        let entries = if there {
            env.files.read_dir(path)
        } else {
            Ok(Vec::new())
        };
        for entry in entries.map_err(FileError::when(Action::List, path))? {
            let (stem, list) = match entry.name.strip_suffix(".deleted") {
                Some(stem) => (stem, &mut dirs.deleted),
                None => (&entry.name[..], &mut dirs.present),
            };
            // A topic may be marked as deleted by a file.
            let counts = entry.is_dir || stem.len() < entry.name.len();
            if let Some(id) = data_dir::parse_topic(stem).filter(|_| counts) {
                list.push((id, path.join(&entry.name)));
            }
        }
        Ok(dirs)
    }

    fn is_deleted(&self, id: TopicId) -> bool {
        self.deleted.iter().any(|(deleted, _)| *deleted == id)
    }

    fn leftovers(self, topics: &Topics) -> Vec<PathBuf> {
        let unknown = self
            .present
            .into_iter()
            .filter(|(id, _)| topics.get(*id).is_none());
        unknown.chain(self.deleted).map(|(_, path)| path).collect()
    }
}

/// Lists a topic's file that is damaged. A topic that was created behind the checkpoint need not
/// have one.
fn check_topic_file(
    env: &Env,
    id: TopicId,
    name: &TopicName,
    dir: &Path,
    damage: &mut Vec<Damage>,
) {
    let path = dir.join("topic");
    let Some(bytes) = read_or_list(env, &path, damage) else {
        return;
    };
    if TopicFile::decode(&bytes).is_none_or(|file| file.id != id) {
        damage.push(Damage {
            topic: Some(name.clone()),
            ..Damage::of_file(&path, DamageKind::TopicFile)
        });
    }
}
