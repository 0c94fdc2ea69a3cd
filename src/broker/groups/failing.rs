//! Partitions that a session cannot continue with, if its client wants to be told so instead of
//! losing the whole session: `ending.rs` has the other case.
//!
//! The client is told once, and nothing is sent of such a partition until it is assigned anew. The
//! others continue.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{session::Session, show::Known};
use crate::{
    broker::{Error, Shared, lock},
    catalog::groups::{Failed, Generation, Place},
    types::{Offset, PartitionId, TopicId, TopicName},
};

/// A partition that cannot be read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FailedPartition {
    pub(crate) topic: TopicName,
    pub(crate) topic_id: TopicId,
    pub(crate) partition: PartitionId,
    /// The generation in which it is assigned.
    pub(crate) generation: Generation,
    pub(crate) error: Error,
    pub(crate) earliest: Offset,
    pub(crate) high_watermark: Offset,
}

/// The partitions that a session cannot continue with.
#[derive(Default)]
pub(super) struct Failing {
    /// As they were assigned.
    since: BTreeMap<Place, Generation>,
    /// Those that the client must still be told of.
    untold: VecDeque<FailedPartition>,
}

impl Failing {
    /// Whether a partition has failed since it was assigned in this generation.
    pub(super) fn has(&self, place: Place, generation: Generation) -> bool {
        self.since.get(&place) == Some(&generation)
    }

    pub(super) fn has_any_of(&self, place: Place) -> bool {
        self.since.contains_key(&place)
    }

    /// The next one that the client must be told of.
    pub(super) fn next_untold(&mut self) -> Option<FailedPartition> {
        self.untold.pop_front()
    }
}

impl Session {
    /// Gives up a partition, and returns true; or false if this error is not one of a partition, or
    /// the client does not want to be told.
    pub(super) fn give_up(&mut self, place: Place, generation: Generation, error: &Error) -> bool {
        let is_of_partition = matches!(
            error,
            Error::NoOffset { .. }
                | Error::GroupOffsetOutOfRange(_)
                | Error::DamagedRecords { .. }
                | Error::RecordExceedsResponse { .. }
        );
        let found = self.shared.partitions.find_partition(place.0, place.1);
        let Some(at) = found.filter(|_| is_of_partition && self.tells_failed) else {
            return false;
        };
        let (earliest, high_watermark) = at.range();
        tracing::warn!(
            group = %self.live.group,
            member = %self.live.member,
            topic = %at.topic.name,
            partition = place.1.0,
            %error,
            "a member cannot go on with a partition, and goes on with its others"
        );
        let text: Arc<str> = format!("{}: {error}", error.reason()).into();
        lock(&self.live.state).failed.insert(place, text);
        self.failing.since.insert(place, generation);
        self.failing.untold.push_back(FailedPartition {
            topic: at.topic.name.clone(),
            topic_id: place.0,
            partition: place.1,
            generation,
            error: error.clone(),
            earliest,
            high_watermark,
        });
        true
    }

    /// Forgets failures of partitions that are not the member's any more, or were assigned anew.
    pub(super) fn forget_mended(&mut self, generations: &BTreeMap<Place, Generation>) {
        let Failing { since, untold } = &mut self.failing;
        if since.is_empty() {
            return;
        }
        since.retain(|place, generation| generations.get(place) == Some(generation));
        untold.retain(|failed| since.contains_key(&(failed.topic_id, failed.partition)));
        let mut state = lock(&self.live.state);
        state.failed.retain(|place, _| since.contains_key(place));
    }
}

impl Shared {
    /// Why a partition cannot be read on: the error that its owner was told, or with which its last
    /// owner was ended.
    pub(super) fn error_of(
        &self,
        known: &Known,
        place: Place,
        failed: Option<&Failed>,
    ) -> Arc<str> {
        let owned = known.state.owned.get(&place);
        let told = owned.and_then(|owned| self.sessions.failure(&known.name, owned.owner, place));
        let ended = || {
            let failed = failed.filter(|failed| failed.place == Some(place));
            failed.map(|failed| failed.error.as_str().into())
        };
        told.or_else(ended).unwrap_or_default()
    }
}
