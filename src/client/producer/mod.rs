//! A producer: records go in one by one, and each is stored exactly once.
//!
//! The broker knows a producer by its id, and numbers its batches per partition. Requests that were
//! not answered, because the connection broke or the broker was restarted, are sent again
//! unchanged: same batches, same sequences, same order. The broker answers batches that it has
//! already as it did the first time, so nothing is stored twice and nothing is left out.
//!
//! # The ways in and out
//!
//! | What happens | The producer | Its records get |
//! |---|---|---|
//! | the broker answers | goes on | [`SentRecord`] |
//! | the connection breaks, or gives no answers | connects, sends again | their answer, later |
//! | the broker is restarted, overloaded, or its disk full | waits, sends again | their answer, later |
//! | it has forgotten the producer, which was idle | opens another, goes on; with a name, ends | their answer |
//! | it has forgotten the producer, and something is in doubt | ends | see below |
//! | it has opened the producer's name again: `FENCED` | ends | see below |
//! | its topic is deleted, or created anew: `UNKNOWN_TOPIC`, `TOPIC_RECREATED` | ends | see below |
//! | it refuses anything else | ends | see below |
//! | no progress for [`give_up_after`](NewProducer::give_up_after) | stops until [`Producer::resend`] | see below |
//! | a record is malformed or too large | refuses it, goes on | [`Error::Refused`] from [`Producer::send`] |
//!
//! When a producer ends or stops, everything that was answered is stored, unless its topic is
//! deleted. Records that were sent but not answered are in doubt, and get
//! [`Error::OutcomeUnknown`]. Records that were never sent, or only refused, are not stored: those
//! in the first such request get the error that ended the producer, or the broker's last refusal if
//! it has stopped because of that; all later ones get [`Error::StreamEnded`]. One that
//! has stopped keeps the requests that are in doubt, with their numbers, for `resend`.
//!
//! # Inside
//!
//! [`Producer::send`] encodes the record and puts it into a bounded queue. One task owns everything
//! behind the queue (`delivery.rs`): it fills requests (`filling.rs`, `request.rs`), sends them
//! over an append stream, keeps them until they are answered (`under_way.rs`), and decides how to
//! continue when the stream ends (`retry.rs`). The bytes of a record count against the window from
//! `send` to its answer.

mod delivery;
mod filling;
mod options;
mod request;
pub(super) mod retry;
mod stopped;
mod under_way;

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::JoinHandle,
};

pub use self::options::NewProducer;
use self::{
    delivery::{Command, Delivery},
    request::{Answer, Queued},
    stopped::Stopped,
};
use super::{
    Client, Error, Record, Refusal, Topic,
    batch::KnownTopic,
    status::{AtStake, answer},
};
use crate::{
    proto,
    types::{
        Offset, PartitionId, RecordView, Records, Version, limits::RECORD_BYTES, partition_of_key,
    },
};

/// Where an answer to the producer itself goes.
type Done = oneshot::Sender<Result<(), Error>>;

/// What a record costs in the window beside its bytes: its place in queues and its answer.
const RECORD_COST: usize = 128;

/// Most records that wait to be put into a request.
const QUEUED: usize = 1_024;

/// Appends records to a topic, each exactly once; see the [module](self) for what happens when
/// something goes wrong.
///
/// Records with a key go to the partition of their key, in the order in which they were sent; those
/// without a key go to one partition, another one for each request. If the producer is dropped,
/// records that were sent are still delivered, as long as the runtime lives.
#[derive(Debug)]
pub struct Producer {
    queue: mpsc::Sender<Command>,
    window: Arc<Semaphore>,
    window_bytes: usize,
    topic: String,
    partitions: u32,
    /// The partition of all records, if one was chosen.
    partition: Option<PartitionId>,
    max_record_bytes: usize,
    stopped: Stopped,
    delivery: JoinHandle<Result<(), Error>>,
}

/// Where a record is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SentRecord {
    /// The partition.
    pub partition: PartitionId,
    /// Its offset. `None` if the broker does not remember it: the record was sent again and was
    /// stored already, and the broker has many producers.
    pub offset: Option<Offset>,
    /// Its version, if the producer [asks for it](NewProducer::return_versions) and the record has
    /// one.
    pub version: Option<Version>,
}

/// The future answer to a record. The record is delivered even if this is not awaited;
/// [`Producer::flush`] waits until all are.
#[derive(Debug)]
#[must_use = "the record is delivered without waiting for it, but only this, `flush` and `finish` say that it was"]
pub struct Sent {
    answer: oneshot::Receiver<Result<SentRecord, Error>>,
}

impl Client {
    /// Appends records one by one, each exactly once, whatever happens to the connection and the
    /// broker meanwhile. See [`NewProducer`] for the options.
    pub fn producer(&self, topic: &str) -> NewProducer {
        NewProducer::new(self.clone(), topic)
    }

    async fn open_producer(&self, name: &str) -> Result<proto::Producer, Error> {
        let request = proto::OpenProducerRequest {
            name: name.to_owned(),
        };
        // If the answer is lost, an unused producer stays open at the broker, which does no harm.
        let response = answer(
            self.request_timeout,
            AtStake::Nothing,
            self.log.clone().open_producer(request),
        )
        .await?;
        Ok(response.producer.unwrap_or_default())
    }
}

