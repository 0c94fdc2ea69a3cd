//! Restores a commit between two backups: the earlier one, and the journal entries from there on.
//!
//! This copies the earlier backup and says which entries follow; the caller applies them, because
//! that is what a broker does at a start.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    Error, Found, Range,
    before::{Before, entries_between, entries_of},
    checksum_of,
    receive::{find_marked, open_to_read},
    restore::{
        CHECKPOINT, Halt, Restored, Source, checkpoint_at, erasures, find_whole, hold, make,
        refuse_other,
    },
};
use crate::{
    catalog::{Change, KnownErasure},
    env::FileSystem,
    storage::{
        format::{backup_mark::BackupMark, checkpoint::Checkpoint, entry::Item},
        journal::Entries,
    },
    types::{AppendsFrom, PartitionId},
};

/// Where a restore ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    Commit(u64),
    /// The last commit at or before this time, in milliseconds since 1970.
    TimeMs(i64),
}

/// The entries that a restore applies.
pub(crate) struct Kept<'a> {
    files: &'a dyn FileSystem,
    paths: Vec<PathBuf>,
    /// The last entry that the earlier backup has.
    base: u64,
    /// The last entry to apply.
    last: u64,
    /// The earlier backup's checkpoint.
    checkpoint: Checkpoint,
    /// What is erased, by the ids of the erasures.
    erasures: BTreeMap<u64, KnownErasure>,
    /// The erasures to be made behind the last entry.
    to_erase: Vec<Change>,
    halt: &'a Halt,
}

