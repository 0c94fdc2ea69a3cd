//! Prints the measurements, for people and for scripts.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    machine::Machine,
    measure::{Run, median},
    plan::{Keys, Load, Plan},
    turns::Costs,
};
use crate::cli::{Failure, output};

pub(super) struct Report {
    pub(super) plan: Plan,
    pub(super) machine: Machine,
    pub(super) runs: Vec<Run>,
}

/// The figures of one run, or their medians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figures {
    pub(super) requests_per_second: f64,
    pub(super) records_per_second: f64,
    pub(super) megabytes_per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) p999: Duration,
    pub(super) max: Duration,
    /// The broker's CPU time, in milliseconds for each gigabyte.
    pub(super) broker_cpu: Option<f64>,
    /// The parts of its journal thread and of the threads for calls.
    pub(super) journal_cpu: Option<f64>,
    pub(super) calls_cpu: Option<f64>,
    /// The commits of consumer groups that committed meanwhile.
    pub(super) commits_per_second: Option<f64>,
}

/// The runs of another load, for comparison run by run.
struct Beside {
    /// The name of the ratio between the two loads.
    what: &'static str,
    figures: Vec<Figures>,
    medians: Figures,
}

impl Figures {
    fn of(run: &Run) -> Self {
        Self {
            requests_per_second: run.requests_per_second(),
            records_per_second: run.records_per_second(),
            megabytes_per_second: run.megabytes_per_second(),
            p50: run.latencies.quantile(0.5),
            p99: run.latencies.quantile(0.99),
            p999: run.latencies.quantile(0.999),
            max: run.latencies.max(),
            broker_cpu: run.cpu_ms_per_gigabyte(|cpu| cpu.all),
            journal_cpu: run.cpu_ms_per_gigabyte(|cpu| cpu.journal),
            calls_cpu: run.cpu_ms_per_gigabyte(|cpu| cpu.calls),
            commits_per_second: run.commits_per_second(),
        }
    }

    /// The median of each figure; they may come from different runs.
    pub(super) fn medians(figures: &[Self]) -> Self {
        Self {
            requests_per_second: median(figures, |figures| figures.requests_per_second),
            records_per_second: median(figures, |figures| figures.records_per_second),
            megabytes_per_second: median(figures, |figures| figures.megabytes_per_second),
            p50: median(figures, |figures| figures.p50),
            p99: median(figures, |figures| figures.p99),
            p999: median(figures, |figures| figures.p999),
            max: median(figures, |figures| figures.max),
            broker_cpu: median(figures, |figures| figures.broker_cpu),
            journal_cpu: median(figures, |figures| figures.journal_cpu),
            calls_cpu: median(figures, |figures| figures.calls_cpu),
            commits_per_second: median(figures, |figures| figures.commits_per_second),
        }
    }

    fn row(&self, name: String) -> [String; 8] {
        [
            name,
            format!("{:.0}", self.requests_per_second),
            format!("{:.0}", self.records_per_second),
            format!("{:.1}", self.megabytes_per_second),
            millis(self.p50),
            millis(self.p99),
            millis(self.p999),
            millis(self.max),
        ]
    }

    fn json(&self) -> Value {
        let mut json = json!({
            "requests_per_second": self.requests_per_second,
            "records_per_second": self.records_per_second,
            "megabytes_per_second": self.megabytes_per_second,
            "p50_ms": self.p50.as_secs_f64() * 1e3,
            "p99_ms": self.p99.as_secs_f64() * 1e3,
            "p999_ms": self.p999.as_secs_f64() * 1e3,
            "max_ms": self.max.as_secs_f64() * 1e3,
        });
        for (name, cpu) in [
            ("broker_cpu_ms_per_gigabyte", self.broker_cpu),
            ("journal_cpu_ms_per_gigabyte", self.journal_cpu),
            ("calls_cpu_ms_per_gigabyte", self.calls_cpu),
        ] {
            if let Some(cpu) = cpu {
                json[name] = json!(cpu);
            }
        }
        if let Some(commits) = self.commits_per_second {
            json["commits_per_second"] = json!(commits);
        }
        json
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
        let (beside, mut rows) = (self.beside(), Vec::new());
        for (at, run) in figures.iter().enumerate() {
            rows.push(run.row(format!("run {}", at + 1)));
            if let Some(other) = beside.as_ref().and_then(|beside| beside.figures.get(at)) {
                rows.push(other.row("  beside it".to_owned()));
            }
        }
        if figures.len() > 1 {
            rows.push(medians.row("median".to_owned()));
            if let Some(beside) = &beside {
                rows.push(beside.medians.row("  beside it".to_owned()));
            }
        }
        let headings = [
            "",
            self.of_what(),
            "RECORDS/S",
            "MB/S",
            "P50 MS",
            "P99 MS",
            "P99.9 MS",
            "MAX MS",
        ];
        output::table(headings, &rows)?;
        if let Some(beside) = &beside {
            beside.print(&medians)?;
        }
        if let Some(costs) = self.costs() {
            costs.print()?;
        }

        self.print_machine()?;
        let (name, ratio) = self.ratio(&medians);
        Ok(output::line(format_args!("\n{name}: {ratio:.2}"))?)
    }

