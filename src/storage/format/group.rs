//! Changes of consumer groups. A whole group is stored as the change that turns a new group into
//! it.
//!
//! ```text
//! u64  generation, u32 flags: 1 ephemeral, 2 deleted, 4 instances follow, 8 a beginning follows
//! u32  members that are new or changed, then of each: u64 id, string name, u32 topics, then the name of each as a
//!      string, u32 prefixes, then each as a string, u64 session and u64 drain time in milliseconds, string client
//! u32  members that are gone, then of each: u64 id
//! u32  partitions whose owner has changed, then of each: u64 topic, u32 partition,
//!      u32 0 nobody, 1 owned, 2 owned until it is handed over; but for 0: u64 member, u64 generation
//! u32  committed offsets, then of each: u64 topic, u32 partition, u64 next offset, i64 when, in milliseconds since
//!      1970, u32 length of its metadata, then that
//! u32  partitions that are replayed, then of each: u64 topic, u32 partition, u64 the offset below which they are
//! u64  of each member that is new or changed: its instance; only where instances follow
//! i64  when the group was made, in milliseconds since 1970; only where a beginning follows
//! ```
//! Instances follow if a member has another instance than its id. A member's instance equals its id
//! for its first client, and for members that were stored before instances existed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;

use super::fields::{Fields, put_count, put_string};
use crate::{
    catalog::groups::{
        Committed, Generation, GroupChange, Instance, Member, MemberId, Owned, Place,
    },
    types::{GroupName, Offset, PartitionId, TopicId, TopicName},
};

const EPHEMERAL: u32 = 1;
const DELETED: u32 = 2;
const INSTANCES: u32 = 4;
const BEGINNING: u32 = 8;

const PLACE_BYTES: usize = 12;
const MIN_MEMBER_BYTES: usize = 40;
const MIN_OWNED_BYTES: usize = PLACE_BYTES + 4;
const MIN_OFFSET_BYTES: usize = PLACE_BYTES + 20;
const REPLAY_BYTES: usize = PLACE_BYTES + 8;

/// The smallest size of a stored group with its change.
pub(super) const MIN_GROUP_BYTES: usize = 4 + 12 + 5 * 4;

pub(super) fn put_group(out: &mut Vec<u8>, group: &GroupName, change: &GroupChange) {
    put_string(out, group.as_str());
    out.extend_from_slice(&change.generation.0.to_le_bytes());
    let mut flags = 0;
    if change.is_ephemeral {
        flags |= EPHEMERAL;
    }
    if change.is_deleted {
        flags |= DELETED;
    }
    let is_first = |member: &Member| member.instance == Instance::first_of(member.id);
    let has_instances = !change.joined.iter().all(is_first);
    if has_instances {
        flags |= INSTANCES;
    }
    if change.began_ms.is_some() {
        flags |= BEGINNING;
    }
    out.extend_from_slice(&flags.to_le_bytes());
    put_count(out, change.joined.len());
    for member in &change.joined {
        put_member(out, member);
    }
    put_count(out, change.left.len());
    for id in &change.left {
        out.extend_from_slice(&id.0.to_le_bytes());
    }
    put_count(out, change.owned.len());
    for (place, owned) in &change.owned {
        put_place(out, *place);
        put_owned(out, owned.as_ref());
    }
    put_count(out, change.offsets.len());
    for (place, committed) in &change.offsets {
        put_place(out, *place);
        out.extend_from_slice(&committed.next.0.to_le_bytes());
        out.extend_from_slice(&committed.at_ms.to_le_bytes());
        put_count(out, committed.metadata.len());
        out.extend_from_slice(&committed.metadata);
    }
    put_count(out, change.replay_until.len());
    for (place, until) in &change.replay_until {
        put_place(out, *place);
        out.extend_from_slice(&until.0.to_le_bytes());
    }
    if has_instances {
        for member in &change.joined {
            out.extend_from_slice(&member.instance.0.to_le_bytes());
        }
    }
    if let Some(began_ms) = change.began_ms {
        out.extend_from_slice(&began_ms.to_le_bytes());
    }
}

