//! The names of topics.

use std::{borrow::Borrow, fmt, sync::Arc};

use super::limits::MAX_TOPIC_NAME_BYTES;

/// A valid topic name: 1 to 249 characters out of `A-Z`, `a-z`, `0-9`, `.`, `_` and `-`, and
/// neither `.` nor `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

/// A string that cannot name a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name:?} cannot name a topic: use 1 to {MAX_TOPIC_NAME_BYTES} characters out of A-Z, a-z, 0-9, '.', '_' and '-', \
     other than \".\" and \"..\"{}", too_long(.bytes, MAX_TOPIC_NAME_BYTES)
)]
pub struct TopicNameError {
    /// The string, cut to what a valid name could hold.
    pub name: String,
    /// How many bytes it has.
    pub bytes: usize,
}

/// What is said behind a rule for names where one is too long.
pub(super) fn too_long(bytes: &usize, most: usize) -> String {
    match *bytes > most {
        true => format!("; it has {bytes} bytes"),
        false => String::new(),
    }
}

impl TopicNameError {
    fn of(name: &str) -> Self {
        Self {
            bytes: name.len(),
            name: name.chars().take(MAX_TOPIC_NAME_BYTES + 1).collect(),
        }
    }
}

impl TopicName {
    /// Checks a name.
    ///
    /// # Errors
    ///
    /// If `name` breaks the rule.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        let valid = (1..=MAX_TOPIC_NAME_BYTES).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
            && !matches!(name, "." | "..");
        if valid {
            Ok(Self(name.into()))
        } else {
            Err(TopicNameError::of(name))
        }
    }

    /// Checks that a valid name can begin with `prefix`.
    ///
    /// # Errors
    ///
    /// If no valid name does.
    pub(crate) fn check_prefix(prefix: &str) -> Result<(), TopicNameError> {
        // "." and ".." are not valid names, but valid names begin with them.
        match Self::new(&format!("{prefix}x")) {
            Ok(_) => Ok(()),
            Err(_) => Err(TopicNameError::of(prefix)),
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
