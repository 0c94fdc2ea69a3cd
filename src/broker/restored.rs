//! Brings a restored directory forward by journal entries that a backup has.

use super::{Broker, Options};
use crate::{
    env::Env,
    storage::{
        backup::Kept,
        checkpoint::{self, Found},
        format::entry::{self, Item},
        journal::{self, Covered, Journal, Tip},
    },
};

/// Entries are written together up to this many bytes.
const TOGETHER_BYTES: u64 = 1 << 20;

/// Applies entries to a data directory that nobody serves.
struct Applying<'a> {
    env: &'a Env,
    options: &'a Options,
    journal: Option<Journal>,
    entries: Vec<Vec<Item>>,
    bytes: u64,
}

impl Broker {
    /// Applies kept entries to the data directory of these options, as a start applies its journal,
    /// and makes the erasures behind them.
    pub(crate) fn apply_kept(env: &Env, options: &Options, kept: &Kept<'_>) -> Result<(), String> {
        let mut applying = Applying {
            env,
            options,
            journal: None,
            entries: Vec::new(),
            bytes: 0,
        };
        kept.apply(|items| applying.take(items))?;
        for change in kept.to_erase() {
            applying.take(vec![Item::Change(change.clone())])?;
        }
        applying.write()?;
        applying.recover()
    }
}

impl Applying<'_> {
    /// Takes an entry, which may be empty: its number counts all the same.
    fn take(&mut self, items: Vec<Item>) -> Result<(), String> {
        let bytes = entry::encoded_len(&items) as u64;
        let capacity = self.options.journal().capacity();
        if self.bytes + bytes > capacity.min(TOGETHER_BYTES) {
            self.write()?;
        }
        if bytes > capacity {
            return Err(format!("an entry has {bytes} bytes, more than {capacity}"));
        }
        self.bytes += bytes;
        self.entries.push(items);
        Ok(())
    }

    /// Writes what was taken to the journal. Where that is full, it is recovered first.
    fn write(&mut self) -> Result<(), String> {
        if self.entries.is_empty() {
            return Ok(());
        }
        for may_recover in [true, false] {
            let mut journal = match self.journal.take() {
                Some(journal) => journal,
                None => self.open()?,
            };
            let mut group: Vec<&mut [Item]> = Vec::with_capacity(self.entries.len());
            for entry in &mut self.entries {
                group.push(entry);
            }
            let written = journal.write(&mut group, false);
            self.journal = Some(journal);
            match written {
                Err(journal::Error::Full) if may_recover => self.recover()?,
                written => {
                    written.map_err(|error| error.to_string())?;
                    break;
                }
            }
        }
        self.entries.clear();
        self.bytes = 0;
        Ok(())
    }

    fn open(&self) -> Result<Journal, String> {
        let root = &self.options.data_dir;
        let loaded = checkpoint::load(&*self.env.files, &root.join("checkpoint"), |_, _| {
            Ok::<_, super::OpenError>(())
        });
        let (found, _) = loaded.map_err(|error| error.to_string())?;
        let Found::Whole(checkpoint) = found else {
            return Err("the checkpoint is damaged".to_owned());
        };
        let options = self.options.journal();
        let covered = Covered::by(&checkpoint);
        let ring = journal::open(self.env, &root.join("journal"), options, Some(covered));
        let tip = Tip {
            sequence: checkpoint.applied,
            checksum: 0,
        };
        let ring = ring.map_err(|error| error.to_string())?;
        ring.release_before(checkpoint.journal_file);
        Ok(Journal::new(ring, options, tip))
    }

    /// Starts on the directory and stops again: all that was written is in segments then.
    fn recover(&mut self) -> Result<(), String> {
        if let Some(mut journal) = self.journal.take() {
            journal.sync().map_err(|error| error.to_string())?;
        }
        let opened = Broker::open_stepped(self.env.clone(), self.options.clone());
        let broker = opened.map_err(|error| error.to_string())?;
        broker.close().map_err(|error| error.to_string())
    }
}
