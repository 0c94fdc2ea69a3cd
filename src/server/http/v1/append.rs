//! `POST /v1/topics/TOPIC/records`.

use std::{future::poll_fn, pin::Pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};
use hyper::body::Incoming;
use serde::Serialize;
use tonic::{Code, Status};

use super::{
    super::{answer::Answer, client::Client},
    Api, UnderWay,
    json::{Expected, Records},
    problem::Problem,
    query::{Query, malformed},
    routes,
};
use crate::{
    broker::Error,
    budget::{Held, Holder},
    proto::{
        self, AppendResponse, Condition, KeyCondition, condition::About, key_condition::State, wire,
    },
    server::{
        blocking::blocking,
        intake::{Intake, Late},
        limits::{HTTP_BODY_BYTES, JSON_TIMES},
        status,
    },
};

/// How much memory is counted for a body at first, and in each further step.
const COUNTED_AT_A_TIME: usize = 64 << 10;

/// The bytes of a number in JSON, with a comma.
const NUMBER_BYTES: usize = 21;

/// The bytes of one range of records in JSON, without the versions.
const RANGE_BYTES: usize = 160;

/// The format of the records in a request.
#[derive(Clone, Copy)]
enum Form {
    Lines,
    Json,
}

#[derive(Serialize)]
struct Appended<'a> {
    records: u64,
    ranges: Vec<Range<'a>>,
}

/// Records that were stored one behind the other.
#[derive(Serialize)]
struct Range<'a> {
    partition: u32,
    first_offset: u64,
    count: u32,
    append_time_ms: i64,
    versions: &'a [u64],
}

pub(super) async fn append(
    api: &Arc<Api>,
    topic: String,
    request: Request<Incoming>,
    client: &Arc<Client>,
) -> Result<Response<Answer>, Problem> {
    let query = Query::of(request.uri().query(), &["partition"])?;
    let partition = query.number("partition")?;
    let form = form(request.headers())?;
    is_plain(request.headers())?;
    let (parts, body) = request.into_parts();
    let peer = client.peer(api);
    // A caller that may not append, or has used up a quota, is refused before the body is received.
    // While a body is received, it takes no place of a call.
    api.identify.permit_append(&parts.headers, &peer, &topic)?;
    let (text, held) = gather(&api.intake, &peer.requests, body).await?;
    let records = blocking(|| match form {
        Form::Lines => Records::of_lines(&text),
        Form::Json => Records::of_json(&text),
    });
    drop(text);
    let Records {
        run, conditions, ..
    } = records.map_err(malformed)?;
    let batch = wire::AppendBatch {
        topic: topic.clone(),
        partition,
        ..wire::AppendBatch::default()
    };
    let rest = wire::AppendRequest {
        conditions: conditions
            .iter()
            .map(|one| condition(&topic, one))
            .collect(),
        return_versions: true,
        ..wire::AppendRequest::default()
    };
    let message = wire::append_request(&batch, run.into(), &rest).into();
    // From here on the memory is counted as for any request.
    drop(held);
    let call = api.begin(client)?;
    let path = "/taffrail.v1.Log/Append";
    let appended = api.ask(path, message, (&parts.headers, &call)).await;
    let appended = appended.map_err(|status| Problem::from(status).about(named(conditions)))?;
    Ok(answer(&appended, &peer.reads, Arc::clone(&call))?)
}

/// The format of the records in a request, by its content type.
///
/// Browsers let a web page send a few content types to other sites without asking these:
/// `text/plain` and those of forms. None of them is accepted here.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default();
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let is_encoded = headers.contains_key(header::CONTENT_ENCODING);
    match essence.to_ascii_lowercase().as_str() {
        "application/x-ndjson" if !is_encoded => Ok(Form::Lines),
        "application/json" if !is_encoded => Ok(Form::Json),
        _ => {
            let text = format!(
                "records come as application/x-ndjson or application/json, uncompressed, not as \
                 {content_type:?}; curl says so with --json, or with --data-binary and \
                 -H 'content-type: application/x-ndjson'"
            );
            let what = ("UNSUPPORTED_MEDIA_TYPE", text);
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            Err(Problem::of_http(status, Code::InvalidArgument, what, &[]))
        }
    }
}

