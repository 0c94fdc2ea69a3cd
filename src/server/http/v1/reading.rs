//! A read over HTTP: the messages of its source are turned into text as the client takes it.
//!
//! Beside the piece of text that is being written there are two more in memory, and the message
//! that they are made of, which is counted. If the client does not take a piece within a moment,
//! the message is dropped, and made again when the client goes on. If it takes nothing for long,
//! its connection is closed.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::{
    sync::{
        mpsc::{Permit, Sender},
        oneshot,
    },
    time::{Sleep, sleep, timeout},
};
use tonic::Status;

use super::{
    super::answer::Broken,
    UnderWay,
    events::Places,
    problem::Problem,
    records::opening,
    rendering::{NotRecords, Rendering},
};
use crate::{
    broker::Error,
    budget::Held,
    proto::{
        codec,
        wire::{ReadKeyResponse, ReadResponse},
    },
    server::{
        answers::{Parts, Source},
        auth::{Cut, Pace},
        blocking::blocking,
        limits::{GRACE, READ_BYTES, ROOM_PAUSE, STALLED},
        reads::{Admitted, Reads, Shares},
        status,
        stop::Stopped,
        tally::Counted,
        turns::Turn,
    },
    storage::format::checksum::crc32,
};

/// What is read, and in which form.
pub(super) enum Kind {
    /// Records of a topic; as server-sent events if there are places. A read that follows sends
    /// heartbeats.
    Records {
        places: Option<Places>,
        heartbeats: bool,
    },
    /// The records of an entity.
    Entity,
}

type Pieces = Sender<Result<Bytes, Broken>>;

/// A read under way, and the queue to its response body.
pub(super) struct Reading {
    records: Records,
    cut: Option<Cut>,
    deadline: Option<Pin<Box<Sleep>>>,
    pieces: Pieces,
    _counted: (Admitted, Option<Counted>, Arc<UnderWay>),
}

/// The source of a read, with the memory and the turns that it takes.
struct Records {
    source: Box<dyn Source>,
    reads: Reads,
    shares: Shares,
    /// The memory that was counted for the source when the read began.
    always: usize,
    /// The memory for what the source has read ahead, beyond that.
    fetched: Option<Held>,
    /// Slows the read down to its caller's quota.
    pace: Option<Pace>,
    /// The turn that the read waits for before it makes a message.
    turn: Option<Pin<Box<dyn Future<Output = Turn> + Send>>>,
    kind: Kind,
}

/// A message of the source, which can be made again.
struct Message {
    len: usize,
    checksum: u32,
    /// How many pieces of its text have been sent.
    sent: usize,
    /// The rest of its text; `None` while the message is not in memory.
    text: Option<Rendering>,
}

/// The last piece of an incomplete response. Dropping it tells the read that it was written.
struct Last {
    text: String,
    _written: oneshot::Sender<()>,
}

/// A message in memory, which stays counted until the last slice of it is dropped.
struct Whole {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Last {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl AsRef<[u8]> for Whole {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Reading {
    pub(super) fn new(parts: Parts, kind: Kind, pieces: Pieces, call: Arc<UnderWay>) -> Self {
        Self {
            records: Records {
                always: parts.counted.always,
                source: parts.source,
                reads: parts.reads,
                shares: parts.shares,
                fetched: None,
                pace: parts.pace,
                turn: None,
                kind,
            },
            cut: parts.cut,
            deadline: parts.deadline,
            pieces,
            _counted: (parts.counted, parts.call, call),
        }
    }

    /// Reads until the end, or until the client has gone or the read may not go on.
    pub(super) async fn run(mut self, stopping: Stopped, is_cut: Stopped) {
        let ended = {
            let sent = self.records.send_all(&self.pieces);
            let unread = unread_at_stop(stopping, &self.pieces);
            tokio::select! {
                biased;
                () = self.pieces.closed() => return,
                status = or_never(self.cut.as_mut()) => Err(status),
                () = or_never(self.deadline.as_mut()) => Err(status::deadline_exceeded()),
                () = is_cut => Err(Error::ShuttingDown.into()),
                () = unread => Err(Error::ShuttingDown.into()),
                sent = sent => sent,
            }
        };
        if let Err(status) = ended {
            self.break_off(status).await;
        }
    }

