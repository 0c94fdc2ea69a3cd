//! Large frames that were searched for a record, kept for the next look-up.
//!
//! To find a record, the whole frame must be read and checked, and the records before it passed.
//! For a frame of 16 MiB with a quarter of a million records this takes milliseconds, and look-ups
//! of neighbouring records come by the hundred. So such a frame is kept in memory for a while,
//! checked, with the positions of its records. For smaller frames that is not worth the
//! bookkeeping.

use std::{collections::BTreeMap, sync::Arc};

use super::{FoundRecord, Identity};
use crate::{
    storage::format::frame::{self, Frame},
    types::{
        Offset, PartitionId, RecordView, Records, TopicId,
        limits::{KEPT_FRAMES_BYTES, LARGE_FRAME_BYTES},
    },
};

/// A frame, and where each of its records is.
pub(super) struct KeptFrame {
    frame: Frame,
    /// Where each record's element begins in the records' bytes.
    elements: Vec<u32>,
}

/// Which file a frame's bytes come from: a segment that was written anew may have other bytes for
/// the same offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Written {
    /// The bytes as the journal had them, in memory or in a segment.
    First,
    /// The segment with this base, at this revision.
    Anew(Offset, u32),
}

/// Identifies a kept frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) topic: TopicId,
    pub(super) partition: PartitionId,
    pub(super) written: Written,
    pub(super) base: Offset,
}

/// The kept frames. If they take too many bytes, the least recently used one goes.
#[derive(Default)]
pub(super) struct KeptFrames {
    frames: BTreeMap<Key, Kept>,
    bytes: usize,
    uses: u64,
}

struct Kept {
    frame: Arc<KeptFrame>,
    used: u64,
}

impl KeptFrame {
    /// Whether a frame of this size is to be kept.
    pub(super) fn is_large(bytes: usize) -> bool {
        bytes >= LARGE_FRAME_BYTES
    }

    /// Finds the records of a frame.
    pub(super) fn new(frame: Frame) -> Arc<Self> {
        let short = |at: usize| u32::try_from(at).expect("a frame is far below 4 GiB");
        let elements = Records::new(&frame.records())
            .map_while(Result::ok)
            .map(|(at, _)| short(at.start))
            .collect();
        Arc::new(Self { frame, elements })
    }

    pub(super) fn frame(&self) -> &Frame {
        &self.frame
    }

    /// The record at an offset.
    pub(super) fn record(&self, offset: Offset) -> Option<FoundRecord> {
        let header = self.frame.header();
        let nth = if header.count == header.span {
            usize::try_from(offset.0.checked_sub(header.base.0)?).ok()?
        } else {
            let records = self.frame.records();
            let offset_of = |start: &u32| {
                let (_, encoded) = Records::new(&records[*start as usize..]).next()?.ok()?;
                RecordView::parse(encoded).ok()?.offset
            };
            self.elements
                .binary_search_by_key(&Some(offset.0), offset_of)
                .ok()?
        };
        let start = *self.elements.get(nth)? as usize;
        let end = self
            .elements
            .get(nth + 1)
            .map_or(self.frame.records().len(), |next| *next as usize);
        let element = frame::HEADER_BYTES + start..frame::HEADER_BYTES + end;
        Some(FoundRecord::in_frame(&self.frame, element))
    }

    fn bytes(&self) -> usize {
        self.frame.bytes().len() + size_of_val(&*self.elements)
    }
}

impl KeptFrames {
    /// The kept frame that covers an offset.
    pub(super) fn find(
        &mut self,
        identity: Identity,
        written: Written,
        offset: Offset,
    ) -> Option<Arc<KeptFrame>> {
        let at = |base| Key {
            topic: identity.topic,
            partition: identity.partition,
            written,
            base,
        };
        let (_, kept) = self
            .frames
            .range_mut(at(Offset::ZERO)..=at(offset))
            .next_back()?;
        if kept.frame.frame.header().end() <= offset {
            return None;
        }
        self.uses += 1;
        kept.used = self.uses;
        Some(kept.frame.clone())
    }

    /// Keeps a frame.
    pub(super) fn keep(&mut self, written: Written, frame: &Arc<KeptFrame>) {
        self.uses += 1;
        let header = frame.frame.header();
        let key = Key {
            topic: header.topic,
            partition: header.partition,
            written,
            base: header.base,
        };
        let kept = Kept {
            frame: frame.clone(),
            used: self.uses,
        };
        self.bytes += frame.bytes();
        let before = self.frames.insert(key, kept);
        self.bytes -= before.map_or(0, |before| before.frame.bytes());
        while self.bytes > KEPT_FRAMES_BYTES {
            // Looks at all frames, 512 at most; reading the frame that needs the room has cost far
            // more.
            let Some(oldest) = self
                .frames
                .iter()
                .min_by_key(|(_, kept)| kept.used)
                .map(|(at, _)| *at)
            else {
                return;
            };
            self.bytes -= self
                .frames
                .remove(&oldest)
                .map_or(0, |oldest| oldest.frame.bytes());
        }
    }

    /// Drops the kept frames for which `these` is true.
    pub(super) fn forget(&mut self, these: impl Fn(&Key) -> bool) {
        let bytes = &mut self.bytes;
        self.frames.retain(|key, kept| {
            let keep = !these(key);
            *bytes -= if keep { 0 } else { kept.frame.bytes() };
            keep
        });
    }
}
