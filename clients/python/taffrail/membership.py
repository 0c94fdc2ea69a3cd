"""A member of a group without its connection: what it has, what it was given, and what it says to the broker.

What a program has asked behind, it has handled: that is committed a moment later, or when there is nothing else to do,
and its credit is given back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from taffrail.errors import OutcomeUnknown
from taffrail.model import (
    Assigned,
    CommitOutcome,
    FailedPartition,
    GroupBatch,
    Offset,
    StoredRecord,
    TopicPartition,
    offset_from_wire,
    offset_to_wire,
    record_from_wire,
)
from taffrail.v1 import groups_pb2 as pb

OnAssigned = Callable[[Sequence[Assigned]], None]
OnRevoked = Callable[[Sequence[TopicPartition], bool], None]
OnFailed = Callable[[FailedPartition], None]


@dataclass(slots=True)
class _Queued:
    """Records that came and were not all given to the program."""

    place: TopicPartition
    batch: GroupBatch
    cost: pb.Credit
    given: int = 0


class Membership:
    def __init__(
        self,
        join: pb.JoinGroup,
        on_assigned: OnAssigned | None,
        on_revoked: OnRevoked | None,
        on_failed: OnFailed | None,
        auto_commit: bool,
    ) -> None:
        self.join = join
        self._auto_commit = auto_commit
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_failed = on_failed
        join.tell_failed = on_failed is not None
        #: Where messages to the broker go; each stream has its own.
        self.send: Callable[[pb.ConsumeRequest], None] = lambda _: None
        self.assigned: dict[TopicPartition, pb.AssignedPartition] = {}
        self.paused: set[TopicPartition] = set()
        self._queue: deque[_Queued] = deque()
        #: What the program was given last: it has handled that when it asks for more.
        self._given: tuple[Offset, pb.Credit] | None = None
        #: Handled and not committed.
        self._handled: dict[TopicPartition, Offset] = {}
        self.unanswered = 0
        #: Outcomes of the commits that somebody waits for: their number among all, and what came of them.
        self._awaited: dict[int, list[CommitOutcome] | None] = {}
        self._sent_commits = self._answered_commits = 0

    def lost(self) -> None:
        """The stream has broken: what was on it comes again on the next one."""
        self._queue.clear()
        self._handled.clear()
        if self._given is not None:
            # Its credit ended with the stream.
            self._given = (self._given[0], pb.Credit())
        self.unanswered = 0
        self._answered_commits = self._sent_commits

    def begin(self, send: Callable[[pb.ConsumeRequest], None]) -> None:
        """There is another stream, on which everything is assigned anew."""
        self.send = send
        self._handled.clear()
        had = list(self.assigned)
        self.assigned.clear()
        if had and self._on_revoked:
            self._on_revoked(had, True)

    def take(self, response: pb.ConsumeResponse) -> bool:
        """Takes a message of the broker. True if it shows progress: joining alone is none, what comes after it is."""
        kind = response.WhichOneof("message")
        if kind == "joined":
            self.join.member_id = response.joined.member_id
        elif kind == "assigned":
            self._assign(response.assigned.partitions)
        elif kind == "revoked":
            self._revoke(response.revoked)
        elif kind == "records":
            self._queue_records(response.records)
        elif kind == "committed":
            self._note_committed(response.committed)
        elif kind == "failed" and self._on_failed:
            failed = response.failed
            self._on_failed(
                FailedPartition(
                    failed.topic,
                    failed.partition,
                    failed.generation,
                    failed.reason,
                    failed.message,
                    failed.earliest,
                    failed.high_watermark,
                )
            )
        return kind not in ("joined", "assigned")

    def next_record(self) -> StoredRecord | None:
        """The next record that there is already."""
        while (queued := self._first()) is not None:
            records = queued.batch.records
            if queued.given < len(records):
                record = records[queued.given]
                queued.given += 1
                if queued.given < len(records):
                    next_offset = queued.batch.next
                    at = Offset(
                        next_offset.topic,
                        next_offset.partition,
                        record.offset + 1,
                        next_offset.topic_id,
                        next_offset.generation,
                    )
                    self._given = (at, pb.Credit())
                else:
                    # The last one stands for what was left out behind it, too.
                    self._queue.remove(queued)
                    self._given = (queued.batch.next, queued.cost)
                return record
            self._queue.remove(queued)
            self._given = (queued.batch.next, queued.cost)
            self.note_handled()
        return None

    def next_batch(self) -> GroupBatch | None:
        queued = self._first()
        if queued is None:
            return None
        self._queue.remove(queued)
        self._given = (queued.batch.next, queued.cost)
        return queued.batch

    def note_handled(self) -> None:
        """Notes that the records that were given last have been handled."""
        if self._given is None:
            return
        (offset, cost), self._given = self._given, None
        self._give_back(cost)
        place = TopicPartition(offset.topic, offset.partition)
        has = self.assigned.get(place)
        if has is not None and has.generation == offset.generation:
            self._handled[place] = offset

    def forget_given(self) -> None:
        """Notes that the records that were given last have not been handled; they come again."""
        self._given = None

    def commit_handled(self) -> None:
        """Commits what was handled, unless the program does that."""
        if self._auto_commit and self._handled:
            self._commit(self._take_handled(), False)

    def commit_and_wait(self, offsets: Iterable[Offset] | None) -> int:
        """Commits these, or what was handled. The number of the commit, for `answer`; 0 if there is nothing to commit."""
        offsets = self._take_handled() if offsets is None else list(offsets)
        return self._commit(offsets, True) if offsets else 0

    def _take_handled(self) -> list[Offset]:
        offsets, self._handled = list(self._handled.values()), {}
        return offsets

    def _commit(self, offsets: Sequence[Offset], is_awaited: bool) -> int:
        # Nothing is counted of what cannot be encoded.
        request = pb.ConsumeRequest(commit=pb.CommitOffsets(offsets=map(offset_to_wire, offsets)))
        self._sent_commits += 1
        self.unanswered += 1
        if is_awaited:
            self._awaited[self._sent_commits] = None
        self.send(request)
        return self._sent_commits

    def answer(self, commit: int) -> list[CommitOutcome] | None:
        """The outcomes of a commit that is awaited; None: not known yet."""
        if commit > self._answered_commits:
            return None
        outcomes = self._awaited.pop(commit)
        if outcomes is None:
            raise OutcomeUnknown("the connection was lost before the commit was answered")
        return outcomes

    def pause(self, places: Iterable[TopicPartition]) -> None:
        places = list(places)
        self.paused.update(places)
        self.send(pb.ConsumeRequest(pause=self._partitions(places)))

    def resume(self, places: Iterable[TopicPartition]) -> None:
        places = list(places)
        self.paused.difference_update(places)
        self.send(pb.ConsumeRequest(resume=self._partitions(places)))

    def still_working(self, places: Iterable[TopicPartition]) -> None:
        partitions = self._partitions(places).partitions
        self.send(pb.ConsumeRequest(still_working=pb.StillWorking(partitions=partitions)))

    def leave(self) -> None:
        self.commit_handled()
        self.send(pb.ConsumeRequest(leave=pb.Leave()))

    def _first(self) -> _Queued | None:
        return next((queued for queued in self._queue if queued.place not in self.paused), None)

    def _queue_records(self, records: pb.Records) -> None:
        at = records.next
        batch = GroupBatch(
            at.topic,
            at.partition,
            [record_from_wire(at.topic, at.partition, each, records.replayed_below) for each in records.records],
            offset_from_wire(at),
            records.high_watermark,
            [each.key_sha256 for each in records.erased],
        )
        self._queue.append(_Queued(TopicPartition(at.topic, at.partition), batch, records.cost))

    def _note_committed(self, committed: pb.Committed) -> None:
        self._answered_commits += 1
        self.unanswered -= 1
        if self._answered_commits in self._awaited:
            outcomes = [CommitOutcome(result.outcome) for result in committed.results]
            self._awaited[self._answered_commits] = outcomes

    def _assign(self, partitions: Iterable[pb.AssignedPartition]) -> None:
        partitions = list(partitions)
        places = [TopicPartition(each.topic, each.partition) for each in partitions]
        # A partition may be assigned anew: records that were read of it before are not handled any more.
        self._forget(places)
        self.assigned.update(zip(places, partitions))
        if again := [place for place in places if place in self.paused]:
            self.send(pb.ConsumeRequest(pause=self._partitions(again)))
        if self._on_assigned:
            self._on_assigned(
                [
                    Assigned(
                        each.topic,
                        each.partition,
                        each.next_offset,
                        each.committed.next_offset if each.HasField("committed") else None,
                        each.generation,
                    )
                    for each in partitions
                ]
            )

    def _revoke(self, revoked: pb.Revoked) -> None:
        partitions = revoked.partitions.partitions
        places = [TopicPartition(each.topic, each.partition) for each in partitions]
        is_taken = revoked.drain_ms == 0
        if self._on_revoked:
            self._on_revoked(places, is_taken)
        offsets = [offset for place in places if (offset := self._handled.pop(place, None))]
        self._forget(places)
        for place in places:
            self.assigned.pop(place, None)
        self.paused.difference_update(places)
        if is_taken:
            return
        if offsets and self._auto_commit:
            self._commit(offsets, False)
        self.send(pb.ConsumeRequest(drained=revoked.partitions))

    def _forget(self, places: Sequence[TopicPartition]) -> None:
        """Drops what came of these and was not given to the program."""
        kept: deque[_Queued] = deque()
        for queued in self._queue:
            if queued.place in places:
                self._give_back(queued.cost)
            else:
                kept.append(queued)
        self._queue = kept
        for place in places:
            self._handled.pop(place, None)

    def _give_back(self, cost: pb.Credit) -> None:
        if cost.records or cost.bytes:
            self.send(pb.ConsumeRequest(credit=cost))

    def _partitions(self, places: Iterable[TopicPartition]) -> pb.Partitions:
        named = [
            pb.GroupPartition(topic=place.topic, partition=place.partition, topic_id=self.assigned[place].topic_id)
            for place in places
            if place in self.assigned
        ]
        return pb.Partitions(partitions=named)
