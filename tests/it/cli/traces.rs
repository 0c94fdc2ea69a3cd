//! Traces, as a collector of OpenTelemetry gets them from the real binary.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind},
};
use prost::Message;
use taffrail::{
    client::{Batch, Client, Record},
    proto::{
        DescribeTopicRequest,
        log_client::LogClient,
        topics_client::TopicsClient,
        wire::{AppendBatch, AppendRequest},
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Server},
};

use super::{Serve, assert_does_not_start, free_port, seen, serve, temporary};

/// More than any of these tests takes.
const PATIENCE: Duration = Duration::from_secs(60);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// A collector that keeps everything. It needs a thread beside the test's own, which waits for
/// processes.
struct Collector {
    endpoint: String,
    requests: mpsc::Receiver<ExportTraceServiceRequest>,
    spans: Vec<Span>,
    /// What the last request says of the broker.
    resource: BTreeMap<String, String>,
}

struct Receiver(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).await.ok();
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let address = listener.local_addr().expect("it is bound");
        let (sender, requests) = mpsc::channel(1_000);
        let server = Server::builder().add_service(TraceServiceServer::new(Receiver(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            endpoint: format!("http://{address}"),
            requests,
            spans: Vec::new(),
            resource: BTreeMap::new(),
        }
    }

    /// Waits until there is a span of this name in a trace, or in any.
    async fn wait_for(&mut self, name: &str, trace: Option<&str>) -> Span {
        let is_it = |span: &Span| {
            span.name == name && trace.is_none_or(|trace| hex(&span.trace_id) == trace)
        };
        loop {
            if let Some(found) = self.spans.iter().find(|span| is_it(span)) {
                return found.clone();
            }
            let request = tokio::time::timeout(PATIENCE, self.requests.recv()).await;
            let request = request.unwrap_or_else(|_| panic!("no {name} among {:?}", self.spans));
            for of_resource in request.expect("it serves").resource_spans {
                self.resource = texts(&of_resource.resource.unwrap_or_default().attributes);
                for of_scope in of_resource.scope_spans {
                    self.spans.extend(of_scope.spans);
                }
            }
        }
    }

    /// The spans right below this one.
    fn below(&self, parent: &Span) -> Vec<&Span> {
        let mut found = Vec::new();
        for span in &self.spans {
            if span.parent_span_id == parent.span_id {
                found.push(span);
            }
        }
        found
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let mut texts = BTreeMap::new();
    for KeyValue { key, value, .. } in attributes {
        let value = value.as_ref().and_then(|value| value.value.as_ref());
        let text = match value {
            Some(Value::StringValue(text)) => text.clone(),
            Some(Value::IntValue(number)) => number.to_string(),
            other => format!("{other:?}"),
        };
        texts.insert(key.clone(), text);
    }
    texts
}

fn tracing_broker(data: &Path, endpoint: &str, ratio: &str) -> Command {
    let mut command = serve(data, &free_port());
    command.env("TAFFRAIL_TELEMETRY_OTLP_ENDPOINT", endpoint);
    command.env("TAFFRAIL_TELEMETRY_SAMPLE_RATIO", ratio);
    command.env("OTEL_RESOURCE_ATTRIBUTES", "service.name=orders");
    command
}

fn with_trace<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = traceparent.parse().expect("it is ASCII");
    request.metadata_mut().insert("traceparent", value);
    request
}

