//! Bounds on groups: how much memory and how many entries they may take.
//!
//! A request that needs more is refused at once: a new group, a new member, the partitions that a
//! member would own, the first offset of a partition. What exists already may continue even if it
//! is over the bounds, as after a start with less memory: a member may come back as it was, and
//! offsets may go up. A member that comes back with more subscriptions needs room for the
//! additional ones. New partitions of a topic cannot be refused; those without room stay without an
//! owner until there is room.

use std::collections::BTreeMap;

use super::{GroupChange, Groups, KnownTopics, Many, Member, Refused, State};
use crate::types::{
    GroupName, PartitionId, TopicId,
    limits::{
        GROUP_BYTES, GROUP_MEMBER_BYTES, GROUP_OFFSET_BYTES, GROUP_TOPIC_BYTES,
        MAX_ALL_METADATA_BYTES, MAX_GROUP_OFFSETS, MAX_GROUPS, MAX_OWNED_PARTITIONS,
        OWNED_PARTITION_BYTES,
    },
};

/// What groups take now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// How many offsets are committed.
    offsets: usize,
    /// How many bytes of metadata these have.
    metadata_bytes: usize,
    /// How many partitions members own.
    owned: usize,
    /// The memory of all members, in bytes.
    member_bytes: usize,
}

impl Used {
    pub(super) fn with(self, more: Self) -> Self {
        Self {
            offsets: self.offsets + more.offsets,
            metadata_bytes: self.metadata_bytes + more.metadata_bytes,
            owned: self.owned + more.owned,
            member_bytes: self.member_bytes + more.member_bytes,
        }
    }

    pub(super) fn without(self, less: Self) -> Self {
        Self {
            offsets: self.offsets - less.offsets,
            metadata_bytes: self.metadata_bytes - less.metadata_bytes,
            owned: self.owned - less.owned,
            member_bytes: self.member_bytes - less.member_bytes,
        }
    }

    fn bytes(self) -> usize {
        self.offsets * GROUP_OFFSET_BYTES
            + self.metadata_bytes
            + self.owned * OWNED_PARTITION_BYTES
            + self.member_bytes
    }
}

impl State {
    pub(super) fn size(&self) -> Used {
        Used {
            offsets: self.offsets.len() + self.replay_until.len(),
            metadata_bytes: self.metadata_bytes,
            owned: self.owned.len(),
            member_bytes: self.member_bytes,
        }
    }

    /// How many partitions of this topic have an owner.
    fn owned_of(&self, topic: TopicId) -> usize {
        let all = (topic, PartitionId(0))..=(topic, PartitionId(u32::MAX));
        self.owned.range(all).count()
    }
}

impl Member {
    /// The member's memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let texts = self.name.len() + self.client.len();
        let topics = self.topics.iter().map(|name| name.as_str().len());
        let prefixes = self.prefixes.iter().map(|prefix| prefix.len());
        let names = topics.chain(prefixes);
        let takes: usize = names.map(|bytes| GROUP_TOPIC_BYTES + bytes).sum();
        GROUP_MEMBER_BYTES + texts + takes
    }
}

impl Groups {
    /// Sets how many bytes of memory groups may take.
    pub(crate) fn set_most_bytes(&mut self, bytes: usize) {
        self.most_bytes = Some(bytes);
    }

    /// How many offsets are committed.
    pub(crate) fn offsets(&self) -> usize {
        self.used.offsets
    }

    /// The memory of all groups, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.by_name.len() * GROUP_BYTES + self.used.bytes()
    }

    /// Checks that there is room for a member and its partitions. For a known member, only what it
    /// adds is counted.
    pub(super) fn check_room_for_member(
        &self,
        group: &GroupName,
        state: &State,
        member: &Member,
        topics: &dyn KnownTopics,
    ) -> Result<(), Refused> {
        let mut takes = BTreeMap::new();
        member.takes(topics, &mut |topic, partitions| {
            takes.insert(topic, partitions as usize);
        });
        let known = state.members.get(&member.id);
        if let Some(known) = known {
            known.takes(topics, &mut |topic, _| {
                takes.remove(&topic);
            });
        }
        let mut owned = 0;
        for (topic, partitions) in takes {
            owned += partitions.saturating_sub(state.owned_of(topic));
        }
        let before = known.map_or(0, Member::bytes);
        let member_bytes = member.bytes().saturating_sub(before);
        let more = Used {
            owned,
            member_bytes,
            ..Used::default()
        };
        self.check_room(usize::from(!self.by_name.contains_key(group)), more)
    }

    /// Checks that there is room for the new offsets in these changes.
    pub(crate) fn check_room_for_offsets<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a GroupName, &'a GroupChange)>,
    ) -> Result<(), Refused> {
        let (mut groups, mut more) = (0, Used::default());
        for (group, change) in changes {
            let found = self.by_name.get(group);
            groups += usize::from(found.is_none());
            for (place, committed) in &change.offsets {
                let known = found.and_then(|group| group.state.offsets.get(place));
                more.offsets += usize::from(known.is_none());
                let before = known.map_or(0, |known| known.metadata.len());
                more.metadata_bytes += committed.metadata.len().saturating_sub(before);
            }
            more.offsets += change.replay_until.len();
        }
        self.check_room(groups, more)
    }

    /// Whether one more partition may have an owner.
    pub(crate) fn have_room_for_partitions(&self) -> bool {
        self.room_for_owned() > 0
    }

    /// How many more partitions may have an owner.
    pub(super) fn room_for_owned(&self) -> usize {
        let most = MAX_OWNED_PARTITIONS.saturating_sub(self.used.owned);
        match self.most_bytes {
            Some(bytes) => most.min(bytes.saturating_sub(self.bytes()) / OWNED_PARTITION_BYTES),
            None => most,
        }
    }

    fn check_room(&self, groups: usize, more: Used) -> Result<(), Refused> {
        let after = self.used.with(more);
        let bytes = more.bytes() + groups * GROUP_BYTES;
        let most_bytes = self.most_bytes.unwrap_or(usize::MAX);
        for (what, more, after, most) in [
            (
                Many::Groups,
                groups,
                self.by_name.len() + groups,
                MAX_GROUPS,
            ),
            (
                Many::Offsets,
                more.offsets,
                after.offsets,
                MAX_GROUP_OFFSETS,
            ),
            (
                Many::MetadataBytes,
                more.metadata_bytes,
                after.metadata_bytes,
                MAX_ALL_METADATA_BYTES,
            ),
            (
                Many::Partitions,
                more.owned,
                after.owned,
                MAX_OWNED_PARTITIONS,
            ),
            (Many::Bytes, bytes, self.bytes() + bytes, most_bytes),
        ] {
            if more > 0 && after > most {
                return Err(Refused::TooMany {
                    what,
                    count: after,
                    most,
                });
            }
        }
        Ok(())
    }
}
