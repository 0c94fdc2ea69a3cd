//! Calls about groups from outside their members' streams: committing offsets, forking and deleting
//! groups, and removing members. Commits of members and of appends are checked here too.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::texts::{Asked, GroupOffsetOutOfRange};
use crate::{
    broker::{
        Broker, Error, Meant, Pending, Shared, TopicFilter, commit::Commit as Queued,
        sequencer::commit, state::PartitionRef,
    },
    catalog::{
        Change, Planned, Settled,
        groups::{
            Commit, Fence, Generation, GroupChange, Groups, Instance, KnownTopics, MemberId,
            Outcome, Place, Refused,
        },
    },
    types::{GroupName, Offset, PartitionId, TopicId, limits},
};

/// The result of a commit in one partition.
pub(crate) type CommitOutcome = Outcome;

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupOffset {
    pub(crate) topic: String,
    /// The topic's id, if a certain topic is meant; `None` for whichever has the name.
    pub(crate) topic_id: Option<TopicId>,
    pub(crate) partition: PartitionId,
    /// The next offset to read.
    pub(crate) next_offset: Offset,
    /// Metadata that the client stores with it.
    pub(crate) metadata: Bytes,
    /// The generation in which the partition was assigned to the committing member; `None` from
    /// outside.
    pub(crate) generation: Option<Generation>,
    /// The committing member, if it is known: it must own the partition. Without it, only the
    /// generation is compared.
    pub(crate) member: Option<MemberId>,
}

/// The outcomes of commits, and the change that makes them, if there is one.
type Decided = Result<(Vec<Outcome>, Option<GroupChange>), Refused>;

impl Broker {
    /// Commits offsets from outside the group's streams. Refused while the group has members,
    /// unless forced: then offsets are only raised, and the partitions are assigned to their owners
    /// anew.
    pub(crate) fn commit_offsets(
        &self,
        group: &str,
        offsets: Vec<GroupOffset>,
        force: bool,
    ) -> Result<Pending<Vec<CommitOutcome>>, Error> {
        let group = GroupName::new(group)?;
        self.shared.commit_offsets(&group, offsets, force)
    }

    /// Creates a group from another one: with its offsets, or to replay, beginning anew and with
    /// the records marked that the other group has had.
    pub(crate) fn fork_group(
        &self,
        from: &str,
        to: &str,
        replay: bool,
        among: &TopicFilter,
    ) -> Result<Pending<()>, Error> {
        let (from, to) = (GroupName::new(from)?, GroupName::new(to)?);
        let shared = &self.shared;
        shared.health.check_running()?;
        let at_ms = shared.clock.now_ms();
        let mut planned = shared.sequencer.planned();
        let forked = shared.decide_on_groups(&planned, |groups, topics| {
            groups.decide_fork(&from, &to, replay, topics, at_ms)
        });
        let forked = forked.map(|mut change| {
            let topics = shared.partitions.topics();
            change.retain(|(id, _)| {
                let topic = topics.find_by_id(id);
                topic.is_some_and(|topic| among.has(topic.name.as_str()))
            });
            change
        });
        match forked {
            Ok(change) => shared.plan_group(&mut planned, &to, change, || Ok(())),
            Err(Refused::UnknownGroup) => shared.sequencer.refuse_durably(unknown(&from)),
            Err(error) => shared.sequencer.refuse_durably(refused(&to, error)),
        }
    }

    /// Removes a member, as if it had left. A stream that has it is fenced.
    pub(crate) fn remove_member(
        &self,
        group: &str,
        member: MemberId,
        instance: Instance,
    ) -> Result<Pending<()>, Error> {
        let group = GroupName::new(group)?;
        let shared = &self.shared;
        shared.health.check_running()?;
        let mut planned = shared.sequencer.planned();
        let removed = shared.decide_on_groups(&planned, |groups, topics| {
            groups.decide_remove(&group, (member, instance), topics)
        });
        match removed {
            Ok(change) => {
                // Before it is applied, so that its session does not take itself for one that was
                // away for too long, and its client does not come back by itself.
                shared.sessions.remove(&group, member);
                shared.plan_group(&mut planned, &group, change, || Ok(()))
            }
            Err(Refused::UnknownMember) => shared.sequencer.refuse_durably(Error::UnknownMember {
                group: group.to_string(),
                member,
            }),
            Err(error) => shared.sequencer.refuse_durably(refused(&group, error)),
        }
    }

    /// Deletes a group and its offsets.
    pub(crate) fn delete_group(&self, group: &str) -> Result<Pending<()>, Error> {
        let group = GroupName::new(group)?;
        let shared = &self.shared;
        shared.health.check_running()?;
        let mut planned = shared.sequencer.planned();
        match planned.groups().decide_delete(&group) {
            Ok(change) => shared.plan_group(&mut planned, &group, change, || Ok(())),
            Err(error) => shared.sequencer.refuse_durably(refused(&group, error)),
        }
    }
}

