//! The metrics of a broker at one moment.

use std::sync::Arc;

use crate::{
    broker::{Broker, Error},
    budget::Budget,
    env::Process,
    metrics::{Metric, Page},
    server::{
        auth::Auth,
        limits::{
            ADMIN_CONNECTIONS, HTTP_CONNECTIONS, MEASURED_IN_GROUPS, MEASURED_PARTITIONS,
            METRIC_BYTES, Measured,
        },
        quotas::{Quota, Quotas},
        reads::Reads,
        tally::{Tallies, Tally},
        traces::Traces,
    },
    tls::Acceptor,
    types::limits::{MAX_PARTITIONS, MAX_PRODUCERS},
};

/// The memory for a page of metrics, without those of each topic and each group.
const OTHERS_BYTES: usize = 256 << 10;

/// The most metrics that a topic, a group or a partition has.
const METRICS_OF_EACH: usize = 7;

/// Where `/metrics` gets its figures from.
pub(in crate::server) struct Sources {
    pub(in crate::server) broker: Arc<Broker>,
    pub(in crate::server) tallies: Tallies,
    pub(in crate::server) reads: Reads,
    /// The connection limit of the port for calls.
    pub(in crate::server) max_connections: usize,
    pub(in crate::server) measured: Measured,
    pub(in crate::server) auth: Arc<Auth>,
    /// None where no calls are traced.
    pub(in crate::server) traces: Option<Traces>,
    /// The limit of calls over HTTP at a time.
    pub(in crate::server) http_calls: usize,
    /// The TLS of the port for calls, if it speaks TLS.
    pub(in crate::server) tls: Option<Arc<Acceptor>>,
}

impl Sources {
    /// Why storage has failed, if it has.
    pub(super) fn failure(&self) -> Option<String> {
        self.broker.failure()
    }

    pub(super) fn budget(&self) -> &Budget {
        self.broker.budget()
    }
}

/// The most memory that a page takes while it is made, its text included.
pub(super) fn page_bytes(sources: &Sources) -> usize {
    let Measured { topics, groups } = sources.measured;
    OTHERS_BYTES + METRICS_OF_EACH * METRIC_BYTES * (topics + groups)
}

/// The most memory that a page about the partitions of one topic takes while it is made, its text
/// included.
pub(super) const fn partitions_bytes() -> usize {
    OTHERS_BYTES + METRICS_OF_EACH * METRIC_BYTES * MEASURED_PARTITIONS
}

pub(super) fn page(sources: &Sources, http: &Tally) -> Page {
    let mut page = Page::new();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.set_for(Metric::Build, &version, 1_u64);
    connections(&mut page, sources, http);
    memory(&mut page, sources.budget());
    if let Some(tls) = &sources.tls {
        let end_s = tls.not_after_ms() as f64 / 1e3;
        page.set(Metric::CertificateEnd, end_s);
    }
    quotas(&mut page, sources.auth.quotas());
    page.set(Metric::AuditRecords, sources.auth.trail().written.get());
    page.set(Metric::AuditLost, sources.auth.trail().lost.get());
    let traces = sources.traces.as_ref();
    let [sent, lost] = traces.map_or([0, 0], Traces::counts);
    page.set(Metric::TracesSent, sent);
    page.set(Metric::TracesLost, lost);
    broker(&mut page, &sources.broker);
    topics(&mut page, sources);
    groups(&mut page, sources);
    reads(&mut page, &sources.reads);
    sources.broker.counts().show(&mut page);
    process(&mut page);
    page
}

fn connections(page: &mut Page, sources: &Sources, http: &Tally) {
    let tallies = &sources.tallies;
    for (listener, tally, limit) in [
        ("grpc", &*tallies.connections, sources.max_connections),
        ("admin", &*tallies.administrators, ADMIN_CONNECTIONS),
        ("http", http, HTTP_CONNECTIONS + sources.http_calls),
    ] {
        let labels = [("listener", listener)];
        page.set_for(Metric::Connections, &labels, tally.now());
        page.set_for(Metric::ConnectionsLimit, &labels, limit);
    }
    page.set(Metric::CallsOpen, tallies.calls.now());
    for (code, count) in tallies.answers.counts() {
        page.set_for(Metric::Calls, &[("code", code)], count);
    }
    for (reason, count) in &*tallies.answers.reasons() {
        page.set_for(Metric::CallRefusals, &[("reason", reason.as_str())], *count);
    }
}

fn quotas(page: &mut Page, quotas: &Quotas) {
    page.set(Metric::QuotaPrincipals, quotas.principals());
    for quota in Quota::ALL {
        let counts = quotas.counts(quota);
        let labels = [("quota", quota.name())];
        page.set_for(Metric::QuotaRefusals, &labels, counts.refusals.get());
        if quota.is_rate() {
            page.set_for(Metric::QuotaWaits, &labels, counts.waits.get());
            let waited_s = counts.waited_ms.get() as f64 / 1e3;
            page.set_for(Metric::QuotaWait, &labels, waited_s);
        }
    }
}

