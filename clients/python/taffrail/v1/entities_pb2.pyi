from taffrail.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReadKeyRequest(_message.Message):
    __slots__ = ("topic", "key", "from_version", "backward", "max_records", "max_response_bytes")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    FROM_VERSION_FIELD_NUMBER: _ClassVar[int]
    BACKWARD_FIELD_NUMBER: _ClassVar[int]
    MAX_RECORDS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    key: bytes
    from_version: int
    backward: bool
    max_records: int
    max_response_bytes: int
    def __init__(self, topic: _Optional[str] = ..., key: _Optional[bytes] = ..., from_version: _Optional[int] = ..., backward: _Optional[bool] = ..., max_records: _Optional[int] = ..., max_response_bytes: _Optional[int] = ...) -> None: ...

class ReadKeyResponse(_message.Message):
    __slots__ = ("latest_version", "partition", "first_version", "records")
    LATEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    FIRST_VERSION_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    latest_version: int
    partition: int
    first_version: int
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    def __init__(self, latest_version: _Optional[int] = ..., partition: _Optional[int] = ..., first_version: _Optional[int] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ...) -> None: ...

class GetLatestRequest(_message.Message):
    __slots__ = ("topic", "keys", "max_response_bytes")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESPONSE_BYTES_FIELD_NUMBER: _ClassVar[int]
    topic: str
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    max_response_bytes: int
    def __init__(self, topic: _Optional[str] = ..., keys: _Optional[_Iterable[bytes]] = ..., max_response_bytes: _Optional[int] = ...) -> None: ...

class GetLatestResponse(_message.Message):
    __slots__ = ("latest",)
    LATEST_FIELD_NUMBER: _ClassVar[int]
    latest: _containers.RepeatedCompositeFieldContainer[LatestRecord]
    def __init__(self, latest: _Optional[_Iterable[_Union[LatestRecord, _Mapping]]] = ...) -> None: ...

class LatestRecord(_message.Message):
    __slots__ = ("version", "record", "partition")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    version: int
    record: _record_pb2.Record
    partition: int
    def __init__(self, version: _Optional[int] = ..., record: _Optional[_Union[_record_pb2.Record, _Mapping]] = ..., partition: _Optional[int] = ...) -> None: ...

class EraseKeyRequest(_message.Message):
    __slots__ = ("topic", "key")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    topic: str
    key: bytes
    def __init__(self, topic: _Optional[str] = ..., key: _Optional[bytes] = ...) -> None: ...

class EraseKeyResponse(_message.Message):
    __slots__ = ("erasure",)
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    erasure: Erasure
    def __init__(self, erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class TrimKeyRequest(_message.Message):
    __slots__ = ("topic", "key", "before_version", "dry_run")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    BEFORE_VERSION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    topic: str
    key: bytes
    before_version: int
    dry_run: bool
    def __init__(self, topic: _Optional[str] = ..., key: _Optional[bytes] = ..., before_version: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class TrimKeyResponse(_message.Message):
    __slots__ = ("first_version", "latest_version")
    FIRST_VERSION_FIELD_NUMBER: _ClassVar[int]
    LATEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    first_version: int
    latest_version: int
    def __init__(self, first_version: _Optional[int] = ..., latest_version: _Optional[int] = ...) -> None: ...

class DescribeErasureRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class DescribeErasureResponse(_message.Message):
    __slots__ = ("erasure",)
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    erasure: Erasure
    def __init__(self, erasure: _Optional[_Union[Erasure, _Mapping]] = ...) -> None: ...

class Erasure(_message.Message):
    __slots__ = ("id", "complete", "requested_ms", "deadline_ms", "through_version", "problem")
    ID_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_MS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_MS_FIELD_NUMBER: _ClassVar[int]
    THROUGH_VERSION_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    id: int
    complete: bool
    requested_ms: int
    deadline_ms: int
    through_version: int
    problem: str
    def __init__(self, id: _Optional[int] = ..., complete: _Optional[bool] = ..., requested_ms: _Optional[int] = ..., deadline_ms: _Optional[int] = ..., through_version: _Optional[int] = ..., problem: _Optional[str] = ...) -> None: ...
