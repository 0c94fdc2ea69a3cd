//! The Rust client.
//!
//! ```no_run
//! use taffrail::client::{Batch, Client, NewTopic, Record};
//!
//! # async fn example() -> Result<(), taffrail::client::Error> {
//! let client = Client::connect("http://127.0.0.1:9640").await?;
//! client.topics().create(&NewTopic::new("orders").partitions(6)).await?;
//!
//! // When this returns, the record is synced to disk.
//! let order = Record::new().key("order-4711").event_type("placed").value(r#"{"total":42}"#);
//! let appended = client.append(Batch::of("orders", [order])).await?;
//! println!("stored at {:?}", appended.ranges().next());
//!
//! let mut records = client.read("orders").open().await?;
//! while let Some(record) = records.next_record().await? {
//!     println!("{}/{}: {} bytes", record.partition, record.offset, record.value.map_or(0, |value| value.len()));
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The ways in and out
//!
//! | To | Use | Because |
//! |---|---|---|
//! | append, and know that it is stored | [`Client::append`] | one answer for each; many tasks share a stream |
//! | append to several topics, or not at all | [`Client::append`] with several [`Batch`]es | one atomic commit |
//! | append only if nobody was faster | [`Append::expect_version`] | compared with what is stored when it is appended |
//! | append records one by one, each exactly once | [`Client::producer`] | batches, retries, no duplicates |
//! | append many, in order | [`Client::append_stream`] | many requests under way, answered in order |
//! | read conveniently | [`Reading::next_record`] | owned records |
//! | read on across restarts of the broker | [`Read::follow`] | it goes on by itself where it was |
//! | read fast | [`Reading::next_batch`] | records borrowed from the received bytes |
//! | share the work of reading | [`Client::member`] | the broker assigns partitions and keeps how far they have come |
//! | read one entity | [`Entities::read`] | its records by version, without looking at any other |
//! | store a topic as it was elsewhere | [`Client::import`] | offsets, versions and times stay what they were |
//! | see how entities are now | [`Entities::latest`] | the last record of up to 1,000, at one moment |
//!
//! # Errors
//!
//! Every call says which of three things is true: the broker refused and nothing happened
//! ([`Error::Refused`] and its precise forms), the broker was not reached and nothing happened
//! ([`Error::Unavailable`]), or the connection broke after sending and the append is stored or is
//! not ([`Error::OutcomeUnknown`]).
//!
//! A client is cheap to clone; clones share one connection, which is made again when it is lost.
//! One connection is driven by one task, so that a program that has more cores than it fills should
//! connect more than once.

mod append;
mod appender;
mod backup;
mod batch;
mod broker_limits;
mod broker_status;
mod clock;
mod conditions;
mod entities;
mod error;
mod group;
mod import;
mod known;
mod link;
mod offsets;
mod options;
mod outage;
pub mod producer;
mod read;
mod reading;
mod record;
mod retries;
mod secure;
mod sending;
mod shared;
mod socket;
mod status;
mod stored;
mod tokens;
mod topics;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tonic::transport::Channel;

pub use append::{Append, Appended, AppendedRange};
pub use appender::{AppendHandle, AppendWindow, Appender};
pub use backup::{Backup, BackupBegun, BackupFile, BackupPart};
pub use batch::Batch;
pub use broker_limits::{Limit, Limits};
pub use broker_status::{BackupJournal, BrokerStatus, Level, MemoryPart};
pub use clock::Clock;
pub use conditions::{Actual, FailedCondition};
pub use entities::{
    Entities, EntityBatch, EntityReading, Erasure, LatestRecord, ReadEntity, TrimmedEntity,
};
pub use error::{Error, Refusal};
pub use group::{
    AssignedPartition, CommitOutcome, CommittedOffset, FailedPartition, GroupBatch,
    GroupDescription, GroupMember, GroupOffset, GroupPage, GroupPartition,
    GroupPartitionDescription, GroupRecord, GroupReset, GroupState, Groups, ListedGroup, Member,
    NewMember, NoOffset, OffsetGone, ResetGroup, ResetOffset, Revoked,
};
pub use import::{Import, ImportedRecord};
pub use known::{KnownProducer, ProducerPage};
pub use link::Token;
pub use offsets::PartitionOffset;
pub use options::Options;
pub use outage::Outage;
pub use producer::{NewProducer, Producer, Sent, SentRecord};
pub use read::{ErasedEntity, Read, ReadBatch};
pub use reading::Reading;
pub use record::Record;
pub use secure::Tls;
pub use stored::StoredRecord;
pub use tokens::{AccessToken, Tokens};
pub use topics::{Compaction, NewTopic, Partition, Removal, Scrub, Topic, TopicPage, Topics};

