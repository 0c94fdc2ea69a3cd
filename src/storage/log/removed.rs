//! Removing segments that are in no view any more: trimmed ones, and those that others have
//! replaced.
//!
//! Their files stay as long as a reader has a view with them. The files are removed later, once
//! nobody has such a view.

use std::sync::Arc;

use super::{Log, LogLock, OpenSegments, segment::Segment};
use crate::storage::{
    files::{Action, FileError, remove_file},
    freeing::Leaving,
};

/// A segment that is in no view of the log.
pub(super) struct Gone {
    pub(super) segment: Arc<Segment>,
    pub(super) bytes: u64,
    /// Whether it was replaced. It may have erased records, so its removal is made durable.
    pub(super) is_replaced: bool,
}

impl Log {
    /// Whether the next checkpoint will allow segments to be removed.
    pub(crate) fn has_retired(&self) -> bool {
        self.leaving < self.retired
    }

    /// Notes that a checkpoint is being written, which allows all segments to be removed that are
    /// ready now. Returns whether there are any.
    pub(crate) fn begin_leaving(&mut self) -> bool {
        self.leaving = self.retired;
        self.leaving > 0
    }

    /// Whether there are segments that are in no view but still have files.
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Takes the segments out of the view that the last checkpoint allows to remove.
    fn leave(&mut self) {
        let leaving = std::mem::take(&mut self.leaving);
        if leaving == 0 {
            return;
        }
        self.retired -= leaving;
        let view = self.view();
        self.gone
            .extend(view.sealed[..leaving].iter().map(|sealed| Gone {
                segment: Arc::clone(&sealed.segment),
                bytes: sealed.bytes,
                is_replaced: false,
            }));
        self.change_view(|view| drop(view.sealed.drain(..leaving)));
    }

    /// Takes the segments that nobody reads any more.
    fn take_unused(&mut self) -> Vec<Gone> {
        // If only this list has a segment, nobody can get it any more.
        let is_unused = |gone: &mut Gone| Arc::strong_count(&gone.segment) == 1;
        self.gone.extract_if(.., is_unused).collect()
    }
}

/// Removes the files of trimmed segments, as far as a durable checkpoint allows it. Returns whether
/// no segment is left that is in no view; any left are still in use.
pub(crate) fn remove_trimmed(log: &LogLock, segments: &OpenSegments) -> Result<bool, FileError> {
    log.lock().leave();
    remove_gone(log, segments)
}

/// Removes the files of segments that are in no view and that nobody reads. Returns whether none
/// are left. The caller makes sure that nobody else removes files meanwhile.
pub(crate) fn remove_gone(log: &LogLock, segments: &OpenSegments) -> Result<bool, FileError> {
    let unused = log.lock().take_unused();
    if !unused.is_empty() {
        let removed = remove_files(&unused, segments);
        if removed.is_err() {
            log.lock().gone.extend(unused);
        }
        removed?;
    }
    Ok(log.lock().gone.is_empty())
}

/// Removes the files of a log's segments that nobody uses any more.
fn remove_files(these: &[Gone], segments: &OpenSegments) -> Result<(), FileError> {
    let files = &*segments.env.files;
    let mut leaving = Vec::new();
    for gone in these {
        let dir = gone.segment.dir();
        let path = gone.segment.name().path(&dir);
        segments.close(&gone.segment);
        if !gone.segment.is_mapped() {
            leaving.extend(Leaving::open(files, &path));
        }
        remove_file(files, &path)?;
        remove_file(files, &gone.segment.name().index_path(&dir))?;
    }
    let is_replaced = these.iter().any(|gone| gone.is_replaced);
    if let Some(first) = these.first().filter(|_| is_replaced || !leaving.is_empty()) {
        let dir = first.segment.dir();
        files
            .sync_dir(&dir)
            .map_err(FileError::when(Action::Sync, &dir))?;
    }
    segments.freeing().add(leaving);
    Ok(())
}
