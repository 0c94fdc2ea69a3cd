//! Which offsets in a part of a log still have records.
//!
//! All offsets do in segments that were never written anew. Offsets that cannot be read count as
//! having records, because nobody knows. For other segments, the offset of each record is added to
//! a Bloom filter of fixed size: a few offsets without a record then count as having one, but never
//! the reverse.

use std::{io, ops::Range};

use super::{LogReader, View, segment::Segment, view::Sealed};
use crate::{
    storage::{
        fault::{self, Meaning},
        format::{
            block,
            filter::{self, BLOCK_BYTES, Block},
            frame::{Frame, Header, Place},
        },
        read_only::ReadOnly,
    },
    types::{Offset, RecordView, Records},
};

/// The offsets in a part of a log that have records, and by mistake a few more.
pub(crate) struct Present {
    /// Ranges in which all offsets count, in order.
    whole: Vec<Range<Offset>>,
    /// The filter for the offsets between these ranges.
    blocks: Vec<Block>,
}

impl Present {
    fn new(most: u64, most_bytes: usize) -> Self {
        let blocks = usize::try_from(filter::blocks_for(most)).unwrap_or(usize::MAX);
        let blocks = blocks.min(most_bytes / BLOCK_BYTES).max(1);
        Self {
            whole: Vec::new(),
            blocks: vec![[0; BLOCK_BYTES]; blocks],
        }
    }

    /// Its size in memory, except for a few bytes per segment.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.blocks)
    }

    /// Whether there may be a record at an offset.
    pub(crate) fn may_have(&self, offset: Offset) -> bool {
        let behind = self.whole.partition_point(|range| range.end <= offset);
        let is_in = |range: &Range<Offset>| range.start <= offset;
        if self.whole.get(behind).is_some_and(is_in) {
            return true;
        }
        let hash = hash_of(offset);
        filter::may_have(&self.blocks[self.block_of(hash)], hash)
    }

    fn add(&mut self, offset: Offset) {
        let hash = hash_of(offset);
        let at = self.block_of(hash);
        filter::add(&mut self.blocks[at], hash);
    }

    fn add_whole(&mut self, range: Range<Offset>) {
        if range.start >= range.end {
            return;
        }
        match self.whole.last_mut() {
            Some(last) if last.end >= range.start => last.end = last.end.max(range.end),
            _ => self.whole.push(range),
        }
    }

    fn add_frame(&mut self, frame: &Frame) {
        let records = frame.records();
        for (_, encoded) in Records::new(&records).map_while(Result::ok) {
            let record = RecordView::parse(encoded);
            if let Some(offset) = record.ok().and_then(|record| record.offset) {
                self.add(Offset(offset));
            }
        }
    }

    fn block_of(&self, hash: u64) -> usize {
        let product = u128::from(hash) * self.blocks.len() as u128;
        usize::try_from(product >> 64).expect("less than there are blocks")
    }
}

/// Spreads neighbouring offsets: a multiplication by 2^64 divided by the golden ratio.
fn hash_of(offset: Offset) -> u64 {
    offset.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl LogReader<'_> {
    /// Which of these offsets have records, using about `most_bytes` of memory; `None` if there are
    /// more than `most` records.
    pub(crate) fn present(
        &self,
        offsets: &Range<Offset>,
        most: u64,
        most_bytes: usize,
    ) -> io::Result<Option<Present>> {
        let view = self.log.view();
        if self.count_records(&view, offsets)? > most {
            return Ok(None);
        }
        let mut present = Present::new(most, most_bytes);
        // Offsets that are not trimmed and in no segment are lost.
        if let Some(first) = view.sealed.first() {
            present.add_whole(view.start..first.base());
        }
        for sealed in sealed_in(&view, offsets) {
            match is_as_written_first(&sealed.segment) {
                true => present.add_whole(sealed.base()..sealed.end),
                false => self.add_segment(sealed, &mut present)?,
            }
        }
        present.add_whole(behind_sealed(&view)..Offset(u64::MAX));
        Ok(Some(present))
    }

    /// Roughly how many records these offsets have, according to the frames' headers.
    fn count_records(&self, view: &View, offsets: &Range<Offset>) -> io::Result<u64> {
        let spans = |range: Range<Offset>| {
            let end = range.end.min(offsets.end);
            end.0.saturating_sub(range.start.max(offsets.start).0)
        };
        let mut count = spans(behind_sealed(view)..Offset(u64::MAX));
        for sealed in sealed_in(view, offsets) {
            let all = spans(sealed.base()..sealed.end);
            if is_as_written_first(&sealed.segment) {
                count += all;
                continue;
            }
            let content = match self.segments.sealed(&sealed.segment) {
                Ok(content) => content,
                Err(error) if is_damage(&error) => {
                    count += all;
                    continue;
                }
                Err(error) => return Err(error),
            };
            // Without a map, reading the headers would cost as much as reading everything.
            let ReadOnly::Mapped(bytes) = &content.bytes else {
                continue;
            };
            let first = content.stretch_of(&sealed.segment, offsets.start).start;
            count += count_in(bytes, first, offsets).min(all);
        }
        Ok(count)
    }

    fn add_segment(&self, sealed: &Sealed, present: &mut Present) -> io::Result<()> {
        let mut next = sealed.base();
        let read = self.segments.sealed(&sealed.segment).and_then(|content| {
            let mut walk = content.walk(&sealed.segment, 0);
            while !walk.at_end() {
                let Some(frame) = walk.frame()? else {
                    walk.resync()?;
                    continue;
                };
                // Offsets that are missing before the frame are damaged.
                present.add_whole(next..frame.header().base);
                present.add_frame(&frame);
                next = next.max(frame.header().end());
                walk.skip(frame.bytes().len());
            }
            Ok(())
        });
        present.add_whole(next..sealed.end);
        match read {
            Err(error) if !is_damage(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

/// How many records the frames from `position` on have among these offsets. Stops where no frame
/// follows.
fn count_in(bytes: &[u8], position: u64, offsets: &Range<Offset>) -> u64 {
    let mut at = usize::try_from(position).unwrap_or(usize::MAX);
    let mut count = 0;
    while let Some((place, records)) = bytes.get(at..).and_then(peek) {
        if place.base >= offsets.end {
            break;
        }
        if place.end > offsets.start {
            count += u64::from(records);
        }
        at += place.length;
    }
    count
}

/// Where the frame or block at the front of `bytes` lies, and how many records it has.
fn peek(bytes: &[u8]) -> Option<(Place, u32)> {
    block::peek(bytes).or_else(|| {
        let (_, header) = Header::peek(bytes)?;
        Some((Place::peek(bytes)?, header.count))
    })
}

/// The sealed segments that have some of these offsets.
fn sealed_in<'v>(view: &'v View, offsets: &Range<Offset>) -> impl Iterator<Item = &'v Sealed> {
    let offsets = offsets.clone();
    let has_some =
        move |sealed: &&Sealed| sealed.base() < offsets.end && sealed.end > offsets.start;
    view.sealed.iter().filter(has_some)
}

fn behind_sealed(view: &View) -> Offset {
    view.sealed.last().map_or(Offset::ZERO, |last| last.end)
}

fn is_as_written_first(segment: &Segment) -> bool {
    segment.name().revision() == 0
}

fn is_damage(error: &io::Error) -> bool {
    fault::of_reading(error) == Meaning::Damage
}
