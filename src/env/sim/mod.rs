//! The simulated world: a disk in memory that loses power, fills up and fails on request; a clock
//! that tests set; and random numbers that depend on a seed.
//!
//! [`SimDisk`] is no kinder than real disks are. Unsynced changes are lost by whole sectors and
//! single names, in any order. A file whose directory was not synced is gone even if its data was
//! synced. What a failed sync did not store is lost for good. Nor is it harsher: synced changes
//! stay, and a rename happens completely or not at all.
//!
//! Reading order: this page, what tests can do to a disk; `fault.rs` and `crash.rs`, the kinds of
//! faults and crashes; `door.rs`, where every operation checks for faults and the crash point;
//! `handle.rs`, open files; `tree.rs`, `names.rs`, `node.rs` and `content.rs`, the disk itself.

#![cfg_attr(
    not(test),
    allow(dead_code, reason = "tests of users need less of a disk than our own")
)]

use std::{
    collections::BTreeMap,
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::Lock;

mod clock;
mod content;
mod crash;
mod door;
pub(crate) mod fault;
mod handle;
mod names;
mod node;
mod random;
mod stats;
mod tree;

#[cfg_attr(
    not(feature = "testing"),
    allow(
        unused_imports,
        reason = "a broker that serves from memory has another clock"
    )
)]
pub(crate) use clock::SimClock;
pub(crate) use crash::CrashMode;
pub(crate) use fault::{Fault, OpKind};
#[cfg_attr(
    not(feature = "testing"),
    allow(
        unused_imports,
        reason = "a broker that serves from memory has another clock"
    )
)]
pub(crate) use random::SimRandom;
pub(crate) use stats::{CutEffect, Stats};

use {crash::Fate, names::NodeId, random::Dice, tree::Tree};

/// The size of a disk unless a test makes it smaller: larger than any test needs.
const DEFAULT_CAPACITY: u64 = 1 << 40;

/// A disk in memory. Clones are handles to the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Shared>);

struct Shared {
    machine: Mutex<Machine>,
    /// Notified when a held operation arrives or may continue.
    held: Condvar,
}

/// The disk, and everything that tests have arranged for it.
struct Machine {
    tree: Tree,
    powered: bool,
    read_only: bool,
    /// Whether the disk tells how much space is free.
    tells_room: bool,
    /// Whether files that are opened for direct I/O go through the cache.
    refuses_direct: bool,
    /// How many operations that change something were begun.
    operations: u64,
    crash: Option<CrashPoint>,
    faults: Vec<Fault>,
    holds: BTreeMap<OpKind, Held>,
    /// How many maps of each file exist.
    maps: BTreeMap<NodeId, u64>,
    /// The locks that are held, and how.
    locks: Vec<(NodeId, Lock)>,
    stats: Stats,
    /// How many files were announced for syncing since the last sync.
    begun: usize,
    trace: Option<Vec<String>>,
    dice: Dice,
}

#[derive(Clone, Copy)]
struct CrashPoint {
    operation: u64,
    /// Whether a write at this point reaches the disk in part.
    in_part: bool,
}

#[derive(Default)]
struct Held {
    holds: u64,
    waiting: u64,
}

