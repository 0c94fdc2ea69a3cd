//! Finding the offset of a time.

use std::io;

use super::{
    LogReader, ReadError,
    read::{Segment, lock},
    walk::{Source, Walk},
};
use crate::{
    storage::format::{frame::Frame, segment_file::IndexRow},
    types::{Offset, RecordView, Records},
};

impl LogReader<'_> {
    /// The first offset whose record has this timestamp or a later one; the high watermark if there
    /// is none. Damaged records are passed over.
    pub(crate) fn find_time(&self, timestamp_ms: i64) -> Result<Offset, ReadError> {
        let (start, end, sealed, active, tail) = lock(self.log).parts();
        for sealed in sealed {
            let segment = Segment::of(&sealed);
            match self.find_in_sealed(&segment, start, timestamp_ms) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // Trimmed meanwhile, or missing, which its readers are told.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.unreadable(start.max(sealed.base), &segment, error)),
            }
        }
        if let Some(active) = active.filter(|active| active.latest_timestamp_ms >= timestamp_ms) {
            let segment = Segment {
                base: active.base,
                end: active.end,
                bytes: active.bytes,
            };
            let found = self.find_in_active(&segment, &active.rows, start, timestamp_ms);
            match found {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => return Err(self.unreadable(start.max(active.base), &segment, error)),
            }
        }
        Ok(tail
            .iter()
            .find_map(|frame| find_in_frame(frame, start, timestamp_ms))
            .unwrap_or(end))
    }

    fn find_in_active(
        &self,
        segment: &Segment,
        rows: &[IndexRow],
        start: Offset,
        timestamp_ms: i64,
    ) -> io::Result<Option<Offset>> {
        let (identity, dir) = self.identity();
        let file = self.segments.active(&dir, segment.base)?;
        let position = position_before(rows, timestamp_ms);
        let walk = Walk::new(
            Source::File(file),
            segment.bytes,
            identity,
            segment.base,
            position,
        );
        find_in_walk(walk, start, timestamp_ms)
    }

    fn find_in_sealed(
        &self,
        segment: &Segment,
        start: Offset,
        timestamp_ms: i64,
    ) -> io::Result<Option<Offset>> {
        let open = self.open_sealed(segment)?;
        let rows = open.rows.as_deref().unwrap_or_default();
        if rows
            .last()
            .is_some_and(|last| last.latest_before_ms < timestamp_ms)
        {
            return Ok(None);
        }
        let walk = self.walk_sealed(&open, segment.base, position_before(rows, timestamp_ms));
        find_in_walk(walk, start, timestamp_ms)
    }
}

/// Where to begin looking for a timestamp: the last row with nothing as late before it.
fn position_before(rows: &[IndexRow], timestamp_ms: i64) -> u64 {
    let behind = rows.partition_point(|row| row.latest_before_ms < timestamp_ms);
    behind
        .checked_sub(1)
        .map_or(0, |at| u64::from(rows[at].position))
}

fn find_in_walk(mut walk: Walk, start: Offset, timestamp_ms: i64) -> io::Result<Option<Offset>> {
    while !walk.at_end() {
        let Some(frame) = walk.frame()? else {
            walk.resync()?;
            continue;
        };
        if let Some(found) = find_in_frame(&frame, start, timestamp_ms) {
            return Ok(Some(found));
        }
        walk.skip(frame.bytes().len());
    }
    Ok(None)
}

fn find_in_frame(frame: &Frame, start: Offset, timestamp_ms: i64) -> Option<Offset> {
    if frame.header().latest_timestamp_ms < timestamp_ms || frame.header().end() <= start {
        return None;
    }
    let records = frame.records();
    Records::new(&records)
        .filter_map(|record| RecordView::parse(record.ok()?.1).ok())
        .filter(|record| record.timestamp_ms.is_some_and(|time| time >= timestamp_ms))
        .filter_map(|record| record.offset.map(Offset))
        .find(|offset| *offset >= start)
}
