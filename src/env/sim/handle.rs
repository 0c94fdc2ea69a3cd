//! What the simulated disk hands out: open files, maps and locks.

use std::{fmt, io, path::PathBuf};

use super::{
    Machine, OpKind, SimDisk, content::SECTOR, crash::Fate, door::Started, fault::Part,
    names::NodeId, random::Dice,
};
use crate::env::{DIRECT_ALIGNMENT, File, LockGuard, Open};

/// An open file.
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) node: NodeId,
    pub(super) how: Open,
    /// Whether it is written past the operating system's cache.
    pub(super) is_direct: bool,
    /// The path by which it was opened.
    pub(super) path: PathBuf,
}

impl SimFile {
    fn begin(&self, kind: OpKind, details: fmt::Arguments<'_>) -> io::Result<Started<'_>> {
        if kind.is_mutating() && kind != OpKind::SyncData && self.how == Open::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.disk.begin(kind, &self.path, details)
    }

    fn check_alignment(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let aligned = position.is_multiple_of(DIRECT_ALIGNMENT as u64)
            && bytes.len().is_multiple_of(DIRECT_ALIGNMENT)
            && bytes.as_ptr().addr().is_multiple_of(DIRECT_ALIGNMENT);
        if self.is_direct && !aligned {
            Err(io::ErrorKind::InvalidInput.into())
        } else {
            Ok(())
        }
    }

    /// # Panics
    ///
    /// If the file is mapped: on a real disk the map would change under its readers or kill the
    /// process.
    fn check_unmapped(&self, machine: &Machine) {
        let mapped = machine.maps.get(&self.node).is_some_and(|&maps| maps > 0);
        assert!(
            !mapped,
            "{} is changed while it is mapped",
            self.path.display()
        );
    }
}

impl File for SimFile {
    fn read_exact_at(&self, into: &mut [u8], position: u64) -> io::Result<()> {
        let Started { mut machine, .. } = self.begin(OpKind::Read, format_args!(""))?;
        self.check_alignment(position, into)?;
        machine.stats.bytes_read += into.len() as u64;
        let content = machine.tree.file(self.node).visible();
        if position
            .checked_add(into.len() as u64)
            .is_none_or(|end| end > content.len())
            && !into.is_empty()
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.read(into, position);
        Ok(())
    }

    fn write_all_at(&self, slices: &[&[u8]], position: u64) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            failure,
        } = self.begin(
            OpKind::Write,
            format_args!(" at {position}: {}", Fingerprint(slices)),
        )?;
        let mut at = position;
        for slice in slices {
            self.check_alignment(at, slice)?;
            at = at.saturating_add(slice.len() as u64);
        }
        self.check_unmapped(&machine);
        let mut bytes = slices.concat();
        if let Some(part) = failure.as_ref().and_then(|failure| failure.part) {
            bytes.truncate(part.of_write(position, bytes.len(), &mut machine.dice));
        }
        if self.is_direct {
            let extension = self.path.extension().unwrap_or_default();
            let extension = extension.to_string_lossy().into_owned();
            *machine.stats.written_directly.entry(extension).or_default() += bytes.len() as u64;
        }
        let written = machine.tree.write(number, self.node, &bytes, position);
        machine.counting_full(written)?;
        failure.map_or(Ok(()), |failure| Err(failure.error))
    }

    fn len(&self) -> io::Result<u64> {
        let Started { machine, .. } = self.begin(OpKind::Ask, format_args!(""))?;
        Ok(machine.tree.file(self.node).visible().len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::SetLen, format_args!(" to {len}"))?;
        if len < machine.tree.file(self.node).visible().len() {
            self.check_unmapped(&machine);
        }
        machine.tree.set_len(number, self.node, len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::Allocate, format_args!(" to {len}"))?;
        let allocated = machine.tree.allocate(number, self.node, len);
        machine.counting_full(allocated)
    }

    fn sync_data(&self) -> io::Result<()> {
        let Started {
            mut machine,
            failure,
            ..
        } = self.begin(OpKind::SyncData, format_args!(""))?;
        machine.begun = 0;
        match failure {
            None => {
                machine.tree.file_mut(self.node).sync();
                Ok(())
            }
            Some(failure) => {
                let mut fate = Fate::by_chance(Dice::new(machine.dice.next()));
                machine.tree.file_mut(self.node).fail_sync(&mut fate);
                Err(failure.error)
            }
        }
    }

    /// What was written so far may survive a power cut.
    fn begin_writing(&self, _: u64) {
        let machine = &mut *self.disk.machine();
        machine.begun += 1;
        let most = &mut machine.stats.most_begun_together;
        *most = machine.begun.max(*most);
    }

    fn is_direct(&self) -> bool {
        self.is_direct
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.machine().tree.closed(self.node);
    }
}

/// A mapped file. It is a copy, because mapped files do not change.
pub(super) struct SimMap {
    pub(super) disk: SimDisk,
    pub(super) node: NodeId,
    pub(super) bytes: Vec<u8>,
}

impl AsRef<[u8]> for SimMap {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SimMap {
    fn drop(&mut self) {
        if let Some(maps) = self.disk.machine().maps.get_mut(&self.node) {
            *maps -= 1;
        }
    }
}

pub(super) struct SimLock {
    pub(super) disk: SimDisk,
    pub(super) node: NodeId,
}

impl LockGuard for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let locks = &mut self.disk.machine().locks;
        // All holders of a shared lock are alike, so any one can be removed.
        if let Some(at) = locks.iter().position(|(node, _)| *node == self.node) {
            locks.swap_remove(at);
        }
    }
}

impl Part {
    /// How many bytes of a write are done.
    fn of_write(self, position: u64, len: usize, dice: &mut Dice) -> usize {
        let done = if len == 0 { 0 } else { dice.below(len as u64) };
        match self {
            Self::Bytes => done as usize,
            Self::Sectors => {
                ((position + done) / SECTOR * SECTOR).saturating_sub(position) as usize
            }
        }
    }
}

/// Shows the number of written bytes and their hash (FNV-1a), so that equal traces mean equal
/// writes.
struct Fingerprint<'a>(&'a [&'a [u8]]);

impl fmt::Display for Fingerprint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut len = 0;
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for &byte in self.0.iter().copied().flatten() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            len += 1;
        }
        write!(f, "{len} bytes, {hash:016x}")
    }
}
