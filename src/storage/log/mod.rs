//! A partition's log: frames in offset order, the newest in memory, the rest in segments.
//!
//! ```text
//!   start                                                             end = high watermark
//!     |  sealed segment  |  sealed segment  |  active segment  |  tail  |
//!        immutable, mapped for reading         positioned reads   memory
//! ```
//!
//! A frame enters at the tail when its journal entry is durable ([`Log::apply`]); from then on it
//! can be read. A [`Writer`] moves frames from the tail into the active segment, seals that when it
//! is full or old, and syncs; nobody waits for it. What has been trimmed is removed once a
//! checkpoint says so.
//!
//! Invariants:
//! - Every offset from `start` to `end` is in exactly one place, and a frame in a segment is the
//!   frame that the journal had.
//! - A segment's bytes never change; only the active one grows, at its end, and only through its
//!   [`Writer`]. When its records are erased, a sealed one gives way to another file
//!   (`rewrite.rs`).
//! - A hole between two frames is damage, found by whoever reads across it.
//!
//! Reading order: this page, the state; `read.rs`, `time.rs`; `writer.rs`; `open.rs`, what is done
//! at a start; `segment.rs`.

mod kept;
mod open;
mod part;
mod parts;
mod point;
mod read;
mod rewrite;
mod segment;
#[cfg(test)]
mod tests;
mod time;
mod walk;
mod writer;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

pub(in crate::storage) use open::list;
pub(crate) use part::FilePart;
pub(crate) use parts::Part;
pub(crate) use point::FoundRecord;
pub(crate) use read::{Cursor, LogReader, ReadError};
pub(crate) use rewrite::{Rewrite, remove_unfinished};
pub(crate) use segment::OpenSegments;
pub(in crate::storage) use segment::load_rows_prefix;
pub(in crate::storage) use walk::{Source, Walk};
pub(crate) use writer::{Writer, remove_segments, sync_together};

use super::format::{
    checkpoint,
    frame::Frame,
    segment_file::{self, IndexRow},
};
use crate::{
    env::{OrderedMutex, rank},
    types::{Offset, PartitionId, TopicId},
};

/// A partition's log, behind the lock under which it is used.
pub(crate) type LogLock = OrderedMutex<Log, rank::Log>;

/// Which partition a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}

/// The state of a partition's log that readers see. Does no I/O: its owner guards it with a lock.
pub(crate) struct Log {
    identity: Identity,
    /// Where its topic is, for all logs of that.
    topic_dir: Arc<Path>,
    start: Offset,
    end: Offset,
    sealed: Vec<Sealed>,
    /// Of these.
    sealed_bytes: u64,
    active: Option<Active>,
    tail: VecDeque<Tailed>,
    tail_bytes: usize,
    /// Of all frames that were added since it was opened.
    appended_bytes: u64,
    last_append_time_ms: i64,
    /// Sealed segments below the start, of whose records something must be kept.
    trimmed: Vec<Sealed>,
    /// Those of which that has been done, to be removed after the next checkpoint.
    retired: Vec<Sealed>,
    /// How many of these the checkpoint under way lets go.
    leaving: usize,
    /// The number of the file that has what was kept; 0 for none.
    retired_file: u64,
}

/// A sealed segment: from its base up to the next one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    base: Offset,
    end: Offset,
    bytes: u64,
    /// When its last record was appended; none if nobody has looked since the start.
    last_append_ms: Option<i64>,
}

/// The segment that grows.
#[derive(Clone, Debug)]
struct Active {
    base: Offset,
    /// Behind the last record in the file.
    end: Offset,
    /// Bytes of the file that hold header and frames.
    bytes: u64,
    rows: Vec<IndexRow>,
    first_append_time_ms: i64,
    last_append_ms: i64,
    latest_timestamp_ms: i64,
}

/// A frame in memory, with what is held as long as it is there.
struct Tailed {
    frame: Frame,
    _charge: Charge,
}

/// Whatever pays for a frame's memory; dropped when the frame is in a segment.
pub(crate) type Charge = Option<Arc<dyn Send + Sync>>;

