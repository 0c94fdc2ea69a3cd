//! The budget for what has been appended and is not in segments yet.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;

/// What a request costs beside its bytes: its frames' headers, its place in queues, its answer.
const REQUEST_BYTES: usize = 1 << 10;

/// Counts bytes of memory.
pub(super) struct Memory {
    permits: Arc<Semaphore>,
    total: usize,
}

/// Leave to append. Its bytes count as used until the frames are in segments.
pub(crate) struct Admission {
    permit: OwnedSemaphorePermit,
}

impl Memory {
    pub(super) fn new(total: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(total)),
            total,
        }
    }

    /// Waits until there is room for a request of this many bytes, in the order asked.
    pub(super) async fn admit(&self, bytes: usize) -> Result<Admission, Error> {
        let permits = Arc::clone(&self.permits)
            .acquire_many_owned(self.price(bytes))
            .await;
        permits
            .map(|permit| Admission { permit })
            .map_err(|_| Error::ShuttingDown)
    }

    /// Half as much again for what the broker adds to records, and never more than there is.
    fn price(&self, bytes: usize) -> u32 {
        let price = (bytes + bytes / 2 + REQUEST_BYTES).min(self.total);
        u32::try_from(price).unwrap_or(u32::MAX)
    }

    /// Whether so much is used that frames should be moved into segments: a quarter.
    pub(super) fn is_pressed(&self) -> bool {
        self.permits.available_permits() < self.total - self.total / 4
    }

    /// Refuses all who wait and all who come.
    pub(super) fn close(&self) {
        self.permits.close();
    }
}

impl Admission {
    /// Makes the frames of the request pay for the memory, as long as one of them is there.
    pub(super) fn into_charge(self) -> crate::storage::log::Charge {
        Some(Arc::new(self.permit))
    }
}
