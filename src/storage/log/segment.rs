//! Segments, and how many of them are kept open.
//!
//! A [`Segment`] stands for the same file as long as it lives, whatever happens to the log. So what
//! was opened of it can be used by everyone who has the segment, and closing it changes nothing but
//! speed.

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
    past_cache::PastCache,
    view::Sealed,
    walk::{Source, Walk},
};
use crate::{
    env::{Env, File, Open, Tally},
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

/// A hard limit on open segments, whatever is configured. A large segment takes two maps, one for
/// its index, of the 65,530 that the kernel allows by default; key indexes need maps too.
const MOST_OPEN: usize = 16_384;

/// A segment's file. It is removed only when just the list of segments to remove still has the
/// segment.
pub(crate) struct Segment {
    /// The directory of the topic, shared by all its segments.
    topic_dir: Arc<Path>,
    identity: Identity,
    name: Name,
    /// The bytes and index, while it is open as a sealed segment.
    content: ArcSwapOption<Content>,
    /// The file, while it is open as a growing segment.
    file: ArcSwapOption<GrowingFile>,
    /// The value of [`OpenSegments::opened`] when it was last used.
    used: AtomicU64,
    /// The number of records plus one; 0 if it is not known. See `count.rs`.
    pub(super) records: AtomicU64,
    /// The compression that its header says, once it was read.
    compressed: OnceLock<Option<Compressed>>,
    /// Whether it must not be compressed.
    is_left_alone: AtomicBool,
    maps: Maps,
}

/// The bytes and the index of a sealed segment.
pub(super) struct Content {
    pub(super) bytes: ReadOnly,
    pub(super) rows: Rows,
}

/// The file of a growing segment.
struct GrowingFile(Arc<dyn File>);

/// Which segments are open: sealed ones as maps if possible, with their index, growing ones as
/// files. If there are too many, the least recently used are closed: by default the kernel allows
/// 65,530 maps, and often 1,024 files.
pub(crate) struct OpenSegments {
    pub(super) env: Env,
    most: usize,
    /// Most segments that are open as files.
    most_files: usize,
    /// The data directory's identity, for the headers of new segments.
    pub(super) directory: Option<identity::Identity>,
    open: Mutex<Vec<OpenSegment>>,
    /// How many segments were opened so far.
    opened: AtomicU64,
    frames: Mutex<KeptFrames>,
    /// Writes to growing segments.
    pub(super) past_cache: PastCache,
    /// Counts index files that cannot be written.
    unwritten: Mutex<Tally>,
    /// Held while a missing index is written.
    indexing: Mutex<()>,
    /// Frees the space of removed segments.
    freeing: Arc<Freeing>,
}

/// A segment that is open.
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

    /// Whether it must not be compressed.
    pub(super) fn is_left_alone(&self) -> bool {
        self.is_left_alone.load(Ordering::Relaxed)
    }

    pub(super) fn leave_alone(&self) {
        self.is_left_alone.store(true, Ordering::Relaxed);
    }

    /// Remembers the compression that its header says.
    pub(super) fn note_compressed(&self, compressed: Option<Compressed>) {
        // Setting it again does no harm: a file's compression does not change.
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

    /// Counts an opened file as in use, if it is mapped.
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
    /// The range in which to search for a frame: from the last index row at or before it to the
    /// next row.
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
            past_cache: PastCache::default(),
            unwritten: Mutex::default(),
            indexing: Mutex::default(),
            freeing: Arc::default(),
        }
    }

    /// Keeps at most `most_files` of them open as files, which need descriptors; maps do not, and
    /// descriptors are often few.
    pub(crate) fn with_files(mut self, most_files: usize) -> Self {
        self.most_files = most_files.max(1);
        self
    }

    /// Frees the space of removed segments.
    pub(crate) fn freeing(&self) -> &Arc<Freeing> {
        &self.freeing
    }

    /// Sets the data directory that new segments name.
    pub(crate) fn of_directory(mut self, directory: identity::Identity) -> Self {
        self.directory = Some(directory);
        self
    }

    /// The bytes and the index of a sealed segment. A missing index is built.
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
        let is_stored = store_rows(self, segment, &rows, 0);
        if segment.written() != Written::First {
            note_records(self, segment, rows.len(), whole.records);
        }
        if is_stored {
            tracing::info!(path = %path.display(), "the index of a segment was rebuilt");
        }
        let rows = Rows::of(&rows);
        Ok(self.keep_content(segment, Content { bytes, rows }))
    }

    /// Counts an index file that cannot be written; returns how many there were since that was
    /// logged, if it is to be logged now.
    pub(super) fn count_unwritten(&self) -> Option<u64> {
        lock(&self.unwritten).happened(self.env.clock.elapsed())
    }

    fn keep_content(&self, segment: &Arc<Segment>, content: Content) -> Arc<Content> {
        let content = Arc::new(content);
        segment.content.store(Some(Arc::clone(&content)));
        self.keep(segment, false);
        content
    }

    /// How a sealed segment was compressed, if it was.
    pub(super) fn compressed(&self, segment: &Segment) -> io::Result<Option<Compressed>> {
        if segment.name.revision() == 0 {
            // A segment that was not written anew has its frames as they were appended.
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

    /// The size of a sealed segment before compression, in bytes.
    pub(super) fn unpacked_bytes(&self, sealed: &Sealed) -> io::Result<u64> {
        let compressed = self.compressed(&sealed.segment)?;
        Ok(compressed.map_or(sealed.bytes, |compressed| compressed.unpacked))
    }

    /// The file of a segment that grows, or that grew when the caller took the view.
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

    /// Keeps the file of a growing segment open.
    pub(super) fn keep_file(&self, segment: &Arc<Segment>, file: Arc<dyn File>) {
        segment.file.store(Some(Arc::new(GrowingFile(file))));
        self.keep(segment, true);
    }

    /// Calls `read`. If it fails for a reason that may pass, such as a lack of file descriptors or
    /// maps, closes all open segments and calls it once more.
    fn trying_again<T>(&self, read: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match read() {
            Err(error) if fault::of_reading(&error) == Meaning::Passing => {
                self.let_go();
                read()
            }
            read => read,
        }
    }

    /// Closes all open segments; they are opened again when needed.
    pub(crate) fn let_go(&self) {
        let open = std::mem::take(&mut *lock(&self.open));
        // Outside the lock, because closing files takes long.
        for segment in open.iter().filter_map(|open| open.segment.upgrade()) {
            segment.close();
        }
    }

    /// Closes a segment whose file is about to change its use.
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

    /// Drops the kept frames of a segment.
    pub(super) fn forget_frames(&self, segment: &Segment, end: Offset) {
        let (identity, written) = (segment.identity, segment.written());
        let offsets = segment.base()..end;
        lock(&self.frames).forget(|frame| {
            let is_of_partition =
                frame.topic == identity.topic && frame.partition == identity.partition;
            is_of_partition && frame.written == written && offsets.contains(&frame.base)
        });
    }

    /// The kept frame that covers this offset, if there is one.
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
        // Mostly it is `now` already; then nothing is written, so other threads' caches are not
        // disturbed.
        if segment.used.load(Ordering::Relaxed) != now {
            segment.used.store(now, Ordering::Relaxed);
        }
    }

    /// Adds a segment that was opened, and closes others if there are too many.
    fn keep(&self, segment: &Arc<Segment>, is_file: bool) {
        let mut closed = Vec::new();
        {
            let mut open = lock(&self.open);
            self.opened.fetch_add(1, Ordering::Relaxed);
            self.note_use(segment);
            open.retain(|open| !open.is(segment));
            open.push(OpenSegment {
                segment: Arc::downgrade(segment),
                is_file,
            });
            if is_file {
                closed = take_oldest(&mut open, self.most_files, |open| open.is_file);
            }
            closed.extend(take_oldest(&mut open, self.most, |_| true));
        }
        // Outside the lock, because closing files takes long.
        for segment in closed {
            segment.close();
        }
    }
}

