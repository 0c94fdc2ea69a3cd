//! The append stream that all small appends of a connection share. The broker then has one call for
//! all of them, and all that are answered together cause a single wake-up.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::link::Link;
use super::{Append, AppendWindow, Appended, Appender, Error};
use crate::proto::log_client::LogClient;

/// An append of more bytes is a call of its own, because on the stream it would hold up those
/// behind it.
pub(super) const MAX_SHARED_BYTES: usize = 64 << 10;

/// More than a broker has under way on a stream, so that the broker never waits for further
/// requests.
const WINDOW: AppendWindow = AppendWindow {
    requests: 1_024,
    bytes: 16 << 20,
};

/// A stream that is unused for this long ends, because the broker never regards a connection with
/// an open call as idle.
const IDLE: Duration = Duration::from_secs(10);

/// How often an append is tried on another stream if it was not sent because its stream had ended.
const ATTEMPTS: usize = 3;

/// Opened when there is something to append, and again after it has ended.
#[derive(Clone, Debug)]
pub(super) struct SharedStream {
    opened: Arc<Mutex<Option<Arc<Appender>>>>,
    idle: Duration,
}

impl SharedStream {
    pub(super) fn new() -> Self {
        Self::that_ends_after(IDLE)
    }

    pub(super) fn that_ends_after(idle: Duration) -> Self {
        Self {
            opened: Arc::default(),
            idle,
        }
    }

    pub(super) async fn append(
        &self,
        log: &LogClient<Link>,
        append: Append,
    ) -> Result<Appended, Error> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let appender = self.current(log);
            let answer = match appender.append(append.clone()).await {
                Ok(handle) => handle.await,
                Err(error) => Err(error),
            };
            let Err(Error::StreamEnded { cause }) = answer else {
                return answer;
            };
            // The stream may have ended long ago, when the broker was restarted.
            self.forget(&appender);
            last = match appender.ended() {
                Some(unavailable @ Error::Unavailable { .. }) => Some(unavailable),
                _ => Some(Error::Unavailable { message: cause }),
            };
        }
        Err(last.expect("there was an attempt"))
    }

    fn current(&self, log: &LogClient<Link>) -> Arc<Appender> {
        let mut current = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        let opened = current
            .get_or_insert_with(|| Arc::new(Appender::open(log.clone(), WINDOW, Some(self.idle))));
        Arc::clone(opened)
    }

    fn forget(&self, ended: &Arc<Appender>) {
        let mut current = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if current
            .as_ref()
            .is_some_and(|current| Arc::ptr_eq(current, ended))
        {
            *current = None;
        }
    }
}
