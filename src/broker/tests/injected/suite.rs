//! Every open, map and read fails, with every error, at any moment.
//!
//! A *run* begins on a disk that a crash has left, makes calls fail during one phase of a broker's
//! work, and then removes the faults. While calls fail, no answer is wrong. Afterwards, and after
//! another start, everything is answered, and rightly. The start itself is one of the tested
//! phases.

use super::{
    book::Tolerance,
    work::{Begun, PHASES, Phase, Running, begin, start},
};
use crate::env::sim::{Fault, OpKind, SimDisk, fault};

/// The calls that fail.
const KINDS: [OpKind; 4] = [OpKind::Open, OpKind::Map, OpKind::Read, OpKind::ReadDir];

/// The errors with which they fail.
const ERRORS: [i32; 8] = [
    fault::EIO,
    fault::EMFILE,
    fault::ENFILE,
    fault::ENOMEM,
    fault::ENODEV,
    fault::EACCES,
    fault::EAGAIN,
    fault::ETIMEDOUT,
];

/// The directory where they fail: it holds all files, including the journal and the checkpoint.
const PLACE: &str = "/data";

/// What all runs came across.
#[derive(Debug, Default)]
struct Seen {
    runs: u64,
    /// The number of calls that were made to fail.
    failed: u64,
    refused_starts: u64,
    /// The number of brokers that failed for good.
    given_up: u64,
}

/// The answers that are tolerated while calls fail with this error.
fn tolerance(errno: i32) -> Tolerance {
    if errno == fault::EIO {
        Tolerance::Damage
    } else {
        Tolerance::Unavailable
    }
}

/// The number of calls that faults have made to fail on a disk.
fn failed(disk: &SimDisk) -> u64 {
    disk.stats().faults.values().sum()
}

/// A run with these faults, which begin before the start or before the phase's work.
fn run(begun: &Begun, phase: Phase, faults: &[Fault], at_start: bool, errno: i32, seen: &mut Seen) {
    let (disk, mut book) = (begun.disk.fork(), begun.book.clone());
    let seed = begun.seed * 1_000 + 10;
    let inject = || faults.iter().for_each(|fault| disk.inject(fault.clone()));
    if at_start {
        inject();
    }
    seen.runs += 1;
    match start(&disk, seed) {
        Ok(running) => {
            if !at_start {
                inject();
            }
            running.work(phase, &mut book, tolerance(errno));
            seen.failed += failed(&disk);
            disk.clear_faults();
            if running.broker.shared.health.has_failed() {
                assert!(
                    errno == fault::EIO || phase == Phase::Close,
                    "given up because of what passes: {:?}",
                    running.broker.shared.health.failure()
                );
                seen.given_up += 1;
            } else {
                check_live(&running, phase, &mut book, errno);
            }
        }
        Err(_) => {
            seen.failed += failed(&disk);
            seen.refused_starts += 1;
            disk.clear_faults();
        }
    }
    check_restarted(&disk, seed, &mut book);
}

/// After the faults are gone, the broker that has met them must answer everything.
fn check_live(running: &Running, phase: Phase, book: &mut super::book::Book, errno: i32) {
    if phase == Phase::Close {
        return;
    }
    running.wait();
    // A table of last versions that could not be read at the start is not tried again.
    let passes = match errno {
        fault::EIO => Tolerance::Damage,
        _ => Tolerance::Nothing,
    };
    book.check_all(&running.broker, passes);
    book.append(&running.broker, 5, false, passes);
}

/// After another start, nothing acknowledged is forgotten, and no offset or version is given out
/// twice.
fn check_restarted(disk: &SimDisk, seed: u64, book: &mut super::book::Book) {
    let disk = disk.fork();
    let running = start(&disk, seed + 1).expect("the faults are gone");
    book.settle(&running.broker);
    book.check_all(&running.broker, Tolerance::Nothing);
    for entity in [1, 5, 3_000 + seed] {
        book.append_refused(&running.broker, entity, Tolerance::Nothing);
        book.append(&running.broker, entity, true, Tolerance::Nothing);
    }
}

