//! What readers see of a log, except its newest frames: one value that never changes.
//!
//! Every change of the log's segments, its key index, its start or what is hidden makes a new view,
//! which replaces the old one as a whole. A reader takes the current view and uses it to the end:
//! the files of its segments exist as long as the reader has the view, and their content does not
//! change.

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};

use super::{Hidden, Log, name::Name, segment::Segment};
use crate::{
    env::{OrderedGuard, OrderedMutex, rank},
    storage::{format::checkpoint, keys},
    types::Offset,
};

/// The state of a log, except for the frames behind its sealed segments.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// The first offset that has not been trimmed.
    pub(super) start: Offset,
    /// The sealed segments that have files, oldest first.
    pub(super) sealed: Vec<Sealed>,
    /// How many of these are trimmed completely.
    pub(super) trimmed: usize,
    /// The size of the other sealed segments, in bytes.
    pub(super) bytes: u64,
    /// The growing segment, if there is one.
    pub(super) growing: Option<Arc<Segment>>,
    /// The erased entities, and records trimmed by entity, whose bytes are still in files.
    pub(super) hidden: Hidden,
    /// The files of the key index.
    pub(super) index: Arc<keys::Files>,
}

/// A sealed segment; it reaches from its base to that of the next one.
#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) segment: Arc<Segment>,
    pub(super) end: Offset,
    pub(super) bytes: u64,
    /// When its last record was appended; `None` if nobody has read that since the start.
    pub(super) last_append_ms: Option<i64>,
}

/// The files of a segment, which are there as long as a view has it.
pub(in crate::storage) struct SegmentFile {
    pub(in crate::storage) path: PathBuf,
    pub(in crate::storage) bytes: u64,
    /// Derived; it may be missing.
    pub(in crate::storage) index_path: PathBuf,
}

impl SegmentFile {
    fn of(segment: &Segment, bytes: u64) -> Self {
        let (name, dir) = (segment.name(), segment.dir());
        Self {
            path: name.path(&dir),
            bytes,
            index_path: name.index_path(&dir),
        }
    }
}

/// What readers see of a log without its lock.
pub(super) struct Published {
    view: ArcSwap<View>,
    /// The high watermark.
    end: AtomicU64,
}

/// A log behind its lock, and what readers see without the lock.
pub(crate) struct LogLock {
    log: OrderedMutex<Log, rank::Log>,
    published: Arc<Published>,
}

impl Published {
    /// The state of an empty log.
    pub(super) fn nothing() -> Self {
        // Shared, because there are many empty logs.
        static NOTHING: OnceLock<Arc<View>> = OnceLock::new();
        Self {
            view: ArcSwap::new(Arc::clone(NOTHING.get_or_init(Arc::default))),
            end: AtomicU64::new(0),
        }
    }
}

impl LogLock {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            published: Arc::clone(&log.published),
            log: OrderedMutex::new(log),
        }
    }

    /// Locks the log. A panic of another thread leaves nothing half done that matters here.
    pub(crate) fn lock(&self) -> OrderedGuard<'_, Log> {
        self.log.lock()
    }

    /// The current view.
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.published.view.load()
    }

    /// Where the log starts, and its high watermark.
    pub(crate) fn range(&self) -> (Offset, Offset) {
        // In this order, so that the start is not behind the end.
        let start = self.view().start;
        (start, Offset(self.published.end.load(Ordering::Acquire)))
    }
}

impl Sealed {
    pub(super) fn base(&self) -> Offset {
        self.segment.base()
    }
}

impl View {
    /// The first offset that has not been trimmed.
    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    /// The end of the last sealed segment that is not trimmed; `None` if there is none.
    pub(crate) fn sealed_end(&self) -> Option<Offset> {
        self.live().last().map(|sealed| sealed.end)
    }

    /// What readers must not be shown although files have it.
    pub(crate) fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    /// The files of the key index.
    pub(crate) fn index(&self) -> &Arc<keys::Files> {
        &self.index
    }

    /// Whether there are no files.
    pub(crate) fn is_nothing(&self) -> bool {
        self.sealed.is_empty() && self.growing.is_none() && self.index.is_nothing()
    }

    /// The files of its segments, the active one as far as a checkpoint says that it reaches.
    pub(in crate::storage) fn segment_files(&self, at: &checkpoint::Partition) -> Vec<SegmentFile> {
        let mut found = Vec::with_capacity(self.sealed.len() + 1);
        for sealed in &self.sealed {
            found.push(SegmentFile::of(&sealed.segment, sealed.bytes));
        }
        if let (Some(segment), Some(active)) = (&self.growing, at.active) {
            found.push(SegmentFile::of(segment, active.len));
        }
        found
    }

    /// Whether the view has all there is to know about an offset: its segments reach behind it, or
    /// it is trimmed. The answer stays true whatever happens to the record later.
    pub(crate) fn reaches(&self, offset: Offset) -> bool {
        let end = self.sealed.last().map_or(self.start, |last| last.end);
        offset < end.max(self.start)
    }

    /// The sealed segments that are not trimmed.
    pub(super) fn live(&self) -> &[Sealed] {
        &self.sealed[self.trimmed..]
    }

    /// The sealed segment with this offset, trimmed or not.
    pub(super) fn find(&self, offset: Offset) -> Option<&Sealed> {
        let at = self.sealed.partition_point(|segment| segment.end <= offset);
        let found = self.sealed.get(at)?;
        (found.base() <= offset).then_some(found)
    }

    /// The segment with this name, if the view has it and it is not trimmed.
    pub(super) fn named(&self, base: Offset, revision: u32) -> Option<&Arc<Segment>> {
        let is_it = |segment: &&Arc<Segment>| {
            let name: Name = segment.name();
            name.base() == base && name.revision() == revision
        };
        let at = self.sealed.partition_point(|sealed| sealed.base() < base);
        let sealed = self.sealed.get(at).filter(|_| at >= self.trimmed);
        let sealed = sealed.map(|sealed| &sealed.segment);
        sealed.into_iter().chain(&self.growing).find(is_it)
    }

    /// Recomputes the fields that depend on others.
    fn settle(&mut self) {
        let start = self.start;
        self.trimmed = self.sealed.partition_point(|segment| segment.end <= start);
        self.bytes = self.live().iter().map(|segment| segment.bytes).sum();
    }
}

impl Log {
    /// The current view.
    pub(super) fn view(&self) -> Guard<Arc<View>> {
        self.published.view.load()
    }

    /// Moves the high watermark: records before it can be read from now on.
    pub(super) fn set_end(&mut self, end: Offset) {
        self.end = end;
        self.published.end.store(end.0, Ordering::Release);
    }

    /// Changes the files of the key index.
    pub(crate) fn change_index(&mut self, change: impl FnOnce(&mut keys::Files)) {
        self.change_view(|view| change(Arc::make_mut(&mut view.index)));
    }

    /// Replaces the view by a changed copy.
    pub(super) fn change_view(&mut self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view());
        change(&mut view);
        view.settle();
        self.published.view.store(Arc::new(view));
    }
}
