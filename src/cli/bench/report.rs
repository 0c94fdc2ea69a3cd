//! What was measured, for people and for scripts.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    machine::Machine,
    measure::{Run, median},
    plan::{Load, Plan},
};
use crate::cli::{Failure, output};

pub(super) struct Report {
    pub(super) plan: Plan,
    pub(super) machine: Machine,
    pub(super) runs: Vec<Run>,
}

/// The figures of a run, or the medians of all.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) records_per_second: f64,
    pub(super) megabytes_per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) p999: Duration,
    pub(super) max: Duration,
}

impl Figures {
    fn of(run: &Run) -> Self {
        Self {
            records_per_second: run.records_per_second(),
            megabytes_per_second: run.megabytes_per_second(),
            p50: run.latencies.quantile(0.5),
            p99: run.latencies.quantile(0.99),
            p999: run.latencies.quantile(0.999),
            max: run.latencies.max(),
        }
    }

    /// Each figure's own median: they need not come from the same run.
    pub(super) fn medians(figures: &[Self]) -> Self {
        Self {
            records_per_second: median(figures, |figures| figures.records_per_second),
            megabytes_per_second: median(figures, |figures| figures.megabytes_per_second),
            p50: median(figures, |figures| figures.p50),
            p99: median(figures, |figures| figures.p99),
            p999: median(figures, |figures| figures.p999),
            max: median(figures, |figures| figures.max),
        }
    }

    fn row(&self, name: String) -> [String; 7] {
        [
            name,
            format!("{:.0}", self.records_per_second),
            format!("{:.1}", self.megabytes_per_second),
            millis(self.p50),
            millis(self.p99),
            millis(self.p999),
            millis(self.max),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "records_per_second": self.records_per_second,
            "megabytes_per_second": self.megabytes_per_second,
            "p50_ms": self.p50.as_secs_f64() * 1e3,
            "p99_ms": self.p99.as_secs_f64() * 1e3,
            "p999_ms": self.p999.as_secs_f64() * 1e3,
            "max_ms": self.max.as_secs_f64() * 1e3,
        })
    }
}

impl Report {
    pub(super) fn print(&self, json: bool) -> Result<(), Failure> {
        let figures: Vec<Figures> = self.runs.iter().map(Figures::of).collect();
        let medians = Figures::medians(&figures);
        if json {
            return Ok(output::json(&self.json(&figures, &medians))?);
        }

        output::line(format_args!("{}\n", self.headline()))?;
        let mut rows: Vec<_> = figures.iter().zip(1..).map(|(run, number)| run.row(format!("run {number}"))).collect();
        rows.push(medians.row("median".to_owned()));
        let headings = ["", "RECORDS/S", "MB/S", "P50 MS", "P99 MS", "P99.9 MS", "MAX MS"];
        output::table(headings, if figures.len() == 1 { &rows[..1] } else { &rows })?;

        let machine = self.machine;
        output::line("\nthis machine, in the same run")?;
        let limits = [
            ["synced sequential write, preallocated, 1 MiB steps", &megabytes(machine.disk)],
            ["the same, direct, into a recycled file", &megabytes(machine.disk_direct)],
            ["one write of 4 KiB and sync, p50", &format!("{} ms", millis(machine.small_sync))],
            ["one TCP stream over loopback", &megabytes(machine.loopback)],
        ];
        for [name, limit] in limits {
            output::line(format_args!("  {name:<52}{limit:>12}"))?;
        }
        let (name, ratio) = self.ratio(&medians);
        Ok(output::line(format_args!("\n{name}: {ratio:.2}"))?)
    }

    fn headline(&self) -> String {
        let plan = &self.plan;
        let producers = output::counted(plan.producers.into(), "producer");
        let who = match plan.load {
            Load::Produce => format!("produce: {producers}"),
            Load::Consume { consumers } => format!("consume: {}", output::counted(consumers.into(), "consumer")),
            Load::Append => format!("append, one request at a time: {producers}"),
        };
        let set: Vec<String> = plan.settings.iter().map(|(name, value)| format!(", {name}={value}")).collect();
        format!(
            "{who}, {} of {} B a request, {}, {} in all, all compared{}",
            output::counted(plan.records.into(), "record"),
            plan.record_bytes,
            output::counted(plan.partitions.into(), "partition"),
            output::bytes(plan.bytes()),
            set.concat()
        )
    }

    /// The figure that counts, beside the limit that it has.
    fn ratio(&self, medians: &Figures) -> (&'static str, f64) {
        match self.plan.load {
            Load::Produce => ("of the synced sequential write", medians.megabytes_per_second / self.machine.disk),
            Load::Consume { .. } => ("of one TCP stream", medians.megabytes_per_second / self.machine.loopback),
            Load::Append => {
                ("times one write and sync", medians.p50.as_secs_f64() / self.machine.small_sync.as_secs_f64())
            }
        }
    }

    fn json(&self, figures: &[Figures], medians: &Figures) -> Value {
        let (load, consumers) = match self.plan.load {
            Load::Produce => ("produce", None),
            Load::Consume { consumers } => ("consume", Some(consumers)),
            Load::Append => ("append", None),
        };
        let machine = self.machine;
        json!({
            "load": load,
            "record_bytes": self.plan.record_bytes,
            "records_per_request": self.plan.records,
            "producers": self.plan.producers,
            "consumers": consumers,
            "partitions": self.plan.partitions,
            "records": self.plan.all_records(),
            "bytes": self.plan.bytes(),
            "compared": true,
            "runs": figures.iter().map(Figures::json).collect::<Vec<_>>(),
            "median": medians.json(),
            "machine": {
                "synced_write_megabytes_per_second": machine.disk,
                "synced_direct_write_megabytes_per_second": machine.disk_direct,
                "write_and_sync_4k_p50_ms": machine.small_sync.as_secs_f64() * 1e3,
                "loopback_megabytes_per_second": machine.loopback,
            },
            "ratio": { "of": self.ratio(medians).0, "value": self.ratio(medians).1 },
        })
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1e3)
}

fn megabytes(speed: f64) -> String {
    format!("{speed:.0} MB/s")
}
