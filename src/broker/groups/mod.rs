//! Consumer groups: calls and sessions, and what checkpoints store of groups. Their state is in
//! `catalog/groups`.

mod assignment;
mod calls;
mod ending;
mod failing;
mod fetch;
mod join;
mod lag;
mod memory;
mod rebalances;
mod records;
mod reset;
mod session;
mod sessions;
mod show;
mod texts;
mod time;
mod under_way;

pub(crate) use calls::{CommitOutcome, GroupOffset};
pub(in crate::broker) use calls::{check_offsets, out_of_range, refused};
pub(crate) use failing::FailedPartition;
pub(crate) use fetch::{FetchOffsets, FetchedOffset};
pub(crate) use join::JoinGroup;
pub(in crate::broker) use memory::GroupMemory;
pub(in crate::broker) use rebalances::Rebalances;
pub(crate) use reset::{ResetGroup, ResetOffset, ResetTo};
pub(crate) use session::{
    AssignedPartition, Event, NoOffset, OffsetGone, RecordsOf, Session, Step as SessionStep,
};
pub(in crate::broker) use sessions::Sessions;
pub(in crate::broker) use show::Watch;
pub(crate) use show::{
    DescribeGroup, DescribedGroup, DescribedMember, DescribedPartition, GroupState, ListedGroup,
};
pub(in crate::broker) use texts::{Asked, nothing_committed, too_many};
pub(crate) use texts::{CommitFenced, GroupOffsetOutOfRange, held};
pub(crate) use under_way::Credit;

use super::sequencer::Sequencer;
use crate::{
    catalog::groups::{GroupChange, Snapshot},
    types::GroupName,
};

/// Roughly how many offsets are copied at once for a checkpoint: less than a millisecond's work,
/// unless a single group has more.
const STORED_AT_ONCE: usize = 1_000;

impl Sequencer {
    /// The groups, for a whole checkpoint. Changes from here on are noted for the next one.
    pub(super) fn known_groups(&self) -> Snapshot {
        self.applied().groups_mut().note_changes();
        self.all_groups()
    }

    /// All that is known of groups, for what is no checkpoint of this broker.
    pub(in crate::broker) fn all_groups(&self) -> Snapshot {
        let mut snapshot = Snapshot::default();
        let mut behind = None;
        loop {
            // The lock is released between parts, because appends wait for it.
            let applied = self.applied();
            let groups = applied.groups();
            let part = groups.snapshot_behind(behind.as_ref(), STORED_AT_ONCE);
            snapshot.ended = groups.ended();
            drop(applied);
            let Some((last, _)) = part.last() else {
                return snapshot;
            };
            behind = Some(last.clone());
            snapshot.groups.extend(part);
        }
    }

    /// What has changed in groups since the last checkpoint.
    pub(super) fn changed_groups(&self) -> Vec<(GroupName, GroupChange)> {
        let mut noted = self.applied().groups_mut().take_noted();
        let mut changes = Vec::new();
        while !noted.is_empty() {
            // The lock is released between parts, because appends wait for it.
            let applied = self.applied();
            let groups = applied.groups();
            groups.look_up(&mut noted, STORED_AT_ONCE, &mut changes);
        }
        changes
    }
}