impl Log {
    /// The log of a partition that has no records yet, of the topic that is kept in `topic_dir`.
    pub(crate) fn new(identity: Identity, topic_dir: Arc<Path>) -> Self {
        Self {
            identity,
            topic_dir,
            start: Offset::ZERO,
            end: Offset::ZERO,
            sealed: Vec::new(),
            sealed_bytes: 0,
            active: None,
            tail: VecDeque::new(),
            tail_bytes: 0,
            appended_bytes: 0,
            last_append_time_ms: i64::MIN,
            trimmed: Vec::new(),
            retired: Vec::new(),
            leaving: 0,
            retired_file: 0,
        }
    }

    /// Which partition it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The first offset that has not been trimmed.
    pub(crate) fn start(&self) -> Offset {
        self.start
    }

    /// The high watermark: behind the last record.
    pub(crate) fn end(&self) -> Offset {
        self.end
    }

    /// The bytes of the frames that are in no segment.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Whether there are frames that are in no segment.
    pub(crate) fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// The append time of the last frame; the earliest there is if there is none.
    pub(crate) fn last_append_time_ms(&self) -> i64 {
        self.last_append_time_ms
    }

    /// Segments, and bytes in them and in memory.
    pub(crate) fn size(&self) -> (usize, u64) {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        (
            self.sealed.len() + usize::from(self.active.is_some()),
            self.sealed_bytes + active + self.tail_bytes as u64,
        )
    }

    /// Adds a frame whose journal entry is durable. One that is there already is passed over, so
    /// that entries can be replayed over a log that has some of them.
    pub(crate) fn apply(&mut self, frame: Frame, charge: Charge) {
        let header = *frame.header();
        if header.base < self.end {
            return;
        }
        self.end = header.end();
        self.last_append_time_ms = self.last_append_time_ms.max(header.append_time_ms);
        self.tail_bytes += frame.bytes().len();
        self.appended_bytes += frame.bytes().len() as u64;
        self.tail.push_back(Tailed {
            frame,
            _charge: charge,
        });
    }

    /// Passes over offsets whose records are lost: reading them will say so.
    pub(crate) fn apply_loss(&mut self, end: Offset) {
        self.end = self.end.max(end);
    }

    /// Trims: the log starts at `before`, if it did not start further on already.
    pub(crate) fn trim(&mut self, before: Offset) {
        self.start = self.start.max(before.min(self.end));
        let keep = self
            .sealed
            .partition_point(|segment| segment.end <= self.start);
        for segment in self.sealed.drain(..keep) {
            self.sealed_bytes -= segment.bytes;
            self.trimmed.push(segment);
        }
    }

    /// Where the log stands, for a checkpoint; frames in the tail do not count.
    pub(crate) fn checkpoint(&self) -> checkpoint::Partition {
        checkpoint::Partition {
            start: self.start,
            end: self.written_end(),
            last_append_time_ms: self.last_append_time_ms,
            active: self.active.as_ref().map(|active| checkpoint::Active {
                base: active.base,
                len: active.bytes,
            }),
            retired: self.retired_file,
        }
    }

