from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BackupRequest(_message.Message):
    __slots__ = ("have",)
    HAVE_FIELD_NUMBER: _ClassVar[int]
    have: _containers.RepeatedCompositeFieldContainer[BackupFile]
    def __init__(self, have: _Optional[_Iterable[_Union[BackupFile, _Mapping]]] = ...) -> None: ...

class BackupFile(_message.Message):
    __slots__ = ("path", "length", "ends_checksum")
    PATH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    ENDS_CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    path: str
    length: int
    ends_checksum: int
    def __init__(self, path: _Optional[str] = ..., length: _Optional[int] = ..., ends_checksum: _Optional[int] = ...) -> None: ...

class BackupResponse(_message.Message):
    __slots__ = ("begun", "part", "done")
    BEGUN_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    begun: BackupBegun
    part: BackupPart
    done: BackupDone
    def __init__(self, begun: _Optional[_Union[BackupBegun, _Mapping]] = ..., part: _Optional[_Union[BackupPart, _Mapping]] = ..., done: _Optional[_Union[BackupDone, _Mapping]] = ...) -> None: ...

class BackupBegun(_message.Message):
    __slots__ = ("commit", "directory_id", "taken_ms", "files", "bytes")
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_ID_FIELD_NUMBER: _ClassVar[int]
    TAKEN_MS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    commit: int
    directory_id: int
    taken_ms: int
    files: int
    bytes: int
    def __init__(self, commit: _Optional[int] = ..., directory_id: _Optional[int] = ..., taken_ms: _Optional[int] = ..., files: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class BackupPart(_message.Message):
    __slots__ = ("path", "length", "position", "checksum", "data")
    PATH_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    CHECKSUM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    path: str
    length: int
    position: int
    checksum: int
    data: bytes
    def __init__(self, path: _Optional[str] = ..., length: _Optional[int] = ..., position: _Optional[int] = ..., checksum: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class BackupDone(_message.Message):
    __slots__ = ("commit",)
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    commit: int
    def __init__(self, commit: _Optional[int] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusResponse(_message.Message):
    __slots__ = ("version", "data_dir", "failure", "uptime_ms", "topics", "partitions", "producers", "connections", "administrators", "calls", "memory", "resident_bytes", "open_files", "open_files_limit", "maps", "disk_free_bytes", "disk_reserve_bytes", "disk_is_full", "journal_files", "journal_files_limit", "hindered_compactions", "disk_missing_bytes", "disk_held_bytes", "backup_journal")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_DIR_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    UPTIME_MS_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    ADMINISTRATORS_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_FIELD_NUMBER: _ClassVar[int]
    OPEN_FILES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    DISK_FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_RESERVE_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_IS_FULL_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FILES_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FILES_LIMIT_FIELD_NUMBER: _ClassVar[int]
    HINDERED_COMPACTIONS_FIELD_NUMBER: _ClassVar[int]
    DISK_MISSING_BYTES_FIELD_NUMBER: _ClassVar[int]
    DISK_HELD_BYTES_FIELD_NUMBER: _ClassVar[int]
    BACKUP_JOURNAL_FIELD_NUMBER: _ClassVar[int]
    version: str
    data_dir: str
    failure: str
    uptime_ms: int
    topics: int
    partitions: int
    producers: int
    connections: Level
    administrators: Level
    calls: Level
    memory: _containers.RepeatedCompositeFieldContainer[MemoryPart]
    resident_bytes: int
    open_files: int
    open_files_limit: int
    maps: int
    disk_free_bytes: int
    disk_reserve_bytes: int
    disk_is_full: bool
    journal_files: int
    journal_files_limit: int
    hindered_compactions: int
    disk_missing_bytes: int
    disk_held_bytes: int
    backup_journal: BackupJournal
    def __init__(self, version: _Optional[str] = ..., data_dir: _Optional[str] = ..., failure: _Optional[str] = ..., uptime_ms: _Optional[int] = ..., topics: _Optional[int] = ..., partitions: _Optional[int] = ..., producers: _Optional[int] = ..., connections: _Optional[_Union[Level, _Mapping]] = ..., administrators: _Optional[_Union[Level, _Mapping]] = ..., calls: _Optional[_Union[Level, _Mapping]] = ..., memory: _Optional[_Iterable[_Union[MemoryPart, _Mapping]]] = ..., resident_bytes: _Optional[int] = ..., open_files: _Optional[int] = ..., open_files_limit: _Optional[int] = ..., maps: _Optional[int] = ..., disk_free_bytes: _Optional[int] = ..., disk_reserve_bytes: _Optional[int] = ..., disk_is_full: _Optional[bool] = ..., journal_files: _Optional[int] = ..., journal_files_limit: _Optional[int] = ..., hindered_compactions: _Optional[int] = ..., disk_missing_bytes: _Optional[int] = ..., disk_held_bytes: _Optional[int] = ..., backup_journal: _Optional[_Union[BackupJournal, _Mapping]] = ...) -> None: ...

class BackupJournal(_message.Message):
    __slots__ = ("bytes", "limit_bytes", "first_commit", "last_commit")
    BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    FIRST_COMMIT_FIELD_NUMBER: _ClassVar[int]
    LAST_COMMIT_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    limit_bytes: int
    first_commit: int
    last_commit: int
    def __init__(self, bytes: _Optional[int] = ..., limit_bytes: _Optional[int] = ..., first_commit: _Optional[int] = ..., last_commit: _Optional[int] = ...) -> None: ...

class LimitsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class LimitsResponse(_message.Message):
    __slots__ = ("version", "limits")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    version: str
    limits: _containers.RepeatedCompositeFieldContainer[Limit]
    def __init__(self, version: _Optional[str] = ..., limits: _Optional[_Iterable[_Union[Limit, _Mapping]]] = ...) -> None: ...

class Limit(_message.Message):
    __slots__ = ("name", "most", "least", "unit", "setting", "meaning")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    LEAST_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    SETTING_FIELD_NUMBER: _ClassVar[int]
    MEANING_FIELD_NUMBER: _ClassVar[int]
    name: str
    most: int
    least: int
    unit: str
    setting: str
    meaning: str
    def __init__(self, name: _Optional[str] = ..., most: _Optional[int] = ..., least: _Optional[int] = ..., unit: _Optional[str] = ..., setting: _Optional[str] = ..., meaning: _Optional[str] = ...) -> None: ...

class Level(_message.Message):
    __slots__ = ("now", "most", "limit")
    NOW_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    now: int
    most: int
    limit: int
    def __init__(self, now: _Optional[int] = ..., most: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class MemoryPart(_message.Message):
    __slots__ = ("name", "purpose", "used_bytes", "most_bytes", "bound_bytes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    USED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MOST_BYTES_FIELD_NUMBER: _ClassVar[int]
    BOUND_BYTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    purpose: str
    used_bytes: int
    most_bytes: int
    bound_bytes: int
    def __init__(self, name: _Optional[str] = ..., purpose: _Optional[str] = ..., used_bytes: _Optional[int] = ..., most_bytes: _Optional[int] = ..., bound_bytes: _Optional[int] = ...) -> None: ...

class GetClockRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetClockResponse(_message.Message):
    __slots__ = ("clock",)
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    clock: Clock
    def __init__(self, clock: _Optional[_Union[Clock, _Mapping]] = ...) -> None: ...

class AcceptClockRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AcceptClockResponse(_message.Message):
    __slots__ = ("clock",)
    CLOCK_FIELD_NUMBER: _ClassVar[int]
    clock: Clock
    def __init__(self, clock: _Optional[_Union[Clock, _Mapping]] = ...) -> None: ...

class Clock(_message.Message):
    __slots__ = ("now_ms", "wall_ms", "followed_in_ms")
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    WALL_MS_FIELD_NUMBER: _ClassVar[int]
    FOLLOWED_IN_MS_FIELD_NUMBER: _ClassVar[int]
    now_ms: int
    wall_ms: int
    followed_in_ms: int
    def __init__(self, now_ms: _Optional[int] = ..., wall_ms: _Optional[int] = ..., followed_in_ms: _Optional[int] = ...) -> None: ...

class ListProducersRequest(_message.Message):
    __slots__ = ("name", "page_size", "after")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    page_size: int
    after: int
    def __init__(self, name: _Optional[str] = ..., page_size: _Optional[int] = ..., after: _Optional[int] = ...) -> None: ...

class ListProducersResponse(_message.Message):
    __slots__ = ("producers", "more")
    PRODUCERS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    producers: _containers.RepeatedCompositeFieldContainer[KnownProducer]
    more: bool
    def __init__(self, producers: _Optional[_Iterable[_Union[KnownProducer, _Mapping]]] = ..., more: _Optional[bool] = ...) -> None: ...

class KnownProducer(_message.Message):
    __slots__ = ("id", "epoch", "name", "idle_ms", "partitions")
    ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    IDLE_MS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONS_FIELD_NUMBER: _ClassVar[int]
    id: int
    epoch: int
    name: str
    idle_ms: int
    partitions: int
    def __init__(self, id: _Optional[int] = ..., epoch: _Optional[int] = ..., name: _Optional[str] = ..., idle_ms: _Optional[int] = ..., partitions: _Optional[int] = ...) -> None: ...

class ForgetProducerRequest(_message.Message):
    __slots__ = ("name", "id")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    name: str
    id: int
    def __init__(self, name: _Optional[str] = ..., id: _Optional[int] = ...) -> None: ...

class ForgetProducerResponse(_message.Message):
    __slots__ = ("producer",)
    PRODUCER_FIELD_NUMBER: _ClassVar[int]
    producer: KnownProducer
    def __init__(self, producer: _Optional[_Union[KnownProducer, _Mapping]] = ...) -> None: ...
