//! `ReadKey`.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use tonic::Status;

use crate::{
    broker::{Error, KeyReader, ReadKey, ResponseLimit},
    proto::{
        ReadKeyRequest,
        wire::{self, ReadKeyResponse},
    },
    server::{answers::Source, blocking::ShortReads},
    types::{Offset, PartitionId, Version},
};

pub(in crate::server) fn request(request: ReadKeyRequest) -> Result<ReadKey, Error> {
    Ok(ReadKey {
        topic: request.topic,
        // Copied, because a slice would keep the whole request in memory.
        key: Bytes::copy_from_slice(&request.key),
        from: Version(request.from_version),
        backward: request.backward,
        max_records: request.max_records,
        response: ResponseLimit::of(request.max_response_bytes)?,
    })
}

/// The responses of a `ReadKey`. The next step is taken when the previous response has been sent.
pub(crate) struct KeyAnswers {
    reader: KeyReader,
    short: Arc<ShortReads>,
    latest: Version,
    partition: PartitionId,
    /// Whether the client has been told the latest version.
    told: bool,
}

impl KeyAnswers {
    pub(super) fn new(reader: KeyReader, short: Arc<ShortReads>) -> Self {
        Self {
            short,
            latest: reader.latest(),
            partition: reader.partition(),
            reader,
            told: false,
        }
    }

    fn next(&mut self) -> Result<Option<Vec<Bytes>>, Error> {
        let records = self.short.read(|| self.reader.step())?;
        if records.is_none() && self.told {
            return Ok(None);
        }
        self.told = true;
        let records = records.unwrap_or_default();
        let head = self.head();
        self.reader.check_response(head.len(), &records)?;
        Ok(Some(std::iter::once(head).chain(records).collect()))
    }

    fn head(&self) -> Bytes {
        wire::encode(&ReadKeyResponse {
            latest_version: self.latest.0,
            partition: self.partition.0,
            first_version: self.reader.start().0,
            records: Vec::new(),
        })
    }
}

impl Source for KeyAnswers {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Option<Vec<Bytes>>, Status>> {
        Poll::Ready(Ok(self.next()?))
    }

    fn is_light(&self) -> bool {
        false
    }

    fn is_complete(&self) -> bool {
        self.told && self.reader.is_complete()
    }

    fn again(&mut self) -> Result<Vec<Bytes>, Error> {
        let records = self.reader.again()?.unwrap_or_default();
        Ok(std::iter::once(self.head()).chain(records).collect())
    }

    fn memory(&self) -> usize {
        self.reader.memory()
    }

    fn let_go(&mut self) {}

    fn next_offsets(&self) -> Vec<(PartitionId, Offset)> {
        Vec::new()
    }
}
