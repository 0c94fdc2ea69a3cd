//! Parses the places where a read starts and stops.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    cli::{Failure, flags::ConsumeFlags, time::parse_position},
    types::{Offset, PartitionId, Position},
};

/// Where to start, in each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Start {
    /// For partitions that have no place of their own.
    pub(super) general: Option<Position>,
    /// The partitions with places of their own.
    pub(super) own: BTreeMap<PartitionId, Position>,
}

/// Where to stop, in each partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Until {
    /// For partitions that have no place of their own; `None` if they have no end.
    pub(super) general: Option<End>,
    /// The partitions with places of their own.
    pub(super) own: BTreeMap<PartitionId, End>,
}

/// A place to stop at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the high watermark when the command starts.
    HighWatermark,
    /// Before this offset.
    Offset(Offset),
    /// Before the first record whose timestamp is this or later.
    Timestamp(i64),
}

/// The places in all occurrences of a flag: one for all partitions, and those of single partitions.
#[derive(Default)]
struct Given {
    general: Option<Position>,
    own: BTreeMap<PartitionId, Position>,
}

impl Given {
    fn parse(flag: &str, texts: &[String], now_ms: i64) -> Result<Self, Failure> {
        let mut given = Self::default();
        for text in texts {
            given
                .add(text, now_ms)
                .map_err(|problem| Failure::Usage(format!("{flag}: {problem}")))?;
        }
        Ok(given)
    }

    fn add(&mut self, text: &str, now_ms: i64) -> Result<(), String> {
        let Some(places) = places_of_partitions(text) else {
            let place = place(text, now_ms)?;
            return match self.general.replace(place) {
                None => Ok(()),
                Some(_) => Err("two places are given for the same partitions".to_owned()),
            };
        };
        for (partition, text) in places {
            let number = partition
                .parse()
                .map_err(|_| format!("{partition} is too large for a partition"))?;
            if text.is_empty() {
                return Err(format!("no place is given for partition {number}"));
            }
            let place = place(text, now_ms)?;
            if self.own.insert(PartitionId(number), place).is_some() {
                return Err(format!("two places are given for partition {number}"));
            }
        }
        Ok(())
    }
}

/// Parses a place. `end` is another word for `latest`.
fn place(text: &str, now_ms: i64) -> Result<Position, String> {
    match text {
        "end" => Ok(Position::Latest),
        text => parse_position(text, now_ms),
    }
}

impl Start {
    /// Parses all occurrences of `--from`.
    pub(super) fn parse(texts: &[String], now_ms: i64) -> Result<Self, Failure> {
        let Given { general, own } = Given::parse("--from", texts, now_ms)?;
        Ok(Self { general, own })
    }

    /// Where to start in a partition.
    pub(super) fn of(&self, partition: PartitionId) -> Position {
        let own = self.own.get(&partition).copied();
        own.or(self.general).unwrap_or_default()
    }

    /// The partitions to read, if not all are read.
    pub(super) fn partitions(
        &self,
        flags: &ConsumeFlags,
    ) -> Result<Option<Vec<PartitionId>>, Failure> {
        let named: Vec<PartitionId> = flags.partition.iter().copied().map(PartitionId).collect();
        if named.is_empty() {
            let are_all = self.general.is_some() || self.own.is_empty();
            return Ok((!are_all).then(|| self.own.keys().copied().collect()));
        }
        match self.own.keys().find(|of| !named.contains(of)) {
            None => Ok(Some(named)),
            Some(left_out) => Err(Failure::Usage(format!(
                "--from names a place in partition {left_out}, which --partition leaves out"
            ))),
        }
    }

    /// The place that all partitions share, if they share one.
    pub(super) fn only(&self) -> Option<Position> {
        let is_only = self.own.is_empty();
        is_only.then(|| self.general.unwrap_or_default())
    }
}

impl Until {
    /// Parses all occurrences of `--until`.
    pub(super) fn parse(texts: &[String], now_ms: i64) -> Result<Self, Failure> {
        let given = Given::parse("--until", texts, now_ms)?;
        let mut until = Self::default();
        if let Some(place) = given.general {
            until.general = Some(End::at(place)?);
        }
        for (partition, place) in given.own {
            until.own.insert(partition, End::at(place)?);
        }
        Ok(until)
    }

    /// Where to stop in a partition, if there is such a place.
    pub(super) fn of(&self, partition: PartitionId) -> Option<End> {
        self.own.get(&partition).copied().or(self.general)
    }

    /// All times among the places.
    pub(super) fn times(&self) -> BTreeSet<i64> {
        let mut times = BTreeSet::new();
        for end in self.own.values().chain(&self.general) {
            if let End::Timestamp(ms) = end {
                times.insert(*ms);
            }
        }
        times
    }
}

impl End {
    fn at(place: Position) -> Result<Self, Failure> {
        match place {
            Position::Offset(offset) => Ok(Self::Offset(offset)),
            Position::Timestamp(ms) => Ok(Self::Timestamp(ms)),
            Position::Latest => Ok(Self::HighWatermark),
            Position::Earliest => Err(Failure::Usage(
                "--until: nothing lies before the earliest record".to_owned(),
            )),
        }
    }
}

/// Splits a list such as `0:17,3:latest`; `None` if the text is one place for all partitions. A
/// time may have colons and commas, too, but not a colon directly behind its first digits.
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