fn memory(page: &mut Page, budget: &Budget) {
    for part in budget.parts() {
        let labels = [("part", part.name().as_str())];
        page.set_for(Metric::MemoryUsed, &labels, part.used());
        page.set_for(Metric::MemoryPeak, &labels, part.most());
        page.set_for(Metric::MemoryLimit, &labels, part.bound());
    }
}

fn broker(page: &mut Page, broker: &Broker) {
    let status = broker.status();
    page.set(Metric::Uptime, status.uptime.as_secs_f64());
    page.set(Metric::StorageFailed, status.failure.is_some());
    page.set(Metric::Topics, status.topics);
    page.set(Metric::Partitions, status.partitions);
    page.set(Metric::PartitionsLimit, MAX_PARTITIONS);
    page.set(Metric::Producers, status.producers);
    page.set(Metric::ProducersLimit, MAX_PRODUCERS);
    page.set_known(Metric::DiskFree, status.disk_free);
    page.set(Metric::DiskReserve, status.disk_reserve);
    page.set(Metric::DiskFull, status.shortage.is_some());
    let (files, limit) = status.journal_files;
    page.set(Metric::JournalFiles, files);
    page.set(Metric::JournalFilesLimit, limit);
    page.set(Metric::CheckpointAge, broker.checkpoint_age().as_secs_f64());
    page.set(Metric::BackupAge, broker.backup_age().as_secs_f64());
    let kept = status.kept_journal;
    page.set(Metric::BackupJournal, kept.bytes);
    page.set(Metric::BackupJournalLimit, kept.limit);
    page.set_known(
        Metric::BackupJournalFrom,
        kept.commits.map(|(from, _)| from),
    );
    page.set_known(Metric::BackupJournalTo, kept.commits.map(|(_, to)| to));
    page.set(Metric::CompactionsHindered, status.hindered_compactions);
}

fn topics(page: &mut Page, sources: &Sources) {
    let measured = sources.broker.measure_topics(sources.measured.topics);
    page.set(Metric::Stored, measured.all.bytes);
    page.set(Metric::Segments, measured.all.segments);
    page.set(Metric::DamagedRanges, measured.all.damaged);
    page.set_for(Metric::Omitted, &[("what", "topics")], measured.omitted);
    for (name, extent) in &measured.first {
        let labels = [("topic", name.as_str())];
        page.set_for(Metric::TopicPartitions, &labels, extent.partitions);
        page.set_for(Metric::TopicStart, &labels, extent.start);
        page.set_for(Metric::TopicEnd, &labels, extent.end);
        page.set_for(Metric::TopicStored, &labels, extent.bytes);
        page.set_for(Metric::TopicSegments, &labels, extent.segments);
        page.set_for(Metric::TopicDamaged, &labels, extent.damaged);
    }
}

/// The page about the partitions of one topic.
pub(super) fn partitions(sources: &Sources, topic: &str) -> Result<Page, Error> {
    let mut page = Page::new();
    let measured = sources
        .broker
        .measure_partitions(topic, MEASURED_PARTITIONS)?;
    for (partition, extent) in measured {
        let partition = partition.to_string();
        let labels = [("topic", topic), ("partition", &partition)];
        page.set_for(Metric::PartitionStart, &labels, extent.start);
        page.set_for(Metric::PartitionEnd, &labels, extent.end);
        page.set_for(Metric::PartitionStored, &labels, extent.bytes);
        page.set_for(Metric::PartitionSegments, &labels, extent.segments);
    }
    Ok(page)
}

fn groups(page: &mut Page, sources: &Sources) {
    let most = sources.measured.groups;
    let (measured, omitted) = sources.broker.measure_groups(most, MEASURED_IN_GROUPS);
    page.set_for(Metric::Omitted, &[("what", "groups")], omitted);
    for group in &measured {
        let labels = [("group", group.name.as_str())];
        page.set_for(Metric::GroupMembers, &labels, group.members);
        page.set_for(Metric::GroupPartitions, &labels, group.partitions);
        page.set_for(Metric::GroupLagRecords, &labels, group.lag);
        page.set_for(Metric::GroupLag, &labels, group.age.as_secs_f64());
        page.set_for(Metric::GroupStalled, &labels, group.stalled);
        if let Some(lost_in) = group.lost_in {
            page.set_for(Metric::GroupLoss, &labels, lost_in.as_secs_f64());
        }
    }
}

fn reads(page: &mut Page, reads: &Reads) {
    let counted = reads.counted();
    page.set(Metric::Reads, counted.begun.get());
    page.set(Metric::ReadsOpen, counted.open.now());
    page.set(Metric::ReadBytes, counted.bytes.get());
}

fn process(page: &mut Page) {
    let process = Process::look();
    page.set_known(Metric::ProcessResident, process.resident_bytes);
    let cpu = process.cpu_time.map(|time| time.as_secs_f64());
    page.set_known(Metric::ProcessCpu, cpu);
    page.set_known(Metric::ProcessOpenFiles, process.open_files);
    page.set_known(Metric::ProcessMaxFiles, process.open_files_limit);
}