/// The number of calls of each kind that a start makes, and then a phase.
fn count_calls(begun: &Begun, phase: Phase) -> Vec<(OpKind, bool, u64)> {
    let (disk, mut book) = (begun.disk.fork(), begun.book.clone());
    let calls = |kind| disk.stats().operations.get(&kind).copied().unwrap_or(0);
    let running = start(&disk, 10).expect("nothing fails");
    let at_start = KINDS.map(calls);
    running.work(phase, &mut book, Tolerance::Nothing);
    let mut counts = Vec::new();
    for (kind, before) in KINDS.into_iter().zip(at_start) {
        counts.push((kind, true, before));
        counts.push((kind, false, calls(kind) - before));
    }
    counts
}

/// Makes each call fail with each error, once or together with some of the following calls.
fn fail_each_call(phase: Phase, seen: &mut Seen) {
    for seed in [1, 2] {
        let begun = begin(seed);
        for (kind, at_start, calls) in count_calls(&begun, phase) {
            // The start is the same for every phase, so it is tested once.
            if at_start && phase != Phase::Reads {
                continue;
            }
            for nth in 1..=calls {
                for (which, errno) in (0..).zip(ERRORS) {
                    let times = [1, 3, 200][(nth + which) as usize % 3];
                    let fault = Fault::on(kind).in_path(PLACE).errno(errno);
                    let fault = fault.nth(nth).times(times);
                    run(&begun, phase, &[fault], at_start, errno, seen);
                }
            }
        }
    }
}

/// Makes random calls fail, all through a phase, or from before the start.
fn fail_here_and_there(phase: Phase, seen: &mut Seen) {
    for seed in 1..13 {
        let begun = begin(seed);
        for (turn, errno) in (0..).zip(ERRORS) {
            for (one_in, at_start) in [(2, false), (5, false), (20, false), (100, true)] {
                let fault = |(nth, kind): (u64, OpKind)| {
                    let chance = seed * 1_000 + turn * 100 + one_in + nth;
                    let fault = Fault::on(kind).in_path(PLACE).errno(errno);
                    fault.for_ever().one_in(one_in, chance)
                };
                let faults: Vec<Fault> = (0..).zip(KINDS).map(fault).collect();
                run(&begun, phase, &faults, at_start, errno, seen);
            }
        }
    }
}

fn fail_in(phase: Phase) -> Seen {
    let mut seen = Seen::default();
    fail_each_call(phase, &mut seen);
    fail_here_and_there(phase, &mut seen);
    println!("{phase:?}: {seen:?}");
    seen
}

/// In each phase at least this many calls must fail, and 20,000 in all.
macro_rules! no_answer_is_wrong {
    ($($name:ident: $phase:expr, $least:expr;)*) => {
        $(
            #[test]
            fn $name() {
                let seen = fail_in($phase);
                assert!(seen.failed >= $least, "{seen:?}");
            }
        )*

        #[test]
        fn every_phase_is_here() {
            assert_eq!([$($phase),*], PHASES);
            assert!([$($least),*].iter().sum::<u64>() >= 20_000);
        }
    };
}

no_answer_is_wrong! {
    no_read_is_wrong_whatever_call_fails: Phase::Reads, 15_000;
    no_append_is_wrong_whatever_call_fails: Phase::Appends, 4_000;
    nothing_is_forgotten_whatever_call_of_housekeeping_fails: Phase::Housekeeping, 1_000;
    nothing_is_forgotten_whatever_call_fails_while_records_are_trimmed: Phase::Trimming, 1_500;
    nothing_is_forgotten_whatever_call_of_an_erasure_fails: Phase::Erasure, 1_500;
    nothing_is_forgotten_whatever_call_of_a_stop_fails: Phase::Close, 200;
}
