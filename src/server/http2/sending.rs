//! Sends a call's responses as fast as its client takes them.
//!
//! h2 gets no more than the client has room for, and little until the client has shown that it
//! reads. The rest of a message waits here, but not for long: a client that does not take a piece
//! within a moment costs one piece from then on; when it continues, the rest is made again.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use tokio::time::{Sleep, sleep};
use tonic::{Code, Status};
use tracing::debug;

use super::{
    alive::Alive,
    call::{Entered, Open, Waiting, reset_before_room},
    home::Home,
    message::{self, Changed, Message, Room},
};
use crate::{
    broker::Error,
    budget::Held,
    codec::Encoding,
    server::{
        answers::{Parts, Source},
        auth::{Cut, Pace},
        blocking::blocking,
        limits::{
            FIRST_UNWRITTEN_BYTES, GRACE, READ_BYTES, ROOM_PAUSE, SHOWN_BYTES, SMALL_PIECES_BYTES,
            STEPS_IN_TURN, WORTH_COMPRESSING_BYTES,
        },
        reads::{Admitted, Place, Reads, Shares, Tell},
        status,
        tally::Counted,
        turns::Turn,
    },
};

/// Sends the messages of a source, and then the status of the call.
pub(in crate::server) async fn send(
    answers: Parts,
    stream: SendStream<Bytes>,
    open: &Open,
) -> Result<(), h2::Error> {
    let mut sending = Sending {
        stream,
        source: answers.source,
        reads: answers.reads,
        shares: answers.shares,
        counted: answers.counted,
        cut: answers.cut,
        pace: answers.pace,
        deadline: answers.deadline,
        _call: answers.call,
        encoding: answers.encoding,
        fetched: None,
        ahead: None,
        listed: None,
        message: None,
        alive: open.alive.clone(),
        home: &open.home,
        left: 0,
        shown: 0,
        stall: Stall::default(),
        idle: None,
        turn: None,
        pause: None,
        active: &open.active,
        waiting: None,
    };
    let status = poll_fn(|cx| sending.poll_status(cx)).await?;
    let mut trailers = HeaderMap::new();
    if let Err(error) = status.add_header(&mut trailers) {
        debug!(%error, "a status cannot be sent");
    }
    open.count_status(&mut trailers);
    sending.stream.send_trailers(trailers)?;
    if status.code() == Code::Ok && sending.source.may_be_ended() {
        poll_fn(|cx| sending.poll_written(cx)).await?;
    }
    Ok(())
}

type Waits = Pin<Box<dyn Future<Output = Turn> + Send>>;

struct Sending<'a> {
    stream: SendStream<Bytes>,
    source: Box<dyn Source>,
    reads: Reads,
    /// The connection's shares of the memory of reads.
    shares: Shares,
    /// The memory in which the source is counted.
    counted: Admitted,
    /// The memory in which what it has read ahead is counted.
    fetched: Option<Held>,
    /// The memory in which what the source has read ahead is counted before its client has shown
    /// that it reads.
    ahead: Option<Held>,
    /// The memory of the checksums of what is not in memory.
    listed: Option<Held>,
    /// Resolves with the final status when the caller must not continue.
    cut: Option<Cut>,
    /// How fast its caller may read.
    pace: Option<Pace>,
    deadline: Option<Pin<Box<Sleep>>>,
    _call: Option<Counted>,
    /// The compression of messages, if any.
    encoding: Option<Encoding>,
    /// The message that is being sent.
    message: Option<Message>,
    /// The bytes of all messages that are not written yet.
    alive: Alive,
    home: &'a Home,
    /// How many bytes were unwritten when the client last took some of the end.
    left: usize,
    /// How many bytes have been sent since the client last stalled.
    shown: usize,
    stall: Stall,
    /// Set while the source has nothing to send.
    idle: Option<Place>,
    /// Set while it waits for its turn to make a message.
    turn: Option<Waits>,
    /// Until when it waits for memory.
    pause: Option<Pin<Box<Sleep>>>,
    active: &'a Entered,
    /// Set while it waits for its client.
    waiting: Option<Waiting<'a>>,
}

/// The state of a client that takes nothing.
#[derive(Default)]
struct Stall {
    /// When to check whether the client has taken anything; set while it is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether a piece was taken since the timer was set.
    piece_taken: bool,
    /// Set once no piece was taken in that time.
    place: Option<Place>,
}

