//! The broker's time: the source of append times, of event times that clients leave out, of the age
//! of segments and of the times of erasures.
//!
//! A machine's wall clock is wrong at times: before it has been set after a start, or because a
//! time server was wrong. An append time that is ahead stays ahead, because times never go back
//! along a partition. So the broker follows the wall clock if it is near, and otherwise not at
//! once:
//!
//! ```text
//! the wall clock is               time
//! ahead by at most `jump`         is the wall clock
//! behind by at most `jump`        goes on at half the speed, so that the wall clock catches up
//! further away, either way        goes on by the monotonic clock; once the wall clock has stood
//!                                 there for `settle`, or somebody accepts it, it is followed
//! ```
//!
//! Where what comes later must have a later time, the time goes on by the rest of the millisecond
//! ([`SteadyClock::pass`]); the wall clock catches up.
//!
//! Time goes back only when a wall clock that is behind is followed. Partitions make sure
//! themselves that their append times do not go back.
//!
//! A start continues from the time in the last checkpoint, or without one from the newest append
//! time. If the machine was not restarted since, its monotonic clock tells how long the pause was.
//! Otherwise only the wall clock tells, and it is compared in the same way: a machine that was off
//! for longer than `jump` looks like one whose wall clock is wrong, and the broker's time lags
//! until the wall clock has kept that distance for `settle`, or is accepted. This is the price for
//! never mistaking a wrong clock for a long pause: a lag ends after an hour, and the log reports
//! it, but a time that is ahead is in the partition for good.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Broker, lock};
use crate::{env::Clock, storage::format::checkpoint};

const NANOS_PER_MS: i128 = 1_000_000;

/// How often the log repeats that the wall clock is not followed.
const TELL_EVERY: Duration = Duration::from_secs(3_600);

/// When the machine's wall clock is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// How far it may be from the broker's time and still be followed at once.
    pub(crate) jump: Duration,
    /// For how long a clock further away must keep its distance until it is followed.
    pub(crate) settle: Duration,
}

/// The broker's clock, which follows the machine's.
pub(super) struct SteadyClock {
    machine: Arc<dyn Clock>,
    steady: Mutex<Steady>,
    shown: Mutex<Origin>,
}

/// The wall-clock time, in milliseconds since 1970, at which the monotonic clock began; it turns
/// monotonic times into wall-clock times for display. Readings of two clocks in whole milliseconds
/// waver by one, so it changes only if they differ by more.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Origin(Option<i64>);

impl Origin {
    /// Returns it, given the broker's time when the monotonic clock is at `elapsed`.
    pub(super) fn follow(&mut self, now_ms: i64, elapsed: Duration) -> i64 {
        let origin = now_ms.saturating_sub(whole_ms(elapsed));
        match self.0 {
            Some(before) if origin.abs_diff(before) <= 1 => before,
            _ => *self.0.insert(origin),
        }
    }
}

fn whole_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The state of the broker's clock. It reads no clock itself: the caller passes all readings.
#[derive(Clone, Debug)]
pub(super) struct Steady {
    rule: Rule,
    /// The broker's time when the monotonic clock was at `at`, in nanoseconds since 1970.
    time: i128,
    at: Duration,
    /// Set while the wall clock is too far away to be followed.
    away: Option<Away>,
    /// The time in the last checkpoint.
    stored: i128,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    /// How far it is ahead, in nanoseconds; negative if it is behind.
    by: i128,
    since: Duration,
    told: Duration,
}

/// An event to log about the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The wall clock is too far away to be followed, or has jumped once more.
    Away { ahead_ms: i64 },
    /// The wall clock has kept its distance long enough, or was accepted, and is now followed.
    Followed { ahead_ms: i64 },
    /// The wall clock is near again.
    Near,
}

/// The broker's clock and the machine's at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockReading {
    /// The broker's time, in milliseconds since 1970.
    pub(crate) now_ms: i64,
    /// The machine's wall clock, in milliseconds since 1970.
    pub(crate) wall_ms: i64,
    /// If the wall clock is not followed: how long it must still keep its distance until it is.
    pub(crate) followed_in: Option<Duration>,
}

