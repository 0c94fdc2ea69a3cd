//! Writing a sealed segment anew, with some of its frames changed.
//!
//! The new file takes the name of the old one atomically; who has the old one mapped goes on
//! reading it. Frames keep their offsets. Of what is damaged nobody can tell what it holds, so
//! zeros take its place: it is as long as before, and is reported as before.
//!
//! A segment may be trimmed and removed while it is being written anew. So that it does not come
//! back, who installs the new file keeps segments from being removed for that moment, and nothing
//! is installed for one that is gone.

use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Active, Identity, Log, LogLock, LogReader, OpenSegments,
    read::lock,
    segment::store_rows,
    segment_path,
    walk::{Source, Walk},
};
use crate::{
    env::{File, FileSystem, Open},
    storage::{
        files::{Action, FileError, remove_file, sync_parent},
        format::{
            frame::Frame,
            segment_file::{HEADER_BYTES, Header},
        },
        read_only::ReadOnly,
    },
    types::Offset,
};

/// How much is gathered for one write.
const WRITE_BYTES: usize = 4 << 20;

/// A sync stores all that has been written so far; with so little at once it does not hold up the
/// journal's syncs.
const SYNC_BYTES: u64 = 32 << 20;

/// What a file is called that is not a segment yet: no other kind of file ends so.
const UNFINISHED: &str = ".log.new";

/// A sealed segment that is to be written anew.
pub(crate) struct Rewrite<'a> {
    segments: &'a OpenSegments,
    identity: Identity,
    dir: Arc<Path>,
    base: Offset,
    old: ReadOnly,
    /// What is written in the place of the old header.
    header: Bytes,
    /// Whether that is another one.
    header_is_new: bool,
}

/// A segment that has been written anew, and is not in the place of the old one yet. Dropped,
/// nothing is left of it.
pub(crate) struct Rewritten<'a> {
    segments: &'a OpenSegments,
    dir: Arc<Path>,
    new_path: PathBuf,
    /// Base, length and index rows.
    active: Active,
}

impl<'a> Rewrite<'a> {
    /// The sealed segment at `base`; none if it is gone already.
    pub(crate) fn of(
        log: &'a LogLock,
        segments: &'a OpenSegments,
        base: Offset,
    ) -> Result<Option<Self>, FileError> {
        let (identity, dir) = LogReader { log, segments }.identity();
        let path = segment_path(&dir, base);
        let old = match ReadOnly::open(&*segments.env.files, &path, || segments.let_go()) {
            Ok(old) => old,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::when(Action::Map, &path)(error)),
        };
        let found = old
            .read(0, HEADER_BYTES)
            .map_err(FileError::when(Action::Read, &path))?;
        let header = sound_header(&found);
        Ok(Some(Self {
            segments,
            identity,
            dir,
            base,
            old,
            header_is_new: header != found,
            header,
        }))
    }

    /// How many bytes it has.
    pub(crate) fn bytes(&self) -> u64 {
        self.old.len()
    }

    /// Whether there is a frame that `edit` has another one for, or damage.
    pub(crate) fn is_needed(
        &self,
        edit: impl Fn(&Frame) -> Option<Frame>,
    ) -> Result<bool, FileError> {
        if self.header_is_new {
            return Ok(true);
        }
        let mut walk = self.walk();
        while !walk.at_end() {
            let needed = match self.next(&mut walk)? {
                Part::Frame(frame) => edit(&frame).is_some(),
                Part::Damaged(damaged) => self.has_bytes(damaged)?,
            };
            if needed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes it to another file, with the frames that `edit` has for some of its own.
    pub(crate) fn write(
        self,
        edit: impl Fn(&Frame) -> Option<Frame>,
    ) -> Result<Rewritten<'a>, FileError> {
        let files = &*self.segments.env.files;
        let new_path = self.dir.join(format!("{:020}{UNFINISHED}", self.base.0));
        remove_file(files, &new_path)?;
        let new = files
            .open(&new_path, Open::Create)
            .map_err(FileError::when(Action::Create, &new_path))?;
        let active = Active::new(self.base, 0);
        // From here on the file is removed if anything fails: a full disk must not be kept full by
        // it.
        let mut rewritten = Rewritten {
            segments: self.segments,
            dir: self.dir.clone(),
            new_path: new_path.clone(),
            active,
        };
        let active = &mut rewritten.active;
        let mut out = Output {
            file: &*new,
            path: &new_path,
            buffer: Vec::new(),
            position: 0,
            unsynced: 0,
        };

        out.put(&self.header)?;
        let mut walk = self.walk();
        while !walk.at_end() {
            match self.next(&mut walk)? {
                Part::Frame(frame) => {
                    let frame = edit(&frame).unwrap_or(frame);
                    active.bytes = out.len();
                    active.note(frame.header(), frame.bytes().len());
                    out.put(frame.bytes())?;
                }
                Part::Damaged(damaged) => out.put_zeros(damaged.end - damaged.start)?,
            }
        }
        out.flush()?;
        out.sync()?;
        active.bytes = out.len();
        Ok(rewritten)
    }

    /// Whether a part of the old file has anything but zeros.
    fn has_bytes(&self, part: Range<u64>) -> Result<bool, FileError> {
        let mut at = part.start;
        while at < part.end {
            let wanted = (part.end - at).min(WRITE_BYTES as u64);
            let path = segment_path(&self.dir, self.base);
            let read = self.old.read(at, wanted);
            let bytes = read.map_err(FileError::when(Action::Read, &path))?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(true);
            }
            at += wanted;
        }
        Ok(false)
    }

    fn walk(&self) -> Walk {
        Walk::new(
            Source::of(&self.old),
            self.old.len(),
            self.identity,
            self.base,
            0,
        )
    }

    /// What comes next, which the walk steps over.
    fn next(&self, walk: &mut Walk) -> Result<Part, FileError> {
        let path = segment_path(&self.dir, self.base);
        let reading = |error| FileError::when(Action::Read, &path)(error);
        let from = walk.position();
        if let Some(frame) = walk.frame().map_err(reading)? {
            walk.skip(frame.bytes().len());
            return Ok(Part::Frame(frame));
        }
        walk.resync().map_err(reading)?;
        let end = self.old.len();
        Ok(Part::Damaged(from.min(end)..walk.position().min(end)))
    }
}

