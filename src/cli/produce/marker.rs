//! How a run of `produce` knows its own requests when it meets them in the log.
//!
//! The first record of a request with a key, and its first without one, carry the request's marker as their event id:
//! the run's random identity and the request's number. A request is atomic, so that one marked record proves that all
//! of it is stored; two records in a thousand keep the price low.

/// The identity of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Marker {
    run: u64,
    number: u64,
}

impl Marker {
    /// Comes before the first request of a run. `run` is random.
    pub(super) fn before_first(run: u64) -> Self {
        Self { run, number: 0 }
    }

    /// The marker of the next request.
    pub(super) fn next(self) -> Self {
        Self { number: self.number + 1, ..self }
    }

    pub(super) fn as_event_id(self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.run.to_be_bytes());
        id[8..].copy_from_slice(&self.number.to_be_bytes());
        id
    }

    pub(super) fn from_event_id(id: &[u8]) -> Option<Self> {
        let (run, number) = id.split_first_chunk()?;
        let number = number.try_into().ok()?;
        Some(Self { run: u64::from_be_bytes(*run), number: u64::from_be_bytes(number) })
    }
}
