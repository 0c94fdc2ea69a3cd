//! The audit log as records of a topic (`audit.topic`).
//!
//! What is told goes into a short queue, and nobody waits for it: what comes when the queue is
//! full, or while the topic takes nothing, is lost there, counted, and said. Acts have a queue of
//! their own, so that no denials, which anybody can cause, push them out. What is written goes
//! to the broker itself, past the calls: so none of it is told in turn, and only the broker appends
//! to the topic.

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
        Record,
        wire::{self, AppendBatch},
    },
    server::log::append,
    types::{TopicName, limits::PARTITIONS_WAIT_MS},
};

/// Most records that wait of acts, and of denials. With names as long as they may be these are 4
/// MiB each, with usual ones 300 KiB.
const QUEUE: usize = 1_024;

/// Most records of an append.
const BATCH: usize = 100;

/// How often denials are told that are equal to one that was told.
const DENIALS_EVERY: Duration = Duration::from_secs(1);

/// The type of its records.
const RECORD_TYPE: &str = "taffrail.audit";

/// The settings of the topic, if the broker makes it.
const SETTINGS: [(&str, &str); 2] = [("keys", "plain"), ("retention.ms", "90d")];

/// The topic that the audit log is written to, if it is to be.
#[derive(Debug, Default)]
pub(crate) struct Trail {
    topic: Option<TopicName>,
    /// What is told goes there, while it is written.
    queues: Mutex<Option<Queues>>,
    denials: Denials,
    pub(in crate::server) written: Counter,
    pub(in crate::server) lost: Counter,
}

/// What a record is about.
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

/// What is told.
pub(in crate::server) struct Telling {
    acts: mpsc::Receiver<String>,
    denials: mpsc::Receiver<String>,
}

impl Telling {
    /// Takes what is written next, acts before denials; false when there will be no more.
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

    /// The topic to which nobody else appends.
    pub(super) fn topic(&self) -> Option<&TopicName> {
        self.topic.as_ref()
    }

    /// What was denied of late.
    pub(super) fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Has what `make` says written some time; without waiting.
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

    /// Takes what is told from here on.
    pub(in crate::server) fn open(&self) -> Telling {
        let (acts, told_acts) = mpsc::channel(QUEUE);
        let (denials, told_denials) = mpsc::channel(QUEUE);
        *self.queues() = Some(Queues { acts, denials });
        Telling {
            acts: told_acts,
            denials: told_denials,
        }
    }

    /// Takes nothing more. What was told already is still written.
    pub(in crate::server) fn close(&self) {
        audit::denied_again(self);
        *self.queues() = None;
    }

    fn queues(&self) -> MutexGuard<'_, Option<Queues>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells and writes what is to be told, until there will be no more.
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
            // There is nothing to write, and it is closed some time.
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
