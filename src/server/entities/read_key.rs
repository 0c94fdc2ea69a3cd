//! `ReadKey`.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio_stream::Stream;
use tonic::Status;

use crate::{
    broker::{Error, KeyReader, ReadKey},
    proto::{ReadKeyRequest, wire::ReadKeyResponse},
    server::blocking::blocking,
    types::{PartitionId, Version},
};

pub(super) fn request(request: ReadKeyRequest) -> ReadKey {
    ReadKey {
        topic: request.topic,
        key: request.key,
        from: Version(request.from_version),
        backward: request.backward,
        max_records: request.max_records,
    }
}

/// The answers of a `ReadKey`. The next step is taken when the connection has room for its answer,
/// so a client that does not read holds one answer and no more.
pub(crate) struct KeyAnswers {
    reader: Option<KeyReader>,
    latest: Version,
    partition: PartitionId,
    /// The client has been told the latest version.
    told: bool,
}

impl KeyAnswers {
    pub(super) fn new(reader: KeyReader) -> Self {
        Self {
            latest: reader.latest(),
            partition: reader.partition(),
            reader: Some(reader),
            told: false,
        }
    }

    fn next(&mut self) -> Result<Option<ReadKeyResponse>, Error> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let records = match blocking(|| reader.step())? {
            Some(records) => records,
            None => {
                self.reader = None;
                if self.told {
                    return Ok(None);
                }
                Vec::new()
            }
        };
        self.told = true;
        Ok(Some(self.response(records)))
    }

    fn response(&self, records: Vec<Bytes>) -> ReadKeyResponse {
        ReadKeyResponse {
            latest_version: self.latest.0,
            partition: self.partition.0,
            records,
        }
    }
}

impl Stream for KeyAnswers {
    type Item = Result<ReadKeyResponse, Status>;

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
