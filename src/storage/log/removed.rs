//! What becomes of segments that are in no view any more: trimmed ones, and those in whose place
//! others are.
//!
//! Their files stay as long as a reader has a view with them. Whoever removes files looks for those
//! that nobody has any more.

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
    /// Whether it may have what must be gone for good: then its removal is made durable.
    pub(super) is_replaced: bool,
}

impl Log {
    /// Whether the next checkpoint lets segments be removed.
    pub(crate) fn has_retired(&self) -> bool {
        self.leaving < self.retired
    }

    /// Takes note that a checkpoint is being written, which lets segments be removed that can be
    /// by now. Whether it lets any.
    pub(crate) fn begin_leaving(&mut self) -> bool {
        self.leaving = self.retired;
        self.leaving > 0
    }

    /// Whether there are segments that are in no view any more and have files.
    pub(crate) fn has_gone(&self) -> bool {
        !self.gone.is_empty()
    }

    /// Takes what the last checkpoint has let go out of the view.
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
        // Nobody else can get one that only this list has.
        let is_unused = |gone: &mut Gone| Arc::strong_count(&gone.segment) == 1;
        self.gone.extract_if(.., is_unused).collect()
    }
}

/// Removes the files of trimmed segments that a durable checkpoint lets go. Whether all are removed
/// that are in no view: others are in use.
pub(crate) fn remove_trimmed(log: &LogLock, segments: &OpenSegments) -> Result<bool, FileError> {
    log.lock().leave();
    remove_gone(log, segments)
}

/// Removes the files of segments that are in no view, unless somebody reads them. Whether all are
/// removed. The caller keeps others from removing files meanwhile.
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

/// Removes the files of segments of one log, which nobody has any more.
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
