//! What to do about a failure, as it fits the command that was typed.

use std::time::Duration;

use strsim::osa_distance;
use tokio::time::timeout;

use super::{Failure, connection::Server, flags::ConnectionFlags};
use crate::client;

/// How long it may take to look for the topic that was meant.
const LOOK_FOR: Duration = Duration::from_secs(2);

/// What the broker says of a topic that it does not have, for those who append.
const CREATE_IT: &str = "; create it first";

/// What was typed, as far as hints depend on it.
#[derive(Debug)]
pub(super) struct Hints {
    /// Such as `topic trim`.
    pub(super) command: String,
    /// Which broker it was about, if about any.
    pub(super) connection: Option<ConnectionFlags>,
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    None,
    /// The topic of this name is most likely meant.
    DidYouMean(String),
    /// Something to run.
    Try(String),
}

impl Hint {
    /// The failure's text, with this behind it.
    pub(super) fn added_to(&self, failure: &Failure) -> String {
        let text = failure.to_string();
        match self {
            Self::None => text,
            Self::DidYouMean(name) => {
                let text = text.replace(CREATE_IT, "");
                format!("{text}; did you mean {name:?}?")
            }
            Self::Try(what) => format!("{}; {what}", text.replace(CREATE_IT, "")),
        }
    }
}

impl Hints {
    /// What to do about a failure. It may ask the broker which topics there are.
    pub(super) fn of(&self, failure: &Failure) -> Hint {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // A hint is no reason to fail in another way.
        runtime.map_or(Hint::None, |runtime| runtime.block_on(self.find(failure)))
    }

    async fn find(&self, failure: &Failure) -> Hint {
        if matches!(failure, Failure::Usage(_)) {
            return Hint::Try(format!("see: taffrail {} --help", self.command));
        }
        let Some(client::Error::Refused(refusal)) = failure.call() else {
            return Hint::None;
        };
        let named = refusal.metadata.get("topic");
        match (&*refusal.reason, named) {
            ("UNKNOWN_TOPIC", Some(topic)) => match self.meant(topic).await {
                Some(meant) => Hint::DidYouMean(meant),
                None if self.command == "produce" => {
                    Hint::Try(format!("create it with: taffrail topic create {topic}"))
                }
                None => Hint::Try("those that there are: taffrail topic list".to_owned()),
            },
            // What may not be seen is not told apart from what is not there.
            ("PERMISSION_DENIED", _) => {
                let resource = refusal.metadata.get("resource");
                let topic = resource.and_then(|resource| {
                    let quoted = resource.strip_prefix("topic \"")?;
                    quoted.strip_suffix('"')
                });
                let meant = match topic {
                    Some(topic) => self.meant(topic).await,
                    None => None,
                };
                meant.map_or(Hint::None, Hint::DidYouMean)
            }
            _ => Hint::None,
        }
    }

    /// The topic with nearly this name, of those that the caller may see.
    async fn meant(&self, topic: &str) -> Option<String> {
        let server = Server::named(self.connection.as_ref()?).ok()?;
        let names = async {
            let topics = server.connect().await.ok()?.topics().list().await.ok()?;
            Some(topics.into_iter().map(|topic| topic.name))
        };
        let names = timeout(LOOK_FOR, names).await.ok()??;
        nearest(topic, names)
    }
}

/// The name that takes the fewest slips to get to, if they are few enough.
pub(super) fn nearest(typed: &str, names: impl Iterator<Item = String>) -> Option<String> {
    let most = match typed.chars().count() {
        0..=2 => 0,
        letters => letters.div_ceil(3),
    };
    let mut best = None;
    for name in names {
        let slips = osa_distance(&typed.to_lowercase(), &name.to_lowercase());
        let is_better = best.as_ref().is_none_or(|(fewest, _)| slips < *fewest);
        if name != typed && slips <= most && is_better {
            best = Some((slips, name));
        }
    }
    best.map(|(_, name)| name)
}
