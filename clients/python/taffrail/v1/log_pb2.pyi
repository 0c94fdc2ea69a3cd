from google.rpc import status_pb2 as _status_pb2
from taffrail.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Edge(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_UNSPECIFIED: _ClassVar[Edge]
    EDGE_EARLIEST: _ClassVar[Edge]
    EDGE_LATEST: _ClassVar[Edge]
EDGE_UNSPECIFIED: Edge
EDGE_EARLIEST: Edge
EDGE_LATEST: Edge

class AppendRequest(_message.Message):
    __slots__ = ("batches", "conditions", "producer", "return_versions", "group_offsets")
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    RETURN_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    GROUP_OFFSETS_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[AppendBatch]
    conditions: _containers.RepeatedCompositeFieldContainer[Condition]
    producer: Producer
    return_versions: bool
    group_offsets: _containers.RepeatedCompositeFieldContainer[GroupOffsets]
    def __init__(self, batches: _Optional[_Iterable[_Union[AppendBatch, _Mapping]]] = ..., conditions: _Optional[_Iterable[_Union[Condition, _Mapping]]] = ..., producer: _Optional[_Union[Producer, _Mapping]] = ..., return_versions: _Optional[bool] = ..., group_offsets: _Optional[_Iterable[_Union[GroupOffsets, _Mapping]]] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("topic", "key", "partition", "topic_id")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    topic: str
    key: KeyCondition
    partition: PartitionCondition
    topic_id: str
    def __init__(self, topic: _Optional[str] = ..., key: _Optional[_Union[KeyCondition, _Mapping]] = ..., partition: _Optional[_Union[PartitionCondition, _Mapping]] = ..., topic_id: _Optional[str] = ...) -> None: ...

class KeyCondition(_message.Message):
    __slots__ = ("key", "absent", "exists", "version")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ABSENT_FIELD_NUMBER: _ClassVar[int]
    EXISTS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    key: bytes
    absent: bool
    exists: bool
    version: int
    def __init__(self, key: _Optional[bytes] = ..., absent: _Optional[bool] = ..., exists: _Optional[bool] = ..., version: _Optional[int] = ...) -> None: ...

class PartitionCondition(_message.Message):
    __slots__ = ("partition", "next_offset")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    next_offset: int
    def __init__(self, partition: _Optional[int] = ..., next_offset: _Optional[int] = ...) -> None: ...

class Producer(_message.Message):
    __slots__ = ("id", "epoch")
    ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    id: int
    epoch: int
    def __init__(self, id: _Optional[int] = ..., epoch: _Optional[int] = ...) -> None: ...

class GroupOffsets(_message.Message):
    __slots__ = ("group", "offsets", "member_id")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    MEMBER_ID_FIELD_NUMBER: _ClassVar[int]
    group: str
    offsets: _containers.RepeatedCompositeFieldContainer[GroupOffset]
    member_id: str
    def __init__(self, group: _Optional[str] = ..., offsets: _Optional[_Iterable[_Union[GroupOffset, _Mapping]]] = ..., member_id: _Optional[str] = ...) -> None: ...

class GroupOffset(_message.Message):
    __slots__ = ("topic", "partition", "next_offset", "topic_id", "generation", "metadata")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    next_offset: int
    topic_id: str
    generation: int
    metadata: bytes
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., next_offset: _Optional[int] = ..., topic_id: _Optional[str] = ..., generation: _Optional[int] = ..., metadata: _Optional[bytes] = ...) -> None: ...

class Conflict(_message.Message):
    __slots__ = ("count", "failed", "message")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    count: int
    failed: _containers.RepeatedCompositeFieldContainer[FailedCondition]
    message: str
    def __init__(self, count: _Optional[int] = ..., failed: _Optional[_Iterable[_Union[FailedCondition, _Mapping]]] = ..., message: _Optional[str] = ...) -> None: ...

class FailedCondition(_message.Message):
    __slots__ = ("index", "version", "next_offset")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    index: int
    version: int
    next_offset: int
    def __init__(self, index: _Optional[int] = ..., version: _Optional[int] = ..., next_offset: _Optional[int] = ...) -> None: ...

class OpenProducerRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class OpenProducerResponse(_message.Message):
    __slots__ = ("producer",)
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    producer: Producer
    def __init__(self, producer: _Optional[_Union[Producer, _Mapping]] = ...) -> None: ...

class AppendBatch(_message.Message):
    __slots__ = ("topic", "partition", "sequence", "topic_id", "records")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    sequence: int
    topic_id: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., sequence: _Optional[int] = ..., topic_id: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ...) -> None: ...

class AppendResponse(_message.Message):
    __slots__ = ("batches",)
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    batches: _containers.RepeatedCompositeFieldContainer[AppendedBatch]
    def __init__(self, batches: _Optional[_Iterable[_Union[AppendedBatch, _Mapping]]] = ...) -> None: ...

