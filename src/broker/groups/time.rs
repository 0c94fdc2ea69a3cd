//! Deadlines of groups: members that were away or silent for too long are removed, and partitions
//! that were not handed over, or make no progress, are taken.

use std::time::Duration;

use super::sessions::Due;
use crate::{
    broker::{Shared, lock},
    catalog::{Planned, groups::MemberId},
    types::GroupName,
};

impl Shared {
    /// When [`keep_groups`](Self::keep_groups) has something to do next.
    pub(in crate::broker) fn next_group_deadline(&self) -> Option<Duration> {
        let waits = self.sequencer.planned().groups().next_deadline();
        waits.into_iter().chain(self.sessions.next_deadline()).min()
    }

    /// Wakes the thread that waits for deadlines, if sessions have an earlier one.
    pub(super) fn wake_for_sessions(&self) {
        if let Some(next) = self.sessions.next_deadline() {
            self.alarm.wake_by(next);
        }
    }

    /// Does what is due for groups. Changes that the journal refuses are tried again.
    pub(in crate::broker) fn keep_groups(&self) {
        let _round = lock(&self.sessions.round);
        let now = self.env.clock.elapsed();
        let Due { silent, stuck } = self.sessions.due(now);
        let mut planned = self.sequencer.planned();
        self.settle_lost(&mut planned);
        for (group, member) in silent {
            let left = self.decide_on_groups(&planned, |groups, topics| {
                groups.decide_leave(&group, member, topics)
            });
            if let Ok(change) = left
                && self
                    .plan_group(&mut planned, &group, change, || Ok(()))
                    .is_err()
            {
                self.lose(&mut planned, &group, member, now);
            }
        }
        for (group, member, places) in stuck {
            let moved = self.decide_on_groups(&planned, |groups, topics| {
                groups.decide_stuck(&group, member, &places, topics)
            });
            if let Ok(Some(change)) = moved {
                // If it is refused, the partition's time has started anew anyway.
                drop(self.plan_group(&mut planned, &group, change, || Ok(())));
            }
        }
        if self.sessions.take_topics_have_changed() {
            self.follow_topics(&mut planned, now);
        }
        self.look_for_room(&planned);
        let durable = |topic| self.durable_partitions(topic);
        for (group, change) in planned.on_groups_deadline(&durable, now) {
            if self
                .plan_group(&mut planned, &group, change, || Ok(()))
                .is_err()
            {
                planned.groups_mut().put_off(&group, now);
            }
        }
    }

    /// Assigns new partitions of topics to members.
    fn follow_topics(&self, planned: &mut Planned, now: Duration) {
        let changes = self.decide_on_groups(planned, |groups, topics| groups.on_topics(topics));
        for (group, change) in changes {
            if self.plan_group(planned, &group, change, || Ok(())).is_err() {
                planned.groups_mut().put_off(&group, now);
            }
        }
    }

    /// Logs once that there is no room for more partitions with owners.
    fn look_for_room(&self, planned: &Planned) {
        let has_room = planned.groups().have_room_for_partitions();
        if self.sessions.note_room(has_room) {
            tracing::warn!(
                "groups have no room for more partitions: those that are new stay without an owner \
                 (memory.catalog_bytes)"
            );
        }
    }

    /// Notes that topics or partitions have changed; groups are checked soon.
    pub(in crate::broker) fn note_topics(&self) {
        self.sessions.note_topics();
        self.alarm.wake();
    }

    /// Starts the time of members whose streams have broken.
    pub(super) fn settle_lost(&self, planned: &mut Planned) {
        for lost in self.sessions.take_lost() {
            self.lose(planned, &lost.group, lost.member, lost.at);
        }
    }

    fn lose(&self, planned: &mut Planned, group: &GroupName, member: MemberId, at: Duration) {
        planned.groups_mut().lose(group, member, at);
    }
}
