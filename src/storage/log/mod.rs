//! A partition's log: frames in offset order, the newest in memory, the rest in segments.
//!
//! ```text
//!   start                                                             end = high watermark
//!     |  sealed segment  |  sealed segment  |  active segment  |  tail  |
//!        immutable, mapped for reading         positioned reads   memory
//! ```
//!
//! A frame is added to the tail when its journal entry is durable ([`Log::apply`]); from then on it
//! can be read. In the background, a [`Writer`] moves frames from the tail to the active segment,
//! seals that when it is full or old, and syncs. Trimmed segments are removed when a checkpoint
//! allows it.
//!
//! Readers use a [`View`], which never changes: where the log starts, its segments, and what is
//! hidden in them. Only frames behind the sealed segments are looked up under the log's lock.
//!
//! Invariants:
//! - Every offset from `start` to `end` is in exactly one place, and a frame in a segment is the
//!   frame that the journal had, unless the segment was written anew.
//! - A segment's bytes never change; only the active segment grows, at its end, and only through
//!   its [`Writer`]. When sealed segments are written anew, for example to erase records, a segment
//!   with another name replaces them (`rewrite.rs`).
//! - A segment's name never stands for two files, and its file exists as long as a view has it.
//! - A gap between two frames is damage, which any read across it reports.
//!
//! Reading order: this page, the state; `view.rs`; `read.rs`, `time.rs`; `writer.rs`,
//! `past_cache.rs`; `open.rs`, which opens a log at a start; `name.rs`, `segment.rs`, `index.rs`;
//! `rewrite.rs`, `output.rs`, `removed.rs`, `present.rs`.

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
mod past_cache;
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

/// The partition that a log is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) topic: TopicId,
    pub(crate) partition: PartitionId,
}

/// The state of a partition's log. Does no I/O: its owner guards it with a lock.
pub(crate) struct Log {
    identity: Identity,
    /// The directory of the topic, shared by all its logs.
    topic_dir: Arc<Path>,
    /// What readers see without the lock.
    published: Arc<Published>,
    end: Offset,
    /// The state of the view's growing segment; `Some` exactly if there is one.
    active: Option<Active>,
    tail: VecDeque<Tailed>,
    tail_bytes: usize,
    /// The size of all frames that were added since the log was opened.
    appended_bytes: u64,
    last_append_time_ms: i64,
    /// The last versions of this many trimmed segments are durable, so the next checkpoint allows
    /// their removal.
    retired: usize,
    /// How many of these segments the checkpoint that is being written allows to remove.
    leaving: usize,
    /// Segments that are in no view any more but still have files.
    gone: Vec<Gone>,
    /// The highest number of a table of last versions; 0 for none.
    retired_file: u64,
}

/// The segment that grows.
#[derive(Clone, Debug)]
struct Active {
    base: Offset,
    /// The offset behind the last record in the file.
    end: Offset,
    /// The size of header and frames in the file, in bytes.
    bytes: u64,
    /// How many records the frames have that were noted.
    records: u64,
    rows: GrowingRows,
    first_append_time_ms: i64,
    last_append_ms: i64,
    latest_timestamp_ms: i64,
}

/// A frame in memory, and the charge for its memory.
struct Tailed {
    frame: Frame,
    _charge: Charge,
}

/// What accounts for a frame's memory; dropped when the frame is in a segment.
pub(crate) type Charge = Option<Arc<dyn Send + Sync>>;

impl Log {
    /// The log of a partition without records. The topic's directory is `topic_dir`.
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

    /// The partition that the log is of.
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

