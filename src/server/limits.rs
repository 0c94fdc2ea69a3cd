//! What a client may take of the server: every bound of the gRPC layer, and why it is what it is.

use std::time::Duration;

use super::{http2::request::Kind, intake::Allowed, turns};
use crate::{tls, types::limits::MAX_REQUEST_BYTES};

/// What can be set of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// Most connections at a time; one more is closed.
    pub max_connections: usize,
    /// How long a connection may take for the handshake of HTTP/2: the preface, and the client's
    /// complete SETTINGS.
    pub handshake_timeout: Duration,
    /// How long a request of which nothing comes in is waited for.
    pub request_timeout: Duration,
    /// A connection without a call for this long gives its place to another one that finds none.
    pub idle: Duration,
    /// How long calls under way may take to finish once the server is asked to stop.
    pub drain: Duration,
    /// How long a read may stall, its client taking nothing, until it may be ended for others.
    pub stalled_read: Duration,
    /// How many topics, and how many groups, have metrics of their own.
    pub measured: Measured,
    /// Whether connections speak TLS, which takes more memory.
    pub tls: bool,
}

/// How much of what there may be many of has metrics of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) topics: usize,
    pub(crate) groups: usize,
}

impl Options {
    /// What a connection takes that has no call.
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
            measured: Measured {
                topics: 100,
                groups: 100,
            },
            tls: false,
        }
    }
}

/// Most connections at a time on the administrators' socket.
pub(crate) const ADMIN_CONNECTIONS: usize = 16;

/// Most connections at a time over plain HTTP: some Prometheus, who checks the health, and people.
pub(crate) const HTTP_CONNECTIONS: usize = 16;

/// Of how many partitions of a topic metrics are shown where they are asked for.
pub(super) const MEASURED_PARTITIONS: usize = 1_000;

/// Of how many partitions of groups it is looked up how far they are behind, for one page: each may
/// need a file.
pub(super) const MEASURED_IN_GROUPS: usize = 50_000;

/// What a value of a metric takes at most while a page is made, and its line as text: the longest
/// names of a topic or a group are in both.
pub(super) const METRIC_BYTES: usize = 1 << 10;

/// How long a client over plain HTTP may take for the header of a request, from the answer before
/// it on: it is asked again at least twice a minute, or connects anew.
pub(super) const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest header of a request over plain HTTP, and what a connection keeps of an answer at most.
pub(super) const HTTP_HEADERS_BYTES: usize = 16 << 10;

/// Most lines of such a header.
pub(super) const HTTP_HEADERS: usize = 64;

/// A client over plain HTTP that takes nothing of its answer for this long is cut off.
pub(super) const HTTP_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// The window that HTTP/2 gives every connection.
pub(super) const FIRST_WINDOW_BYTES: usize = 65_535;

/// Largest window of a connection: more than one can fill while a call has its turn. On loopback,
/// HTTP/2's own 64 KiB hold one connection at a third of what it can do.
pub(super) const MAX_WINDOW_BYTES: usize = 16 << 20;

/// What a connection costs that has no call: its window, which a frame of data that is coming in is
/// part of, a frame of another type, and 16 KiB for buffers and tables.
pub(super) const CONNECTION_BYTES: usize = FIRST_WINDOW_BYTES + MAX_OTHER_FRAME_BYTES + (16 << 10);

/// What an open call costs, measured: HTTP/2's stream, the headers' table, the call's task, buffers
/// of its messages, and its place in what it waits for.
pub(super) const CALL_BYTES: usize = 8 << 10;

/// How the paths of calls begin that tell tools of calls.
pub(super) const REFLECTION: &str = "/grpc.reflection.";

/// What such a call costs beside that: tonic keeps the buffer of its answers for as long as it is
/// open, and the largest is a file with its comments.
pub(super) const REFLECTION_BYTES: usize = 64 << 10;

/// What a header costs beside its bytes: an entry of a table, and the counts of its references.
pub(super) const HEADER_ENTRY_BYTES: usize = 128;

