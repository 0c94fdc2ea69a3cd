//! Moves frames from a log's tail into its segments.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Active, Log, LogLock, OpenSegments, index::store_rows, name::Name, segment::Segment,
    view::Sealed,
};
use crate::{
    env::{File, FileSystem, Open, ToSync},
    storage::{
        files::{Action, FileError, STEP_BYTES, ensure_dir, remove_file},
        format::{
            frame::Frame,
            segment_file::{Header, IndexRow},
        },
    },
    types::{Offset, TopicSettings},
};

/// Most bytes given to the operating system in one write.
const WRITE_BYTES: usize = 4 << 20;

/// Writes to the end of a log's active segment. Each log has one writer, which one thread uses at a
/// time.
#[derive(Default)]
pub(crate) struct Writer {
    unsynced: u64,
    /// How many of the unsynced bytes went through the operating system's cache.
    cached: u64,
    /// How many index rows the index file has.
    stored_rows: usize,
    /// Whether the segment's name, or its directory's, is not durable yet.
    new_names: bool,
    /// Whether the name of the log's directory is known to be durable.
    dir_is_durable: bool,
}

impl Writer {
    /// Moves some of the frames before `end` from the tail to segments, at most `most` bytes.
    /// Returns how many bytes it moved; 0 if there are no such frames, or the first is larger.
    pub(crate) fn write_some(
        &mut self,
        log: &LogLock,
        segments: &OpenSegments,
        settings: &TopicSettings,
        end: Offset,
        most: u64,
    ) -> Result<usize, FileError> {
        loop {
            let (batch, growing) = next_batch(&log.lock(), settings, end, most);
            match growing {
                _ if batch.is_empty() => return Ok(0),
                Some((segment, active)) => {
                    return self.append(log, segments, &segment, active, &batch);
                }
                None => self.roll(log, segments, &batch[0])?,
            }
        }
    }

    /// Appends frames to the active segment, then moves them from the tail for readers too.
    fn append(
        &mut self,
        log: &LogLock,
        segments: &OpenSegments,
        segment: &Arc<Segment>,
        mut active: Active,
        batch: &[Frame],
    ) -> Result<usize, FileError> {
        let path = segment.path();
        let file = segments
            .growing(segment)
            .map_err(FileError::when(Action::Open, &path))?;
        let slices: Vec<&[u8]> = batch.iter().map(|frame| &frame.bytes()[..]).collect();
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        let position = active.bytes;
        self.cached +=
            segments
                .past_cache
                .append(&*segments.env.files, &path, &*file, &slices, position)?;
        for frame in batch {
            active.note(frame.header(), frame.bytes().len());
        }
        self.unsynced += active.bytes - position;
        {
            let mut log = log.lock();
            log.active = Some(active);
            for _ in batch {
                let moved = log
                    .tail
                    .pop_front()
                    .expect("only the writer takes frames from the tail");
                log.tail_bytes -= moved.frame.bytes().len();
            }
            if log.tail.is_empty() {
                // A tail that was long once must not keep its memory, because there are many logs.
                log.tail = VecDeque::new();
            }
        }
        if self.cached >= STEP_BYTES {
            self.sync_file(&*file, &path)?;
        }
        Ok(bytes)
    }

    /// Seals the active segment, if there is one, and starts the next with the frame `first`.
    fn roll(
        &mut self,
        log: &LogLock,
        segments: &OpenSegments,
        first: &Frame,
    ) -> Result<(), FileError> {
        self.seal(log, segments)?;
        let (segment, dir) = {
            let log = log.lock();
            (log.segment(Name::first(first.header().base)), log.dir())
        };
        // The directory's name becomes durable with the next checkpoint, even if it existed before
        // a crash.
        ensure_dir(&*segments.env.files, &dir)?;
        let header = Header {
            topic: segment.identity().topic,
            partition: segment.identity().partition,
            base: first.header().base,
            first_append_time_ms: first.header().append_time_ms,
            directory: segments.directory,
            compressed: None,
        };
        let path = segment.path();
        let file = create(&*segments.env.files, &path)?;
        file.write_all_at(&[&header.encode()], 0)
            .map_err(FileError::when(Action::Write, &path))?;
        self.new_names = true;
        self.stored_rows = 0;
        let active = Active::new(header.base, header.first_append_time_ms);
        (self.unsynced, self.cached) = (active.bytes, active.bytes);
        segments.keep_file(&segment, file);
        log.lock().grow(segment, active);
        Ok(())
    }