use self::{link::Link, shared::SharedStream};
use crate::{
    proto::{
        admin_client::AdminClient, broker_client::BrokerClient, entities_client::EntitiesClient,
        groups_client::GroupsClient, log_client::LogClient, tokens_client::TokensClient,
        topics_client::TopicsClient,
    },
    types::limits,
};

/// The largest message that is accepted from the broker, and what the broker is told to send at
/// most.
const MAX_RECEIVED_BYTES: usize = limits::CLIENT_RESPONSE_BYTES as usize;

/// A connection to a broker.
#[derive(Clone, Debug)]
pub struct Client {
    log: LogClient<Link>,
    topics: TopicsClient<Link>,
    entities: EntitiesClient<Link>,
    broker: BrokerClient<Link>,
    groups: GroupsClient<Link>,
    tokens: TokensClient<Link>,
    admin: AdminClient<Link>,
    appends: SharedStream,
    request_timeout: Duration,
}

impl Client {
    /// Connects to a broker with the default [`Options`]: at a URL such as `http://127.0.0.1:9640`,
    /// or `https://broker.example:9640` if it uses TLS, or through a Unix socket on the same
    /// machine, `unix:PATH`, with the path of a socket or of a data directory.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidServer`] if the address is malformed, [`Error::Unavailable`] if nothing
    /// answers there.
    pub async fn connect(server: &str) -> Result<Self, Error> {
        Options::default().connect(server).await
    }

    /// Uses a connection that was made in another way, such as over an in-process pipe, with the
    /// default request timeout.
    #[must_use]
    pub fn from_channel(channel: Channel) -> Self {
        Self::new(Link::new(channel, None), Options::default().request_timeout)
    }

    fn new(link: Link, request_timeout: Duration) -> Self {
        Self {
            log: LogClient::new(link.clone()).max_decoding_message_size(MAX_RECEIVED_BYTES),
            entities: EntitiesClient::new(link.clone())
                .max_decoding_message_size(MAX_RECEIVED_BYTES),
            broker: BrokerClient::new(link.clone()).max_decoding_message_size(MAX_RECEIVED_BYTES),
            groups: GroupsClient::new(link.clone()).max_decoding_message_size(MAX_RECEIVED_BYTES),
            tokens: TokensClient::new(link.clone()).max_decoding_message_size(MAX_RECEIVED_BYTES),
            admin: AdminClient::new(link.clone()).max_decoding_message_size(MAX_RECEIVED_BYTES),
            topics: TopicsClient::new(link).max_decoding_message_size(MAX_RECEIVED_BYTES),
            appends: SharedStream::new(),
            request_timeout,
        }
    }

    /// Compresses messages with records, in both directions.
    #[cfg(feature = "compression")]
    fn compressing(mut self) -> Self {
        use tonic::codec::CompressionEncoding::Gzip;
        self.log = self.log.send_compressed(Gzip).accept_compressed(Gzip);
        self.entities = self.entities.send_compressed(Gzip).accept_compressed(Gzip);
        self.groups = self.groups.send_compressed(Gzip).accept_compressed(Gzip);
        self
    }

    /// Creates and administers topics.
    #[must_use]
    pub fn topics(&self) -> Topics {
        Topics::new(self.topics.clone(), self.request_timeout)
    }

    /// Reads, trims and erases entities.
    #[must_use]
    pub fn entities(&self) -> Entities {
        Entities::new(self.entities.clone(), self.request_timeout)
    }

    /// Reads a topic: by default everything there is now, from the earliest record on. See [`Read`]
    /// for the options.
    pub fn read(&self, topic: &str) -> Read {
        Read::new(self.log.clone(), self.request_timeout, topic)
    }
}
