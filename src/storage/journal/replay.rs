//! Reading the journal after a start.
//!
//! [`Replay::survey`] walks along the chain of entries and decides where it ends;
//! [`Replay::entries`] then returns them. Three things can stop the walk:
//!
//! - *The end.* No further entry of this use of the file follows.
//! - *A torn tail.* The last write was not synced when the power failed. It was never acknowledged,
//!   so it is cut; its bytes are kept in a file of their own.
//! - *Damage.* A later entry says that the missing one had been synced. Then acknowledged entries
//!   are lost: they are reported, and the walk continues behind them.
//!
//! Files are synced before they are read: after a crash of the process alone, their bytes may be in
//! the operating system's cache only, and nothing may become visible that a power cut could still
//! take away.

use std::{
    collections::BTreeMap,
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use super::{Tip, ring::Ring};
use crate::{
    env::{Env, Open},
    storage::{
        files::{Action, FileError, ensure_dir, read_file, replace_file, sync_parent},
        format::{
            entry::{self, BLOCK_BYTES, Decoded, FileHeader, Item},
            frame::{self, Frame},
        },
    },
    types::{Offset, PartitionId, TopicId},
};

/// The journal as a start finds it.
pub(crate) struct Replay {
    env: Env,
    places: Vec<Place>,
    lost: Vec<Lost>,
    tip: Tip,
    torn: Option<Torn>,
    applied: u64,
}

/// An offset for each partition.
pub(crate) type FirstOffsets = BTreeMap<(TopicId, PartitionId), Offset>;

/// Acknowledged entries that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) sequences: Range<u64>,
    /// The headers of the sound frames among the remains. Some frames may be missing without a
    /// trace, so none are served; they only tell which records are lost.
    pub(crate) frames: Vec<frame::Header>,
    /// How many bytes the entries took. No partition can have lost more records than that.
    pub(crate) bytes: u64,
}

/// Where an entry lies.
struct Place {
    path: Arc<Path>,
    salt: u64,
    position: u64,
    length: usize,
    link: entry::Link,
    checksum: u32,
    whole: bool,
}

/// A write that was never acknowledged.
struct Torn {
    path: Arc<Path>,
    bytes: Range<u64>,
}

/// The walk along the chain.
struct Walk {
    /// The sequence that must come next; `None` until the first entry is found.
    expected: Option<u64>,
    /// The checksum of the entry before, if it is known.
    previous: Option<u32>,
    places: Vec<Place>,
    lost: Vec<Lost>,
    torn: Option<Torn>,
    /// Where the chain breaks in the file that was read last.
    broken: Option<Broken>,
}

/// A range of a file in which no entry continues the chain, with the remains of a write.
struct Broken {
    path: Arc<Path>,
    salt: u64,
    bytes: Range<u64>,
}

impl Replay {
    /// Finds the entries in the files from number `from_file` on. Those up to `applied` are not
    /// needed; without `applied` all are.
    pub(crate) fn survey(
        env: &Env,
        ring: &Ring,
        from_file: u64,
        applied: Option<u64>,
    ) -> Result<Self, FileError> {
        let needed: Vec<_> = ring
            .used()
            .into_iter()
            .filter(|(header, _)| header.number >= from_file)
            .collect();
        for (_, path) in &needed {
            let file = env
                .files
                .open(path, Open::Write)
                .map_err(FileError::when(Action::Open, path))?;
            file.sync_data()
                .map_err(FileError::when(Action::Sync, path))?;
        }
        Self::look(env, needed, applied)
    }

    /// As [`survey`](Self::survey) of these files, but without syncing them: for a caller that only
    /// wants to look.
    pub(crate) fn look(
        env: &Env,
        files: Vec<(FileHeader, PathBuf)>,
        applied: Option<u64>,
    ) -> Result<Self, FileError> {
        let mut walk = Walk {
            expected: applied.map(|applied| applied + 1),
            previous: None,
            places: Vec::new(),
            lost: Vec::new(),
            torn: None,
            broken: None,
        };
        for (header, path) in files {
            walk.file(env, header, path)?;
        }
        Ok(walk.finish(env, applied))
    }

