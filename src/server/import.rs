//! `Admin.ImportRecords`: stores the records that a client sends, with their offsets.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Status, Streaming};

use super::{
    auth::{Access, access},
    blocking::elsewhere,
    incoming::Incoming,
    limits::MAX_IMPORTS_IN_FLIGHT,
    peer, status,
    stop::{Stopped, Stopping},
};
use crate::{
    broker::{Broker, Error, Flow, Import, ImportBatch, Load, Pending},
    proto::{
        ImportBegun, ImportDone, ImportRecordsResponse, ImportedPartition,
        import_records_response::Message, wire::ImportRecordsRequest,
    },
    types::{Offset, PartitionId, Records},
};

type Rest = Pin<Box<dyn Future<Output = Result<ImportDone, Status>> + Send>>;

/// The two responses of an import: the first when it has begun, the second when it is complete. The
/// client's messages are taken while it waits for the second.
pub(crate) struct ImportAnswers {
    begun: Option<ImportBegun>,
    rest: Option<Rest>,
}

/// An import that has begun, and the rest of its messages.
struct Taking {
    broker: Arc<Broker>,
    import: Arc<Import>,
    requests: Incoming<ImportRecordsRequest>,
    flow: Flow,
    access: Access,
    stopped: Stopped,
    records: u64,
    /// Batches that are not durable yet.
    queued: VecDeque<Pending<()>>,
}

/// Begins the import that the first message describes.
pub(super) async fn begin(
    broker: &Arc<Broker>,
    request: Request<Streaming<ImportRecordsRequest>>,
    stopping: &Stopping,
) -> Result<ImportAnswers, Status> {
    let access = access(request.extensions())?;
    let flow = peer::flow(request.extensions());
    let mut requests = Incoming::of(request.extensions());
    let mut stopped = stopping.stopped();
    drop(request);
    let first = next(&mut requests, &mut stopped).await?;
    let begin = first.and_then(|first| match first {
        ImportRecordsRequest {
            begin: Some(begin),
            end: None,
            records,
            ..
        } if records.is_empty() => Some(begin),
        _ => None,
    });
    let begin = begin.ok_or_else(|| malformed("its first message is to have `begin` alone"))?;
    access.permit(&begin)?;
    let begun = {
        let (broker, starts) = (Arc::clone(broker), offsets(begin.starts));
        elsewhere(move || broker.begin_import(&begin.topic, &starts)).await
    };
    let (import, begun) = begun?;
    begun.await?;
    let mut next = Vec::new();
    for (partition, offset) in import.next_offsets() {
        next.push(ImportedPartition {
            partition: partition.0,
            offset: offset.0,
        });
    }
    let taking = Taking {
        broker: Arc::clone(broker),
        import: Arc::new(import),
        requests,
        flow,
        access,
        stopped,
        records: 0,
        queued: VecDeque::new(),
    };
    Ok(ImportAnswers {
        begun: Some(ImportBegun { next }),
        rest: Some(Box::pin(taking.take())),
    })
}

impl Taking {
    /// Takes all messages, up to the last one.
    async fn take(mut self) -> Result<ImportDone, Status> {
        loop {
            let request = next(&mut self.requests, &mut self.stopped).await?;
            match request {
                None => {
                    return Err(malformed(
                        "it has ended without `end`; import again, and it goes on from what is stored",
                    ));
                }
                Some(ImportRecordsRequest { begin: Some(_), .. }) => {
                    return Err(malformed("`begin` comes once"));
                }
                Some(ImportRecordsRequest {
                    end: Some(end),
                    records,
                    ..
                }) => {
                    if !records.is_empty() {
                        return Err(malformed("a message has `end` and records"));
                    }
                    return self.end(offsets(end.ends)).await;
                }
                Some(request) => self.take_records(request).await?,
            }
        }
    }

    async fn take_records(&mut self, request: ImportRecordsRequest) -> Result<(), Status> {
        let records = match &request.records[..] {
            [run] => run.clone(),
            runs => Bytes::from(runs.concat()),
        };
        let count = Records::new(&records).count();
        let load = Load {
            bytes: records.len(),
            batches: 1,
            records: count,
        };
        self.access.append(load.bytes).await?;
        let admission = self.broker.admit(&self.flow, load).await?;
        let batch = ImportBatch {
            partition: PartitionId(request.partition),
            number: request.number,
            records,
        };
        let (broker, import) = (Arc::clone(&self.broker), Arc::clone(&self.import));
        let queued = elsewhere(move || broker.import(&import, &batch, admission)).await?;
        self.records += count as u64;
        self.queued.push_back(queued);
        if self.queued.len() >= MAX_IMPORTS_IN_FLIGHT
            && let Some(first) = self.queued.pop_front()
        {
            first.await?;
        }
        Ok(())
    }

    async fn end(self, ends: Vec<(PartitionId, Offset)>) -> Result<ImportDone, Status> {
        for queued in self.queued {
            queued.await?;
        }
        let (broker, import) = (self.broker, self.import);
        let ended = elsewhere(move || broker.end_import(&import, &ends)).await?;
        ended.await?;
        Ok(ImportDone {
            records: self.records,
        })
    }
}

impl Stream for ImportAnswers {
    type Item = Result<ImportRecordsResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let message = match self.begun.take() {
            Some(begun) => Message::Begun(begun),
            None => {
                let Some(rest) = &mut self.rest else {
                    return Poll::Ready(None);
                };
                let done = ready!(rest.as_mut().poll(cx));
                self.rest = None;
                match done {
                    Ok(done) => Message::Done(done),
                    Err(status) => return Poll::Ready(Some(Err(status))),
                }
            }
        };
        Poll::Ready(Some(Ok(ImportRecordsResponse {
            message: Some(message),
        })))
    }
}

/// The next message; `None` when the client has ended its side.
async fn next(
    requests: &mut Incoming<ImportRecordsRequest>,
    stopped: &mut Stopped,
) -> Result<Option<ImportRecordsRequest>, Status> {
    let request = tokio::select! {
        request = requests.next() => request,
        () = stopped => return Err(Error::ShuttingDown.into()),
    };
    request.transpose().map_err(status::of_undecoded)
}

fn offsets(of: Vec<ImportedPartition>) -> Vec<(PartitionId, Offset)> {
    let offset = |of: ImportedPartition| (PartitionId(of.partition), Offset(of.offset));
    of.into_iter().map(offset).collect()
}

fn malformed(what: &str) -> Status {
    let reason = format!("an import: {what}");
    Error::MalformedRequest { reason }.into()
}
