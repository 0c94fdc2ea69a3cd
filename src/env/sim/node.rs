//! One file: what the process sees, what the disk has, and the changes in between.

use std::{collections::BTreeSet, mem, ops::Range, sync::Arc};

use super::{
    content::{Content, PAGE, SECTOR},
    crash::Fate,
    stats::CutEffect,
};

/// A file of the simulated disk.
///
/// `durable` with all of `unsynced` applied equals `visible`, unless a sync has failed or bytes
/// were damaged. After a failed sync the process still sees what it wrote, but the disk does not
/// have it, and no later sync will store it. Real kernels behave like this.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    visible: Content,
    durable: Content,
    unsynced: Vec<Change>,
    /// Whether the process sees bytes that the disk will never have.
    lost_by_sync: bool,
    /// Up to where space is reserved, in bytes.
    reserved: u64,
}

/// A change of the file that has not been synced.
#[derive(Clone, Debug)]
pub(super) struct Change {
    /// The number of the operation.
    pub(super) number: u64,
    /// The file's length after the change.
    len: u64,
    kind: ChangeKind,
}

#[derive(Clone, Debug)]
enum ChangeKind {
    /// Whole sectors as they were after the write: an operating system writes no less.
    Write { first_sector: u64, bytes: Arc<[u8]> },
    /// A change of the length only.
    Length { shrinks: bool },
}

impl Node {
    pub(super) fn visible(&self) -> &Content {
        &self.visible
    }

    pub(super) fn unsynced(&self) -> &[Change] {
        &self.unsynced
    }

    /// How many pages of the disk the file takes.
    pub(super) fn pages(&self) -> u64 {
        let reserved = self.reserved.div_ceil(PAGE);
        reserved + self.visible.written_from(reserved)
    }

    /// How many more pages it would take if these bytes were written.
    pub(super) fn pages_to_write(&self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let first = (range.start / PAGE).max(self.reserved.div_ceil(PAGE));
        self.visible.holes(first..range.end.div_ceil(PAGE))
    }

    pub(super) fn write(&mut self, number: u64, bytes: &[u8], position: u64) {
        if bytes.is_empty() {
            return;
        }
        self.visible.write(bytes, position);
        let kind = ChangeKind::Write {
            first_sector: position / SECTOR,
            bytes: self
                .visible
                .sectors(position..position + bytes.len() as u64),
        };
        self.unsynced.push(Change {
            number,
            len: self.visible.len(),
            kind,
        });
    }

    pub(super) fn set_len(&mut self, number: u64, len: u64) {
        let shrinks = len < self.visible.len();
        self.visible.set_len(len);
        self.reserved = self.reserved.min(len);
        self.unsynced.push(Change {
            number,
            len,
            kind: ChangeKind::Length { shrinks },
        });
    }

    pub(super) fn allocate(&mut self, number: u64, len: u64) {
        if len > self.visible.len() {
            self.set_len(number, len);
        }
        self.reserved = self.reserved.max(len);
    }

    /// Makes everything durable, except what a failed sync has lost.
    pub(super) fn sync(&mut self) {
        self.store(&mut Fate::everything_survives());
    }

    /// A sync that fails: a part is on disk, and the rest never will be.
    pub(super) fn fail_sync(&mut self, fate: &mut Fate) {
        self.lost_by_sync = true;
        self.store(fate);
    }

    fn store(&mut self, fate: &mut Fate) {
        let durable = mem::take(&mut self.durable);
        self.durable = self.surviving(durable, fate);
        self.unsynced.clear();
    }

    /// Changes bytes unnoticed, like a failing disk.
    pub(super) fn damage(&mut self, position: u64, bytes: &[u8]) {
        for content in [&mut self.visible, &mut self.durable] {
            let end = content.len().min(position + bytes.len() as u64);
            if position < end {
                content.put(&bytes[..(end - position) as usize], position);
            }
        }
    }

