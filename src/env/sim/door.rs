//! The simulated disk as a [`FileSystem`]: every operation first calls [`SimDisk::begin`], which
//! decides whether it happens.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{
    Machine, OpKind, SimDisk,
    fault::{Failure, Part},
    handle::{SimFile, SimLock, SimMap},
    names::NodeId,
};
use crate::env::{DirEntry, File, FileSystem, Lock, LockGuard, Open, ToSync};

/// An operation that may go ahead, perhaps with a failure of its own.
pub(super) struct Started<'a> {
    pub(super) machine: MutexGuard<'a, Machine>,
    /// The number of the operation; only operations that change something have one of their own.
    pub(super) number: u64,
    pub(super) failure: Option<Failure>,
}

impl SimDisk {
    /// Begins an operation: waits for holds, checks the power, counts, and decides whether it
    /// fails.
    ///
    /// An operation that fails without doing anything fails here. A failed write may have been done
    /// in part, and a failed sync always has; these are returned with their failure.
    pub(super) fn begin(
        &self,
        kind: OpKind,
        path: &Path,
        details: fmt::Arguments<'_>,
    ) -> io::Result<Started<'_>> {
        let mut machine = self.wait_for_holds(kind);
        if !machine.powered {
            machine.stats.power_off += 1;
            return Err(power_is_off());
        }
        *machine.stats.operations.entry(kind).or_default() += 1;
        if kind.is_mutating() {
            machine.operations += 1;
            let number = machine.operations;
            if let Some(trace) = &mut machine.trace {
                trace.push(format!("{number} {kind:?} {}{details}", path.display()));
            }
        }
        let number = machine.operations;
        let failure = machine.failure_of(kind, path);
        if !machine.powered {
            self.0.held.notify_all();
        }
        match failure {
            Some(failure) if failure.part.is_none() && !(kind.is_sync() && machine.powered) => {
                Err(failure.error)
            }
            failure => Ok(Started {
                machine,
                number,
                failure,
            }),
        }
    }

    fn wait_for_holds(&self, kind: OpKind) -> MutexGuard<'_, Machine> {
        let mut machine = self.machine();
        if !machine.is_held(kind) {
            return machine;
        }
        machine.holds.entry(kind).or_default().waiting += 1;
        self.0.held.notify_all();
        let waited = self
            .0
            .held
            .wait_while(machine, |machine| machine.is_held(kind));
        let mut machine = waited.unwrap_or_else(PoisonError::into_inner);
        machine.holds.entry(kind).or_default().waiting -= 1;
        machine
    }

    fn create(&self, path: &Path) -> io::Result<(MutexGuard<'_, Machine>, NodeId)> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::Create, path, format_args!(""))?;
        let created = machine.tree.create(number, path, false);
        let node = machine.counting_full(created)?;
        Ok((machine, node))
    }

    fn find_to_open(
        &self,
        path: &Path,
        how: Open,
    ) -> io::Result<(MutexGuard<'_, Machine>, NodeId)> {
        let Started { machine, .. } = self.begin(OpKind::Open, path, format_args!(""))?;
        let node = machine.tree.find_file(path)?;
        if how != Open::Read && machine.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok((machine, node))
    }

    fn find_to_lock(&self, path: &Path) -> io::Result<(MutexGuard<'_, Machine>, NodeId)> {
        let Started { machine, .. } = self.begin(OpKind::Lock, path, format_args!(""))?;
        match machine.tree.find_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                drop(machine);
                self.create(path)
            }
            Ok(_) if machine.read_only => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            found => Ok((machine, found?)),
        }
    }
}

impl SimDisk {
    fn take_lock(
        &self,
        mut machine: MutexGuard<'_, Machine>,
        node: NodeId,
        lock: Lock,
    ) -> io::Result<Box<dyn LockGuard>> {
        let is_in_the_way = |(held, how): &(NodeId, Lock)| {
            *held == node && (lock == Lock::Exclusive || *how == Lock::Exclusive)
        };
        if machine.locks.iter().any(is_in_the_way) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        machine.locks.push((node, lock));
        drop(machine);
        Ok(Box::new(SimLock {
            disk: self.clone(),
            node,
        }))
    }
}

impl Machine {
    fn is_held(&self, kind: OpKind) -> bool {
        self.powered && self.holds.get(&kind).is_some_and(|held| held.holds > 0)
    }

