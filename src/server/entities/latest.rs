//! `GetLatest`.

use std::task::{Context, Poll};

use bytes::Bytes;
use tonic::Status;

use crate::{
    broker::{Error, Latest, LatestReader},
    proto::{
        GetLatestResponse,
        wire::{self, LatestRecord},
    },
    server::{answers::Source, blocking::blocking},
    types::{Offset, PartitionId},
};

/// The responses of a `GetLatest`. The next step is taken when the previous response has been sent.
pub(crate) struct LatestAnswers {
    reader: LatestReader,
}

impl LatestAnswers {
    pub(super) fn new(reader: LatestReader) -> Self {
        Self { reader }
    }
}

/// In protobuf, encoded messages with one element each, put one behind the other, are one message
/// with all elements.
fn slices(latest: &[Latest]) -> Vec<Bytes> {
    let one = |latest| GetLatestResponse {
        latest: vec![record(latest)],
    };
    let encoded = latest.iter().map(|latest| wire::encode(&one(latest)));
    encoded.collect()
}

fn record(latest: &Latest) -> LatestRecord {
    LatestRecord {
        version: latest.version.0,
        record: latest.record.clone(),
        partition: latest.partition.0,
    }
}

impl Source for LatestAnswers {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        let Some(latest) = blocking(|| self.reader.step())? else {
            return Poll::Ready(Ok(None));
        };
        let slices = slices(&latest);
        let bytes = slices.iter().map(Bytes::len).sum();
        self.reader.check_response(bytes, &latest)?;
        Poll::Ready(Ok(Some(slices)))
    }

    fn is_light(&self) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        self.reader.is_complete()
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let latest = self.reader.again()?.unwrap_or_default();
        Ok(slices(&latest))
    }

    fn memory(&self) -> usize {
        self.reader.memory()
    }

    fn let_go(&mut self) {}

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}
