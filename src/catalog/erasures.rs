//! Erasures of entities: which there are, and which of them are complete.

use crate::types::{Offset, PartitionId, TopicId, Version};

/// What stands for the key of an erased entity; `storage/format/erasure.rs` says how it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) [u8; Token::BYTES]);

impl Token {
    /// The size of a token.
    pub(crate) const BYTES: usize = 32;
}

/// The erasure of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Erasure {
    pub(crate) id: u64,
    pub(crate) partition: PartitionId,
    pub(crate) token: Token,
    /// Behind the last record that is erased.
    pub(crate) end: Offset,
    /// The version of that record; [`Version::UNKNOWN`] where records that may be the entity's were
    /// damaged when it was erased. Whatever it is, all of its records before `end` are erased.
    pub(crate) through: Version,
    pub(crate) requested_ms: i64,
}

/// An erasure, and how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownErasure {
    pub(crate) topic: TopicId,
    /// Whether the bytes are gone from every file.
    pub(crate) complete: bool,
    pub(crate) erasure: Erasure,
}
