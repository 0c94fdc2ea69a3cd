//! `Read`.

use std::{
    ops::Range,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::position::{partitions, position, topic_id};
use crate::{
    broker::{ErasedEntity, Error, Filter, Read, ReadBatch, Reader, ResponseLimit, Step},
    proto::{
        self, ReadRequest,
        wire::{self, ReadResponse},
    },
    server::{
        answers::{Source, part_of},
        blocking::blocking,
        limits::{HEARTBEAT_INTERVAL, LIGHT_BYTES},
        stop::Stopped,
    },
    types::{Offset, PartitionId},
};

pub(in crate::server) fn request(request: ReadRequest) -> Result<Read, Error> {
    let filter = request.filter.unwrap_or_default();
    Ok(Read {
        topic: request.topic,
        topic_id: topic_id(&request.topic_id)?,
        start: position(request.start)?,
        partitions: partitions(request.partitions)?,
        follow: request.follow,
        max_records: request.max_records,
        filter: Filter {
            // Copied, because slices would keep the whole request in memory.
            keys: filter
                .keys
                .iter()
                .map(|key| Bytes::copy_from_slice(key))
                .collect(),
            types: filter.types,
        },
        response: ResponseLimit::of(request.max_response_bytes)?,
    })
}

/// The message of a batch without its records, which follow it.
fn head(batch: &ReadBatch, topic_id: &str) -> Bytes {
    let response = ReadResponse {
        partition: batch.partition.0,
        next_offset: batch.next_offset.0,
        high_watermark: batch.high_watermark.0,
        caught_up: batch.caught_up,
        erased: batch.erased.iter().map(erased).collect(),
        topic_id: topic_id.to_owned(),
        records: Vec::new(),
    };
    wire::encode(&response)
}

pub(in crate::server) fn erased(entity: &ErasedEntity) -> proto::ErasedEntity {
    proto::ErasedEntity {
        key_sha256: Bytes::copy_from_slice(&entity.key_sha256),
        through_version: entity.through.0,
        end_offset: entity.end.0,
    }
}

/// The responses of a `Read`. The next step is taken when the previous response has been sent.
pub(crate) struct ReadAnswers {
    reader: Option<Reader>,
    /// The topic's id, which is in every response: it belongs to each offset that a client keeps.
    topic_id: String,
    /// What the reader must wait for before its next step.
    waiting: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Fires when it has waited long enough to send heartbeats.
    heartbeat_timer: Pin<Box<Sleep>>,
    /// The partition whose heartbeat is sent next, while heartbeats are sent.
    heartbeat: Option<usize>,
    /// Set for a read that follows; any other read ends by itself.
    stopped: Option<Stopped>,
    /// The last response, without its records.
    head: Bytes,
}

impl ReadAnswers {
    pub(super) fn new(reader: Reader, stopped: Option<Stopped>) -> Self {
        Self {
            topic_id: reader.topic_id().to_string(),
            reader: Some(reader),
            waiting: None,
            heartbeat_timer: Box::pin(sleep(HEARTBEAT_INTERVAL)),
            heartbeat: None,
            stopped,
            head: Bytes::new(),
        }
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<ReadBatch>, Error>> {
        while self.reader.is_some() {
            if self
                .stopped
                .as_mut()
                .is_some_and(|stopped| stopped.as_mut().poll(cx).is_ready())
            {
                return Poll::Ready(Err(Error::ShuttingDown));
            }
            if let Some(heartbeat) = self.heartbeat() {
                return Poll::Ready(Ok(Some(heartbeat)));
            }
            if self.waiting.is_some() {
                ready!(self.poll_wait(cx));
            } else if let Some(batch) = self.step()? {
                return Poll::Ready(Ok(Some(batch)));
            }
        }
        Poll::Ready(Ok(None))
    }

    /// Ready when the wait is over, or has lasted so long that heartbeats are due; after these it
    /// continues.
    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self
            .waiting
            .as_mut()
            .is_none_or(|waiting| waiting.as_mut().poll(cx).is_ready())
        {
            self.waiting = None;
            return Poll::Ready(());
        }
        ready!(self.heartbeat_timer.as_mut().poll(cx));
        self.restart_heartbeat_timer();
        self.heartbeat = Some(0);
        Poll::Ready(())
    }

    fn heartbeat(&mut self) -> Option<ReadBatch> {
        let nth = self.heartbeat?;
        let batch = self.reader.as_ref()?.heartbeat(nth);
        self.heartbeat = batch.is_some().then_some(nth + 1);
        batch
    }

    fn step(&mut self) -> Result<Option<ReadBatch>, Error> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let step = match reader.is_light(LIGHT_BYTES) {
            true => reader.step(),
            false => blocking(|| reader.step()),
        };
        match step? {
            Step::Batch(batch) => return Ok(Some(batch)),
            Step::Wait(wait) => {
                self.waiting = Some(wait);
                self.restart_heartbeat_timer();
            }
            Step::End => self.reader = None,
        }
        Ok(None)
    }

    fn restart_heartbeat_timer(&mut self) {
        self.heartbeat_timer.set(sleep(HEARTBEAT_INTERVAL));
    }
}

impl Source for ReadAnswers {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        let Some(batch) = ready!(self.poll_batch(cx))? else {
            return Poll::Ready(Ok(None));
        };
        self.head = head(&batch, &self.topic_id);
        if let Some(reader) = &self.reader {
            reader.check_response(self.head.len(), &batch)?;
        }
        let mut slices = vec![self.head.clone()];
        slices.extend(batch.records);
        Poll::Ready(Ok(Some(slices)))
    }

    fn is_light(&self) -> bool {
        let reader = self.reader.as_ref();
        self.heartbeat.is_some() || reader.is_none_or(|reader| reader.is_light(LIGHT_BYTES))
    }

    fn is_complete(&self) -> bool {
        self.reader.as_ref().is_none_or(Reader::is_complete)
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let mut slices = vec![self.head.clone()];
        if let Some(reader) = &mut self.reader {
            slices.extend(reader.again()?);
        }
        Ok(slices)
    }

    fn part_again(&mut self, part: Range<usize>) -> Option<Vec<Bytes>> {
        let reader = self.reader.as_ref()?;
        part_of(&self.head, part, |records| reader.part_again(records))
    }

    fn memory(&self) -> usize {
        self.reader.as_ref().map_or(0, Reader::memory)
    }

    fn let_go(&mut self) {
        if let Some(reader) = &mut self.reader {
            reader.let_go();
        }
    }

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        self.reader
            .as_ref()
            .map_or_else(Vec::new, Reader::next_offsets)
    }
}
