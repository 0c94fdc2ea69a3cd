//! How far a group is behind in a partition.
//!
//! The lag of a partition are the records that are stored from the later of its committed offset
//! and its log's start up to the high watermark. They are counted by segments
//! (`storage/log/count.rs`), which is exact unless the first one was compacted and is passed in
//! part, or records are damaged. What is trimmed of entities, and still in the files, is left out
//! where that can be told by reading little. In time it is the age of the next record to read.

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

/// How much is read of a partition to count what key trims have left of it.
const LOOK_AT_BYTES: usize = 1 << 20;

/// How far a group is behind in a partition.
pub(super) struct Lag {
    pub(super) at: PartitionRef,
    pub(super) earliest: Offset,
    pub(super) high_watermark: Offset,
    /// Where the next record to read is, or behind that.
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

    /// Counts again what is behind, where some of it may have been trimmed of its entities: nobody
    /// can read that, nor wait for it. Beyond what is read for that, it stays an estimate.
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

    /// How old the next record to read is; none if it cannot be read. Nothing without lag.
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