class AppendStreamResponse(_message.Message):
    __slots__ = ("appended", "conflict", "refused")
    APPENDED_FIELD_NUMBER: _ClassVar[int]
    CONFLICT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    appended: AppendResponse
    conflict: Conflict
    refused: _status_pb2.Status
    def __init__(self, appended: _Optional[_Union[AppendResponse, _Mapping]] = ..., conflict: _Optional[_Union[Conflict, _Mapping]] = ..., refused: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class AppendedBatch(_message.Message):
    __slots__ = ("ranges", "duplicate")
    RANGES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    ranges: _containers.RepeatedCompositeFieldContainer[AppendedRange]
    duplicate: bool
    def __init__(self, ranges: _Optional[_Iterable[_Union[AppendedRange, _Mapping]]] = ..., duplicate: _Optional[bool] = ...) -> None: ...

class AppendedRange(_message.Message):
    __slots__ = ("partition", "first_offset", "count", "append_time_ms", "versions")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_OFFSET_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    APPEND_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    first_offset: int
    count: int
    append_time_ms: int
    versions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, partition: _Optional[int] = ..., first_offset: _Optional[int] = ..., count: _Optional[int] = ..., append_time_ms: _Optional[int] = ..., versions: _Optional[_Iterable[int]] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("offset", "edge", "timestamp_ms")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMP_MS_FIELD_NUMBER: _ClassVar[int]
    offset: int
    edge: Edge
    timestamp_ms: int
    def __init__(self, offset: _Optional[int] = ..., edge: _Optional[_Union[Edge, str]] = ..., timestamp_ms: _Optional[int] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("topic", "start", "partitions", "follow", "max_records", "filter", "topic_id", "max_response_bytes")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORDS_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    start: Position
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionPosition]
    follow: bool
    max_records: int
    filter: Filter
    topic_id: str
    max_response_bytes: int
    def __init__(self, topic: _Optional[str] = ..., start: _Optional[_Union[Position, _Mapping]] = ..., partitions: _Optional[_Iterable[_Union[PartitionPosition, _Mapping]]] = ..., follow: _Optional[bool] = ..., max_records: _Optional[int] = ..., filter: _Optional[_Union[Filter, _Mapping]] = ..., topic_id: _Optional[str] = ..., max_response_bytes: _Optional[int] = ...) -> None: ...

class PartitionPosition(_message.Message):
    __slots__ = ("partition", "position")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    partition: int
    position: Position
    def __init__(self, partition: _Optional[int] = ..., position: _Optional[_Union[Position, _Mapping]] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("keys", "types")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., types: _Optional[_Iterable[str]] = ...) -> None: ...

class ReadResponse(_message.Message):
    __slots__ = ("partition", "next_offset", "high_watermark", "caught_up", "erased", "topic_id", "records")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NEXT_OFFSET_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    CAUGHT_UP_FIELD_NUMBER: _ClassVar[int]
    ERASED_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    next_offset: int
    high_watermark: int
    caught_up: bool
    erased: _containers.RepeatedCompositeFieldContainer[ErasedEntity]
    topic_id: str
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    def __init__(self, partition: _Optional[int] = ..., next_offset: _Optional[int] = ..., high_watermark: _Optional[int] = ..., caught_up: _Optional[bool] = ..., erased: _Optional[_Iterable[_Union[ErasedEntity, _Mapping]]] = ..., topic_id: _Optional[str] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ...) -> None: ...

class ErasedEntity(_message.Message):
    __slots__ = ("key_sha256", "through_version", "end_offset")
    KEY_SHA256_FIELD_NUMBER: _ClassVar[int]
    THROUGH_VERSION_FIELD_NUMBER: _ClassVar[int]
    END_OFFSET_FIELD_NUMBER: _ClassVar[int]
    key_sha256: bytes
    through_version: int
    end_offset: int
    def __init__(self, key_sha256: _Optional[bytes] = ..., through_version: _Optional[int] = ..., end_offset: _Optional[int] = ...) -> None: ...

class ListOffsetsRequest(_message.Message):
    __slots__ = ("topic", "position", "partitions", "topic_id")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    topic: str
    position: Position
    partitions: _containers.RepeatedCompositeFieldContainer[PartitionPosition]
    topic_id: str
    def __init__(self, topic: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., partitions: _Optional[_Iterable[_Union[PartitionPosition, _Mapping]]] = ..., topic_id: _Optional[str] = ...) -> None: ...

class ListOffsetsResponse(_message.Message):
    __slots__ = ("offsets", "topic_id")
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.RepeatedCompositeFieldContainer[PartitionOffset]
    topic_id: str
    def __init__(self, offsets: _Optional[_Iterable[_Union[PartitionOffset, _Mapping]]] = ..., topic_id: _Optional[str] = ...) -> None: ...

class PartitionOffset(_message.Message):
    __slots__ = ("partition", "offset", "earliest", "high_watermark")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    earliest: int
    high_watermark: int
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ..., earliest: _Optional[int] = ..., high_watermark: _Optional[int] = ...) -> None: ...