    /// The failure of the operation that was just counted, if it is to fail.
    fn failure_of(&mut self, kind: OpKind, path: &Path) -> Option<Failure> {
        if kind.is_mutating() {
            if let Some(crash) = self
                .crash
                .filter(|crash| crash.operation <= self.operations)
            {
                self.powered = false;
                let part = (crash.in_part && kind == OpKind::Write).then_some(Part::Sectors);
                return Some(Failure {
                    error: power_is_off(),
                    part,
                });
            }
            if self.read_only && !kind.is_sync() {
                return Some(Failure {
                    error: io::ErrorKind::ReadOnlyFilesystem.into(),
                    part: None,
                });
            }
        }
        let failure = self
            .faults
            .iter_mut()
            .find_map(|fault| fault.hit(kind, path))?;
        *self.stats.faults.entry(kind).or_default() += 1;
        Some(failure)
    }

    pub(super) fn counting_full<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if matches!(&result, Err(error) if error.kind() == io::ErrorKind::StorageFull) {
            self.stats.disk_full += 1;
        }
        result
    }
}

impl FileSystem for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let (mut machine, node) = match how {
            Open::Create => self.create(path)?,
            Open::Read | Open::Write | Open::Direct => self.find_to_open(path, how)?,
        };
        machine.tree.opened(node);
        let is_direct = how == Open::Direct && !machine.refuses_direct;
        Ok(Arc::new(SimFile {
            disk: self.clone(),
            node,
            how,
            is_direct,
            path: path.to_owned(),
        }))
    }

    fn map(&self, path: &Path) -> io::Result<Bytes> {
        let Started { mut machine, .. } = self.begin(OpKind::Map, path, format_args!(""))?;
        let node = machine.tree.find_file(path)?;
        let bytes = machine.tree.file(node).visible().to_vec();
        *machine.maps.entry(node).or_default() += 1;
        drop(machine);
        Ok(Bytes::from_owner(SimMap {
            disk: self.clone(),
            node,
            bytes,
        }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::CreateDir, path, format_args!(""))?;
        let created = machine.tree.create(number, path, true);
        machine.counting_full(created).map(drop)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let Started { machine, .. } = self.begin(OpKind::ReadDir, path, format_args!(""))?;
        let entries = machine.tree.entries(path)?;
        Ok(entries
            .into_iter()
            .map(|(name, is_dir)| DirEntry {
                name,
                is_dir,
                special: None,
            })
            .collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let Started { machine, .. } = self.begin(OpKind::Ask, path, format_args!(""))?;
        match machine.tree.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::Rename, from, format_args!(" to {}", to.display()))?;
        machine.tree.rename(number, from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::RemoveFile, path, format_args!(""))?;
        machine.tree.remove_file(number, path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let Started {
            mut machine,
            number,
            ..
        } = self.begin(OpKind::RemoveDir, path, format_args!(""))?;
        machine.tree.remove_dir(number, path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let Started {
            mut machine,
            failure,
            ..
        } = self.begin(OpKind::SyncDir, path, format_args!(""))?;
        match failure {
            None => machine.tree.sync_dir(path),
            Some(failure) => {
                machine.tree.fail_sync_dir(path)?;
                Err(failure.error)
            }
        }
    }

    /// One after the other, last first: a power cut in between leaves some durable and others not,
    /// so no caller can rely on an order.
    fn sync_all(&self, these: &[ToSync<'_>]) -> Vec<io::Result<()>> {
        let files = these.iter().filter(|one| matches!(one, ToSync::File(_)));
        let together = files.count();
        {
            let most = &mut self.machine().stats.most_synced_together;
            *most = together.max(*most);
        }
        let backwards = these.iter().rev().map(|one| one.sync_in(self));
        let mut synced: Vec<_> = backwards.collect();
        synced.reverse();
        synced
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let (machine, node) = self.find_to_lock(path)?;
        self.take_lock(machine, node, Lock::Exclusive)
    }

    fn lock_there(&self, path: &Path, lock: Lock) -> io::Result<Box<dyn LockGuard>> {
        let Started { machine, .. } = self.begin(OpKind::Lock, path, format_args!(""))?;
        let node = machine.tree.find(path)?;
        self.take_lock(machine, node, lock)
    }

    fn volatile(&self, _: &Path) -> io::Result<Option<&'static str>> {
        Ok(None)
    }

    fn available_bytes(&self, path: &Path) -> io::Result<Option<u64>> {
        let Started { machine, .. } = self.begin(OpKind::Ask, path, format_args!(""))?;
        machine.tree.find(path)?;
        Ok(machine.tells_room.then(|| machine.tree.available()))
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("power is off")
}
