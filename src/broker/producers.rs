//! Producers: opening them, and what is kept of them.

use std::time::Duration;

use super::{Broker, Error, Pending, Shared, lock};
use crate::{
    producers::{Known, Opened, Producers, Refused},
    storage::format::{change::Change, checkpoint, frame},
    types::{PartitionId, ProducerId, limits},
};

/// An incarnation of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
}

impl Broker {
    /// Opens a producer. A name keeps its id and gets the next epoch; without one it is new.
    pub(crate) fn open_producer(&self, name: &str) -> Result<Pending<Producer>, Error> {
        let shared = &self.shared;
        if name.len() > limits::MAX_PRODUCER_NAME_BYTES {
            let most = limits::MAX_PRODUCER_NAME_BYTES;
            let reason = format!(
                "the producer's name has {} bytes; at most {most} are allowed",
                name.len()
            );
            return Err(Error::MalformedRequest { reason });
        }
        shared.check_room()?;
        // 0 stands for no producer in frames.
        let fresh = ProducerId(shared.env.random.next_u64().max(1));
        let mut producers = lock(&shared.producers);
        let Ok(Opened { id, epoch }) = producers.decide_open(name, fresh) else {
            drop(producers);
            return shared.refuse_durably(Error::TooManyProducers);
        };
        let change = Change::OpenProducer {
            producer: id,
            epoch,
            name: name.to_owned(),
        };
        let queued = shared.queue_change(change, move || Ok(Producer { id, epoch }))?;
        producers.apply_open(id, epoch, name);
        Ok(queued)
    }
}

impl Shared {
    /// Takes note of a durable frame, if a producer numbered it.
    pub(super) fn apply_batch(&self, header: &frame::Header) {
        if let Some(batch) = header.batch {
            let mut producers = lock(&self.applied_producers);
            producers.apply_batch(
                batch.producer,
                batch.epoch,
                header.topic,
                header.partition,
                batch.sequence,
            );
        }
    }

    /// The producers as a checkpoint stores them.
    pub(super) fn known_producers(&self) -> Vec<checkpoint::Producer> {
        let store = |known: Known| checkpoint::Producer {
            id: known.id,
            epoch: known.epoch,
            idle_ms: u64::try_from(known.idle.as_millis()).unwrap_or(u64::MAX),
            name: known.name,
            next: known.next,
        };
        lock(&self.applied_producers)
            .snapshot()
            .into_iter()
            .map(store)
            .collect()
    }

    /// Lets time pass for producers, and forgets those that have been idle for too long.
    pub(super) fn tick_producers(&self, elapsed: Duration) {
        lock(&self.applied_producers).tick(elapsed);
        let mut producers = lock(&self.producers);
        producers.tick(elapsed);
        let in_a_crowd =
            producers.idle_in_a_crowd(Duration::from_millis(limits::CROWDED_PRODUCER_IDLE_MS));
        for id in producers
            .idle_for(self.options.producer_idle)
            .into_iter()
            .chain(in_a_crowd)
        {
            if !producers.knows(id) {
                continue;
            }
            // Refused when the broker goes down; then it is idle at the next start as well.
            if self
                .queue_change(Change::ForgetProducer { producer: id }, || Ok(()))
                .is_ok()
            {
                tracing::info!(producer = %id, "a producer was idle for so long that it is forgotten");
                producers.apply_forget(id);
            }
        }
    }
}

/// The producers of a checkpoint.
pub(super) fn restore(checkpoint: &checkpoint::Checkpoint) -> Producers {
    let known = |stored: &checkpoint::Producer| Known {
        id: stored.id,
        epoch: stored.epoch,
        idle: Duration::from_millis(stored.idle_ms),
        name: stored.name.clone(),
        next: stored.next.clone(),
    };
    Producers::restore(checkpoint.producers.iter().map(known))
}

impl Error {
    /// Why a producer's batches are refused; `batch` tells topic, partition and sequence of one.
    pub(super) fn of_producer(
        producer: Producer,
        refused: Refused,
        batch: impl FnOnce(usize) -> (String, PartitionId, u64),
    ) -> Self {
        let id = producer.id;
        match refused {
            Refused::Unknown => Self::UnknownProducer { id },
            Refused::Fenced { current } => Self::Fenced {
                id,
                epoch: producer.epoch,
                current,
            },
            Refused::OutOfSequence { at, expected } => {
                let (topic, partition, sequence) = batch(at);
                Self::OutOfSequence {
                    id,
                    topic,
                    partition,
                    sequence,
                    expected,
                }
            }
            Refused::TooMany => Self::TooManyProducers,
        }
    }
}
