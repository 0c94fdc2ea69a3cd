//! Room for groups: what they take up, and how much they may.
//!
//! What would make more of it is refused when it is asked for: a new group, a new member, the
//! partitions that a member would have, the first offset of a partition. What is there already may
//! go on, also where less room is left after a start with less memory: a member comes back as it
//! was, and an offset goes up. One that comes back and takes more topics than before asks for that.
//! Partitions that are new in a topic ask nobody; those for which there is no room stay without an
//! owner, until there is.

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

/// What groups take up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// How many offsets are kept.
    offsets: usize,
    /// How many bytes clients keep with them.
    metadata_bytes: usize,
    /// How many partitions members have.
    owned: usize,
    /// What members take up in memory.
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
    /// What it takes up.
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
    /// Groups may take up so many bytes.
    pub(crate) fn set_most_bytes(&mut self, bytes: usize) {
        self.most_bytes = Some(bytes);
    }

    /// How many offsets are kept.
    pub(crate) fn offsets(&self) -> usize {
        self.used.offsets
    }

    /// What they take up.
    pub(crate) fn bytes(&self) -> usize {
        self.by_name.len() * GROUP_BYTES + self.used.bytes()
    }

    /// Checks that there is room for a member, and for what it would have: for all of it, or where
    /// it is known already, for what it takes more than before.
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

    /// Checks that there is room for the offsets that are new in these changes.
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

    /// Whether there is room for one more partition that a member has.
    pub(crate) fn have_room_for_partitions(&self) -> bool {
        self.room_for_owned() > 0
    }

    /// How many more partitions members may have.
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
                return Err(Refused::TooMany { what, most });
            }
        }
        Ok(())
    }
}