    /// Seals the active segment if it is as old as a segment may become, or all its records are
    /// trimmed: only sealed segments are removed. Returns whether it was the latter.
    pub(crate) fn seal_if_due(
        &mut self,
        log: &LogLock,
        segments: &OpenSegments,
        settings: &TopicSettings,
        now_ms: i64,
    ) -> Result<bool, FileError> {
        let (is_old, is_trimmed) = {
            let log = log.lock();
            let start = log.start();
            match log
                .active
                .as_ref()
                .filter(|active| active.base < active.end)
            {
                Some(active) => (
                    log.tail.is_empty() && active.is_old(settings, now_ms),
                    active.end <= start,
                ),
                None => (false, false),
            }
        };
        if is_old || is_trimmed {
            self.seal(log, segments)?;
        }
        Ok(is_trimmed)
    }

    /// Seals the active segment if it has records before this offset.
    pub(crate) fn seal_before(
        &mut self,
        log: &LogLock,
        segments: &OpenSegments,
        end: Offset,
    ) -> Result<(), FileError> {
        let has = log
            .lock()
            .active
            .as_ref()
            .is_some_and(|active| active.base < end && active.base < active.end);
        if has {
            self.seal(log, segments)
        } else {
            Ok(())
        }
    }

    /// Seals the active segment: syncs it and stores its index. From then on it does not change.
    fn seal(&mut self, log: &LogLock, segments: &OpenSegments) -> Result<(), FileError> {
        self.sync(log, segments)?;
        let Some((segment, rows)) = log.lock().index_of_growing() else {
            return Ok(());
        };
        store_rows(segments, &segment, &rows, self.stored_rows);
        log.lock().seal();
        segments.close(&segment);
        Ok(())
    }

    /// Makes the active segment durable: its bytes, its length and its name.
    pub(crate) fn sync(&mut self, log: &LogLock, segments: &OpenSegments) -> Result<(), FileError> {
        sync_together(&mut [(self, log)], segments)
    }

    /// What a sync of the active segment must do; `None` if all of it is synced.
    fn unsynced(
        &self,
        log: &LogLock,
        segments: &OpenSegments,
    ) -> Result<Option<Unsynced>, FileError> {
        let (segment, bytes) = {
            let log = log.lock();
            match log.growing().filter(|_| self.is_unsynced()) {
                Some((segment, active)) => (segment, active.bytes),
                None => return Ok(None),
            }
        };
        let path = segment.path();
        let file = match self.unsynced {
            0 => None,
            _ => Some(
                segments
                    .growing(&segment)
                    .map_err(FileError::when(Action::Open, &path))?,
            ),
        };
        let dir = self.new_names.then(|| segment.dir());
        let from = bytes - self.unsynced;
        Ok(Some(Unsynced {
            path,
            file,
            from,
            cached: self.cached,
            dir,
        }))
    }

    /// Notes that the whole active segment was synced, and writes the index rows so far.
    fn note_synced(&mut self, log: &LogLock, segments: &OpenSegments) {
        (self.unsynced, self.cached) = (0, 0);
        self.new_names = false;
        let Some((segment, rows)) = log.lock().take_unstored_rows() else {
            return;
        };
        // If this fails, the index is incomplete when it is opened, and is rebuilt.
        store_rows(segments, &segment, &rows, self.stored_rows);
        self.stored_rows += rows.len();
    }

