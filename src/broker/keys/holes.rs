//! Holes: parts of the log that could not be read when the index was built from it.
//!
//! A table says about a key without a row that the key has no record among the table's offsets. So
//! no table is written over offsets that could not be read; they stay a *hole*. Holes are not
//! stored, because the next start finds the same: offsets without a table, and damage in the log.
//!
//! A look-up of a key's latest record goes from the newest rows to the oldest. If it comes to a
//! hole before it comes to a record of the key, the key's version is not known. It must not count
//! as "none", because a version must never be given out twice, so the answer is that records are
//! damaged.
//!
//! A hole is closed when its records are trimmed. It is also read again from time to time, because
//! the disk may be able to read it later.

use std::{ops::Range, time::Duration};

use super::rows::Rows;
use crate::{
    broker::{Error, partitions::Partitions, state::PartitionRef},
    storage::{
        keys::{Files, Hole},
        log::View,
    },
    types::{Offset, Version},
};

/// How long to wait until the log is read again in a hole: at first, and at most. Finding out that
/// a frame is damaged may take reading its whole segment, so the wait doubles each time.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN_AT_MOST: Duration = Duration::from_secs(3_600);

/// Most holes of a partition. Between two holes there is a table; if there are more holes, the last
/// one includes what lies between it and the next.
pub(super) const MOST_HOLES: usize = 256;

/// The versions of a key that are in memory: all behind `before`, up to `last`.
#[derive(Clone, Copy)]
pub(super) struct InTables {
    pub(super) before: Version,
    pub(super) last: Version,
}

impl Hole {
    /// A hole that was just found.
    pub(super) fn new(offsets: Range<Offset>, cause: String, now: Duration) -> Self {
        Self {
            offsets,
            cause,
            looked: now,
            wait: LOOK_AGAIN,
        }
    }

    fn overlaps(&self, offsets: &Range<Offset>) -> bool {
        self.offsets.start.max(offsets.start) < self.offsets.end.min(offsets.end)
    }
}

impl Files {
    /// A hole that has some of these offsets.
    pub(super) fn hole_in(&self, offsets: Range<Offset>) -> Option<&Hole> {
        self.holes.iter().find(|hole| hole.overlaps(&offsets))
    }

    /// A part of the log, which starts at `start`, that must be read before the files are complete.
    pub(super) fn unread(&self, start: Offset, now: Duration) -> Option<Range<Offset>> {
        if let Some(gap) = self.gaps.first() {
            return Some(gap.clone());
        }
        let is_due = |hole: &&Hole| {
            hole.offsets.start < start || now.saturating_sub(hole.looked) >= hole.wait
        };
        Some(self.holes.iter().find(is_due)?.offsets.clone())
    }

    /// Notes that these offsets were read: they are in a table now, or are a hole.
    pub(super) fn has_read(&mut self, offsets: &Range<Offset>) {
        let mut gaps = Vec::new();
        for gap in self.gaps.drain(..) {
            let before = gap.start..gap.end.min(offsets.start);
            let behind = gap.start.max(offsets.end)..gap.end;
            gaps.extend(
                [before, behind]
                    .into_iter()
                    .filter(|gap| gap.start < gap.end),
            );
        }
        self.gaps = gaps;
        let mut holes = Vec::new();
        for hole in self.holes.drain(..) {
            let before = hole.offsets.start..hole.offsets.end.min(offsets.start);
            let behind = hole.offsets.start.max(offsets.end)..hole.offsets.end;
            for rest in [before, behind] {
                if rest.start < rest.end {
                    holes.push(Hole {
                        offsets: rest,
                        ..hole.clone()
                    });
                }
            }
        }
        self.holes = holes;
    }

    /// Adds a hole.
    pub(super) fn add_hole(&mut self, hole: Hole) {
        self.holes.push(hole);
        self.holes.sort_by_key(|hole| hole.offsets.start);
    }
}

impl Rows<'_> {
    /// A hole that may have requested versions which were not found. Versions have no gaps and grow
    /// with the offsets. Versions up to `retired` are known to be trimmed.
    pub(super) fn missed(
        &self,
        found: &[(Version, Offset)],
        files: &Files,
        tables: Option<InTables>,
        retired: Version,
    ) -> Option<Hole> {
        if files.holes.is_empty() {
            return None;
        }
        let missed = if self.backward {
            self.missed_backward(found, files, tables, retired)
        } else {
            self.missed_forward(found, files, tables, retired)
        };
        missed.cloned()
    }

    fn missed_forward<'f>(
        &self,
        found: &[(Version, Offset)],
        files: &'f Files,
        tables: Option<InTables>,
        retired: Version,
    ) -> Option<&'f Hole> {
        let (mut expected, mut behind) = (self.from.max(retired.next()), Offset::ZERO);
        for (version, offset) in found {
            if *version > expected
                && let Some(hole) = files.hole_in(behind..*offset)
            {
                return Some(hole);
            }
            (expected, behind) = (expected.max(version.next()), offset.plus(1));
        }
        let may_be_more = tables.is_none_or(|tables| expected <= tables.before);
        if found.len() < self.most && may_be_more {
            files.hole_in(behind..self.limit)
        } else {
            None
        }
    }

    fn missed_backward<'f>(
        &self,
        found: &[(Version, Offset)],
        files: &'f Files,
        tables: Option<InTables>,
        retired: Version,
    ) -> Option<&'f Hole> {
        let newest = tables.map_or(self.from, |tables| self.from.min(tables.last));
        let (mut expected, mut before) = (newest, self.limit);
        for (version, offset) in found {
            if *version < expected
                && let Some(hole) = files.hole_in(offset.plus(1)..before)
            {
                return Some(hole);
            }
            (expected, before) = (Version(version.0.saturating_sub(1)), *offset);
        }
        if found.len() < self.most && expected > retired {
            files.hole_in(Offset::ZERO..before)
        } else {
            None
        }
    }
}

impl Partitions {
    /// Whether the files are complete, so that nothing of the log must be read first.
    pub(super) fn are_whole(&self, view: &View) -> bool {
        let files = view.index();
        if files.last_versions.next_earlier().is_some() {
            return false;
        }
        if files.gaps.is_empty() && files.holes.is_empty() {
            return true;
        }
        files
            .unread(view.start(), self.env.clock.elapsed())
            .is_none()
    }

    /// The error for a request that needs what is in a hole.
    pub(super) fn explain_hole(&self, partition: &PartitionRef, hole: &Hole) -> Error {
        Error::DamagedRecords {
            topic: partition.topic.name.to_string(),
            partition: partition.partition().id,
            from: hole.offsets.start,
            to: hole.offsets.end,
            cause: hole.cause.clone(),
        }
    }

    /// Logs that records are damaged, unless it was logged before for a hole that was read again.
    pub(super) fn report_hole(&self, partition: &PartitionRef, known: &Files, hole: &mut Hole) {
        let covers = |known: &&Hole| {
            known.offsets.start <= hole.offsets.start && hole.offsets.end <= known.offsets.end
        };
        if let Some(known) = known.holes.iter().find(covers) {
            hole.wait = (known.wait * 2).min(LOOK_AGAIN_AT_MOST);
            return;
        }
        if partition.is_deleted() {
            // They are not damaged: their files are being removed.
            return;
        }
        tracing::error!(
            topic = %partition.topic.name,
            partition = partition.partition().id.0,
            from = hole.offsets.start.0,
            to = hole.offsets.end.0,
            cause = hole.cause,
            "records are damaged that the key index does not know: what needs the versions of entities that may be in \
                them gives DATA_LOSS until they are trimmed"
        );
    }
}