impl OpenSegment {
    fn is(&self, segment: &Arc<Segment>) -> bool {
        std::ptr::eq(self.segment.as_ptr(), Arc::as_ptr(segment))
    }

    /// When it was last used; 0 if the segment is gone.
    fn used(&self) -> u64 {
        let segment = self.segment.upgrade();
        segment.map_or(0, |segment| segment.used.load(Ordering::Relaxed))
    }
}

/// If there are more than `most` segments for which `of` is true, takes the least recently used of
/// them: an eighth more than it must, because finding them takes longer than opening a file.
fn take_oldest(
    open: &mut Vec<OpenSegment>,
    most: usize,
    of: impl Fn(&OpenSegment) -> bool,
) -> Vec<Arc<Segment>> {
    let number = open.iter().filter(|open| of(open)).count();
    if number <= most {
        return Vec::new();
    }
    let mut left = number - most + most / 8;
    let mut taken = Vec::with_capacity(left);
    // Stable, so that the segment that was opened last stays last.
    open.sort_by_cached_key(OpenSegment::used);
    open.retain(|open| {
        let is_taken = left > 0 && of(open);
        if is_taken {
            left -= 1;
            taken.extend(open.segment.upgrade());
        }
        !is_taken
    });
    taken
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads the state of a segment from its frames.
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