fn append() -> AppendRequest {
    let record = taffrail::proto::Record {
        value: Some(Bytes::from_static(b"one")),
        ..Default::default()
    };
    let batch = AppendBatch {
        topic: "t".to_owned(),
        records: vec![record.encode_to_vec().into()],
        ..Default::default()
    };
    AppendRequest {
        batches: vec![batch.encode_to_vec().into()],
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_finds_its_call_in_its_trace_with_what_it_consists_of() {
    let mut collector = Collector::start().await;
    let data = temporary();
    let broker = Serve::spawn(&mut tracing_broker(data.path(), &collector.endpoint, "0"));
    broker.succeed(&["topic", "create", "t"], b"");
    let channel = Channel::from_shared(broker.url.clone()).expect("it is a URL");
    let channel = channel.connect().await.expect("it listens");
    let mut log = LogClient::new(channel.clone());
    let untraced = format!("00-{}-{SPAN}-00", TRACE.replace('0', "1"));
    let traced = format!("00-{TRACE}-{SPAN}-01");
    for traceparent in [&untraced, &traced] {
        let request = with_trace(append(), traceparent);
        log.append(request).await.expect("it is stored");
    }
    let call = collector.wait_for("taffrail.v1.Log/Append", None).await;
    assert_eq!(
        (hex(&call.trace_id), hex(&call.parent_span_id)),
        (TRACE.into(), SPAN.into())
    );
    assert_eq!(call.kind, SpanKind::Server as i32);
    let attributes = texts(&call.attributes);
    for (key, value) in [
        ("rpc.system.name", "grpc"),
        ("rpc.method", "taffrail.v1.Log/Append"),
        ("rpc.response.status_code", "OK"),
        ("taffrail.topic", "t"),
        ("taffrail.principal", "anonymous"),
        ("taffrail.append.records", "1"),
    ] {
        assert_eq!(
            attributes.get(key).map(String::as_str),
            Some(value),
            "{key}"
        );
    }
    let below: Vec<&str> = collector
        .below(&call)
        .iter()
        .map(|span| &*span.name)
        .collect();
    let parts = [
        "wait for room",
        "queue",
        "journal write",
        "journal sync",
        "apply",
    ];
    assert_eq!(below, parts);
    for part in collector.below(&call) {
        assert!(
            call.start_time_unix_nano <= part.start_time_unix_nano,
            "{part:?}"
        );
        assert!(
            part.start_time_unix_nano <= part.end_time_unix_nano,
            "{part:?}"
        );
        assert!(
            part.end_time_unix_nano <= call.end_time_unix_nano,
            "{part:?}"
        );
    }
    assert_eq!(collector.resource["service.name"], "orders");

    let request = DescribeTopicRequest {
        name: "nothing".to_owned(),
    };
    let missing = TopicsClient::new(channel)
        .describe(with_trace(request, &traced))
        .await;
    missing.expect_err("there is no such topic");
    let call = collector
        .wait_for("taffrail.v1.Topics/Describe", Some(TRACE))
        .await;
    assert_eq!(texts(&call.attributes)["error.type"], "NOT_FOUND");
    assert_eq!(
        call.status.unwrap_or_default().code,
        0,
        "the broker has not failed"
    );

    let (_, metrics) = seen::get(&seen::address(&broker), "/metrics", "*/*");
    assert!(
        metrics.contains("\ntaffrail_traces_lost_total 0\n"),
        "{metrics}"
    );
    assert_eq!(broker.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_trace_begin_one_by_share_and_so_do_appends_of_streams() {
    let mut collector = Collector::start().await;
    let data = temporary();
    let broker = Serve::spawn(&mut tracing_broker(data.path(), &collector.endpoint, "1"));
    broker.succeed(&["topic", "create", "t"], b"");
    let client = Client::connect(&broker.url).await.expect("it listens");
    let batch = Batch::of("t", [Record::new().value(b"one")]);
    client.append(batch).await.expect("it is stored");
    let append = collector.wait_for("append", None).await;
    assert_eq!(texts(&append.attributes)["taffrail.topic"], "t");
    assert_eq!(collector.below(&append).len(), 5);
    // It ends with its stream, which it is part of.
    drop(client);
    let stream = collector
        .wait_for("taffrail.v1.Log/AppendStream", None)
        .await;
    assert_eq!(
        (stream.span_id, stream.trace_id),
        (append.parent_span_id, append.trace_id)
    );
    collector.wait_for("taffrail.v1.Topics/Create", None).await;
    // What is there when it stops is sent.
    broker.succeed(&["topic", "delete", "t"], b"");
    assert_eq!(broker.stop(), Some(0));
    collector.wait_for("taffrail.v1.Topics/Delete", None).await;
}

#[test]
fn nothing_waits_for_a_collector_that_is_not_there_and_what_is_lost_is_counted() {
    let data = temporary();
    // Nobody listens there.
    let mut command = tracing_broker(data.path(), "http://127.0.0.1:1", "1");
    let broker = Serve::spawn(&mut command);
    broker.succeed(&["topic", "create", "t"], b"");
    let since = Instant::now();
    loop {
        broker.succeed(&["produce", "t"], b"one\n");
        let (_, metrics) = seen::get(&seen::address(&broker), "/metrics", "*/*");
        let lost = metrics
            .lines()
            .find_map(|line| line.strip_prefix("taffrail_traces_lost_total "));
        if lost.expect("it is there") != "0" {
            assert!(
                metrics.contains("\ntaffrail_traces_sent_total 0\n"),
                "{metrics}"
            );
            break;
        }
        assert!(since.elapsed() < PATIENCE, "nothing is counted");
    }
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_collector_that_can_be_none_is_refused_at_the_start() {
    let dir = temporary();
    let config = dir.path().join("taffrail.toml");
    for (key, value, says) in [
        (
            "otlp_endpoint",
            "\"collector:4317\"",
            "it is the URL of a collector",
        ),
        (
            "otlp_endpoint",
            "\"http://collector\"",
            "with http:// or https://, a host and a port",
        ),
        (
            "otlp_endpoint",
            "\"http://a b:4317\"",
            "it is the URL of a collector",
        ),
        ("sample_ratio", "1.5", "it is a number from 0 to 1"),
    ] {
        fs::write(&config, format!("[telemetry]\n{key} = {value}\n")).expect("there is room");
        let mut command = serve(&dir.path().join("data"), &free_port());
        let place = format!("taffrail.toml, line 2: telemetry.{key}");
        assert_does_not_start(command.arg("--config").arg(&config), &[&place, says]);
    }
}
