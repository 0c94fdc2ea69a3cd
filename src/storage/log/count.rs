//! How many records a log has behind an offset.
//!
//! Where nothing was written anew there is one for each offset. Of a segment that was, the last row
//! of its index says how many it has; a segment of which that is not known is estimated, and so is
//! one that is counted in part, by how much of its bytes the part has.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{LogReader, kept::Written, segment::Segment, view::Sealed};
use crate::{
    env::{Env, Open},
    storage::format::segment_file::{INDEX_ROW_BYTES, RECORDS_AT, decode_records, encode_records},
    types::Offset,
};

/// A number of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) records: u64,
    /// Whether they were counted; else it is estimated.
    pub(crate) is_exact: bool,
}

impl LogReader<'_> {
    /// The records that are stored from an offset up to this high watermark. Those that are trimmed
    /// of entities count until their bytes are gone: where there may be any, this is an estimate.
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

    /// Whether there may be records from an offset on that are trimmed of their entities, and whose
    /// bytes are not gone.
    pub(crate) fn has_trimmed(&self, from: Offset) -> bool {
        from < self.log.view().hidden.trimmed().end()
    }

    /// How many of a segment's offsets behind this one have no record, and whether that is certain.
    fn gone(&self, sealed: &Sealed, from: Offset) -> (u64, bool) {
        if sealed.segment.written() == Written::First {
            return (0, true);
        }
        let Some(records) = sealed.segment.records(&self.segments.env) else {
            return (0, false);
        };
        if records == 0 {
            // Wherever they were.
            return (sealed.end.0 - from.max(sealed.base()).0, true);
        }
        let all_gone = (sealed.end.0 - sealed.base().0).saturating_sub(records);
        if all_gone == 0 || from <= sealed.base() {
            return (all_gone, true);
        }
        let behind = sealed.end.0 - from.0;
        // Of where they are, only the bytes are known.
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

    /// Which part of a segment's bytes are frames behind this offset, about.
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
    /// How many records it has, if it was written anew and that was noted.
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

/// Notes how many records a segment has, in the last of so many rows of its index. What cannot be
/// written is estimated.
pub(super) fn note_records(env: &Env, segment: &Arc<Segment>, rows: usize, records: u64) {
    segment.records.store(records + 1, Ordering::Relaxed);
    let path = segment.name().index_path(&segment.dir());
    let write = || {
        let last = rows.saturating_sub(1) * INDEX_ROW_BYTES;
        let file = env.files.open(&path, Open::Write)?;
        file.write_all_at(&[&encode_records(records)], (last + RECORDS_AT) as u64)
    };
    if let Err(error) = write() {
        tracing::warn!(path = %path.display(), %error, "how many records a segment has is not noted");
    }
}
