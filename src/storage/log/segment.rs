//! Segments, and how many of them are kept open.
//!
//! A segment stands for one file as long as it lives, whatever becomes of the log, so what was
//! opened of it can be used by whoever has the segment. Whether it is open makes no difference to
//! anybody.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;

use super::{
    Active, Identity,
    count::note_records,
    index::{Rows, store_rows},
    kept::{KeptFrame, KeptFrames, Written},
    name::Name,
    view::Sealed,
    walk::{Source, Walk},
};
use crate::{
    env::{Env, File, Open},
    storage::{
        fault::{self, Meaning},
        format::{
            identity,
            segment_file::{Compressed, HEADER_BYTES, Header},
        },
        freeing::Freeing,
        read_only::{Maps, ReadOnly},
    },
    types::{Offset, TopicId},
};

/// No more segments are open than this, whatever is asked for: a large one takes two maps, with its
/// index, of the 65,530 that the kernel allows by default, and key indexes have theirs.
const MOST_OPEN: usize = 16_384;

/// A segment's file. It is removed only when nothing has the segment any more but the list of those
/// that are to be removed.
pub(crate) struct Segment {
    /// Where its topic is, for all segments of that.
    topic_dir: Arc<Path>,
    identity: Identity,
    name: Name,
    /// What is open of it, if it is: as a sealed segment,
    content: ArcSwapOption<Content>,
    /// and as one that grows.
    file: ArcSwapOption<GrowingFile>,
    /// How many segments had been opened when it was used last.
    used: AtomicU64,
    /// How many records it has, and one more; 0 where that is not known. See `count.rs`.
    pub(super) records: AtomicU64,
    /// What its header says of compression, once somebody has looked.
    compressed: OnceLock<Option<Compressed>>,
    /// It is not to be compressed.
    is_left_alone: AtomicBool,
    maps: Maps,
}

/// The bytes and the index of a sealed segment.
pub(super) struct Content {
    pub(super) bytes: ReadOnly,
    pub(super) rows: Rows,
}

/// The file of a segment that grows.
struct GrowingFile(Arc<dyn File>);

/// Which segments are open: sealed ones as maps, where they can be, with their index, growing ones
/// as files. The least recently used are closed when there are too many: the kernel allows 65,530
/// maps by default, and often 1,024 files.
pub(crate) struct OpenSegments {
    pub(super) env: Env,
    most: usize,
    /// Most of them that are open as files.
    most_files: usize,
    /// What new segments say of the data directory that they belong to.
    pub(super) directory: Option<identity::Identity>,
    open: Mutex<Vec<OpenSegment>>,
    /// How many have been opened so far.
    opened: AtomicU64,
    frames: Mutex<KeptFrames>,
    /// Held by whoever writes an index that was missing.
    indexing: Mutex<()>,
    /// The files of segments that are gone.
    freeing: Arc<Freeing>,
}

/// A segment of which something is open.
struct OpenSegment {
    segment: Weak<Segment>,
    is_file: bool,
}

impl Segment {
    pub(super) fn new(topic_dir: Arc<Path>, identity: Identity, name: Name) -> Arc<Self> {
        Arc::new(Self {
            topic_dir,
            identity,
            name,
            content: ArcSwapOption::empty(),
            file: ArcSwapOption::empty(),
            used: AtomicU64::new(0),
            records: AtomicU64::new(0),
            compressed: OnceLock::new(),
            is_left_alone: AtomicBool::new(false),
            maps: Maps::default(),
        })
    }

    /// Whether it is not to be compressed.
    pub(super) fn is_left_alone(&self) -> bool {
        self.is_left_alone.load(Ordering::Relaxed)
    }

    pub(super) fn leave_alone(&self) {
        self.is_left_alone.store(true, Ordering::Relaxed);
    }

    /// Takes note of what its header says of compression.
    pub(super) fn note_compressed(&self, compressed: Option<Compressed>) {
        // What is known of a file does not change.
        self.compressed.set(compressed).ok();
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn name(&self) -> Name {
        self.name
    }

    /// Where it starts in the partition.
    pub(super) fn base(&self) -> Offset {
        self.name.base()
    }

    /// How its frames were written.
    pub(super) fn written(&self) -> Written {
        match self.name.revision() {
            0 => Written::First,
            revision => Written::Anew(self.base(), revision),
        }
    }

    /// The directory that its file is in.
    pub(super) fn dir(&self) -> PathBuf {
        self.topic_dir.join(self.identity.partition.to_string())
    }

    pub(super) fn path(&self) -> PathBuf {
        self.name.path(&self.dir())
    }

    /// A walk over its frames, from a position where one begins.
    pub(super) fn walk(&self, source: Source, len: u64, position: u64) -> Walk {
        Walk::new(source, len, self.identity, self.base(), position)
    }

    /// Its file as it was opened, which counts as mapped from now on if it is.
    pub(super) fn mapped(&self, opened: ReadOnly) -> ReadOnly {
        self.maps.count(opened)
    }

    /// Whether anybody has bytes of a map of its file.
    pub(super) fn is_mapped(&self) -> bool {
        self.maps.has_any()
    }

    fn close(&self) {
        self.content.store(None);
        self.file.store(None);
    }
}

impl Content {
    /// Where a frame is to be looked for: from the last index row before it up to the next.
    #[inline]
    pub(super) fn stretch_of(&self, segment: &Segment, offset: Offset) -> Range<u64> {
        let before = self.rows.before(offset.0.saturating_sub(segment.base().0));
        let row = |at: usize| self.rows.get(at).map(|row| u64::from(row.position));
        let start = before.and_then(row).unwrap_or(HEADER_BYTES);
        let end = row(before.map_or(0, |at| at + 1)).unwrap_or(self.bytes.len());
        start..end
    }

