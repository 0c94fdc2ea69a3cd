"""What a caller gives and gets: plain values, the same for both clients."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from taffrail.v1 import entities_pb2, groups_pb2, log_pb2, record_pb2, topics_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A record to append. `Record(key=b"order-1", value=b"...")`."""

    #: What the record is about; None: nothing. Not empty.
    key: bytes | None = None
    #: None: a tombstone, which says that the entity of this key has ended.
    value: bytes | None = None
    type: str = ""
    headers: Sequence[tuple[str, bytes]] = ()
    #: When it happened, in milliseconds since 1970; None: when it is appended.
    timestamp_ms: int | None = None
    #: The caller's identity for this event: see `AppendRequest.conditions` in `log.proto`.
    event_id: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord(Record):
    """A record as it is stored."""

    topic: str
    partition: int
    offset: int
    #: Its number among the records of its key, from 1; None without a key, or in a topic with keys=plain.
    version: int | None
    append_time_ms: int
    #: Key, value, headers and event id are gone.
    erased: bool
    #: Handled already by the group that this one was forked from: repeat no effects outside the group's own state.
    replayed: bool = False


class Edge(enum.Enum):
    """The ends of a log."""

    EARLIEST = log_pb2.EDGE_EARLIEST
    LATEST = log_pb2.EDGE_LATEST


EARLIEST, LATEST = Edge.EARLIEST, Edge.LATEST

#: An offset, an end, or the first record at or after a time, which has a time zone.
Position = int | Edge | datetime


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """The entity is at this version; 0: it never had a record."""

    key: bytes
    version: int
    #: None: the topic that is appended to.
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class KeyAbsent:
    """The entity never had a record."""

    key: bytes
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class KeyExists:
    """The entity has had a record."""

    key: bytes
    topic: str | None = None


@dataclass(frozen=True, slots=True)
class NextOffset:
    """The partition's next record gets this offset."""

    partition: int
    offset: int
    topic: str | None = None


Condition = KeyVersion | KeyAbsent | KeyExists | NextOffset


@dataclass(frozen=True, slots=True)
class Batch:
    """Records for one topic. Without a partition each goes to its key's."""

    topic: str
    records: Sequence[Record]
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """Records of one append that are in a row in one partition."""

    partition: int
    first_offset: int
    count: int
    append_time_ms: int
    #: Of each record, if asked for; 0: it has none.
    versions: Sequence[int]


@dataclass(frozen=True, slots=True)
class Appended:
    """Where the records of one batch are."""

    topic: str
    #: By partition. Empty if it was stored so long ago that the broker does not remember where.
    ranges: Sequence[Range]
    duplicate: bool


@dataclass(frozen=True, slots=True)
class TopicPartition:
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Offset:
    """How far a group has come in a partition: the offset of the next record to read."""

    topic: str
    partition: int
    next_offset: int
    topic_id: str = ""
    generation: int = 0
    metadata: bytes = b""


@dataclass(frozen=True, slots=True)
class GroupOffsets:
    """Offsets of a group to commit with the records of an append, so that both happen or neither."""

    group: str
    member_id: str
    offsets: Sequence[Offset]


@dataclass(frozen=True, slots=True)
class Assigned:
    """A partition that a member has from now on."""

    topic: str
    partition: int
    #: The offset of the first record that comes.
    next_offset: int
    #: What is committed; None: nothing.
    committed: int | None
    generation: int


@dataclass(frozen=True, slots=True)
class FailedPartition:
    """A partition that a member has and cannot read on. It is tried again once it is reset, or has another owner."""

    topic: str
    partition: int
    generation: int
    #: NO_OFFSET, OFFSET_OUT_OF_RANGE, DAMAGED_RECORDS or RECORD_EXCEEDS_RESPONSE.
    reason: str
    #: The same for people.
    message: str
    #: What the partition holds.
    earliest: int
    high_watermark: int


class CommitOutcome(enum.Enum):
    """The outcome of one offset of a commit."""

    DONE = groups_pb2.COMMIT_OUTCOME_DONE
    #: As much or more was committed already.
    UNCHANGED = groups_pb2.COMMIT_OUTCOME_UNCHANGED
    #: The partition is not this member's any more.
    FENCED = groups_pb2.COMMIT_OUTCOME_FENCED
    UNKNOWN_PARTITION = groups_pb2.COMMIT_OUTCOME_UNKNOWN_PARTITION
    BEYOND_END = groups_pb2.COMMIT_OUTCOME_BEYOND_END
    OUTCOME_UNKNOWN = groups_pb2.COMMIT_OUTCOME_OUTCOME_UNKNOWN


@dataclass(frozen=True, slots=True)
class ReadBatch:
    """Some records of one partition, or, without any, how far the read has come."""

    partition: int
    records: Sequence[StoredRecord]
    next_offset: int
    high_watermark: int
    caught_up: bool
    #: SHA-256 of the keys of entities that were erased since the read began.
    erased: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class GroupBatch:
    """Some records of one of a member's partitions, or, without any, how far it has come."""

    topic: str
    partition: int
    records: Sequence[StoredRecord]
    #: The offset to commit once these records have been handled.
    next: Offset
    high_watermark: int
    erased: Sequence[bytes] = ()


@dataclass(frozen=True, slots=True)
class Latest:
    """An entity as it is."""

    key: bytes
    #: 0: it never had a record.
    version: int
    #: None if there never was one, or it was trimmed.
    record: StoredRecord | None
    partition: int


