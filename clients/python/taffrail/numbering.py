"""How a producer numbers its batches, and chooses their partitions as the broker does."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from taffrail.errors import Cancelled, OutcomeUnknown, TaffrailError
from taffrail.model import Appended, Record, Topic, appended_from_wire, record_to_wire
from taffrail.v1 import log_pb2

#: After these the producer appends nothing more.
_FINAL = {"FENCED", "UNKNOWN_PRODUCER", "OUT_OF_SEQUENCE", "TOPIC_RECREATED"}


class Numbering:
    """The sequences of one producer in one topic, and the request whose outcome is not known yet, if there is one."""

    def __init__(self, topic: Topic, producer: log_pb2.Producer, return_versions: bool) -> None:
        self.topic = topic
        self._producer = producer
        self._return_versions = return_versions
        self._next: dict[int, int] = defaultdict(int)
        self._rotating = 0
        self.unresolved: log_pb2.AppendRequest | None = None
        #: Whether an attempt to send it may have stored it.
        self._is_in_doubt = self._was_in_doubt = False
        self._ended: TaffrailError | None = None

    def begin(self, records: Sequence[Record], partition: int | None) -> log_pb2.AppendRequest:
        """The request for these records, which is unresolved from now on."""
        self.check_ended()
        if self.unresolved is not None:
            raise OutcomeUnknown("what became of the append before is not known: find out with resend()")
        by_partition: dict[int, list[Record]] = defaultdict(list)
        for record in records:
            by_partition[self._partition(record) if partition is None else partition].append(record)
        if partition is None and any(record.key is None for record in records):
            self._rotating = (self._rotating + 1) % self.topic.partition_count
        self.unresolved = log_pb2.AppendRequest(
            producer=self._producer, return_versions=self._return_versions, batches=map(self._batch, by_partition.items())
        )
        self._is_in_doubt = False
        return self.unresolved

    def check_ended(self) -> None:
        if self._ended is not None:
            raise self._ended

    def done(self, response: log_pb2.AppendResponse) -> Appended:
        assert self.unresolved is not None
        for batch in self.unresolved.batches:
            self._next[batch.partition] += 1
        self.unresolved = None
        return appended_from_wire(self.topic.name, *response.batches)

    def sending(self) -> None:
        """An attempt begins; until something else is known, it may have stored the request."""
        self._was_in_doubt, self._is_in_doubt = self._is_in_doubt, True

    def failed(self, error: TaffrailError) -> None:
        if not isinstance(error, OutcomeUnknown) or isinstance(error, Cancelled) and not error.was_sent:
            self._is_in_doubt = self._was_in_doubt
        if error.reason in _FINAL:
            self._ended = error

    def give_up(self, error: TaffrailError) -> TaffrailError:
        """There is no further attempt: what to say of it."""
        if not self._is_in_doubt:
            # Nothing of the request is stored, and its sequence numbers are free again.
            self.unresolved = None
            return error
        if isinstance(error, Cancelled) and not error.was_sent:
            return Cancelled("the append was cancelled, and may have been sent before", code=error.code)
        if error is self._ended or isinstance(error, OutcomeUnknown):
            return error
        return OutcomeUnknown(f"an attempt to append was not answered, and the last one failed: {error.message}")

    def _batch(self, item: tuple[int, list[Record]]) -> log_pb2.AppendBatch:
        partition, records = item
        return log_pb2.AppendBatch(
            topic=self.topic.name,
            topic_id=self.topic.id,
            partition=partition,
            sequence=self._next[partition],
            records=map(record_to_wire, records),
        )

    def _partition(self, record: Record) -> int:
        if record.key is None:
            return self._rotating
        if self.topic.partition_count == 1:
            return 0
        return partition_of_key(record.key, self.topic.partition_count)


def partition_of_key(key: bytes, partitions: int) -> int:
    """The partition that the broker puts a key in, which is where Kafka's Java client does."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """32-bit murmur2 with Kafka's seed."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    hashed = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        word = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        hashed = (hashed * multiplier & mask) ^ word
    if whole < len(data):
        hashed = (hashed ^ int.from_bytes(data[whole:], "little")) * multiplier & mask
    hashed = (hashed ^ hashed >> 13) * multiplier & mask
    return hashed ^ hashed >> 15


