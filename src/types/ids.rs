//! Identities and offsets.

use std::fmt;

/// The place of a record in its partition's log: the first record has 0, and a place is never used
/// twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The first place in any log.
    pub const ZERO: Self = Self(0);

    /// The offset `count` places further on.
    ///
    /// # Panics
    ///
    /// Past 2^64, which no log reaches: at a billion records a second it would take 584 years.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        match self.0.checked_add(count) {
            Some(sum) => Self(sum),
            None => panic!("an offset went past 2^64"),
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition in its topic, from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u32);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a topic, drawn at random: a topic created again under the same name has another
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub u64);

impl TopicId {
    /// Reads an id as it is displayed: 16 hexadecimal digits. None if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(text, 16).ok()?;
        is_id.then_some(Self(number))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The number of a record among those of its entity, from 1. 0 stands for none: an entity that
/// never had a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

impl Version {
    /// Before the first record.
    pub const NONE: Self = Self(0);

    /// Above every version that a record has. Stands for the last version of an entity where
    /// nobody can tell it, because records that may be the entity's are damaged.
    pub const UNKNOWN: Self = Self(u64::MAX);

    /// The version `count` records later.
    ///
    /// # Panics
    ///
    /// Past 2^64, which no entity reaches.
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        match self.0.checked_add(count) {
            Some(sum) => Self(sum),
            None => panic!("a version went past 2^64"),
        }
    }

    /// The version of the next record.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of a producer, drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(pub u64);

impl ProducerId {
    /// Reads an id as it is displayed: 16 hexadecimal digits. None if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        TopicId::parse(text).map(|id| Self(id.0))
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
