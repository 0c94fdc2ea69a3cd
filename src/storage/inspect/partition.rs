//! Examines a partition's segments.

use std::{ops::Range, path::PathBuf, sync::Arc};

use super::{
    Damage, DamageKind, IndexState, KnownPartition, Partition, Segment, SegmentState, keys, rows,
};
use crate::{
    env::{Env, File, Open},
    storage::{
        files::{Action, FileError},
        format::{
            checkpoint::Partition as CheckpointPartition,
            frame::Frame,
            segment_file::{HEADER_BYTES, Header, IndexRow},
        },
        keys::hash::KeyHasher,
        log::{self, Identity, Name, Source, Walk},
    },
    types::{Offset, TopicName},
};

/// Which partition is examined, and how.
pub(super) struct Place<'a> {
    pub(super) dir: PathBuf,
    pub(super) identity: Identity,
    pub(super) topic: &'a TopicName,
    /// Makes the hashes of its key index.
    pub(super) hasher: &'a KeyHasher,
    pub(super) fingerprint: u64,
    /// Whether checkpoint and journal are whole. Then what segments have behind the checkpoint does
    /// not count.
    pub(super) whole: bool,
    pub(super) verify: bool,
}

/// A segment as it is listed in the directory, and what it should have.
struct Expected {
    name: Name,
    base: Offset,
    /// The size of the file.
    bytes: u64,
    /// How many bytes of the file count.
    counted: u64,
    /// Where its offsets should end; `None` if only its frames tell.
    end: Option<Offset>,
    state: SegmentState,
}

/// What the frames of a segment tell.
struct Frames {
    /// The end of the last sound frame, as an offset; below as a position in the file.
    end: Offset,
    end_position: u64,
    records: u64,
    /// Offsets that are missing between sound frames.
    holes: Vec<Range<Offset>>,
    /// Whether the index contradicts the frames.
    index_differs: bool,
}

impl Place<'_> {
    pub(super) fn damage(
        &self,
        path: PathBuf,
        offsets: Option<Range<Offset>>,
        kind: DamageKind,
    ) -> Damage {
        let partition = Some(self.identity.partition);
        Damage {
            path,
            topic: Some(self.topic.clone()),
            partition,
            offsets,
            kind,
        }
    }
}

/// Examines a partition.
pub(super) fn look(
    env: &Env,
    place: &Place<'_>,
    known: &KnownPartition,
    damage: &mut Vec<Damage>,
) -> Partition {
    let listed = log::list(&*env.files, &place.dir).unwrap_or_else(|error| {
        let kind = DamageKind::Unreadable {
            cause: error.source.to_string(),
        };
        damage.push(place.damage(error.path, Some(known.at.start..known.at.end), kind));
        log::Listed::default()
    });
    let expected = expect(place, &known.at, &listed.segments);
    // Up to where every offset is accounted for. Trimmed offsets need not be there.
    let mut reached = known.at.start;
    let mut segments = Vec::new();
    for segment in &expected {
        if segment.state != SegmentState::BehindCheckpoint && segment.base > reached {
            let missing = Some(reached..segment.base);
            damage.push(place.damage(place.dir.clone(), missing, DamageKind::MissingRecords));
        }
        let looked = look_at_segment(env, place, segment, known.at.start, damage);
        if segment.state != SegmentState::BehindCheckpoint {
            reached = reached.max(segment.end.unwrap_or(looked.end));
        }
        segments.push(looked);
    }
    if known.at.end > reached {
        let base = known.at.active.map_or(reached, |active| active.base);
        let path = Name::first(base).path(&place.dir);
        damage.push(place.damage(
            path,
            Some(reached..known.at.end),
            DamageKind::MissingRecords,
        ));
        reached = known.at.end;
    }
    for offsets in &known.tail.offsets {
        if offsets.start > reached {
            let missing = Some(reached..offsets.start);
            damage.push(place.damage(place.dir.clone(), missing, DamageKind::MissingRecords));
        }
        reached = reached.max(offsets.end);
    }
    let (mut key_runs, last_versions) = keys::look(env, place, known.at.retired, reached, damage);
    if place.verify {
        let count = expected
            .iter()
            .filter(|segment| segment.state != SegmentState::BehindCheckpoint);
        let count: Vec<_> = count
            .map(|segment| (segment.name, segment.counted))
            .collect();
        rows::check(env, place, &count, known.at.start, &mut key_runs, damage);
    }
    Partition {
        id: place.identity.partition,
        start: known.at.start,
        end: reached,
        journal_records: known.tail.records,
        segments,
        key_runs,
        last_versions,
    }
}

