//! The runs of a partition: what is found of them at a start, and their removal.

use std::{
    cmp::Reverse,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Unusable,
    new_file::NEW,
    retired::number_of_file,
    run::{Run, range_of, range_of_stem},
};
use crate::{
    env::FileSystem,
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_file},
        log::Identity,
    },
    types::Offset,
};

/// What a directory holds of a partition's index.
pub(crate) struct Found {
    /// Runs in the order of their offsets, no two of which overlap.
    pub(crate) runs: Vec<Arc<Run>>,
    /// The offsets that they do not cover: of the log, and between runs of what was before it.
    pub(crate) gaps: Vec<Range<Offset>>,
    /// What must be removed ([`remove`]) before the log goes on.
    pub(crate) stale: Vec<PathBuf>,
}

/// Looks for the runs of a log of the offsets in `log`.
///
/// Of runs that overlap, those that reach further count: a crash at the end of a merge leaves the
/// result with what was merged. Runs that reach beyond the log's end are stale: they have rows of
/// records that were not durable, and the offsets will be others'. Runs below the log's start are
/// not: rows of trimmed records may still be wanted.
pub(crate) fn list(
    files: &dyn FileSystem,
    dir: &Path,
    identity: Identity,
    fingerprint: u64,
    log: Range<Offset>,
) -> Result<Found, FileError> {
    let (named, mut stale) = names(files, dir)?;
    let (mut runs, mut covered) = (Vec::<Arc<Run>>::new(), Offset::ZERO);
    for (range, path) in named {
        if range.start < covered || range.end > log.end {
            stale.push(path);
            continue;
        }
        match Run::open(files, &path, identity, fingerprint) {
            Ok(run) => {
                covered = run.to();
                runs.push(Arc::new(run));
            }
            Err(Unusable::File(error)) if error.meaning() != Meaning::Damage => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "a part of a key index cannot be used and is rebuilt");
                stale.push(path);
            }
        }
    }
    let gaps = gaps(&runs, log);
    Ok(Found { runs, gaps, stale })
}

/// Removes files of an index. When this returns, they do not come back: a stale run that reappeared
/// after the log has gone on would hide what was appended since.
pub(crate) fn remove(
    files: &dyn FileSystem,
    dir: &Path,
    paths: &[PathBuf],
) -> Result<(), FileError> {
    if paths.is_empty() {
        return Ok(());
    }
    paths.iter().try_for_each(|path| remove_file(files, path))?;
    files
        .sync_dir(dir)
        .map_err(FileError::when(Action::Sync, dir))
}

/// Removes the index of a topic that has none: earlier versions made one of producers' batches.
/// With files of retired facts, if no checkpoint names one.
pub(crate) fn remove_all(
    files: &dyn FileSystem,
    dir: &Path,
    with_retired: bool,
) -> Result<(), FileError> {
    let (named, mut paths) = names(files, dir)?;
    paths.extend(named.into_iter().map(|(_, path)| path));
    remove(files, dir, &paths)?;
    if !with_retired || !exists(files, dir)? {
        return Ok(());
    }
    let mut retired = Vec::new();
    for entry in files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?
    {
        let path = dir.join(entry.name);
        if number_of_file(&path).is_some() {
            retired.push(path);
        }
    }
    remove(files, dir, &retired)
}

/// Removes the runs that were merged into `result`, which may have taken the name of one of them.
pub(crate) fn remove_merged(
    files: &dyn FileSystem,
    dir: &Path,
    merged: &[Arc<Run>],
    result: &Run,
) -> Result<(), FileError> {
    let paths = merged
        .iter()
        .map(|run| run.path())
        .filter(|path| *path != result.path());
    remove(files, dir, &paths.map(Path::to_owned).collect::<Vec<_>>())
}

fn exists(files: &dyn FileSystem, dir: &Path) -> Result<bool, FileError> {
    files
        .exists(dir)
        .map_err(FileError::when(Action::LookFor, dir))
}

/// A file by what its name says it covers.
type Named = (Range<Offset>, PathBuf);

/// Files with names of runs, the widest of those with one start first; and runs that were not
/// finished.
fn names(files: &dyn FileSystem, dir: &Path) -> Result<(Vec<Named>, Vec<PathBuf>), FileError> {
    let (mut named, mut unfinished) = (Vec::new(), Vec::new());
    if !exists(files, dir)? {
        return Ok((named, unfinished));
    }
    for entry in files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?
    {
        let path = dir.join(entry.name);
        if let Some(range) = range_of(&path) {
            named.push((range, path));
        } else if path.extension().is_some_and(|extension| extension == NEW)
            && range_of_stem(&path).is_some()
        {
            unfinished.push(path);
        }
    }
    named.sort_by_key(|(range, _)| (range.start, Reverse(range.end)));
    Ok((named, unfinished))
}

/// The parts of a range of offsets that runs, which are in order, do not cover; also before it,
/// from the first run on: runs are merged with their neighbours, and no two may have anything
/// between them.
fn gaps(runs: &[Arc<Run>], log: Range<Offset>) -> Vec<Range<Offset>> {
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