/// Most bytes that are read of a connection before what came in goes to its calls, and other
/// connections have their turn.
pub(super) const TURN_BYTES: usize = 256 << 10;

/// Most frames that are taken in such a turn. A call takes some microseconds to begin, and as many
/// to cancel, and small frames are many: without this, four clients that cancelled all calls at
/// once kept each thread for 20 ms at a time.
pub(super) const FRAMES_IN_TURN: usize = 128;

/// How much is read at a time of what may be small frames.
pub(super) const SMALL_FRAMES_BYTES: usize = 4 << 10;

/// The bytes of a turn where the client has nearly all calls that it may have open: a few small
/// calls, so that few are refused and the rest wait in the client's socket.
pub(super) const FEW_BYTES: usize = 1 << 10;

/// For how long a connection is not read while its client has all calls open that it may have: they
/// may end, and if none does, more are refused.
pub(super) const FULL_TIME: Duration = Duration::from_millis(20);

/// How many calls of a connection there has to be room for that much is read at a time.
pub(super) const CALLS_IN_TURN: usize = MAX_STREAMS as usize;

/// Most short calls of a connection that are polled before other connections have their turn. As
/// many answers are written at a time where many wait.
pub(super) const POLLS_IN_TURN: usize = 16;

/// A call with a request of more than this has a task of its own: what is done with it takes longer
/// than a turn should.
pub(super) const SHORT_REQUEST_BYTES: usize = 16 << 10;

/// Calls of which clients make many, and that do little unless their request is large.
pub(super) fn is_short(path: &str) -> bool {
    matches!(
        path,
        "/taffrail.v1.Log/Append" | "/taffrail.v1.Log/OpenProducer"
    )
}

/// What small frames may cost while they wait to be taken out of h2, which counts 256 bytes for
/// each less what it holds. They wait for a turn at most, whose last read may bring as much as the
/// largest frame; the smallest frame that holds a byte has ten. So this is never used up.
pub(super) const SMALL_FRAMES_BUDGET: usize =
    (TURN_BYTES + 2 * MAX_FRAME_BYTES as usize) / 10 * 255;

/// Pieces of a request that are smaller than this are put together with those next to them. A piece
/// holds on to what it was read with, which may be as much as the largest frame.
pub(super) const SMALL_PIECE_BYTES: usize = 16 << 10;

/// An answer of at most this is counted as a part of its call.
pub(super) const SMALL_ANSWER_BYTES: usize = 4 << 10;

/// Smaller messages are not compressed: they go into one packet as they are.
pub(super) const WORTH_COMPRESSING_BYTES: usize = 1 << 10;

/// About how much is put together at most: what a frame has unless the peers agree on more.
pub(super) const JOINED_BYTES: usize = 16 << 10;

/// Largest HTTP/2 frame that a client may send. Each costs a header and two system calls: with 32
/// KiB, large appends took a tenth more CPU time; with 1 MiB, no less than with this.
pub(super) const MAX_FRAME_BYTES: u32 = 128 << 10;

/// Largest frame that is no data, which is held beside what the window allows. The headers of a
/// call are less.
pub(super) const MAX_OTHER_FRAME_BYTES: usize = 32 << 10;

/// Most calls under way on one connection. Nothing limits them unless told.
pub(super) const MAX_STREAMS: u32 = 256;

/// Most calls that a client has cancelled before the server came to serve them; one more ends the
/// connection ("rapid reset"). They wait for a turn at most: a broker that stood still for a moment
/// finds the calls whose deadlines have passed meanwhile, and their successors, in what one turn
/// brings. So this is never reached, and whoever cancels calls has turns as everybody has. A call
/// that is cancelled takes 25 bytes at least: 9 and 3 of its headers, 13 of the frame that cancels
/// it.
pub(super) const MAX_CANCELLED: usize = FRAMES_IN_TURN / 2 + SMALL_FRAMES_BYTES / 25;

/// Most calls that the server has ended before their requests had, and that are remembered so that
/// what still comes for them is no mistake: all that may be under way.
pub(super) const MAX_ENDED: usize = MAX_STREAMS as usize;

