//! Inspecting data directories, sound and damaged.

mod damaged;
mod keys;
mod refused;
mod sound;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::{
    catalog::Change,
    env::Open,
    storage::{
        checkpoint as checkpoint_file,
        data_dir::DataDir,
        files::replace_file,
        format::{
            checkpoint::{Checkpoint as Content, Topic as CheckpointTopic},
            entry::Item,
            frame::Frame,
            tests::samples::{TOPIC, frame_of_topic, record},
        },
        journal::{self, Journal, Ring, Tip},
        log::{Log, LogLock, OpenSegments, Writer},
    },
    types::TopicSettings,
};

/// A damage: the file's name, the lost offsets, the kind.
type Listed = (String, Option<(u64, u64)>, DamageKind);

/// A data directory with one topic of two partitions, written the way a broker writes it.
struct Directory {
    temp: TempDir,
    env: Env,
    data: DataDir,
    ring: std::sync::Arc<Ring>,
    journal: Journal,
    segments: OpenSegments,
    logs: Vec<(LogLock, Writer)>,
    settings: TopicSettings,
}

impl Directory {
    fn new() -> Self {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let env = Env::system();
        let data = DataDir::open(&env, temp.path()).expect("an empty directory");
        let options = journal::Options {
            file_bytes: 64 << 10,
            files: 3,
        };
        let ring = journal::open(&env, &data.journal(), options, None).expect("an empty directory");
        let journal = Journal::new(ring.clone(), options, Tip::default());
        let one = frame(0, 0).bytes().len() as u64;
        let settings = TopicSettings {
            segment_bytes: 64 + 4 * one,
            ..TopicSettings::default()
        };
        let log = |partition: u32| {
            let identity = log::Identity {
                topic: TOPIC,
                partition: PartitionId(partition),
            };
            let log = Log::new(identity, data.topic(TOPIC).into());
            (LogLock::new(log), Writer::default())
        };
        let logs = vec![log(0), log(1)];
        Self {
            segments: OpenSegments::new(env.clone(), 8),
            temp,
            env,
            data,
            ring,
            journal,
            logs,
            settings,
        }
    }

    /// A directory whose partition 0 has five segments of four frames that a checkpoint covers, and
    /// three frames behind it; partition 1 is empty.
    fn filled() -> Self {
        let mut dir = Self::new();
        dir.create();
        dir.append(0, 20);
        dir.checkpoint();
        dir.append(0, 3);
        dir
    }

    fn create(&mut self) {
        let (topic, name) = (TOPIC, name());
        let change = Change::Create {
            topic,
            seed: 0,
            name: name.clone(),
            partitions: 2,
            settings: TopicSettings::default(),
        };
        self.commit(vec![Item::Change(change)]);
        let path = self.data.topic(TOPIC);
        self.env.files.create_dir(&path).expect("a new topic");
        let starts = vec![Offset(0); 2];
        let file = TopicFile {
            id: TOPIC,
            seed: 0,
            name,
            settings: TopicSettings::default(),
            starts,
            erasures: vec![],
            key_trims: vec![],
        };
        replace_file(&*self.env.files, &path.join("topic"), &file.encode()).expect("room");
    }

    fn commit(&mut self, mut items: Vec<Item>) {
        self.journal
            .write(&mut [&mut items], true)
            .expect("the journal has room");
    }

    /// Appends frames of two records each.
    fn append(&mut self, partition: usize, frames: usize) {
        for _ in 0..frames {
            let base = self.logs[partition].0.lock().end();
            let frame = frame(u32::try_from(partition).expect("0 or 1"), base.0);
            self.commit(vec![Item::Frame(frame.clone())]);
            self.logs[partition].0.lock().apply(frame, None);
        }
    }

    fn trim(&mut self, before: u64) {
        let before = Offset(before);
        self.commit(vec![Item::Change(Change::Trim {
            topic: TOPIC,
            partition: PartitionId(0),
            before,
        })]);
        self.logs[0].0.lock().trim(before);
    }

    fn write_out(&mut self) {
        for (log, writer) in &mut self.logs {
            let mut write_some = || {
                writer.write_some(
                    log,
                    &self.segments,
                    &self.settings,
                    Offset(u64::MAX),
                    u64::MAX,
                )
            };
            while write_some().expect("room") > 0 {}
            writer.sync(log, &self.segments).expect("room");
        }
    }

    fn checkpoint(&mut self) {
        self.write_out();
        let applied = self.journal.sequence();
        let partitions = self
            .logs
            .iter()
            .map(|(log, _)| log.lock().checkpoint())
            .collect();
        let topic = CheckpointTopic {
            id: TOPIC,
            seed: 0,
            name: name(),
            settings: TopicSettings::default(),
            partitions,
        };
        let content = Content {
            applied,
            journal_file: self.ring.file_of(applied + 1),
            topics: vec![topic],
            ..Content::default()
        };
        checkpoint_file::tests::store(&*self.env.files, &self.data.checkpoint(), &content)
            .expect("room");
        self.ring.release_before(content.journal_file);
    }

    fn root(&self) -> &Path {
        self.temp.path()
    }

    fn inspect(&self, verify: bool) -> Report {
        inspect(&self.env, self.root(), verify).expect("a directory of ours")
    }

    /// The damage that an inspection finds when it checks all frames: file name, offsets, kind.
    fn damage(&self) -> Vec<Listed> {
        names(&self.inspect(true).damage)
    }

    fn segment(&self, base: u64) -> PathBuf {
        log::Name::first(Offset(base)).path(&self.data.topic(TOPIC).join("0"))
    }

    fn flip(&self, path: &Path, position: u64) {
        let file = self
            .env
            .files
            .open(path, Open::Write)
            .expect("there is one");
        let mut byte = [0];
        file.read_exact_at(&mut byte, position)
            .expect("the file is long enough");
        file.write_all_at(&[&[byte[0] ^ 8]], position)
            .expect("room");
    }

    /// Every file and directory with its content.
    fn content(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let mut all = BTreeMap::new();
        let mut dirs = vec![self.root().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in self.env.files.read_dir(&dir).expect("a directory") {
                let path = dir.join(&entry.name);
                let content = if entry.is_dir {
                    None
                } else {
                    read_file(&*self.env.files, &path).expect("readable")
                };
                if entry.is_dir {
                    dirs.push(path.clone());
                }
                all.insert(path, content);
            }
        }
        all
    }
}

fn names(damage: &[Damage]) -> Vec<Listed> {
    let name = |path: &Path| {
        path.file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    };
    let offsets = |damage: &Damage| {
        damage
            .offsets
            .as_ref()
            .map(|offsets| (offsets.start.0, offsets.end.0))
    };
    damage
        .iter()
        .map(|damage| (name(&damage.path), offsets(damage), damage.kind.clone()))
        .collect()
}

fn name() -> TopicName {
    TopicName::new("flights").expect("a valid name")
}

fn frame(partition: u32, base: u64) -> Frame {
    let records = [record(vec![1; 60], 5), record(vec![2; 60], 6)];
    frame_of_topic(TOPIC, PartitionId(partition), Offset(base), 1_000, &records)
}