/// Restores the backup before the one in `from`, for `apply` to bring it to the commit where it is
/// to end. What both backups' directory and `erasures_of` know as erased is erased in it as well.
pub(crate) fn restore_until(
    files: &dyn FileSystem,
    from: &Path,
    to: &Path,
    (until, erasures_of): (Until, Option<&Path>),
    apply: &mut dyn FnMut(&Path, &Kept<'_>) -> Result<(), String>,
    halt: &Halt,
) -> Result<Restored, Error> {
    refuse_other(files, from)?;
    let _held = hold(files, from)?;
    let found = find_whole(files, from)?;
    let later = &found.mark;
    let (mut kept, before) = Kept::open(files, from, &found, halt)?;
    let earlier = &before.mark;
    kept.know(erasures(files, from, later)?);
    if let Some(other) = erasures_of {
        kept.know(erasures(files, other, later)?);
    }
    let end = kept.find_end(until, earlier, later)?;
    let (commit, at_ms) = end.ok_or_else(|| Error::OutOfRange {
        path: from.to_owned(),
        range: Range::between(earlier, later),
    })?;
    kept.last = commit;
    let mut sources = Vec::with_capacity(earlier.files.len());
    for file in earlier
        .files
        .iter()
        .filter(|file| entries_of(&file.path).is_none())
    {
        sources.push(Source {
            path: before.place(files, from, file)?,
            may_be_longer: true,
            file: file.clone(),
        });
    }
    let mut restored = Restored {
        commit,
        taken_ms: at_ms,
        files: 0,
        bytes: 0,
        erased: 0,
    };
    make(files, to, sources, &mut restored, halt, |dir| {
        kept.find_to_erase()?;
        let applied = apply(dir, &kept);
        halt.check(Some(dir))?;
        applied.map_err(Error::NotApplied)?;
        Ok(kept.to_erase.len() as u64)
    })?;
    Ok(restored)
}

impl<'a> Kept<'a> {
    /// Finds the backup before the later one, and the entries between them.
    fn open(
        files: &'a dyn FileSystem,
        from: &Path,
        found: &Found,
        halt: &'a Halt,
    ) -> Result<(Self, Before), Error> {
        let no_range = || Error::NoRange {
            path: from.to_owned(),
            commit: found.mark.commit,
        };
        let before = Before::find(files, from, found)?.ok_or_else(no_range)?;
        let earlier = &before.mark;
        let between = entries_between(earlier, &found.mark).ok_or_else(no_range)?;
        let mut paths = Vec::with_capacity(between.len());
        for file in between {
            halt.check(None)?;
            let path = found.place(files, from, file)?;
            let (open, len) = match open_to_read(files, &path) {
                Err(error) if error.source.kind() == ErrorKind::NotFound => {
                    return Err(Error::Damaged { path });
                }
                opened => opened?,
            };
            if len != file.len || checksum_of(&open, &path, len)? != file.checksum {
                return Err(Error::Damaged { path });
            }
            paths.push(path);
        }
        let marked = find_marked(earlier, CHECKPOINT);
        let path = match marked {
            Some(file) => before.place(files, from, file)?,
            None => from.join(CHECKPOINT),
        };
        let kept = Self {
            files,
            paths,
            base: earlier.commit,
            last: earlier.commit,
            checkpoint: checkpoint_at(files, path, marked)?,
            erasures: BTreeMap::new(),
            to_erase: Vec::new(),
            halt,
        };
        Ok((kept, before))
    }

    fn know(&mut self, erasures: Vec<KnownErasure>) {
        for known in erasures {
            self.erasures.insert(known.erasure.id, known);
        }
    }

    /// Finds the last entry to apply, and its time; `None` if it is not among those there are.
    fn find_end(
        &self,
        until: Until,
        earlier: &BackupMark,
        later: &BackupMark,
    ) -> Result<Option<(u64, i64)>, Error> {
        let mut sequence = earlier.commit;
        let mut time = earlier.taken_ms;
        let mut found = (sequence, time);
        let mut importing = BTreeSet::new();
        for topic in &self.checkpoint.topics {
            if topic.settings.appends == AppendsFrom::Import {
                importing.insert(topic.id);
            }
        }
        self.each(later.commit, &mut |items| {
            sequence += 1;
            let mut own = None;
            for item in items {
                match item {
                    Item::Frame(frame) => {
                        let header = frame.header();
                        let at_ms = header.append_time_ms;
                        if !importing.contains(&header.topic) {
                            own = Some(own.unwrap_or(at_ms).min(at_ms));
                        }
                    }
                    Item::Change(
                        Change::Create {
                            topic, settings, ..
                        }
                        | Change::Alter { topic, settings },
                    ) => match settings.appends {
                        AppendsFrom::Import => _ = importing.insert(topic),
                        AppendsFrom::Clients => _ = importing.remove(&topic),
                    },
                    Item::Change(_) => {}
                }
            }
            // A change of the catalog has no time, and records that were imported have an earlier
            // one: they count as committed when the next record was appended. Times are given
            // before commits are ordered, so a later commit may have an earlier one.
            time = own.unwrap_or(time);
            let is_before = match until {
                Until::Commit(commit) => sequence <= commit,
                Until::TimeMs(ms) => own.is_some_and(|own| own <= ms),
            };
            if is_before {
                found = (sequence, time);
            }
            Ok(())
        })?;
        let is_there = match until {
            Until::Commit(commit) => (earlier.commit..=later.commit).contains(&commit),
            Until::TimeMs(ms) => (earlier.taken_ms..=later.taken_ms).contains(&ms),
        };
        if until == Until::TimeMs(later.taken_ms) || found.0 == later.commit {
            found = (later.commit, later.taken_ms);
        }
        Ok(is_there.then_some(found))
    }

    /// Finds what is still to be erased behind the last entry.
    fn find_to_erase(&mut self) -> Result<(), Error> {
        let mut ends = BTreeMap::new();
        for topic in &self.checkpoint.topics {
            for (number, partition) in (0..).zip(&topic.partitions) {
                ends.insert((topic.id, PartitionId(number)), partition.end);
            }
        }
        let mut is_known = BTreeSet::new();
        for known in &self.checkpoint.erasures {
            is_known.insert(known.erasure.id);
        }
        self.each(self.last, &mut |items| {
            for item in items {
                match item {
                    Item::Frame(frame) => {
                        let header = frame.header();
                        ends.insert((header.topic, header.partition), header.end());
                    }
                    Item::Change(Change::Delete { topic }) => {
                        ends.retain(|(of, _), _| *of != topic);
                    }
                    Item::Change(Change::Erase { erasure, .. }) => {
                        is_known.insert(erasure.id);
                    }
                    Item::Change(_) => {}
                }
            }
            Ok(())
        })?;
        for (id, known) in &self.erasures {
            let mut erasure = known.erasure.clone();
            let end = ends.get(&(known.topic, erasure.partition));
            let Some(end) = end.filter(|end| end.0 > 0 && !is_known.contains(id)) else {
                continue;
            };
            // Records behind the end are not those that were erased.
            erasure.end = erasure.end.min(*end);
            self.to_erase.push(Change::Erase {
                topic: known.topic,
                erasure,
            });
        }
        Ok(())
    }

    /// Calls `apply` with the items of every entry up to the last one, in order.
    pub(crate) fn apply(
        &self,
        mut apply: impl FnMut(Vec<Item>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut refused = None;
        let read = self.each(self.last, &mut |items| {
            if refused.is_none() {
                refused = apply(items.into_iter().filter(is_to_be_applied).collect()).err();
            }
            Ok(())
        });
        match refused {
            Some(refused) => Err(refused),
            None => read.map_err(|error| error.to_string()),
        }
    }

    /// The erasures to be made behind the last entry.
    pub(crate) fn to_erase(&self) -> &[Change] {
        &self.to_erase
    }

    fn each(
        &self,
        last: u64,
        each: &mut dyn FnMut(Vec<Item>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut next = self.base + 1;
        for path in &self.paths {
            if next > last {
                return Ok(());
            }
            let damaged = || Error::Damaged { path: path.clone() };
            let found = Entries::of_kept(self.files, path)?;
            let mut entries = found.ok_or_else(damaged)?;
            while next <= last {
                self.halt.check(None)?;
                let Some((_, entry)) = entries.next()? else {
                    break;
                };
                if entry.link.sequence != next || !entry.is_whole() {
                    return Err(damaged());
                }
                next += 1;
                each(entry.items.into_iter().flatten().collect())?;
            }
        }
        match next > last {
            true => Ok(()),
            false => Err(Error::Unfit(format!("journal entry {next} is missing"))),
        }
    }
}

/// The earlier backup has the bytes of what was erased or trimmed later: it has to be done again.
fn is_to_be_applied(item: &Item) -> bool {
    !matches!(
        item,
        Item::Change(Change::ErasureComplete { .. } | Change::KeysTrimmed { .. })
    )
}