/// For how long they are remembered: a broker under load may come late to what waits in its socket.
pub(super) const ENDED_TIME: Duration = Duration::from_secs(10);

/// Most streams that the server has reset because of a client's mistakes, over the whole life of a
/// connection; one more ends it. What comes for a call that was refused and is not remembered any
/// more is taken for one, so that a client without mistakes may get there within months.
pub(super) const MAX_ERROR_RESETS: usize = 16_384;

/// Largest headers of a call. Ours are below 1 KiB; the rest is for proxies and tokens.
pub(super) const MAX_HEADER_BYTES: u32 = 16 << 10;

/// Longest text of a status. It travels twice in the trailers of a call, which a client takes up to
/// as many bytes as we do of headers.
pub(super) const MAX_MESSAGE_BYTES: usize = 1 << 10;

/// Longest name of a service, a method or an encoding that a status repeats.
pub(super) const MAX_NAME_CHARS: usize = 200;

/// A connection on which nothing was heard for this long, or up to twice as long, is sent a ping.
pub(super) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);

/// A connection that does not answer within this time is closed.
pub(super) const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A request that comes in more slowly than this for longer than its timeout is refused: 512
/// kbit/s.
pub(super) const REQUEST_BYTES_PER_S: u64 = 64 << 10;

/// When a call that was refused because too many requests come in should come back: about what it
/// takes to write so many bytes.
pub(super) const RETRY_AFTER_MS: u64 = 250;

/// Calls that append, whose answers tell what was stored. The broker counts their requests from
/// where it has admitted them.
pub(super) fn is_append(path: &str) -> bool {
    path.starts_with("/taffrail.v1.Log/Append")
}

/// The messages that a call takes. What carries records may be large. The rest has to hold a filter
/// of 1,000 keys of 4 KB, and takes several times its size when it is taken apart.
pub(super) fn messages(path: &str) -> Allowed {
    match path {
        "/taffrail.v1.Log/Append" => Allowed::one(MAX_REQUEST_BYTES),
        "/taffrail.v1.Log/AppendStream" => Allowed::many(MAX_REQUEST_BYTES),
        // It is nobody until it has joined.
        "/taffrail.v1.Groups/Consume" => Allowed {
            first_at_once: true,
            ..Allowed::many(4 << 20)
        },
        // A name. tonic keeps a buffer as large for as long as the call is open.
        path if path.starts_with(REFLECTION) => Allowed::many(SMALL_ANSWER_BYTES),
        _ => Allowed::one(4 << 20),
    }
}

/// What a call does with its requests.
pub(super) fn requests(path: &str) -> Kind {
    match messages(path).many {
        false => Kind::One,
        true if path.starts_with(REFLECTION) => Kind::Watching,
        true => Kind::Many,
    }
}

/// To commit more offsets than this at once takes a turn: to decide about 10,000 of them takes 4
/// ms.
pub(super) const FEW_OFFSETS: usize = 512;

/// Most requests of one `AppendStream` that wait for their answer. At the smallest sync a disk
/// does, 50 us, and 20 of them overlapping with the way there and back, this is more than a client
/// can fill.
pub(super) const MAX_APPENDS_IN_FLIGHT: usize = 256;

/// Most commits of one member that wait for their answer; the next messages of the member are taken
/// when the first have been answered.
pub(crate) const MAX_COMMITS_IN_FLIGHT: usize = 256;

/// The same in bytes, from which on nothing more is taken: 256 commits of some partitions each. One
/// may be larger, and is then alone.
pub(crate) const MAX_UNANSWERED_BYTES: usize = 256 << 10;

const _: () = assert!(
    MAX_APPENDS_IN_FLIGHT <= crate::types::limits::REMEMBERED_BATCHES,
    "what may have to be sent again is answered as the first time"
);

/// What a read costs beside its reader: its task, its place in HTTP/2, its timers.
pub(super) const READ_BYTES: usize = 4 << 10;

