//! The disk and the clock of a test broker.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tempfile::TempDir;

use crate::env::{
    Env, Random,
    sim::{CrashMode, SimClock, SimDisk, SimRandom},
};

/// Where a test broker keeps its data.
#[derive(Debug)]
pub(super) enum Place {
    /// A directory that is removed with the broker.
    Temporary,
    /// A directory that stays.
    Directory(PathBuf),
    /// A disk in memory, with a clock of its own.
    Simulated {
        /// What a crash leaves is drawn from this.
        seed: u64,
    },
}

/// The world of a test broker. It outlives the broker in it.
#[derive(Debug)]
pub(super) struct World {
    data_dir: PathBuf,
    kind: Kind,
    /// Removes the directory when it is dropped.
    _temporary: Option<TempDir>,
}

#[derive(Debug)]
enum Kind {
    Real,
    Simulated(Simulation),
}

impl World {
    pub(super) fn new(place: Place) -> Self {
        match place {
            Place::Temporary => {
                let temporary = TempDir::with_prefix("taffrail-")
                    .expect("the temporary directory can be written to");
                Self {
                    data_dir: temporary.path().join("data"),
                    kind: Kind::Real,
                    _temporary: Some(temporary),
                }
            }
            Place::Directory(data_dir) => Self {
                data_dir,
                kind: Kind::Real,
                _temporary: None,
            },
            Place::Simulated { seed } => Self {
                data_dir: PathBuf::from("/data"),
                kind: Kind::Simulated(Simulation::new(seed)),
                _temporary: None,
            },
        }
    }

    pub(super) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The environment for the next broker: its disk, clock and random numbers.
    pub(super) fn env(&self) -> Env {
        match &self.kind {
            Kind::Real => Env::system(),
            Kind::Simulated(simulation) => simulation.env(),
        }
    }

    pub(super) fn advance_clock(&self, by: Duration) {
        match &self.kind {
            Kind::Real => {
                panic!(
                    "only the clock of a simulated broker can be advanced; build it with `.simulated(seed)`"
                )
            }
            Kind::Simulated(simulation) => simulation.advance_clock(by),
        }
    }

    /// Makes the disk lose what a crash loses, before anything else happens. A real disk keeps what
    /// the kernel has.
    pub(super) fn cut_power(&self) {
        match &self.kind {
            Kind::Real => {}
            Kind::Simulated(simulation) => simulation.cut_power(),
        }
    }
}

/// A disk, a clock and a source of random numbers in memory.
#[derive(Debug)]
struct Simulation {
    chance: SimRandom,
    clock: SimClock,
    disk: Mutex<SimDisk>,
}

/// When the clock of a simulation starts: 2024-01-01T00:00:00Z.
const START_MS: i64 = 1_704_067_200_000;

impl Simulation {
    fn new(seed: u64) -> Self {
        Self {
            chance: SimRandom::new(seed),
            clock: SimClock::new(START_MS),
            disk: Mutex::new(SimDisk::new(seed)),
        }
    }

    fn disk(&self) -> MutexGuard<'_, SimDisk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn env(&self) -> Env {
        Env {
            files: Arc::new(self.disk().clone()),
            clock: Arc::new(self.clock.clone()),
            random: Arc::new(self.chance.clone()),
        }
    }

    fn advance_clock(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Loses what was not synced, as drawn from the seed. Handles of the broker that crashed get
    /// errors from here on.
    fn cut_power(&self) {
        let seed = self.chance.next_u64();
        let modes = CrashMode::ALL.len() as u64;
        let mode = CrashMode::ALL[usize::try_from(seed % modes).expect("there are few modes")];
        let mut disk = self.disk();
        let survived = disk.power_cut(seed, mode);
        *disk = survived;
    }
}
