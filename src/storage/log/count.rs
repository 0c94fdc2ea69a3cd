//! How many records a log has from an offset on.
//!
//! A segment that was not written anew has one record for each offset. For one that was, the last
//! row of its index has the number. If that is missing, the number is estimated; so it is if only a
//! part of the segment counts, by that part's share of the bytes.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{
    LogReader,
    kept::Written,
    segment::{OpenSegments, Segment},
    view::Sealed,
};
use crate::{
    env::{Env, Open},
    storage::format::segment_file::{INDEX_ROW_BYTES, RECORDS_AT, decode_records, encode_records},
    types::Offset,
};

/// A number of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) records: u64,
    /// Whether the number is exact; otherwise it is an estimate.
    pub(crate) is_exact: bool,
}

impl LogReader<'_> {
    /// The number of records from `from` up to the high watermark `end`. Records that were trimmed
    /// by entity count until their bytes are gone, so the number is an estimate where there may be
    /// such.
    pub(crate) fn count(&self, from: Offset, end: Offset) -> Count {
        let view = self.log.view();
        let from = from.max(view.start);
        let mut count = Count {
            records: end.0.saturating_sub(from.0),
            is_exact: !self.has_trimmed(from),
        };
        let live = view.live();
        let first = live.partition_point(|sealed| sealed.end <= from);
        for sealed in &live[first..] {
            let (gone, is_exact) = self.gone(sealed, from);
            count.records = count.records.saturating_sub(gone);
            count.is_exact &= is_exact;
        }
        count
    }

    /// Whether there may be records from an offset on that were trimmed by entity but whose bytes
    /// are not gone.
    pub(crate) fn has_trimmed(&self, from: Offset) -> bool {
        from < self.log.view().hidden.trimmed().end()
    }

    /// How many of a segment's offsets from `from` on have no record, and whether that is exact.
    fn gone(&self, sealed: &Sealed, from: Offset) -> (u64, bool) {
        if sealed.segment.written() == Written::First {
            return (0, true);
        }
        let Some(records) = sealed.segment.records(&self.segments.env) else {
            return (0, false);
        };
        if records == 0 {
            // No offset has one, so this is exact.
            return (sealed.end.0 - from.max(sealed.base()).0, true);
        }
        let all_gone = (sealed.end.0 - sealed.base().0).saturating_sub(records);
        if all_gone == 0 || from <= sealed.base() {
            return (all_gone, true);
        }
        let behind = sealed.end.0 - from.0;
        // Which records lie behind `from` is not known; assume that they are spread evenly over the
        // bytes.
        let part = self.part_behind(sealed, from).unwrap_or(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "it is an estimate"
        )]
        let records = (records as f64 * part).ceil() as u64;
        (behind.saturating_sub(records), false)
    }

    /// Roughly which part of a segment's bytes lies behind this offset.
    fn part_behind(&self, sealed: &Sealed, from: Offset) -> io::Result<f64> {
        let content = self.segments.sealed(&sealed.segment)?;
        let relative = from.0 - sealed.base().0;
        let before = content.rows.before(relative);
        let before = before.and_then(|at| content.rows.get(at));
        let position = before.map_or(0, |row| row.position);
        let bytes = content.bytes.len().max(1);
        #[expect(clippy::cast_precision_loss, reason = "it is an estimate")]
        let part = 1.0 - f64::from(position) / bytes as f64;
        Ok(part)
    }
}

impl Segment {
    /// The number of records, if the segment was written anew and its index has the number.
    fn records(&self, env: &Env) -> Option<u64> {
        match self.records.load(Ordering::Relaxed) {
            0 => {
                let noted = self.load_records(env).ok()??;
                self.records.store(noted + 1, Ordering::Relaxed);
                Some(noted)
            }
            noted => Some(noted - 1),
        }
    }

    fn load_records(&self, env: &Env) -> io::Result<Option<u64>> {
        let path = self.name().index_path(&self.dir());
        let file = env.files.open(&path, Open::Read)?;
        let Some(last) = file.len()?.checked_sub(INDEX_ROW_BYTES as u64) else {
            return Ok(None);
        };
        let mut row = [0; INDEX_ROW_BYTES];
        file.read_exact_at(&mut row, last)?;
        Ok(decode_records(&row))
    }
}

/// Writes a segment's number of records to the last of the `rows` rows of its index. If that fails,
/// the number will be estimated.
pub(super) fn note_records(
    segments: &OpenSegments,
    segment: &Arc<Segment>,
    rows: usize,
    records: u64,
) {
    segment.records.store(records + 1, Ordering::Relaxed);
    let path = segment.name().index_path(&segment.dir());
    let write = || {
        let last = rows.saturating_sub(1) * INDEX_ROW_BYTES;
        let file = segments.env.files.open(&path, Open::Write)?;
        file.write_all_at(&[&encode_records(records)], (last + RECORDS_AT) as u64)
    };
    if let Err(error) = write()
        && let Some(count) = segments.count_unwritten()
    {
        let others = count - 1;
        let path = path.display();
        tracing::warn!(%path, %error, others, "how many records a segment has is not noted");
    }
}
