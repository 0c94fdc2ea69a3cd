//! Turns within a run, in every other of which groups commit (`bench produce --turn-ms`).
//!
//! Runs of the same load differ by more than what commits cost, because a machine, its disk and the
//! sizes of writes change within seconds. Short turns that follow each other have their share of
//! that alike, so the sums of both kinds are compared, and how much that changes if a pair is left
//! out is the standard error.

use std::{convert::Infallible, sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Bench,
    commits::{self, Committing},
    measure::{BrokerCpu, Stopwatch, Turn, median},
    own_broker::cpu_time_between,
};
use crate::cli::{Failure, output};

/// Which turns are with commits. What changes steadily meanwhile counts for both alike.
const WITH_COMMITS: [bool; 4] = [true, false, false, true];

/// Measures one turn after the other, for ever.
pub(super) async fn take(
    bench: &Bench<'_>,
    length: Duration,
    committing: Option<&Committing>,
    turns: &mut Vec<Turn>,
) -> Result<Infallible, Failure> {
    for with_commits in WITH_COMMITS.into_iter().cycle() {
        if let Some(committing) = committing {
            committing.go_on(with_commits);
        }
        // Until then there are commits of the turn before.
        sleep(commits::INTERVAL).await;
        turns.push(Turn {
            with_commits,
            ..take_one(bench, length, committing).await?
        });
    }
    unreachable!("the turns have no end")
}

async fn take_one(
    bench: &Bench<'_>,
    length: Duration,
    committing: Option<&Committing>,
) -> Result<Turn, Failure> {
    let threads = || {
        let threads = bench.own.as_ref().and_then(|own| own.threads());
        threads.ok_or_else(|| {
            Failure::Usage("--turn-ms needs a broker of its own, without --server".to_owned())
        })
    };
    let appended = || bench.appended.load(Ordering::Relaxed);
    let made = || committing.map_or(0, Committing::made);
    let (before, bytes, commits) = (threads()?, appended(), made());
    let watch = Stopwatch::start(&bench.env.clock);
    sleep(length).await;
    Ok(Turn {
        with_commits: false,
        took: watch.elapsed(),
        bytes: appended() - bytes,
        commits: made() - commits,
        broker_cpu: cpu_time_between(&before, &threads()?),
    })
}

/// A figure of turns with commits, beside those without.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Cost {
    pub(super) without: f64,
    pub(super) with: f64,
    /// By how much it is more with commits, its standard error and its median over the pairs, as
    /// parts of what it is without.
    pub(super) more: f64,
    pub(super) error: f64,
    pub(super) median: f64,
}

/// The sums of figures, and of what they are to be divided by: without commits, and with them.
#[derive(Clone, Copy, Debug, Default)]
struct Sums([(f64, f64); 2]);

impl Sums {
    fn add(&mut self, pair: &[(f64, f64); 2], times: f64) {
        for (sum, (figure, by)) in self.0.iter_mut().zip(pair) {
            *sum = (sum.0 + times * figure, sum.1 + times * by);
        }
    }

    fn ratios(&self) -> [f64; 2] {
        self.0.map(|(figure, by)| figure / by)
    }
}

/// By how much the second is more, as a part of the first.
fn more([without, with]: [f64; 2]) -> f64 {
    with / without - 1.0
}

/// What is to be told of the turns of all runs.
pub(super) struct Costs {
    pairs: usize,
    commits_per_second: f64,
    megabytes_per_second: Cost,
    broker_cpu: Cost,
    journal_cpu: Cost,
    calls_cpu: Cost,
    /// The broker's CPU time for each commit, in microseconds.
    commit_us: Option<f64>,
}

