//! Producers as a broker knows them, for administration.

use std::time::Duration;

use super::{
    Client, Error,
    status::{self, AtStake},
};
use crate::{
    proto::{self, forget_producer_request},
    types::ProducerId,
};

/// A producer that a broker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownProducer {
    /// Its id.
    pub id: ProducerId,
    /// Its current epoch.
    pub epoch: u32,
    /// Its name; empty if it has none.
    pub name: String,
    /// For how long it has been idle, counted while the broker ran.
    pub idle: Duration,
    /// How many partitions it has appended to.
    pub partitions: u64,
}

/// Some producers of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerPage {
    /// The producers, by id.
    pub producers: Vec<KnownProducer>,
    /// Whether there are more behind the last one.
    pub more: bool,
}

impl Client {
    /// Lists at most `limit` producers (0 for 1,000) with ids above `after`.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn list_producers(
        &self,
        after: ProducerId,
        limit: u32,
    ) -> Result<ProducerPage, Error> {
        self.list_producers_as(proto::ListProducersRequest {
            name: String::new(),
            page_size: limit,
            after: after.0,
        })
        .await
    }

    /// The producer with a name, if the broker knows one.
    ///
    /// # Errors
    ///
    /// If the broker is not available.
    pub async fn producer_named(&self, name: &str) -> Result<Option<KnownProducer>, Error> {
        // An empty name would ask for all producers.
        if name.is_empty() {
            return Ok(None);
        }
        let request = proto::ListProducersRequest {
            name: name.to_owned(),
            ..proto::ListProducersRequest::default()
        };
        let page = self.list_producers_as(request).await?;
        Ok(page.producers.into_iter().next())
    }

    async fn list_producers_as(
        &self,
        request: proto::ListProducersRequest,
    ) -> Result<ProducerPage, Error> {
        let mut calls = self.broker.clone();
        let call = calls.list_producers(request);
        let answer = status::answer(self.request_timeout, AtStake::Nothing, call).await?;
        Ok(ProducerPage {
            producers: answer.producers.into_iter().map(Into::into).collect(),
            more: answer.more,
        })
    }

    /// Makes the broker forget a producer: what it sends from now on is refused with
    /// `UNKNOWN_PRODUCER`. Returns the producer as it was.
    ///
    /// # Errors
    ///
    /// `UNKNOWN_PRODUCER`.
    pub async fn forget_producer(&self, id: ProducerId) -> Result<KnownProducer, Error> {
        let request = proto::ForgetProducerRequest {
            producer: Some(forget_producer_request::Producer::Id(id.0)),
        };
        let mut calls = self.broker.clone();
        let call = calls.forget_producer(request);
        let answer = status::answer(self.request_timeout, AtStake::Change, call).await?;
        Ok(answer.producer.unwrap_or_default().into())
    }
}

impl From<proto::KnownProducer> for KnownProducer {
    fn from(known: proto::KnownProducer) -> Self {
        Self {
            id: ProducerId(known.id),
            epoch: known.epoch,
            name: known.name,
            idle: Duration::from_millis(known.idle_ms),
            partitions: known.partitions,
        }
    }
}