    /// The size of the frames that are in no segment, in bytes.
    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail_bytes
    }

    /// Whether there are frames that are in no segment.
    pub(crate) fn has_tail(&self) -> bool {
        !self.tail.is_empty()
    }

    /// The append time of the last frame; the earliest possible time if there is none.
    pub(crate) fn last_append_time_ms(&self) -> i64 {
        self.last_append_time_ms
    }

    /// The number of segments, and the bytes in them and in memory.
    pub(crate) fn size(&self) -> (usize, u64) {
        let active = self.active.as_ref().map_or(0, |active| active.bytes);
        let view = self.view();
        (
            view.live().len() + usize::from(self.active.is_some()),
            view.bytes + active + self.tail_bytes as u64,
        )
    }

    /// Adds a frame whose journal entry is durable. A frame that the log has already is ignored, so
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

    /// Skips offsets whose records are lost: reading them will report the loss.
    pub(crate) fn apply_loss(&mut self, end: Offset) {
        self.set_end(self.end.max(end));
    }

    /// Trims the log: it starts at `before` from now on, unless it starts later already.
    pub(crate) fn trim(&mut self, before: Offset) {
        let before = before.min(self.end);
        if before > self.start() {
            self.change_view(|view| view.start = before);
        }
    }

    /// Lets a log without records start and end at `offset`; returns false if it ends there or
    /// later already.
    pub(crate) fn start_at(&mut self, offset: Offset) -> bool {
        if self.end >= offset {
            return false;
        }
        self.set_end(offset);
        self.change_view(|view| view.start = offset);
        true
    }

    /// The state of the log for a checkpoint. Frames in the tail are not part of it, and neither is
    /// a trim that reaches into them: the journal has both.
    pub(crate) fn checkpoint(&self) -> checkpoint::Partition {
        let start = self.start();
        let tail = self.tail.front().map(|first| first.frame.header().base);
        checkpoint::Partition {
            start: tail.map_or(start, |tail| start.min(tail)),
            end: self.written_end(),
            last_append_time_ms: self.last_append_time_ms,
            active: self.active.as_ref().map(|active| checkpoint::Active {
                base: active.base,
                len: active.bytes,
            }),
            retired: self.retired_file,
        }
    }

    /// The state of the log for a checkpoint, and a view with all files that it counts on, which
    /// stay as long as the view does.
    pub(crate) fn image(&self) -> (Arc<View>, checkpoint::Partition) {
        (Arc::clone(&self.view()), self.checkpoint())
    }

    /// The first offset that has a record, trimmed or not, or should have one: a record that is
    /// neither trimmed nor in a file is lost, not removed. A segment counts until it is being
    /// removed, because before that a crash may bring it back, although no table of last versions
    /// may cover its records.
    pub(crate) fn first_kept(&self) -> Offset {
        let view = self.view();
        let sealed = view.sealed.first().map(Sealed::base);
        let active = self.active.as_ref().map(|active| active.base);
        let tail = self.tail.front().map(|first| first.frame.header().base);
        let first = sealed.or(active).or(tail).unwrap_or(self.end);
        first.min(view.start)
    }

    /// The directory of its files.
    pub(crate) fn dir(&self) -> Arc<Path> {
        let name = self.identity.partition.to_string();
        self.topic_dir.join(name).into()
    }

    /// The offsets of segments that are trimmed completely and whose last versions are not kept
    /// yet; `None` if there are none.
    pub(crate) fn trimmed(&self) -> Option<std::ops::Range<Offset>> {
        let view = self.view();
        let trimmed = &view.sealed[self.retired..view.trimmed];
        Some(trimmed.first()?.base()..trimmed.last()?.end)
    }

    /// How many bytes those segments have.
    pub(crate) fn trimmed_bytes(&self) -> u64 {
        let view = self.view();
        let trimmed = view.sealed[self.retired..view.trimmed].iter();
        trimmed.map(|segment| segment.bytes).sum()
    }

    /// Notes that the last versions of trimmed segments up to `end` are durable in a table: the
    /// segments can be removed.
    pub(crate) fn retire(&mut self, end: Offset, file: u64) {
        let view = self.view();
        let trimmed = &view.sealed[..view.trimmed];
        let kept = trimmed.partition_point(|segment| segment.end <= end);
        self.retired = self.retired.max(kept);
        self.retired_file = file;
    }

    /// The highest number of a table of last versions; 0 for none.
    pub(crate) fn retired_file(&self) -> u64 {
        self.retired_file
    }

    /// Sets that number, when nothing was trimmed.
    pub(crate) fn set_retired_file(&mut self, file: u64) {
        self.retired_file = file;
    }

    /// The end of what is in segments: behind their last record, lost ones included.
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

    /// Adds a frame that begins at the end of the file, with an index row if one is due.
    fn note(&mut self, frame: &super::format::frame::Header, length: usize) {
        let (behind, before) = match self.rows.last() {
            Some(last) => {
                let before = self.base.plus(u64::from(last.relative));
                (u64::from(last.position), before)
            }
            None => (segment_file::HEADER_BYTES, self.base),
        };
        // Rows are in order even if damage has moved a frame.
        if self.bytes - behind >= segment_file::INDEX_INTERVAL_BYTES && frame.base > before {
            self.rows.push(self.row(frame.base));
        }
        self.bytes += length as u64;
        self.records += u64::from(frame.count);
        // A stale frame that damage has brought back does not move the end back.
        self.end = self.end.max(frame.end());
        self.latest_timestamp_ms = self.latest_timestamp_ms.max(frame.latest_timestamp_ms);
        self.last_append_ms = self.last_append_ms.max(frame.append_time_ms);
    }

    /// The rows that the index file still needs if the segment ends here. The last one stands for
    /// the segment's end.
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
