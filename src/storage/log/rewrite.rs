//! Writing sealed segments anew: one segment with some of its frames changed, or several adjacent
//! ones as one.
//!
//! Every change of sealed segments works like this, as a filter over their frames: erasure,
//! compaction, and compression, which changes no frame. Frames keep their offsets. Nobody can tell
//! what damaged bytes contained, so zeros of the same length take their place, and the damage is
//! reported as before.
//!
//! The new segment is first written to a file that is not part of the log. As soon as that file
//! gets its final name, it replaces the old ones, even for a start after a crash (`name.rs`). Then
//! the new segment replaces them in the view, and their files are removed when nobody reads them
//! any more. Readers of the old segments are not disturbed.
//!
//! Only segments that a durable checkpoint knows as sealed are written anew: everything behind the
//! checkpoint is cut off by a start, and applied again from the journal.
//!
//! Segments may be trimmed and removed while they are being written anew. To keep them from coming
//! back, removal is blocked while a new segment is installed, and nothing is installed for segments
//! that are gone.

use std::{io, ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{
    Active, Log, LogLock, OpenSegments,
    count::note_records,
    index::store_rows,
    name::Name,
    output::{Output, WRITE_BYTES},
    removed::{Gone, remove_gone},
    segment::Segment,
    view::Sealed,
    walk::{Source, Walk},
};
use crate::{
    codec::Method,
    env::Open,
    storage::{
        files::{Action, FileError, remove_file, sync_parent},
        format::{
            frame::Frame,
            segment_file::{Compressed, HEADER_BYTES, Header},
        },
        read_only::ReadOnly,
    },
    types::Offset,
};

/// Sealed segments that are to be written anew as one.
pub(crate) struct Rewrite<'a> {
    segments: &'a OpenSegments,
    old: Vec<Old>,
    /// The header to write: that of the first old segment, or zeros if it is damaged.
    header: Bytes,
    /// Whether it differs from the old one's.
    header_is_new: bool,
    /// How the new segment is compressed, if it is.
    method: Option<Method>,
}

/// A segment that is to be written anew.
struct Old {
    sealed: Sealed,
    content: ReadOnly,
}

/// Decides what is written in place of each frame.
pub(crate) trait Edit {
    /// Whether segments with damage are written anew too, with zeros in its place.
    const TAKES_DAMAGE: bool;

    /// Takes the next frame, and adds what is ready to be written to `out`.
    fn take(&mut self, frame: Frame, out: &mut Vec<Frame>);

    /// Adds what is still to be written to `out`, before damage or the end.
    fn finish(&mut self, out: &mut Vec<Frame>);
}

/// Keeps all frames; segments with damage are left alone.
pub(crate) struct Same;

impl Edit for Same {
    const TAKES_DAMAGE: bool = false;

    fn take(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        out.push(frame);
    }

    fn finish(&mut self, _: &mut Vec<Frame>) {}
}

/// Edits each frame on its own.
struct Each<F>(F);

impl<F: Fn(&Frame) -> Option<Frame>> Edit for Each<F> {
    const TAKES_DAMAGE: bool = true;

    fn take(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        out.push((self.0)(&frame).unwrap_or(frame));
    }

    fn finish(&mut self, _: &mut Vec<Frame>) {}
}

/// A segment that was written anew but has not replaced the old ones yet. If it is dropped, its
/// file is removed.
pub(crate) struct Rewritten<'a> {
    segments: &'a OpenSegments,
    old: Vec<Sealed>,
    dir: PathBuf,
    name: Name,
    /// Base, length and index rows.
    active: Active,
    /// The compression that its header says.
    compressed: Option<Compressed>,
}

impl<'a> Rewrite<'a> {
    /// The sealed segment at `base`, trimmed or not; `None` if it is gone already.
    pub(crate) fn of(
        log: &'a LogLock,
        segments: &'a OpenSegments,
        base: Offset,
    ) -> Result<Option<Self>, FileError> {
        let view = log.view();
        match view.find(base).filter(|sealed| sealed.base() == base) {
            Some(sealed) => Self::of_all(segments, std::slice::from_ref(sealed)),
            None => Ok(None),
        }
    }

