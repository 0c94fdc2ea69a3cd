//! The real clock and the real source of random numbers.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door that the bans lead to"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
#[cfg(feature = "cli")]
use rustix::process::{Pid, Signal, kill_process};

use super::{Clock, Random};

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts now.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => milliseconds(after),
            Err(before) => -milliseconds(before.duration()),
        }
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Random numbers that cannot be foretold, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// Asks a process to end, as its operator would: SIGTERM.
#[cfg(feature = "cli")]
pub(crate) fn ask_to_stop(process: &std::process::Child) -> std::io::Result<()> {
    Ok(kill_process(Pid::from_child(process), Signal::TERM)?)
}
