from taffrail.v1 import log_pb2 as _log_pb2
from taffrail.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OffsetGone(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OFFSET_GONE_UNSPECIFIED: _ClassVar[OffsetGone]
    OFFSET_GONE_FAIL: _ClassVar[OffsetGone]
    OFFSET_GONE_EARLIEST: _ClassVar[OffsetGone]
    OFFSET_GONE_LATEST: _ClassVar[OffsetGone]

class CommitOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMIT_OUTCOME_UNSPECIFIED: _ClassVar[CommitOutcome]
    COMMIT_OUTCOME_DONE: _ClassVar[CommitOutcome]
    COMMIT_OUTCOME_UNCHANGED: _ClassVar[CommitOutcome]
    COMMIT_OUTCOME_FENCED: _ClassVar[CommitOutcome]
    COMMIT_OUTCOME_UNKNOWN_PARTITION: _ClassVar[CommitOutcome]
    COMMIT_OUTCOME_BEYOND_END: _ClassVar[CommitOutcome]
    COMMIT_OUTCOME_OUTCOME_UNKNOWN: _ClassVar[CommitOutcome]

class GroupState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GROUP_STATE_UNSPECIFIED: _ClassVar[GroupState]
    GROUP_STATE_EMPTY: _ClassVar[GroupState]
    GROUP_STATE_STABLE: _ClassVar[GroupState]
    GROUP_STATE_MOVING: _ClassVar[GroupState]
    GROUP_STATE_WAITING: _ClassVar[GroupState]
OFFSET_GONE_UNSPECIFIED: OffsetGone
OFFSET_GONE_FAIL: OffsetGone
OFFSET_GONE_EARLIEST: OffsetGone
OFFSET_GONE_LATEST: OffsetGone
COMMIT_OUTCOME_UNSPECIFIED: CommitOutcome
COMMIT_OUTCOME_DONE: CommitOutcome
COMMIT_OUTCOME_UNCHANGED: CommitOutcome
COMMIT_OUTCOME_FENCED: CommitOutcome
COMMIT_OUTCOME_UNKNOWN_PARTITION: CommitOutcome
COMMIT_OUTCOME_BEYOND_END: CommitOutcome
COMMIT_OUTCOME_OUTCOME_UNKNOWN: CommitOutcome
GROUP_STATE_UNSPECIFIED: GroupState
GROUP_STATE_EMPTY: GroupState
GROUP_STATE_STABLE: GroupState
GROUP_STATE_MOVING: GroupState
GROUP_STATE_WAITING: GroupState

class ConsumeRequest(_message.Message):
    __slots__ = ("join", "credit", "commit", "drained", "pause", "resume", "still_working", "leave")
    JOIN_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RESUME_FIELD_NUMBER: _ClassVar[int]
    STILL_WORKING_FIELD_NUMBER: _ClassVar[int]
    LEAVE_FIELD_NUMBER: _ClassVar[int]
    join: JoinGroup
    credit: Credit
    commit: CommitOffsets
    drained: Partitions
    pause: Partitions
    resume: Partitions
    still_working: StillWorking
    leave: Leave
    def __init__(self, join: _Optional[_Union[JoinGroup, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., commit: _Optional[_Union[CommitOffsets, _Mapping]] = ..., drained: _Optional[_Union[Partitions, _Mapping]] = ..., pause: _Optional[_Union[Partitions, _Mapping]] = ..., resume: _Optional[_Union[Partitions, _Mapping]] = ..., still_working: _Optional[_Union[StillWorking, _Mapping]] = ..., leave: _Optional[_Union[Leave, _Mapping]] = ...) -> None: ...

class JoinGroup(_message.Message):
    __slots__ = ("group", "topics", "topic_prefixes", "member_name", "member_id", "credit", "partition_credit", "no_offset", "offset_gone", "session_timeout_ms", "drain_timeout_ms", "heartbeat", "progress_timeout_ms", "ephemeral", "client", "max_response_bytes", "tell_failed")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_PREFIXES_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    PARTITION_CREDIT_FIELD_NUMBER: _ClassVar[int]
    NO_OFFSET_FIELD_NUMBER: _ClassVar[int]
    OFFSET_GONE_FIELD_NUMBER: _ClassVar[int]
    SESSION_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TELL_FAILED_FIELD_NUMBER: _ClassVar[int]
    group: str
    topics: _containers.RepeatedScalarFieldContainer[str]
    topic_prefixes: _containers.RepeatedScalarFieldContainer[str]
    member_name: str
    member_id: str
    credit: Credit
    partition_credit: Credit
    no_offset: NoOffset
    offset_gone: OffsetGone
    session_timeout_ms: int
    drain_timeout_ms: int
    heartbeat: bool
    progress_timeout_ms: int
    ephemeral: bool
    client: str
    max_response_bytes: int
    tell_failed: bool
    def __init__(self, group: _Optional[str] = ..., topics: _Optional[_Iterable[str]] = ..., topic_prefixes: _Optional[_Iterable[str]] = ..., member_name: _Optional[str] = ..., member_id: _Optional[str] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., partition_credit: _Optional[_Union[Credit, _Mapping]] = ..., no_offset: _Optional[_Union[NoOffset, _Mapping]] = ..., offset_gone: _Optional[_Union[OffsetGone, str]] = ..., session_timeout_ms: _Optional[int] = ..., drain_timeout_ms: _Optional[int] = ..., heartbeat: _Optional[bool] = ..., progress_timeout_ms: _Optional[int] = ..., ephemeral: _Optional[bool] = ..., client: _Optional[str] = ..., max_response_bytes: _Optional[int] = ..., tell_failed: _Optional[bool] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("records", "bytes")
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    records: int
    bytes: int
    def __init__(self, records: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class NoOffset(_message.Message):
    __slots__ = ("start", "fail")
    START_FIELD_NUMBER: _ClassVar[int]
    FAIL_FIELD_NUMBER: _ClassVar[int]
    start: _log_pb2.Position
    fail: bool
    def __init__(self, start: _Optional[_Union[_log_pb2.Position, _Mapping]] = ..., fail: _Optional[bool] = ...) -> None: ...

class CommitOffsets(_message.Message):
    __slots__ = ("offsets",)
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.RepeatedCompositeFieldContainer[_log_pb2.GroupOffset]
    def __init__(self, offsets: _Optional[_Iterable[_Union[_log_pb2.GroupOffset, _Mapping]]] = ...) -> None: ...

class Partitions(_message.Message):
    __slots__ = ("partitions",)
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[GroupPartition]
    def __init__(self, partitions: _Optional[_Iterable[_Union[GroupPartition, _Mapping]]] = ...) -> None: ...

class GroupPartition(_message.Message):
    __slots__ = ("topic", "partition", "topic_id")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    topic_id: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., topic_id: _Optional[str] = ...) -> None: ...

class StillWorking(_message.Message):
    __slots__ = ("partitions",)
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[GroupPartition]
    def __init__(self, partitions: _Optional[_Iterable[_Union[GroupPartition, _Mapping]]] = ...) -> None: ...

class Leave(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ConsumeResponse(_message.Message):
    __slots__ = ("joined", "assigned", "revoked", "records", "committed", "caught_up", "heartbeat", "failed")
    JOINED_FIELD_NUMBER: _ClassVar[int]
    ASSIGNED_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    joined: Joined
    assigned: Assigned
    revoked: Revoked
    records: Records
    committed: Committed
    caught_up: CaughtUp
    heartbeat: Heartbeat
    failed: PartitionFailed
    def __init__(self, joined: _Optional[_Union[Joined, _Mapping]] = ..., assigned: _Optional[_Union[Assigned, _Mapping]] = ..., revoked: _Optional[_Union[Revoked, _Mapping]] = ..., records: _Optional[_Union[Records, _Mapping]] = ..., committed: _Optional[_Union[Committed, _Mapping]] = ..., caught_up: _Optional[_Union[CaughtUp, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., failed: _Optional[_Union[PartitionFailed, _Mapping]] = ...) -> None: ...

class Joined(_message.Message):
    __slots__ = ("member_id", "session_timeout_ms", "drain_timeout_ms")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    SESSION_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    session_timeout_ms: int
    drain_timeout_ms: int
    def __init__(self, member_id: _Optional[str] = ..., session_timeout_ms: _Optional[int] = ..., drain_timeout_ms: _Optional[int] = ...) -> None: ...

class Assigned(_message.Message):
    __slots__ = ("partitions",)
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    partitions: _containers.RepeatedCompositeFieldContainer[AssignedPartition]
    def __init__(self, partitions: _Optional[_Iterable[_Union[AssignedPartition, _Mapping]]] = ...) -> None: ...

class AssignedPartition(_message.Message):
    __slots__ = ("topic", "partition", "topic_id", "generation", "next_offset", "committed", "high_watermark", "replayed_below")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_BELOW_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    topic_id: str
    generation: int
    next_offset: int
    committed: CommittedOffset
    high_watermark: int
    replayed_below: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., topic_id: _Optional[str] = ..., generation: _Optional[int] = ..., next_offset: _Optional[int] = ..., committed: _Optional[_Union[CommittedOffset, _Mapping]] = ..., high_watermark: _Optional[int] = ..., replayed_below: _Optional[int] = ...) -> None: ...

class Revoked(_message.Message):
    __slots__ = ("partitions", "drain_ms")
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_MS_FIELD_NUMBER: _ClassVar[int]
    partitions: Partitions
    drain_ms: int
    def __init__(self, partitions: _Optional[_Union[Partitions, _Mapping]] = ..., drain_ms: _Optional[int] = ...) -> None: ...

class PartitionFailed(_message.Message):
    __slots__ = ("topic", "partition", "topic_id", "generation", "reason", "message", "earliest", "high_watermark")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    topic_id: str
    generation: int
    reason: str
    message: str
    earliest: int
    high_watermark: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., topic_id: _Optional[str] = ..., generation: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., earliest: _Optional[int] = ..., high_watermark: _Optional[int] = ...) -> None: ...

class Records(_message.Message):
    __slots__ = ("next", "cost", "high_watermark", "caught_up", "replayed_below", "erased", "records")
    NEXT_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_BELOW_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    next: _log_pb2.GroupOffset
    cost: Credit
    high_watermark: int
    caught_up: bool
    replayed_below: int
    erased: _containers.RepeatedCompositeFieldContainer[_log_pb2.ErasedEntity]
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    def __init__(self, next: _Optional[_Union[_log_pb2.GroupOffset, _Mapping]] = ..., cost: _Optional[_Union[Credit, _Mapping]] = ..., high_watermark: _Optional[int] = ..., caught_up: _Optional[bool] = ..., replayed_below: _Optional[int] = ..., erased: _Optional[_Iterable[_Union[_log_pb2.ErasedEntity, _Mapping]]] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ...) -> None: ...

class Committed(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CommitResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CommitResult, _Mapping]]] = ...) -> None: ...

class CommitResult(_message.Message):
    __slots__ = ("topic", "partition", "outcome", "committed_offset", "generation", "high_watermark")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_OFFSET_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    outcome: CommitOutcome
    committed_offset: int
    generation: int
    high_watermark: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., outcome: _Optional[_Union[CommitOutcome, str]] = ..., committed_offset: _Optional[int] = ..., generation: _Optional[int] = ..., high_watermark: _Optional[int] = ...) -> None: ...

class CaughtUp(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CommitRequest(_message.Message):
    __slots__ = ("group", "offsets", "force")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    group: str
    offsets: _containers.RepeatedCompositeFieldContainer[_log_pb2.GroupOffset]
    force: bool
    def __init__(self, group: _Optional[str] = ..., offsets: _Optional[_Iterable[_Union[_log_pb2.GroupOffset, _Mapping]]] = ..., force: _Optional[bool] = ...) -> None: ...

class CommitResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[CommitResult]
    def __init__(self, results: _Optional[_Iterable[_Union[CommitResult, _Mapping]]] = ...) -> None: ...

class FetchOffsetsRequest(_message.Message):
    __slots__ = ("group", "topic", "page_size", "after")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    group: str
    topic: str
    page_size: int
    after: GroupPartition
    def __init__(self, group: _Optional[str] = ..., topic: _Optional[str] = ..., page_size: _Optional[int] = ..., after: _Optional[_Union[GroupPartition, _Mapping]] = ...) -> None: ...

class FetchOffsetsResponse(_message.Message):
    __slots__ = ("offsets", "more")
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.RepeatedCompositeFieldContainer[CommittedOffset]
    more: bool
    def __init__(self, offsets: _Optional[_Iterable[_Union[CommittedOffset, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class CommittedOffset(_message.Message):
    __slots__ = ("topic", "partition", "topic_id", "next_offset", "metadata", "committed_at_ms")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    topic_id: str
    next_offset: int
    metadata: bytes
    committed_at_ms: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., topic_id: _Optional[str] = ..., next_offset: _Optional[int] = ..., metadata: _Optional[bytes] = ..., committed_at_ms: _Optional[int] = ...) -> None: ...

class ListGroupsRequest(_message.Message):
    __slots__ = ("prefix", "page_size", "after")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    page_size: int
    after: str
    def __init__(self, prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class ListGroupsResponse(_message.Message):
    __slots__ = ("groups", "more")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[ListedGroup]
    more: bool
    def __init__(self, groups: _Optional[_Iterable[_Union[ListedGroup, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class ListedGroup(_message.Message):
    __slots__ = ("group", "state", "members", "partitions", "lag", "stalled_partitions", "ephemeral")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    STALLED_PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    group: str
    state: GroupState
    members: int
    partitions: int
    lag: int
    stalled_partitions: int
    ephemeral: bool
    def __init__(self, group: _Optional[str] = ..., state: _Optional[_Union[GroupState, str]] = ..., members: _Optional[int] = ..., partitions: _Optional[int] = ..., lag: _Optional[int] = ..., stalled_partitions: _Optional[int] = ..., ephemeral: _Optional[bool] = ...) -> None: ...

class DescribeGroupRequest(_message.Message):
    __slots__ = ("group", "page_size", "after")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    group: str
    page_size: int
    after: GroupPartition
    def __init__(self, group: _Optional[str] = ..., page_size: _Optional[int] = ..., after: _Optional[_Union[GroupPartition, _Mapping]] = ...) -> None: ...

class DescribeGroupResponse(_message.Message):
    __slots__ = ("group", "state", "reason", "state_since_ms", "generation", "ephemeral", "members", "partitions", "more")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    EPHEMERAL_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    group: str
    state: GroupState
    reason: str
    state_since_ms: int
    generation: int
    ephemeral: bool
    members: _containers.RepeatedCompositeFieldContainer[GroupMember]
    partitions: _containers.RepeatedCompositeFieldContainer[GroupPartitionDescription]
    more: bool
    def __init__(self, group: _Optional[str] = ..., state: _Optional[_Union[GroupState, str]] = ..., reason: _Optional[str] = ..., state_since_ms: _Optional[int] = ..., generation: _Optional[int] = ..., ephemeral: _Optional[bool] = ..., members: _Optional[_Iterable[_Union[GroupMember, _Mapping]]] = ..., partitions: _Optional[_Iterable[_Union[GroupPartitionDescription, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class GroupMember(_message.Message):
    __slots__ = ("member_id", "name", "client", "address", "connected", "partitions", "credit_left", "last_heard_ms")
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    CREDIT_LEFT_FIELD_NUMBER: _ClassVar[int]
    LAST_HEARD_MS_FIELD_NUMBER: _ClassVar[int]
    member_id: str
    name: str
    client: str
    address: str
    connected: bool
    partitions: int
    credit_left: Credit
    last_heard_ms: int
    def __init__(self, member_id: _Optional[str] = ..., name: _Optional[str] = ..., client: _Optional[str] = ..., address: _Optional[str] = ..., connected: _Optional[bool] = ..., partitions: _Optional[int] = ..., credit_left: _Optional[_Union[Credit, _Mapping]] = ..., last_heard_ms: _Optional[int] = ...) -> None: ...

class GroupPartitionDescription(_message.Message):
    __slots__ = ("topic", "partition", "topic_id", "member_id", "member_name", "generation", "draining", "paused", "committed_offset", "committed_at_ms", "high_watermark", "earliest", "lag", "lag_exact", "lag_ms", "stalled_since_ms", "lost_in_ms", "error")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMBER_NAME_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_OFFSET_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    LAG_FIELD_NUMBER: _ClassVar[int]
    LAG_EXACT_FIELD_NUMBER: _ClassVar[int]
    LAG_MS_FIELD_NUMBER: _ClassVar[int]
    STALLED_SINCE_MS_FIELD_NUMBER: _ClassVar[int]
    LOST_IN_MS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    topic_id: str
    member_id: str
    member_name: str
    generation: int
    draining: bool
    paused: bool
    committed_offset: int
    committed_at_ms: int
    high_watermark: int
    earliest: int
    lag: int
    lag_exact: bool
    lag_ms: int
    stalled_since_ms: int
    lost_in_ms: int
    error: str
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., topic_id: _Optional[str] = ..., member_id: _Optional[str] = ..., member_name: _Optional[str] = ..., generation: _Optional[int] = ..., draining: _Optional[bool] = ..., paused: _Optional[bool] = ..., committed_offset: _Optional[int] = ..., committed_at_ms: _Optional[int] = ..., high_watermark: _Optional[int] = ..., earliest: _Optional[int] = ..., lag: _Optional[int] = ..., lag_exact: _Optional[bool] = ..., lag_ms: _Optional[int] = ..., stalled_since_ms: _Optional[int] = ..., lost_in_ms: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class ResetGroupRequest(_message.Message):
    __slots__ = ("group", "position", "shift", "from_group", "offsets", "topics", "partitions", "dry_run")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    SHIFT_FIELD_NUMBER: _ClassVar[int]
    FROM_GROUP_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    group: str
    position: _log_pb2.Position
    shift: int
    from_group: str
    offsets: CommitOffsets
    topics: _containers.RepeatedScalarFieldContainer[str]
    partitions: _containers.RepeatedScalarFieldContainer[int]
    dry_run: bool
    def __init__(self, group: _Optional[str] = ..., position: _Optional[_Union[_log_pb2.Position, _Mapping]] = ..., shift: _Optional[int] = ..., from_group: _Optional[str] = ..., offsets: _Optional[_Union[CommitOffsets, _Mapping]] = ..., topics: _Optional[_Iterable[str]] = ..., partitions: _Optional[_Iterable[int]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ResetGroupResponse(_message.Message):
    __slots__ = ("offsets", "more")
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.RepeatedCompositeFieldContainer[ResetOffset]
    more: bool
    def __init__(self, offsets: _Optional[_Iterable[_Union[ResetOffset, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class ResetOffset(_message.Message):
    __slots__ = ("topic", "partition", "topic_id", "before", "next_offset")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    topic_id: str
    before: int
    next_offset: int
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., topic_id: _Optional[str] = ..., before: _Optional[int] = ..., next_offset: _Optional[int] = ...) -> None: ...

class ForkGroupRequest(_message.Message):
    __slots__ = ("group", "new_group", "replay")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    NEW_GROUP_FIELD_NUMBER: _ClassVar[int]
    REPLAY_FIELD_NUMBER: _ClassVar[int]
    group: str
    new_group: str
    replay: bool
    def __init__(self, group: _Optional[str] = ..., new_group: _Optional[str] = ..., replay: _Optional[bool] = ...) -> None: ...

class ForkGroupResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RemoveMemberRequest(_message.Message):
    __slots__ = ("group", "member_id")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    group: str
    member_id: str
    def __init__(self, group: _Optional[str] = ..., member_id: _Optional[str] = ...) -> None: ...

class RemoveMemberResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteGroupRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: str
    def __init__(self, group: _Optional[str] = ...) -> None: ...

class DeleteGroupResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
