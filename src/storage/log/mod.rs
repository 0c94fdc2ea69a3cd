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
//! Readers go by a [`View`], which never changes: where the log starts, its segments, and what is
//! hidden in them. Only what comes behind the sealed segments is looked up under the log's lock.
//!
//! Invariants:
//! - Every offset from `start` to `end` is in exactly one place, and a frame in a segment is the
//!   frame that the journal had, unless the segment was written anew.
//! - A segment's bytes never change; only the active one grows, at its end, and only through its
//!   [`Writer`]. Sealed ones that are written anew, such as when records are erased, give way to
//!   one with another name (`rewrite.rs`).
//! - A segment's name never stands for two files, and its file is there as long as a view has it.
//! - A hole between two frames is damage, found by whoever reads across it.
//!
//! Reading order: this page, the state; `view.rs`; `read.rs`, `time.rs`; `writer.rs`; `open.rs`,
//! what is done at a start; `name.rs`, `segment.rs`, `index.rs`; `rewrite.rs`, `output.rs`,
//! `removed.rs`, `present.rs`.

mod compressed;
mod count;
mod hidden;
mod index;
mod kept;
mod name;
mod open;
mod output;
mod part;
mod parts;
mod point;
mod present;
mod read;
mod removed;
mod rewrite;
mod segment;
#[cfg(test)]
mod tests;
mod time;
mod view;
mod walk;
mod writer;

use std::{collections::VecDeque, path::Path, sync::Arc};

pub(crate) use compressed::Uncompressed;
pub(crate) use count::Count;
pub(crate) use hidden::{Hidden, Trimmed};
pub(in crate::storage) use index::load_rows_prefix;
pub(crate) use name::remove_unfinished;
pub(in crate::storage) use name::{Listed, Name, list};
pub(crate) use part::FilePart;
pub(crate) use parts::Part;
pub(crate) use point::FoundRecord;
pub(crate) use read::{Cursor, Enough, LogReader, ReadError};
pub(crate) use removed::{remove_gone, remove_trimmed};
pub(crate) use rewrite::{Edit, Rewrite, Same};
pub(crate) use segment::OpenSegments;
pub(crate) use view::{LogLock, View};
pub(in crate::storage) use walk::{Source, Walk};
pub(crate) use writer::{Writer, sync_together};

use index::GrowingRows;
use removed::Gone;
use view::{Published, Sealed};

use super::format::{
    checkpoint,
    frame::Frame,
    segment_file::{self, IndexRow},
};
use crate::types::{Offset, PartitionId, TopicId};

/// Which partition a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}

/// The state of a partition's log. Does no I/O: its owner guards it with a lock.
pub(crate) struct Log {
    identity: Identity,
    /// Where its topic is, for all logs of that.
    topic_dir: Arc<Path>,
    /// What readers get without the lock.
    published: Arc<Published>,
    end: Offset,
    /// How far the view's growing segment has come; there is one if and only if that is there.
    active: Option<Active>,
    tail: VecDeque<Tailed>,
    tail_bytes: usize,
    /// Of all frames that were added since it was opened.
    appended_bytes: u64,
    last_append_time_ms: i64,
    /// Of how many of the trimmed segments all is kept that must be kept: the next checkpoint lets
    /// them be removed.
    retired: usize,
    /// How many of these the checkpoint under way lets go.
    leaving: usize,
    /// What is in no view any more and has a file.
    gone: Vec<Gone>,
    /// The number of the file that has what was kept; 0 for none.
    retired_file: u64,
}

