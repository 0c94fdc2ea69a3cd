"""Measures this client: appends of 100 records of 1,000 bytes, one after the other and many at a time, and a follow that
reads them.

Usage: bench.py threads|asyncio ADDRESS SECONDS, against a broker without topics. It prints records a second, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import taffrail
from taffrail import Record, aio

RECORDS_PER_REQUEST = 100
RECORD_BYTES = 1000
UNDER_WAY = 16


class Numbers:
    """Makes records that begin with their numbers, and knows them again."""

    def __init__(self) -> None:
        self.appended = 0
        self._lock = threading.Lock()

    def records(self) -> Sequence[Record]:
        """The records of a request."""
        with self._lock:
            first, self.appended = self.appended, self.appended + RECORDS_PER_REQUEST
        rest = bytes(RECORD_BYTES - 8)
        return [Record(value=number.to_bytes(8) + rest) for number in range(first, first + RECORDS_PER_REQUEST)]

    def check(self, seen: set[int], batch: taffrail.ReadBatch) -> bool:
        """Notes the records that have come. Whether all have, each once."""
        for record in batch.records:
            assert record.value is not None and len(record.value) == RECORD_BYTES
            number = int.from_bytes(record.value[:8])
            assert number not in seen
            seen.add(number)
        return len(seen) == self.appended


class Stopwatch:
    def __init__(self, numbers: Numbers) -> None:
        self._numbers, self._before, self._start = numbers, numbers.appended, time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self._start

    def appended_per_second(self) -> float:
        return (self._numbers.appended - self._before) / self.seconds()


def run(client: taffrail.Client, topic: str, seconds: float) -> dict[str, float]:
    numbers = Numbers()
    client.create_topic(topic)
    producer = client.producer(topic)

    def append(tasks: int, seconds: float, request: Callable[[Sequence[Record]], object]) -> float:
        watch = Stopwatch(numbers)

        def task(_: int) -> None:
            while watch.seconds() < seconds:
                request(numbers.records())

        with ThreadPoolExecutor(tasks) as pool:
            list(pool.map(task, range(tasks)))
        return watch.appended_per_second()

    def follow() -> float:
        watch, seen = Stopwatch(numbers), set[int]()
        with client.read(topic, follow=True) as reading:
            for batch in reading.batches():
                if numbers.check(seen, batch):
                    break
        return numbers.appended / watch.seconds()

    return {
        "one": append(1, seconds, producer.append),
        "many": append(UNDER_WAY, seconds, lambda records: client.append(topic, records)),
        "follow": follow(),
    }


async def run_asyncio(client: aio.Client, topic: str, seconds: float) -> dict[str, float]:
    numbers = Numbers()
    await client.create_topic(topic)
    producer = await client.producer(topic)

    async def append(tasks: int, seconds: float, request: Callable[[Sequence[Record]], Any]) -> float:
        watch = Stopwatch(numbers)

        async def task() -> None:
            while watch.seconds() < seconds:
                await request(numbers.records())

        await asyncio.gather(*(task() for _ in range(tasks)))
        return watch.appended_per_second()

    async def follow() -> float:
        watch, seen = Stopwatch(numbers), set[int]()
        async with await client.read(topic, follow=True) as reading:
            async for batch in reading.batches():
                if numbers.check(seen, batch):
                    break
        return numbers.appended / watch.seconds()

    return {
        "one": await append(1, seconds, producer.append),
        "many": await append(UNDER_WAY, seconds, lambda records: client.append(topic, records)),
        "follow": await follow(),
    }


async def main_asyncio(address: str, seconds: float) -> dict[str, float]:
    async with aio.Client(address) as client:
        await run_asyncio(client, "warm-up", 0.5)
        await client.delete_topic("warm-up")
        return await run_asyncio(client, "bench", seconds)


def main() -> None:
    kind, address, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if kind == "asyncio":
        print(json.dumps(asyncio.run(main_asyncio(address, seconds))))
        return
    with taffrail.Client(address) as client:
        # What is connected and loaded once is not measured.
        run(client, "warm-up", 0.5)
        client.delete_topic("warm-up")
        print(json.dumps(run(client, "bench", seconds)))


main()