/// What each segment should have, as a start will see it.
fn expect(place: &Place<'_>, at: &CheckpointPartition, listed: &[(Name, u64)]) -> Vec<Expected> {
    let limit = at.active.map_or(at.end, |active| active.base);
    let state_of = |number: usize, base: Offset| match at.active.filter(|_| place.whole) {
        Some(active) if active.base == base => SegmentState::Active,
        _ if place.whole && base >= limit => SegmentState::BehindCheckpoint,
        _ if !place.whole && number + 1 == listed.len() => SegmentState::Active,
        _ => SegmentState::Sealed,
    };
    let expect_one = |(number, (name, bytes)): (usize, &(Name, u64))| {
        let base = name.base();
        let state = state_of(number, base);
        let next = listed.get(number + 1).map(|(next, _)| next.base());
        let (end, counted) = match (state, at.active) {
            (SegmentState::Active, Some(active)) if place.whole => {
                (Some(at.end), active.len.min(*bytes))
            }
            (SegmentState::Sealed, _) if place.whole => {
                (Some(next.map_or(limit, |next| next.min(limit))), *bytes)
            }
            (SegmentState::Sealed, _) => (next, *bytes),
            _ => (None, *bytes),
        };
        Expected {
            name: *name,
            base,
            bytes: *bytes,
            counted,
            end,
            state,
        }
    };
    listed.iter().enumerate().map(expect_one).collect()
}

fn look_at_segment(
    env: &Env,
    place: &Place<'_>,
    expected: &Expected,
    start: Offset,
    damage: &mut Vec<Damage>,
) -> Segment {
    let path = expected.name.path(&place.dir);
    let mut segment = Segment {
        path: path.clone(),
        base: expected.base,
        end: expected.end.unwrap_or(expected.base),
        bytes: expected.bytes,
        records: 0,
        state: expected.state,
        index: IndexState::NotYet,
    };
    let (rows, index) = look_at_index(env, place, expected);
    segment.index = index;
    match look_at_frames(env, place, expected, &rows) {
        Ok((header_is_sound, frames)) => {
            segment.end = frames.end;
            segment.records = frames.records;
            if frames.index_differs && segment.index == IndexState::Sound {
                segment.index = IndexState::Damaged;
            }
            // A segment that is written again from the journal may be torn.
            if expected.state != SegmentState::BehindCheckpoint {
                if !header_is_sound {
                    damage.push(place.damage(path.clone(), None, DamageKind::SegmentHeader));
                }
                list_holes(place, expected, &path, &frames, start, damage);
            }
        }
        Err(error) => {
            let lost = expected.base.max(start)..segment.end.max(start);
            let kind = DamageKind::Unreadable {
                cause: error.source.to_string(),
            };
            damage.push(place.damage(error.path, Some(lost), kind));
        }
    }
    if segment.index == IndexState::Damaged {
        damage.push(place.damage(
            expected.name.index_path(&place.dir),
            None,
            DamageKind::Index,
        ));
    }
    segment
}

/// Lists the offsets of a segment that no sound frame covers.
fn list_holes(
    place: &Place<'_>,
    expected: &Expected,
    path: &std::path::Path,
    frames: &Frames,
    start: Offset,
    damage: &mut Vec<Damage>,
) {
    let mut list = |hole: &Range<Offset>, kind: DamageKind| {
        let hole = hole.start.max(start)..hole.end;
        if hole.start < hole.end {
            damage.push(place.damage(path.to_owned(), Some(hole), kind));
        }
    };
    frames
        .holes
        .iter()
        .for_each(|hole| list(hole, DamageKind::Records));
    let end = expected.end.unwrap_or(frames.end);
    // Bytes behind the last sound frame are the remains of records; without any, the records are in
    // no file.
    let kind = if frames.end_position < expected.counted {
        DamageKind::Records
    } else {
        DamageKind::MissingRecords
    };
    list(&(frames.end..end), kind);
}

/// The usable index rows of a segment, and the state of its index.
fn look_at_index(env: &Env, place: &Place<'_>, expected: &Expected) -> (Vec<IndexRow>, IndexState) {
    let rows =
        log::load_rows_prefix(env, &place.dir, expected.name, expected.counted).unwrap_or_default();
    if expected.state != SegmentState::Sealed {
        return (rows, IndexState::NotYet);
    }
    let whole = rows
        .last()
        .is_some_and(|last| u64::from(last.position) == expected.counted);
    let path = expected.name.index_path(&place.dir);
    let state = match env.files.exists(&path) {
        Ok(false) => IndexState::Missing,
        _ if whole => IndexState::Sound,
        _ => IndexState::Damaged,
    };
    (rows, state)
}