    /// The sealed segments that cover exactly these offsets, to be written as one. `None` if there
    /// are no such segments, one of them is trimmed, or together they are too large for one
    /// segment.
    pub(crate) fn of_several(
        log: &'a LogLock,
        segments: &'a OpenSegments,
        offsets: &Range<Offset>,
    ) -> Result<Option<Self>, FileError> {
        let view = log.view();
        let live = view.live();
        let first = live.partition_point(|sealed| sealed.base() < offsets.start);
        let behind = live.partition_point(|sealed| sealed.base() < offsets.end);
        let these = live.get(first..behind).unwrap_or_default();
        let is_whole = these.first().map(Sealed::base) == Some(offsets.start)
            && these.last().map(|sealed| sealed.end) == Some(offsets.end);
        let mut bytes = 0;
        for sealed in these {
            let path = sealed.segment.path();
            let unpacked = segments.unpacked_bytes(sealed);
            bytes += unpacked.map_err(FileError::when(Action::Read, &path))?;
        }
        let most = u64::from(u32::MAX);
        if is_whole && bytes <= most && offsets.end.0 - offsets.start.0 <= most {
            Self::of_all(segments, these)
        } else {
            Ok(None)
        }
    }

    fn of_all(segments: &'a OpenSegments, these: &[Sealed]) -> Result<Option<Self>, FileError> {
        let mut old = Vec::with_capacity(these.len());
        for sealed in these {
            let path = sealed.segment.path();
            match ReadOnly::open(&*segments.env.files, &path, || segments.let_go()) {
                Ok(content) => old.push(Old {
                    content: sealed.segment.mapped(content),
                    sealed: sealed.clone(),
                }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(FileError::when(Action::Map, &path)(error)),
            }
        }
        let Some(first) = old.first() else {
            return Ok(None);
        };
        let found = first
            .content
            .read(0, HEADER_BYTES)
            .map_err(first.reading())?;
        let header = sound_header(&found);
        Ok(Some(Self {
            segments,
            old,
            header_is_new: header != found,
            header,
            method: None,
        }))
    }

    /// Sets how the new segment is compressed. Without a method, compressed frames are stored as
    /// they were appended.
    pub(crate) fn compressed(mut self, method: Option<Method>) -> Self {
        self.method = method;
        self
    }

    /// Whether the first segment's header is sound.
    pub(crate) fn has_header(&self) -> bool {
        !self.header_is_new
    }

    /// The size of the old segments' files, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.old.iter().map(|old| old.content.len()).sum()
    }

    /// The size of the old segments uncompressed: at most what the new one takes, and how much is
    /// read.
    pub(crate) fn room(&self) -> Result<u64, FileError> {
        let mut room = 0;
        for old in &self.old {
            let unpacked = self.segments.unpacked_bytes(&old.sealed);
            room += unpacked.map_err(old.reading())?.max(old.content.len());
        }
        Ok(room)
    }