/// Refuses a body with a content encoding, which would be taken for the records themselves.
fn is_plain(headers: &HeaderMap) -> Result<(), Problem> {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_plain = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"chunked");
    if encodings.all(is_plain) {
        return Ok(());
    }
    let text = "of the transfer encodings only chunked is understood, by itself";
    let what = ("UNSUPPORTED_TRANSFER_ENCODING", text.to_owned());
    let status = StatusCode::NOT_IMPLEMENTED;
    Err(Problem::of_http(status, Code::Unimplemented, what, &[]))
}

/// Receives all of a request's body, and counts the memory for what will be made of it. The count
/// grows with the bytes received: a length that is only announced takes no memory from others.
async fn gather(
    intake: &Intake,
    memory: &Holder,
    mut body: Incoming,
) -> Result<(Vec<u8>, Held), Status> {
    let declared = body.size_hint().exact();
    let declared = declared.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    let most = declared.unwrap_or(HTTP_BODY_BYTES);
    let within = |bytes: usize| match bytes > HTTP_BODY_BYTES {
        true => Err(status::too_large(bytes, HTTP_BODY_BYTES)),
        false => Ok(()),
    };
    within(most)?;
    let room = most.min(COUNTED_AT_A_TIME);
    let held = memory.take(room * JSON_TIMES);
    let mut held = held.map_err(|_| intake.refused())?;
    let mut text = Vec::with_capacity(room);
    let late = Late::default();
    loop {
        late.await_more(text.len(), intake);
        let frame = tokio::select! {
            frame = next_of(&mut body) => frame,
            () = late.passed() => return Err(status::request_stalled()),
        };
        let Some(frame) = frame else {
            return Ok((text, held));
        };
        let frame = frame.map_err(|error| Error::MalformedRequest {
            reason: format!("the body of the request is broken: {error}"),
        })?;
        let data = frame.into_data().unwrap_or_default();
        let len = text.len() + data.len();
        within(len)?;
        if len > text.capacity() {
            let more = len
                .next_multiple_of(COUNTED_AT_A_TIME)
                .max(2 * text.capacity());
            let more = more.min(most);
            let grown = held.grow(more * JSON_TIMES - held.bytes());
            grown.map_err(|_| intake.refused())?;
            text.reserve_exact(more - text.len());
        }
        text.extend_from_slice(&data);
    }
}

async fn next_of(body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await
}

fn condition(topic: &str, expected: &Expected) -> Condition {
    Condition {
        topic: topic.to_owned(),
        about: Some(About::Key(KeyCondition {
            key: expected.key.clone(),
            state: Some(State::Version(expected.version)),
        })),
        ..Condition::default()
    }
}

/// The records and keys of the conditions, for error messages.
fn named(conditions: Vec<Expected>) -> Vec<(usize, String)> {
    let name = |one: Expected| (one.record, String::from_utf8_lossy(&one.key).into_owned());
    conditions.into_iter().map(name).collect()
}

fn answer(
    appended: &AppendResponse,
    memory: &Holder,
    call: Arc<UnderWay>,
) -> Result<Response<Answer>, Error> {
    let mut ranges = Vec::new();
    for batch in &appended.batches {
        ranges.extend(batch.ranges.iter().map(range));
    }
    let versions: usize = ranges.iter().map(|range| range.versions.len()).sum();
    let bytes = RANGE_BYTES * (ranges.len() + 1) + NUMBER_BYTES * versions;
    // If the client's share is used up, the answer is counted beyond it: the append is stored, and
    // its client must be told.
    let held = memory
        .take(bytes)
        .or_else(|_| memory.take_beyond_share(bytes));
    let mut held = held.map_err(|_| Error::OutcomeUnknown)?;
    let text = serde_json::to_string(&Appended {
        records: ranges.iter().map(|range| u64::from(range.count)).sum(),
        ranges,
    });
    let text = text.unwrap_or_default();
    held.shrink_to(text.len());
    Ok(routes::json(text, held, call))
}

fn range(range: &proto::AppendedRange) -> Range<'_> {
    Range {
        partition: range.partition,
        first_offset: range.first_offset,
        count: range.count,
        append_time_ms: range.append_time_ms,
        versions: &range.versions,
    }
}
