//! Large frames that were looked into, kept for the next look-up.
//!
//! One record out of a frame costs reading and checking all of it, and going through the records
//! before. For a frame of 16 MiB with a quarter of a million records that is milliseconds, and
//! look-ups of neighbours come by the hundred. So such a frame is kept for a while, checked, with
//! the places of its records. Smaller frames cost less than keeping books of them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

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
    /// Where each element begins within the records.
    elements: Vec<u32>,
}

/// The frames that are kept. The least recently used goes first when they have too many bytes.
#[derive(Default)]
pub(super) struct KeptFrames {
    frames: BTreeMap<(TopicId, PartitionId, Offset), Kept>,
    bytes: usize,
    uses: u64,
}

struct Kept {
    /// Of the log that it is in.
    dir: Arc<Path>,
    frame: Arc<KeptFrame>,
    used: u64,
}

impl KeptFrame {
    /// The frame with its records found; none if it is too small to be kept.
    pub(super) fn of_large(frame: &Frame) -> Option<Arc<Self>> {
        if frame.bytes().len() < LARGE_FRAME_BYTES {
            return None;
        }
        let short = |at: usize| u32::try_from(at).expect("a frame is far below 4 GiB");
        let elements = Records::new(&frame.records())
            .map_while(Result::ok)
            .map(|(at, _)| short(at.start))
            .collect();
        Some(Arc::new(Self {
            frame: frame.clone(),
            elements,
        }))
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
    /// The frame with an offset.
    pub(super) fn find(&mut self, identity: Identity, offset: Offset) -> Option<Arc<KeptFrame>> {
        let (topic, partition) = (identity.topic, identity.partition);
        let (_, kept) = self
            .frames
            .range_mut((topic, partition, Offset::ZERO)..=(topic, partition, offset))
            .next_back()?;
        if kept.frame.frame.header().end() <= offset {
            return None;
        }
        self.uses += 1;
        kept.used = self.uses;
        Some(kept.frame.clone())
    }

    /// Keeps a frame of the log in this directory.
    pub(super) fn keep(&mut self, dir: &Arc<Path>, frame: &Arc<KeptFrame>) {
        self.uses += 1;
        let header = frame.frame.header();
        let kept = Kept {
            dir: dir.clone(),
            frame: frame.clone(),
            used: self.uses,
        };
        self.bytes += frame.bytes();
        let before = self
            .frames
            .insert((header.topic, header.partition, header.base), kept);
        self.bytes -= before.map_or(0, |before| before.frame.bytes());
        while self.bytes > KEPT_FRAMES_BYTES {
            // Finding the oldest looks at all, 512 at most; the frame that takes its place cost far
            // more than that.
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

    /// Lets go of the frames in these directories.
    pub(super) fn forget(&mut self, is_of: impl Fn(&Path) -> bool) {
        let bytes = &mut self.bytes;
        self.frames.retain(|_, kept| {
            let keep = !is_of(&kept.dir);
            *bytes -= if keep { 0 } else { kept.frame.bytes() };
            keep
        });
    }
}