    /// The first offset of which there is a record, trimmed or not, or should be: what is not trimmed
    /// and in no file is lost, and not removed. A segment counts until it is
    /// being removed: before that, a crash may bring it back as one whose records are not in any
    /// file of retired facts.
    pub(crate) fn first_kept(&self) -> Offset {
        let sealed = self
            .retired
            .iter()
            .chain(&self.trimmed)
            .chain(&self.sealed)
            .map(|segment| segment.base)
            .next();
        let active = self.active.as_ref().map(|active| active.base);
        let tail = self.tail.front().map(|first| first.frame.header().base);
        let first = sealed.or(active).or(tail).unwrap_or(self.end);
        first.min(self.start)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> Arc<Path> {
        let name = self.identity.partition.to_string();
        self.topic_dir.join(name).into()
    }

    /// The offsets of segments that are trimmed as a whole; none if there are no such.
    pub(crate) fn trimmed(&self) -> Option<std::ops::Range<Offset>> {
        Some(self.trimmed.first()?.base..self.trimmed.last()?.end)
    }

    /// Takes note that what must be kept of trimmed segments up to `end` is in a file: they can be
    /// removed.
    pub(crate) fn retire(&mut self, end: Offset, file: u64) {
        let keep = self.trimmed.partition_point(|segment| segment.end <= end);
        self.retired.extend(self.trimmed.drain(..keep));
        self.retired_file = file;
    }

    /// The number of the file that has what was kept of removed segments; 0 for none.
    pub(crate) fn retired_file(&self) -> u64 {
        self.retired_file
    }

    /// As [`retire`](Self::retire), when nothing is trimmed and the file was written anew.
    pub(crate) fn set_retired_file(&mut self, file: u64) {
        self.retired_file = file;
    }

    /// The segments that can be removed once a checkpoint names the file of retired facts, without
    /// those that were told before.
    pub(crate) fn take_retired(&mut self) -> Vec<Sealed> {
        let taken = self.retired[self.leaving..].to_vec();
        self.leaving = self.retired.len();
        taken
    }

    /// Whether there are segments to be taken by [`take_retired`](Self::take_retired).
    pub(crate) fn has_retired(&self) -> bool {
        self.leaving < self.retired.len()
    }

    /// Takes note that these segments, which were taken, are being removed.
    fn leave(&mut self, segments: &[Sealed]) {
        let before = self.retired.len();
        self.retired
            .retain(|retired| segments.iter().all(|segment| segment.base != retired.base));
        self.leaving -= before - self.retired.len();
    }

    /// Behind the last record, or the last lost one, that is not in the tail.
    fn written_end(&self) -> Offset {
        self.tail.front().map_or(self.end, |first| {
            let written = self.active.as_ref().map(|active| active.end);
            let sealed = self.sealed.last().map(|sealed| sealed.end);
            written
                .or(sealed)
                .unwrap_or(Offset::ZERO)
                .max(self.start.min(first.frame.header().base))
        })
    }
}

impl Active {
    fn new(base: Offset, first_append_time_ms: i64) -> Self {
        Self {
            base,
            end: base,
            bytes: segment_file::HEADER_BYTES,
            rows: Vec::new(),
            first_append_time_ms,
            last_append_ms: first_append_time_ms,
            latest_timestamp_ms: i64::MIN,
        }
    }

    /// Takes note of a frame that begins at the end of the file; returns the index row that it
    /// gets, if it gets one.
    fn note(&mut self, frame: &super::format::frame::Header, length: usize) {
        let (behind, before) =
            self.rows
                .last()
                .map_or((segment_file::HEADER_BYTES, self.base), |row| {
                    (
                        u64::from(row.position),
                        self.base.plus(u64::from(row.relative)),
                    )
                });
        // Rows are in order, also where damage has brought a frame out of its place.
        if self.bytes - behind >= segment_file::INDEX_INTERVAL_BYTES && frame.base > before {
            self.rows.push(self.row(frame.base));
        }
        self.bytes += length as u64;
        // A stale frame that damage brought back does not take the end back.
        self.end = self.end.max(frame.end());
        self.latest_timestamp_ms = self.latest_timestamp_ms.max(frame.latest_timestamp_ms);
        self.last_append_ms = self.last_append_ms.max(frame.append_time_ms);
    }

    /// The index row of a frame that begins at `offset`, at the end of the file.
    fn row(&self, offset: Offset) -> IndexRow {
        IndexRow {
            relative: u32::try_from(offset.0 - self.base.0)
                .expect("the writer rolls before a segment spans 2^32 offsets"),
            position: u32::try_from(self.bytes).expect("a segment's size is bounded to 32 bits"),
            latest_before_ms: self.latest_timestamp_ms,
        }
    }
}

/// The name of a segment's file.
pub(in crate::storage) fn segment_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.log", base.0))
}

/// The name of a segment's index.
pub(in crate::storage) fn index_path(dir: &Path, base: Offset) -> PathBuf {
    dir.join(format!("{:020}.index", base.0))
}