impl Cost {
    /// Compares pairs of turns, each a figure and what it is to be divided by: the sums of those
    /// without commits, which are first, with the sums of the others. So a turn in which the disk
    /// stood still counts with what was done in it. `None` if there is nothing to compare.
    pub(super) fn of(pairs: &[[(f64, f64); 2]]) -> Option<Self> {
        let mut sums = Sums::default();
        for pair in pairs {
            sums.add(pair, 1.0);
        }
        let all = sums.ratios();
        if !more(all).is_finite() {
            return None;
        }
        // The jackknife: by how much it changes if one pair is left out.
        let mut squares = 0.0;
        let mut of_pairs = Vec::new();
        for pair in pairs {
            let mut others = sums;
            others.add(pair, -1.0);
            squares += (more(others.ratios()) - more(all)).powi(2);
            let of_pair = more(pair.map(|(figure, by)| figure / by));
            if of_pair.is_finite() {
                of_pairs.push(of_pair);
            }
        }
        if of_pairs.is_empty() {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "there are few pairs")]
        let number = pairs.len() as f64;
        Some(Self {
            without: all[0],
            with: all[1],
            more: more(all),
            error: (squares * (number - 1.0) / number).sqrt(),
            median: median(&of_pairs, |more| *more),
        })
    }

    fn row(&self, name: &str) -> [String; 6] {
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        [
            name.to_owned(),
            format!("{:.0}", self.without),
            format!("{:.0}", self.with),
            percent(self.more),
            percent(self.error),
            percent(self.median),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "without": self.without,
            "with": self.with,
            "more_percent": self.more * 100.0,
            "standard_error_percent": self.error * 100.0,
            "median_percent": self.median * 100.0,
        })
    }
}

impl Costs {
    /// Compares the turns of each run; `None` if there are not enough.
    #[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
    pub(super) fn of<'a>(runs: impl Iterator<Item = &'a [Turn]>) -> Option<Self> {
        let mut pairs: Vec<(Turn, Turn)> = Vec::new();
        for turns in runs {
            for pair in turns.chunks_exact(2) {
                pairs.push(match pair[0].with_commits {
                    true => (pair[1], pair[0]),
                    false => (pair[0], pair[1]),
                });
            }
        }
        let cost = |of: &dyn Fn(&Turn) -> (f64, f64)| {
            let figures: Vec<_> = pairs
                .iter()
                .map(|pair| [of(&pair.0), of(&pair.1)])
                .collect();
            Cost::of(&figures)
        };
        let gigabytes = |turn: &Turn| turn.bytes as f64 / 1e9;
        let cpu = |of: fn(BrokerCpu) -> Duration| {
            cost(&|turn| (of(turn.broker_cpu).as_secs_f64() * 1e3, gigabytes(turn)))
        };
        let broker_cpu = cpu(|cpu| cpu.all)?;
        let with = || pairs.iter().map(|pair| pair.1);
        let commits: u64 = with().map(|turn| turn.commits).sum();
        let seconds: f64 = with().map(|turn| turn.took.as_secs_f64()).sum();
        let appended: f64 = with().map(|turn| gigabytes(&turn)).sum();
        let more_us = (broker_cpu.with - broker_cpu.without) * appended * 1e3;
        Some(Self {
            pairs: pairs.len(),
            commits_per_second: commits as f64 / seconds,
            megabytes_per_second: cost(&|turn| (gigabytes(turn) * 1e3, turn.took.as_secs_f64()))?,
            broker_cpu,
            journal_cpu: cpu(|cpu| cpu.journal)?,
            calls_cpu: cpu(|cpu| cpu.calls)?,
            commit_us: (commits > 0).then(|| more_us / commits as f64),
        })
    }

    pub(super) fn print(&self) -> Result<(), Failure> {
        output::line(format_args!(
            "\n{} of turns, with {:.0} commits a second and without",
            output::counted(self.pairs as u64, "pair"),
            self.commits_per_second,
        ))?;
        let headings = ["", "WITHOUT", "WITH", "MORE", "STD ERROR", "MEDIAN"];
        let rows = [
            self.megabytes_per_second.row("MB/s"),
            self.broker_cpu.row("broker, CPU ms a GB"),
            self.journal_cpu.row("  its journal thread"),
            self.calls_cpu.row("  its threads of calls"),
        ];
        output::table(headings, &rows)?;
        if let Some(commit_us) = self.commit_us {
            output::line(format_args!("a commit: {commit_us:.1} us of processors"))?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "pairs": self.pairs,
            "commits_per_second": self.commits_per_second,
            "megabytes_per_second": self.megabytes_per_second.json(),
            "broker_cpu_ms_per_gigabyte": self.broker_cpu.json(),
            "journal_cpu_ms_per_gigabyte": self.journal_cpu.json(),
            "calls_cpu_ms_per_gigabyte": self.calls_cpu.json(),
            "cpu_us_per_commit": self.commit_us,
        })
    }
}
