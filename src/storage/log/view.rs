//! What readers see of a log beside its newest frames: one value that never changes.
//!
//! Whatever changes the segments of a log, the files of its key index, where it starts or what is
//! hidden in it makes another view, which takes the place of the one before as a whole. A reader
//! takes the view that there is and goes by it to the end: the files of its segments stay as long
//! as it has it, and nothing in them changes.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::{ArcSwap, Guard};

use super::{Hidden, Log, name::Name, segment::Segment};
use crate::{
    env::{OrderedGuard, OrderedMutex, rank},
    storage::keys,
    types::Offset,
};

/// What there is of a log, but for the frames that come behind its sealed segments.
#[derive(Clone, Default)]
pub(crate) struct View {
    /// The first offset that has not been trimmed.
    pub(super) start: Offset,
    /// The sealed segments that have files, the oldest first.
    pub(super) sealed: Vec<Sealed>,
    /// How many of these are trimmed as a whole.
    pub(super) trimmed: usize,
    /// What the others take.
    pub(super) bytes: u64,
    /// The segment that grows.
    pub(super) growing: Option<Arc<Segment>>,
    /// The erased entities whose bytes are in files yet.
    pub(super) hidden: Hidden,
    /// The files of the key index.
    pub(super) index: Arc<keys::Files>,
}

/// A sealed segment: from its base up to the next one's.
#[derive(Clone)]
pub(super) struct Sealed {
    pub(super) segment: Arc<Segment>,
    pub(super) end: Offset,
    pub(super) bytes: u64,
    /// When its last record was appended; none if nobody has looked since the start.
    pub(super) last_append_ms: Option<i64>,
}

/// What readers get of a log without its lock.
pub(super) struct Published {
    view: ArcSwap<View>,
    /// The high watermark.
    end: AtomicU64,
}

/// A log behind the lock under which it changes, and what readers get without that.
pub(crate) struct LogLock {
    log: OrderedMutex<Log, rank::Log>,
    published: Arc<Published>,
}

impl Published {
    /// Of a log that has nothing.
    pub(super) fn nothing() -> Self {
        // There are many of these.
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

    /// Locks it; a panic elsewhere has not left anything half done that matters after it.
    pub(crate) fn lock(&self) -> OrderedGuard<'_, Log> {
        self.log.lock()
    }

    /// What readers see now.
    pub(crate) fn view(&self) -> Guard<Arc<View>> {
        self.published.view.load()
    }

    /// Where the log starts, and its high watermark.
    pub(crate) fn range(&self) -> (Offset, Offset) {
        // In this order: a start is never behind the end that there was.
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

    /// Behind the last sealed segment that is not trimmed; none if there is none.
    pub(crate) fn sealed_end(&self) -> Option<Offset> {
        self.live().last().map(|sealed| sealed.end)
    }

    /// What is not to be shown although files have it.
    pub(crate) fn hidden(&self) -> &Hidden {
        &self.hidden
    }

    /// The files of the key index.
    pub(crate) fn index(&self) -> &Arc<keys::Files> {
        &self.index
    }

    /// Whether it says all that there is to say of an offset, because its segments reach behind
    /// that or it is trimmed: whatever becomes of the record there, the view has what there was.
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

    /// The segment of this name, if it is there and not trimmed.
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

    /// Brings what follows from the rest up to date.
    fn settle(&mut self) {
        let start = self.start;
        self.trimmed = self.sealed.partition_point(|segment| segment.end <= start);
        self.bytes = self.live().iter().map(|segment| segment.bytes).sum();
    }
}

impl Log {
    /// What readers see now.
    pub(super) fn view(&self) -> Guard<Arc<View>> {
        self.published.view.load()
    }

    /// Moves the high watermark; what comes before it can be read from now on.
    pub(super) fn set_end(&mut self, end: Offset) {
        self.end = end;
        self.published.end.store(end.0, Ordering::Release);
    }

    /// Puts other files in the place of those of the key index.
    pub(crate) fn change_index(&mut self, change: impl FnOnce(&mut keys::Files)) {
        self.change_view(|view| change(Arc::make_mut(&mut view.index)));
    }

    /// Puts another view in the place of the one that there is.
    pub(super) fn change_view(&mut self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view());
        change(&mut view);
        view.settle();
        self.published.view.store(Arc::new(view));
    }
}