@dataclass(frozen=True, slots=True)
class Erasure:
    id: int
    #: The bytes are gone from every file.
    complete: bool
    deadline_ms: int
    problem: str


@dataclass(frozen=True, slots=True)
class Partition:
    partition: int
    earliest: int
    high_watermark: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Topic:
    name: str
    id: str
    partition_count: int
    settings: Mapping[str, str]
    #: By number; only where one topic was described.
    partitions: Sequence[Partition] = field(default=())


@dataclass(frozen=True, slots=True)
class Removal:
    """What an alter or a trim would remove of a partition."""

    partition: int
    before_offset: int
    records: int
    bytes: int


def record_to_wire(record: Record) -> record_pb2.Record:
    wire = record_pb2.Record(key=record.key, value=record.value, timestamp_ms=record.timestamp_ms)
    # Setting fields that most records do not have would take a third of the time.
    if record.type:
        wire.type = record.type
    if record.event_id:
        wire.event_id = record.event_id
    for name, value in record.headers:
        wire.headers.add(name=name, value=value)
    return wire


def record_from_wire(topic: str, partition: int, wire: record_pb2.Record, replayed_below: int = 0) -> StoredRecord:
    offset, has, headers = wire.offset, wire.HasField, wire.headers
    return StoredRecord(
        key=wire.key if has("key") else None,
        value=wire.value if has("value") else None,
        type=wire.type,
        headers=tuple([(header.name, header.value) for header in headers]) if headers else (),
        timestamp_ms=wire.timestamp_ms,
        event_id=wire.event_id,
        topic=topic,
        partition=partition,
        offset=offset,
        version=wire.version if has("version") else None,
        append_time_ms=wire.append_time_ms,
        erased=has("erased"),
        replayed=offset < replayed_below,
    )


def position_to_wire(position: Position) -> log_pb2.Position:
    if isinstance(position, Edge):
        return log_pb2.Position(edge=position.value)
    if isinstance(position, datetime):
        if position.tzinfo is None:
            raise ValueError("a time to read from needs a time zone")
        return log_pb2.Position(timestamp_ms=round(position.timestamp() * 1000))
    return log_pb2.Position(offset=position)


def condition_to_wire(condition: Condition, topic: str | None) -> log_pb2.Condition:
    if condition.topic is None and topic is None:
        raise ValueError("a condition of an append to several topics names its topic")
    about = log_pb2.Condition(topic=condition.topic or topic or "")
    if isinstance(condition, NextOffset):
        about.partition.partition, about.partition.next_offset = condition.partition, condition.offset
        return about
    about.key.key = condition.key
    if isinstance(condition, KeyVersion):
        about.key.version = condition.version
    elif isinstance(condition, KeyAbsent):
        about.key.absent = True
    else:
        about.key.exists = True
    return about


def offset_to_wire(offset: Offset) -> log_pb2.GroupOffset:
    return log_pb2.GroupOffset(
        topic=offset.topic,
        partition=offset.partition,
        next_offset=offset.next_offset,
        topic_id=offset.topic_id,
        generation=offset.generation,
        metadata=offset.metadata,
    )


def offset_from_wire(wire: log_pb2.GroupOffset) -> Offset:
    return Offset(wire.topic, wire.partition, wire.next_offset, wire.topic_id, wire.generation, wire.metadata)


def append_request(
    batches: Sequence[Batch],
    conditions: Sequence[Condition] = (),
    group_offsets: Sequence[GroupOffsets] = (),
    return_versions: bool = False,
) -> log_pb2.AppendRequest:
    topics = {batch.topic for batch in batches}
    topic = topics.pop() if len(topics) == 1 else None
    return log_pb2.AppendRequest(
        batches=[
            log_pb2.AppendBatch(
                topic=batch.topic,
                partition=batch.partition,
                records=map(record_to_wire, batch.records),
            )
            for batch in batches
        ],
        conditions=[condition_to_wire(condition, topic) for condition in conditions],
        group_offsets=[
            log_pb2.GroupOffsets(
                group=each.group, member_id=each.member_id, offsets=map(offset_to_wire, each.offsets)
            )
            for each in group_offsets
        ],
        return_versions=return_versions,
    )


def appended_from_wire(topic: str, *batches: log_pb2.AppendedBatch) -> Appended:
    ranges = [
        Range(each.partition, each.first_offset, each.count, each.append_time_ms, tuple(each.versions))
        for batch in batches
        for each in batch.ranges
    ]
    return Appended(topic, ranges, any(batch.duplicate for batch in batches))


def topic_from_wire(wire: topics_pb2.Topic, partitions: Sequence[topics_pb2.Partition] = ()) -> Topic:
    settings = {setting.name: setting.value for setting in wire.settings}
    each = [Partition(p.partition, p.earliest, p.high_watermark, p.bytes) for p in partitions]
    return Topic(wire.name, wire.id, wire.partitions, settings, each)


def removal_from_wire(wire: topics_pb2.Removal) -> Removal:
    return Removal(wire.partition, wire.before_offset, wire.records, wire.bytes)


def erasure_from_wire(wire: entities_pb2.Erasure) -> Erasure:
    return Erasure(wire.id, wire.complete, wire.deadline_ms, wire.problem)


def latest_from_wire(topic: str, key: bytes, wire: entities_pb2.LatestRecord) -> Latest:
    record = record_from_wire(topic, wire.partition, wire.record) if wire.HasField("record") else None
    return Latest(key, wire.version, record, wire.partition)
