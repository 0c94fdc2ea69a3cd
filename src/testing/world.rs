//! The disk and the clock of a test broker.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use crate::env::Env;

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
                let temporary = TempDir::with_prefix("taffrail-").expect("the temporary directory can be written to");
                Self { data_dir: temporary.path().join("data"), kind: Kind::Real, _temporary: Some(temporary) }
            }
            Place::Directory(data_dir) => Self { data_dir, kind: Kind::Real, _temporary: None },
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

    /// The doors to it, as the next broker gets them.
    pub(super) fn env(&self) -> Env {
        match &self.kind {
            Kind::Real => Env::system(),
            Kind::Simulated(simulation) => simulation.env(),
        }
    }

    pub(super) fn advance_clock(&self, by: Duration) {
        match &self.kind {
            Kind::Real => {
                panic!("only the clock of a simulated broker can be advanced; build it with `.simulated(seed)`")
            }
            Kind::Simulated(simulation) => simulation.advance_clock(by),
        }
    }

    /// What a crash does to the disk before anything else happens. The real one keeps what the kernel has.
    pub(super) fn cut_power(&self) {
        match &self.kind {
            Kind::Real => {}
            Kind::Simulated(simulation) => simulation.cut_power(),
        }
    }
}

/// A disk, a clock and a source of random numbers in memory. To be plugged in: `env` has none yet.
#[derive(Debug)]
struct Simulation {
    seed: u64,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        Self { seed }
    }

    fn env(&self) -> Env {
        panic!("env has no simulated disk yet for seed {}", self.seed)
    }

    fn advance_clock(&self, by: Duration) {
        panic!("env has no simulated clock yet to advance by {by:?}")
    }

    /// Loses what was not synced, as drawn from the seed. Handles of the broker that crashed get errors from here on.
    fn cut_power(&self) {
        panic!("env has no simulated disk yet for seed {}", self.seed)
    }
}