    /// Whether the name of the log's directory is known to be durable. Call it only if you make it
    /// durable: from now on it counts as such.
    pub(crate) fn take_dir_is_durable(&mut self) -> bool {
        std::mem::replace(&mut self.dir_is_durable, true)
    }

    /// Whether there is something to sync.
    pub(crate) fn is_unsynced(&self) -> bool {
        self.unsynced > 0 || self.new_names
    }

    /// Whether all bytes of the active segment are durable.
    pub(crate) fn has_synced_bytes(&self) -> bool {
        self.unsynced == 0
    }

    fn sync_file(&mut self, file: &dyn File, path: &Path) -> Result<(), FileError> {
        file.sync_data()
            .map_err(FileError::when(Action::Sync, path))?;
        (self.unsynced, self.cached) = (0, 0);
        Ok(())
    }
}

/// The unsynced part of an active segment.
struct Unsynced {
    path: PathBuf,
    /// Its file, if bytes of it are unsynced.
    file: Option<Arc<dyn File>>,
    /// Where the unsynced bytes begin.
    from: u64,
    /// How many of these are in the operating system's cache.
    cached: u64,
    /// The directory, if the file's name is not durable.
    dir: Option<PathBuf>,
}

/// Makes the active segments of several logs durable: their bytes, lengths and names. Nobody else
/// uses the writers meanwhile.
pub(crate) fn sync_together(
    logs: &mut [(&mut Writer, &LogLock)],
    segments: &OpenSegments,
) -> Result<(), FileError> {
    let mut unsynced = Vec::with_capacity(logs.len());
    for (writer, log) in &*logs {
        unsynced.extend(writer.unsynced(log, segments)?);
    }
    let mut left = &unsynced[..];
    while !left.is_empty() {
        let (some, rest) = left.split_at(step_of(left));
        sync_files(&*segments.env.files, some)?;
        left = rest;
    }
    // Content is durable before its name is.
    let dirs = unsynced.iter().filter_map(|one| {
        let dir = one.dir.as_deref()?;
        Some((dir, ToSync::Dir(dir)))
    });
    sync_each(&*segments.env.files, dirs.collect())?;
    for (writer, log) in logs {
        writer.note_synced(log, segments);
    }
    Ok(())
}

/// How many of these segments are synced at a time: at least one, and no more than have a step's
/// bytes in the cache.
fn step_of(unsynced: &[Unsynced]) -> usize {
    let mut bytes = 0;
    let fit = unsynced.iter().take_while(|one| {
        bytes += one.cached;
        bytes <= STEP_BYTES
    });
    fit.count().max(1)
}

/// Syncs the files of these segments.
fn sync_files(files: &dyn FileSystem, unsynced: &[Unsynced]) -> Result<(), FileError> {
    if unsynced.len() > 1 {
        // The file system then commits all of them together with the first sync.
        for one in unsynced {
            if let Some(file) = &one.file {
                file.begin_writing(one.from);
            }
        }
    }
    let to_sync = unsynced.iter().filter_map(|one| {
        let file = one.file.as_deref()?;
        Some((&*one.path, ToSync::File(file)))
    });
    sync_each(files, to_sync.collect())
}

/// Creates a segment's file. Removes one that is there already: a part that was written before the
/// disk was full.
fn create(files: &dyn FileSystem, path: &Path) -> Result<Arc<dyn File>, FileError> {
    let mut created = files.open(path, Open::Create);
    if matches!(&created, Err(error) if error.kind() == ErrorKind::AlreadyExists) {
        remove_file(files, path)?;
        created = files.open(path, Open::Create);
    }
    created.map_err(FileError::when(Action::Create, path))
}

