//! The names of consumer groups.

use std::{fmt, sync::Arc};

use super::limits::MAX_GROUP_NAME_BYTES;

/// A valid name of a consumer group: 1 to 255 bytes of UTF-8 without control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// A string that cannot name a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a group: use 1 to {MAX_GROUP_NAME_BYTES} bytes without control characters"
)]
pub struct GroupNameError {
    /// The string, cut to what a valid name could hold.
    pub name: String,
}

impl GroupName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// If `name` breaks the rule.
    pub fn new(name: &str) -> Result<Self, GroupNameError> {
        let is_valid =
            (1..=MAX_GROUP_NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control);
        if is_valid {
            Ok(Self(name.into()))
        } else {
            Err(GroupNameError {
                name: name.chars().take(MAX_GROUP_NAME_BYTES).collect(),
            })
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
