//! Figures for metrics about groups.

use std::time::Duration;

use super::{Broker, Known, Shared, TopicFilter};
use crate::types::GroupName;

/// A group as metrics show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeasuredGroup {
    pub(crate) name: GroupName,
    pub(crate) members: usize,
    pub(crate) partitions: usize,
    /// The lag of all partitions, in records.
    pub(crate) lag: u64,
    /// The age of the oldest record that is next to be read.
    pub(crate) age: Duration,
    pub(crate) stalled: usize,
    /// In what time retention removes the first record that is to be read.
    pub(crate) lost_in: Option<Duration>,
}

impl Broker {
    /// Measures the first groups by name: at most so many groups, and at most so many of their
    /// partitions. Also returns how many groups are left out. May read files.
    pub(crate) fn measure_groups(
        &self,
        most: usize,
        most_partitions: usize,
    ) -> (Vec<MeasuredGroup>, usize) {
        let (names, all) = {
            let applied = self.shared.sequencer.applied();
            let groups = applied.groups();
            let names = groups.iter().map(|(name, _)| name.clone());
            let first: Vec<GroupName> = names.take(most).collect();
            (first, groups.iter().count())
        };
        let mut measured = Vec::with_capacity(names.len());
        let mut left = most_partitions;
        for known in names
            .iter()
            .filter_map(|name| self.shared.known_group(name))
        {
            let partitions = self.shared.places(&known, &TopicFilter::default()).len();
            if partitions > left {
                break;
            }
            left -= partitions;
            measured.push(self.shared.measure(&known));
        }
        let omitted = all.saturating_sub(measured.len());
        (measured, omitted)
    }
}

impl Shared {
    fn measure(&self, known: &Known) -> MeasuredGroup {
        let now = self.env.clock.elapsed();
        let places = self.places(known, &TopicFilter::default());
        let mut group = MeasuredGroup {
            name: known.name.clone(),
            members: known.state.members.len(),
            partitions: places.len(),
            lag: 0,
            age: Duration::ZERO,
            stalled: 0,
            lost_in: None,
        };
        for place in places {
            let Some(behind) = self.lag(known, place) else {
                continue;
            };
            if behind.records() == 0 {
                continue;
            }
            group.lag += behind.records();
            group.age = group.age.max(self.age(&behind).unwrap_or_default());
            let since = self.stalled_since(known, place, &behind, now);
            let is_stalled = since.is_some() && !self.is_paused(known, place);
            group.stalled += usize::from(is_stalled);
            let lost_in = self.lost_in_ms(&behind.at, behind.next);
            let lost_in = lost_in.map(Duration::from_millis);
            group.lost_in = group.lost_in.into_iter().chain(lost_in).min();
        }
        group
    }
}
