//! `GET /v1/topics/TOPIC/records` and `GET /v1/topics/TOPIC/keys/KEY`.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::{
    super::answer::Answer,
    Api, UnderWay,
    events::{self, Places, parse_id, parse_places},
    problem::Problem,
    query::{Query, malformed, number},
    reading::{Kind, Reading},
};
use crate::{
    proto::{
        Edge, Filter, ListOffsetsRequest, ListOffsetsResponse, PartitionPosition, Position,
        ReadKeyRequest, ReadRequest, position::At, wire,
    },
    server::{answers::Parts, limits::EVENTS_RETRY_MS},
    types::limits::CLIENT_RESPONSE_BYTES,
};

const LINES: &str = "application/x-ndjson";
pub(super) const EVENTS: &str = "text/event-stream";

/// The query parameters for the records of a topic.
const OF_READS: [&str; 7] = [
    "from",
    "from_time_ms",
    "partition",
    "follow",
    "max",
    "key",
    "type",
];

/// The query parameters for the records of a key.
const OF_KEYS: [&str; 3] = ["from_version", "backward", "max"];

pub(super) async fn read(
    api: &Arc<Api>,
    topic: String,
    request: &Request<Incoming>,
    call: Arc<UnderWay>,
) -> Result<Response<Answer>, Problem> {
    let query = Query::of(request.uri().query(), &OF_READS)?;
    let headers = request.headers();
    let mut message = read_request(topic, &query)?;
    let mut places = None;
    if accepts_events(headers) {
        let found = places_of(api, &message, (headers, &call)).await?;
        message.partitions = found.positions();
        message.topic_id.clone_from(&found.topic_id);
        places = Some(found);
    }
    let heartbeats = message.follow;
    let message = [wire::encode(&message)].into();
    let parts = api
        .read("/taffrail.v1.Log/Read", message, (headers, &call))
        .await?;
    Ok(follow(
        api,
        parts,
        Kind::Records { places, heartbeats },
        call,
    ))
}

pub(super) async fn read_key(
    api: &Arc<Api>,
    topic: String,
    key: Vec<u8>,
    request: &Request<Incoming>,
    call: Arc<UnderWay>,
) -> Result<Response<Answer>, Problem> {
    let query = Query::of(request.uri().query(), &OF_KEYS)?;
    let message = ReadKeyRequest {
        topic,
        key: key.into(),
        from_version: query.number("from_version")?.unwrap_or_default(),
        backward: query.flag("backward")?,
        max_records: most(&query)?,
        max_response_bytes: CLIENT_RESPONSE_BYTES,
    };
    let message = [wire::encode(&message)].into();
    let path = "/taffrail.v1.Entities/ReadKey";
    let parts = api.read(path, message, (request.headers(), &call)).await?;
    Ok(follow(api, parts, Kind::Entity, call))
}

/// Responds with the text of a read, as it is made.
fn follow(api: &Arc<Api>, parts: Parts, kind: Kind, call: Arc<UnderWay>) -> Response<Answer> {
    // Room for one piece, so that the next one is made while it waits.
    let (pieces, made) = mpsc::channel(1);
    let content_type = kind.content_type();
    let reading = Reading::new(parts, kind, pieces, Arc::clone(&call));
    tokio::spawn(reading.run(api.stopping.stopped(), api.is_cut.stopped()));
    let mut response = Response::new(Answer::following(made, call));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies would buffer records until they have many.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

impl Kind {
    fn content_type(&self) -> &'static str {
        match self {
            Self::Records {
                places: Some(_), ..
            } => EVENTS,
            _ => LINES,
        }
    }
}

/// The first lines of a stream of events: after how long to connect again, and where to resume if
/// no record comes before.
pub(super) fn opening(places: &Places) -> Bytes {
    format!("retry: {EVENTS_RETRY_MS}\n{}\n", places.id_line()).into()
}

pub(super) fn accepts_events(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|value| value.contains(EVENTS)))
}

fn most(query: &Query) -> Result<u64, Problem> {
    match query.number("max")? {
        Some(0) => Err(malformed("max is 0; leave it out to read all")),
        most => Ok(most.unwrap_or_default()),
    }
}

fn read_request(topic: String, query: &Query) -> Result<ReadRequest, Problem> {
    let mut partitions = Vec::new();
    for one in query.all("partition") {
        partitions.push(PartitionPosition {
            partition: number("partition", one)?,
            position: None,
        });
    }
    let mut request = ReadRequest {
        topic,
        partitions,
        follow: query.flag("follow")?,
        max_records: most(query)?,
        max_response_bytes: CLIENT_RESPONSE_BYTES,
        ..ReadRequest::default()
    };
    start(&mut request, query)?;
    let filter = Filter {
        keys: query
            .all("key")
            .map(|key| Bytes::copy_from_slice(key.as_bytes()))
            .collect(),
        types: query.all("type").map(str::to_owned).collect(),
    };
    if !filter.keys.is_empty() || !filter.types.is_empty() {
        request.filter = Some(filter);
    }
    Ok(request)
}

/// Sets where to start: in all partitions, or only in those that are named, and then no others are
/// read.
fn start(request: &mut ReadRequest, query: &Query) -> Result<(), Problem> {
    let at = match (query.one("from")?, query.number("from_time_ms")?) {
        (None, None) => return Ok(()),
        (None, Some(time)) => At::TimestampMs(time),
        (Some("earliest"), None) => At::Edge(Edge::Earliest as i32),
        (Some("latest"), None) => At::Edge(Edge::Latest as i32),
        (Some(from), None) if from.contains(':') => {
            let places = parse_places(from).filter(|_| request.partitions.is_empty());
            let places = places.ok_or_else(|| malformed(not_a_place(from)))?;
            for (partition, offset) in places {
                request.partitions.push(events::position(partition, offset));
            }
            return Ok(());
        }
        (Some(from), None) => At::Offset(from.parse().map_err(|_| malformed(not_a_place(from)))?),
        (Some(_), Some(_)) => return Err(malformed("from and from_time_ms are both there")),
    };
    request.start = Some(Position { at: Some(at) });
    Ok(())
}

fn not_a_place(from: &str) -> String {
    format!(
        "from is {from:?}, which is neither earliest, latest nor an offset; nor partitions with an \
         offset each, as in 0:17,3:5, without partition= beside it; a time is from_time_ms="
    )
}

/// The positions at which events begin: those that the browser resumes from, or the start of the
/// read.
async fn places_of(
    api: &Api,
    request: &ReadRequest,
    (headers, call): (&HeaderMap, &UnderWay),
) -> Result<Places, Problem> {
    let last = headers.get("last-event-id");
    let last = last
        .map(|id| id.to_str().unwrap_or("?"))
        .filter(|id| !id.is_empty());
    let last = last.map(parse_id).transpose()?;
    let (topic_id, resumed) = last.unwrap_or_default();
    let is_resumed = !resumed.is_empty();
    let mut look_up = ListOffsetsRequest {
        topic: request.topic.clone(),
        position: request.start,
        partitions: request.partitions.clone(),
        topic_id,
    };
    if is_resumed {
        // Partitions that were added since the last event are read from their beginning.
        look_up.position = None;
        for partition in &mut look_up.partitions {
            partition.position = None;
        }
    }
    let message = [wire::encode(&look_up)].into();
    let path = "/taffrail.v1.Log/ListOffsets";
    let found: ListOffsetsResponse = api.ask(path, message, (headers, call)).await?;
    let mut places = Places::of(found)?;
    places.resume(&resumed);
    Ok(places)
}
