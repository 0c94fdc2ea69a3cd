//! The options of a producer.

use std::time::Duration;

use super::Producer;
use crate::{
    client::{Client, Error, Outage, outage::Outages},
    types::{
        PartitionId,
        limits::{MAX_RECORDS_PER_APPEND, RECORD_BYTES},
    },
};

/// A producer to open; see [`Client::producer`]. The defaults suit most programs.
#[derive(Clone, Debug)]
#[must_use = "a producer does nothing until it is opened"]
pub struct NewProducer {
    pub(super) client: Client,
    pub(super) topic: String,
    pub(super) options: Options,
    pub(super) outages: Outages,
}

/// The options of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    /// Empty for none.
    pub(super) name: String,
    /// `None`: chosen by key.
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
            outages: Outages::default(),
        }
    }

    /// Gives the producer a name, of at most 255 bytes. A name fences: when another producer is
    /// opened with the same name, here or elsewhere, this one cannot append any more.
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.options.name);
        self
    }

    /// The partition of all records, with or without a key. Default: that of the key.
    pub fn partition(mut self, partition: PartitionId) -> Self {
        self.options.partition = Some(partition);
        self
    }

    /// Most bytes of records in one request; at most 8 MiB. Default: 1 MiB. A larger record goes
    /// alone.
    pub fn request_bytes(mut self, bytes: usize) -> Self {
        self.options.request_bytes = bytes.clamp(1, LARGEST_REQUEST);
        self
    }

    /// Most records in one request. Default: 10,000.
    pub fn request_records(mut self, records: usize) -> Self {
        self.options.request_records = records.clamp(1, MAX_RECORDS_PER_APPEND);
        self
    }

    /// How long a request waits for more records. Default: not at all. Records that come while the
    /// most requests are [in flight](Self::in_flight) go together anyway, so requests grow with the
    /// load.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// Most requests that wait for their answers; at most 256. Default: 8.
    pub fn in_flight(mut self, requests: usize) -> Self {
        self.options.in_flight = requests.clamp(1, MOST_IN_FLIGHT);
        self
    }

    /// Most bytes of records that were taken and are not answered; beyond, [`Producer::send`]
    /// waits. Default: 32 MiB. The producer uses up to twice this memory.
    pub fn window_bytes(mut self, bytes: usize) -> Self {
        self.options.window_bytes = bytes.clamp(1, u32::MAX as usize);
        self
    }

    /// How long the broker may make no progress, whether unreachable, overloaded or full, before
    /// the producer gives up, and ends with the broker's last refusal if there was one. Default: 2
    /// minutes.
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.options.give_up_after = time;
        self
    }

    /// Tells when the broker is away, or takes nothing for now, and when the producer goes on.
    /// What it calls must not block.
    pub fn on_outage(mut self, listener: impl Fn(Outage) + Send + Sync + 'static) -> Self {
        self.outages = Outages::told_to(listener);
        self
    }

    /// Asks for the version of every record: [`SentRecord::version`](super::SentRecord::version).
    pub fn return_versions(mut self) -> Self {
        self.options.return_versions = true;
        self
    }

    /// Opens the producer.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_TOPIC`, `TOO_MANY_PRODUCERS`, `MALFORMED_REQUEST` for a name that is too long, or
    /// if the broker is not available. Nothing is retried here.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub async fn open(self) -> Result<Producer, Error> {
        Producer::open(self).await
    }
}

/// So that a request has room for the largest record and everything around it.
const LARGEST_REQUEST: usize = RECORD_BYTES.2 as usize;

/// The most that a broker takes from a stream at a time.
const MOST_IN_FLIGHT: usize = 256;