    /// Whether anything would change: `edit` replaces a frame, or there is damage.
    pub(crate) fn is_needed(
        &self,
        edit: impl Fn(&Frame) -> Option<Frame>,
    ) -> Result<bool, FileError> {
        if self.header_is_new {
            return Ok(true);
        }
        for old in &self.old {
            let mut walk = old.walk();
            while !walk.at_end() {
                let needed = match old.next(&mut walk)? {
                    Part::Frame(frame) => edit(&frame).is_some(),
                    Part::Damaged(damaged) => old.has_bytes(damaged)?,
                };
                if needed {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether `is_it` is true for some frame; `None` if damage comes before such a frame.
    pub(crate) fn find_frame(
        &self,
        mut is_it: impl FnMut(&Frame) -> bool,
    ) -> Result<Option<bool>, FileError> {
        for old in &self.old {
            let mut walk = old.walk();
            while !walk.at_end() {
                match old.next(&mut walk)? {
                    Part::Frame(frame) if is_it(&frame) => return Ok(Some(true)),
                    Part::Frame(_) => {}
                    Part::Damaged(_) => return Ok(None),
                }
            }
        }
        Ok(Some(false))
    }

    /// Writes the new segment, with the frames that `edit` replaces.
    pub(crate) fn write(
        self,
        edit: impl Fn(&Frame) -> Option<Frame>,
    ) -> Result<Rewritten<'a>, FileError> {
        let written = self.write_edited(&mut Each(edit))?;
        Ok(written.expect("damage is written as zeros"))
    }

    /// Writes the new segment, with the frames that come out of the edit; `None` if there is
    /// damage, and the edit does not take damage.
    pub(crate) fn write_edited<E: Edit>(
        self,
        edit: &mut E,
    ) -> Result<Option<Rewritten<'a>>, FileError> {
        let files = &*self.segments.env.files;
        let (first, last) = (&self.old[0].sealed, &self.old[self.old.len() - 1].sealed);
        let name = first.segment.name().anew(last.end);
        let dir = first.segment.dir();
        let path = name.unfinished_path(&dir);
        remove_file(files, &path)?;
        let new = files
            .open(&path, Open::Create)
            .map_err(FileError::when(Action::Create, &path))?;
        // From here on the file is removed if anything fails, so that it does not fill a full disk.
        let mut rewritten = Rewritten {
            segments: self.segments,
            old: self.old.iter().map(|old| old.sealed.clone()).collect(),
            dir,
            name,
            active: Active::new(name.base(), i64::MIN),
            compressed: None,
        };
        let active = &mut rewritten.active;
        let mut out = Output::new(&*new, &path, self.method);

        out.put(&self.header)?;
        let mut ready = Vec::new();
        for old in &self.old {
            let mut walk = old.walk();
            while !walk.at_end() {
                match old.next(&mut walk)? {
                    Part::Frame(frame) => {
                        edit.take(frame, &mut ready);
                        out.put_frames(&mut ready, active)?;
                    }
                    Part::Damaged(_) if !E::TAKES_DAMAGE => return Ok(None),
                    Part::Damaged(damaged) => {
                        edit.finish(&mut ready);
                        out.put_frames(&mut ready, active)?;
                        out.finish_block(active)?;
                        out.put_zeros(damaged.end - damaged.start)?;
                    }
                }
            }
        }
        edit.finish(&mut ready);
        out.put_frames(&mut ready, active)?;
        out.finish_block(active)?;
        out.flush()?;
        active.bytes = out.len();
        rewritten.compressed = out.put_header(&self.header)?;
        out.sync()?;
        Ok(Some(rewritten))
    }
}

impl Old {
    /// Whether this part of the file has any byte that is not zero.
    fn has_bytes(&self, part: Range<u64>) -> Result<bool, FileError> {
        let mut at = part.start;
        while at < part.end {
            let wanted = (part.end - at).min(WRITE_BYTES as u64);
            let bytes = self.content.read(at, wanted).map_err(self.reading())?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            at += wanted;
        }
        Ok(false)
    }

    fn walk(&self) -> Walk {
        let source = Source::of(&self.content);
        let walk = self.sealed.segment.walk(source, self.content.len(), 0);
        walk.patient()
    }

    /// The next frame or damage; the walk moves behind it.
    fn next(&self, walk: &mut Walk) -> Result<Part, FileError> {
        let from = walk.position();
        if let Some(frame) = walk.frame().map_err(self.reading())? {
            walk.skip(frame.bytes().len());
            return Ok(Part::Frame(frame));
        }
        walk.resync().map_err(self.reading())?;
        let end = self.content.len();
        Ok(Part::Damaged(from.min(end)..walk.position().min(end)))
    }

    /// Makes a read error of this segment, for `map_err`.
    fn reading(&self) -> impl FnOnce(io::Error) -> FileError {
        let path = self.sealed.segment.path();
        move |error| FileError::when(Action::Read, &path)(error)
    }
}

/// A segment's header; zeros if it is damaged.
fn sound_header(header: &Bytes) -> Bytes {
    if Header::decode(header).is_some() {
        header.clone()
    } else {
        vec![0; header.len()].into()
    }
}

impl Rewritten<'_> {
    /// Replaces the old segments by the new one, if they are still there. The caller keeps segments
    /// from being removed meanwhile.
    pub(crate) fn install(mut self, log: &LogLock) -> Result<(), FileError> {
        let files = &*self.segments.env.files;
        let first = self.old[0].segment.path();
        let is_there = files
            .exists(&first)
            .map_err(FileError::when(Action::LookFor, &first))?;
        if !is_there || !log.lock().has_all(&self.old) {
            return Ok(());
        }
        let path = self.name.path(&self.dir);
        files
            .rename(&self.name.unfinished_path(&self.dir), &path)
            .map_err(FileError::when(Action::Rename, &path))?;
        // From here on the new segment counts, whatever happens to the old ones.
        sync_parent(files, &path)?;
        let segment = log.lock().segment(self.name);
        segment.note_compressed(self.compressed);
        let rows = self.active.last_rows();
        store_rows(self.segments, &segment, &rows, 0);
        note_records(self.segments, &segment, rows.len(), self.active.records);
        let old = std::mem::take(&mut self.old);
        log.lock().replace(&old, segment, &self.active);
        for sealed in old {
            self.segments.forget_frames(&sealed.segment, sealed.end);
        }
        remove_gone(log, self.segments).map(drop)
    }
}

impl Drop for Rewritten<'_> {
    fn drop(&mut self) {
        if self.old.is_empty() {
            // It was installed, so the file has another name now.
            return;
        }
        // The caller reports the error that came first.
        let path = self.name.unfinished_path(&self.dir);
        if let Err(error) = remove_file(&*self.segments.env.files, &path) {
            tracing::warn!(%error, "what was written of a segment stays until the next erasure or start");
        }
    }
}

