//! The real clock and the real source of random numbers.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door that the bans lead to"
)]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::Rng;
#[cfg(feature = "cli")]
use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Pid, Signal, kill_process},
};

use super::{BootId, Clock, Random};

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SystemClock {
    start: Instant,
    boot: Option<BootId>,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts now.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            boot: boot_id(),
        }
    }
}

/// The kernel's id of this start of the machine.
fn boot_id() -> Option<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits = text.trim().replace('-', "");
    Some(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes())
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

    #[cfg(target_os = "linux")]
    fn since_boot(&self) -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(time).unwrap_or_default()
    }

    #[cfg(not(target_os = "linux"))]
    fn since_boot(&self) -> Duration {
        self.elapsed()
    }

    fn boot(&self) -> Option<BootId> {
        self.boot
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Unpredictable random numbers, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SystemRandom;

impl Random for SystemRandom {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }
}

/// Asks a process to stop, as an operator would: by SIGTERM.
#[cfg(feature = "cli")]
pub(crate) fn ask_to_stop(process: &std::process::Child) -> std::io::Result<()> {
    Ok(kill_process(Pid::from_child(process), Signal::TERM)?)
}

/// Waits until the reading end of a pipe or socket is closed. Does not return for a file.
#[cfg(feature = "cli")]
pub(crate) fn wait_until_unread(output: impl std::os::fd::AsFd) -> std::io::Result<()> {
    // Errors are reported even if no event is asked for.
    let mut polled = [PollFd::new(&output, PollFlags::empty())];
    rustix::io::retry_on_intr(|| poll(&mut polled, None))?;
    Ok(())
}
