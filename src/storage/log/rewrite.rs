//! Writing a sealed segment anew, with some of its frames changed.
//!
//! The new file takes the name of the old one atomically; who has the old one mapped goes on reading it. Frames keep
//! their offsets. What is damaged is taken over as it is: it is reported as before.

use std::sync::Mutex;

use super::{
    Active, Log, LogReader, OpenSegments,
    read::lock,
    segment::store_rows,
    segment_path,
    walk::{Source, Walk},
};
use crate::{
    env::{File, Open},
    storage::{
        files::{FileError, SYNC, remove_file, sync_parent},
        format::{frame::Frame, segment_file::HEADER_BYTES},
    },
    types::Offset,
};

/// How much is gathered for one write.
const WRITE_BYTES: usize = 4 << 20;

/// Changes the frames of the sealed segment at `base` that `edit` has another one for. The caller keeps the segment
/// from being removed meanwhile. One that is gone already is left alone.
pub(crate) fn rewrite_segment(
    log: &Mutex<Log>,
    segments: &OpenSegments,
    base: Offset,
    edit: impl Fn(&Frame) -> Option<Frame>,
) -> Result<(), FileError> {
    let files = &*segments.env.files;
    let (identity, dir) = LogReader { log, segments }.identity();
    let path = segment_path(&dir, base);
    if !files.exists(&path).map_err(FileError::when("look for", &path))? {
        return Ok(());
    }
    let old = files.map(&path).map_err(FileError::when("map", &path))?;
    let new_path = path.with_extension("new");
    remove_file(files, &new_path)?;
    let new = files.open(&new_path, Open::Create).map_err(FileError::when("create", &new_path))?;
    let mut out = Output { file: &*new, buffer: Vec::new(), position: 0 };
    let writing = |error| FileError::when("write", &new_path)(error);

    let header_end = old.len().min(HEADER_BYTES as usize);
    out.put(&old[..header_end]).map_err(writing)?;
    let mut active = Active::new(base, 0);
    let mut walk = Walk::new(Source::Map(old.clone()), old.len() as u64, identity, base, 0);
    let mut changed = false;
    while !walk.at_end() {
        let before = walk.position();
        let reading = |error| FileError::when("read", &path)(error);
        let Some(frame) = walk.frame().map_err(reading)? else {
            walk.resync().map_err(reading)?;
            let damaged = &old[at(before)..at(walk.position()).min(old.len())];
            out.put(damaged).map_err(writing)?;
            continue;
        };
        walk.skip(frame.bytes().len());
        let edited = edit(&frame);
        changed |= edited.is_some();
        let frame = edited.unwrap_or(frame);
        active.bytes = out.len();
        active.note(frame.header(), frame.bytes().len());
        out.put(frame.bytes()).map_err(writing)?;
    }
    if !changed {
        return remove_file(files, &new_path);
    }
    out.flush().map_err(writing)?;
    active.bytes = out.len();
    new.sync_data().map_err(FileError::when(SYNC, &new_path))?;

    let _replacing = segments.replacing(&dir, base);
    // An index of the old file must not be taken for one of the new.
    remove_file(files, &super::index_path(&dir, base))?;
    sync_parent(files, &path)?;
    files.rename(&new_path, &path).map_err(FileError::when("rename to", &path))?;
    sync_parent(files, &path)?;
    let mut rows = active.rows.clone();
    rows.push(active.row(active.end));
    store_rows(&segments.env, &dir, base, &rows, 0);
    lock(log).resize_sealed(base, active.bytes);
    Ok(())
}

impl Log {
    fn resize_sealed(&mut self, base: Offset, bytes: u64) {
        let segments = self.retired.iter_mut().chain(&mut self.trimmed).chain(&mut self.sealed);
        segments.filter(|segment| segment.base == base).for_each(|segment| segment.bytes = bytes);
    }
}

fn at(position: u64) -> usize {
    usize::try_from(position).expect("a mapped file fits the address space")
}

/// A file that is written from its beginning.
struct Output<'a> {
    file: &'a dyn File,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    position: u64,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.write_all_at(&[&self.buffer], self.position)?;
        self.position += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn len(&self) -> u64 {
        self.position + self.buffer.len() as u64
    }
}