    /// Whether acknowledged entries are lost, in whole or in part.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.lost.is_empty()
            || self
                .places
                .iter()
                .any(|place| !place.whole && place.link.sequence > self.applied)
    }

    /// Whether every entry that was ever written has been found.
    pub(crate) fn is_complete(&self) -> bool {
        !self.is_damaged()
            && self
                .places
                .first()
                .is_some_and(|first| first.link.sequence == 1)
    }

    /// The acknowledged entries that are lost completely, in order. A later entry follows each of
    /// them.
    pub(crate) fn lost(&self) -> &[Lost] {
        &self.lost
    }

    /// Whether nothing follows the checkpoint, not even a part of a write.
    pub(crate) fn is_empty(&self) -> bool {
        self.torn.is_none() && self.lost.is_empty() && self.tip.sequence == self.applied
    }

    /// Where the chain ends.
    pub(crate) fn tip(&self) -> Tip {
        self.tip
    }

    /// Where the remains of a write lie that was never acknowledged.
    pub(crate) fn torn(&self) -> Option<(&Path, Range<u64>)> {
        self.torn
            .as_ref()
            .map(|torn| (&*torn.path, torn.bytes.clone()))
    }

    /// The file and the link of every entry that was found, needed or not, in order.
    pub(crate) fn found(&self) -> impl Iterator<Item = (&Path, entry::Link)> {
        self.places.iter().map(|place| (&*place.path, place.link))
    }

    /// The needed entries, in order. Only one file at a time is in memory.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Result<Decoded, FileError>> + '_ {
        let mut loaded: Option<(Arc<Path>, Bytes)> = None;
        self.places
            .iter()
            .filter(|place| place.link.sequence > self.applied)
            .map(move |place| {
                let bytes = match &loaded {
                    Some((path, bytes)) if *path == place.path => bytes.clone(),
                    _ => {
                        let bytes = load(&self.env, &place.path)?;
                        loaded = Some((place.path.clone(), bytes.clone()));
                        bytes
                    }
                };
                decode_at(&bytes, place.position, place.salt)
                    .filter(|decoded| decoded.checksum == place.checksum)
                    .ok_or_else(|| changed(&place.path))
            })
    }

    /// The first offset that the needed entries have of each partition.
    pub(crate) fn first_offsets(&self) -> Result<FirstOffsets, FileError> {
        let mut first = FirstOffsets::new();
        for entry in self.entries() {
            for item in entry?.items {
                if let Ok(Item::Frame(frame)) = item {
                    let header = frame.header();
                    first
                        .entry((header.topic, header.partition))
                        .or_insert(header.base);
                }
            }
        }
        Ok(first)
    }

    /// Saves the bytes of a torn tail to a file in `dir`, for people to examine; returns the file's
    /// path.
    pub(crate) fn keep_torn(&self, dir: &Path) -> Result<Option<PathBuf>, FileError> {
        let Some(torn) = &self.torn else {
            return Ok(None);
        };
        let files = &*self.env.files;
        if ensure_dir(files, dir)? {
            sync_parent(files, dir)?;
        }
        let bytes = load(&self.env, &torn.path)?;
        let at = |position: u64| {
            usize::try_from(position)
                .expect("a journal file fits memory")
                .min(bytes.len())
        };
        let path = dir.join(format!("journal-after-{}.torn", self.tip.sequence));
        replace_file(
            files,
            &path,
            &bytes[at(torn.bytes.start)..at(torn.bytes.end)],
        )?;
        Ok(Some(path))
    }
}

impl Walk {
    /// Walks through one file.
    fn file(&mut self, env: &Env, header: FileHeader, path: PathBuf) -> Result<(), FileError> {
        let path: Arc<Path> = path.into();
        let bytes = load(env, &path)?;
        let salt = header.salt;
        if let Some(decoded) =
            decode_at(&bytes, BLOCK_BYTES, salt).filter(|decoded| self.proves_a_loss(decoded))
        {
            self.look_back(env, decoded.link.sequence)?;
        }
        let mut position = BLOCK_BYTES;
        let mut first = true;
        loop {
            match next_entry(&bytes, position, salt) {
                Some((at, decoded))
                    if self.follows(&decoded) || (first && self.starts_anew(&decoded)) =>
                {
                    position = at + decoded.length as u64;
                    self.take(&path, at, decoded);
                }
                _ => {
                    let beyond = self.find_beyond(&bytes, position, salt);
                    let Some((at, decoded)) = beyond else {
                        self.end(&path, &bytes, position, salt);
                        return Ok(());
                    };
                    self.lose_up_to(decoded.link.sequence, &bytes, position..at);
                    position = at + decoded.length as u64;
                    self.take(&path, at, decoded);
                }
            }
            first = false;
        }
    }

    /// Whether an entry continues the chain.
    fn follows(&self, decoded: &Decoded) -> bool {
        self.expected
            .is_none_or(|expected| decoded.link.sequence == expected)
            && self
                .previous
                .is_none_or(|previous| decoded.link.previous == previous)
    }

    /// Whether the first entry of a file may continue from an earlier place in the chain. There are
    /// two cases: the walk may begin with entries before the expected one; and after an earlier
    /// start has cut a torn tail, the next file uses the cut sequences again.
    fn starts_anew(&mut self, decoded: &Decoded) -> bool {
        let (sequence, previous) = (decoded.link.sequence, decoded.link.previous);
        let same =
            |place: &Place| place.link.sequence == sequence && place.link.previous == previous;
        if let Some(cut) = self.places.iter().rposition(same) {
            self.places.truncate(cut);
            return true;
        }
        self.may_begin_with(decoded)
    }

