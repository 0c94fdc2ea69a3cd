//! Decides whether requests about topics and entities are allowed. Nothing is changed here: the
//! caller makes a change from the answer. Decisions about producers are in `producers/decide.rs`.

use std::collections::BTreeMap;

use super::{Catalog, KeyTrim, Topic};
use crate::types::{
    AppendsFrom, Keys, SettingError, TOPIC_SETTINGS, TopicId, TopicName, TopicSetting,
    TopicSettings, limits,
};

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The name is taken.
    TopicExists,
    /// The topic is deleted.
    UnknownTopic,
    /// There would be more partitions than allowed; so many exist already.
    TooManyPartitions { existing: usize },
    /// The topic has more partitions already.
    FewerPartitions { existing: u32 },
    /// Records with versions belong to the partition of their key, so its number of partitions
    /// cannot change.
    Versioned,
    /// A setting does not exist, cannot have the value, or cannot be changed.
    Setting(SettingError),
    /// Too many erasures are not complete yet.
    TooManyErasures,
    /// Too many trims of entities are not complete yet.
    TooManyKeyTrims,
    /// There are too many access tokens.
    TooManyAccessTokens,
}

impl Catalog {
    /// Whether a topic with this name may be created. `most` bounds the number of all partitions.
    pub(crate) fn decide_create(
        &self,
        name: &TopicName,
        partitions: u32,
        most: usize,
    ) -> Result<(), Refusal> {
        if self.topics.named(name).is_some() {
            return Err(Refusal::TopicExists);
        }
        let existing = self.topics.partitions();
        let partitions = usize::try_from(partitions).unwrap_or(usize::MAX);
        if existing.saturating_add(partitions) > most {
            return Err(Refusal::TooManyPartitions { existing });
        }
        Ok(())
    }

    /// How many partitions must be added for a topic to have `partitions` of them. `most` bounds
    /// the number of all partitions.
    pub(crate) fn decide_add_partitions(
        &self,
        topic: TopicId,
        partitions: u32,
        most: usize,
    ) -> Result<u32, Refusal> {
        let topic = self.decide_topic(topic)?;
        if topic.settings.keys == Keys::Versioned {
            return Err(Refusal::Versioned);
        }
        let existing = topic.partitions();
        let added = partitions.checked_sub(existing);
        let added = added.ok_or(Refusal::FewerPartitions { existing })?;
        let existing = self.topics.partitions();
        let more = usize::try_from(added).unwrap_or(usize::MAX);
        if existing.saturating_add(more) > most {
            return Err(Refusal::TooManyPartitions { existing });
        }
        Ok(added)
    }

    /// The topic, which a request deletes or trims.
    pub(crate) fn decide_topic(&self, topic: TopicId) -> Result<&Topic, Refusal> {
        self.topics.get(topic).ok_or(Refusal::UnknownTopic)
    }

    /// A topic's settings after some are set to new values and some reset to their defaults.
    pub(crate) fn decide_alter(
        &self,
        topic: TopicId,
        set: &BTreeMap<String, String>,
        reset: &[String],
    ) -> Result<TopicSettings, Refusal> {
        let current = &self.decide_topic(topic)?.settings;
        let altered = altered(current, set, reset).map_err(Refusal::Setting)?;
        let is_changed = |setting: &&TopicSetting| setting.get(&altered) != setting.get(current);
        let mut fixed = TOPIC_SETTINGS.iter().filter(|setting| setting.is_fixed);
        if let Some(TopicSetting { name, .. }) = fixed.find(is_changed) {
            return Err(Refusal::Setting(SettingError::Fixed { name }));
        }
        let (before, after) = (current.appends, altered.appends);
        if before == AppendsFrom::Clients && after == AppendsFrom::Import {
            return Err(Refusal::Setting(SettingError::Together {
                name: "appends",
                value: "import".to_owned(),
                reason: "clients may append to the topic already; an import sets this itself, in an empty topic",
            }));
        }
        Ok(altered)
    }

    /// Whether an entity of the topic may be erased.
    pub(crate) fn decide_erase(&self, topic: TopicId) -> Result<(), Refusal> {
        self.decide_topic(topic)?;
        if self.erasures.count_waiting() >= limits::MAX_ERASURES {
            return Err(Refusal::TooManyErasures);
        }
        Ok(())
    }

    /// Whether an access token may be created now; `now_ms` is in milliseconds since 1970.
    pub(crate) fn decide_create_token(&self, now_ms: i64) -> Result<(), Refusal> {
        match self.access_tokens.have_room(now_ms) {
            true => Ok(()),
            false => Err(Refusal::TooManyAccessTokens),
        }
    }

    /// Whether an entity of the topic may be trimmed.
    pub(crate) fn decide_trim_key(&self, topic: TopicId, trim: &KeyTrim) -> Result<(), Refusal> {
        self.decide_topic(topic)?;
        let is_known = self.key_trims.has(((topic, trim.partition), trim.token));
        if !is_known && self.key_trims.len() >= limits::MAX_KEY_TRIMS {
            return Err(Refusal::TooManyKeyTrims);
        }
        Ok(())
    }
}

/// Settings with some set to new values and some reset to their defaults.
pub(crate) fn altered(
    settings: &TopicSettings,
    set: &BTreeMap<String, String>,
    reset: &[String],
) -> Result<TopicSettings, SettingError> {
    let mut altered = settings.clone();
    for (name, value) in set {
        altered.set(name, value)?;
    }
    for name in reset {
        altered.reset(name)?;
    }
    match altered.check() {
        // A topic that had such settings before they were refused keeps them.
        Err(error) if settings.check() != Err(error.clone()) => Err(error),
        _ => Ok(altered),
    }
}