    fn print_machine(&self) -> Result<(), Failure> {
        let machine = self.machine;
        output::line("\nthis machine, in the same run")?;
        let mut limits = vec![
            (
                "synced sequential write, preallocated, 1 MiB steps",
                megabytes(machine.disk),
            ),
            (
                "the same, direct, into a recycled file",
                megabytes(machine.disk_direct),
            ),
            (
                "one write of 4 KiB and sync, p50",
                format!("{} ms", millis(machine.small_sync)),
            ),
            ("one TCP stream over loopback", megabytes(machine.loopback)),
        ];
        if let Some(round_trip) = self.round_trip() {
            limits.push((
                "one call that does next to nothing, p50",
                format!("{} ms", millis(round_trip)),
            ));
        }
        for (name, limit) in limits {
            output::line(format_args!("  {name:<52}{limit:>12}"))?;
        }
        Ok(())
    }

    /// The heading for the requests whose latencies are shown.
    fn of_what(&self) -> &'static str {
        match self.plan.load {
            Load::Consume { .. } | Load::Members { .. } => "BATCHES/S",
            Load::Entity(_) => "READS/S",
            Load::Produce | Load::Append { .. } => "REQUESTS/S",
        }
    }

    fn headline(&self) -> String {
        let plan = &self.plan;
        let clients = |what: &str| output::counted(plan.clients.into(), what);
        let set: Vec<String> = plan
            .settings
            .iter()
            .map(|(name, value)| format!(", {name}={value}"))
            .collect();
        let set = set.concat();
        let partitions = output::counted(plan.partitions.into(), "partition");
        let who = match plan.load {
            Load::Produce if plan.groups > 0 => format!(
                "produce: {}, beside {} that commit",
                clients("producer"),
                output::counted(plan.groups.into(), "group")
            ),
            Load::Produce => format!("produce: {}", clients("producer")),
            Load::Members { members } => format!(
                "consume: {} of a group",
                output::counted(members.into(), "member")
            ),
            Load::Consume { consumers } => {
                format!("consume: {}", output::counted(consumers.into(), "consumer"))
            }
            Load::Append { streamed: true, .. } => {
                format!("append, streamed: {}", clients("client"))
            }
            Load::Append {
                streamed: false, ..
            } if plan.tasks > 1 => format!(
                "append, one request at a time: {} of {}",
                clients("client"),
                output::counted(plan.tasks.into(), "task")
            ),
            Load::Append {
                streamed: false, ..
            } => format!("append, one request at a time: {}", clients("client")),
            Load::Entity(reads) => {
                return format!(
                    "entity: {}, {} of {} entities, {}, each of {}, {} of {} B at most a read, {partitions}, \
                     all compared{set}",
                    clients("client"),
                    output::counted(plan.requests.into(), "read"),
                    output::count(reads.entities),
                    if reads.cold { "cold" } else { "warm" },
                    output::counted(reads.records_per_entity.into(), "record"),
                    output::count(reads.max.into()),
                    plan.record_bytes,
                );
            }
        };
        format!(
            "{who}, {} of {} B a request, {partitions}, {} in all, all compared{}{set}",
            output::counted(plan.records.into(), "record"),
            plan.record_bytes,
            output::bytes(plan.bytes()),
            self.keys(),
        )
    }

    fn keys(&self) -> String {
        let keys = match self.plan.keys {
            Keys::None => String::new(),
            Keys::Hot => ", 1,000 hot keys".to_owned(),
            Keys::New => ", every record of a new key".to_owned(),
            Keys::OfClient(entities) => format!(
                ", {} entities{}",
                output::count(entities * u64::from(self.plan.appending())),
                match self.plan.load {
                    Load::Append {
                        expect_version: true,
                        ..
                    } => ", each at the version that is expected",
                    _ => "",
                }
            ),
        };
        match self.plan.preload {
            0 => keys,
            records => format!("{keys}, behind {} others", output::count(records)),
        }
    }

    /// The ratio that matters for the load: its figure beside the machine's limit.
    fn ratio(&self, medians: &Figures) -> (&'static str, f64) {
        if let Some(beside) = self.beside() {
            let other = beside.medians.megabytes_per_second;
            return (beside.what, medians.megabytes_per_second / other);
        }
        let of = |limit: Duration| medians.p50.as_secs_f64() / limit.as_secs_f64();
        match (self.plan.load, self.round_trip()) {
            (Load::Produce, _) => (
                "of the synced sequential write",
                medians.megabytes_per_second / self.machine.disk,
            ),
            (Load::Consume { .. } | Load::Members { .. }, _) => (
                "of one TCP stream",
                medians.megabytes_per_second / self.machine.loopback,
            ),
            (Load::Entity(_), Some(round_trip)) => {
                ("times one call that does next to nothing", of(round_trip))
            }
            (Load::Append { .. } | Load::Entity(_), _) => {
                ("times one write and sync", of(self.machine.small_sync))
            }
        }
    }

    /// The median over the runs of the time of an empty call, if it was measured.
    fn round_trip(&self) -> Option<Duration> {
        let measured: Vec<Duration> = self.runs.iter().filter_map(|run| run.round_trip).collect();
        if measured.is_empty() {
            None
        } else {
            Some(median(&measured, |round_trip| *round_trip))
        }
    }

    fn json(&self, figures: &[Figures], medians: &Figures) -> Value {
        let machine = self.machine;
        let mut json = json!({
            "record_bytes": self.plan.record_bytes,
            "records_per_request": self.plan.records,
            "producers": self.plan.clients,
            "tasks": self.plan.tasks,
            "partitions": self.plan.partitions,
            "records": self.runs.first().map_or(0, |run| run.records),
            "bytes": self.runs.first().map_or(0, |run| run.bytes),
            "compared": true,
            "preloaded": self.plan.preload,
            "settings": self.plan.settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
            "runs": figures.iter().map(Figures::json).collect::<Vec<_>>(),
            "median": medians.json(),
            "machine": {
                "synced_write_megabytes_per_second": machine.disk,
                "synced_direct_write_megabytes_per_second": machine.disk_direct,
                "write_and_sync_4k_p50_ms": machine.small_sync.as_secs_f64() * 1e3,
                "loopback_megabytes_per_second": machine.loopback,
                "call_p50_ms": self.round_trip().map(|round_trip| round_trip.as_secs_f64() * 1e3),
            },
            "ratio": { "of": self.ratio(medians).0, "value": self.ratio(medians).1 },
        });
        for (name, value) in self.json_load() {
            json[name] = value;
        }
        if let Some(beside) = self.beside() {
            json["beside"] = beside.json();
        }
        if let Some(costs) = self.costs() {
            json["turns"] = costs.json();
        }
        json
    }

    /// What commits cost, if they were made in turns within the runs.
    fn costs(&self) -> Option<Costs> {
        Costs::of(self.runs.iter().map(|run| &run.turns[..]))
    }

    /// The other load that the runs are compared with.
    fn beside(&self) -> Option<Beside> {
        let mut figures = Vec::new();
        for run in &self.runs {
            figures.push(Figures::of(run.beside.as_ref()?));
        }
        Some(Beside {
            what: match self.plan.load {
                Load::Members { .. } => "of as many plain reads that follow",
                _ => "of the same without commits",
            },
            medians: Figures::medians(&figures),
            figures,
        })
    }

    /// The figures that only some loads have.
    fn json_load(&self) -> Vec<(&'static str, Value)> {
        let keys = match self.plan.keys {
            Keys::None => json!("none"),
            Keys::Hot => json!("hot"),
            Keys::New => json!("new"),
            Keys::OfClient(entities) => json!({ "entities_of_client": entities }),
        };
        match self.plan.load {
            Load::Produce => vec![
                ("load", json!("produce")),
                ("keys", keys),
                ("groups", json!(self.plan.groups)),
            ],
            Load::Members { members } => {
                vec![("load", json!("consume")), ("members", json!(members))]
            }
            Load::Consume { consumers } => {
                vec![("load", json!("consume")), ("consumers", json!(consumers))]
            }
            Load::Append {
                expect_version,
                streamed,
            } => vec![
                ("load", json!("append")),
                ("keys", keys),
                ("expect_version", json!(expect_version)),
                ("streamed", json!(streamed)),
            ],
            Load::Entity(reads) => vec![
                ("load", json!("entity")),
                ("entities", json!(reads.entities)),
                ("records_per_entity", json!(reads.records_per_entity)),
                ("max", json!(reads.max)),
                ("cold", json!(reads.cold)),
            ],
        }
    }
}

impl Beside {
    fn print(&self, medians: &Figures) -> Result<(), Failure> {
        if let Some(commits) = medians.commits_per_second {
            output::line(format_args!("\ncommits: {commits:.0} a second"))?;
        }
        let other = &self.medians;
        for (who, cpu, other) in [
            ("\nthe broker", medians.broker_cpu, other.broker_cpu),
            ("its journal thread", medians.journal_cpu, other.journal_cpu),
            ("its threads of calls", medians.calls_cpu, other.calls_cpu),
        ] {
            if let (Some(cpu), Some(other)) = (cpu, other) {
                output::line(format_args!(
                    "{who} took {cpu:.0} ms of processors a GB, and {other:.0} beside it"
                ))?;
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "runs": self.figures.iter().map(Figures::json).collect::<Vec<_>>(),
            "median": self.medians.json(),
        })
    }
}

fn millis(duration: Duration) -> String {
    format!("{:.3}", duration.as_secs_f64() * 1e3)
}

fn megabytes(speed: f64) -> String {
    format!("{speed:.0} MB/s")
}