pub(super) fn take_group(fields: &mut Fields<'_>) -> Option<(GroupName, GroupChange)> {
    let group = GroupName::new(fields.string()?).ok()?;
    let (generation, flags) = (Generation(fields.u64()?), fields.u32()?);
    let mut change = GroupChange {
        generation,
        is_ephemeral: flags & EPHEMERAL != 0,
        is_deleted: flags & DELETED != 0,
        ..GroupChange::default()
    };
    for _ in 0..fields.count(MIN_MEMBER_BYTES)? {
        change.joined.push(take_member(fields)?);
    }
    for _ in 0..fields.count(8)? {
        change.left.push(MemberId(fields.u64()?));
    }
    for _ in 0..fields.count(MIN_OWNED_BYTES)? {
        change
            .owned
            .push((take_place(fields)?, take_owned(fields)?));
    }
    for _ in 0..fields.count(MIN_OFFSET_BYTES)? {
        let place = take_place(fields)?;
        let committed = Committed {
            next: Offset(fields.u64()?),
            at_ms: fields.i64()?,
            metadata: take_bytes(fields)?,
        };
        change.offsets.push((place, committed));
    }
    for _ in 0..fields.count(REPLAY_BYTES)? {
        let place = take_place(fields)?;
        change.replay_until.push((place, Offset(fields.u64()?)));
    }
    if flags & INSTANCES != 0 {
        for member in &mut change.joined {
            member.instance = Instance(fields.u64()?);
        }
    }
    if flags & BEGINNING != 0 {
        change.began_ms = Some(fields.i64()?);
    }
    Some((group, change))
}

fn put_place(out: &mut Vec<u8>, (topic, partition): Place) {
    out.extend_from_slice(&topic.0.to_le_bytes());
    out.extend_from_slice(&partition.0.to_le_bytes());
}

fn take_place(fields: &mut Fields<'_>) -> Option<Place> {
    Some((TopicId(fields.u64()?), PartitionId(fields.u32()?)))
}

fn put_member(out: &mut Vec<u8>, member: &Member) {
    out.extend_from_slice(&member.id.0.to_le_bytes());
    put_string(out, &member.name);
    put_count(out, member.topics.len());
    for topic in &member.topics {
        put_string(out, topic.as_str());
    }
    put_count(out, member.prefixes.len());
    for prefix in &member.prefixes {
        put_string(out, prefix);
    }
    put_duration(out, member.session);
    put_duration(out, member.drain);
    put_string(out, &member.client);
}

fn take_member(fields: &mut Fields<'_>) -> Option<Member> {
    let (id, name) = (MemberId(fields.u64()?), fields.string()?.into());
    let mut topics = BTreeSet::new();
    for _ in 0..fields.count(4)? {
        topics.insert(TopicName::new(fields.string()?).ok()?);
    }
    let mut prefixes: BTreeSet<Arc<str>> = BTreeSet::new();
    for _ in 0..fields.count(4)? {
        prefixes.insert(fields.string()?.into());
    }
    Some(Member {
        id,
        instance: Instance::first_of(id),
        name,
        topics,
        prefixes,
        session: take_duration(fields)?,
        drain: take_duration(fields)?,
        client: fields.string()?.into(),
    })
}

fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    out.extend_from_slice(&millis.to_le_bytes());
}

fn take_duration(fields: &mut Fields<'_>) -> Option<Duration> {
    fields.u64().map(Duration::from_millis)
}

fn put_owned(out: &mut Vec<u8>, owned: Option<&Owned>) {
    let Some(owned) = owned else {
        out.extend_from_slice(&0u32.to_le_bytes());
        return;
    };
    let kind = 1 + u32::from(owned.is_draining);
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&owned.owner.0.to_le_bytes());
    out.extend_from_slice(&owned.since.0.to_le_bytes());
}

fn take_owned(fields: &mut Fields<'_>) -> Option<Option<Owned>> {
    let kind = fields.u32()?;
    if kind == 0 {
        return Some(None);
    }
    if kind > 2 {
        return None;
    }
    Some(Some(Owned {
        owner: MemberId(fields.u64()?),
        since: Generation(fields.u64()?),
        is_draining: kind == 2,
    }))
}

fn take_bytes(fields: &mut Fields<'_>) -> Option<Bytes> {
    let len = fields.count(1)?;
    Some(Bytes::copy_from_slice(fields.bytes(len)?))
}
