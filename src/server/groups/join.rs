//! Converts the first message of a member, with which it joins a group.

use std::time::Duration;

use super::events;
use crate::{
    broker::{Credit, Error, JoinGroup, NoOffset, OffsetGone, ResponseLimit},
    catalog::groups::{Instance, MemberId},
    proto,
    server::log::position,
    types::{Position, limits},
};

/// Converts the join of a client at this address. The broker is told the session time after which
/// the member counts as away; whether an answered ping counts as a heartbeat is decided by the
/// caller of this function.
pub(in crate::server) fn join_group(
    join: proto::JoinGroup,
    address: String,
) -> Result<JoinGroup, Error> {
    let offset_gone = offset_gone(join.offset_gone)?;
    let (member_id, instance) = member_id(&join.member_id)?.unzip();
    Ok(JoinGroup {
        group: join.group,
        topics: join.topics,
        prefixes: join.topic_prefixes,
        name: join.member_name,
        member_id,
        instance,
        credit: credit(join.credit.unwrap_or_default()),
        partition_credit: join.partition_credit.map(credit),
        response: ResponseLimit::of(join.max_response_bytes)?,
        response_bytes: events::response_bytes,
        no_offset: no_offset(join.no_offset)?,
        offset_gone,
        tells_failed: join.tell_failed,
        session: session(join.session_timeout_ms),
        drain: Duration::from_millis(join.drain_timeout_ms.unwrap_or(limits::DRAIN_MS)),
        heartbeat: true,
        progress: match join.progress_timeout_ms {
            0 => None,
            time => Some(Duration::from_millis(time)),
        },
        is_ephemeral: join.ephemeral,
        client: join.client,
        address,
    })
}

/// A member's session time, in milliseconds; 0 is the default.
pub(super) fn session(ms: u64) -> Duration {
    Duration::from_millis(match ms {
        0 => limits::SESSION_MS,
        ms => ms,
    })
}

pub(super) fn credit(credit: proto::Credit) -> Credit {
    Credit {
        records: credit.records,
        bytes: credit.bytes,
    }
}

/// The id by which a client knows its member. It names the client instance, so that a client whose
/// member was taken over by another one is recognised when it comes back.
pub(super) fn id_text(id: MemberId, instance: Instance) -> String {
    match instance == Instance::first_of(id) {
        true => format!("{:016x}", id.0),
        false => format!("{:016x}-{:016x}", id.0, instance.0),
    }
}

/// As [`member_id`], but the id must not be empty.
pub(super) fn required_member_id(text: &str) -> Result<(MemberId, Instance), Error> {
    member_id(text)?.ok_or_else(|| Error::MalformedRequest {
        reason: "`member_id` is empty; `describe` tells those of a group".to_owned(),
    })
}

/// Parses an id that a client was told: the member, and the client instance. `None` if it is empty.
pub(in crate::server) fn member_id(text: &str) -> Result<Option<(MemberId, Instance)>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let number = |text| u64::from_str_radix(text, 16);
    let read = match text.split_once('-') {
        None => number(text).map(|id| (MemberId(id), Instance(id))),
        Some((id, instance)) => {
            number(id).and_then(|id| Ok((MemberId(id), Instance(number(instance)?))))
        }
    };
    let read = read.map_err(|_| Error::MalformedRequest {
        reason: format!("{text:?} is no id of a member; those are told in `joined`"),
    })?;
    Ok(Some(read))
}

fn no_offset(policy: Option<proto::NoOffset>) -> Result<NoOffset, Error> {
    use proto::no_offset::Policy;
    let Some(proto::NoOffset { policy }) = policy else {
        return Ok(NoOffset::Start(Position::Earliest));
    };
    match policy {
        Some(Policy::Start(start)) => Ok(NoOffset::Start(position::position(Some(start))?)),
        Some(Policy::Fail(true)) => Ok(NoOffset::Fail),
        Some(Policy::Fail(false)) | None => Err(Error::MalformedRequest {
            reason: "`no_offset` says nothing; set its `start`, or `fail` to true, or leave it out"
                .to_owned(),
        }),
    }
}

fn offset_gone(policy: i32) -> Result<OffsetGone, Error> {
    match proto::OffsetGone::try_from(policy) {
        Ok(proto::OffsetGone::Unspecified | proto::OffsetGone::Fail) => Ok(OffsetGone::Fail),
        Ok(proto::OffsetGone::Earliest) => Ok(OffsetGone::Earliest),
        Ok(proto::OffsetGone::Latest) => Ok(OffsetGone::Latest),
        Err(_) => Err(Error::MalformedRequest {
            reason: format!("{policy} is no value of `offset_gone`"),
        }),
    }
}