    /// Whether a power cut would not change it.
    pub(super) fn is_settled(&self) -> bool {
        self.unsynced.is_empty() && !self.lost_by_sync
    }

    /// The file after a power cut, given what `fate` lets survive.
    pub(super) fn after_cut(&self, fate: &mut Fate, effect: &mut CutEffect) -> Self {
        if self.unsynced.is_empty() {
            return Self::stored(self.durable.clone(), self.reserved);
        }
        let content = self.surviving(self.durable.clone(), fate);
        self.compare(&content, effect);
        Self::stored(content, self.reserved)
    }

    fn stored(content: Content, reserved: u64) -> Self {
        let reserved = reserved.min(content.len());
        Self {
            visible: content.clone(),
            durable: content,
            unsynced: Vec::new(),
            lost_by_sync: false,
            reserved,
        }
    }

    /// The durable content with the changes that `fate` lets survive.
    ///
    /// Lengths survive in the order in which they were set, because they go through the file
    /// system's own journal; sectors survive one by one. Bytes that were written beyond a length
    /// that is lost are lost too, because the disk never knew their place.
    fn surviving(&self, durable: Content, fate: &mut Fate) -> Content {
        let lengths = fate.surviving_lengths(&self.unsynced);
        let len = self.unsynced[..lengths]
            .last()
            .map_or(durable.len(), |change| change.len);
        let mut content = durable;
        let mut lost_cut = u64::MAX;
        for (index, change) in self.unsynced.iter().enumerate() {
            match &change.kind {
                ChangeKind::Length { .. } if index < lengths => content.set_len(change.len),
                ChangeKind::Length { shrinks: true } => lost_cut = lost_cut.min(change.len),
                ChangeKind::Length { shrinks: false } => {}
                ChangeKind::Write {
                    first_sector,
                    bytes,
                } => {
                    let mut survives = |sector| {
                        fate.sector_survives(change.number, sector) && sector * SECTOR < lost_cut
                    };
                    for run in runs(change.sectors(), &mut survives) {
                        let start = (run.start - first_sector) * SECTOR;
                        let end = (run.end - first_sector) * SECTOR;
                        content.put(&bytes[start as usize..end as usize], run.start * SECTOR);
                    }
                }
            }
        }
        content.set_len(len);
        content
    }

    /// Counts the differences between what survived and what the process saw.
    fn compare(&self, survived: &Content, effect: &mut CutEffect) {
        if survived.len() != self.visible.len() {
            effect.lengths_lost += 1;
        }
        let sectors: BTreeSet<_> = self.unsynced.iter().flat_map(Change::sectors).collect();
        let (mut seen, mut left) = ([0; SECTOR as usize], [0; SECTOR as usize]);
        for sector in sectors {
            self.visible.read(&mut seen, sector * SECTOR);
            survived.read(&mut left, sector * SECTOR);
            *if seen == left {
                &mut effect.sectors_kept
            } else {
                &mut effect.sectors_lost
            } += 1;
        }
    }
}

impl Change {
    /// The sectors that the change wrote.
    pub(super) fn sectors(&self) -> Range<u64> {
        match &self.kind {
            ChangeKind::Write {
                first_sector,
                bytes,
            } => *first_sector..*first_sector + bytes.len() as u64 / SECTOR,
            ChangeKind::Length { .. } => 0..0,
        }
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self.kind, ChangeKind::Write { .. })
    }
}

/// The longest runs of consecutive numbers that are all accepted.
fn runs(
    mut numbers: Range<u64>,
    accept: &mut impl FnMut(u64) -> bool,
) -> impl Iterator<Item = Range<u64>> {
    std::iter::from_fn(move || {
        let start = numbers.by_ref().find(|&number| accept(number))?;
        let mut end = start + 1;
        while numbers.next().is_some_and(&mut *accept) {
            end += 1;
        }
        Some(start..end)
    })
}