/// Reads a segment's frames: all of them, or those behind the last index row. Also returns whether
/// the header is sound.
fn look_at_frames(
    env: &Env,
    place: &Place<'_>,
    expected: &Expected,
    rows: &[IndexRow],
) -> Result<(bool, Frames), FileError> {
    let path = expected.name.path(&place.dir);
    let file = env
        .files
        .open(&path, Open::Read)
        .map_err(FileError::when(Action::Open, &path))?;
    let header =
        read_header(&*file, expected.counted).map_err(FileError::when(Action::Read, &path))?;
    let sound = header.is_some_and(|header| {
        header.topic == place.identity.topic
            && header.partition == place.identity.partition
            && header.base == expected.base
    });
    let frames = if place.verify {
        check_frames(file, place, expected, rows)
    } else {
        let known = rows.last().copied();
        count_frames(file, place, expected, known)
    };
    Ok((sound, frames.map_err(FileError::when(Action::Read, &path))?))
}

fn read_header(file: &dyn File, len: u64) -> std::io::Result<Option<Header>> {
    let mut head = [0; HEADER_BYTES as usize];
    if len < HEADER_BYTES {
        return Ok(None);
    }
    file.read_exact_at(&mut head, 0)?;
    Ok(Header::decode(&head))
}

/// Reads the frames behind an index row, and assumes that those before it are sound.
fn count_frames(
    file: Arc<dyn File>,
    place: &Place<'_>,
    expected: &Expected,
    known: Option<IndexRow>,
) -> std::io::Result<Frames> {
    let position = known.map_or(0, |row| u64::from(row.position));
    let mut frames = Frames::at(
        expected
            .base
            .plus(known.map_or(0, |row| u64::from(row.relative))),
        position,
    );
    frames.records = frames.end.0 - expected.base.0;
    let mut walk = Walk::new(
        Source::File(file),
        expected.counted,
        place.identity,
        expected.base,
        position,
    );
    while let Some((_, frame)) = next_frame(&mut walk)? {
        frames.take(&frame, walk.position());
    }
    Ok(frames)
}

/// Reads all frames, and compares the index with them.
fn check_frames(
    file: Arc<dyn File>,
    place: &Place<'_>,
    expected: &Expected,
    rows: &[IndexRow],
) -> std::io::Result<Frames> {
    let mut frames = Frames::at(expected.base, HEADER_BYTES);
    let mut walk = Walk::new(
        Source::File(file),
        expected.counted,
        place.identity,
        expected.base,
        0,
    );
    let mut rows = rows.iter().peekable();
    let mut latest = i64::MIN;
    while let Some((position, frame)) = next_frame(&mut walk)? {
        while let Some(row) = rows.next_if(|row| u64::from(row.position) <= position) {
            let fits = u64::from(row.position) == position
                && expected.base.plus(u64::from(row.relative)) == frame.header().base
                && row.latest_before_ms == latest;
            // Behind damage, the index knows more than the frames can confirm.
            frames.index_differs |=
                !fits && frames.holes.is_empty() && frame.header().base == frames.end;
        }
        latest = latest.max(frame.header().latest_timestamp_ms);
        frames.take(&frame, walk.position());
    }
    let sound = frames.holes.is_empty() && frames.end_position == expected.counted;
    let end = rows.next().map(|row| {
        (
            u64::from(row.position),
            expected.base.plus(u64::from(row.relative)),
        )
    });
    frames.index_differs |=
        sound && end.is_some_and(|end| end != (frames.end_position, frames.end));
    Ok(frames)
}

/// The next sound frame and its position.
pub(super) fn next_frame(walk: &mut Walk) -> std::io::Result<Option<(u64, Frame)>> {
    while !walk.at_end() {
        let position = walk.position();
        if let Some(frame) = walk.frame()? {
            walk.skip(frame.bytes().len());
            return Ok(Some((position, frame)));
        }
        walk.resync()?;
    }
    Ok(None)
}

impl Frames {
    fn at(end: Offset, end_position: u64) -> Self {
        Self {
            end,
            end_position: end_position.max(HEADER_BYTES),
            records: 0,
            holes: Vec::new(),
            index_differs: false,
        }
    }

    /// Adds a frame; the walk is at position `behind` after it.
    fn take(&mut self, frame: &Frame, behind: u64) {
        let header = frame.header();
        if header.base > self.end {
            self.holes.push(self.end..header.base);
        }
        self.end = self.end.max(header.end());
        self.end_position = behind;
        self.records += u64::from(header.count);
    }
}