/// Syncs all of these; returns the first error.
fn sync_each(files: &dyn FileSystem, these: Vec<(&Path, ToSync<'_>)>) -> Result<(), FileError> {
    let (paths, these): (Vec<_>, Vec<_>) = these.into_iter().unzip();
    for (path, synced) in paths.into_iter().zip(files.sync_all(&these)) {
        synced.map_err(FileError::when(Action::Sync, path))?;
    }
    Ok(())
}

impl Log {
    /// The growing segment and its state.
    fn growing(&self) -> Option<(Arc<Segment>, &Active)> {
        let segment = self.view().growing.clone();
        segment.zip(self.active.as_ref())
    }

    /// The growing segment, and the rows that its index file still needs if it is sealed now.
    fn index_of_growing(&self) -> Option<(Arc<Segment>, Vec<IndexRow>)> {
        let (segment, active) = self.growing()?;
        Some((segment, active.last_rows()))
    }

    /// The growing segment, and the rows that its index file lacks, which the caller stores; `None`
    /// if there are none.
    fn take_unstored_rows(&mut self) -> Option<(Arc<Segment>, Vec<IndexRow>)> {
        let segment = self.view().growing.clone()?;
        let rows = self.active.as_mut()?.rows.take_unstored();
        (!rows.is_empty()).then_some((segment, rows))
    }

    /// Makes the growing segment a sealed one.
    fn seal(&mut self) {
        let Some(active) = self.active.take() else {
            return;
        };
        // All offsets up to the tail belong to this segment, even those whose records are lost.
        let tail = self.tail.front().map(|first| first.frame.header().base);
        let end = tail.unwrap_or(self.end).max(active.end);
        self.change_view(|view| {
            view.sealed
                .extend(view.growing.take().map(|segment| Sealed {
                    segment,
                    end,
                    bytes: active.bytes,
                    last_append_ms: Some(active.last_append_ms),
                }));
        });
    }
}

/// The frames before `end` that the active segment takes next, at most `most` bytes, with the
/// segment. If it cannot take the first one, that frame alone, for a new segment.
fn next_batch(
    log: &Log,
    settings: &TopicSettings,
    end: Offset,
    most: u64,
) -> (Vec<Frame>, Option<(Arc<Segment>, Active)>) {
    let is_meant = |frame: &Frame| frame.header().base < end && frame.bytes().len() as u64 <= most;
    let Some(first) = log.tail.front().filter(|first| is_meant(&first.frame)) else {
        return (Vec::new(), None);
    };
    let has_room = |(_, active): &(_, &Active)| active.has_room_for(&first.frame, settings);
    let Some((segment, active)) = log.growing().filter(has_room) else {
        return (vec![first.frame.clone()], None);
    };
    let mut bytes = 0;
    let batch = log
        .tail
        .iter()
        .map(|tailed| &tailed.frame)
        .take_while(|frame| is_meant(frame))
        .take_while(|frame| {
            let fits = bytes == 0
                || (bytes < WRITE_BYTES
                    && (bytes + frame.bytes().len()) as u64 <= most
                    && active.bytes + (bytes + frame.bytes().len()) as u64
                        <= settings.roll_bytes()
                    && frame.header().append_time_ms - active.first_append_time_ms
                        < millis(settings)
                    && frame.header().end().0 - active.base.0 < u64::from(u32::MAX));
            bytes += frame.bytes().len();
            fits
        });
    (batch.cloned().collect(), Some((segment, active.clone())))
}

impl Active {
    fn has_room_for(&self, frame: &Frame, settings: &TopicSettings) -> bool {
        let empty = self.end == self.base;
        let fits = self.bytes + frame.bytes().len() as u64 <= settings.roll_bytes()
            && frame.header().end().0 - self.base.0 < u64::from(u32::MAX);
        empty || (fits && !self.is_old(settings, frame.header().append_time_ms))
    }

    fn is_old(&self, settings: &TopicSettings, now_ms: i64) -> bool {
        now_ms.saturating_sub(self.first_append_time_ms) >= millis(settings)
    }
}

fn millis(settings: &TopicSettings) -> i64 {
    i64::try_from(settings.roll_ms()).unwrap_or(i64::MAX)
}