    /// A walk over the segment's frames.
    pub(super) fn walk(&self, segment: &Segment, position: u64) -> Walk {
        segment.walk(Source::of(&self.bytes), self.bytes.len(), position)
    }
}

impl OpenSegments {
    /// Keeps at most `most` segments open.
    pub(crate) fn new(env: Env, most: usize) -> Self {
        Self {
            env,
            most: most.clamp(1, MOST_OPEN),
            most_files: most.max(1),
            directory: None,
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            frames: Mutex::default(),
            indexing: Mutex::default(),
            freeing: Arc::default(),
        }
    }

    /// Keeps at most `most_files` of them open as files. A map needs no descriptor; a file does,
    /// and there are often few.
    pub(crate) fn with_files(mut self, most_files: usize) -> Self {
        self.most_files = most_files.max(1);
        self
    }

    /// The files of segments that are gone, whose room is not given back.
    pub(crate) fn freeing(&self) -> &Arc<Freeing> {
        &self.freeing
    }

    /// Has new segments say that they belong to this data directory.
    pub(crate) fn of_directory(mut self, directory: identity::Identity) -> Self {
        self.directory = Some(directory);
        self
    }

    /// The bytes and the index of a sealed segment. An index is built if there is none.
    pub(super) fn sealed(&self, segment: &Arc<Segment>) -> io::Result<Arc<Content>> {
        if let Some(content) = segment.content.load_full() {
            self.note_use(segment);
            return Ok(content);
        }
        let let_go = || self.let_go();
        let path = segment.path();
        let bytes = self.trying_again(|| ReadOnly::open(&*self.env.files, &path, let_go))?;
        let bytes = segment.mapped(bytes);
        let len = bytes.len();
        let rows = self.trying_again(|| Rows::open(&self.env, segment, len, let_go))?;
        if let Some(rows) = rows {
            return Ok(self.keep_content(segment, Content { bytes, rows }));
        }
        let whole = walk_through(segment, &bytes)?;
        let rows = whole.last_rows();
        let _alone = lock(&self.indexing);
        if let Some(content) = segment.content.load_full() {
            return Ok(content);
        }
        store_rows(&self.env, segment, &rows, 0);
        if segment.written() != Written::First {
            note_records(&self.env, segment, rows.len(), whole.records);
        }
        tracing::info!(path = %path.display(), "the index of a segment was rebuilt");
        let rows = Rows::of(&rows);
        Ok(self.keep_content(segment, Content { bytes, rows }))
    }

    fn keep_content(&self, segment: &Arc<Segment>, content: Content) -> Arc<Content> {
        let content = Arc::new(content);
        segment.content.store(Some(Arc::clone(&content)));
        self.keep(segment, false);
        content
    }

    /// What a sealed segment was compressed with, if it was.
    pub(super) fn compressed(&self, segment: &Segment) -> io::Result<Option<Compressed>> {
        if segment.name.revision() == 0 {
            // Frames go to it as they were appended.
            return Ok(None);
        }
        if let Some(compressed) = segment.compressed.get() {
            return Ok(*compressed);
        }
        let mut head = [0; HEADER_BYTES as usize];
        let file = self.trying_again(|| self.env.files.open(&segment.path(), Open::Read))?;
        file.read_exact_at(&mut head, 0)?;
        let compressed = Header::decode(&head).and_then(|header| header.compressed);
        segment.note_compressed(compressed);
        Ok(compressed)
    }

    /// How many bytes a sealed segment had before it was compressed.
    pub(super) fn unpacked_bytes(&self, sealed: &Sealed) -> io::Result<u64> {
        let compressed = self.compressed(&sealed.segment)?;
        Ok(compressed.map_or(sealed.bytes, |compressed| compressed.unpacked))
    }

    /// The file of a segment that grows, or did when the caller took the view.
    pub(super) fn growing(&self, segment: &Arc<Segment>) -> io::Result<Arc<dyn File>> {
        if let Some(file) = &*segment.file.load() {
            self.note_use(segment);
            return Ok(Arc::clone(&file.0));
        }
        let path = segment.path();
        let file = self.trying_again(|| self.env.files.open(&path, Open::Write))?;
        self.keep_file(segment, Arc::clone(&file));
        Ok(file)
    }

