//! A disk and a clock in memory, of which nothing is left when the process ends. The disk loses
//! unsynced data when its power is cut. The clock runs with the machine's, and can be moved
//! forward.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Alarm, BootId, Clock, Env,
    alarm::Alarms,
    sim::{CrashMode, SimDisk},
    system::{SystemClock, SystemRandom},
};

/// The capacity of the disk. Its content may take twice as much memory: once as the process sees
/// it, and once as it would be after a power cut.
const CAPACITY: u64 = 1 << 30;

/// The seed of the disk's random choices, of which there are none here.
const SEED: u64 = 0;

/// The disk and clock of a process.
pub(crate) struct Ephemeral {
    disk: Mutex<SimDisk>,
    clock: Arc<MovableClock>,
}

impl Ephemeral {
    /// An empty disk, and a clock that agrees with the machine's.
    pub(crate) fn new() -> Self {
        let disk = SimDisk::new(SEED);
        disk.set_capacity(CAPACITY);
        Self {
            disk: Mutex::new(disk),
            clock: Arc::new(MovableClock {
                machine: SystemClock::new(),
                ahead: Mutex::default(),
                alarms: Alarms::default(),
            }),
        }
    }

    /// The environment of the next broker on this disk.
    pub(crate) fn env(&self) -> Env {
        Env {
            files: Arc::new(self.disk().clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::new(SystemRandom),
        }
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        let mut ahead = lock(&self.clock.ahead);
        *ahead = ahead.saturating_add(by);
        drop(ahead);
        self.clock.alarms.wake();
    }

    /// Loses everything that is not synced. From here on, earlier environments get errors from the
    /// disk.
    pub(crate) fn cut_power(&self) {
        let mut disk = self.disk();
        let survived = disk.power_cut(SEED, CrashMode::LoseUnsynced);
        *disk = survived;
    }

    fn disk(&self) -> MutexGuard<'_, SimDisk> {
        lock(&self.disk)
    }
}

/// The machine's clock, moved forward.
struct MovableClock {
    machine: SystemClock,
    ahead: Mutex<Duration>,
    alarms: Alarms,
}

impl MovableClock {
    fn ahead(&self) -> Duration {
        *lock(&self.ahead)
    }
}

impl Clock for MovableClock {
    fn now_ms(&self) -> i64 {
        let ahead = i64::try_from(self.ahead().as_millis()).unwrap_or(i64::MAX);
        self.machine.now_ms().saturating_add(ahead)
    }

    fn elapsed(&self) -> Duration {
        self.machine.elapsed().saturating_add(self.ahead())
    }

    fn since_boot(&self) -> Duration {
        self.machine.since_boot().saturating_add(self.ahead())
    }

    fn boot(&self) -> Option<BootId> {
        self.machine.boot()
    }

    fn wake_when_moved(&self, alarm: &Arc<Alarm>) {
        self.alarms.add(alarm);
    }
}

/// No code panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
