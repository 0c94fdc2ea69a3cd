//! The task that owns a producer's requests: it fills them, sends them, keeps them until they are
//! answered, and sends them again if necessary.
//!
//! On every new stream, all requests under way are sent first, in order. No more than the window
//! allows are under way; records that come meanwhile fill the next request.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::{Sleep, sleep},
};

use super::{
    Done,
    filling::Filling,
    options::Options,
    request::Queued,
    retry::{Backoff, Patience, Verdict, verdict},
    stopped::Stopped,
    under_way::UnderWay,
};
use crate::{
    client::{AppendWindow, Appended, Client, Error, batch::KnownTopic, outage::Outages},
    proto,
};

/// A command of a [`Producer`](super::Producer).
#[derive(Debug)]
pub(super) enum Command {
    Append(Queued),
    /// Answer when everything before is stored.
    Flush(Done),
    /// Answer when everything before is stored, and go on if the producer has given up.
    Resend(Done),
}

/// Owns everything between the queue and the broker.
pub(super) struct Delivery {
    client: Client,
    options: Options,
    producer: proto::Producer,
    /// The window of all records that were taken and are not answered.
    window: Arc<Semaphore>,
    filling: Filling,
    /// A record that did not fit into the request that is being filled.
    held: Option<Queued>,
    /// Whether the request that is being filled must be sent now.
    due: bool,
    linger: Pin<Box<Sleep>>,
    under_way: UnderWay,
    /// Whether no more commands come.
    closed: bool,
    patience: Patience,
    backoff: Backoff,
    outages: Outages,
}

enum Event {
    Answered(Result<Appended, Error>),
    Command(Option<Command>),
    Lingered,
    /// The stream gives no answers.
    Stalled,
    GaveUp,
}

/// Why a stream is not used any more.
enum Ended {
    /// Everything is stored, and no more commands come.
    Complete,
    Failed(Error),
    GaveUp(Error),
}

/// Why nothing is sent again.
enum Stop {
    /// There was no progress for too long.
    GaveUp(Error),
    /// It would not help.
    Final(Error),
}

impl Delivery {
    pub(super) fn new(
        client: Client,
        topic: KnownTopic,
        partitions: u32,
        producer: proto::Producer,
        options: Options,
        (window, outages): (Arc<Semaphore>, Outages),
    ) -> Self {
        Self {
            filling: Filling::new(topic, partitions, &options),
            patience: Patience::new(client.request_timeout, options.give_up_after),
            client,
            options,
            producer,
            window,
            held: None,
            due: false,
            linger: Box::pin(sleep(Duration::ZERO)),
            under_way: UnderWay::default(),
            closed: false,
            backoff: Backoff::new(),
            outages,
        }
    }

    /// Delivers until no more commands come, or something cannot be delivered.
    pub(super) async fn run(
        mut self,
        mut queue: mpsc::Receiver<Command>,
        stopped: Stopped,
    ) -> Result<(), Error> {
        loop {
            let result = match self.use_stream(&mut queue).await {
                Ended::Complete => return Ok(()),
                Ended::GaveUp(error) => Err(Stop::GaveUp(error)),
                Ended::Failed(error) => self.recover(error).await,
            };
            match result {
                Ok(()) => {}
                Err(Stop::GaveUp(error)) => {
                    self.wait_to_resend(&error, &mut queue, &stopped).await?;
                }
                Err(Stop::Final(error)) => {
                    stopped.set(Some(error.clone()));
                    self.end(&error, &stopped.not_sent(), queue);
                    return Err(error);
                }
            }
        }
    }