    /// Whether the walk has found nothing yet and may begin with this entry.
    fn may_begin_with(&self, decoded: &Decoded) -> bool {
        self.places.is_empty()
            && self
                .expected
                .is_none_or(|expected| decoded.link.sequence <= expected)
    }

    fn take(&mut self, path: &Arc<Path>, position: u64, decoded: Decoded) {
        self.expected = Some(decoded.link.sequence + 1);
        self.previous = Some(decoded.checksum);
        (self.torn, self.broken) = (None, None);
        self.places.push(Place {
            path: path.clone(),
            salt: decoded.link.salt,
            position,
            length: decoded.length,
            link: decoded.link,
            checksum: decoded.checksum,
            whole: decoded.is_whole(),
        });
    }

    /// The next entry to continue with behind a break of the chain, if there is proof that the
    /// missing entries had been synced.
    ///
    /// The proof is an entry at the beginning of a later write. Sound entries before it, in the
    /// same write as the missing one, may lie at any byte; the first of them is returned.
    fn find_beyond(&self, bytes: &Bytes, broken: u64, salt: u64) -> Option<(u64, Decoded)> {
        let blocks = (broken.next_multiple_of(BLOCK_BYTES)..bytes.len() as u64)
            .step_by(BLOCK_BYTES as usize);
        let mut sound =
            blocks.filter_map(|at| decode_at(bytes, at, salt).map(|decoded| (at, decoded)));
        let proof = sound
            .find(|(_, decoded)| self.may_begin_with(decoded) || self.proves_a_loss(decoded))?;
        let between = (broken + 1..proof.0).filter(|at| looks_like_an_entry(bytes, *at, salt));
        let mut sound =
            between.filter_map(|at| decode_at(bytes, at, salt).map(|decoded| (at, decoded)));
        let first = self.expected.unwrap_or(0)..proof.1.link.sequence;
        Some(
            sound
                .find(|(_, decoded)| first.contains(&decoded.link.sequence))
                .unwrap_or(proof),
        )
    }

    /// Handles a break in the file before, once the first entry of the next file proves that the
    /// missing entries had been synced. All of them were in the earlier file, so its sound entries
    /// behind the break are taken. `until` is the sequence of that first entry. Sequences that an
    /// earlier start has cut, and that were used again, do not disturb this: they are never below
    /// the sequence of a file's first entry.
    fn look_back(&mut self, env: &Env, until: u64) -> Result<(), FileError> {
        let Some(Broken {
            path,
            salt,
            bytes: broken,
        }) = self.broken.take()
        else {
            return Ok(());
        };
        let bytes = load(env, &path)?;
        let mut position = broken.start;
        loop {
            let first = self.expected.unwrap_or(0);
            let sound = (position..bytes.len() as u64)
                .filter(|at| looks_like_an_entry(&bytes, *at, salt))
                .filter_map(|at| decode_at(&bytes, at, salt).map(|decoded| (at, decoded)))
                .find(|(_, decoded)| (first..until).contains(&decoded.link.sequence));
            let Some((at, decoded)) = sound else {
                if self.expected.is_some_and(|expected| expected < until) {
                    self.lose_up_to(until, &bytes, position..broken.end.max(position));
                    (self.expected, self.previous) = (Some(until), None);
                }
                return Ok(());
            };
            self.lose_up_to(decoded.link.sequence, &bytes, position..at);
            position = at + decoded.length as u64;
            self.take(&path, at, decoded);
        }
    }

    /// Whether an entry says that the expected one had been synced before it was written.
    fn proves_a_loss(&self, decoded: &Decoded) -> bool {
        self.expected.is_none_or(|expected| {
            decoded.link.sequence >= expected && decoded.link.durable >= expected
        })
    }

    /// Records that the entries before `sequence` are lost, which took this range of the file.
    fn lose_up_to(&mut self, sequence: u64, bytes: &Bytes, range: Range<u64>) {
        let lost = self.expected.unwrap_or(sequence)..sequence;
        if !lost.is_empty() {
            let len = range.end - range.start;
            self.lost.push(Lost {
                sequences: lost,
                frames: frames_in(bytes, range),
                bytes: len,
            });
        }
    }

