//! The files of a partition's key index: finding them at a start, and removing them.

use std::{
    cmp::Reverse,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Damaged, Unusable,
    earlier::{self, Earlier},
    last_versions::{LastVersions, Lost},
    new_file::NEW,
    sorted_table::{Kind, SortedTable, covered_by_stem, named, table_path},
};
use crate::{
    env::FileSystem,
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_file},
        freeing::{Freeing, Leaving},
        log::Identity,
    },
    types::Offset,
};

/// What a partition's directory has of its key index.
pub(crate) struct Found {
    /// Tables of records in the order of their offsets, no two of which overlap.
    pub(crate) runs: Vec<Arc<SortedTable>>,
    /// The offsets of the log, and any between tables before it, that no table covers.
    pub(crate) gaps: Vec<Range<Offset>>,
    pub(crate) last_versions: LastVersions,
    /// Files that must be removed ([`remove`]) before anything is appended to the log.
    pub(crate) stale: Vec<PathBuf>,
}

/// The partition whose index it is.
#[derive(Clone, Copy)]
pub(crate) struct Owner<'a> {
    pub(crate) files: &'a dyn FileSystem,
    pub(crate) dir: &'a Path,
    pub(crate) identity: Identity,
    /// The fingerprint of the hasher that made the hashes.
    pub(crate) fingerprint: u64,
}

/// Finds the index of a log with the offsets `log`. Tables of last versions must exist for all
/// numbers up to `through`.
///
/// Of tables that overlap, those that reach further are used: a crash at the end of a merge leaves
/// the result beside what was merged. Tables of records that reach beyond the end of the log are
/// stale: they have rows of records that were not durable, whose offsets other records will get.
/// Tables below the start of the log are not stale, because rows of trimmed records may still be
/// needed.
pub(crate) fn list(owner: Owner<'_>, log: Range<Offset>, through: u64) -> Result<Found, FileError> {
    let names = Names::list(owner.files, owner.dir)?;
    let (last_versions, stale) = find_last_versions(owner, &names, through)?;
    let mut found = Found {
        runs: Vec::new(),
        gaps: Vec::new(),
        last_versions,
        stale,
    };
    found.stale.extend(names.unfinished);
    let mut covered = 0;
    for (range, path) in names.records {
        if range.start < covered || range.end > log.end.0 {
            found.stale.push(path);
            continue;
        }
        match open(owner, &path)? {
            Ok(run) => {
                covered = run.to().0;
                found.runs.push(Arc::new(run));
            }
            Err(error) => {
                tracing::warn!(%error, "a part of a key index cannot be used and is rebuilt");
                found.stale.push(path);
            }
        }
    }
    found.gaps = gaps(&found.runs, log);
    Ok(found)
}

/// Finds the tables of last versions again, without the rest.
pub(crate) fn list_last_versions(
    owner: Owner<'_>,
    through: u64,
) -> Result<LastVersions, FileError> {
    let names = Names::list(owner.files, owner.dir)?;
    Ok(find_last_versions(owner, &names, through)?.0)
}

/// The highest number in the names of tables of last versions; 0 if there are none. Used where no
/// checkpoint says which tables must exist.
pub(crate) fn highest_number(files: &dyn FileSystem, dir: &Path) -> Result<u64, FileError> {
    let names = Names::list(files, dir)?;
    let of_tables = names.last_versions.iter().map(|(range, _)| range.end - 1);
    let of_earlier = names.earlier.iter().map(|(number, _)| *number);
    Ok(of_tables.chain(of_earlier).max().unwrap_or(0))
}

/// Removes files of an index, durably: if a stale table came back after more was appended, it would
/// hide the new records.
pub(crate) fn remove(
    files: &dyn FileSystem,
    dir: &Path,
    paths: &[PathBuf],
) -> Result<(), FileError> {
    if paths.is_empty() {
        return Ok(());
    }
    paths.iter().try_for_each(|path| remove_file(files, path))?;
    sync(files, dir)
}