/// A segment's header; zeros for one that is damaged.
fn sound_header(header: &Bytes) -> Bytes {
    if Header::decode(header).is_some() {
        header.clone()
    } else {
        vec![0; header.len()].into()
    }
}

impl Rewritten<'_> {
    /// Puts it in the place of the old one, if that is still there. The caller keeps segments from
    /// being removed meanwhile.
    pub(crate) fn install(self, log: &LogLock) -> Result<(), FileError> {
        let (files, dir, base) = (&*self.segments.env.files, &self.dir, self.active.base);
        let path = segment_path(dir, base);
        if !files
            .exists(&path)
            .map_err(FileError::when(Action::LookFor, &path))?
        {
            return Ok(());
        }
        let _replacing = self.segments.replacing(dir, base);
        // An index of the old file must not be taken for one of the new.
        remove_file(files, &super::index_path(dir, base))?;
        sync_parent(files, &path)?;
        files
            .rename(&self.new_path, &path)
            .map_err(FileError::when(Action::Rename, &path))?;
        sync_parent(files, &path)?;
        let mut rows = self.active.rows.clone();
        rows.push(self.active.row(self.active.end));
        store_rows(&self.segments.env, dir, base, &rows, 0);
        lock(log).resize_sealed(base, self.active.bytes);
        Ok(())
    }
}

impl Drop for Rewritten<'_> {
    fn drop(&mut self) {
        // Whoever writes reports what went wrong before. Installed, it has another name.
        if let Err(error) = remove_file(&*self.segments.env.files, &self.new_path) {
            tracing::warn!(%error, "what was written of a segment stays until the next erasure");
        }
    }
}

/// Removes what a crash has left of segments that were being written anew.
pub(crate) fn remove_unfinished(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    if !files
        .exists(dir)
        .map_err(FileError::when(Action::LookFor, dir))?
    {
        return Ok(());
    }
    let entries = files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?;
    let unfinished: Vec<_> = entries
        .into_iter()
        .filter(|entry| entry.name.ends_with(UNFINISHED))
        .collect();
    if unfinished.is_empty() {
        return Ok(());
    }
    unfinished
        .iter()
        .try_for_each(|entry| remove_file(files, &dir.join(&entry.name)))?;
    files
        .sync_dir(dir)
        .map_err(FileError::when(Action::Sync, dir))
}

impl Log {
    /// The offsets of each sealed segment, trimmed or not, in order.
    pub(crate) fn sealed_ranges(&self) -> Vec<Range<Offset>> {
        let segments = self.retired.iter().chain(&self.trimmed).chain(&self.sealed);
        segments.map(|segment| segment.base..segment.end).collect()
    }

    fn resize_sealed(&mut self, base: Offset, bytes: u64) {
        let removed_soon = self.retired.iter_mut().chain(&mut self.trimmed);
        for segment in removed_soon.filter(|segment| segment.base == base) {
            segment.bytes = bytes;
        }
        for segment in self
            .sealed
            .iter_mut()
            .filter(|segment| segment.base == base)
        {
            self.sealed_bytes = self.sealed_bytes - segment.bytes + bytes;
            segment.bytes = bytes;
        }
    }
}

/// What a segment is made of.
enum Part {
    Frame(Frame),
    /// Bytes that are no sound frame of the partition.
    Damaged(Range<u64>),
}

/// A file that is written from its beginning.
struct Output<'a> {
    file: &'a dyn File,
    path: &'a Path,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    position: u64,
    unsynced: u64,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn put_zeros(&mut self, mut len: u64) -> Result<(), FileError> {
        while len > 0 {
            let now = len.min(WRITE_BYTES as u64);
            self.buffer.resize(self.buffer.len() + now as usize, 0);
            self.flush()?;
            len -= now;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), FileError> {
        self.file
            .write_all_at(&[&self.buffer], self.position)
            .map_err(FileError::when(Action::Write, self.path))?;
        self.position += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES {
            self.sync()
        } else {
            Ok(())
        }
    }

    fn sync(&mut self) -> Result<(), FileError> {
        self.unsynced = 0;
        self.file
            .sync_data()
            .map_err(FileError::when(Action::Sync, self.path))
    }

    fn len(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }
}
