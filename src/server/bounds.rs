//! The bounds that a client can meet, by name: for `Broker.Limits`, and for the page of them in
//! `docs/LIMITS.md`. Names are part of the API.

use std::time::Duration;

use super::limits::{self, MAX_STREAMS, Options};
use crate::types::limits::*;

/// The unit of a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Milliseconds,
    Things,
}

/// A bound: its name, what it limits, and how far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) name: &'static str,
    /// What is limited, in words.
    pub(crate) what: &'static str,
    pub(crate) unit: Unit,
    /// The least value; 0 if there is none.
    pub(crate) least: u64,
    pub(crate) most: u64,
    /// The setting of the broker or of a topic that changes the bound; empty if none does.
    pub(crate) setting: &'static str,
}

/// The settings that bounds depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Configured {
    pub(crate) max_connections: usize,
    pub(crate) handshake_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) stalled_read: Duration,
    pub(crate) remembered_batches: usize,
    pub(crate) producer_idle: Duration,
    pub(crate) http_calls: usize,
    pub(crate) catalog_bytes: usize,
}

impl Configured {
    /// The settings of a broker and of its server.
    pub(crate) fn of(
        server: &Options,
        max_connections: usize,
        (producer_idle, remembered_batches): (Duration, usize),
        catalog_bytes: usize,
    ) -> Self {
        Self {
            max_connections,
            handshake_timeout: server.handshake_timeout,
            request_timeout: server.request_timeout,
            stalled_read: server.stalled_read,
            remembered_batches,
            producer_idle,
            http_calls: server.http_api.calls,
            catalog_bytes,
        }
    }
}

impl Unit {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Milliseconds => "ms",
            Self::Things => "",
        }
    }
}

/// All bounds.
pub(crate) fn all(configured: &Configured) -> Vec<Bound> {
    let parts = [sizes(), numbers(), counts(configured), times(configured)];
    parts.concat()
}

fn bound(name: &'static str, most: impl TryInto<u64>, unit: Unit, what: &'static str) -> Bound {
    Bound {
        name,
        what,
        unit,
        least: 0,
        most: most.try_into().unwrap_or(u64::MAX),
        setting: "",
    }
}

impl Bound {
    fn at_least(self, least: impl TryInto<u64>) -> Self {
        let least = least.try_into().unwrap_or(u64::MAX);
        Self { least, ..self }
    }

    fn set_by(self, setting: &'static str) -> Self {
        Self { setting, ..self }
    }
}

/// Bounds of sizes.
pub(crate) fn sizes() -> Vec<Bound> {
    let bytes = |name, most, what| bound(name, most, Unit::Bytes, what);
    vec![
        bytes("topic_name_bytes", MAX_TOPIC_NAME_BYTES, "Name of a topic"),
        bytes("key_bytes", MAX_KEY_BYTES, "Key"),
        bytes(
            "name_bytes",
            MAX_NAME_BYTES,
            "Event type, and name of a header, each",
        ),
        bytes("event_id_bytes", MAX_EVENT_ID_BYTES, "Event id"),
        bytes(
            "record_bytes",
            usize::try_from(RECORD_BYTES.2).unwrap_or(usize::MAX),
            "Record, encoded, with the broker's fields",
        )
        .set_by("max.record.bytes"),
        bytes("append_bytes", MAX_REQUEST_BYTES, "Append request"),
        bytes(
            "request_bytes",
            limits::MAX_OTHER_REQUEST_BYTES,
            "Other request",
        ),
        bytes(
            "response_bytes",
            u32::MAX as usize,
            "Response with records, by the request's `max_response_bytes` (default 4,194,304)",
        )
        .at_least(MIN_RESPONSE_LIMIT_BYTES),
        bytes(
            "response_records_bytes",
            MAX_RESPONSE_BYTES,
            "Records in one response, unless one record is larger",
        ),
        bytes(
            "producer_name_bytes",
            MAX_PRODUCER_NAME_BYTES,
            "Name of a producer",
        ),
        bytes(
            "group_name_bytes",
            MAX_GROUP_NAME_BYTES,
            "Name of a consumer group",
        ),
        bytes(
            "member_name_bytes",
            MAX_MEMBER_NAME_BYTES,
            "Name of a member of a group, and what it says it is, each",
        ),
        bytes(
            "token_name_bytes",
            MAX_ACCESS_TOKEN_NAME_BYTES,
            "Name of an access token",
        ),
        bytes(
            "offset_metadata_bytes",
            MAX_OFFSET_METADATA_BYTES,
            "Metadata of an offset",
        ),
        bytes(
            "commit_metadata_bytes",
            MAX_COMMIT_METADATA_BYTES,
            "Metadata of all offsets of a commit",
        ),
        bytes(
            "committed_metadata_bytes",
            MAX_ALL_METADATA_BYTES,
            "Metadata of all offsets that groups have committed",
        ),
        bytes(
            "producer_names_bytes",
            MAX_PRODUCER_NAMES_BYTES,
            "Names of all producers",
        ),
        bytes(
            "http_body_bytes",
            limits::HTTP_BODY_BYTES,
            "Append over HTTP, as JSON",
        ),
        bytes(
            "call_headers_bytes",
            limits::MAX_HEADER_BYTES as usize,
            "Headers of a call",
        ),
    ]
}

