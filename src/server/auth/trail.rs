//! The audit log as records of a topic (`audit.topic`).
//!
//! What is told goes into a short queue, and nobody waits for it: what comes when the queue is
//! full, or while the topic takes nothing, is lost there, counted, and said. What is written goes
//! to the broker itself, past the calls: so none of it is told in turn, and only the broker appends
//! to the topic.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};
use tracing::{info, warn};

use crate::{
    broker::{Append, Broker, Error, Flow, Load},
    metrics::Counter,
    proto::{
        Record,
        wire::{self, AppendBatch},
    },
    server::log::append,
    types::{TopicName, limits::PARTITIONS_WAIT_MS},
};

/// Most records that wait. With names as long as they may be these are 4 MiB, with usual ones 300
/// KiB.
const QUEUE: usize = 1_024;

/// Most records of an append.
const BATCH: usize = 100;

/// The type of its records.
const RECORD_TYPE: &str = "taffrail.audit";

/// The settings of the topic, if the broker makes it.
const SETTINGS: [(&str, &str); 2] = [("keys", "plain"), ("retention.ms", "90d")];

/// The topic that the audit log is written to, if it is to be.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    topic: Option<TopicName>,
    /// What is told goes there, while it is written.
    queue: Mutex<Option<mpsc::Sender<String>>>,
    pub(in crate::server) written: Counter,
    pub(in crate::server) lost: Counter,
}

impl Trail {
    pub(super) fn new(topic: Option<TopicName>) -> Self {
        Self {
            topic,
            ..Self::default()
        }
    }

    /// The topic to which nobody else appends.
    pub(super) fn topic(&self) -> Option<&TopicName> {
        self.topic.as_ref()
    }

    /// Has what `make` says written some time; without waiting.
    pub(super) fn tell(&self, make: impl FnOnce() -> String) {
        if self.topic.is_none() {
            return;
        }
        let queue = self.queue();
        let is_told = match &*queue {
            Some(queue) => queue.try_send(make()).is_ok(),
            None => false,
        };
        if !is_told {
            self.lost.add(1);
        }
    }

    /// Takes what is told from here on.
    pub(in crate::server) fn open(&self) -> mpsc::Receiver<String> {
        let (sender, told) = mpsc::channel(QUEUE);
        *self.queue() = Some(sender);
        told
    }

    /// Takes nothing more. What was told already is still written.
    pub(in crate::server) fn close(&self) {
        *self.queue() = None;
    }

    fn queue(&self) -> MutexGuard<'_, Option<mpsc::Sender<String>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is told, until there will be no more.
    pub(in crate::server) async fn write(
        &self,
        mut told: mpsc::Receiver<String>,
        broker: Arc<Broker>,
    ) {
        let Some(topic) = &self.topic else {
            return;
        };
        if let Err(error) = create(&broker, topic).await {
            warn!("the topic {topic} of the audit log cannot be made yet: {error}");
        }
        let (mut texts, mut is_well) = (Vec::new(), true);
        while told.recv_many(&mut texts, BATCH).await > 0 {
            let count = texts.len() as u64;
            match append_or_create(&broker, topic, &texts).await {
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

/// Makes the topic, if there is none of its name.
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
        // Somebody else has made it meanwhile.
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
        // Somebody has deleted it.
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
        batches: vec![append::batch(&batch)?],
        conditions: Vec::new(),
        producer: None,
        holder: None,
        return_versions: false,
        group_offsets: Vec::new(),
    };
    let pending = append::store(broker, append, admission).await?;
    append::answer(pending).await.map(drop)
}
