"""Reads, which go on by themselves after the broker was away."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType

import grpc

from taffrail.aio.connection import Responses, sleep
from taffrail.errors import TaffrailError, Unavailable, from_rpc
from taffrail.model import EARLIEST, Position, ReadBatch, StoredRecord, position_to_wire, record_from_wire
from taffrail.retry import Retries
from taffrail.v1 import entities_pb2, log_pb2

Open = Callable[[log_pb2.ReadRequest], Responses[log_pb2.ReadResponse]]
ListOffsets = Callable[[log_pb2.ListOffsetsRequest], Awaitable[log_pb2.ListOffsetsResponse]]


class Reading:
    """The records of a read, one by one, or with `batches` as they come. Use either of them.

    A read that is left before its end is to be closed, for which `async with` is good; one that is dropped closes itself.
    """

    def __init__(self, open: Open, request: log_pb2.ReadRequest, give_up_after: float | None) -> None:
        self._open = open
        self._request = request
        self._retries = Retries(give_up_after)
        self._responses: Responses[log_pb2.ReadResponse] | None = None
        self._places: dict[int, log_pb2.PartitionPosition] = {}
        self._records: deque[StoredRecord] = deque()
        self._is_ended = False

    async def settle(self, list_offsets: ListOffsets, start: Position, partitions: Mapping[int, Position]) -> None:
        """Settles where each partition is read from, so that a read that breaks off before it has heard of one begins
        there again, and not at what is the end by then."""
        ask = log_pb2.ListOffsetsRequest(topic=self._request.topic, position=position_to_wire(start))
        for partition, position in partitions.items():
            ask.partitions.add(partition=partition, position=position_to_wire(position))
        found = await list_offsets(ask)
        self._request.topic_id = found.topic_id
        for each in found.offsets:
            place = self._request.partitions.add(partition=each.partition)
            self._places[each.partition] = place
            # The beginning may be trimmed meanwhile, and then is what is the beginning by then.
            if partitions.get(each.partition, start) is EARLIEST:
                place.position.CopyFrom(position_to_wire(EARLIEST))
            else:
                place.position.offset = each.offset

    @property
    def positions(self) -> dict[int, int]:
        """For each partition from which something has come, the offset behind what has come."""
        return {
            partition: place.position.offset
            for partition, place in self._places.items()
            if place.position.WhichOneof("at") == "offset"
        }

    @property
    def topic_id(self) -> str:
        """The topic's id: the offsets mean nothing in another topic of the same name."""
        return self._request.topic_id

    def __aiter__(self) -> Reading:
        return self

    async def __anext__(self) -> StoredRecord:
        while not self._records:
            batch = await self._next_batch()
            if batch is None:
                raise StopAsyncIteration
            self._records.extend(batch.records)
        return self._records.popleft()

    async def batches(self) -> AsyncIterator[ReadBatch]:
        """The records as they come, with how far the read is, and which entities were erased meanwhile."""
        while (batch := await self._next_batch()) is not None:
            yield batch

    async def _next_batch(self) -> ReadBatch | None:
        while not self._is_ended:
            try:
                if self._responses is None:
                    self._responses = self._open(self._request)
                response = await self._responses.next()
            except grpc.RpcError as error:
                await self._go_on_after(from_rpc(error, changes=False))
                continue
            if response is not None:
                self._retries.progress()
                return self._take(response)
            if not self._request.follow or self._is_ended:
                break
            await self._go_on_after(Unavailable("the read was ended"))
        self.close()
        return None

    async def _go_on_after(self, error: TaffrailError) -> None:
        self._responses = None
        await sleep(self._retries.pause(error))

    def _take(self, response: log_pb2.ReadResponse) -> ReadBatch:
        self._places[response.partition].position.offset = response.next_offset
        if self._request.max_records:
            self._request.max_records -= len(response.records)
            self._is_ended = self._request.max_records == 0
        return ReadBatch(
            response.partition,
            [record_from_wire(self._request.topic, response.partition, each) for each in response.records],
            response.next_offset,
            response.high_watermark,
            response.caught_up,
            [each.key_sha256 for each in response.erased],
        )

    def close(self) -> None:
        """Ends the read."""
        self._is_ended = True
        if self._responses is not None:
            self._responses.close()

    async def __aenter__(self) -> Reading:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class KeyReading:
    """The records of one entity, in the order of the read."""

    def __init__(self, topic: str, responses: Responses[entities_pb2.ReadKeyResponse]) -> None:
        self._topic = topic
        self._responses = responses
        self._records: deque[StoredRecord] = deque()
        #: The entity's version when the read began; 0: it never had a record.
        self.latest_version = 0
        #: The partition that the entity is in.
        self.partition = 0

    async def open(self) -> None:
        await self._receive()

    def __aiter__(self) -> KeyReading:
        return self

    async def __anext__(self) -> StoredRecord:
        while not self._records:
            if not await self._receive():
                raise StopAsyncIteration
        return self._records.popleft()

    async def _receive(self) -> bool:
        try:
            response = await self._responses.next()
        except grpc.RpcError as error:
            raise from_rpc(error, changes=False) from error
        if response is None:
            return False
        self.latest_version, self.partition = response.latest_version, response.partition
        self._records.extend(record_from_wire(self._topic, self.partition, each) for each in response.records)
        return True