impl Steady {
    /// A clock that continues from `last_ms`; without it, from the wall clock.
    pub(super) fn new(rule: Rule, last_ms: Option<i64>, wall_ms: i64, elapsed: Duration) -> Self {
        let time = nanos(last_ms.unwrap_or(wall_ms));
        Self {
            rule,
            time,
            at: elapsed,
            away: None,
            stored: time,
        }
    }

    /// Advances to the moment at which the wall clock reads `wall_ms` and the monotonic clock
    /// `elapsed`.
    pub(super) fn advance(&mut self, wall_ms: i64, elapsed: Duration) -> Option<Notice> {
        let passed = signed(elapsed.saturating_sub(self.at));
        self.at = self.at.max(elapsed);
        let wall = nanos(wall_ms);
        let ahead = wall - (self.time + passed);
        if ahead.abs() > signed(self.rule.jump) {
            self.time += passed;
            return self.stand_away(ahead);
        }
        self.time = match ahead {
            0.. => wall,
            _ => wall.max(self.time + passed / 2),
        };
        self.away.take().map(|_| Notice::Near)
    }

    fn stand_away(&mut self, ahead: i128) -> Option<Notice> {
        let ahead_ms = millis(ahead);
        let jump = signed(self.rule.jump);
        let Some(away) = self
            .away
            .as_mut()
            .filter(|away| (away.by - ahead).abs() <= jump)
        else {
            self.away = Some(Away {
                by: ahead,
                since: self.at,
                told: self.at,
            });
            return Some(Notice::Away { ahead_ms });
        };
        if self.at - away.since >= self.rule.settle {
            self.follow(ahead);
            return Some(Notice::Followed { ahead_ms });
        }
        if self.at - away.told < TELL_EVERY {
            return None;
        }
        away.told = self.at;
        Some(Notice::Away { ahead_ms })
    }

    fn follow(&mut self, ahead: i128) {
        self.time += ahead;
        self.away = None;
    }

    /// Follows the wall clock at once, however far away it is.
    pub(super) fn accept(&mut self, wall_ms: i64, elapsed: Duration) -> Option<Notice> {
        let notice = self.advance(wall_ms, elapsed);
        if self.away.is_none() {
            return notice;
        }
        let ahead = nanos(wall_ms) - self.time;
        self.follow(ahead);
        Some(Notice::Followed {
            ahead_ms: millis(ahead),
        })
    }

    /// Goes on to the millisecond behind this one, unless it is past that already.
    pub(super) fn pass(&mut self, ms: i64) {
        self.time = self.time.max(nanos(ms.saturating_add(1)));
    }

    /// The broker's time, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        millis(self.time)
    }

    /// How long it takes until the wall clock is followed; `None` if it is followed now.
    pub(super) fn followed_in(&self) -> Option<Duration> {
        let away = self.away?;
        Some(self.rule.settle.saturating_sub(self.at - away.since))
    }
}

fn nanos(ms: i64) -> i128 {
    i128::from(ms) * NANOS_PER_MS
}

fn millis(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(NANOS_PER_MS)).unwrap_or(if nanos < 0 {
        i64::MIN
    } else {
        i64::MAX
    })
}

