//! How a producer works.

use std::time::Duration;

use super::Producer;
use crate::{
    client::{Client, Error},
    types::{
        PartitionId,
        limits::{MAX_RECORDS_PER_APPEND, RECORD_BYTES},
    },
};

/// A producer to open; see [`Client::producer`]. The defaults suit most.
#[derive(Clone, Debug)]
#[must_use = "a producer does nothing until it is opened"]
pub struct NewProducer {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) options: Options,
}

/// What can be chosen of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Empty: none.
    pub(super) name: String,
    /// None: by key.
    pub(super) partition: Option<PartitionId>,
    pub(super) request_bytes: usize,
    pub(super) request_records: usize,
    pub(super) linger: Duration,
    pub(super) in_flight: usize,
    pub(super) window_bytes: usize,
    pub(super) give_up_after: Duration,
    pub(super) return_versions: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: String::new(),
            partition: None,
            request_bytes: 1 << 20,
            request_records: 10_000,
            linger: Duration::ZERO,
            in_flight: 8,
            window_bytes: 32 << 20,
            give_up_after: Duration::from_secs(120),
            return_versions: false,
        }
    }
}

impl NewProducer {
    pub(super) fn new(client: Client, topic: &str) -> Self {
        Self {
            client,
            topic: topic.to_owned(),
            options: Options::default(),
        }
    }

    /// A name fences: as soon as another producer of this name is opened, here or on another
    /// machine, this one appends no more. At most 255 bytes.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.options.name);
        self
    }

    /// The partition of all records, with a key or without. Default: that of the key.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.options.partition = Some(partition);
        self
    }

    /// Most bytes of records that go into one request, default 1 MiB; a larger record goes alone.
    /// At most 8 MiB.
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.options.request_bytes = bytes.clamp(1, LARGEST_REQUEST);
        self
    }

    /// Most records that go into one request, default 10,000.
    pub fn request_records(mut self, records: usize) -> Self {
        self.options.request_records = records.clamp(1, MAX_RECORDS_PER_APPEND);
        self
    }

    /// How long a request waits for more records. Default: not at all. What comes while as many
    /// requests as may be are [in flight](Self::in_flight) goes together anyway, so that requests
    /// grow with the load.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// Most requests that wait for their answers, default 8; at most 256.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.options.in_flight = requests.clamp(1, MOST_IN_FLIGHT);
        self
    }

    /// Most bytes of records that have been taken and not been answered, default 32 MiB;
    /// [`Producer::send`] waits beyond. This is the memory that the producer takes, up to twice.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.options.window_bytes = bytes.clamp(1, u32::MAX as usize);
        self
    }

    /// How long the broker may make no progress, be it unreachable, overloaded or full, before the
    /// producer gives up. Default 2 minutes.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.options.give_up_after = time;
        self
    }

    /// Asks for the version of every record: [`SentRecord::version`](super::SentRecord::version).
    pub fn return_versions(mut self) -> Self {
        self.options.return_versions = true;
        self
    }

    /// Opens it.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `TOO_MANY_PRODUCERS`, `MALFORMED_REQUEST` for a name that is too long, or
    /// that the broker is not available: nothing is tried again here.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn open(self) -> Result<Producer, Error> {
        Producer::open(self).await
    }
}

/// So that a request has room for a record of the largest size, and for what is around records.
const LARGEST_REQUEST: usize = RECORD_BYTES.2 as usize;

/// As many as a broker takes off a stream.
const MOST_IN_FLIGHT: usize = 256;