    /// Takes nothing until it is told to go on. What may be stored is kept; all else is forgotten,
    /// once its senders have been told.
    async fn wait_to_resend(
        &mut self,
        error: &Error,
        queue: &mut mpsc::Receiver<Command>,
        stopped: &Stopped,
    ) -> Result<(), Error> {
        let why = match self.under_way.is_any_in_doubt() {
            true => Error::OutcomeUnknown {
                message: format!("{error}; find out what became of the last records with `resend`"),
            },
            false => error.clone(),
        };
        stopped.set(Some(why.clone()));
        let later = stopped.not_sent();
        let forgotten = self.under_way.give_up(error, &later, &why);
        self.filling.forget(&forgotten, &later);
        if let Some(held) = self.held.take() {
            held.answer.give(Err(later.clone()));
        }
        self.due = false;
        loop {
            match queue.recv().await {
                None => return Err(why),
                Some(Command::Append(record)) => record.answer.give(Err(later.clone())),
                Some(Command::Flush(done)) => drop(done.send(Err(why.clone()))),
                Some(Command::Resend(done)) => {
                    stopped.set(None);
                    self.patience.restart();
                    self.backoff.reset();
                    self.under_way.flush(false, done);
                    return Ok(());
                }
            }
        }
    }

    /// Sends what is under way, and then new requests, until the stream ends.
    async fn use_stream(&mut self, queue: &mut mpsc::Receiver<Command>) -> Ended {
        // One more than usual, for the request that is closed when the producer is opened again.
        let window = AppendWindow {
            requests: self.options.in_flight + 1,
            bytes: usize::MAX,
        };
        let appender = self.client.append_stream_with(window);
        self.patience.restart_stream();
        loop {
            while self.due && self.under_way.len() < self.options.in_flight {
                self.close_request();
                self.fill_held();
            }
            if self
                .under_way
                .send(&appender, self.producer, self.options.return_versions)
                .await
                .is_err()
            {
                return Ended::Failed(self.under_way.why_it_ended(appender).await);
            }
            if self.closed && self.under_way.is_empty() && self.filling.is_empty() {
                // Everything is answered, so nothing can fail any more.
                drop(appender.finish().await);
                return Ended::Complete;
            }
            match self.next_event(queue).await {
                Event::Answered(Ok(appended)) => self.answered(&appended),
                Event::Answered(Err(error)) => {
                    self.under_way.failed(&error).await;
                    return Ended::Failed(error);
                }
                Event::Command(command) => self.take(command, queue),
                Event::Lingered => self.due = true,
                Event::Stalled => return Ended::Failed(self.under_way.abandon(appender)),
                Event::GaveUp => return Ended::GaveUp(gave_up(&self.under_way.abandon(appender))),
            }
        }
    }

    async fn next_event(&mut self, queue: &mut mpsc::Receiver<Command>) -> Event {
        let waiting = !self.under_way.is_empty();
        let lingered = lingered(&mut self.linger, self.options.linger);
        tokio::select! {
            biased;
            answer = self.under_way.first_answer(), if waiting => Event::Answered(answer),
            command = queue.recv(), if !self.closed && self.held.is_none() => Event::Command(command),
            () = lingered, if !self.due && !self.filling.is_empty() => Event::Lingered,
            () = &mut self.patience.stream, if waiting => Event::Stalled,
            () = &mut self.patience.all, if waiting => Event::GaveUp,
        }
    }

    /// Takes a command, and all others that are queued already.
    fn take(&mut self, first: Option<Command>, queue: &mut mpsc::Receiver<Command>) {
        let mut next = first;
        loop {
            match next {
                Some(Command::Append(record)) => self.fill(record),
                Some(Command::Flush(done) | Command::Resend(done)) => {
                    self.due = true;
                    self.under_way.flush(!self.filling.is_empty(), done);
                }
                None => self.closed = true,
            }
            if self.closed || self.held.is_some() {
                break;
            }
            match queue.try_recv() {
                Ok(command) => next = Some(command),
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => next = None,
            }
        }
        self.due |= self.is_urgent();
        self.due &= !self.filling.is_empty();
    }

    /// Whether requests must not wait for more records. When the window is more than half full, a
    /// sender that waits for room in it may be waiting for this very request.
    fn is_urgent(&self) -> bool {
        self.closed || self.window.available_permits() <= self.options.window_bytes / 2
    }