/// Bounds of how many things one request may have.
pub(crate) fn numbers() -> Vec<Bound> {
    let number = |name, most, what| bound(name, most, Unit::Things, what);
    vec![
        number("record_headers", MAX_HEADERS, "Headers of a record"),
        number(
            "append_batches",
            MAX_BATCHES_PER_APPEND,
            "Batches of an append",
        ),
        number(
            "append_conditions",
            MAX_CONDITIONS_PER_APPEND,
            "Conditions of an append",
        ),
        number(
            "append_records",
            MAX_RECORDS_PER_APPEND,
            "Records of an append",
        ),
        number(
            "append_groups",
            MAX_GROUPS_PER_APPEND,
            "Groups whose offsets one append commits",
        ),
        number(
            "commit_offsets",
            MAX_OFFSETS_PER_COMMIT,
            "Offsets of a commit",
        ),
        number(
            "member_topics",
            MAX_GROUP_TOPICS,
            "Topics and prefixes that a member takes",
        ),
        number(
            "request_elements",
            MAX_ELEMENTS,
            "Elements of a request, batches not looked into",
        ),
        number("latest_keys", MAX_LATEST_KEYS, "Keys of a `GetLatest`"),
        number(
            "backup_files",
            MAX_BACKUP_FILES,
            "Files of an earlier backup, of which a `Backup` is told",
        ),
        number(
            "http_event_partitions",
            limits::MAX_EVENT_PARTITIONS,
            "Partitions of a read as server-sent events",
        ),
        number(
            "filter_values",
            MAX_FILTER_VALUES,
            "Keys and types of a filter, each",
        ),
        number(
            "page_size",
            MAX_TOPICS_PER_PAGE
                .min(MAX_GROUPS_PER_PAGE)
                .min(MAX_GROUP_PARTITIONS_PER_PAGE)
                .min(MAX_OFFSETS_PER_PAGE)
                .min(MAX_PRODUCERS_PER_PAGE),
            "Topics, groups, partitions of a group, offsets or producers in a page of a listing",
        ),
    ]
}

/// Bounds of how many things there may be.
pub(crate) fn counts(configured: &Configured) -> Vec<Bound> {
    let count = |name, most, what| bound(name, most, Unit::Things, what);
    vec![
        count(
            "topic_partitions",
            MAX_PARTITIONS_PER_TOPIC as usize,
            "Partitions of a topic",
        ),
        count("partitions", MAX_PARTITIONS, "Partitions of a broker"),
        count("producers", MAX_PRODUCERS, "Producers"),
        count(
            "producer_partitions",
            MAX_PRODUCER_SEQUENCES,
            "Partitions that all producers have appended to",
        ),
        count(
            "remembered_batches_of_producer",
            REMEMBERED_BATCHES,
            "Batches of a producer in a partition that are answered again with their offsets",
        ),
        count(
            "remembered_batches",
            configured.remembered_batches,
            "Of all producers and partitions together, but for the last of each",
        )
        .set_by("producers.remembered_batches"),
        count("groups", MAX_GROUPS, "Consumer groups"),
        bound(
            "groups_bytes",
            configured.catalog_bytes / GROUPS_SHARE_OF_CATALOG,
            Unit::Bytes,
            "Memory of all consumer groups: half of the catalog's",
        )
        .set_by("memory.catalog_bytes"),
        count("group_members", MAX_GROUP_MEMBERS, "Members of a group"),
        count(
            "owned_partitions",
            MAX_OWNED_PARTITIONS,
            "Partitions that members of all groups have",
        ),
        count(
            "committed_offsets",
            MAX_GROUP_OFFSETS,
            "Offsets that all groups have committed",
        ),
        count(
            "access_tokens",
            MAX_ACCESS_TOKENS,
            "Access tokens that have not expired",
        ),
        count("token_roles", MAX_CALLER_ROLES, "Roles in a JWT"),
        count(
            "erasures",
            MAX_ERASURES,
            "Erasures that wait for their bytes to be removed",
        ),
        count(
            "key_trims",
            MAX_KEY_TRIMS,
            "Trims of entities that wait for their bytes to be removed",
        ),
        count(
            "http_calls",
            configured.http_calls,
            "Calls over HTTP at a time",
        )
        .set_by("http.calls"),
        count("connections", configured.max_connections, "Connections")
            .set_by("server.max_connections"),
        count(
            "connection_calls",
            MAX_STREAMS as usize,
            "Calls of a connection at a time",
        ),
        count(
            "stream_appends",
            limits::MAX_APPENDS_IN_FLIGHT,
            "Appends of an `AppendStream` that wait for their answers; those behind wait",
        ),
        count(
            "member_commits",
            limits::MAX_COMMITS_IN_FLIGHT,
            "Commits of a member that wait for their answers; what the member says behind them waits",
        ),
    ]
}

/// Bounds of times.
pub(crate) fn times(configured: &Configured) -> Vec<Bound> {
    let time = |name, most: Duration, what| bound(name, most.as_millis(), Unit::Milliseconds, what);
    let most_of_groups = Duration::from_millis(MAX_GROUP_TIME_MS);
    vec![
        time("session_ms", most_of_groups, "Session timeout of a member").at_least(MIN_SESSION_MS),
        time(
            "progress_ms",
            most_of_groups,
            "Progress timeout of a member",
        )
        .at_least(MIN_SESSION_MS),
        time("drain_ms", most_of_groups, "Drain timeout of a member"),
        time(
            "token_life_ms",
            Duration::from_millis(MAX_ACCESS_TOKEN_LIFE_MS),
            "Life of an access token",
        ),
        time(
            "producer_idle_ms",
            configured.producer_idle,
            "How long a producer that does nothing is remembered",
        )
        .set_by("producers.idle"),
        time(
            "handshake_ms",
            configured.handshake_timeout,
            "What the handshake of HTTP/2 may take",
        )
        .set_by("server.handshake_timeout"),
        time(
            "request_stalled_ms",
            configured.request_timeout,
            "How long nothing may come of a request that has begun",
        )
        .set_by("server.request_timeout"),
        time(
            "answer_stalled_ms",
            configured.stalled_read,
            "How long a client may take nothing of an answer",
        )
        .set_by("reads.stalled"),
    ]
}
