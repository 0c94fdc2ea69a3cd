//! Opening a log after a start.
//!
//! With a checkpoint a log is *cut* back to it: what was written to segments since is in the
//! journal too and comes back from there. Without one, or when the journal is damaged, it is
//! *scanned*: a sound frame in a segment is always a frame that was acknowledged, since nothing is
//! put there before it is durable in the journal.

use std::{io, path::Path, sync::Arc};

use super::{
    Active, Identity, Log, OpenSegments, Sealed, index_path,
    segment::load_rows_prefix,
    segment_path,
    walk::{Source, Walk},
};
use crate::{
    env::{FileSystem, Open},
    storage::{
        fault::Meaning,
        files::{Action, FileError, remove_file, sync_parent},
        format::{checkpoint, segment_file},
    },
    types::Offset,
};

impl Log {
    /// Opens a log as a checkpoint says, cutting off what came later.
    pub(crate) fn cut(
        identity: Identity,
        topic_dir: Arc<Path>,
        at: checkpoint::Partition,
        segments: &OpenSegments,
    ) -> Result<Self, FileError> {
        let mut log = Self::new(identity, topic_dir);
        let dir = log.dir();
        (log.start, log.end, log.last_append_time_ms) = (at.start, at.end, at.last_append_time_ms);
        log.retired_file = at.retired;
        let limit = at.active.map_or(at.end, |active| active.base);
        for (base, bytes) in list(&*segments.env.files, &dir)? {
            if at.active.is_some_and(|active| active.base == base) {
                continue;
            }
            if base < limit {
                log.add_sealed(Sealed {
                    base,
                    end: limit,
                    bytes,
                    last_append_ms: None,
                });
            } else {
                remove_file(&*segments.env.files, &segment_path(&dir, base))?;
                remove_file(&*segments.env.files, &index_path(&dir, base))?;
            }
        }
        log.close_gaps();
        if let Some(active) = at.active {
            log.cut_active(active, segments)?;
        }
        log.trim(at.start);
        Ok(log)
    }

    fn cut_active(
        &mut self,
        at: checkpoint::Active,
        segments: &OpenSegments,
    ) -> Result<(), FileError> {
        match self.try_cut_active(at, segments) {
            Err(error) if error.meaning() == Meaning::Damage => {
                tracing::error!(%error, "a segment is missing or cannot be read; reading its offsets gives DATA_LOSS");
                self.lose_active(at, 0);
                Ok(())
            }
            cut => cut,
        }
    }

    fn try_cut_active(
        &mut self,
        at: checkpoint::Active,
        segments: &OpenSegments,
    ) -> Result<(), FileError> {
        let path = segment_path(&self.dir(), at.base);
        let file = segments
            .env
            .files
            .open(&path, Open::Write)
            .map_err(FileError::when(Action::Open, &path))?;
        let found = file.len().map_err(FileError::when(Action::Read, &path))?;
        if found < at.len {
            tracing::error!(path = %path.display(), found, expected = at.len, "a segment is too short; reading what is \
                missing gives DATA_LOSS");
            self.lose_active(at, found);
            return Ok(());
        }
        if found > at.len {
            file.set_len(at.len)
                .map_err(FileError::when(Action::Cut, &path))?;
            file.sync_data()
                .map_err(FileError::when(Action::Sync, &path))?;
        }
        let active = self.load_active(at.base, at.len, Trust::Index, segments)?;
        // The checkpoint knows the end also where damage hides it.
        self.active = Some(Active {
            end: self.end,
            bytes: at.len,
            ..active
        });
        Ok(())
    }

    /// Takes the active segment for a sealed one, of which not all can be read: what comes next
    /// goes to another.
    fn lose_active(&mut self, at: checkpoint::Active, bytes: u64) {
        self.add_sealed(Sealed {
            base: at.base,
            end: self.end,
            bytes,
            last_append_ms: Some(self.last_append_time_ms),
        });
    }