    /// Records the remains of a write behind the end of the chain.
    fn end(&mut self, path: &Arc<Path>, bytes: &Bytes, end: u64, salt: u64) {
        let blocks =
            (end.next_multiple_of(BLOCK_BYTES)..bytes.len() as u64).step_by(BLOCK_BYTES as usize);
        let ends = blocks.filter_map(|at| match decode_at(bytes, at, salt) {
            Some(decoded) => Some(at + decoded.length as u64),
            None => looks_like_an_entry(bytes, at, salt).then_some(at + BLOCK_BYTES),
        });
        let inside =
            looks_like_an_entry(bytes, end, salt).then(|| (end + 1).next_multiple_of(BLOCK_BYTES));
        let last = ends.chain(inside).max();
        self.broken = Some(Broken {
            path: path.clone(),
            salt,
            bytes: end..last.unwrap_or(bytes.len() as u64),
        });
        if let Some(last) = last {
            self.torn = Some(Torn {
                path: path.clone(),
                bytes: end..last,
            });
        }
    }

    /// Ends the walk. Cuts the chain at the first damaged entry that was never acknowledged.
    fn finish(mut self, env: &Env, applied: Option<u64>) -> Replay {
        let proven = self
            .places
            .iter()
            .map(|place| place.link.durable)
            .max()
            .unwrap_or(0)
            .max(applied.unwrap_or(0));
        if let Some(cut) = self
            .places
            .iter()
            .position(|place| !place.whole && place.link.sequence > proven)
        {
            let first = &self.places[cut];
            let end = self
                .places
                .iter()
                .rfind(|place| place.path == first.path)
                .map_or(0, |last| last.position + last.length as u64);
            self.torn = Some(Torn {
                path: first.path.clone(),
                bytes: first.position..end,
            });
            self.places.truncate(cut);
        }
        let tip = self.places.last().map_or(
            Tip {
                sequence: applied.unwrap_or(0),
                checksum: 0,
            },
            |last| Tip {
                sequence: last.link.sequence,
                checksum: last.checksum,
            },
        );
        let applied = applied.unwrap_or(0);
        // Entries that a checkpoint covers are in segments, so they are not lost.
        self.lost
            .iter_mut()
            .for_each(|lost| lost.sequences.start = lost.sequences.start.max(applied + 1));
        self.lost.retain(|lost| !lost.sequences.is_empty());
        let tip = Tip {
            sequence: tip.sequence.max(applied),
            ..tip
        };
        Replay {
            env: env.clone(),
            places: self.places,
            lost: self.lost,
            tip,
            torn: self.torn,
            applied,
        }
    }
}

/// The error for a journal file that has changed since it was walked: another program writes to it.
fn changed(path: &Path) -> FileError {
    let error = io::Error::new(io::ErrorKind::InvalidData, "it changes while it is read");
    FileError::when(Action::Read, path)(error)
}

/// The entry at `position`, or at the next block, because a write is padded to whole blocks.
fn next_entry(bytes: &Bytes, position: u64, salt: u64) -> Option<(u64, Decoded)> {
    let aligned = position.next_multiple_of(BLOCK_BYTES);
    [position, aligned]
        .into_iter()
        .find_map(|at| decode_at(bytes, at, salt).map(|decoded| (at, decoded)))
}

fn decode_at(bytes: &Bytes, position: u64, salt: u64) -> Option<Decoded> {
    let at = usize::try_from(position)
        .ok()
        .filter(|at| *at < bytes.len())?;
    entry::decode(&bytes.slice(at..), salt)
}

/// The headers of the sound frames in a range of a file. The whole range is known to be from this
/// use of the file, because a later write is.
fn frames_in(bytes: &Bytes, range: Range<u64>) -> Vec<frame::Header> {
    let at = |position: u64| {
        usize::try_from(position)
            .expect("a journal file fits memory")
            .min(bytes.len())
    };
    let mut rest = bytes.slice(at(range.start)..at(range.end));
    let mut found = Vec::new();
    while !rest.is_empty() {
        let frame = Frame::decode(&rest);
        let step = frame.as_ref().map_or(1, |frame| frame.bytes().len());
        found.extend(frame.map(|frame| *frame.header()));
        rest = rest.slice(step..);
    }
    found
}

/// Whether the bytes at `position` have this salt where an entry has it.
fn looks_like_an_entry(bytes: &Bytes, position: u64, salt: u64) -> bool {
    let at = usize::try_from(position).unwrap_or(usize::MAX);
    bytes
        .get(at..)
        .is_some_and(|rest| entry::has_salt(rest, salt))
}

/// Reads a journal file, which must exist: it was listed a moment ago, and if it counted as empty,
/// its entries would be lost.
pub(super) fn load(env: &Env, path: &Path) -> Result<Bytes, FileError> {
    let read = read_file(&*env.files, path)?;
    let gone = || FileError::when(Action::Open, path)(io::ErrorKind::NotFound.into());
    read.map(Bytes::from).ok_or_else(gone)
}
