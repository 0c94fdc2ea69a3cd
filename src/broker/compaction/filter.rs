//! Decides which records stay, given what is known of their keys.
//!
//! The newest records of a key stay, as many as are to be kept. Exceptions are a tombstone whose
//! time is over, and records before such a tombstone. A record's version tells how many newer ones
//! there are.

use super::key_map::{Key, KeyMap, Newest};
use crate::{
    storage::{
        files::FileError,
        format::{
            frame::{Frame, HEADER_BYTES},
            pack::{Kept, Packer, Tombstones},
        },
        keys::hash::KeyHasher,
        log::{Edit, Rewrite, Trimmed},
    },
    types::{Offset, RecordView, Records, Version},
};

/// The rules of one pass.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) keys: &'a KeyMap,
    pub(super) hasher: &'a KeyHasher,
    /// How many records of each key stay.
    pub(super) keep: u64,
    /// Keys are known from records before this offset.
    pub(super) to: Offset,
    /// When the pass began; `None` behind damage. Then records before a tombstone may still exist
    /// in what cannot be read, so tombstones stay as they are.
    pub(super) now_ms: Option<i64>,
    /// Records that trims of entities have taken do not stay.
    pub(super) trimmed: &'a Trimmed,
}

/// What was seen in the frames so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The offset behind the last frame.
    pub(super) end: Offset,
    /// Whether offsets are missing before a frame.
    pub(super) has_hole: bool,
    /// How many records were removed.
    pub(super) removed: u64,
    /// When the oldest tombstone that stays was first compacted.
    pub(super) oldest_tombstone_ms: Option<i64>,
}

/// An edit that leaves the records that stay.
pub(super) struct Filter<'a> {
    rules: Rules<'a>,
    packer: Packer,
    pub(super) seen: Seen,
}

impl Seen {
    /// Nothing seen yet, in a segment with this base.
    pub(super) fn from(base: Offset) -> Self {
        Self {
            end: base,
            has_hole: false,
            removed: 0,
            oldest_tombstone_ms: None,
        }
    }

    /// Adds a frame and what is kept of it.
    pub(super) fn note(&mut self, frame: &Frame, kept: &Kept) {
        let header = frame.header();
        self.has_hole |= header.base != self.end;
        self.end = self.end.max(header.end());
        self.removed += u64::from(header.count - kept.count);
        if let Tombstones::Since(since_ms) = kept.tombstones {
            let oldest = self.oldest_tombstone_ms.unwrap_or(i64::MAX);
            self.oldest_tombstone_ms = Some(oldest.min(since_ms));
        }
    }
}

impl<'a> Filter<'a> {
    /// A filter for the segment with this base.
    pub(super) fn new(rules: Rules<'a>, base: Offset) -> Self {
        Self {
            rules,
            packer: Packer::default(),
            seen: Seen::from(base),
        }
    }
}

impl Edit for Filter<'_> {
    const TAKES_DAMAGE: bool = false;

    fn take(&mut self, frame: Frame, out: &mut Vec<Frame>) {
        let kept = self.rules.keep_of(&frame);
        self.seen.note(&frame, &kept);
        self.packer.take(&frame, &kept, out);
    }

    fn finish(&mut self, out: &mut Vec<Frame>) {
        self.packer.finish(out);
    }
}

impl Rules<'_> {
    /// At most how many bytes are left of segments that are written anew by these rules.
    pub(super) fn kept_bytes(&self, rewrite: &Rewrite<'_>) -> Result<u64, FileError> {
        let mut bytes = 0;
        // Where there is damage, nothing is written.
        rewrite.find_frame(|frame| {
            let kept = self.keep_of(frame);
            bytes += HEADER_BYTES + kept.parts.iter().map(ExactSizeIterator::len).sum::<usize>();
            false
        })?;
        Ok(bytes as u64)
    }

    /// The records of a frame that stay.
    pub(super) fn keep_of(&self, frame: &Frame) -> Kept {
        let header = frame.header();
        let records = frame.records();
        let mut kept = Kept {
            parts: Vec::new(),
            count: 0,
            latest_timestamp_ms: i64::MIN,
            tombstones: Tombstones::None,
        };
        for element in Records::new(&records) {
            let (place, encoded) =
                element.expect("the frame's checksum was right, and the broker wrote it");
            let record = RecordView::parse(encoded)
                .expect("the frame's checksum was right, and the broker wrote it");
            if !self.stays(&record) {
                continue;
            }
            match kept.parts.last_mut() {
                Some(last) if last.end == place.start => last.end = place.end,
                _ => kept.parts.push(place),
            }
            kept.count += 1;
            let timestamp_ms = record.timestamp_ms.unwrap_or(header.append_time_ms);
            kept.latest_timestamp_ms = kept.latest_timestamp_ms.max(timestamp_ms);
            if is_tombstone(&record) {
                kept.tombstones = self.mark(frame);
            }
        }
        kept
    }

    /// The mark for tombstones that stay in a frame.
    fn mark(&self, frame: &Frame) -> Tombstones {
        let header = frame.header();
        match (header.tombstones_since_ms, self.now_ms) {
            (Some(since_ms), _) => Tombstones::Since(since_ms),
            // Behind `to`, records before these tombstones may still exist.
            (None, Some(now_ms)) if header.end() <= self.to => Tombstones::Since(now_ms),
            (None, _) => Tombstones::New,
        }
    }

    fn stays(&self, record: &RecordView<'_>) -> bool {
        if self.trimmed.has(self.hasher, record) {
            return false;
        }
        let Some(key) = Key::of(record, self.hasher) else {
            return true;
        };
        let (Some(version), Some(newest)) = (record.version.map(Version), self.keys.find(&key))
        else {
            return true;
        };
        let is_gone = self.now_ms.is_some() && version <= newest.gone;
        let is_old = version.0.saturating_add(self.keep) <= newest.version.0;
        !is_gone && !is_old
    }
}

/// Whether a record ends its entity: it has no value, or is erased.
pub(super) fn is_tombstone(record: &RecordView<'_>) -> bool {
    record.value.is_none() && (record.key.is_some() || record.erased.is_some())
}

impl Newest {
    /// Whether nothing of the key stays: its newest record is a tombstone whose time is over.
    pub(super) fn is_gone(&self) -> bool {
        self.version != Version::NONE && self.gone == self.version
    }
}