impl Sending<'_> {
    /// Ready with the status of the call.
    fn poll_status(&mut self, cx: &mut Context<'_>) -> Poll<Result<Status, h2::Error>> {
        if let Some(reason) = reset_before_room(&mut self.stream)? {
            return Poll::Ready(Err(reason.into()));
        }
        let polled = self.poll_steps(cx);
        if polled.is_pending()
            && let Poll::Ready(reason) = self.stream.poll_reset(cx)?
        {
            return Poll::Ready(Err(reason.into()));
        }
        polled
    }

    fn poll_steps(&mut self, cx: &mut Context<'_>) -> Poll<Result<Status, h2::Error>> {
        self.source.take_requests(cx);
        if let Some(cut) = &mut self.cut
            && let Poll::Ready(status) = cut.as_mut().poll(cx)
        {
            return Poll::Ready(Ok(status));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(status::deadline_exceeded()));
        }
        for _ in 0..STEPS_IN_TURN {
            match &mut self.message {
                None => {
                    if let Poll::Ready(error) = self.poll_told(cx) {
                        return Poll::Ready(Ok(error.into()));
                    }
                    // Nothing is read for a client that takes nothing.
                    if !self.source.is_complete() {
                        ready!(self.poll_client(cx))?;
                        self.stall.over();
                    }
                    if let Some(pace) = &mut self.pace
                        && pace.poll_ready(cx).is_pending()
                    {
                        return self.wait_for_source(cx);
                    }
                    // Small messages go first, and the place in the queue is kept meanwhile.
                    let _turn = match self.is_light() {
                        true => None,
                        false if self.home.needs_own_task() => return Poll::Pending,
                        false => Some(ready!(self.poll_turn(cx))),
                    };
                    let Poll::Ready(next) = self.source.poll_next(cx) else {
                        return self.wait_for_source(cx);
                    };
                    match next {
                        Ok(Some(slices)) => self.begin(&slices),
                        Ok(None) => return Poll::Ready(Ok(Status::ok(""))),
                        Err(status) => return Poll::Ready(Ok(status)),
                    }
                }
                Some(message) if message.is_sent() => self.message = None,
                Some(_) => {
                    if let Poll::Ready(error) = self.poll_told(cx) {
                        return Poll::Ready(Ok(error.into()));
                    }
                    ready!(self.poll_client(cx))?;
                    if let Err(error) = ready!(self.poll_restored(cx)) {
                        return Poll::Ready(Ok(error.into()));
                    }
                    self.send_some()?;
                }
            }
        }
        // It continues behind other waiting tasks.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Ready when everything is written. The end of a read may stall as long as the rest; an error
    /// means that it was dropped in favour of others.
    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let left = self.alive.bytes();
        if left < self.left {
            self.stall.some_taken(self.reads.patience());
        }
        self.left = left;
        let deadline = self.deadline.as_mut();
        if deadline.is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready())
            || self.poll_told(cx).is_ready()
        {
            self.stream.send_reset(Reason::CANCEL);
            return Poll::Ready(Err(Reason::CANCEL.into()));
        }
        match self.alive.poll_at_most(0, cx) {
            Poll::Ready(()) => Poll::Ready(Ok(())),
            Poll::Pending => self.wait(cx),
        }
    }

    /// Whether the next message can be made at once; never if it must be compressed.
    fn is_light(&self) -> bool {
        self.encoding.is_none() && self.source.is_light()
    }

    fn begin(&mut self, slices: &[Bytes]) {
        let bytes: usize = slices.iter().map(Bytes::len).sum();
        self.reads.counted().bytes.add(bytes as u64);
        if let Some(pace) = &self.pace {
            pace.note(bytes);
        }
        let alive = self.alive.clone();
        let compressed = self
            .encoding
            .and_then(|encoding| compress(encoding, slices));
        let room = |bytes| self.take_room(bytes);
        let message = match compressed {
            Some(compressed) => Message::compressed(compressed, room, &alive),
            None => Message::new(slices, room, &alive),
        };
        self.message = Some(message);
        self.count_extents();
        self.stall.over();
        // What was read ahead is kept if there is room for it.
        if !self.count_source() {
            self.let_go_of_source();
        }
    }

    /// Whether the client has shown that it reads.
    fn client_reads(&self) -> bool {
        self.shown >= SHOWN_BYTES
    }

    fn take_room(&mut self, bytes: usize) -> Option<Room> {
        self.stream.reserve_capacity(bytes.min(SMALL_PIECES_BYTES));
        let at_once = self.stream.capacity();
        match self.client_reads() {
            true => message::room(&self.shares, bytes, at_once),
            false => message::first_room(&self.shares, bytes, at_once),
        }
    }

    /// Counts what the source has read ahead; returns false if there is no room for it.
    fn count_source(&mut self) -> bool {
        let fetched = (READ_BYTES + self.source.memory()).saturating_sub(self.counted.always);
        let ahead = match self.client_reads() {
            true => 0,
            false => fetched,
        };
        let has = |held: &Option<Held>| held.as_ref().map_or(0, Held::bytes);
        if (has(&self.fetched), has(&self.ahead)) == (fetched, ahead) {
            return true;
        }
        (self.fetched, self.ahead, self.idle) = (None, None, None);
        if fetched == 0 {
            return true;
        }
        if !self.client_reads() {
            match self.shares.ahead.take(fetched) {
                Ok(held) => self.ahead = Some(held),
                Err(_) => return false,
            }
        }
        self.fetched = self.shares.pieces.take(fetched).ok();
        self.fetched.is_some()
    }

    fn let_go_of_source(&mut self) {
        self.source.let_go();
        self.count_source();
    }

    /// Counts the checksums of what is not in memory. They take a small part of the memory that the
    /// message took before, and cannot be freed.
    fn count_extents(&mut self) {
        let bytes = self.message.as_ref().map_or(0, Message::extents_memory);
        if bytes != self.listed.as_ref().map_or(0, Held::bytes) {
            self.listed = Some(self.shares.pieces.count(bytes));
        }
    }

    /// Does what other reads have asked for; ready with the error if this read must end.
    fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        while let Some(place) = &self.stall.place {
            match ready!(place.poll_told(cx)) {
                Tell::End => return Poll::Ready(self.stalled()),
                Tell::LetGo => {
                    if let Some(message) = &mut self.message {
                        message.let_go(0);
                    }
                    self.count_extents();
                }
            }
        }
        Poll::Pending
    }

    fn stalled(&self) -> Error {
        Error::ReadStalled {
            next_offsets: self.source.next_offsets(),
        }
    }

    /// Ready when the client can take something.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        if !self.client_reads() && self.alive.poll_at_most(self.most_alive(), cx).is_pending() {
            return self.wait(cx);
        }
        let ready = self.message.as_ref().map_or(0, Message::ready);
        self.stream.reserve_capacity(ready.max(1));
        while self.stream.capacity() == 0 {
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(granted)) => granted.map(drop)?,
                Poll::Ready(None) => return Poll::Ready(Err(Reason::CANCEL.into())),
                Poll::Pending => return self.wait(cx),
            }
        }
        self.waiting = None;
        Poll::Ready(Ok(()))
    }

    /// How many bytes of pieces may be unwritten before the next piece goes to h2. Pieces differ in
    /// size; one larger than h2 gets at a time goes alone.
    fn most_alive(&self) -> usize {
        let (in_pieces, next) = match &self.message {
            Some(message) => (message.in_pieces(), message.first_piece()),
            None => (0, 0),
        };
        in_pieces + FIRST_UNWRITTEN_BYTES - next.clamp(1, FIRST_UNWRITTEN_BYTES)
    }

    /// Waits for the client, and frees what it does not take.
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.waiting.get_or_insert_with(|| self.active.wait());
        // Others may need the turn that this read might get meanwhile.
        self.turn = None;
        while self.stall.poll_timer(cx).is_ready() {
            if std::mem::take(&mut self.stall.piece_taken) {
                self.stall.set_timer(GRACE);
            } else if let Some(place) = &mut self.stall.place {
                if self.source.may_be_ended() {
                    place.ripen(&self.shares.places);
                }
                self.stall.timer = None;
                break;
            } else {
                self.stall.set_timer(self.reads.patience());
                self.shown = 0;
                if let Some(message) = &mut self.message {
                    message.let_go(1);
                }
                self.count_extents();
                self.let_go_of_source();
                self.stall.place = Some(self.reads.stall());
                // In the next turn it checks what it is asked to do.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }

    /// Waits for something to send. What the source has read ahead stays, unless others need its
    /// memory: it may be long until it is wanted.
    fn wait_for_source<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        self.turn = None;
        if self.is_light() {
            self.home.rests();
        }
        if self.fetched.is_some() {
            let place = self.idle.get_or_insert_with(|| self.reads.stall());
            if place.poll_told(cx).is_ready() {
                self.let_go_of_source();
            }
        }
        Poll::Pending
    }

    /// Ready when a message may be made.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let turns = &self.shares.turns.message;
        let waits = match &mut self.turn {
            Some(waits) => waits,
            None => match turns.try_turn() {
                Some(turn) => return Poll::Ready(turn),
                None => self.turn.insert(Box::pin(turns.clone().turn())),
            },
        };
        let turn = ready!(waits.as_mut().poll(cx));
        self.turn = None;
        Poll::Ready(turn)
    }

    /// Ready when some of the message is in memory.
    fn poll_restored(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        if self
            .message
            .as_ref()
            .is_none_or(|message| message.ready() > 0)
        {
            return Poll::Ready(Ok(()));
        }
        if self.home.needs_own_task() {
            return Poll::Pending;
        }
        let _turn = ready!(self.poll_turn(cx));
        let absent = self.message.as_ref().map_or(0, Message::absent);
        let wanted = self.worth_reading(absent);
        let room = loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            if let Some(room) = self.take_room(wanted) {
                break room;
            }
            self.reads.let_go();
            // Other calls of the connection may use the room that this one does not use now.
            self.stream.reserve_capacity(1);
            self.stall.some_taken(self.reads.patience());
            self.pause = Some(Box::pin(sleep(ROOM_PAUSE)));
        };
        let restored = self.restore_part(room).or_else(|room| self.restore(room));
        self.count_extents();
        self.stall.over();
        Poll::Ready(restored)
    }

    /// How much of what is not in memory is made again, if a part can be: as much as the client has
    /// taken since it stalled.
    fn worth_reading(&self, absent: usize) -> usize {
        match self.client_reads() {
            true => absent,
            false => absent.min(self.shown.max(SMALL_PIECES_BYTES)),
        }
    }

    /// Takes a part of the message into memory again, without making the rest; returns the room if
    /// that is impossible.
    fn restore_part(&mut self, mut room: Room) -> Result<(), Room> {
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        if message.is_compressed() {
            return Err(room);
        }
        let needed = message.needed(room.bytes());
        let from = needed.start;
        let restored = blocking(|| {
            let slices = self.source.part_again(needed)?;
            message.restore_part(from, &slices, &mut room).ok()
        });
        restored.ok_or(room)
    }

    /// Makes the whole message again and takes a part of it into memory.
    fn restore(&mut self, room: Room) -> Result<(), Error> {
        let absent = self.message.as_ref().map_or(0, Message::absent);
        // As much as there is room for, because all of the message is read for each part.
        let mut room = self.take_room(absent).unwrap_or(room);
        let mut slices = blocking(|| self.source.again())?;
        if let Some(message) = &self.message
            && message.is_compressed()
            && let Some(encoding) = self.encoding
        {
            // If compression is not worthwhile any more, the message has changed.
            slices = compress(encoding, &slices).into_iter().collect();
        }
        if let Some(message) = &mut self.message
            && let Err(Changed) = message.restore(&slices, &mut room)
        {
            return Err(self.stalled());
        }
        Ok(())
    }

    fn send_some(&mut self) -> Result<(), h2::Error> {
        let Some(message) = &mut self.message else {
            return Ok(());
        };
        let (bytes, completes_piece) = message.next(self.stream.capacity());
        self.shown += bytes.len();
        if completes_piece {
            self.stall.over();
        } else {
            self.stall.some_taken(self.reads.patience());
        }
        self.stream.send_data(bytes, false)
    }
}

/// A message, compressed; `None` if that is not worthwhile.
fn compress(encoding: Encoding, slices: &[Bytes]) -> Option<Bytes> {
    let bytes: usize = slices.iter().map(Bytes::len).sum();
    if bytes < WORTH_COMPRESSING_BYTES {
        return None;
    }
    let compressed = blocking(|| encoding.compress(slices))?;
    (compressed.len() < bytes).then(|| compressed.into())
}

impl Stall {
    /// The client takes pieces again.
    fn over(&mut self) {
        if self.place.take().is_some() {
            self.timer = None;
        }
        self.piece_taken = true;
    }

    /// The client has taken something, if only a little, so its stall is not long.
    fn some_taken(&mut self, patience: Duration) {
        if let Some(place) = &mut self.place {
            place.unripen();
            self.set_timer(patience);
        }
    }

    fn set_timer(&mut self, time: Duration) {
        match &mut self.timer {
            Some(timer) => timer.set(sleep(time)),
            None => self.timer = Some(Box::pin(sleep(time))),
        }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx),
            None if self.place.is_some() => Poll::Pending,
            None => {
                let timer = self.timer.insert(Box::pin(sleep(GRACE)));
                timer.as_mut().poll(cx)
            }
        }
    }
}
