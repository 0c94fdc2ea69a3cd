//! Hints for what to do after a failure, which fit the command that was given.

use std::time::Duration;

use strsim::osa_distance;
use tokio::time::timeout;

use super::{
    Failure,
    connection::{Server, is_broken},
    flags::ConnectionFlags,
};
use crate::{
    client::{self, Refusal},
    config::{self, TOKEN_VARIABLE},
    types::TopicSettings,
};

/// How long the search for similar names may take.
const LOOK_FOR: Duration = Duration::from_secs(2);

/// The end of the broker's message about an unknown topic, which is a hint for appenders.
const CREATE_IT: &str = "; create it first";

/// A part of the broker's message about a reset without a topic, of a group that has read none.
const READS_NOTHING: &str = "has read no topic yet";

/// The beginning of the broker's message about a malformed request.
const MALFORMED: &str = "the request is malformed: ";

/// The parts of the command line that hints depend on.
#[derive(Debug)]
pub(super) struct Hints {
    /// The name of the command, such as `topic trim`.
    pub(super) command: String,
    /// The flags for the connection, if the command needs a broker.
    pub(super) connection: Option<ConnectionFlags>,
}

/// A hint for what to do after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    None,
    /// The name of the topic, group or setting that was most likely meant.
    DidYouMean(String),
    /// Advice, for example a command to run.
    Try(String),
}

impl Hint {
    /// The text of the failure, followed by the hint.
    pub(super) fn added_to(&self, failure: &Failure) -> String {
        let text = failure.to_string().replace(MALFORMED, "");
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
    /// Finds a hint. It may ask the broker for the names of topics and groups.
    pub(super) fn of(&self, failure: &Failure) -> Hint {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // If there is no runtime, there is just no hint.
        runtime.map_or(Hint::None, |runtime| runtime.block_on(self.find(failure)))
    }

    async fn find(&self, failure: &Failure) -> Hint {
        if matches!(failure, Failure::Usage(_)) {
            return Hint::Try(format!("see: taffrail {} --help", self.command));
        }
        match failure.call() {
            Some(client::Error::Refused(refusal)) => self.of_refusal(refusal).await,
            Some(
                client::Error::Unavailable { message } | client::Error::OutcomeUnknown { message },
            ) if is_broken(message) => {
                Hint::Try("if that is the port for HTTP, calls go to the one before it".to_owned())
            }
            _ => Hint::None,
        }
    }

    async fn of_refusal(&self, refusal: &Refusal) -> Hint {
        if refusal.code == "Unauthenticated" {
            return match self.shown_by() {
                Some(by) => Hint::Try(format!("the token is that of {by}")),
                None => Hint::None,
            };
        }
        let (topic, group) = (refusal.metadata.get("topic"), refusal.metadata.get("group"));
        match (&*refusal.reason, topic, group) {
            ("UNKNOWN_TOPIC", Some(topic), _) => match self.meant_topic(topic).await {
                Some(meant) => Hint::DidYouMean(meant),
                None if self.command == "produce" => {
                    Hint::Try(format!("create it with: taffrail topic create {topic}"))
                }
                None => Hint::Try("those that there are: taffrail topic list".to_owned()),
            },
            ("UNKNOWN_GROUP", _, Some(group)) => match self.meant_group(group).await {
                Some(meant) => Hint::DidYouMean(meant),
                None => Hint::Try("those that there are: taffrail group list".to_owned()),
            },
            ("INVALID_SETTING", ..) => {
                let names = TopicSettings::names();
                let typed = refusal.metadata.get("setting").map_or("", String::as_str);
                if names.contains(&typed) {
                    return Hint::None;
                }
                let meant = nearest(typed, names.into_iter().map(str::to_owned));
                meant.map_or(Hint::None, Hint::DidYouMean)
            }
            _ if refusal.message.contains(READS_NOTHING) => {
                let named = refusal.message.split('"').nth(1).unwrap_or_default();
                match self.meant_group(named).await {
                    Some(meant) => Hint::DidYouMean(meant),
                    None => Hint::Try("with --topic NAME".to_owned()),
                }
            }
            // The name to create is new, so an existing one is not meant.
            ("PERMISSION_DENIED", ..) if self.command.ends_with(" create") => Hint::None,
            // The broker answers so for topics that do not exist, too, if the caller may not see
            // them.
            ("PERMISSION_DENIED", ..) => {
                let resource = refusal.metadata.get("resource");
                let topic = resource.and_then(|resource| {
                    let quoted = resource.strip_prefix("topic \"")?;
                    quoted.strip_suffix('"')
                });
                let meant = match topic {
                    Some(topic) => self.meant_topic(topic).await,
                    None => None,
                };
                meant.map_or(Hint::None, Hint::DidYouMean)
            }
            _ => Hint::None,
        }
    }

    /// The flag or variable that the token was taken from.
    fn shown_by(&self) -> Option<&'static str> {
        let connection = self.connection.as_ref()?;
        match (&connection.token_file, &connection.token) {
            (Some(_), _) => Some("--token-file"),
            (None, Some(_)) => Some("--token"),
            (None, None) => config::token_variable().map(|_| TOKEN_VARIABLE),
        }
    }

    /// The topic with the most similar name, of those that the caller may see.
    async fn meant_topic(&self, topic: &str) -> Option<String> {
        let server = Server::named(self.connection.as_ref()?).ok()?;
        let names = async {
            let topics = server.connect().await.ok()?.topics().list().await.ok()?;
            Some(topics.into_iter().map(|topic| topic.name))
        };
        let names = timeout(LOOK_FOR, names).await.ok()??;
        nearest(topic, names)
    }

    /// The group with the most similar name, of those that the caller may see.
    async fn meant_group(&self, group: &str) -> Option<String> {
        let server = Server::named(self.connection.as_ref()?).ok()?;
        let names = async {
            let groups = server.connect().await.ok()?.groups().list().await.ok()?;
            Some(groups.into_iter().map(|group| group.group))
        };
        let names = timeout(LOOK_FOR, names).await.ok()??;
        nearest(group, names)
    }
}

/// The name with the fewest typing errors, if they are few enough.
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
