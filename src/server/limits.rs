//! Bounds of what a client may take of the server: every limit of the gRPC layer, with its reason.

use std::time::Duration;

use super::{http2::request::Kind, intake::Allowed, turns};
use crate::{
    tls,
    types::limits::{BACKUP_RATE, MAX_REQUEST_BYTES},
};

/// The options of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The connection limit; one more connection is closed.
    pub max_connections: usize,
    /// How long a connection may take for HTTP/2's handshake: the preface, and the client's
    /// complete SETTINGS.
    pub handshake_timeout: Duration,
    /// How long a request may send nothing before it is refused.
    pub request_timeout: Duration,
    /// How long a connection must have no call before it gives its place to another that finds
    /// none.
    pub idle: Duration,
    /// How long calls under way may take to finish once the server is asked to stop.
    pub drain: Duration,
    /// How long a read may stall, its client taking nothing, before it may be ended in favour of
    /// others.
    pub stalled_read: Duration,
    /// How many bytes of a backup are sent in a second at most while others append; 0: as many as
    /// its client takes.
    pub backup_rate: u64,
    /// How many topics, and how many groups, have metrics of their own.
    pub measured: Measured,
    /// Who may call over HTTP, and how often at a time.
    pub http_api: HttpApi,
    /// Whether connections speak TLS, which takes more memory.
    pub tls: bool,
}

/// How many topics and groups have metrics of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) topics: usize,
    pub(crate) groups: usize,
}

/// The settings for calls over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpApi {
    /// The most calls at a time; 0 for none at all.
    pub(crate) calls: usize,
    /// The origins of web pages that may call, as browsers name them.
    pub(crate) origins: Vec<String>,
    /// The host names, with or without a port, under which the broker may be called, beside its
    /// address.
    pub(crate) hosts: Vec<String>,
}