/// A message on its way to a client is let go of in pieces of this size, which is what a client
/// costs that takes nothing. Each is a frame of HTTP/2 and a system call where clients take such.
pub(super) const PIECE_BYTES: usize = 128 << 10;

/// More than sockets take for a client that reads nothing: Linux lets a sender's buffer grow to 4
/// MiB, and a receiver's only as it reads. So a client that has been sent this much without a stall
/// reads.
pub(super) const SHOWN_BYTES: usize = 12 << 20;

/// The pieces of messages for clients that have not shown that they read.
pub(super) const SMALL_PIECES_BYTES: usize = 32 << 10;

/// How much of such a message is with HTTP/2 at a time: a piece that is written, and the next.
pub(super) const FIRST_UNWRITTEN_BYTES: usize = 2 * SMALL_PIECES_BYTES;

/// How much of such a message is in memory where the room for whole ones is used up.
pub(super) const FIRST_BYTES: usize = 2 * SMALL_PIECES_BYTES;

/// A client that does not take a piece within this time, or up to twice as long, has stalled: the
/// rest is let go of, and made again when it goes on. So a slow client makes its broker read again
/// twice a second at most.
pub(super) const GRACE: Duration = Duration::from_millis(500);

/// Least number of reads that make a message at once.
pub(crate) const MIN_TURNS: usize = 2;

/// What a row of a large answer takes at least while the answer is made, of which it has several
/// thousand: a partition with the names of its topic and of its owner.
pub(super) const ROW_BYTES: usize = 256;

/// How many appends wait for files at a time, on threads of their own. Others wait without one.
pub(crate) const APPENDS_IN_FILES: usize = 16;

/// Threads for what keeps one: one for each turn there may be, for each append that waits for a
/// file, and some for what the broker itself does now and then. So none is ever missing for the
/// tasks of all.
pub(crate) fn waiting_threads() -> usize {
    let of_clients = turns::long_turns() + turns::read_turns();
    let (of_administrators, of_http) = (2, 1);
    of_clients + of_administrators + of_http + APPENDS_IN_FILES + 4
}

/// A message that is in memory and no larger is made without waiting for those who read files: it
/// takes less time than changing threads does.
pub(super) const LIGHT_BYTES: usize = SMALL_PIECES_BYTES;

/// How many steps a read takes until others have their turn; a small message takes three, and some
/// microseconds.
pub(super) const STEPS_IN_TURN: usize = 96;

/// Pause after which a read that found no memory looks again.
pub(super) const ROOM_PAUSE: Duration = Duration::from_millis(20);

/// Most bytes of the offsets that are told with a read that is ended: they travel in headers, which
/// take a third more, beside a text; clients take 8 KiB of them.
pub(super) const MAX_NEXT_OFFSETS_BYTES: usize = 3 << 10;

/// How often a following read sends heartbeats while there is nothing to return; promised in the
/// .proto file.
pub(super) const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted, usually because the process has too many files
/// open.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a client that does not speak HTTP/2 may take to hear it.
pub(super) const REFUSE_TIMEOUT: Duration = Duration::from_secs(1);

/// What clients are refused is counted this long, and then said in one line.
pub(super) const NOTICE_PERIOD: Duration = Duration::from_secs(60);

/// How long a connection waits for the place of one that was asked to leave. An idle one is given
/// up to twice [`STALLED`].
pub(super) const ROOM_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection on which nothing has moved for this long while the server is to stop is closed, if
/// all that is left to do is to send its client what it does not read, or to wait for the rest of
/// its requests.
pub(super) const STALLED: Duration = Duration::from_secs(1);

/// What a connection takes that has no call.
fn connection_bytes(tls: bool) -> usize {
    match tls {
        true => CONNECTION_BYTES + tls::CONNECTION_BYTES,
        false => CONNECTION_BYTES,
    }
}

/// How many connections there can be where their windows have so much memory: as many as three
/// quarters are enough for. The rest is for windows that grow.
pub(crate) fn most_connections(windows_bytes: usize, tls: bool) -> usize {
    (windows_bytes / 4 * 3 / connection_bytes(tls)).max(1)
}
