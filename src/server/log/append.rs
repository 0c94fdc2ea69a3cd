//! `Append`, and what it shares with `AppendStream`.

use std::{future::poll_fn, sync::Arc};

use bytes::Bytes;
use tonic::Status;

use super::{
    conditions::{self, conditions},
    position,
};
use crate::{
    broker::{
        Admission, Append, AppendBatch, Appended, Attempt, Broker, Error, Flow, GroupOffset, Load,
        Pending, Producer, ProducerHolder,
    },
    proto::{
        self, AppendResponse, AppendedBatch, AppendedRange, CountedRecords, GroupOffsets, Received,
        ReceivedBatch, append_stream_response::Outcome, codec, wire::AppendRequest,
    },
    server::{auth::Access, blocking::elsewhere, groups, status},
    types::{PartitionId, ProducerId, limits::MAX_RECORDS_PER_APPEND},
};

/// Why a request was not stored.
#[derive(Clone, Debug)]
pub(in crate::server) enum Refused {
    /// The broker has refused it.
    ByBroker(Error),
    /// The caller is not permitted to append.
    Denied(Box<Status>),
    /// The caller has used up a quota.
    OverQuota(Box<Status>),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::ByBroker(error)
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ByBroker(error) => error.into(),
            Refused::Denied(status) | Refused::OverQuota(status) => *status,
        }
    }
}

impl Refused {
    /// Counts the refusal.
    pub(super) fn count(&self, broker: &Broker) {
        match self {
            Self::ByBroker(error) => broker.note_refused(error),
            Self::Denied(_) => broker.note_denied(),
            Self::OverQuota(_) => broker.note_over_quota(),
        }
    }

    /// The refusal as the response of an append stream.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::ByBroker(error) => status::outcome(error),
            Self::Denied(status) | Self::OverQuota(status) => {
                Outcome::Refused(proto::refused(&status))
            }
        }
    }
}

/// Hands a request to the broker: waits for admission, after which its place in the order is fixed.
/// The result resolves when the append is durable.
pub(in crate::server) async fn take(
    broker: &Arc<Broker>,
    flow: &Flow,
    holder: Option<Arc<ProducerHolder>>,
    access: &Access,
    request: AppendRequest,
) -> Result<Pending<Appended>, Refused> {
    let batches = &request.batches;
    let counted = count_records(batches);
    let load = Load {
        bytes: batches.iter().map(Bytes::len).sum::<usize>()
            + conditions::bytes(&request.conditions)
            + request
                .group_offsets
                .iter()
                .map(decoded_bytes)
                .sum::<usize>(),
        batches: batches.len(),
        records: counted.iter().map(|counted| counted.count).sum(),
    };
    access
        .append(load.bytes)
        .await
        .map_err(|exceeded| Refused::OverQuota(Box::new(exceeded)))?;
    // Decoded only now that it was admitted: small batches and records take many times their size.
    let mut admission = broker.admit(flow, load).await?;
    let group_offsets = request.group_offsets.iter().map(group_offsets);
    let group_offsets = group_offsets.collect::<Result<_, _>>()?;
    let append = Append {
        batches: request
            .batches
            .iter()
            .zip(&counted)
            .map(|(encoded, counted)| batch(encoded, counted))
            .collect::<Result<_, _>>()?,
        conditions: conditions(request.conditions)?,
        producer: request.producer.map(producer),
        holder,
        return_versions: request.return_versions,
        group_offsets,
    };
    access
        .permit(&append)
        .and_then(|()| access.permit_producer(broker, append.producer))
        .map_err(|denied| Refused::Denied(Box::new(denied)))?;
    if let Some(watch) = access.follow(&append, load) {
        admission.watched_by(watch);
    }
    let stored = store(broker, append, admission).await;
    Ok(stored.map_err(|error| access.shown(error))?)
}

/// Hands over what was admitted.
pub(in crate::server) async fn store(
    broker: &Arc<Broker>,
    append: Append,
    admission: Admission,
) -> Result<Pending<Appended>, Error> {
    match broker.try_append(append, admission)? {
        Attempt::Queued(pending) => Ok(pending),
        Attempt::Left(left) => {
            let broker = Arc::clone(broker);
            elsewhere(move || broker.append_left(left)).await
        }
    }
}

/// Waits for the result.
pub(in crate::server) async fn answer(
    mut pending: Pending<Appended>,
) -> Result<AppendResponse, Error> {
    let unmade = poll_fn(|cx| pending.poll_unmade(cx)).await;
    let appended = match unmade.reads_files() {
        true => elsewhere(move || unmade.make()).await,
        false => unmade.make(),
    };
    appended.map(response)
}

/// Counts the records of these batches. Counting stops soon after the limit.
fn count_records(batches: &[Bytes]) -> Vec<CountedRecords> {
    let (mut counted, mut left) = (Vec::with_capacity(batches.len()), MAX_RECORDS_PER_APPEND);
    for batch in batches {
        let records = ReceivedBatch::count_records(batch, left);
        left = left.saturating_sub(records.count);
        counted.push(records);
    }
    counted
}

/// The memory of a group's offsets once they are decoded.
fn decoded_bytes(encoded: &Bytes) -> usize {
    let fields = GroupOffsets::FIELDS;
    encoded.len() + fields.map_or(0, |fields| fields.decoded_bytes(encoded))
}

fn group_offsets(encoded: &Bytes) -> Result<(String, Vec<GroupOffset>), Error> {
    let group: GroupOffsets =
        codec::decode(encoded.clone()).map_err(|status| Error::MalformedRequest {
            reason: status.message().to_owned(),
        })?;
    let Some((member, _)) = groups::member_id(&group.member_id)? else {
        return Err(Error::MalformedRequest {
            reason: format!(
                "the offsets of group {:?} have no member_id: an append commits what was assigned to a member, whose \
                 id is told in `joined`",
                group.group
            ),
        });
    };
    let mut offsets = groups::offsets::group_offsets(group.offsets)?;
    for offset in &mut offsets {
        offset.member = Some(member);
    }
    Ok((group.group, offsets))
}

fn producer(producer: proto::Producer) -> Producer {
    Producer {
        id: ProducerId(producer.id),
        epoch: producer.epoch,
    }
}

pub(in crate::server) fn batch(
    encoded: &Bytes,
    counted: &CountedRecords,
) -> Result<AppendBatch, Error> {
    let batch = ReceivedBatch::decode_counted(encoded, counted).map_err(|error| {
        Error::MalformedRequest {
            reason: error.to_string(),
        }
    })?;
    let ReceivedBatch {
        topic,
        partition,
        sequence,
        topic_id,
        records,
    } = batch;
    Ok(AppendBatch {
        topic,
        topic_id: position::topic_id(&topic_id)?,
        partition: partition.map(PartitionId),
        sequence,
        records,
    })
}

pub(super) fn response(appended: Appended) -> AppendResponse {
    let range = |range: crate::broker::AppendedRange| AppendedRange {
        partition: range.partition.0,
        first_offset: range.first_offset.0,
        count: range.count,
        append_time_ms: range.append_time_ms,
        versions: range
            .versions
            .into_iter()
            .map(|version| version.0)
            .collect(),
    };
    let forgotten = appended.forgotten;
    let batch = |ranges: Vec<_>| AppendedBatch {
        duplicate: forgotten && ranges.is_empty(),
        ranges: ranges.into_iter().map(range).collect(),
    };
    AppendResponse {
        batches: appended.batches.into_iter().map(batch).collect(),
    }
}
