//! The names of consumer groups.

use std::{fmt, sync::Arc};

use super::{limits::MAX_GROUP_NAME_BYTES, steering, topic_name::too_long};

/// A valid name of a consumer group: 1 to 255 bytes of UTF-8 without control characters. The name
/// of a new group may not have characters that change the direction of text either: see
/// [`check_new`](Self::check_new).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// A string that cannot name a group.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a group{}: use 1 to {MAX_GROUP_NAME_BYTES} bytes without control \
    characters, and without \
     those for the direction of text{}",
    .letter.as_ref().map_or_else(String::new, |letter| format!(", because of {letter}")),
    too_long(.bytes, MAX_GROUP_NAME_BYTES)
)]
pub struct GroupNameError {
    /// The string, cut to what a valid name could hold.
    pub name: String,
    /// How many bytes it has.
    pub bytes: usize,
    /// The first character that a name cannot have, as `U+202E`; `None` if the name breaks another
    /// rule.
    pub letter: Option<String>,
}

impl GroupNameError {
    fn of(name: &str) -> Self {
        Self {
            bytes: name.len(),
            name: name.chars().take(MAX_GROUP_NAME_BYTES).collect(),
            letter: steering(name),
        }
    }
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
            Err(GroupNameError::of(name))
        }
    }

    /// Checks that a new group may have this name: a terminal must show it as it is. Groups that
    /// exist already keep their names.
    ///
    /// # Errors
    ///
    /// If a character changes the direction of text, or begins another line.
    pub fn check_new(&self) -> Result<(), GroupNameError> {
        match steering(&self.0) {
            None => Ok(()),
            Some(_) => Err(GroupNameError::of(&self.0)),
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