fn signed(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

impl Broker {
    /// The broker's clock, and the machine's.
    pub(crate) fn clock(&self) -> ClockReading {
        self.shared.clock.read(Steady::advance)
    }

    /// Follows the machine's wall clock at once.
    pub(crate) fn accept_clock(&self) -> ClockReading {
        let reading = self.shared.clock.read(Steady::accept);
        // So that the next start has the new time, in a checkpoint.
        self.shared.maintenance.housekeeping.notify();
        reading
    }
}

impl SteadyClock {
    /// A clock that continues from a checkpoint's time.
    pub(super) fn going_on(
        rule: Rule,
        machine: Arc<dyn Clock>,
        stored: Option<checkpoint::Clock>,
    ) -> Self {
        let steady = going_on(rule, &*machine, stored, || None);
        Self {
            machine,
            steady: Mutex::new(steady),
            shown: Mutex::default(),
        }
    }

    /// Sets the time if no checkpoint has one.
    pub(super) fn go_on_from_newest(&self, newest_append_ms: impl FnOnce() -> Option<i64>) {
        let mut steady = lock(&self.steady);
        *steady = going_on(steady.rule, &*self.machine, None, newest_append_ms);
    }

    /// Whether the time in the last checkpoint is so old that a start after a crash might take the
    /// machine's clock for one that has jumped.
    pub(super) fn is_stored_time_old(&self) -> bool {
        self.now_ms();
        let steady = lock(&self.steady);
        (steady.time - steady.stored).abs() > signed(steady.rule.jump) / 2
    }

    /// The time, for a checkpoint.
    pub(super) fn to_store(&self) -> checkpoint::Clock {
        let now_ms = self.now_ms();
        lock(&self.steady).stored = nanos(now_ms);
        let since_boot_ms = self.machine.since_boot().as_millis();
        checkpoint::Clock {
            now_ms,
            boot: self.machine.boot().unwrap_or_default(),
            since_boot_ms: u64::try_from(since_boot_ms).unwrap_or(u64::MAX),
        }
    }

    /// The broker's time, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> i64 {
        self.read(Steady::advance).now_ms
    }

    /// Makes all later readings later than `ms`, which was read just now.
    pub(super) fn pass(&self, ms: i64) {
        lock(&self.steady).pass(ms);
    }

    /// A moment of the monotonic clock as a time of the broker, in milliseconds since 1970.
    pub(super) fn ms_of(&self, at: Duration) -> i64 {
        let (now_ms, elapsed) = (self.now_ms(), self.machine.elapsed());
        let origin = lock(&self.shown).follow(now_ms, elapsed);
        origin.saturating_add(whole_ms(at))
    }

    fn read(
        &self,
        read: impl FnOnce(&mut Steady, i64, Duration) -> Option<Notice>,
    ) -> ClockReading {
        let (notice, reading) = {
            let mut steady = lock(&self.steady);
            let wall_ms = self.machine.now_ms();
            let notice = read(&mut steady, wall_ms, self.machine.since_boot());
            let reading = ClockReading {
                now_ms: steady.now_ms(),
                wall_ms,
                followed_in: steady.followed_in(),
            };
            (notice, reading)
        };
        if let Some(notice) = notice {
            tell(notice, &reading);
        }
        reading
    }
}

/// The clock of a broker that continues from a checkpoint, or without a time there, from its newest
/// append time.
pub(super) fn going_on(
    rule: Rule,
    machine: &dyn Clock,
    stored: Option<checkpoint::Clock>,
    newest_append_ms: impl FnOnce() -> Option<i64>,
) -> Steady {
    let last_ms = match stored {
        Some(stored) => Some(stored.now_ms.saturating_add(paused_ms(machine, &stored))),
        None => newest_append_ms(),
    };
    Steady::new(rule, last_ms, machine.now_ms(), machine.since_boot())
}

/// How long ago a checkpoint's time was stored, if the machine's monotonic clock still tells; else
/// 0.
fn paused_ms(machine: &dyn Clock, stored: &checkpoint::Clock) -> i64 {
    if machine.boot() != Some(stored.boot) {
        return 0;
    }
    let since_boot_ms = machine.since_boot().as_millis();
    let passed = since_boot_ms.saturating_sub(stored.since_boot_ms.into());
    i64::try_from(passed).unwrap_or(i64::MAX)
}

fn tell(notice: Notice, reading: &ClockReading) {
    let followed_in_s = reading.followed_in.unwrap_or_default().as_secs();
    match notice {
        Notice::Away { ahead_ms } if ahead_ms > 0 => tracing::warn!(
            ahead_ms,
            followed_in_s,
            "the machine's clock is far ahead of the broker's time and is not followed yet: append times, and the age \
             at which records are removed, go on by the broker's own clock. If it is right, after a pause for example, \
             `taffrail clock accept` follows it now"
        ),
        Notice::Away { ahead_ms } => tracing::warn!(
            behind_ms = ahead_ms.saturating_neg(),
            followed_in_s,
            "the machine's clock is far behind the broker's time and is not followed yet: append times go on by the \
             broker's own clock. If it is right, `taffrail clock accept` follows it now"
        ),
        Notice::Followed { ahead_ms } => {
            tracing::info!(
                ahead_ms,
                "the machine's clock is followed again, to where it is"
            );
        }
        Notice::Near => tracing::info!("the machine's clock is near the broker's time again"),
    }
}
