//! Finding an offset by timestamp.

use std::{io, sync::Arc};

use arc_swap::Guard;

use super::{
    Active, LogLock, LogReader, ReadError,
    read::unreadable,
    segment::Segment,
    view::{Sealed, View},
    walk::{Source, Walk},
};
use crate::{
    storage::format::{frame::Frame, segment_file::IndexRow},
    types::{Offset, RecordView, Records},
};

/// What lies behind the sealed segments.
struct Behind {
    active: Option<Active>,
    tail: Vec<Frame>,
    end: Offset,
}

impl LogReader<'_> {
    /// The first offset whose record has this timestamp or a later one; the high watermark if there
    /// is none. Damaged records are skipped.
    pub(crate) fn find_time(&self, timestamp_ms: i64) -> Result<Offset, ReadError> {
        let (view, behind) = self.log.behind_sealed();
        let start = view.start;
        for sealed in view.live() {
            match self.find_in_sealed(sealed, start, timestamp_ms) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                // The segment is missing; a read of it will report that.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let offsets = start.max(sealed.base())..sealed.end;
                    return Err(unreadable(&sealed.segment, offsets, error));
                }
            }
        }
        if let (Some(active), Some(segment)) = (&behind.active, &view.growing)
            && active.latest_timestamp_ms >= timestamp_ms
        {
            let found = self.find_in_growing(segment, active, start, timestamp_ms);
            let offsets = start.max(active.base)..active.end;
            let found = found.map_err(|error| unreadable(segment, offsets, error))?;
            if let Some(found) = found {
                return Ok(found);
            }
        }
        Ok(behind
            .tail
            .iter()
            .find_map(|frame| find_in_frame(frame, start, timestamp_ms))
            .unwrap_or(behind.end))
    }

    fn find_in_growing(
        &self,
        segment: &Arc<Segment>,
        active: &Active,
        start: Offset,
        timestamp_ms: i64,
    ) -> io::Result<Option<Offset>> {
        let file = self.segments.growing(segment)?;
        let position = position_of(active.rows.before_time(timestamp_ms));
        let walk = segment.walk(Source::File(file), active.bytes, position);
        find_in_walk(walk, start, timestamp_ms)
    }

    fn find_in_sealed(
        &self,
        sealed: &Sealed,
        start: Offset,
        timestamp_ms: i64,
    ) -> io::Result<Option<Offset>> {
        let content = self.segments.sealed(&sealed.segment)?;
        let rows = &content.rows;
        if rows
            .last()
            .is_some_and(|last| last.latest_before_ms < timestamp_ms)
        {
            return Ok(None);
        }
        let before = rows.before_time(timestamp_ms);
        let position = position_of(before.and_then(|at| rows.get(at)));
        let walk = content.walk(&sealed.segment, position);
        find_in_walk(walk, start, timestamp_ms)
    }
}

impl LogLock {
    /// The view, and what a search by time must look at behind the sealed segments.
    fn behind_sealed(&self) -> (Guard<Arc<View>>, Behind) {
        let log = self.lock();
        let behind = Behind {
            active: log.active.clone(),
            tail: log.tail.iter().map(|tailed| tailed.frame.clone()).collect(),
            end: log.end,
        };
        (self.view(), behind)
    }
}

/// Where to start searching: at a row, or at the segment's beginning.
fn position_of(row: Option<IndexRow>) -> u64 {
    row.map_or(0, |row| u64::from(row.position))
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
