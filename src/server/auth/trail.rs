//! The audit log as records of a topic (`audit.topic`).
//!
//! Records go into a short queue, and nobody waits for them: those that come while the queue is
//! full, or while the topic takes no appends, are lost there; they are counted, and the log says
//! so. Acts have a queue of their own, so that denials, which anybody can cause, do not displace
//! them. The records are appended by the broker itself and not by a call, so that they cause no
//! further ones; all other appends to the topic are refused.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};
use tracing::{info, warn};

use super::{audit, denials::Denials};
use crate::{
    broker::{Append, Broker, Error, Flow, Load},
    metrics::Counter,
    proto::{
        CountedRecords, Record,
        wire::{self, AppendBatch},
    },
    server::log::append,
    types::{TopicName, limits::PARTITIONS_WAIT_MS},
};

/// How many records of acts may wait, and how many of denials. With the longest names they take 4
/// MiB each, with usual ones 300 KiB.
const QUEUE: usize = 1_024;

/// How many records are appended at once.
const BATCH: usize = 100;

/// How often equal denials are recorded, with their number.
const DENIALS_EVERY: Duration = Duration::from_secs(1);

/// The type of its records.
const RECORD_TYPE: &str = "taffrail.audit";

/// The settings of the topic, if the broker creates it.
const SETTINGS: [(&str, &str); 2] = [("keys", "plain"), ("retention.ms", "90d")];

/// The topic of the audit log, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    topic: Option<TopicName>,
    /// The queues of records to write, while they are written.
    queues: Mutex<Option<Queues>>,
    denials: Denials,
    pub(in crate::server) written: Counter,
    pub(in crate::server) lost: Counter,
}

/// What a record is about, which decides on its queue.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Acts,
    Denials,
}

#[derive(Debug)]
struct Queues {
    acts: mpsc::Sender<String>,
    denials: mpsc::Sender<String>,
}

/// The other ends of the queues.
pub(in crate::server) struct Telling {
    acts: mpsc::Receiver<String>,
    denials: mpsc::Receiver<String>,
}

impl Telling {
    /// Takes the next records from the queues, acts before denials; false when the queues are
    /// closed and empty.
    async fn next(&mut self, texts: &mut Vec<String>) -> bool {
        tokio::select! {
            biased;
            Some(text) = self.acts.recv() => texts.push(text),
            Some(text) = self.denials.recv() => texts.push(text),
            else => return false,
        }
        for queue in [&mut self.acts, &mut self.denials] {
            while texts.len() < BATCH
                && let Ok(text) = queue.try_recv()
            {
                texts.push(text);
            }
        }
        true
    }
}

impl Trail {
    pub(super) fn new(topic: Option<TopicName>) -> Self {
        Self {
            topic,
            ..Self::default()
        }
    }

    /// The audit log's topic, to which nobody else may append.
    pub(super) fn topic(&self) -> Option<&TopicName> {
        self.topic.as_ref()
    }

    /// The denials of the last second.
    pub(super) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Queues the record that `make` returns, without waiting.
    pub(super) fn tell(&self, about: About, make: impl FnOnce() -> String) {
        if self.topic.is_none() {
            return;
        }
        let queues = self.queues();
        let queue = queues.as_ref().map(|queues| match about {
            About::Acts => &queues.acts,
            About::Denials => &queues.denials,
        });
        let is_told = match queue {
            Some(queue) => queue.try_send(make()).is_ok(),
            None => false,
        };
        if !is_told {
            self.lost.add(1);
        }
    }

    /// Opens the queues.
    pub(in crate::server) fn open(&self) -> Telling {
        let (acts, told_acts) = mpsc::channel(QUEUE);
        let (denials, told_denials) = mpsc::channel(QUEUE);
        *self.queues() = Some(Queues { acts, denials });
        Telling {
            acts: told_acts,
            denials: told_denials,
        }
    }

    /// Closes the queues. What is in them is still written.
    pub(in crate::server) fn close(&self) {
        audit::denied_again(self);
        *self.queues() = None;
    }

    fn queues(&self) -> MutexGuard<'_, Option<Queues>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is queued, and equal denials each second, until the queues are closed.
    pub(in crate::server) async fn write(&self, told: Telling, broker: Arc<Broker>) {
        let telling = async {
            loop {
                sleep(DENIALS_EVERY).await;
                audit::denied_again(self);
            }
        };
        tokio::select! {
            () = self.write_told(told, &broker) => {}
            () = telling => {}
        }
    }

    async fn write_told(&self, mut told: Telling, broker: &Arc<Broker>) {
        let Some(topic) = &self.topic else {
            // Without a topic the records are dropped, until the queues are closed.
            while told.next(&mut Vec::new()).await {}
            return;
        };
        if let Err(error) = create(broker, topic).await {
            warn!("the topic {topic} of the audit log cannot be made yet: {error}");
        }
        let (mut texts, mut is_well) = (Vec::new(), true);
        while told.next(&mut texts).await {
            let count = texts.len() as u64;
            match append_or_create(broker, topic, &texts).await {
                Ok(()) => {
                    self.written.add(count);
                    is_well = true;
                }
                Err(error) => {
                    self.lost.add(count);
                    if is_well {
                        warn!(
                            "the audit log cannot be written to the topic {topic}: {error}; until \
                             it can, it is in the log alone"
                        );
                    }
                    is_well = false;
                }
            }
            texts.clear();
        }
    }
}

/// Creates the topic, if it does not exist.
async fn create(broker: &Broker, topic: &TopicName) -> Result<(), Error> {
    if !matches!(
        broker.describe_topic(topic.as_str()),
        Err(Error::UnknownTopic { .. })
    ) {
        return Ok(());
    }
    let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings = BTreeMap::from(settings);
    let patience = sleep(Duration::from_millis(PARTITIONS_WAIT_MS));
    let created = broker.create_topic_in_time(topic.as_str(), 1, &settings, patience);
    match created.await {
        Ok(_) => info!("the topic {topic} was made for the audit log"),
        // Somebody else has created it at the same time.
        Err(Error::TopicExists { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn append_or_create(
    broker: &Arc<Broker>,
    topic: &TopicName,
    texts: &[String],
) -> Result<(), Error> {
    match append_all(broker, topic, texts).await {
        // Somebody has deleted the topic.
        Err(Error::UnknownTopic { .. }) => {
            create(broker, topic).await?;
            append_all(broker, topic, texts).await
        }
        appended => appended,
    }
}

async fn append_all(
    broker: &Arc<Broker>,
    topic: &TopicName,
    texts: &[String],
) -> Result<(), Error> {
    let mut records = Vec::with_capacity(texts.len());
    for text in texts {
        records.push(wire::encode(&Record {
            value: Some(text.clone().into()),
            r#type: RECORD_TYPE.to_owned(),
            ..Record::default()
        }));
    }
    let batch = wire::encode(&AppendBatch {
        topic: topic.to_string(),
        records,
        ..AppendBatch::default()
    });
    let load = Load {
        bytes: batch.len(),
        batches: 1,
        records: texts.len(),
    };
    let admission = broker.admit(&Flow::default(), load).await?;
    let append = Append {
        batches: vec![append::batch(&batch, &CountedRecords::default())?],
        conditions: Vec::new(),
        producer: None,
        holder: None,
        return_versions: false,
        group_offsets: Vec::new(),
    };
    let pending = append::store(broker, append, admission).await?;
    append::answer(pending).await.map(drop)
}