    /// Keeps the file of a segment that grows.
    pub(super) fn keep_file(&self, segment: &Arc<Segment>, file: Arc<dyn File>) {
        segment.file.store(Some(Arc::new(GrowingFile(file))));
        self.keep(segment, true);
    }

    /// Reads something. If that fails for a reason that passes, such as a lack of file descriptors
    /// or maps, it lets go of all that is open and tries once more.
    fn trying_again<T>(&self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match read() {
            Err(error) if fault::of_reading(&error) == Meaning::Passing => {
                self.let_go();
                read()
            }
            read => read,
        }
    }

    /// Closes every segment that nobody uses; they are opened again when they are needed.
    pub(crate) fn let_go(&self) {
        let open = std::mem::take(&mut *lock(&self.open));
        // Closing files takes longer than a lock should be held.
        for segment in open.iter().filter_map(|open| open.segment.upgrade()) {
            segment.close();
        }
    }

    /// Closes a segment: it is not used any more as it was.
    pub(super) fn close(&self, segment: &Arc<Segment>) {
        lock(&self.open).retain(|open| !open.is(segment));
        segment.close();
    }

    /// Closes every segment of a topic.
    pub(crate) fn forget_topic(&self, topic: TopicId) {
        lock(&self.open).retain(|open| match open.segment.upgrade() {
            Some(segment) if segment.identity.topic == topic => {
                segment.close();
                false
            }
            segment => segment.is_some(),
        });
        lock(&self.frames).forget(|frame| frame.topic == topic);
    }

    /// Forgets the frames that were looked into of a segment.
    pub(super) fn forget_frames(&self, segment: &Segment, end: Offset) {
        let (identity, written) = (segment.identity, segment.written());
        let offsets = segment.base()..end;
        lock(&self.frames).forget(|frame| {
            let is_of_partition =
                frame.topic == identity.topic && frame.partition == identity.partition;
            is_of_partition && frame.written == written && offsets.contains(&frame.base)
        });
    }

    /// The frame with this offset, if it is one that is kept.
    pub(super) fn kept_frame(
        &self,
        identity: Identity,
        written: Written,
        offset: Offset,
    ) -> Option<Arc<KeptFrame>> {
        lock(&self.frames).find(identity, written, offset)
    }

    /// Keeps a frame for the next look-up.
    pub(super) fn keep_frame(&self, written: Written, frame: &Arc<KeptFrame>) {
        lock(&self.frames).keep(written, frame);
    }

    fn note_use(&self, segment: &Segment) {
        let now = self.opened.load(Ordering::Relaxed);
        // Nearly always it is so already, and then nothing is written that other threads read.
        if segment.used.load(Ordering::Relaxed) != now {
            segment.used.store(now, Ordering::Relaxed);
        }
    }

    /// Takes note that a segment has been opened, and closes another if there are too many.
    fn keep(&self, segment: &Arc<Segment>, is_file: bool) {
        let mut open = lock(&self.open);
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.note_use(segment);
        open.retain(|open| !open.is(segment));
        open.push(OpenSegment {
            segment: Arc::downgrade(segment),
            is_file,
        });
        // Both look at all; an opened file costs far more than that.
        if is_file && open.iter().filter(|open| open.is_file).count() > self.most_files {
            close_oldest(&mut open, |open| open.is_file);
        }
        if open.len() > self.most {
            close_oldest(&mut open, |_| true);
        }
    }
}

impl OpenSegment {
    fn is(&self, segment: &Arc<Segment>) -> bool {
        std::ptr::eq(self.segment.as_ptr(), Arc::as_ptr(segment))
    }

    /// When it was used last: one that is gone, before all others.
    fn used(&self) -> u64 {
        let segment = self.segment.upgrade();
        segment.map_or(0, |segment| segment.used.load(Ordering::Relaxed))
    }
}

/// Closes the least recently used of these.
fn close_oldest(open: &mut Vec<OpenSegment>, of: impl Fn(&OpenSegment) -> bool) {
    let these = open.iter().enumerate().filter(|(_, open)| of(open));
    let Some((at, _)) = these.min_by_key(|(_, open)| open.used()) else {
        return;
    };
    if let Some(segment) = open.swap_remove(at).segment.upgrade() {
        segment.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a segment has, from its frames.
fn walk_through(segment: &Segment, bytes: &ReadOnly) -> io::Result<Active> {
    let mut active = Active::new(segment.base(), 0);
    let mut walk = segment.walk(Source::of(bytes), bytes.len(), 0);
    while !walk.at_end() {
        match walk.frame()? {
            Some(frame) => {
                active.bytes = walk.position();
                active.note(frame.header(), frame.bytes().len());
                walk.skip(frame.bytes().len());
            }
            None => walk.resync()?,
        }
    }
    active.bytes = bytes.len();
    Ok(active)
}
