//! What the files of segments are called, and what a log's directory has.
//!
//! ```text
//! BASE.log                the segment from offset BASE on, as it was rolled
//! BASE-END-REVISION.log   written anew, with the offsets from BASE up to END
//! X.index                 the index of X.log
//! X.log.new               what is being written, and is no segment yet
//! ```
//!
//! A name never stands for two files: offsets are not used twice, and a segment that is written
//! anew gets a higher revision than the one before with the same base. So a segment in memory is
//! identified by its name, whatever happens to its file.
//!
//! As soon as a file that was written anew has its name, it replaces all older files that begin
//! within its offsets. If a crash leaves any of those, the next start removes them.

use std::path::{Path, PathBuf};

use crate::{
    env::{FileSystem, Open},
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_file},
    },
    types::Offset,
};

/// The end of an unfinished segment's file name. No other kind of file ends like this.
const UNFINISHED: &str = ".log.new";

/// The name of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::storage) struct Name {
    base: Offset,
    /// How many times a segment with this base was written anew.
    revision: u32,
    /// Where its offsets end; only the names of segments that were written anew have this.
    end: Option<Offset>,
}

impl Name {
    /// The name of a new segment.
    pub(in crate::storage) fn first(base: Offset) -> Self {
        Self {
            base,
            revision: 0,
            end: None,
        }
    }

    /// The name of the segment that replaces this one and those behind it, up to `end`.
    pub(super) fn anew(self, end: Offset) -> Self {
        Self {
            base: self.base,
            revision: self.revision + 1,
            end: Some(end),
        }
    }

    /// Where the segment starts in the partition.
    pub(in crate::storage) fn base(self) -> Offset {
        self.base
    }

    pub(super) fn revision(self) -> u32 {
        self.revision
    }

    /// Where its offsets end, if the name has it.
    pub(super) fn end(self) -> Option<Offset> {
        self.end
    }

    /// The segment's file.
    pub(in crate::storage) fn path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.log", self.stem()))
    }

    /// The file of its index.
    pub(in crate::storage) fn index_path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}.index", self.stem()))
    }

    /// The file while it is being written.
    pub(super) fn unfinished_path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{}{UNFINISHED}", self.stem()))
    }

    fn stem(self) -> String {
        let Self { base, revision, .. } = self;
        match self.end {
            Some(end) => format!("{:020}-{:020}-{revision:010}", base.0, end.0),
            None => format!("{:020}", base.0),
        }
    }

    /// Reads a segment's file name; `None` for another kind of file.
    fn parse(file: &str) -> Option<Self> {
        let stem = file.strip_suffix(".log")?;
        let mut parts = stem.split('-');
        let base = Offset(number(parts.next()?, 20)?);
        let Some(end) = parts.next() else {
            return Some(Self::first(base));
        };
        let end = Offset(number(end, 20)?);
        let revision = u32::try_from(number(parts.next()?, 10)?).ok()?;
        let is_whole = parts.next().is_none() && base < end && revision > 0;
        is_whole.then_some(Self {
            base,
            revision,
            end: Some(end),
        })
    }
}

/// A number of exactly `count` digits.
fn number(digits: &str, count: usize) -> Option<u64> {
    let is_number = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// The segment files in a log's directory. Other files are ignored.
#[derive(Default)]
pub(in crate::storage) struct Listed {
    /// The segments in the order of their offsets, with the sizes of their files.
    pub(in crate::storage) segments: Vec<(Name, u64)>,
    /// Segments that others have replaced.
    superseded: Vec<Name>,
    /// Files that were not finished.
    unfinished: Vec<String>,
}

/// Lists a log's directory.
pub(in crate::storage) fn list(files: &dyn FileSystem, dir: &Path) -> Result<Listed, FileError> {
    let mut listed = Listed::default();
    let mut names = Vec::new();
    if !files
        .exists(dir)
        .map_err(FileError::when(Action::LookFor, dir))?
    {
        return Ok(listed);
    }
    for entry in files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?
    {
        if entry.name.ends_with(UNFINISHED) {
            listed.unfinished.push(entry.name);
        } else {
            names.extend(Name::parse(&entry.name));
        }
    }
    names.sort_unstable();
    let mut covered = Offset::ZERO;
    for (at, name) in names.iter().enumerate() {
        let is_last_revision = names.get(at + 1).is_none_or(|next| next.base != name.base);
        if !is_last_revision || name.base < covered {
            listed.superseded.push(*name);
            continue;
        }
        covered = name.end.unwrap_or(covered);
        let bytes = size_of_file(files, &name.path(dir))?;
        listed.segments.push((*name, bytes));
    }
    Ok(listed)
}

impl Listed {
    /// Removes replaced and unfinished segments, which an earlier process has left.
    pub(super) fn remove_leftovers(
        &self,
        files: &dyn FileSystem,
        dir: &Path,
    ) -> Result<(), FileError> {
        if self.superseded.is_empty() && self.unfinished.is_empty() {
            return Ok(());
        }
        let sync = || {
            files
                .sync_dir(dir)
                .map_err(FileError::when(Action::Sync, dir))
        };
        // The names of the segments that replace them may not be durable yet.
        sync()?;
        for name in &self.superseded {
            remove_file(files, &name.path(dir))?;
            remove_file(files, &name.index_path(dir))?;
        }
        for name in &self.unfinished {
            remove_file(files, &dir.join(name))?;
        }
        // The removed files may have had erased records, so their removal must be durable.
        sync()
    }
}

/// Removes unfinished segments whose writing has failed and that could not be removed then.
pub(crate) fn remove_unfinished(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    let unfinished = list(files, dir)?.unfinished;
    Listed {
        unfinished,
        ..Listed::default()
    }
    .remove_leftovers(files, dir)
}

/// The size of a segment's file; 0 if the disk cannot tell, because reading it will report the
/// damage.
fn size_of_file(files: &dyn FileSystem, path: &Path) -> Result<u64, FileError> {
    let size = files
        .open(path, Open::Read)
        .map_err(FileError::when(Action::Open, path))
        .and_then(|file| file.len().map_err(FileError::when(Action::Read, path)));
    match size {
        Err(error) if error.meaning() == Meaning::Damage => {
            tracing::error!(%error, "a segment cannot be read; reading its offsets gives DATA_LOSS");
            Ok(0)
        }
        size => size,
    }
}
