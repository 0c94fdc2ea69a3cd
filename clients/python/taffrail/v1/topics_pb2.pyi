from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateTopicRequest(_message.Message):
    __slots__ = ("name", "partitions", "settings")
    class SettingsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    name: str
    partitions: int
    settings: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., partitions: _Optional[int] = ..., settings: _Optional[_Mapping[str, str]] = ...) -> None: ...

class CreateTopicResponse(_message.Message):
    __slots__ = ("topic",)
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    def __init__(self, topic: _Optional[_Union[Topic, _Mapping]] = ...) -> None: ...

class DeleteTopicRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DeleteTopicResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeTopicRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class DescribeTopicResponse(_message.Message):
    __slots__ = ("topic", "partitions")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    partitions: _containers.RepeatedCompositeFieldContainer[Partition]
    def __init__(self, topic: _Optional[_Union[Topic, _Mapping]] = ..., partitions: _Optional[_Iterable[_Union[Partition, _Mapping]]] = ...) -> None: ...

class ListTopicsRequest(_message.Message):
    __slots__ = ("prefix", "page_size", "after")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    page_size: int
    after: str
    def __init__(self, prefix: _Optional[str] = ..., page_size: _Optional[int] = ..., after: _Optional[str] = ...) -> None: ...

class ListTopicsResponse(_message.Message):
    __slots__ = ("topics", "more")
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    topics: _containers.RepeatedCompositeFieldContainer[Topic]
    more: bool
    def __init__(self, topics: _Optional[_Iterable[_Union[Topic, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class AlterTopicRequest(_message.Message):
    __slots__ = ("name", "set", "reset", "dry_run")
    class SetEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    name: str
    set: _containers.ScalarMap[str, str]
    reset: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, name: _Optional[str] = ..., set: _Optional[_Mapping[str, str]] = ..., reset: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class AlterTopicResponse(_message.Message):
    __slots__ = ("topic", "would_remove")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    WOULD_REMOVE_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    would_remove: _containers.RepeatedCompositeFieldContainer[Removal]
    def __init__(self, topic: _Optional[_Union[Topic, _Mapping]] = ..., would_remove: _Optional[_Iterable[_Union[Removal, _Mapping]]] = ...) -> None: ...

class Removal(_message.Message):
    __slots__ = ("partition", "before_offset", "records", "bytes", "groups")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    before_offset: int
    records: int
    bytes: int
    groups: _containers.RepeatedCompositeFieldContainer[GroupLoss]
    def __init__(self, partition: _Optional[int] = ..., before_offset: _Optional[int] = ..., records: _Optional[int] = ..., bytes: _Optional[int] = ..., groups: _Optional[_Iterable[_Union[GroupLoss, _Mapping]]] = ...) -> None: ...

class GroupLoss(_message.Message):
    __slots__ = ("group", "records")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    group: str
    records: int
    def __init__(self, group: _Optional[str] = ..., records: _Optional[int] = ...) -> None: ...

class AddPartitionsRequest(_message.Message):
    __slots__ = ("topic", "partitions", "topic_id")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partitions: int
    topic_id: str
    def __init__(self, topic: _Optional[str] = ..., partitions: _Optional[int] = ..., topic_id: _Optional[str] = ...) -> None: ...

class AddPartitionsResponse(_message.Message):
    __slots__ = ("topic",)
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    topic: Topic
    def __init__(self, topic: _Optional[_Union[Topic, _Mapping]] = ...) -> None: ...

class TrimRequest(_message.Message):
    __slots__ = ("topic", "partition", "before_offset", "topic_id", "force", "dry_run")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    BEFORE_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TOPIC_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    topic: str
    partition: int
    before_offset: int
    topic_id: str
    force: bool
    dry_run: bool
    def __init__(self, topic: _Optional[str] = ..., partition: _Optional[int] = ..., before_offset: _Optional[int] = ..., topic_id: _Optional[str] = ..., force: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class TrimResponse(_message.Message):
    __slots__ = ("earliest", "would_remove")
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    WOULD_REMOVE_FIELD_NUMBER: _ClassVar[int]
    earliest: int
    would_remove: Removal
    def __init__(self, earliest: _Optional[int] = ..., would_remove: _Optional[_Union[Removal, _Mapping]] = ...) -> None: ...

class CompactRequest(_message.Message):
    __slots__ = ("topic", "wait")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    topic: str
    wait: bool
    def __init__(self, topic: _Optional[str] = ..., wait: _Optional[bool] = ...) -> None: ...

class CompactResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Topic(_message.Message):
    __slots__ = ("name", "id", "partitions", "settings", "longest_life_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    LONGEST_LIFE_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: str
    partitions: int
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    longest_life_ms: int
    def __init__(self, name: _Optional[str] = ..., id: _Optional[str] = ..., partitions: _Optional[int] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., longest_life_ms: _Optional[int] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("name", "value", "is_default")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    is_default: bool
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., is_default: _Optional[bool] = ...) -> None: ...

class Partition(_message.Message):
    __slots__ = ("partition", "earliest", "high_watermark", "segments", "bytes", "compaction", "uncompressed_bytes", "scrub", "compression_problem", "compression_retry_ms")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    EARLIEST_FIELD_NUMBER: _ClassVar[int]
    HIGH_WATERMARK_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPACTION_FIELD_NUMBER: _ClassVar[int]
    UNCOMPRESSED_BYTES_FIELD_NUMBER: _ClassVar[int]
    SCRUB_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_PROBLEM_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    partition: int
    earliest: int
    high_watermark: int
    segments: int
    bytes: int
    compaction: Compaction
    uncompressed_bytes: int
    scrub: Scrub
    compression_problem: str
    compression_retry_ms: int
    def __init__(self, partition: _Optional[int] = ..., earliest: _Optional[int] = ..., high_watermark: _Optional[int] = ..., segments: _Optional[int] = ..., bytes: _Optional[int] = ..., compaction: _Optional[_Union[Compaction, _Mapping]] = ..., uncompressed_bytes: _Optional[int] = ..., scrub: _Optional[_Union[Scrub, _Mapping]] = ..., compression_problem: _Optional[str] = ..., compression_retry_ms: _Optional[int] = ...) -> None: ...

class Scrub(_message.Message):
    __slots__ = ("scrubbed_up_to", "complete_ms", "damaged")
    SCRUBBED_UP_TO_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_MS_FIELD_NUMBER: _ClassVar[int]
    DAMAGED_FIELD_NUMBER: _ClassVar[int]
    scrubbed_up_to: int
    complete_ms: int
    damaged: _containers.RepeatedCompositeFieldContainer[DamagedRange]
    def __init__(self, scrubbed_up_to: _Optional[int] = ..., complete_ms: _Optional[int] = ..., damaged: _Optional[_Iterable[_Union[DamagedRange, _Mapping]]] = ...) -> None: ...

class DamagedRange(_message.Message):
    __slots__ = ("from_offset", "to_offset")
    FROM_OFFSET_FIELD_NUMBER: _ClassVar[int]
    TO_OFFSET_FIELD_NUMBER: _ClassVar[int]
    from_offset: int
    to_offset: int
    def __init__(self, from_offset: _Optional[int] = ..., to_offset: _Optional[int] = ...) -> None: ...

class Compaction(_message.Message):
    __slots__ = ("clean_up_to", "last_ms", "problem", "retry_ms")
    CLEAN_UP_TO_FIELD_NUMBER: _ClassVar[int]
    LAST_MS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    RETRY_MS_FIELD_NUMBER: _ClassVar[int]
    clean_up_to: int
    last_ms: int
    problem: str
    retry_ms: int
    def __init__(self, clean_up_to: _Optional[int] = ..., last_ms: _Optional[int] = ..., problem: _Optional[str] = ..., retry_ms: _Optional[int] = ...) -> None: ...