impl SimDisk {
    /// An empty disk. The seed decides everything random while it runs, such as where a short write
    /// stops.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_tree(Tree::new(DEFAULT_CAPACITY), seed)
    }

    fn with_tree(tree: Tree, seed: u64) -> Self {
        let machine = Machine {
            tree,
            powered: true,
            read_only: false,
            tells_room: true,
            refuses_direct: false,
            operations: 0,
            crash: None,
            faults: Vec::new(),
            holds: BTreeMap::new(),
            maps: BTreeMap::new(),
            begun: 0,
            locks: Vec::new(),
            stats: Stats::default(),
            trace: None,
            dice: Dice::new(seed),
        };
        Self(Arc::new(Shared {
            machine: Mutex::new(machine),
            held: Condvar::new(),
        }))
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.machine()
    }

    // Crashes.

    /// How many operations that change something were begun. The next one has this number plus one.
    pub(crate) fn operations(&self) -> u64 {
        self.machine().operations
    }

    /// Makes the power fail at changing operation number `operation`: it and everything after it,
    /// reads included, fails with the error "power is off" and changes nothing.
    pub(crate) fn crash_at(&self, operation: u64) {
        self.machine().crash = Some(CrashPoint {
            operation,
            in_part: false,
        });
    }

    /// As [`Self::crash_at`], but a write at this point is done in part: from the front up to a
    /// random sector.
    pub(crate) fn crash_within(&self, operation: u64) {
        self.machine().crash = Some(CrashPoint {
            operation,
            in_part: true,
        });
    }

    /// Switches the power off now.
    pub(crate) fn power_off(&self) {
        self.machine().powered = false;
        self.0.held.notify_all();
    }

    /// Whether the power is still on.
    pub(crate) fn is_on(&self) -> bool {
        self.machine().powered
    }

    /// Switches the power off, if it is still on, and returns the disk as the next process finds
    /// it: nothing open, no locks, no faults, operations counted from 0. The old disk stays as it
    /// is, so that many outcomes of one run can be tried. The same seed gives the same outcome.
    /// (`disk.fork().power_cut(…)` leaves the power of this one on.)
    pub(crate) fn power_cut(&self, seed: u64, mode: CrashMode) -> Self {
        self.power_off();
        let machine = self.machine();
        let mut effect = CutEffect {
            cuts: 1,
            ..CutEffect::default()
        };
        let tree = if mode == CrashMode::KeepAll {
            machine.tree.after_kill()
        } else {
            let mut fate = Fate::of(mode, machine.tree.candidates(), Dice::new(seed));
            machine.tree.after_cut(&mut fate, &mut effect)
        };
        let survived = Self::with_tree(tree, seed);
        let mut next = survived.machine();
        next.read_only = machine.read_only;
        next.refuses_direct = machine.refuses_direct;
        next.stats.cuts.insert(mode, effect);
        drop(next);
        survived
    }

    /// Another disk in the same state, with the same unsynced changes, and nothing open. This one
    /// continues unchanged.
    pub(crate) fn fork(&self) -> Self {
        let machine = self.machine();
        let fork = Self::with_tree(machine.tree.after_kill(), 0);
        let mut next = fork.machine();
        next.read_only = machine.read_only;
        next.refuses_direct = machine.refuses_direct;
        next.dice = machine.dice.clone();
        drop(next);
        fork
    }

    // Faults.

    /// Makes operations fail.
    pub(crate) fn inject(&self, fault: Fault) {
        self.machine().faults.push(fault);
    }

    /// Removes all injected faults.
    pub(crate) fn clear_faults(&self) {
        self.machine().faults.clear();
    }

    /// Sets the size of the disk in bytes. Stored bytes stay, even if they are more.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.machine().tree.set_capacity(bytes);
    }

    /// Makes the disk refuse every change, or accept changes again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.machine().read_only = read_only;
    }

    /// Stops the disk from telling how much space is free, like file systems that do not count it.
    pub(crate) fn hide_room(&self) {
        self.machine().tells_room = false;
    }

    /// Makes files that are opened from now on go through the cache, like file systems without
    /// direct I/O.
    pub(crate) fn refuse_direct(&self) {
        self.machine().refuses_direct = true;
    }

    /// Makes operations of this kind wait as long as the hold exists, like a hung disk. A power
    /// failure ends the wait.
    pub(crate) fn hold(&self, kind: OpKind) -> Hold {
        self.machine().holds.entry(kind).or_default().holds += 1;
        Hold {
            disk: self.clone(),
            kind,
        }
    }

    // Damage. It changes both what is on disk and what the process reads, and needs no power.

    /// Flips one bit of a file.
    pub(crate) fn flip_bit(
        &self,
        path: impl AsRef<Path>,
        position: u64,
        bit: u8,
    ) -> io::Result<()> {
        let mut byte = [0];
        let mut machine = self.machine();
        let node = machine.tree.find_file(path.as_ref())?;
        machine.tree.file(node).visible().read(&mut byte, position);
        machine
            .tree
            .file_mut(node)
            .damage(position, &[byte[0] ^ (1 << (bit % 8))]);
        Ok(())
    }

    /// Makes a range of a file zeros.
    pub(crate) fn zero(&self, path: impl AsRef<Path>, range: Range<u64>) -> io::Result<()> {
        self.overwrite(
            path,
            range.start,
            &vec![0; (range.end - range.start) as usize],
        )
    }

    /// Overwrites bytes of a file, as a misdirected write does. The file does not grow.
    pub(crate) fn overwrite(
        &self,
        path: impl AsRef<Path>,
        position: u64,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut machine = self.machine();
        let node = machine.tree.find_file(path.as_ref())?;
        machine.tree.file_mut(node).damage(position, bytes);
        Ok(())
    }

    // Looking at the disk from outside: this needs no power, counts as no operation and meets no
    // fault.

    /// What the process sees in a file.
    pub(crate) fn content(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let machine = self.machine();
        Ok(machine
            .tree
            .file(machine.tree.find_file(path.as_ref())?)
            .visible()
            .to_vec())
    }

    /// The paths of all files that the process sees.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let machine = self.machine();
        let mut files = Vec::new();
        let mut dirs = vec![PathBuf::from("/")];
        while let Some(dir) = dirs.pop() {
            for (name, is_dir) in machine
                .tree
                .entries(&dir)
                .expect("a directory that was just listed is there")
            {
                if is_dir { &mut dirs } else { &mut files }.push(dir.join(name));
            }
        }
        files.sort();
        files
    }

    /// Counts of what has happened on the disk.
    pub(crate) fn stats(&self) -> Stats {
        self.machine().stats.clone()
    }

    /// Starts to record a line for each operation that changes something.
    pub(crate) fn record_trace(&self) {
        self.machine().trace = Some(Vec::new());
    }

    /// The lines recorded since [`Self::record_trace`].
    pub(crate) fn trace(&self) -> Vec<String> {
        self.machine().trace.clone().unwrap_or_default()
    }
}

impl Shared {
    /// The lock may be poisoned: a panic while it was held was an assertion about the caller,
    /// before anything changed.
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk")
            .field("operations", &self.operations())
            .finish_non_exhaustive()
    }
}

/// Makes operations of one kind wait until it is dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    disk: SimDisk,
    kind: OpKind,
}

impl Hold {
    /// How many operations are waiting now.
    pub(crate) fn waiting(&self) -> u64 {
        self.disk
            .machine()
            .holds
            .get(&self.kind)
            .map_or(0, |held| held.waiting)
    }

    /// Returns when this many operations are waiting.
    pub(crate) fn wait_for(&self, operations: u64) {
        let waits = |machine: &mut Machine| {
            machine
                .holds
                .get(&self.kind)
                .is_none_or(|held| held.waiting < operations)
        };
        let held = self.disk.0.held.wait_while(self.disk.machine(), waits);
        drop(held.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(held) = self.disk.machine().holds.get_mut(&self.kind) {
            held.holds -= 1;
        }
        self.disk.0.held.notify_all();
    }
}