/// Removes the index of a topic that has none any more: earlier versions indexed producers'
/// batches. Removes last versions too, if no checkpoint relies on them.
pub(crate) fn remove_all(
    files: &dyn FileSystem,
    dir: &Path,
    with_last_versions: bool,
) -> Result<(), FileError> {
    let names = Names::list(files, dir)?;
    let mut paths = names.unfinished;
    paths.extend(names.records.into_iter().map(|(_, path)| path));
    if with_last_versions {
        paths.extend(names.last_versions.into_iter().map(|(_, path)| path));
        paths.extend(names.earlier.into_iter().map(|(_, path)| path));
    }
    remove(files, dir, &paths)
}

/// Removes the tables that were merged into `result`, which may have replaced one of them under its
/// name.
pub(crate) fn remove_merged(
    files: &dyn FileSystem,
    dir: &Path,
    merged: &[Arc<SortedTable>],
    result: &SortedTable,
    freeing: &Arc<Freeing>,
) -> Result<(), FileError> {
    let (mut paths, mut leaving) = (Vec::new(), Vec::new());
    for table in merged.iter().filter(|table| table.path() != result.path()) {
        paths.push(table.path().to_owned());
        leaving.push((table, Leaving::open(files, table.path())));
    }
    remove(files, dir, &paths)?;
    // Only now, because a file may be shortened only when its name is gone.
    for (table, leaving) in leaving {
        table.leave(leaving, freeing);
    }
    Ok(())
}

/// Removes unused files that may have keys of entities: tables of last versions that were merged,
/// and unfinished files.
pub(crate) fn remove_unused(
    files: &dyn FileSystem,
    dir: &Path,
    in_use: &LastVersions,
) -> Result<(), FileError> {
    let names = Names::list(files, dir)?;
    let mut paths = names.unfinished;
    paths.extend(names.last_versions.into_iter().map(|(_, path)| path));
    paths.extend(names.earlier.into_iter().map(|(_, path)| path));
    paths.retain(|path| !in_use.uses(path));
    remove(files, dir, &paths)
}

fn sync(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    files
        .sync_dir(dir)
        .map_err(FileError::when(Action::Sync, dir))
}

/// A file, with the range in its name.
type Named = (Range<u64>, PathBuf);

/// The files of an index in a directory, by their names. Of files with the same start, the widest
/// comes first.
#[derive(Default)]
struct Names {
    records: Vec<Named>,
    last_versions: Vec<Named>,
    /// Files of earlier versions, each with its number.
    earlier: Vec<(u64, PathBuf)>,
    unfinished: Vec<PathBuf>,
}

impl Names {
    fn list(files: &dyn FileSystem, dir: &Path) -> Result<Self, FileError> {
        let mut names = Self::default();
        if !files
            .exists(dir)
            .map_err(FileError::when(Action::LookFor, dir))?
        {
            return Ok(names);
        }
        for entry in files
            .read_dir(dir)
            .map_err(FileError::when(Action::List, dir))?
        {
            names.add(dir.join(entry.name));
        }
        for tables in [&mut names.records, &mut names.last_versions] {
            tables.sort_by_key(|(range, _)| (range.start, Reverse(range.end)));
        }
        names.earlier.sort_unstable();
        Ok(names)
    }

    fn add(&mut self, path: PathBuf) {
        match named(&path) {
            Some((Kind::Records, range)) => self.records.push((range, path)),
            Some((Kind::LastVersions, range)) => self.last_versions.push((range, path)),
            None if is_unfinished(&path) => self.unfinished.push(path),
            None => self
                .earlier
                .extend(earlier::number_of(&path).map(|number| (number, path))),
        }
    }
}

fn is_unfinished(path: &Path) -> bool {
    let is_named =
        || covered_by_stem(path).is_some() || earlier::number_of_unfinished(path).is_some();
    path.extension().is_some_and(|extension| extension == NEW) && is_named()
}

/// Opens a table. The inner error says why it is unusable; the outer one may pass.
fn open(owner: Owner<'_>, path: &Path) -> Result<Result<SortedTable, Unusable>, FileError> {
    let opened = SortedTable::open(owner.files, path, owner.identity, owner.fingerprint);
    unless_passing(opened)
}

fn unless_passing<T>(opened: Result<T, Unusable>) -> Result<Result<T, Unusable>, FileError> {
    match opened {
        Err(Unusable::File(error)) if error.meaning() != Meaning::Damage => Err(error),
        opened => Ok(opened),
    }
}