impl Default for HttpApi {
    fn default() -> Self {
        Self {
            calls: 64,
            origins: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

impl Options {
    /// The memory of a connection without a call.
    pub(super) fn connection_bytes(&self) -> usize {
        connection_bytes(self.tls)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_connections: 1_000,
            handshake_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            idle: Duration::from_secs(60),
            drain: Duration::from_secs(10),
            stalled_read: Duration::from_secs(60),
            backup_rate: BACKUP_RATE,
            measured: Measured {
                topics: 100,
                groups: 100,
            },
            http_api: HttpApi::default(),
            tls: false,
        }
    }
}

/// The connection limit of the administrators' socket.
pub(crate) const ADMIN_CONNECTIONS: usize = 16;

/// The connections over HTTP beside those for calls: for Prometheus, health checks, and people.
pub(crate) const HTTP_CONNECTIONS: usize = 16;

/// The largest request body over HTTP, as JSON. Together with what is made of it, it takes
/// [`JSON_TIMES`] as much memory.
pub(super) const HTTP_BODY_BYTES: usize = 4 << 20;

/// The memory that a JSON request takes while it is parsed, as a multiple of its size: its bytes,
/// the content of one record, and the encoded records.
pub(super) const JSON_TIMES: usize = 3;

/// About how many bytes of text are made at a time for a response.
pub(super) const HTTP_PIECE_BYTES: usize = 16 << 10;

/// How many bytes of a record are converted at a time. As JSON they may become six times as many.
pub(super) const HTTP_STEP_BYTES: usize = 4 << 10;

/// The memory of a call over HTTP: that of any call; what its connection has read and not written;
/// and three pieces of text, one being made, one waiting, one being written.
const HTTP_CALL_BYTES: usize =
    CALL_BYTES + 2 * HTTP_HEADERS_BYTES + 3 * (HTTP_PIECE_BYTES + 6 * HTTP_STEP_BYTES);

/// The memory of a call over HTTP, with that for TLS if it is spoken.
pub(super) fn http_call_bytes(tls: bool) -> usize {
    match tls {
        true => HTTP_CALL_BYTES + tls::CONNECTION_BYTES,
        false => HTTP_CALL_BYTES,
    }
}

/// For how many partitions the id of an event can have positions: as many as fit in a header.
pub(super) const MAX_EVENT_PARTITIONS: usize = 256;

/// How many milliseconds a browser waits before it connects again when its events have ended.
pub(super) const EVENTS_RETRY_MS: u64 = 1_000;

/// The most partitions of a topic that have metrics of their own, if these are requested.
pub(super) const MEASURED_PARTITIONS: usize = 1_000;

/// The most partitions of groups whose lag is looked up for one page of metrics, because each may
/// need a file.
pub(super) const MEASURED_IN_GROUPS: usize = 50_000;

/// The most memory that a value of a metric takes while a page is made, including its line of text;
/// the longest names of a topic or group are in both.
pub(super) const METRIC_BYTES: usize = 1 << 10;

/// How long a client over plain HTTP may take for the header of a request, counted from the
/// previous response: clients ask at least twice a minute, or connect again.
pub(super) const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest header of a request over plain HTTP, and the most that a connection keeps of a
/// response.
pub(super) const HTTP_HEADERS_BYTES: usize = 16 << 10;

/// The most lines of such a header.
pub(super) const HTTP_HEADERS: usize = 64;

/// A client over plain HTTP that takes nothing of its answer for this long is cut off.
pub(super) const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// HTTP/2's initial window of a connection.
pub(super) const FIRST_WINDOW_BYTES: usize = 65_535;

/// The largest window of a connection: more than a client can fill while another call has its turn.
/// On loopback, HTTP/2's initial 64 KiB hold one connection at a third of its possible speed.
pub(super) const MAX_WINDOW_BYTES: usize = 16 << 20;

/// The memory of a connection without a call: its window, which an incoming data frame is part of,
/// a frame of another type, and 16 KiB for buffers and tables.
pub(super) const CONNECTION_BYTES: usize = FIRST_WINDOW_BYTES + MAX_OTHER_FRAME_BYTES + (16 << 10);

/// The measured memory of an open call: HTTP/2's stream, the table of headers, the call's task,
/// buffers of its messages, and its place in queues.
pub(super) const CALL_BYTES: usize = 8 << 10;

/// The beginning of the paths of reflection calls, by which tools ask for descriptions of the API.
pub(super) const REFLECTION: &str = "/grpc.reflection.";

/// The additional memory of such a call: tonic keeps the buffer for its responses while it is open,
/// and the largest response is a file with its comments.
pub(super) const REFLECTION_BYTES: usize = 64 << 10;

/// The memory of a header beside its bytes: an entry of a table, and reference counts.
pub(super) const HEADER_ENTRY_BYTES: usize = 128;

/// The most bytes that are read of a connection before they are passed on to its calls, and other
/// connections have their turn.
pub(super) const TURN_BYTES: usize = 256 << 10;

/// The most frames that are taken in such a turn. A call takes some microseconds to begin, and as
/// many to cancel, and small frames are many: without this bound, four clients that cancelled all
/// calls at once kept each thread busy for 20 ms at a time.
pub(super) const FRAMES_IN_TURN: usize = 128;

/// How much is read at a time where small frames may follow.
pub(super) const SMALL_FRAMES_BYTES: usize = 4 << 10;

/// The bytes of a turn when the client has nearly all calls open that it may have: a few small
/// calls, so that few are refused, and the rest wait in the client's socket.
pub(super) const FEW_BYTES: usize = 1 << 10;

/// How long a connection is not read while its client has all calls open that it may have. Calls
/// may end meanwhile; if none does, more are refused.
const FULL_TIME: Duration = Duration::from_millis(20);

/// How long such a connection is not read after this many turns in a row in which calls were
/// refused: up to 0.64 s, because a client that begins again each refused call at once would
/// otherwise take as much of the processors as there is.
pub(super) fn full_time(refusing_turns: u32) -> Duration {
    FULL_TIME * (1 << refusing_turns.min(5))
}

/// As long as a connection can open this many more calls, turns have their full size.
pub(super) const CALLS_IN_TURN: usize = MAX_STREAMS as usize;

/// The most short calls of a connection that are polled before other connections have their turn.
/// If many wait, this many responses are written at a time.
pub(super) const POLLS_IN_TURN: usize = 16;

/// A call whose request is larger than this has its own task, because its work takes longer than a
/// turn should.
pub(super) const SHORT_REQUEST_BYTES: usize = 16 << 10;

/// Whether a call is one that clients make often, and that is quick unless its request is large.
pub(super) fn is_short(path: &str) -> bool {
    matches!(
        path,
        "/taffrail.v1.Log/Append" | "/taffrail.v1.Log/OpenProducer"
    )
}

/// Whether a call is that of a group's member, whose task changes with what it does.
pub(super) fn is_of_member(path: &str) -> bool {
    path == "/taffrail.v1.Groups/Consume"
}

/// Whether a connection keeps its place for a call. Streams about the broker's health and its
/// descriptors are open to everybody, and would keep others out.
pub(super) fn keeps_place(path: &str) -> bool {
    let is_open_to_all =
        path.starts_with("/grpc.health.v1.") || path.starts_with("/grpc.reflection.");
    !is_open_to_all
}

/// The allowance for small frames that wait to be taken out of h2, which charges 256 bytes for
/// each, less its content. They wait for one turn at most, the last read of which may bring as much
/// as the largest frame; the smallest frame with any content has ten bytes. So the allowance is
/// never used up.
pub(super) const SMALL_FRAMES_BUDGET: usize =
    (TURN_BYTES + 2 * MAX_FRAME_BYTES as usize) / 10 * 255;

/// Pieces of a request that are smaller than this are joined with their neighbours. A piece keeps
/// the buffer that it was read with in memory, which may be as large as the largest frame.
pub(super) const SMALL_PIECE_BYTES: usize = 16 << 10;

/// A response up to this size is counted as part of its call.
pub(super) const SMALL_ANSWER_BYTES: usize = 4 << 10;

/// Smaller messages are not compressed, because they fit in one packet as they are.
pub(super) const WORTH_COMPRESSING_BYTES: usize = 1 << 10;

/// About the largest size of joined pieces: HTTP/2's frame size unless the peers agree on a larger
/// one.
pub(super) const JOINED_BYTES: usize = 16 << 10;

/// The largest HTTP/2 frame that a client may send. Each frame costs a header and two system calls:
/// with 32 KiB, large appends took a tenth more CPU time than with this; with 1 MiB, no less.
pub(super) const MAX_FRAME_BYTES: u32 = 128 << 10;

/// The largest frame without data, which takes memory beside the window. The headers of a call are
/// smaller.
pub(super) const MAX_OTHER_FRAME_BYTES: usize = 32 << 10;

/// The most calls under way on one connection; HTTP/2 sets no limit by itself.
pub(super) const MAX_STREAMS: u32 = 256;

/// The most calls that a client may have cancelled before the server has come to serve them; one
/// more ends the connection ("rapid reset"). They wait for one turn at most: a broker that stood
/// still for a moment finds the calls whose deadlines have passed meanwhile, and their successors,
/// in what one turn brings. So the limit is never reached, and a client that cancels calls has
/// turns like all others. A cancelled call takes at least 25 bytes: 9 and 3 of its headers, 13 of
/// the frame that cancels it.
pub(super) const MAX_CANCELLED: usize = FRAMES_IN_TURN / 2 + SMALL_FRAMES_BYTES / 25;

/// The most calls that the server has ended before their requests ended, and that it remembers, so
/// that late data for them is no mistake: as many as may be under way.
pub(super) const MAX_ENDED: usize = MAX_STREAMS as usize;

/// How long they are remembered: a broker under load may read its sockets late.
pub(super) const ENDED_TIME: Duration = Duration::from_secs(10);

/// The most streams that the server has reset because of a client's mistakes, over the whole life
/// of a connection; one more ends it. Late data for a refused call that is no longer remembered
/// counts as a mistake, so that a correct client may get there within months.
pub(super) const MAX_ERROR_RESETS: usize = 16_384;

/// The largest headers of a call. Ours are below 1 KiB; the rest is for proxies and tokens.
pub(super) const MAX_HEADER_BYTES: u32 = 16 << 10;

/// The longest text of a status. It is twice in the trailers of a call, for which clients have the
/// same limit as the server has for headers.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 10;

/// The longest name of a service, a method or an encoding that a status repeats.
pub(super) const MAX_NAME_CHARS: usize = 200;

/// A connection on which nothing was received for this long, or up to twice as long, is sent a
/// ping.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// A connection that does not answer within this time is closed.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A request that comes in more slowly than this for longer than its timeout is refused. This is
/// 512 kbit/s.
pub(super) const REQUEST_BYTES_PER_S: u64 = 64 << 10;

/// When a call should be retried that was refused because too many requests come in: after about
/// the time that it takes to write that many bytes.
pub(super) const RETRY_AFTER_MS: u64 = 250;

/// Whether a call appends, so that its response reports what was stored. The broker counts such a
/// request itself once it has admitted it.
pub(super) fn is_append(path: &str) -> bool {
    path.starts_with("/taffrail.v1.Log/Append")
}

/// Largest encoded request that is no append.
pub(super) const MAX_OTHER_REQUEST_BYTES: usize = 4 << 20;

/// The messages that a call takes. Those with records may be large. Others must have room for a
/// filter of 1,000 keys of 4 KB; decoded they take several times their size.
pub(super) fn messages(path: &str) -> Allowed {
    match path {
        "/taffrail.v1.Log/Append" => Allowed::one(MAX_REQUEST_BYTES),
        "/taffrail.v1.Log/AppendStream" => Allowed::many(MAX_REQUEST_BYTES),
        // The first message is the one that joins the group.
        "/taffrail.v1.Groups/Consume" => Allowed {
            first_at_once: true,
            ..Allowed::many(MAX_OTHER_REQUEST_BYTES)
        },
        "/taffrail.v1.Broker/Backup" => Allowed::many(4 << 20),
        "/taffrail.v1.Admin/ImportRecords" => Allowed::many(MAX_REQUEST_BYTES),
        // A request has one name, and tonic keeps a buffer of this size while the call is open.
        path if path.starts_with(REFLECTION) => Allowed::many(SMALL_ANSWER_BYTES),
        _ => Allowed::one(MAX_OTHER_REQUEST_BYTES),
    }
}

/// How a call uses its requests.
pub(super) fn requests(path: &str) -> Kind {
    match messages(path).many {
        false => Kind::One,
        true if path.starts_with(REFLECTION) => Kind::Watching,
        true => Kind::Many,
    }
}

/// A commit of more offsets than this waits for a turn: deciding about 10,000 of them takes 4 ms.
pub(super) const FEW_OFFSETS: usize = 512;

/// A read of at most this many partitions, which it names, is begun in microseconds if nothing of
/// them must be looked up in files.
pub(super) const FEW_PARTITIONS: usize = 16;

/// The most requests of one `AppendStream` that wait for their response. Even with a disk whose
/// sync takes only 50 us, and with 20 syncs during a round trip, this is more than a client can
/// fill.
pub(super) const MAX_APPENDS_IN_FLIGHT: usize = 256;

/// How long a backup waits for the end of another one. The broker hears within milliseconds that a
/// client was killed.
pub(super) const BACKUP_PATIENCE: Duration = Duration::from_secs(2);

/// The most messages of an import that are not durable when the next one is taken. Each has one
/// sync of the journal; more of them would only take more memory.
pub(super) const MAX_IMPORTS_IN_FLIGHT: usize = 16;

/// The most commits of one member that wait for their response; the member's next requests are
/// taken when the first have been answered.
pub(crate) const MAX_COMMITS_IN_FLIGHT: usize = 256;

/// The most bytes of such commits, after which no more requests are taken: 256 commits of some
/// partitions each. A single commit may be larger.
pub(crate) const MAX_UNANSWERED_BYTES: usize = 256 << 10;

const _: () = assert!(
    MAX_APPENDS_IN_FLIGHT <= crate::types::limits::REMEMBERED_BATCHES,
    "what may have to be sent again is answered as the first time"
);

/// The memory of a read beside its reader: its task, its place in HTTP/2, its timers.
pub(super) const READ_BYTES: usize = 4 << 10;

/// A message on its way to a client is freed in pieces of this size, which is what a client costs
/// that takes nothing. To clients that read, each piece is sent as a frame of HTTP/2 with a system
/// call, if they accept such frames.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// More than sockets hold for a client that reads nothing: Linux lets a sender's buffer grow to 4
/// MiB, and a receiver's only as it reads. So a client that has been sent this much without a stall
/// has read.
pub(super) const SHOWN_BYTES: usize = 12 << 20;

/// The size of pieces for clients that have not shown that they read.
pub(super) const SMALL_PIECES_BYTES: usize = 32 << 10;

/// How much of such a message is within HTTP/2 at a time: a piece that is being written, and the
/// next.
pub(super) const FIRST_UNWRITTEN_BYTES: usize = 2 * SMALL_PIECES_BYTES;

/// How much of such a message is in memory when the room for whole ones is used up.
pub(super) const FIRST_BYTES: usize = 2 * SMALL_PIECES_BYTES;

/// A client that does not take a piece within this time, or up to twice as long, has stalled: the
/// rest of the message is freed, and made again when the client continues. So a slow client makes
/// its broker read at most twice a second.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// The least number of reads that may make a message at a time.
pub(crate) const MIN_TURNS: usize = 2;

/// The least memory for each row of a large response while that is made: a partition with the names
/// of its topic and owner. Such a response has several thousand rows.
pub(super) const ROW_BYTES: usize = 256;

/// How many appends may wait for files at a time, on threads of their own. Others wait without a
/// thread.
pub(crate) const APPENDS_IN_FILES: usize = 16;

/// The threads for work that keeps one: one for each turn, one for each append that waits for a
/// file, and some for the broker's own work now and then. So all tasks always have their threads.
pub(crate) fn waiting_threads() -> usize {
    let of_clients = turns::long_turns() + 2 * turns::read_turns();
    let (of_administrators, of_http) = (3, 1);
    of_clients + of_administrators + of_http + APPENDS_IN_FILES + 4
}

/// A message in memory up to this size is made without waiting for calls that read files: it takes
/// less time than changing threads does.
pub(super) const LIGHT_BYTES: usize = SMALL_PIECES_BYTES;

/// How many steps a read may take before others have their turn. A small message takes three, which
/// last some microseconds.
pub(super) const STEPS_IN_TURN: usize = 96;

/// How long a read that found no memory pauses before it tries again.
pub(super) const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// The most bytes of the offsets that are reported when a read is ended: they travel in headers,
/// where they take a third more, beside a text; clients accept 8 KiB of headers.
pub(super) const MAX_NEXT_OFFSETS_BYTES: usize = 3 << 10;

/// How often a following read sends heartbeats while there is nothing to return; promised in the
/// .proto file.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// The pause after a connection could not be accepted, usually because the process has too many
/// files open.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client that does not speak HTTP/2 may take to read the refusal.
pub(super) const REFUSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long refusals of clients are counted before they are logged in one line.
pub(super) const NOTICE_PERIOD: Duration = Duration::from_secs(60);

/// How long a connection waits for the place of one that was asked to leave. An idle connection
/// gets up to twice [`STALLED`] to leave.
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(3);

/// While the server stops, a connection without any progress for this long is closed, if all that
/// is left is to send its client what it does not read, or to wait for the rest of its requests.
pub(super) const STALLED: Duration = Duration::from_secs(1);

/// The memory of a connection without a call.
fn connection_bytes(tls: bool) -> usize {
    match tls {
        true => CONNECTION_BYTES + tls::CONNECTION_BYTES,
        false => CONNECTION_BYTES,
    }
}

/// How many connections there can be with this much memory for windows: as many as fit in three
/// quarters of it. The rest is for windows that grow.
pub(crate) fn most_connections(windows_bytes: usize, tls: bool) -> usize {
    (windows_bytes / 4 * 3 / connection_bytes(tls)).max(1)
}