impl Shared {
    /// Commits each offset on its own. Answers with the outcomes, in order, once they are durable.
    /// A member's commits in deleted topics get an outcome that says so; from outside they are
    /// refused.
    pub(in crate::broker) fn commit_offsets(
        &self,
        group: &GroupName,
        offsets: Vec<GroupOffset>,
        force: bool,
    ) -> Result<Pending<Vec<CommitOutcome>>, Error> {
        check_offsets(&offsets)?;
        self.health.check_running()?;
        let gathers = offsets.iter().all(|offset| offset.generation.is_some());
        let mut commits = Vec::with_capacity(offsets.len());
        let mut outcomes = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let is_members = offset.generation.is_some();
            let fence = match offset.generation {
                Some(since) => Fence::Owned {
                    since,
                    by: offset.member,
                },
                None if force => Fence::Forced,
                None => Fence::NoMembers,
            };
            match self.commit_of(offset, fence) {
                Ok(commit) => {
                    commits.push(commit);
                    outcomes.push(None);
                }
                Err(_) if is_members => outcomes.push(Some(Outcome::UnknownPartition)),
                Err(error) => return Err(error),
            }
        }
        self.check_once(&commits)?;
        let mut planned = self.sequencer.planned();
        let (decided, change) = match self.decide_commit(&planned, group, commits) {
            Ok(decided) => decided,
            Err(error) => return self.sequencer.refuse_durably(refused(group, error)),
        };
        let mut decided = decided.into_iter();
        let answer: Vec<Outcome> = outcomes
            .into_iter()
            .map(|known| {
                let decided = known.or_else(|| decided.next());
                decided.expect("every other commit was decided")
            })
            .collect();
        if let Some(change) = &change
            && !gathers
        {
            self.check_in_log(group, change)?;
        }
        match change {
            Some(change) => {
                let group = group.clone();
                let change = Change::Group { group, change };
                let (mut commit, pending) = self.group_commit(change, move || Ok(answer))?;
                commit.gathers = gathers;
                self.sequencer.plan_commit(&mut planned, commit)?;
                Ok(pending)
            }
            // What the answer tells may not be durable yet.
            None => self.sequencer.queue_barrier(move || Ok(answer)),
        }
    }

    /// Refuses offsets from outside that are trimmed, because no member could continue there. A
    /// member may commit an offset that was trimmed since it read the records.
    fn check_in_log(&self, group: &GroupName, change: &GroupChange) -> Result<(), Error> {
        for (place, committed) in &change.offsets {
            if let Some(at) = self.partitions.find_partition(place.0, place.1) {
                let range = at.range();
                if committed.next < range.0 {
                    return Err(out_of_range(group, &at, committed.next, range, Asked::Set));
                }
            }
        }
        Ok(())
    }

    /// Decides commits according to the present state.
    pub(in crate::broker) fn decide_commit(
        &self,
        planned: &Planned,
        group: &GroupName,
        commits: Vec<Commit>,
    ) -> Decided {
        let at_ms = self.clock.now_ms();
        self.decide_on_groups(planned, |groups, topics| {
            let end = |place: Place| {
                let found = self.partitions.find_partition(place.0, place.1)?;
                topics.has(place).then(|| found.range().1)
            };
            groups.decide_commit(group, commits, end, at_ms)
        })
    }

    /// The commit of an offset in an existing topic.
    pub(in crate::broker) fn commit_of(
        &self,
        offset: GroupOffset,
        fence: Fence,
    ) -> Result<Commit, Error> {
        let meant = Meant {
            name: &offset.topic,
            id: offset.topic_id,
        };
        let topic = self.partitions.topics().find_meant(meant)?;
        let partition = topic.partition(offset.partition)?.partition().id;
        Ok(Commit {
            place: (topic.id, partition),
            next: offset.next_offset,
            metadata: offset.metadata,
            fence,
        })
    }

    /// Refuses commits that name a partition twice, because it is not clear which one counts.
    pub(in crate::broker) fn check_once(&self, commits: &[Commit]) -> Result<(), Error> {
        if commits.len() < 2 {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        for commit in commits {
            if !seen.insert(commit.place) {
                let (topic, partition) = (self.topic_name(commit.place), commit.place.1);
                let reason = format!("partition {partition} of topic {topic:?} is named twice");
                return Err(Error::MalformedRequest { reason });
            }
        }
        Ok(())
    }

    /// The name of a partition's topic, or its id if the topic is gone.
    pub(in crate::broker) fn topic_name(&self, place: Place) -> String {
        let topics = self.partitions.topics();
        let found = topics.find_by_id(place.0);
        found.map_or_else(|| place.0.to_string(), |topic| topic.name.to_string())
    }

    /// Makes a decision about groups, with the topics that it may rely on.
    pub(in crate::broker) fn decide_on_groups<T>(
        &self,
        planned: &Planned,
        decide: impl FnOnce(&Groups, &Settled<'_>) -> T,
    ) -> T {
        let durable = |topic| self.durable_partitions(topic);
        let durable = &durable;
        decide(planned.groups(), &Settled { planned, durable })
    }

    /// The number of partitions of a topic, if the topic is durable.
    pub(super) fn durable_partitions(&self, topic: TopicId) -> Option<u32> {
        let topics = self.partitions.topics();
        let found = topics.find_by_id(topic);
        found.map(|topic| topic.partition_count())
    }

    /// Queues a change of a group, if it fits in the journal.
    pub(super) fn plan_group<T: Send + 'static>(
        &self,
        planned: &mut Planned,
        group: &GroupName,
        change: GroupChange,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<Pending<T>, Error> {
        let group = group.clone();
        let change = Change::Group { group, change };
        let moves_partitions = change.moves_partitions();
        let (commit, pending) = self.group_commit(change, answer)?;
        self.sequencer.plan_commit(planned, commit)?;
        if moves_partitions {
            self.wake_for_sessions();
        }
        Ok(pending)
    }

    /// The commit of a group's change, if it fits in the journal.
    fn group_commit<T: Send + 'static>(
        &self,
        change: Change,
        answer: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<(Queued, Pending<T>), Error> {
        if let Change::Group { change, .. } = &change
            && let Some(began_ms) = change.began_ms
        {
            // What is appended after the group was made has a later time, so that it is known.
            self.clock.pass(began_ms);
        }
        let (commit, pending) = commit(vec![change], answer);
        let most = usize::try_from(self.options.journal().capacity()).unwrap_or(usize::MAX);
        if commit.bytes > most {
            return Err(Error::RequestTooLarge {
                what: "bytes",
                count: commit.bytes,
                limit: most,
            });
        }
        Ok((commit, pending))
    }
}

/// Checks the number of offsets and the size of their metadata.
pub(in crate::broker) fn check_offsets(offsets: &[GroupOffset]) -> Result<(), Error> {
    let too_large = |what, count, limit| Err(Error::RequestTooLarge { what, count, limit });
    let most = limits::MAX_OFFSETS_PER_COMMIT;
    if offsets.len() > most {
        return too_large("offsets", offsets.len(), most);
    }
    let most = limits::MAX_OFFSET_METADATA_BYTES;
    for offset in offsets {
        if offset.metadata.len() > most {
            let bytes = offset.metadata.len();
            return too_large("bytes of metadata of an offset", bytes, most);
        }
    }
    let bytes = offsets.iter().map(|offset| offset.metadata.len()).sum();
    let most = limits::MAX_COMMIT_METADATA_BYTES;
    if bytes > most {
        return too_large("bytes of metadata", bytes, most);
    }
    Ok(())
}

/// The error for an offset of a group that is outside its log.
pub(in crate::broker) fn out_of_range(
    group: &GroupName,
    at: &PartitionRef,
    offset: Offset,
    (earliest, high_watermark): (Offset, Offset),
    asked: Asked,
) -> Error {
    Error::GroupOffsetOutOfRange(GroupOffsetOutOfRange {
        group: group.to_string(),
        topic: at.topic.name.to_string(),
        partition: at.partition().id,
        offset,
        earliest,
        high_watermark,
        asked,
    })
}

pub(super) fn unknown(group: &GroupName) -> Error {
    let group = group.to_string();
    Error::UnknownGroup { group }
}

/// The error for a refused request about a group.
pub(in crate::broker) fn refused(group: &GroupName, refused: Refused) -> Error {
    let group = group.to_string();
    match refused {
        Refused::UnknownGroup => Error::UnknownGroup { group },
        Refused::Fenced => Error::MemberFenced { group },
        Refused::UnknownMember => Error::SessionEnded { group },
        Refused::BadName(error) => Error::InvalidGroupName(error),
        Refused::GroupExists => Error::GroupExists { group },
        Refused::HasMembers { members } => Error::GroupHasMembers { group, members },
        Refused::TooMany { what, count, most } => Error::TooManyForGroups {
            group,
            what,
            count,
            most,
        },
        Refused::OtherKind { is_ephemeral } => Error::GroupKind {
            group,
            is_ephemeral,
        },
    }
}
