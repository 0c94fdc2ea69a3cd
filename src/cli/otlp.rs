//! Sends traces to a collector of OpenTelemetry, as OTLP over gRPC. Calls are named and described
//! by the semantic conventions of RPC, version 1.45.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_otlp::{
    SpanExporter, WithExportConfig, WithTonicConfig, tonic_types::transport::ClientTlsConfig,
};
use opentelemetry_sdk::{
    Resource,
    resource::{EnvResourceDetector, TelemetryResourceDetector},
    trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks},
};
use tokio::{
    select,
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use super::{Failure, version};
use crate::{
    config::Telemetry,
    env::{Clock, Random},
    server::traces::{Ended, Parent, Part, Period, SENT_TOGETHER, Traces},
};

/// How long the collector may take for what it is sent at a time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long what has ended waits for more of it.
const GATHERS: Duration = Duration::from_secs(1);

/// How long a stop waits for the collector.
const DRAIN: Duration = Duration::from_secs(2);

/// The codes with which a server has failed, and not its caller.
const FAILURES: [&str; 6] = [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
];

/// Sends traces, until it is ended.
pub(super) struct Exporting {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Begins to send traces, if that is asked for. Needs the runtime.
pub(super) fn begin(
    telemetry: &Telemetry,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Option<(Traces, Exporting)>, Failure> {
    let Some(endpoint) = &telemetry.otlp_endpoint else {
        return Ok(None);
    };
    let exporter = exporter(endpoint).map_err(|problem| {
        Failure::Unusable(format!(
            "telemetry.otlp_endpoint: {endpoint} cannot be used: {problem}"
        ))
    })?;
    let (traces, ended) = Traces::new(clock, random, telemetry.sample_ratio);
    let (stop, told_to_stop) = oneshot::channel();
    let sender = Sender {
        exporter,
        endpoint: endpoint.clone(),
        scope: InstrumentationScope::builder("taffrail")
            .with_version(version::TEXT)
            .build(),
        traces: traces.clone(),
        is_failing: false,
    };
    let task = tokio::spawn(sender.run(ended, told_to_stop));
    info!("traces of calls are sent to {endpoint}");
    Ok(Some((traces, Exporting { stop, task })))
}

impl Exporting {
    /// Sends what there is, and no more, if the collector takes it soon.
    pub(super) async fn end(self) {
        // It may have ended by itself.
        self.stop.send(()).ok();
        timeout(DRAIN, self.task).await.ok();
    }
}

fn exporter(endpoint: &str) -> Result<SpanExporter, String> {
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .with_timeout(TIMEOUT);
    if endpoint.starts_with("https://") {
        builder = builder.with_tls_config(ClientTlsConfig::new().with_native_roots());
    }
    let mut exporter = builder.build().map_err(|error| error.to_string())?;
    // What the environment says, by OpenTelemetry's names, goes before this.
    let broker = Resource::builder_empty()
        .with_service_name("taffrail")
        .with_attribute(KeyValue::new("service.version", version::TEXT))
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_detector(Box::new(EnvResourceDetector::new()));
    exporter.set_resource(&broker.build());
    Ok(exporter)
}

/// What takes ended calls out of the queue.
struct Sender {
    exporter: SpanExporter,
    endpoint: String,
    scope: InstrumentationScope,
    traces: Traces,
    /// Whether the collector did not take what it was sent last.
    is_failing: bool,
}

impl Sender {
    async fn run(mut self, mut ended: mpsc::Receiver<Ended>, mut stop: oneshot::Receiver<()>) {
        let mut together = Vec::with_capacity(SENT_TOGETHER);
        let mut is_stopping = false;
        loop {
            select! {
                biased;
                _ = &mut stop, if !is_stopping => {
                    is_stopping = true;
                    // What is there is taken out, and nothing comes behind it.
                    ended.close();
                    continue;
                }
                count = ended.recv_many(&mut together, SENT_TOGETHER) => if count == 0 {
                    return;
                }
            }
            self.send(&mut together).await;
            if !is_stopping && ended.len() < SENT_TOGETHER {
                select! {
                    () = sleep(GATHERS) => {}
                    _ = &mut stop => {
                        is_stopping = true;
                        ended.close();
                    }
                }
            }
        }
    }

    async fn send(&mut self, together: &mut Vec<Ended>) {
        let count = together.len() as u64;
        let mut spans = Vec::with_capacity(together.len());
        for ended in together.drain(..) {
            self.add_spans(&mut spans, ended);
        }
        let sent = match timeout(TIMEOUT, self.exporter.export(spans)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "it has not answered within {} s",
                TIMEOUT.as_secs()
            )),
        };
        let endpoint = &self.endpoint;
        match sent {
            Ok(()) => {
                self.traces.note_sent(count);
                if std::mem::take(&mut self.is_failing) {
                    info!("the collector at {endpoint} takes traces again");
                }
            }
            Err(problem) => {
                self.traces.note_lost(count);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(
                        "the collector at {endpoint} does not take traces: {problem}; they are \
                        lost until it does (taffrail_traces_lost_total)"
                    );
                }
            }
        }
    }

    /// The span of what has ended, and those of its parts.
    fn add_spans(&self, spans: &mut Vec<SpanData>, ended: Ended) {
        let above = Parent {
            span: ended.span,
            is_remote: false,
        };
        for Part { span, name, period } in &ended.parts {
            let ids = (ended.trace, *span, Some(above));
            spans.push(self.span(ids, (*name).to_owned(), *period));
        }
        let ids = (ended.trace, ended.span, ended.parent);
        let mut span = self.span(ids, ended.name.clone(), ended.period);
        if ended.is_call {
            span.span_kind = SpanKind::Server;
        }
        if ended.code.is_some_and(|code| FAILURES.contains(&code)) {
            span.status = Status::error("");
        }
        span.attributes = attributes(ended);
        spans.push(span);
    }

    fn span(
        &self,
        (trace, span, parent): (u128, u64, Option<Parent>),
        name: String,
        period: Period,
    ) -> SpanData {
        let id = |span: u64| SpanId::from_bytes(span.to_be_bytes());
        let trace = TraceId::from_bytes(trace.to_be_bytes());
        let flags = TraceFlags::SAMPLED;
        SpanData {
            span_context: SpanContext::new(trace, id(span), flags, false, TraceState::NONE),
            parent_span_id: parent.map_or(SpanId::INVALID, |parent| id(parent.span)),
            parent_span_is_remote: parent.is_some_and(|parent| parent.is_remote),
            span_kind: SpanKind::Internal,
            name: name.into(),
            start_time: SystemTime::UNIX_EPOCH + Duration::from_nanos(period.start_ns),
            end_time: SystemTime::UNIX_EPOCH + Duration::from_nanos(period.end_ns),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: self.scope.clone(),
        }
    }
}

fn attributes(ended: Ended) -> Vec<KeyValue> {
    let mut attributes = Vec::new();
    if ended.is_call {
        attributes.push(KeyValue::new("rpc.system.name", "grpc"));
        attributes.push(KeyValue::new("rpc.method", ended.name));
    }
    if let Some(code) = ended.code {
        attributes.push(KeyValue::new("rpc.response.status_code", code));
        if code != "OK" {
            attributes.push(KeyValue::new("error.type", code));
        }
    }
    let facts = ended.facts;
    for (key, value) in [
        ("taffrail.topic", facts.topic),
        ("taffrail.group", facts.group),
        ("taffrail.principal", facts.principal),
    ] {
        if let Some(value) = value {
            attributes.push(KeyValue::new(key, value));
        }
    }
    if let Some((bytes, records)) = facts.appended {
        for (key, number) in [
            ("taffrail.append.bytes", bytes),
            ("taffrail.append.records", records),
        ] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new(key, number));
        }
    }
    attributes
}
