//! How far a group is behind in a partition.
//!
//! The lag in a partition is the number of stored records from the later of the committed offset
//! and the log's start up to the high watermark. Records are counted by segments
//! (`storage/log/count.rs`). That is exact, unless the first segment was compacted and counts in
//! part, or records are damaged. Records that were trimmed by entity but are still in files are not
//! counted, if that takes little reading. The lag as a time is the age of the next record to read.

use std::time::Duration;

use super::show::Known;
use crate::{
    broker::{Shared, state::PartitionRef},
    catalog::groups::Place,
    storage::{
        format::frame::Frame,
        log::{Count, Cursor, Enough},
    },
    types::{Offset, RecordView, Records, limits},
};

/// How many bytes are read to leave out records that were trimmed by entity.
const LOOK_AT_BYTES: usize = 1 << 20;

/// The lag of a group in a partition.
pub(super) struct Lag {
    pub(super) at: PartitionRef,
    pub(super) earliest: Offset,
    pub(super) high_watermark: Offset,
    /// The next record to read is at this offset or behind it.
    pub(super) next: Offset,
    pub(super) count: Count,
}

impl Shared {
    pub(super) fn lag(&self, known: &Known, place: Place) -> Option<Lag> {
        let at = self.partitions.find_partition(place.0, place.1)?;
        let (earliest, high_watermark) = at.range();
        let committed = known.state.offsets.get(&place);
        let next = committed.map_or(earliest, |committed| committed.next.max(earliest));
        let count = self.partitions.reader(&at).count(next, high_watermark);
        let mut lag = Lag {
            at,
            earliest,
            high_watermark,
            next,
            count,
        };
        if self.partitions.reader(&lag.at).has_trimmed(next) {
            self.count_what_is_left(&mut lag);
        }
        Some(lag)
    }

    /// Counts the records again without those that were trimmed by entity, which nobody can read.
    /// If that takes too much reading, the count stays an estimate.
    fn count_what_is_left(&self, lag: &mut Lag) {
        let reader = self.partitions.reader(&lag.at);
        let (mut cursor, mut read) = (Cursor::new(lag.next), 0);
        let (mut records, mut first) = (0, None);
        while cursor.next < lag.high_watermark {
            let began = cursor.next;
            let enough = Enough::of_bytes(limits::MAX_RESPONSE_BYTES);
            let Ok((frames, hidden)) = reader.read_with_hidden(&mut cursor, enough) else {
                return;
            };
            for frame in &frames {
                read += frame.bytes().len();
                let edited = hidden.edit(&lag.at.topic.hasher, frame);
                for offset in offsets_of(edited.as_ref().unwrap_or(frame)) {
                    if (lag.next..lag.high_watermark).contains(&offset) {
                        first.get_or_insert(offset);
                        records += 1;
                    }
                }
            }
            let is_too_much = read >= LOOK_AT_BYTES && cursor.next < lag.high_watermark;
            if is_too_much || cursor.next == began {
                return;
            }
        }
        lag.next = first.unwrap_or(lag.high_watermark);
        lag.count = Count {
            records,
            is_exact: true,
        };
    }

    /// The age of the next record to read; `None` if it cannot be read, zero without lag.
    pub(super) fn age(&self, lag: &Lag) -> Option<Duration> {
        if lag.records() == 0 {
            return Some(Duration::ZERO);
        }
        let read = self
            .partitions
            .reader(&lag.at)
            .read(&mut Cursor::new(lag.next), 1);
        let frames = read.ok()?;
        let appended_ms = frames.first()?.header().append_time_ms;
        let age = self.clock.now_ms().saturating_sub(appended_ms);
        Some(Duration::from_millis(
            u64::try_from(age).unwrap_or_default(),
        ))
    }
}

impl Lag {
    pub(super) fn records(&self) -> u64 {
        self.count.records
    }
}

/// The offsets of a frame's records.
fn offsets_of(frame: &Frame) -> Vec<Offset> {
    let bytes = frame.records();
    let views = Records::new(&bytes).map_while(|record| RecordView::parse(record.ok()?.1).ok());
    views.filter_map(|view| view.offset.map(Offset)).collect()
}
