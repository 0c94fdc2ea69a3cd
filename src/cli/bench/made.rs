//! What a measurement creates: files, a process, a topic. They are removed however the measurement
//! ends.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};

use super::{machine::Machine, own_broker::OwnBroker, scratch::Scratch};
use crate::{
    cli::{Failure, connection::Server, signals::Stop},
    client::Error,
    env::Env,
};

/// How long a broker that this command has not started may take to delete a topic.
const DELETE: Duration = Duration::from_secs(10);

pub(super) struct Made {
    scratch: Arc<Scratch>,
    /// The measurement of the machine, which writes to the scratch directory on a thread of its
    /// own.
    measuring: Option<JoinHandle<Result<Machine, Failure>>>,
    own: Option<OwnBroker>,
    /// The topics of the measurement, listed before they are created and until they are deleted.
    topics: Vec<(Server, String)>,
}

impl Made {
    /// Creates a directory for files.
    pub(super) fn create(env: &Env, parent: &Path) -> Result<Self, Failure> {
        Ok(Self {
            scratch: Arc::new(Scratch::create(env, parent)?),
            measuring: None,
            own: None,
            topics: Vec::new(),
        })
    }

    /// Starts a broker and waits until it takes connections.
    pub(super) async fn start_broker(&mut self) -> Result<Server, Failure> {
        let own = self.own.insert(OwnBroker::start(&self.scratch)?);
        own.listens().await?;
        Ok(Server::at(own.url()))
    }

    pub(super) fn own(&mut self) -> Option<&mut OwnBroker> {
        self.own.as_mut()
    }

    pub(super) async fn measure_machine(&mut self, env: &Env) -> Result<Machine, Failure> {
        let (env, scratch) = (env.clone(), Arc::clone(&self.scratch));
        let measure = move || Machine::measure(&env, &scratch);
        let measuring = self.measuring.insert(tokio::task::spawn_blocking(measure));
        let measured = measuring.await;
        self.measuring = None;
        measured.expect("measuring the machine does not panic")
    }

    /// Notes a topic that is about to be created.
    pub(super) fn expect_topic(&mut self, server: &Server, topic: &str) {
        self.topics.push((server.clone(), topic.to_owned()));
    }

    /// Notes that all topics were deleted.
    pub(super) fn forget_topics(&mut self) {
        self.topics.clear();
    }

    /// Removes everything. Returns what could not be removed, and why.
    pub(super) async fn remove(mut self, stop: &mut Stop) -> Vec<String> {
        self.scratch.give_up();
        if let Some(measuring) = self.measuring.take() {
            // Its result is not needed any more.
            let _ = measuring.await;
        }
        let mut left = Vec::new();
        match self.own.take() {
            // This command's own broker is stopped, and its topics are removed with its files.
            Some(own) => tokio::task::block_in_place(|| drop(own)),
            None => {
                for (server, topic) in &self.topics {
                    left.extend(delete(server, topic, stop).await);
                }
            }
        }
        if let Err(error) = tokio::task::block_in_place(|| self.scratch.remove()) {
            left.push(format!("{} ({error})", self.scratch.path().display()));
        }
        left
    }
}

/// Deletes the topic, if it exists. Returns its name with the reason if it could not.
async fn delete(server: &Server, topic: &str, stop: &mut Stop) -> Option<String> {
    let delete = async {
        server
            .connect()
            .await?
            .topics()
            .delete(topic)
            .await
            .map_err(Failure::Call)
    };
    let deleted = tokio::select! {
        deleted = timeout(DELETE, delete) => deleted,
        _ = stop.told_again() => return Some(named(server, topic, "it was not waited for")),
    };
    match deleted {
        Ok(Ok(())) => None,
        Ok(Err(Failure::Call(Error::Refused(refusal)))) if refusal.reason == "UNKNOWN_TOPIC" => {
            None
        }
        Ok(Err(failure)) => Some(named(server, topic, &failure.to_string())),
        Err(_) => Some(named(server, topic, "it takes too long")),
    }
}

fn named(server: &Server, topic: &str, problem: &str) -> String {
    format!("topic {topic} of {} ({problem})", server.url())
}
