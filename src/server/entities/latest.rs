//! `GetLatest`.

use std::{
    iter::Peekable,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::Status;

use crate::{
    broker::Latest,
    proto::{GetLatestResponse, wire::LatestRecord},
    types::limits::MAX_RESPONSE_BYTES,
};

/// The answers of a `GetLatest`: what the broker has found, a response's worth at a time.
pub(crate) struct LatestAnswers {
    found: Peekable<vec::IntoIter<Latest>>,
}

impl LatestAnswers {
    pub(in crate::server) fn new(found: Vec<Latest>) -> Self {
        Self { found: found.into_iter().peekable() }
    }

    /// As many as fit; one always does.
    fn next(&mut self) -> Option<GetLatestResponse> {
        let first = self.found.next()?;
        let mut bytes = bytes(&first);
        let mut latest = vec![record(first)];
        while let Some(next) = self.found.next_if(|next| bytes + self::bytes(next) <= MAX_RESPONSE_BYTES) {
            bytes += self::bytes(&next);
            latest.push(record(next));
        }
        Some(GetLatestResponse { latest })
    }
}

fn bytes(latest: &Latest) -> usize {
    latest.record.as_ref().map_or(0, Bytes::len)
}

fn record(latest: Latest) -> LatestRecord {
    LatestRecord { version: latest.version.0, record: latest.record, partition: latest.partition.0 }
}

impl Stream for LatestAnswers {
    type Item = Result<GetLatestResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.next().map(Ok))
    }
}
