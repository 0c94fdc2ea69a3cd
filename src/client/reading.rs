//! A read, which goes on by itself where it was when the connection or the broker was lost.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;
use tonic::{Status, Streaming};

use super::link::Link;
use super::{
    Error, Read, ReadBatch, StoredRecord,
    offsets::to_wire,
    outage::Outages,
    retries::{Retries, now},
    status::AtStake,
};
use crate::{
    proto::{self, log_client::LogClient, wire::ReadResponse},
    types::{Offset, PartitionId, Position, TopicId},
};

/// A read of a topic. Dropping it ends it.
///
/// When the connection or the broker is lost, it goes on by itself behind what it has returned,
/// for as long as [`Read::retry_for`] allows.
pub struct Reading {
    log: LogClient<Link>,
    /// What is read, from where it began.
    request: proto::ReadRequest,
    positions: BTreeMap<PartitionId, Offset>,
    responses: Option<Streaming<ReadResponse>>,
    /// The next stream of responses, if there is none.
    opening: Option<Opening>,
    /// Whether as many records have come as were asked for.
    is_complete: bool,
    retries: Retries,
    outages: Outages,
    /// The rest of the last batch, when records are taken one by one.
    records: VecDeque<StoredRecord>,
}

/// Opens a stream, after a pause. It is kept, so that a program may stop waiting at any moment and
/// wait again. The lock is never taken; it lets threads share a [`Reading`].
type Opening = Mutex<Pin<Box<dyn Future<Output = Result<Streaming<ReadResponse>, Status>> + Send>>>;

impl Reading {
    /// Begins a read whose places are settled.
    pub(super) async fn open(
        read: Read,
        positions: BTreeMap<PartitionId, Offset>,
    ) -> Result<Self, Error> {
        let mut reading = Self {
            log: read.log,
            request: read.request,
            positions,
            responses: None,
            opening: None,
            is_complete: false,
            retries: Retries::new(read.retry_for),
            outages: read.outages,
            records: VecDeque::new(),
        };
        reading.connect().await.map_err(|status| failed(&status))?;
        Ok(reading)
    }

    /// The next batch: some records of one partition, or news about how far the read is. `None` at
    /// the end.
    ///
    /// # Errors
    ///
    /// [`Error::DamagedRecords`] at a damaged range: continue behind it with a new read.
    /// [`Error::Unavailable`] if the broker was away for longer than [`Read::retry_for`]: ask again
    /// to try again. [`Error::OffsetOutOfRange`] if what comes next was trimmed while the broker
    /// was away, and `TOPIC_RECREATED` if the topic is another one by then. `UNKNOWN_TOPIC` if the
    /// topic was deleted.
    pub async fn next_batch(&mut self) -> Result<Option<ReadBatch>, Error> {
        loop {
            let error = match self.receive().await {
                Ok(Some(response)) => return Ok(Some(self.take(response))),
                Ok(None) if !self.request.follow => return Ok(None),
                _ if self.is_complete => return Ok(None),
                Ok(None) => Error::Unavailable {
                    message: "the broker has ended the read".to_owned(),
                },
                Err(status) => failed(&status),
            };
            self.go_on_after(error)?;
        }
    }

    /// The next record on its own; `None` at the end. Use either this or
    /// [`next_batch`](Self::next_batch); only that one tells of erased entities.
    ///
    /// # Errors
    ///
    /// As [`next_batch`](Self::next_batch), and [`Error::MalformedResponse`].
    pub async fn next_record(&mut self) -> Result<Option<StoredRecord>, Error> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Ok(Some(record));
            }
            let Some(batch) = self.next_batch().await? else {
                return Ok(None);
            };
            for record in batch.owned_records() {
                self.records.push_back(record?);
            }
        }
    }

    /// The topic's id, if the broker has sent it. Pass it to [`Read::topic_id`] for a read that
    /// continues from [`positions`](Self::positions).
    #[must_use]
    pub fn topic_id(&self) -> Option<TopicId> {
        TopicId::parse(&self.request.topic_id)
    }

    /// Where the next batch of each partition begins, as far as that is known. Another read can be
    /// continued from here, in the same topic.
    #[must_use]
    pub fn positions(&self) -> &BTreeMap<PartitionId, Offset> {
        &self.positions
    }

    async fn receive(&mut self) -> Result<Option<ReadResponse>, Status> {
        self.connect().await?;
        let responses = self.responses.as_mut().expect("it is open");
        responses.message().await
    }

    /// Opens a stream of responses if there is none.
    async fn connect(&mut self) -> Result<(), Status> {
        if self.responses.is_some() {
            return Ok(());
        }
        if self.opening.is_none() {
            self.opening = Some(self.open_after(Duration::ZERO));
        }
        let opening = self.opening.as_mut().expect("it was begun");
        let opening = opening.get_mut().unwrap_or_else(PoisonError::into_inner);
        let opened = opening.await;
        self.opening = None;
        self.responses = Some(opened?);
        Ok(())
    }

    /// A stream of what comes behind what was returned, after a pause.
    fn open_after(&self, pause: Duration) -> Opening {
        let (mut log, mut request) = (self.log.clone(), self.request.clone());
        for place in &mut request.partitions {
            if let Some(next) = self.positions.get(&PartitionId(place.partition)) {
                place.position = Some(to_wire(Position::Offset(*next)));
            }
        }
        Mutex::new(Box::pin(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            Ok(log.read(request).await?.into_inner())
        }))
    }

    /// Gets ready to go on after a failure, or returns it if that would not help any more.
    fn go_on_after(&mut self, error: Error) -> Result<(), Error> {
        self.responses = None;
        let Some(pause) = self.retries.pause(&error, now()) else {
            return Err(error);
        };
        self.outages.begin(&error);
        self.opening = Some(self.open_after(pause));
        Ok(())
    }

    fn take(&mut self, response: ReadResponse) -> ReadBatch {
        self.retries.progress();
        self.outages.end();
        if self.request.topic_id.is_empty() {
            self.request.topic_id.clone_from(&response.topic_id);
        }
        let batch = ReadBatch::new(response);
        self.positions.insert(batch.partition, batch.next_offset);
        if self.request.max_records > 0 {
            let left = self.request.max_records.saturating_sub(batch.count());
            self.is_complete = left == 0;
            self.request.max_records = left;
        }
        batch
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reading");
        debug
            .field("request", &self.request)
            .field("positions", &self.positions)
            .finish_non_exhaustive()
    }
}

fn failed(status: &Status) -> Error {
    Error::from_status(status, AtStake::Nothing)
}