impl Log {
    /// The offsets of each sealed segment, trimmed or not, in order.
    pub(crate) fn sealed_ranges(&self) -> Vec<Range<Offset>> {
        let view = self.view();
        let ranges = view.sealed.iter();
        ranges.map(|segment| segment.base()..segment.end).collect()
    }

    /// Whether the view has all of these segments, and, if there are several, none is trimmed.
    fn has_all(&self, these: &[Sealed]) -> bool {
        let view = self.view();
        let at = view
            .sealed
            .partition_point(|sealed| sealed.base() < these[0].base());
        let found = view.sealed.get(at..at + these.len()).unwrap_or_default();
        let is_same =
            |(found, this): (&Sealed, &Sealed)| Arc::ptr_eq(&found.segment, &this.segment);
        found.len() == these.len()
            && found.iter().zip(these).all(is_same)
            && (these.len() == 1 || at >= view.trimmed)
    }

    /// Replaces these segments of the view by one.
    fn replace(&mut self, these: &[Sealed], segment: Arc<Segment>, active: &Active) {
        let last_append_ms = Some(active.last_append_ms).filter(|ms| *ms > i64::MIN);
        let new = Sealed {
            segment,
            end: these[these.len() - 1].end,
            bytes: active.bytes,
            last_append_ms: last_append_ms.max(these[these.len() - 1].last_append_ms),
        };
        let mut at = 0;
        self.change_view(|view| {
            at = view
                .sealed
                .partition_point(|sealed| sealed.base() < new.base());
            view.sealed.splice(at..at + these.len(), [new]);
        });
        if these.len() > 1 {
            // Some of them may have been trimmed meanwhile, and their last versions written. They
            // will be written again when the new segment is trimmed.
            self.retired = self.retired.min(at);
            self.leaving = self.leaving.min(at);
        }
        self.gone.extend(these.iter().map(|sealed| Gone {
            segment: Arc::clone(&sealed.segment),
            bytes: sealed.bytes,
            is_replaced: true,
        }));
    }
}

/// A piece of a segment.
enum Part {
    Frame(Frame),
    /// Bytes that are not a sound frame of the partition.
    Damaged(Range<u64>),
}
