//! Frames that a read has fetched, and choosing records from them.

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;

use super::in_files::InFiles;
use crate::{
    storage::{
        format::frame::{Frame, HEADER_BYTES},
        log::{Cursor, FilePart, Hidden},
    },
    types::{Offset, RecordView, Records, limits},
};

/// Which records to return: a record must match each list that is not empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) keys: Vec<Bytes>,
    pub(crate) types: Vec<String>,
}

/// Fetched frames that have not been returned completely.
pub(super) struct Fetched {
    pub(super) frames: VecDeque<Held>,
    /// What was hidden when they were fetched.
    pub(super) hidden: Hidden,
    /// Where to fetch next.
    pub(super) behind: Cursor,
}

/// The rest of a frame.
pub(super) struct Held {
    pub(super) frame: Frame,
    /// Where the frame lies in a file, if that is known and nothing in it is hidden.
    pub(super) part: Option<FilePart>,
    /// Records before this position were returned or left out.
    pub(super) position: usize,
}

/// Which records to choose from frames.
pub(super) struct Wanted<'a> {
    pub(super) filter: &'a Filter,
    pub(super) most: Most,
    pub(super) end: Offset,
}

/// How much to choose at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) records: u64,
    /// A single record may be larger.
    pub(super) bytes: usize,
}

/// Records chosen from frames.
#[derive(Default)]
pub(super) struct Chosen {
    pub(super) slices: Vec<Bytes>,
    /// Where they lie in files.
    pub(super) in_files: InFiles,
    pub(super) bytes: usize,
    pub(super) count: u64,
}

impl Most {
    /// As much as fits in one response, whatever its client accepts.
    pub(super) const RESPONSE: Self = Self {
        records: u64::MAX,
        bytes: limits::MAX_RESPONSE_BYTES,
    };
}

impl Fetched {
    pub(super) fn memory(&self) -> usize {
        let frames = self.frames.iter().map(|held| held.frame.bytes().len());
        self.frames.capacity() * size_of::<Held>() + frames.sum::<usize>()
    }

    /// Chooses records from the frames, up to one response.
    pub(super) fn choose(&mut self, next: &mut Offset, wanted: &Wanted<'_>, chosen: &mut Chosen) {
        chosen.in_files.read_with(&self.hidden);
        while let Some(held) = self.frames.front_mut() {
            let header = *held.frame.header();
            let whole = held.position == 0
                && *next <= header.base
                && header.end() <= wanted.end
                && wanted.filter.is_empty();
            let bytes = held.frame.records().len();
            // A frame that is larger than a response is returned record by record.
            let is_one = header.count == 1 || bytes <= wanted.most.bytes;
            let fits = chosen.fits(bytes, &wanted.most) && is_one;
            if whole && fits && u64::from(header.count) <= wanted.most.records - chosen.count {
                chosen.add(held.frame.records(), held.part_of(0..bytes));
                chosen.count += u64::from(header.count);
                *next = header.end();
            } else if !held.choose(next, wanted, chosen) {
                break;
            }
            self.frames.pop_front();
            if chosen.count == wanted.most.records || chosen.bytes >= wanted.most.bytes {
                break;
            }
        }
    }
}

impl Held {
    pub(super) fn new(frame: Frame, part: Option<FilePart>) -> Self {
        Self {
            frame,
            part,
            position: 0,
        }
    }

    /// Chooses records from this frame one by one; returns false if some are left.
    fn choose(&mut self, next: &mut Offset, wanted: &Wanted<'_>, chosen: &mut Chosen) -> bool {
        let records = self.frame.records();
        let began = self.position;
        let rest = records.slice(began..);
        // Adjacent chosen records are returned as one slice.
        let mut run = 0..0;
        let mut finished = true;
        for element in Records::new(&rest) {
            let (element, encoded) =
                element.expect("the frame's checksum was right, and the broker wrote it");
            let record = RecordView::parse(encoded)
                .expect("the frame's checksum was right, and the broker wrote it");
            let offset = Offset(
                record
                    .offset
                    .expect("the broker gave every stored record its offset"),
            );
            if offset >= wanted.end {
                // The records up to the end may all be gone, so the next offset may be the end
                // itself.
                *next = (*next).max(wanted.end);
                finished = false;
                break;
            }
            if offset >= *next && wanted.filter.matches(&record) {
                let bytes = run.len() + element.len();
                if chosen.count == wanted.most.records || !chosen.fits(bytes, &wanted.most) {
                    finished = false;
                    break;
                }
                if run.end != element.start {
                    chosen.add(rest.slice(run.clone()), self.part_of_rest(began, &run));
                    run = element.start..element.start;
                }
                run.end = element.end;
                chosen.count += 1;
            }
            *next = (*next).max(offset.plus(1));
            self.position = records.len() - rest.len() + element.end;
        }
        chosen.add(rest.slice(run.clone()), self.part_of_rest(began, &run));
        if finished {
            *next = (*next).max(self.frame.header().end().min(wanted.end));
        }
        finished
    }
}

impl Held {
    /// Where some of the frame's records lie.
    fn part_of(&self, records: Range<usize>) -> Option<FilePart> {
        let bytes = HEADER_BYTES + records.start..HEADER_BYTES + records.end;
        self.part?.slice(bytes)
    }

    /// Where records of the frame lie, given their range behind the first `began` bytes.
    fn part_of_rest(&self, began: usize, rest: &Range<usize>) -> Option<FilePart> {
        self.part_of(began + rest.start..began + rest.end)
    }
}

impl Chosen {
    /// Whether this many more bytes fit in the response; the first record always does.
    fn fits(&self, bytes: usize, most: &Most) -> bool {
        self.count == 0 || self.bytes + bytes <= most.bytes
    }

    fn add(&mut self, slice: Bytes, part: Option<FilePart>) {
        if !slice.is_empty() {
            self.bytes += slice.len();
            self.slices.push(slice);
            self.in_files.push(part);
        }
    }
}

impl Filter {
    pub(super) fn memory(&self) -> usize {
        let keys = self.keys.iter().map(|key| size_of::<Bytes>() + key.len());
        let types = self.types.iter();
        keys.sum::<usize>()
            + types
                .map(|name| size_of::<String>() + name.len())
                .sum::<usize>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.types.is_empty()
    }

    fn matches(&self, record: &RecordView<'_>) -> bool {
        let key = self.keys.is_empty()
            || record
                .key
                .is_some_and(|key| self.keys.iter().any(|wanted| wanted == key));
        key && (self.types.is_empty()
            || self.types.iter().any(|wanted| wanted == record.event_type))
    }
}
