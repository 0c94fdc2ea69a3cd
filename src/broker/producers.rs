//! Producers: opening, listing and forgetting them, and what checkpoints store of them.

use std::{fmt, sync::Arc, time::Duration};

use super::{Broker, Error, Pending, Shared, sequencer::Sequencer};
use crate::{
    catalog::{
        Change, Planned,
        producers::{HolderId, Listed, Opened, Refused, Room},
    },
    storage::format::{
        checkpoint,
        delta::{ChangedProducer, ChangedProducers},
    },
    types::{PartitionId, ProducerId, TopicId, limits, steering},
};

/// Most producers that are forgotten in one journal entry.
const FORGOTTEN_AT_ONCE: usize = 1_000;

/// Roughly how many sequences are copied at once for a checkpoint: less than a millisecond's work.
const STORED_AT_ONCE: usize = 500;

/// A producer with its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: ProducerId,
    pub(crate) epoch: u32,
}

/// A connection, as long as producers may be used on it. It holds the producers that it used last.
pub(crate) struct ProducerHolder {
    id: HolderId,
    sequencer: Arc<Sequencer>,
}

impl Drop for ProducerHolder {
    fn drop(&mut self) {
        let mut planned = self.sequencer.planned();
        planned.producers_mut().let_go(self.id);
    }
}

impl fmt::Debug for ProducerHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// A producer, given by its name or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WhichProducer {
    Name(String),
    Id(ProducerId),
}

/// What a listing shows of a producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedProducer {
    pub(crate) producer: Producer,
    /// Empty if it has no name.
    pub(crate) name: String,
    /// For how long it has been idle.
    pub(crate) idle: Duration,
    /// How many partitions it has appended to.
    pub(crate) partitions: u64,
}

impl Broker {
    /// A new holder for a connection on which producers may be used.
    pub(crate) fn producer_holder(&self) -> Arc<ProducerHolder> {
        Arc::new(ProducerHolder {
            id: self.shared.producer_memory.new_holder(),
            sequencer: Arc::clone(&self.shared.sequencer),
        })
    }

    /// The name of a producer; none if it has none, or is not known.
    pub(crate) fn producer_name(&self, id: ProducerId) -> Option<String> {
        let planned = self.shared.sequencer.planned();
        let name = planned.producers.name(id)?;
        Some(name.to_owned())
    }

    /// Opens a producer. A known name keeps its id and gets the next epoch; without a name the
    /// producer is new. If there is no room for another, some are forgotten: see
    /// `catalog/producers/room.rs`.
    pub(crate) fn open_producer(
        &self,
        name: &str,
        holder: Option<&ProducerHolder>,
    ) -> Result<Pending<Producer>, Error> {
        let shared = &self.shared;
        if name.len() > limits::MAX_PRODUCER_NAME_BYTES {
            let most = limits::MAX_PRODUCER_NAME_BYTES;
            let reason = format!(
                "the producer's name has {} bytes; at most {most} are allowed",
                name.len()
            );
            return Err(Error::MalformedRequest { reason });
        }
        shared.health.check_room()?;
        // 0 stands for no producer in frames.
        let fresh = ProducerId(shared.env.random.next_u64().max(1));
        let holder = holder.map(|holder| holder.id);
        let mut planned = shared.sequencer.planned_now();
        // The name is shown to users. Producers that exist already keep their names.
        if let Some(letter) = steering(name)
            && planned.producers.named(name).is_none()
        {
            let reason = format!(
                "the producer's name has {letter}: use no control characters, nor those for the \
                direction of text"
            );
            return Err(Error::MalformedRequest { reason });
        }
        let mut decided = planned.producers.decide_open(name, fresh, holder);
        if decided.is_err() && shared.make_room(&mut planned, Room::of_new(name), holder, None)? {
            decided = planned.producers.decide_open(name, fresh, holder);
        }
        let Opened { id, epoch } = match decided {
            Ok(opened) => opened,
            Err(excess) => {
                let refused = Error::TooManyProducers(excess);
                return shared.sequencer.refuse_durably(refused);
            }
        };
        let change = Change::OpenProducer {
            producer: id,
            epoch,
            name: name.to_owned(),
        };
        let queued = shared
            .sequencer
            .plan(&mut planned, change, move || Ok(Producer { id, epoch }))?;
        if let Some(holder) = holder {
            planned.producers_mut().hold(id, holder);
        }
        shared.producer_memory.count(&planned.producers);
        Ok(queued)
    }

    /// At most `most` producers behind `after`, by id, and whether there are more.
    pub(crate) fn list_producers(
        &self,
        after: ProducerId,
        most: usize,
    ) -> (Vec<ListedProducer>, bool) {
        let mut listed = self
            .shared
            .sequencer
            .applied_now()
            .producers
            .list(after, most.saturating_add(1));
        let more = listed.len() > most;
        listed.truncate(most);
        (listed.into_iter().map(ListedProducer::from).collect(), more)
    }

    /// The producer with a name, if there is one.
    pub(crate) fn producer_named(&self, name: &str) -> Option<ListedProducer> {
        let found = self.shared.sequencer.applied_now().producers.named(name);
        found.map(ListedProducer::from)
    }

