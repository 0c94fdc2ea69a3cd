"""What can go wrong, by what a caller should do about it.

A status that carries `google.rpc.ErrorInfo` is the broker's own answer. Any other comes from the connection, or from
something in between, and does not say whether a call that was sent has been carried out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from taffrail.v1 import log_pb2

Detail = TypeVar("Detail", bound=Message)


class TaffrailError(Exception):
    """Any error of a call. `reason` is for programs: the files in `proto/` list the reasons call by call."""

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        #: The status code of gRPC.
        self.code = code
        #: The broker's reason, such as UNKNOWN_TOPIC; empty if the error is not an answer of the broker.
        self.reason = reason
        #: The values that the message mentions, by name.
        self.metadata: Mapping[str, str] = metadata or {}
        #: After how many seconds to try again, where the broker says so.
        self.retry_after = retry_after

    def number(self, name: str) -> int:
        """A number of the metadata; 0 if it is not there."""
        return int(self.metadata.get(name) or 0)


class Unavailable(TaffrailError):
    """The broker cannot be reached, is shutting down, or did not answer a question in time. Nothing was changed."""


class OutcomeUnknown(TaffrailError):
    """The answer to a change was lost, or did not come in time: it was made, or not. Read to find out."""


class Cancelled(OutcomeUnknown):
    """The program has cancelled the call. If it asked for a change, that was made, or not."""

    #: False: it was cancelled before it was sent, and nothing was changed.
    was_sent = True


class Closed(TaffrailError):
    """The client was closed. Nothing was changed, and nothing more comes."""

    def __init__(self) -> None:
        super().__init__("the client was closed", code=grpc.StatusCode.CANCELLED)


class Refused(TaffrailError):
    """The broker refused. Nothing was stored or changed."""


class NotFound(Refused):
    """There is no such topic, partition, group or erasure."""


class AlreadyExists(Refused):
    """There is one of that name already."""


class Fenced(Refused):
    """Another one has taken over: a newer producer or member of the same name. Final."""


class Conflict(Refused):
    """Conditions of an append do not hold. Look at what is there now, and decide again."""

    #: Of each condition that does not hold its place in the request, from 0, and the actual version, or next offset.
    failed: Sequence[tuple[int, int]] = ()

    @property
    def actual(self) -> int:
        """About the first condition that does not hold: the version that its entity has, 0 for none; or the offset that
        its partition's next record gets."""
        return self.failed[0][1]


class OffsetOutOfRange(Refused):
    """The place to read from is not in the log: it is trimmed, or above the end."""

    @property
    def partition(self) -> int:
        return self.number("partition")

    @property
    def earliest(self) -> int:
        """The first offset that can be read."""
        return self.number("earliest")

    @property
    def high_watermark(self) -> int:
        """The offset that the next record will get."""
        return self.number("high_watermark")


class DamagedRecords(Refused):
    """Records are damaged on disk. Everything from `to_offset` on can be read."""

    @property
    def partition(self) -> int:
        return self.number("partition")

    @property
    def from_offset(self) -> int:
        return self.number("from_offset")

    @property
    def to_offset(self) -> int:
        """The offset behind the damage."""
        return self.number("to_offset")


_REFUSALS: Mapping[grpc.StatusCode, type[Refused]] = {
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.OUT_OF_RANGE: OffsetOutOfRange,
    grpc.StatusCode.DATA_LOSS: DamagedRecords,
}

#: Without the broker's own words these say all the same that nothing was done. RESOURCE_EXHAUSTED is what gRPC itself
#: answers to a message over its own limit: trying again does not make it smaller.
_REFUSED_BY_ANYBODY = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

#: How grpcio begins the message of a call that was never sent. Where it says something else, the outcome of a change
#: counts as unknown, which is never wrong.
_NEVER_SENT = "failed to connect to all addresses"

_FENCED = {"FENCED", "COMMIT_FENCED", "OUT_OF_SEQUENCE", "UNKNOWN_PRODUCER"}
_TRIED_AGAIN = {"OVERLOADED", "DISK_FULL", "PARTITION_FULL", "RETENTION_HELD"}


def is_worth_another_try(error: TaffrailError) -> bool:
    """Whether the same call, made again, can succeed."""
    if isinstance(error, Cancelled):
        return False
    if isinstance(error, (Unavailable, OutcomeUnknown)) or error.reason in _TRIED_AGAIN:
        return True
    # It says when it will have passed, as a quota does.
    return error.retry_after is not None


def ended_by_close(changes: bool) -> TaffrailError:
    """The error of a call that was under way when the client was closed."""
    if not changes:
        return Closed()
    message = "the client was closed before the answer came"
    return OutcomeUnknown(message, code=grpc.StatusCode.CANCELLED)


def from_rpc(error: grpc.RpcError, changes: bool) -> TaffrailError:
    """The error of a call. `changes`: it asked for a change, whose outcome is not known without an answer."""
    code, message = error.code(), error.details() or ""
    details = _details(error)
    said = _find(details, error_details_pb2.ErrorInfo)
    retry = _find(details, error_details_pb2.RetryInfo)
    reason, metadata = (said.reason, dict(said.metadata)) if said else ("", {})
    kind = _kind(code, reason, bool(said), message, changes)
    retry_after = retry.retry_delay.ToTimedelta().total_seconds() if retry else None
    made = kind(message, code=code, reason=reason, metadata=metadata, retry_after=retry_after)
    if isinstance(made, Conflict):
        made.failed = _failed(_find(details, log_pb2.Conflict))
    return made


def _kind(code: grpc.StatusCode, reason: str, is_brokers: bool, message: str, changes: bool) -> type[TaffrailError]:
    lost = OutcomeUnknown if changes else Unavailable
    if not is_brokers:
        if message.startswith(_NEVER_SENT):
            return Unavailable
        return _REFUSALS.get(code, Refused) if code in _REFUSED_BY_ANYBODY else lost
    if reason == "CONFLICT":
        return Conflict
    if reason in _FENCED:
        return Fenced
    if code is grpc.StatusCode.UNAVAILABLE:
        return Unavailable
    # The broker has stopped waiting, not what it waited for.
    if code in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED):
        return lost
    return _REFUSALS.get(code, Refused)


def _details(error: grpc.RpcError) -> status_pb2.Status:
    metadata: Any = error.trailing_metadata() or ()
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return status_pb2.Status()


def _find(status: status_pb2.Status, kind: type[Detail]) -> Detail | None:
    for each in status.details:
        found = kind()
        if each.Is(kind.DESCRIPTOR):
            each.Unpack(found)
            return found
    return None


def _failed(conflict: log_pb2.Conflict | None) -> list[tuple[int, int]]:
    """The conditions that do not hold, in the order of the request."""
    failed = conflict.failed if conflict else ()
    return [(each.index, each.next_offset if each.HasField("next_offset") else each.version) for each in failed]
