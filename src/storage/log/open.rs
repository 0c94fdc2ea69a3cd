//! Opening a log after a start.
//!
//! With a checkpoint, a log is *cut* back to the checkpoint: what was written to segments since is
//! also in the journal and is applied again from there. Without one, or if the journal is damaged,
//! the log is *scanned*: a sound frame in a segment was certainly acknowledged, because frames are
//! written to segments only after they are durable in the journal.

use std::{io, path::Path, sync::Arc};

use super::{
    Active, Identity, Log, OpenSegments,
    index::{GrowingRows, load_rows_prefix},
    name::{Name, list},
    segment::Segment,
    view::Sealed,
    walk::Source,
};
use crate::{
    env::Open,
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_file, sync_parent},
        format::{checkpoint, segment_file},
    },
    types::Offset,
};

impl Log {
    /// Opens a log as the checkpoint describes it, and cuts off what was written later.
    pub(crate) fn cut(
        identity: Identity,
        topic_dir: Arc<Path>,
        at: checkpoint::Partition,
        segments: &OpenSegments,
    ) -> Result<Self, FileError> {
        let mut log = Self::new(identity, topic_dir);
        let dir = log.dir();
        log.set_end(at.end);
        log.last_append_time_ms = at.last_append_time_ms;
        log.retired_file = at.retired;
        let limit = at.active.map_or(at.end, |active| active.base);
        let files = &*segments.env.files;
        let listed = list(files, &dir)?;
        listed.remove_leftovers(files, &dir)?;
        let mut sealed = Vec::new();
        for (name, bytes) in listed.segments {
            if at.active.is_some_and(|active| active.base == name.base()) {
                continue;
            }
            if name.base() < limit {
                sealed.push(log.sealed(name, limit, bytes));
            } else {
                remove_file(files, &name.path(&dir))?;
                remove_file(files, &name.index_path(&dir))?;
            }
        }
        if let Some(active) = at.active {
            log.cut_active(active, &mut sealed, segments)?;
        }
        log.begin(at.start, sealed);
        Ok(log)
    }

    /// A sealed segment as it was found.
    fn sealed(&self, name: Name, end: Offset, bytes: u64) -> Sealed {
        Sealed {
            segment: self.segment(name),
            end,
            bytes,
            last_append_ms: None,
        }
    }

    pub(super) fn segment(&self, name: Name) -> Arc<Segment> {
        Segment::new(Arc::clone(&self.topic_dir), self.identity, name)
    }

    /// Sets the start and the sealed segments.
    fn begin(&mut self, start: Offset, mut sealed: Vec<Sealed>) {
        // A sealed segment reaches up to the next one.
        for at in 1..sealed.len() {
            sealed[at - 1].end = sealed[at].base();
        }
        self.set_end(self.end.max(start));
        let is_new = start == Offset::ZERO && sealed.is_empty();
        if !is_new {
            self.change_view(|view| (view.start, view.sealed) = (start, sealed));
        }
    }

    fn cut_active(
        &mut self,
        at: checkpoint::Active,
        sealed: &mut Vec<Sealed>,
        segments: &OpenSegments,
    ) -> Result<(), FileError> {
        let found = match self.try_cut_active(at, segments) {
            Err(error) if error.meaning() == Meaning::Damage => {
                tracing::error!(%error, "a segment is missing or cannot be read; reading its offsets gives DATA_LOSS");
                Some(0)
            }
            cut => cut?,
        };
        // The segment cannot be read completely, so it is sealed; the next frames go to another.
        if let Some(bytes) = found {
            let last_append_ms = Some(self.last_append_time_ms);
            sealed.push(Sealed {
                last_append_ms,
                ..self.sealed(Name::first(at.base), self.end, bytes)
            });
        }
        Ok(())
    }

    /// Cuts the active segment to the checkpoint's length. Returns its actual length if it is too
    /// short.
    fn try_cut_active(
        &mut self,
        at: checkpoint::Active,
        segments: &OpenSegments,
    ) -> Result<Option<u64>, FileError> {
        let segment = self.segment(Name::first(at.base));
        let path = segment.path();
        let file = segments
            .env
            .files
            .open(&path, Open::Write)
            .map_err(FileError::when(Action::Open, &path))?;
        let found = file.len().map_err(FileError::when(Action::Read, &path))?;
        if found < at.len {
            tracing::error!(path = %path.display(), found, expected = at.len, "a segment is too short; reading what is \
                missing gives DATA_LOSS");
            return Ok(Some(found));
        }
        if found > at.len {
            file.set_len(at.len)
                .map_err(FileError::when(Action::Cut, &path))?;
            file.sync_data()
                .map_err(FileError::when(Action::Sync, &path))?;
        }
        let active = self.load_active(&segment, at.len, Trust::Index, segments)?;
        // The checkpoint knows the end even if damage hides it.
        let active = Active {
            end: self.end,
            bytes: at.len,
            ..active
        };
        self.grow(segment, active);
        Ok(None)
    }