/// Finds the tables of last versions, and the files that nobody needs. The directory is synced
/// before this returns, because the caller relies on these tables to remove others: a table may
/// have got its name just before the last process was killed.
fn find_last_versions(
    owner: Owner<'_>,
    names: &Names,
    through: u64,
) -> Result<(LastVersions, Vec<PathBuf>), FileError> {
    let mut found = LastVersions::default();
    let (mut stale, mut unusable) = (Vec::new(), Vec::new());
    let mut covered = 1;
    for (numbers, path) in &names.last_versions {
        match open(owner, path)? {
            Ok(_) if numbers.start < covered => stale.push(path.clone()),
            Ok(table) => {
                covered = numbers.end;
                found.tables.push(Arc::new(table));
            }
            Err(error) => unusable.push((numbers, path, error)),
        }
    }
    let end = covered.max(through + 1);
    for missing in missing(&found.tables, end) {
        let behind = find_earlier(owner, names, missing.clone(), &mut found)?;
        if behind == missing.end {
            continue;
        }
        let numbers = behind..missing.end;
        let cause = unusable
            .iter()
            .find(|(other, _, _)| other.start < numbers.end && numbers.start < other.end);
        let path = match cause {
            Some((_, path, error)) => {
                report_lost(error);
                (*path).clone()
            }
            None => {
                let path = table_path(owner.dir, Kind::LastVersions, numbers.clone());
                report_lost(&Damaged {
                    path: path.clone(),
                    position: 0,
                });
                path
            }
        };
        found.lose(numbers, path);
    }
    let others = unusable.iter().map(|(_, path, _)| *path);
    let earlier = names.earlier.iter().map(|(_, path)| path);
    stale.extend(
        others
            .chain(earlier)
            .filter(|path| !found.uses(path))
            .cloned(),
    );
    if covered > through + 1 || !stale.is_empty() {
        sync(owner.files, owner.dir)?;
    }
    Ok((found, stale))
}

/// The numbers from 1 up to `end` that these tables do not cover.
fn missing(tables: &[Arc<SortedTable>], end: u64) -> Vec<Range<u64>> {
    let (mut missing, mut covered) = (Vec::new(), 1);
    for table in tables {
        let numbers = table.numbers();
        if covered < numbers.start {
            missing.push(covered..numbers.start);
        }
        covered = numbers.end;
    }
    if covered < end {
        missing.push(covered..end);
    }
    missing
}

/// Adds the files of earlier versions for these numbers; returns the number behind the last.
fn find_earlier(
    owner: Owner<'_>,
    names: &Names,
    missing: Range<u64>,
    found: &mut LastVersions,
) -> Result<u64, FileError> {
    let mut behind = missing.start;
    for (number, path) in &names.earlier {
        if !missing.contains(number) {
            continue;
        }
        let numbers = behind..number + 1;
        behind = numbers.end;
        let (files, identity, fingerprint) = (owner.files, owner.identity, owner.fingerprint);
        let opened = Earlier::open(files, path, identity, fingerprint, numbers.clone());
        match unless_passing(opened)? {
            Ok(earlier) => found.earlier.push(Arc::new(earlier)),
            Err(error) => {
                report_lost(&error);
                found.lose(numbers, path.clone());
            }
        }
    }
    Ok(behind)
}

impl LastVersions {
    fn lose(&mut self, numbers: Range<u64>, path: PathBuf) {
        let damaged = Damaged { path, position: 0 };
        self.lost.push(Lost { numbers, damaged });
    }
}

fn report_lost(error: &impl fmt::Display) {
    tracing::error!(
        %error,
        "what is known of trimmed records cannot be read; appends to entities without other records are refused"
    );
}

/// The offsets in `log` that no table covers, and those between tables before it: adjacent tables
/// are merged, so there must be no gap between them. The tables are in order.
fn gaps(runs: &[Arc<SortedTable>], log: Range<Offset>) -> Vec<Range<Offset>> {
    let (mut gaps, mut covered) = (
        Vec::new(),
        runs.first()
            .map_or(log.start, |first| first.from().min(log.start)),
    );
    for run in runs {
        if run.from() > covered {
            gaps.push(covered..run.from());
        }
        covered = covered.max(run.to());
    }
    if covered < log.end {
        gaps.push(covered..log.end);
    }
    gaps
}