    /// Forgets a producer with its name and sequences; what it sends from now on is refused.
    pub(crate) fn forget_producer(
        &self,
        which: &WhichProducer,
    ) -> Result<Pending<ListedProducer>, Error> {
        let shared = &self.shared;
        shared.health.check_running()?;
        let mut planned = shared.sequencer.planned_now();
        let found = match which {
            WhichProducer::Name(name) => planned.producers.named(name),
            WhichProducer::Id(id) => planned.producers.with_id(*id),
        };
        let Some(found) = found else {
            return shared.sequencer.refuse_durably(which.unknown());
        };
        let change = Change::ForgetProducer { producer: found.id };
        let queued = shared
            .sequencer
            .plan(&mut planned, change, move || Ok(found.into()))?;
        shared.producer_memory.count(&planned.producers);
        Ok(queued)
    }
}

impl Shared {
    /// Forgets producers to make room for a request that was refused for lack of it. Returns
    /// whether there is room now. `asking` is the producer that needs it, if it is known.
    pub(super) fn make_room(
        &self,
        planned: &mut Planned,
        needed: Room,
        holder: Option<HolderId>,
        asking: Option<ProducerId>,
    ) -> Result<bool, Error> {
        let made = planned.producers_mut().make_room(needed, holder, asking);
        let Some(forgotten) = made else {
            return Ok(false);
        };
        for some in forgotten.chunks(FORGOTTEN_AT_ONCE) {
            let mut changes = Vec::with_capacity(some.len());
            for &producer in some {
                changes.push(Change::ForgetProducer { producer });
            }
            drop(self.sequencer.plan_together(planned, changes, || Ok(()))?);
            self.producer_memory.note_forgotten(some.len());
        }
        Ok(true)
    }

    /// Counts the memory of producers' remembered batches, and of groups after the deletion of
    /// topics.
    pub(super) fn count_remembered(&self) {
        let remembered = self.sequencer.applied().producers.remembered_bytes();
        let planned = self.sequencer.planned();
        self.producer_memory
            .count_with(&planned.producers, remembered);
        self.sequencer.count_groups(&planned);
    }

    /// Forgets producers that have been idle for too long.
    pub(super) fn forget_idle_producers(&self, now: Duration) {
        let mut planned = self.sequencer.planned();
        for producer in planned.producers_mut().on_deadline(now) {
            let change = Change::ForgetProducer { producer };
            // It fails if too much is queued, or the broker shuts down; then the producer is found
            // again.
            if self.sequencer.plan(&mut planned, change, || Ok(())).is_ok() {
                tracing::info!(%producer, "a producer was idle for so long that it is forgotten");
            }
        }
        self.producer_memory.count(&planned.producers);
    }
}

impl Sequencer {
    /// The producers, for a whole checkpoint. Changes from here on are noted for the next one.
    pub(super) fn known_producers(&self) -> Vec<checkpoint::Producer> {
        self.applied_now().producers.note_changes();
        self.all_producers()
    }

    /// All that is known of producers, for what is no checkpoint of this broker.
    pub(super) fn all_producers(&self) -> Vec<checkpoint::Producer> {
        let mut known: Vec<checkpoint::Producer> = Vec::new();
        loop {
            // The lock is released between parts, because appends wait for it.
            let behind = known.last().map_or(ProducerId(0), |last| last.id);
            let applied = self.applied_now();
            let part = applied.producers.snapshot_behind(behind, STORED_AT_ONCE);
            drop(applied);
            if part.is_empty() {
                return known;
            }
            known.extend(part.into_iter().map(checkpoint::Producer::of));
        }
    }

    /// What has changed in producers since the last checkpoint, and which topics are gone.
    pub(super) fn changed_producers(&self) -> (ChangedProducers, Vec<TopicId>) {
        let mut taken = self.applied_now().producers.take_noted();
        let mut changes = taken.changes();
        while !taken.is_empty() {
            // The lock is released between parts, because appends wait for it.
            let producers = &self.applied_now().producers;
            producers.look_up(&mut taken, STORED_AT_ONCE, &mut changes);
        }
        let mut changed = Vec::with_capacity(changes.changed.len());
        for producer in changes.changed {
            changed.push(ChangedProducer {
                id: producer.id,
                idle_ms: millis(producer.idle),
                anew: producer.anew,
                sequences: producer.sequences,
            });
        }
        let producers = ChangedProducers {
            passed_ms: millis(changes.passed),
            gone: changes.gone,
            changed,
        };
        (producers, changes.topics_gone)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl ProducerHolder {
    /// The connection's id.
    pub(super) fn id(&self) -> HolderId {
        self.id
    }
}

impl WhichProducer {
    /// The error if there is no such producer.
    fn unknown(&self) -> Error {
        match self {
            Self::Name(name) => Error::NoProducerNamed { name: name.clone() },
            Self::Id(id) => Error::UnknownProducer { id: *id },
        }
    }
}

impl From<Listed> for ListedProducer {
    fn from(listed: Listed) -> Self {
        Self {
            producer: Producer {
                id: listed.id,
                epoch: listed.epoch,
            },
            name: listed.name,
            idle: listed.idle,
            partitions: listed.partitions as u64,
        }
    }
}

impl Error {
    /// Why a producer's batches are refused. `batch` returns topic, partition and sequence of a
    /// batch.
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
            Refused::TooMany(excess) => Self::TooManyProducers(excess),
        }
    }
}