    /// Sends the error as the last piece, and then breaks the connection, so that also a client
    /// that does not look at the error notices.
    async fn break_off(self, status: Status) {
        let problem = Problem::from(status).json();
        let text = match &self.records.kind {
            Kind::Records {
                places: Some(_), ..
            } => format!("event: problem\ndata: {problem}\n\n"),
            _ => format!("{{\"problem\":{problem}}}\n"),
        };
        let (written, is_written) = oneshot::channel();
        let last = Last {
            text,
            _written: written,
        };
        // This fails if the client has gone.
        let told = async {
            self.pieces.send(Ok(Bytes::from_owner(last))).await.ok();
            is_written.await.ok();
        };
        timeout(STALLED, told).await.ok();
        self.pieces.send(Err(Broken)).await.ok();
    }
}

async fn or_never<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

/// Resolves when the broker is to stop and the client takes nothing of what is ready.
async fn unread_at_stop(stopping: Stopped, pieces: &Pieces) {
    stopping.await;
    while timeout(STALLED, pieces.reserve()).await.is_ok() {
        sleep(STALLED).await;
    }
}

impl Records {
    async fn send_all(&mut self, pieces: &Pieces) -> Result<(), Status> {
        if let Kind::Records {
            places: Some(places),
            ..
        } = &self.kind
        {
            send(pieces, opening(places)).await?;
        }
        loop {
            // A client that takes nothing is not read for.
            if !self.source.is_complete() {
                drop(pieces.reserve().await);
            }
            let Some(slices) = poll_fn(|cx| self.poll_next(cx)).await? else {
                return Ok(());
            };
            self.send_message(slices, pieces).await?;
        }
    }

    /// The next message of the source. It is made in a turn, unless it is small.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        self.source.take_requests(cx);
        if let Some(pace) = &mut self.pace {
            ready!(pace.poll_ready(cx));
        }
        let _turn = match self.source.is_light() {
            true => None,
            false => Some(ready!(self.poll_turn(cx))),
        };
        let next = self.source.poll_next(cx);
        // Others may need the turn.
        self.turn = None;
        next
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let turns = &self.shares.turns.message;
        let waits = match &mut self.turn {
            Some(waits) => waits,
            None => self.turn.insert(Box::pin(turns.clone().turn())),
        };
        let turn = ready!(waits.as_mut().poll(cx));
        self.turn = None;
        Poll::Ready(turn)
    }

    async fn send_message(&mut self, slices: Vec<Bytes>, pieces: &Pieces) -> Result<(), Status> {
        let mut message = Message::of(&slices);
        self.reads.counted().bytes.add(message.len as u64);
        if let Some(pace) = &self.pace {
            pace.note(message.len);
        }
        match self.room(message.len) {
            Some(held) => self.load(&mut message, &slices, held)?,
            None => self.source.let_go(),
        }
        drop(slices);
        self.count_source();
        loop {
            let text = match &mut message.text {
                Some(text) => self.kind.next_piece(text)?,
                None => {
                    self.load_again(&mut message).await?;
                    continue;
                }
            };
            if text.is_empty() {
                return Ok(());
            }
            message.sent += 1;
            let room = match timeout(GRACE, pieces.reserve()).await {
                Ok(room) => room,
                Err(_) => {
                    message.text = None;
                    self.source.let_go();
                    self.count_source();
                    pieces.reserve().await
                }
            };
            put(room, text.into())?;
        }
    }

    /// Takes a message into memory and skips what has been sent of it.
    fn load(&mut self, message: &mut Message, slices: &[Bytes], held: Held) -> Result<(), Status> {
        let whole = Whole {
            bytes: slices.concat(),
            _held: held,
        };
        let mut text = self.kind.begin(Bytes::from_owner(whole))?;
        for _ in 0..message.sent {
            self.kind.next_piece(&mut text)?;
        }
        message.text = Some(text);
        Ok(())
    }