/// The segment that grows.
#[derive(Clone, Debug)]
struct Active {
    base: Offset,
    /// Behind the last record in the file.
    end: Offset,
    /// Bytes of the file that hold header and frames.
    bytes: u64,
    /// How many the frames have that were noted.
    records: u64,
    rows: GrowingRows,
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
            published: Arc::new(Published::nothing()),
            end: Offset::ZERO,
            active: None,
            tail: VecDeque::new(),
            tail_bytes: 0,
            appended_bytes: 0,
            last_append_time_ms: i64::MIN,
            retired: 0,
            leaving: 0,
            gone: Vec::new(),
            retired_file: 0,
        }
    }

    /// Which partition it is.
    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    /// The first offset that has not been trimmed.
    pub(crate) fn start(&self) -> Offset {
        self.view().start
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
        let view = self.view();
        (
            view.live().len() + usize::from(self.active.is_some()),
            view.bytes + active + self.tail_bytes as u64,
        )
    }

    /// Adds a frame whose journal entry is durable. One that is there already is passed over, so
    /// that entries can be replayed over a log that has some of them.
    pub(crate) fn apply(&mut self, frame: Frame, charge: Charge) {
        let header = *frame.header();
        if header.base < self.end {
            return;
        }
        self.set_end(header.end());
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
        self.set_end(self.end.max(end));
    }

    /// Trims: the log starts at `before`, if it did not start further on already.
    pub(crate) fn trim(&mut self, before: Offset) {
        let before = before.min(self.end);
        if before > self.start() {
            self.change_view(|view| view.start = before);
        }
    }

    /// Where the log stands, for a checkpoint; frames in the tail do not count.
    pub(crate) fn checkpoint(&self) -> checkpoint::Partition {
        checkpoint::Partition {
            start: self.start(),
            end: self.written_end(),
            last_append_time_ms: self.last_append_time_ms,
            active: self.active.as_ref().map(|active| checkpoint::Active {
                base: active.base,
                len: active.bytes,
            }),
            retired: self.retired_file,
        }
    }

    /// The first offset of which there is a record, trimmed or not, or should be: what is not
    /// trimmed and in no file is lost, and not removed. A segment counts until it is being removed:
    /// before that, a crash may bring it back as one whose records are not in any file of retired
    /// facts.
    pub(crate) fn first_kept(&self) -> Offset {
        let view = self.view();
        let sealed = view.sealed.first().map(Sealed::base);
        let active = self.active.as_ref().map(|active| active.base);
        let tail = self.tail.front().map(|first| first.frame.header().base);
        let first = sealed.or(active).or(tail).unwrap_or(self.end);
        first.min(view.start)
    }

    /// Where its files are.
    pub(crate) fn dir(&self) -> Arc<Path> {
        let name = self.identity.partition.to_string();
        self.topic_dir.join(name).into()
    }

    /// The offsets of segments that are trimmed as a whole, and of which something must be kept;
    /// none if there are no such.
    pub(crate) fn trimmed(&self) -> Option<std::ops::Range<Offset>> {
        let view = self.view();
        let trimmed = &view.sealed[self.retired..view.trimmed];
        Some(trimmed.first()?.base()..trimmed.last()?.end)
    }

    /// Takes note that what must be kept of trimmed segments up to `end` is in a file: they can be
    /// removed.
    pub(crate) fn retire(&mut self, end: Offset, file: u64) {
        let view = self.view();
        let trimmed = &view.sealed[..view.trimmed];
        let kept = trimmed.partition_point(|segment| segment.end <= end);
        self.retired = self.retired.max(kept);
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

    /// Behind the last record, or the last lost one, that is not in the tail.
    fn written_end(&self) -> Offset {
        self.tail.front().map_or(self.end, |first| {
            let written = self.active.as_ref().map(|active| active.end);
            let view = self.view();
            let sealed = view.live().last().map(|sealed| sealed.end);
            written
                .or(sealed)
                .unwrap_or(Offset::ZERO)
                .max(view.start.min(first.frame.header().base))
        })
    }
}

impl Active {
    fn new(base: Offset, first_append_time_ms: i64) -> Self {
        Self {
            base,
            end: base,
            bytes: segment_file::HEADER_BYTES,
            records: 0,
            rows: GrowingRows::default(),
            first_append_time_ms,
            last_append_ms: first_append_time_ms,
            latest_timestamp_ms: i64::MIN,
        }
    }

    /// Takes note of a frame that begins at the end of the file; returns the index row that it
    /// gets, if it gets one.
    fn note(&mut self, frame: &super::format::frame::Header, length: usize) {
        let (behind, before) = match self.rows.last() {
            Some(last) => {
                let before = self.base.plus(u64::from(last.relative));
                (u64::from(last.position), before)
            }
            None => (segment_file::HEADER_BYTES, self.base),
        };
        // Rows are in order, also where damage has brought a frame out of its place.
        if self.bytes - behind >= segment_file::INDEX_INTERVAL_BYTES && frame.base > before {
            self.rows.push(self.row(frame.base));
        }
        self.bytes += length as u64;
        self.records += u64::from(frame.count);
        // A stale frame that damage brought back does not take the end back.
        self.end = self.end.max(frame.end());
        self.latest_timestamp_ms = self.latest_timestamp_ms.max(frame.latest_timestamp_ms);
        self.last_append_ms = self.last_append_ms.max(frame.append_time_ms);
    }

    /// The rows that the index file does not have when the segment ends here: the last stands for
    /// its end.
    fn last_rows(&self) -> Vec<IndexRow> {
        let mut rows = self.rows.unstored().to_vec();
        rows.push(self.row(self.end));
        rows
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
