//! Why a producer takes no records.

use std::sync::{Arc, Mutex, PoisonError};

use crate::client::Error;

/// Why a producer has ended, or given up, if it has. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopped(Arc<Mutex<Option<Error>>>);

impl Stopped {
    pub(super) fn why(&self) -> Option<Error> {
        let why = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        why.clone()
    }

    pub(super) fn set(&self, why: Option<Error>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Fails where records are not taken.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.why() {
            None => Ok(()),
            Some(_) => Err(self.not_sent()),
        }
    }

    /// The error of a record that is not sent.
    pub(super) fn not_sent(&self) -> Error {
        let cause = match self.why() {
            Some(why) => why.to_string(),
            None => "the producer is gone".to_owned(),
        };
        Error::StreamEnded { cause }
    }
}
