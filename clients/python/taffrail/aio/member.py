"""A member of a consumer group: its stream, over as many connections as it takes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from taffrail.aio.connection import MemberStream, sleep
from taffrail.errors import OutcomeUnknown, TaffrailError, Unavailable, is_worth_another_try
from taffrail.membership import Membership, OnAssigned, OnFailed, OnRevoked
from taffrail.model import (
    EARLIEST,
    CommitOutcome,
    GroupBatch,
    GroupOffsets,
    Offset,
    Position,
    StoredRecord,
    TopicPartition,
    position_to_wire,
)
from taffrail.retry import Retries
from taffrail.v1 import groups_pb2 as pb

Item = TypeVar("Item")


class Member:
    """The records of the partitions that the member has, one by one, or with `batches` as they come. Use either.

    Asking for the next says that the one before has been handled: it is committed a moment later, or when there is
    nothing else to do. When the connection or the broker is lost, the member joins again by itself; what was handled
    and not committed then comes again.

    Leaving `async with` leaves the group, and others get the partitions at once. If it is left by an error, what was
    given last counts as not handled.
    """

    def __init__(
        self,
        consume: Callable[..., Any],
        join: pb.JoinGroup,
        start: Position,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
        on_failed: OnFailed | None,
        *,
        auto_commit: bool,
        commit_interval: float,
        give_up_after: float | None,
        timeout: float,
        metadata: Any,
    ) -> None:
        self._stream: MemberStream | None = None
        if start is not EARLIEST:
            join.no_offset.start.CopyFrom(position_to_wire(start))
        self._consume = consume
        self._membership = Membership(join, on_assigned, on_revoked, on_failed, auto_commit)
        self._commit_interval = commit_interval
        self._commit_due = time.monotonic() + commit_interval
        self._retries = Retries(give_up_after)
        self._timeout = timeout
        self._metadata = metadata
        #: Why the last stream ended.
        self._lost: TaffrailError | None = None
        #: Why it does not join again.
        self._ended: TaffrailError | None = None

    @property
    def member_id(self) -> str:
        """The id that the broker has given to this member."""
        return self._membership.join.member_id

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions that the member has."""
        return list(self._membership.assigned)

    def __aiter__(self) -> Member:
        return self

    async def __anext__(self) -> StoredRecord:
        """
        :raises Fenced: another one has joined with this member's name. Final, as any error but Unavailable: every call
            says it again.
        :raises Unavailable: the broker was away for too long; the next call tries again.
        """
        return await self._next(self._membership.next_record)

    async def batches(self) -> AsyncIterator[GroupBatch]:
        """The records as they come, which is faster, with what is to be committed once they have been handled."""
        while True:
            yield await self._next(self._membership.next_batch)

    async def commit(self, offsets: Iterable[Offset] | None = None) -> list[CommitOutcome]:
        """Commits these, by default what has been handled with what was given last, and waits until that is durable:
        what came of each.

        :raises OutcomeUnknown: the connection was lost before the answer came.
        """
        self._check_ended()
        if self._stream is None:
            await self._join()
        if offsets is None:
            self._membership.note_handled()
        commit = self._membership.commit_and_wait(offsets)
        if not commit:
            return []
        while (outcomes := self._membership.answer(commit)) is None:
            await self._receive()
        return outcomes

    def group_offsets(self, offsets: Sequence[Offset]) -> GroupOffsets:
        """Offsets to commit with the records of an append: `append(..., group_offsets=[...])`."""
        return GroupOffsets(self._membership.join.group, self.member_id, offsets)

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Gives no records of these for now. They stay the member's, also when it has to join again."""
        self._membership.pause(partitions)

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Gives records of these again."""
        self._membership.resume(partitions)

    async def leave(self) -> None:
        """Leaves the group: commits what was handled, with what was given last, and waits until that is durable.

        :raises OutcomeUnknown: the connection was lost before that was answered.
        """
        self._membership.note_handled()
        stream, self._stream = self._stream, None
        self._ended = self._ended or Unavailable("the member has left")
        if stream is None:
            return
        self._membership.leave()
        stream.finish()
        try:
            while not isinstance(came := await stream.get(self._timeout), TaffrailError):
                self._membership.take(came)
        except TimeoutError:
            pass
        finally:
            stream.close()
        if self._membership.unanswered:
            raise OutcomeUnknown("the connection was lost before what was handled was committed")

    async def __aenter__(self) -> Member:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self.leave()
            return
        self._membership.forget_given()
        # The first error is the one that is reported.
        with contextlib.suppress(TaffrailError):
            await self.leave()

    def __del__(self) -> None:
        # Heartbeats would keep the partitions of a member that nobody asks for records any more.
        if self._stream is not None:
            self._stream.close()

    async def open(self) -> None:
        """Joins for the first time."""
        await self._join()

    async def _next(self, take: Callable[[], Item | None]) -> Item:
        self._membership.note_handled()
        while True:
            self._check_ended()
            while self._stream is not None and (came := self._stream.poll()) is not None:
                self._take(came)
            if (item := take()) is not None:
                self._commit_if_due()
                return item
            self._membership.commit_handled()
            await self._receive()

    async def _receive(self) -> None:
        """Waits for something from the broker; joins again if the connection is lost."""
        if self._stream is None:
            await self._join()
        else:
            self._take(await self._stream.get())

    def _commit_if_due(self) -> None:
        # One commit at a time: the next one has what was handled meanwhile.
        if time.monotonic() >= self._commit_due and not self._membership.unanswered:
            self._commit_due = time.monotonic() + self._commit_interval
            self._membership.commit_handled()

    def _take(self, came: pb.ConsumeResponse | TaffrailError) -> None:
        if not isinstance(came, TaffrailError):
            if self._membership.take(came):
                self._retries.progress()
            return
        if self._stream is not None:
            self._stream.close()
        self._stream, self._lost = None, came
        self._membership.lost()
        if not is_worth_another_try(came):
            self._ended = came
        self._check_ended()

    def _check_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    async def _join(self) -> None:
        """Joins, with pauses between the attempts."""
        while self._stream is None:
            # A call after one that has given up tries again before it fails.
            lost, self._lost = self._lost, None
            if lost is not None:
                await sleep(self._retries.pause(lost))
            await self._join_once()

    async def _join_once(self) -> None:
        join = self._membership.join
        # Three in a session's time.
        heartbeat = join.session_timeout_ms / 3000
        stream = MemberStream(self._consume, join, heartbeat, self._metadata)
        try:
            first = await stream.get(self._timeout)
        except TimeoutError:
            first = Unavailable("the broker has not said in time that the member has joined")
        except BaseException:
            stream.close()
            raise
        self._stream = stream
        if not isinstance(first, TaffrailError):
            self._membership.begin(stream.send)
        self._take(first)