    /// Opens a log without a checkpoint: as far as its segments hold sound frames. What is found is
    /// made durable.
    ///
    /// The journal has the frames from `redo_from` on. There, what is not sound had not been
    /// synced: the log is cut, and the journal's frames are applied again. Before, or without it,
    /// what is not sound is damage, and what is behind it stays.
    pub(crate) fn scan(
        identity: Identity,
        topic_dir: Arc<Path>,
        start: Offset,
        redo_from: Option<Offset>,
        segments: &OpenSegments,
    ) -> Result<Self, FileError> {
        let mut log = Self::new(identity, topic_dir);
        let dir = log.dir();
        let found = list(&*segments.env.files, &dir)?;
        for (at, (base, bytes)) in found.iter().enumerate() {
            let path = segment_path(&dir, *base);
            let file = segments
                .env
                .files
                .open(&path, Open::Write)
                .map_err(FileError::when(Action::Open, &path))?;
            if found.get(at + 1).is_some() {
                file.sync_data()
                    .map_err(FileError::when(Action::Sync, &path))?;
                log.add_sealed(Sealed {
                    base: *base,
                    end: *base,
                    bytes: *bytes,
                    last_append_ms: None,
                });
                continue;
            }
            let redo_from = redo_from.unwrap_or(Offset(u64::MAX));
            let active = log.load_active(*base, *bytes, Trust::Frames { redo_from }, segments)?;
            if active.bytes < *bytes {
                tracing::info!(path = %path.display(), kept = active.bytes, found = *bytes, "cut behind the last \
                    sound frame");
                file.set_len(active.bytes)
                    .map_err(FileError::when(Action::Cut, &path))?;
            }
            file.sync_data()
                .map_err(FileError::when(Action::Sync, &path))?;
            log.end = active.end;
            log.active = Some(active);
        }
        if let Some((last, _)) = found.last() {
            segments
                .env
                .files
                .sync_dir(&dir)
                .map_err(FileError::when(Action::Sync, &dir))?;
            sync_parent(&*segments.env.files, &dir)?;
            log.sealed
                .iter_mut()
                .for_each(|segment| segment.end = *last);
        }
        log.close_gaps();
        log.end = log.end.max(start);
        log.trim(start);
        Ok(log)
    }

    /// A sealed segment reaches up to the next one.
    fn close_gaps(&mut self) {
        for at in 1..self.sealed.len() {
            self.sealed[at - 1].end = self.sealed[at].base;
        }
    }

    /// The state of a segment's end, up to `bytes`: from its index as far as that is trusted, then
    /// from its frames.
    fn load_active(
        &mut self,
        base: Offset,
        bytes: u64,
        trust: Trust,
        segments: &OpenSegments,
    ) -> Result<Active, FileError> {
        let dir = self.dir();
        let path = segment_path(&dir, base);
        let reading = |error| FileError::when(Action::Read, &path)(error);
        let file = segments.active(&dir, base).map_err(reading)?;
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
        if trust == Trust::Index {
            active.rows = load_rows_prefix(&segments.env, &dir, base, bytes)?;
        }
        let walk_from = |position| {
            Walk::new(
                Source::File(file.clone()),
                bytes,
                self.identity,
                base,
                position,
            )
        };
        // The end of the log follows from the last row, so that is believed only if there is such a
        // frame.
        while let Some(last) = active.rows.last() {
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
            active.rows.pop();
        }
        if let Some(last) = active.rows.last() {
            active.bytes = u64::from(last.position);
            active.end = base.plus(u64::from(last.relative));
            active.latest_timestamp_ms = last.latest_before_ms;
        }
        let mut walk = walk_from(active.bytes);
        while !walk.at_end() {
            let Some(frame) = walk.frame().map_err(reading)? else {
                if matches!(trust, Trust::Frames { redo_from } if active.end >= redo_from) {
                    break;
                }
                // Damage has sound frames behind it; a torn tail has none.
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

/// What of a segment's end can be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// All of it was synced, and the index may say where things are.
    Index,
    /// Only sound frames; from this offset on they may have been written without having been
    /// synced.
    Frames { redo_from: Offset },
}

/// The segments in a log's directory with their sizes, in order of their bases. Other files are
/// none of ours.
pub(in crate::storage) fn list(
    files: &dyn FileSystem,
    dir: &Path,
) -> Result<Vec<(Offset, u64)>, FileError> {
    if !files
        .exists(dir)
        .map_err(FileError::when(Action::LookFor, dir))?
    {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in files
        .read_dir(dir)
        .map_err(FileError::when(Action::List, dir))?
    {
        let Some(base) = entry
            .name
            .strip_suffix(".log")
            .filter(|stem| stem.len() == 20)
        else {
            continue;
        };
        let Ok(base) = base.parse() else { continue };
        found.push((Offset(base), size_of_file(files, &dir.join(&entry.name))?));
    }
    found.sort_unstable();
    Ok(found)
}

/// How many bytes a segment's file has; none where the disk cannot say: its readers are told.
fn size_of_file(files: &dyn FileSystem, path: &Path) -> Result<u64, FileError> {
    let size = files
        .open(path, Open::Read)
        .map_err(FileError::when(Action::Open, path))
        .and_then(|file| file.len().map_err(FileError::when(Action::Read, path)));
    match size {
        Err(error) if error.meaning() == Meaning::Damage => {
            tracing::error!(%error, "a segment cannot be read; reading its offsets gives DATA_LOSS");
            Ok(0)
        }
        size => size,
    }
}