impl Producer {
    async fn open(new: NewProducer) -> Result<Self, Error> {
        let NewProducer {
            client,
            topic,
            options,
            outages,
        } = new;
        let (
            Topic {
                id,
                partitions,
                settings,
                ..
            },
            _,
        ) = client.topics().describe(&topic).await?;
        let identity = client.open_producer(&options.name).await?;
        let max_record_bytes = settings
            .get("max.record.bytes")
            .and_then(|(bytes, _)| bytes.parse().ok());

        let (queue, commands) = mpsc::channel(QUEUED);
        let stopped = Stopped::default();
        let (window, window_bytes) = (
            Arc::new(Semaphore::new(options.window_bytes)),
            options.window_bytes,
        );
        let partition = options.partition;
        // Every topic has a partition; if the broker says otherwise, this avoids a panic.
        let partitions = partitions.max(1);
        let delivery = Delivery::new(
            client,
            KnownTopic {
                name: topic.clone(),
                id,
            },
            partitions,
            identity,
            options,
            (window.clone(), outages),
        );
        Ok(Self {
            queue,
            window,
            window_bytes,
            topic,
            partitions,
            partition,
            max_record_bytes: max_record_bytes.unwrap_or(RECORD_BYTES.2 as usize),
            stopped: stopped.clone(),
            delivery: tokio::spawn(delivery.run(commands, stopped)),
        })
    }

    /// Takes a record as soon as there is room in the window. The returned future resolves when the
    /// record is durable.
    ///
    /// If this call is dropped before it returns, the record is not sent.
    ///
    /// # Errors
    ///
    /// `MALFORMED_RECORD`, or `RECORD_TOO_LARGE` by the size that the topic allowed when the
    /// producer was opened: the record is refused, and the producer continues.
    /// [`Error::StreamEnded`]: the producer has ended, or given up; [`flush`](Self::flush) or an
    /// earlier record says why.
    pub async fn send(&self, record: Record<'_>) -> Result<Sent, Error> {
        let mut encoded = Vec::new();
        record.encode(&mut encoded);
        let partition = self.check(&encoded)?;
        self.stopped.check()?;
        let cost = (encoded.len() + RECORD_COST).min(self.window_bytes);
        let cost = u32::try_from(cost).expect("the window has less than 2^32 bytes");
        let room = self
            .window
            .clone()
            .acquire_many_owned(cost)
            .await
            .expect("the window is never closed");
        let (answer, receiver) = oneshot::channel();
        let queued = Queued {
            partition,
            encoded,
            answer: Answer::new(answer, room),
        };
        match self.queue.send(Command::Append(queued)).await {
            Ok(()) => Ok(Sent { answer: receiver }),
            Err(_) => Err(self.stopped.not_sent()),
        }
    }

    /// Sends all records so far without lingering, and waits until they are durable.
    ///
    /// # Errors
    ///
    /// What ended the producer, if it has ended or given up.
    pub async fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush).await
    }

    /// Goes on after the producer has given up. What is in doubt is sent again, with its numbers, so
    /// that it is stored once whatever became of it before, and is durable when this returns; from
    /// then on records are taken again. Of one that has not given up this is a
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    ///
    /// What ended the producer, if it has ended; [`Error::Unavailable`], [`Error::OutcomeUnknown`]
    /// or the broker's last refusal if it has given up again.
    pub async fn resend(&self) -> Result<(), Error> {
        self.ask(Command::Resend).await
    }

    async fn ask(&self, command: fn(Done) -> Command) -> Result<(), Error> {
        let (done, is_done) = oneshot::channel();
        let stopped = || self.stopped.why().unwrap_or_else(vanished);
        let asked = self.queue.send(command(done)).await;
        asked.map_err(|_| stopped())?;
        is_done.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Waits until everything is durable, and ends the producer.
    ///
    /// # Errors
    ///
    /// What ended the producer before that, or why it had given up.
    pub async fn finish(self) -> Result<(), Error> {
        drop(self.queue);
        self.delivery.await.unwrap_or_else(|_| Err(vanished()))
    }

    /// Checks a record as the broker would, and finds its partition if it has a key.
    fn check(&self, encoded: &[u8]) -> Result<Option<PartitionId>, Error> {
        let element = Records::new(encoded).next().expect("there is one record");
        let checked =
            element.and_then(|(_, record)| Ok((record.len(), RecordView::parse_new(record)?)));
        let (bytes, record) = checked.map_err(|error| {
            self.refusal(
                "MALFORMED_RECORD",
                format!(
                    "the record for topic {:?} is malformed: {error}",
                    self.topic
                ),
            )
        })?;
        if bytes > self.max_record_bytes {
            let message = format!(
                "the record for topic {:?} takes {bytes} bytes; the topic's max.record.bytes is {}: send smaller \
                 records or raise it",
                self.topic, self.max_record_bytes
            );
            return Err(self.refusal("RECORD_TOO_LARGE", message));
        }
        Ok(self
            .partition
            .or_else(|| record.key.map(|key| partition_of_key(key, self.partitions))))
    }

    fn refusal(&self, reason: &str, message: String) -> Error {
        Error::Refused(Box::new(Refusal {
            code: "InvalidArgument".to_owned(),
            reason: reason.to_owned(),
            message,
            metadata: BTreeMap::from([("topic".to_owned(), self.topic.clone())]),
            retry_after: None,
        }))
    }
}

impl Future for Sent {
    type Output = Result<SentRecord, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(vanished())))
    }
}

/// The error if the delivering task is gone without an answer, for example because the runtime was
/// shut down.
fn vanished() -> Error {
    Error::OutcomeUnknown {
        message: "the producer was stopped in the middle of its work".to_owned(),
    }
}
