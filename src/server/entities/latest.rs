//! `GetLatest`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio_stream::Stream;
use tonic::Status;

use crate::{
    broker::{Error, Latest, LatestReader},
    proto::{GetLatestResponse, wire::LatestRecord},
    server::blocking::blocking,
};

/// The answers of a `GetLatest`. The next step is taken when the connection has room for its
/// answer, so a client that does not read holds one answer and no more.
pub(crate) struct LatestAnswers {
    reader: Option<LatestReader>,
}

impl LatestAnswers {
    pub(super) fn new(reader: LatestReader) -> Self {
        Self {
            reader: Some(reader),
        }
    }

    fn next(&mut self) -> Result<Option<GetLatestResponse>, Error> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let found = blocking(|| reader.step())?;
        Ok(found.map(|found| GetLatestResponse {
            latest: found.into_iter().map(record).collect(),
        }))
    }
}

fn record(latest: Latest) -> LatestRecord {
    LatestRecord {
        version: latest.version.0,
        record: latest.record,
        partition: latest.partition.0,
    }
}

impl Stream for LatestAnswers {
    type Item = Result<GetLatestResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(match self.next() {
            Ok(response) => response.map(Ok),
            Err(error) => {
                self.reader = None;
                Some(Err(error.into()))
            }
        })
    }
}
