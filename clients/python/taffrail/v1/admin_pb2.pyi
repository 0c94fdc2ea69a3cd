from taffrail.v1 import broker_pb2 as _broker_pb2
from taffrail.v1 import record_pb2 as _record_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImportRecordsRequest(_message.Message):
    __slots__ = ("begin", "end", "partition", "number", "records")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    begin: ImportBegin
    end: ImportEnd
    partition: int
    number: int
    records: _containers.RepeatedCompositeFieldContainer[_record_pb2.Record]
    def __init__(self, begin: _Optional[_Union[ImportBegin, _Mapping]] = ..., end: _Optional[_Union[ImportEnd, _Mapping]] = ..., partition: _Optional[int] = ..., number: _Optional[int] = ..., records: _Optional[_Iterable[_Union[_record_pb2.Record, _Mapping]]] = ...) -> None: ...

class ImportBegin(_message.Message):
    __slots__ = ("topic", "starts")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    STARTS_FIELD_NUMBER: _ClassVar[int]
    topic: str
    starts: _containers.RepeatedCompositeFieldContainer[ImportedPartition]
    def __init__(self, topic: _Optional[str] = ..., starts: _Optional[_Iterable[_Union[ImportedPartition, _Mapping]]] = ...) -> None: ...

class ImportEnd(_message.Message):
    __slots__ = ("ends",)
    ENDS_FIELD_NUMBER: _ClassVar[int]
    ends: _containers.RepeatedCompositeFieldContainer[ImportedPartition]
    def __init__(self, ends: _Optional[_Iterable[_Union[ImportedPartition, _Mapping]]] = ...) -> None: ...

class ImportedPartition(_message.Message):
    __slots__ = ("partition", "offset")
    PARTITION_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    partition: int
    offset: int
    def __init__(self, partition: _Optional[int] = ..., offset: _Optional[int] = ...) -> None: ...

class ImportRecordsResponse(_message.Message):
    __slots__ = ("begun", "done")
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    begun: ImportBegun
    done: ImportDone
    def __init__(self, begun: _Optional[_Union[ImportBegun, _Mapping]] = ..., done: _Optional[_Union[ImportDone, _Mapping]] = ...) -> None: ...

class ImportBegun(_message.Message):
    __slots__ = ("next",)
    NEXT_FIELD_NUMBER: _ClassVar[int]
    next: _containers.RepeatedCompositeFieldContainer[ImportedPartition]
    def __init__(self, next: _Optional[_Iterable[_Union[ImportedPartition, _Mapping]]] = ...) -> None: ...

class ImportDone(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: int
    def __init__(self, records: _Optional[int] = ...) -> None: ...

class CrashRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CrashResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AdvanceRequest(_message.Message):
    __slots__ = ("by_ms",)
    BY_MS_FIELD_NUMBER: _ClassVar[int]
    by_ms: int
    def __init__(self, by_ms: _Optional[int] = ...) -> None: ...

class AdvanceResponse(_message.Message):
    __slots__ = ("clock",)
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    clock: _broker_pb2.Clock
    def __init__(self, clock: _Optional[_Union[_broker_pb2.Clock, _Mapping]] = ...) -> None: ...
