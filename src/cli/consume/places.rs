//! Where a read starts and where it ends, as it is typed.

use std::collections::BTreeMap;

use crate::{
    cli::{Failure, flags::ConsumeFlags, time::parse_position},
    types::{Offset, PartitionId, Position},
};

/// Where to start, in each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// In partitions without a place of their own.
    pub(super) general: Option<Position>,
    /// In these.
    pub(super) own: BTreeMap<PartitionId, Position>,
}

/// Where to stop, in every partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// At the high watermark of the start.
    End,
    /// Before this offset.
    Offset(Offset),
    /// Before the first record whose timestamp is this or later.
    Timestamp(i64),
}

impl Start {
    /// What `--from` says, as often as it is given.
    pub(super) fn parse(texts: &[String], now_ms: i64) -> Result<Self, Failure> {
        let mut start = Self::default();
        for text in texts {
            start
                .add(text, now_ms)
                .map_err(|problem| Failure::Usage(format!("--from: {problem}")))?;
        }
        Ok(start)
    }

    fn add(&mut self, text: &str, now_ms: i64) -> Result<(), String> {
        let Some(places) = places_of_partitions(text) else {
            let place = parse_position(text, now_ms)?;
            return match self.general.replace(place) {
                None => Ok(()),
                Some(_) => Err("two places are given for the same partitions".to_owned()),
            };
        };
        for (partition, place) in places {
            let number = partition
                .parse()
                .map_err(|_| format!("{partition} is too large for a partition"))?;
            let place = parse_position(place, now_ms)?;
            if self.own.insert(PartitionId(number), place).is_some() {
                return Err(format!("two places are given for partition {number}"));
            }
        }
        Ok(())
    }

    /// Where to start in a partition.
    pub(super) fn of(&self, partition: PartitionId) -> Position {
        let own = self.own.get(&partition).copied();
        own.or(self.general).unwrap_or_default()
    }

    /// The partitions to read, where not all are.
    pub(super) fn partitions(&self, flags: &ConsumeFlags) -> Option<Vec<PartitionId>> {
        let mut named: Vec<PartitionId> =
            flags.partition.iter().copied().map(PartitionId).collect();
        if named.is_empty() && (self.general.is_some() || self.own.is_empty()) {
            return None;
        }
        named.extend(self.own.keys());
        Some(named)
    }

    /// The one place that all partitions have, if they have.
    pub(super) fn only(&self) -> Option<Position> {
        let is_only = self.own.is_empty();
        is_only.then(|| self.general.unwrap_or_default())
    }
}

impl Until {
    /// What `--until` says.
    pub(super) fn parse(text: &str, now_ms: i64) -> Result<Self, Failure> {
        if text == "end" {
            return Ok(Self::End);
        }
        let usage = |problem: String| Failure::Usage(format!("--until: {problem}"));
        match parse_position(text, now_ms).map_err(usage)? {
            Position::Offset(offset) => Ok(Self::Offset(offset)),
            Position::Timestamp(ms) => Ok(Self::Timestamp(ms)),
            Position::Latest => Ok(Self::End),
            Position::Earliest => Err(usage("nothing lies before the earliest record".to_owned())),
        }
    }
}

/// `0:17,3:latest` taken apart; none if it is a place for all partitions. A time has colons too,
/// but not behind its first digits alone; and it may have a comma.
fn places_of_partitions(text: &str) -> Option<Vec<(&str, &str)>> {
    let own = |text| {
        let (partition, place): (&str, &str) = str::split_once(text, ':')?;
        let is_number =
            !partition.is_empty() && partition.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then_some((partition, place))
    };
    let mut places: Vec<(&str, &str)> = Vec::new();
    let mut rest = text;
    loop {
        let (partition, place) = own(rest)?;
        let next = place
            .match_indices(',')
            .map(|(at, _)| at)
            .find(|at| own(&place[at + 1..]).is_some());
        match next {
            Some(at) => {
                places.push((partition, &place[..at]));
                rest = &place[at + 1..];
            }
            None => {
                places.push((partition, place));
                return Some(places);
            }
        }
    }
}
