# Made of ../aio/producer.py by ../../generate: change that.
"""A producer, whose appends are stored exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from taffrail.sync.connection import Lock, sleep
from taffrail.errors import TaffrailError
from taffrail.model import Appended, Record, Topic
from taffrail.numbering import Numbering
from taffrail.retry import Retries
from taffrail.v1 import log_pb2


class Producer:
    """Appends to one topic, one request at a time: `append` waits for those before it.

    Every append is numbered, and sent again with its number when its answer is lost, so that it is stored once however
    often it is sent. For more throughput append more records at a time, or use more producers.
    """

    def __init__(
        self,
        append: Callable[[log_pb2.AppendRequest], log_pb2.AppendResponse],
        resend: Callable[[log_pb2.AppendRequest], log_pb2.AppendResponse],
        topic: Topic,
        producer: log_pb2.Producer,
        give_up_after: float,
        return_versions: bool,
    ) -> None:
        self._append = append
        self._resend = resend
        self._numbering = Numbering(topic, producer, return_versions)
        self._give_up_after = give_up_after
        self._lock = Lock()

    def append(self, records: Sequence[Record], *, partition: int | None = None) -> Appended:
        """Appends all records, or none, to the partitions of their keys.

        :raises Fenced: another producer of this name was opened; final.
        :raises OutcomeUnknown: the broker could not be asked for too long. `resend` goes on asking; other appends are
            refused until it has succeeded. The same after a cancellation.
        """
        with self._lock:
            self._numbering.begin(records, partition)
            return self._deliver(self._append)

    def resend(self) -> Appended | None:
        """Sends the append again whose outcome is not known, with its number: it is stored once, whatever became of it
        before. None if there is no such append."""
        with self._lock:
            self._numbering.check_ended()
            return self._deliver(self._resend) if self._numbering.unresolved is not None else None

    def _deliver(
        self, send: Callable[[log_pb2.AppendRequest], log_pb2.AppendResponse]
    ) -> Appended:
        retries = Retries(self._give_up_after)
        while True:
            request = self._numbering.unresolved
            assert request is not None
            self._numbering.sending()
            try:
                response = send(request)
            except TaffrailError as error:
                self._numbering.failed(error)
                failure = error
            else:
                return self._numbering.done(response)
            try:
                pause = retries.pause(failure)
            except TaffrailError as error:
                raise self._numbering.give_up(error) from error
            sleep(pause)