    /// Opens a log without a checkpoint, up to the last sound frame in its segments, and syncs what
    /// it finds.
    ///
    /// The journal has all frames from `redo_from` on. From there, anything that is not sound was
    /// not synced: the log is cut there, and the journal's frames are applied again. Before that,
    /// or without a journal, anything that is not sound is damage, and what lies behind it is kept.
    pub(crate) fn scan(
        identity: Identity,
        topic_dir: Arc<Path>,
        start: Offset,
        redo_from: Option<Offset>,
        segments: &OpenSegments,
    ) -> Result<Self, FileError> {
        let mut log = Self::new(identity, topic_dir);
        let dir = log.dir();
        let files = &*segments.env.files;
        let listed = list(files, &dir)?;
        listed.remove_leftovers(files, &dir)?;
        let mut sealed = Vec::new();
        let mut found = listed.segments.iter().peekable();
        while let Some((name, bytes)) = found.next() {
            let path = name.path(&dir);
            let file = files
                .open(&path, Open::Write)
                .map_err(FileError::when(Action::Open, &path))?;
            if let Some((next, _)) = found.peek() {
                sealed.push(log.sealed(*name, next.base(), *bytes));
            } else if let Some(end) = name.end() {
                // A segment that was written anew does not grow. It is read for its last append
                // time only.
                let last = log.sealed(*name, end, *bytes);
                let trust = Trust::Frames {
                    redo_from: Offset(u64::MAX),
                };
                log.load_active(&last.segment, *bytes, trust, segments)?;
                segments.close(&last.segment);
                log.set_end(end);
                sealed.push(last);
            } else {
                let trust = Trust::Frames {
                    redo_from: redo_from.unwrap_or(Offset(u64::MAX)),
                };
                let segment = log.segment(*name);
                let active = log.load_active(&segment, *bytes, trust, segments)?;
                if active.bytes < *bytes {
                    tracing::info!(path = %path.display(), kept = active.bytes, found = *bytes, "cut behind the last \
                        sound frame");
                    file.set_len(active.bytes)
                        .map_err(FileError::when(Action::Cut, &path))?;
                }
                log.set_end(active.end);
                log.grow(segment, active);
            }
            file.sync_data()
                .map_err(FileError::when(Action::Sync, &path))?;
        }
        if !listed.segments.is_empty() {
            files
                .sync_dir(&dir)
                .map_err(FileError::when(Action::Sync, &dir))?;
            sync_parent(files, &dir)?;
        }
        log.begin(start, sealed);
        Ok(log)
    }

    /// Makes a segment the active one, which grows from its current end.
    pub(super) fn grow(&mut self, segment: Arc<Segment>, active: Active) {
        self.active = Some(active);
        self.change_view(|view| view.growing = Some(segment));
    }

    /// Finds the end of a segment of `bytes` bytes: by its index as far as that is trusted, then by
    /// its frames.
    fn load_active(
        &mut self,
        segment: &Arc<Segment>,
        bytes: u64,
        trust: Trust,
        segments: &OpenSegments,
    ) -> Result<Active, FileError> {
        let (base, path) = (segment.base(), segment.path());
        let reading = |error| FileError::when(Action::Read, &path)(error);
        let file = segments.growing(segment).map_err(reading)?;
        let mut head = [0; segment_file::HEADER_BYTES as usize];
        let header = match file.read_exact_at(&mut head, 0) {
            Ok(()) => segment_file::Header::decode(&head),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(error) => return Err(reading(error)),
        };
        let first_append_time_ms = header.map_or_else(
            || segments.env.clock.now_ms(),
            |header| header.first_append_time_ms,
        );
        let mut active = Active::new(base, first_append_time_ms);
        let mut rows = match trust {
            Trust::Index => load_rows_prefix(&segments.env, &segment.dir(), segment.name(), bytes)?,
            Trust::Frames { .. } => Vec::new(),
        };
        let walk_from = |position| segment.walk(Source::File(file.clone()), bytes, position);
        // The last row decides where the log ends, so it is believed only if its frame is there.
        while let Some(last) = rows.last() {
            let mut walk = walk_from(u64::from(last.position));
            let frame = if walk.at_end() {
                None
            } else {
                walk.frame().map_err(reading)?
            };
            if frame.is_some_and(|frame| frame.header().base == base.plus(u64::from(last.relative)))
            {
                break;
            }
            rows.pop();
        }
        if let Some(last) = rows.last() {
            active.bytes = u64::from(last.position);
            active.end = base.plus(u64::from(last.relative));
            active.latest_timestamp_ms = last.latest_before_ms;
        }
        active.rows = GrowingRows::of(rows);
        let mut walk = walk_from(active.bytes);
        while !walk.at_end() {
            let Some(frame) = walk.frame().map_err(reading)? else {
                if matches!(trust, Trust::Frames { redo_from } if active.end >= redo_from) {
                    break;
                }
                // Damage is followed by sound frames, a torn tail is not.
                walk.resync().map_err(reading)?;
                continue;
            };
            active.bytes = walk.position();
            active.note(frame.header(), frame.bytes().len());
            self.last_append_time_ms = self.last_append_time_ms.max(frame.header().append_time_ms);
            walk.skip(frame.bytes().len());
        }
        Ok(active)
    }
}

/// How far a segment's file can be trusted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Everything was synced, and the index can be used.
    Index,
    /// Only sound frames count. Those from `redo_from` on may not have been synced.
    Frames { redo_from: Offset },
}