    /// Makes a message again that was dropped, or for which there was no memory.
    async fn load_again(&mut self, message: &mut Message) -> Result<(), Status> {
        let held = loop {
            if let Some(held) = self.room(message.len) {
                break held;
            }
            self.reads.let_go();
            sleep(ROOM_PAUSE).await;
        };
        let _turn = self.shares.turns.message.clone().turn().await;
        let slices = blocking(|| self.source.again())?;
        let again = Message::of(&slices);
        if (again.len, again.checksum) != (message.len, message.checksum) {
            // Records of the message were erased or trimmed meanwhile.
            let next_offsets = self.source.next_offsets();
            return Err(Error::ReadStalled { next_offsets }.into());
        }
        self.load(message, &slices, held)?;
        self.count_source();
        Ok(())
    }

    fn room(&self, bytes: usize) -> Option<Held> {
        let memory = &self.shares.pieces;
        let taken = memory.take(bytes);
        taken.or_else(|_| memory.take_beyond_share(bytes)).ok()
    }

    /// Counts the memory for what the source has read ahead; if there is none, the source drops it.
    fn count_source(&mut self) {
        self.fetched = None;
        for _ in 0..2 {
            let fetched = (READ_BYTES + self.source.memory()).saturating_sub(self.always);
            if fetched == 0 {
                return;
            }
            self.fetched = self.shares.pieces.take(fetched).ok();
            if self.fetched.is_some() {
                return;
            }
            self.source.let_go();
        }
    }
}

impl Message {
    fn of(slices: &[Bytes]) -> Self {
        let slices: Vec<&[u8]> = slices.iter().map(AsRef::as_ref).collect();
        Self {
            len: slices.iter().map(|slice| slice.len()).sum(),
            checksum: crc32(&slices),
            sent: 0,
            text: None,
        }
    }
}

impl Kind {
    /// Begins the text of a message.
    fn begin(&mut self, message: Bytes) -> Result<Rendering, Status> {
        let (partition, records) = match self {
            Self::Entity => {
                let message: ReadKeyResponse = codec::decode(message)?;
                (message.partition, message.records)
            }
            Self::Records { places, heartbeats } => {
                let message: ReadResponse = codec::decode(message)?;
                let mut records = Rendering::new(message.partition, run(message.records));
                if records.is_empty() {
                    if let Some(places) = places {
                        places.go_on_at(message.partition, message.next_offset);
                    }
                    records.say(match places {
                        _ if !*heartbeats => String::new(),
                        // An event without data is ignored by browsers, but its id is kept.
                        Some(places) => format!("{}\n", places.id_line()),
                        None => "\n".to_owned(),
                    });
                }
                return Ok(records);
            }
        };
        Ok(Rendering::new(partition, run(records)))
    }

    fn next_piece(&mut self, text: &mut Rendering) -> Result<String, Status> {
        let piece = match self {
            Self::Records { places, .. } => text.next(places),
            Self::Entity => text.next(&mut None),
        };
        // The source only has encoded records, so this is a bug.
        piece.map_err(|NotRecords| status::internal())
    }
}

/// The encoded records of a message, which are one slice.
fn run(records: Vec<Bytes>) -> Bytes {
    records.into_iter().next().unwrap_or_default()
}

async fn send(pieces: &Pieces, piece: Bytes) -> Result<(), Status> {
    put(pieces.reserve().await, piece)
}

/// Puts a piece into the queue. It fails if the client has gone, and nobody sees the status.
fn put<T>(room: Result<Permit<'_, Result<Bytes, Broken>>, T>, piece: Bytes) -> Result<(), Status> {
    let room = room.map_err(|_| Status::cancelled("the client has gone"))?;
    room.send(Ok(piece));
    Ok(())
}