    fn fill(&mut self, record: Queued) {
        if !self.filling.fits(&record) {
            self.held = Some(record);
            self.due = true;
            return;
        }
        if self.filling.is_empty() {
            self.linger.set(sleep(self.options.linger));
        }
        self.filling.push(record);
    }

    /// Puts the record that did not fit into the next request, first of all.
    fn fill_held(&mut self) {
        if let Some(record) = self.held.take() {
            self.fill(record);
            self.due |= self.is_urgent();
        }
    }

    fn close_request(&mut self) {
        self.due = false;
        if let Some(request) = self.filling.take() {
            if self.under_way.is_empty() {
                self.patience.restart();
            }
            self.under_way.push(request);
        }
    }

    fn answered(&mut self, appended: &Appended) {
        self.under_way.answered(appended);
        self.patience.restart();
        self.backoff.reset();
        self.outages.end();
    }

    /// Waits until it is time to send again; fails if that would not help.
    async fn recover(&mut self, error: Error) -> Result<(), Stop> {
        match verdict(&error) {
            Verdict::SendAgain(after) => {
                self.outages.begin(&error);
                self.pause(after, &error).await
            }
            Verdict::Forgotten => self.open_again(error).await,
            Verdict::End => Err(Stop::Final(error)),
        }
    }

    async fn pause(&mut self, after: Option<Duration>, error: &Error) -> Result<(), Stop> {
        let is_waiting = !self.under_way.is_empty();
        tokio::select! {
            biased;
            () = &mut self.patience.all, if is_waiting => Err(Stop::GaveUp(gave_up(error))),
            () = sleep(self.backoff.next(after)) => Ok(()),
        }
    }

    /// Opens a new producer, which counts from 0, because the broker has forgotten the old one.
    /// Only if nothing is in doubt, since the broker does not know any more what it has stored; and
    /// only without a name, since another process may have taken the name over, and would be
    /// fenced.
    async fn open_again(&mut self, forgotten: Error) -> Result<(), Stop> {
        if !self.options.name.is_empty() || self.under_way.is_any_in_doubt() {
            return Err(Stop::Final(forgotten));
        }
        self.producer = loop {
            match self.client.open_producer(&self.options.name).await {
                Ok(producer) => break producer,
                Err(error) => match verdict(&error) {
                    Verdict::SendAgain(after) => self.pause(after, &error).await?,
                    Verdict::Forgotten | Verdict::End => return Err(Stop::Final(error)),
                },
            }
        };
        // Its batches have sequences already.
        self.close_request();
        self.under_way.renumber(&mut self.filling);
        self.fill_held();
        Ok(())
    }

    /// Tells all waiting senders how the producer ended; those whose records were not sent get
    /// `later`.
    fn end(self, error: &Error, later: &Error, mut queue: mpsc::Receiver<Command>) {
        self.under_way.fail(error, later);
        self.filling.fail(later);
        if let Some(held) = self.held {
            held.answer.give(Err(later.clone()));
        }
        queue.close();
        while let Ok(command) = queue.try_recv() {
            match command {
                Command::Append(record) => record.answer.give(Err(later.clone())),
                Command::Flush(done) | Command::Resend(done) => {
                    drop(done.send(Err(error.clone())));
                }
            }
        }
    }
}

/// Resolves when a request has waited long enough for more records. Without a wait no timer is
/// used, because even the shortest takes a millisecond.
async fn lingered(linger: &mut Pin<Box<Sleep>>, time: Duration) {
    if !time.is_zero() {
        linger.await;
    }
}

/// The error when the producer has given up: the broker's last refusal, if that was the cause.
fn gave_up(last: &Error) -> Error {
    match last {
        Error::Refused(refusal) => {
            let mut refusal = refusal.clone();
            refusal.message = format!("{last}; gave up for want of progress");
            Error::Refused(refusal)
        }
        _ => Error::Unavailable {
            message: format!("gave up for want of progress: {last}"),
        },
    }
}
