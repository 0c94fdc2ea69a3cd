"""Carries out the commands of the conformance kit with the Python client: `runner.py threads` or `runner.py asyncio`.

One command a line on standard input, one answer a line on standard output: see ../../README.md.
"""

import asyncio
import concurrent.futures
import json
import pathlib
import sys
from datetime import UTC, datetime, timedelta

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[4] / "clients" / "python"))

import taffrail  # noqa: E402
from taffrail import aio  # noqa: E402

# The first that fits: a conflict is a refusal, too.
KINDS = [
    (taffrail.Conflict, "conflict"),
    (taffrail.Fenced, "fenced"),
    (taffrail.NotFound, "not_found"),
    (taffrail.AlreadyExists, "already_exists"),
    (taffrail.OffsetOutOfRange, "out_of_range"),
    (taffrail.DamagedRecords, "damaged"),
    (taffrail.Refused, "refused"),
    (taffrail.OutcomeUnknown, "outcome_unknown"),
    (taffrail.Unavailable, "unavailable"),
]
# As many commands may wait at a time.
THREADS = 64


class Unsupported(Exception):
    """The client does not have this."""


class Threads:
    """The client for threads."""

    Client = taffrail.Client

    async def call(self, run, *arguments, **named):
        return await asyncio.to_thread(run, *arguments, **named)

    async def following(self, records):
        return await asyncio.to_thread(next, records, None)

    def cancellable(self, client):
        """The client with what cancels its calls."""
        cancellation = taffrail.Cancellation()
        return cancellation.client(client), cancellation.cancel

    async def cancel(self, task, call, reading):
        """A read is closed instead."""
        if call:
            call()
        elif isinstance(reading, taffrail.Reading):
            reading.close()
        else:
            raise Unsupported


class Asyncio:
    """The client for asyncio."""

    Client = aio.Client

    async def call(self, run, *arguments, **named):
        result = run(*arguments, **named)
        return await result if asyncio.iscoroutine(result) else result

    async def following(self, records):
        return await anext(records, None)

    def cancellable(self, client):
        return client, None

    async def cancel(self, task, call, reading):
        task.cancel()


class Runner:
    def __init__(self, style):
        self.style = style
        self.named = {}
        self.tasks = {}
        #: What cancels a command, where its task does not.
        self.cancels = {}

    async def run(self):
        loop = asyncio.get_running_loop()
        loop.set_default_executor(concurrent.futures.ThreadPoolExecutor(THREADS))
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            self.tasks[command["id"]] = (asyncio.create_task(self.answer(command)), command)

    async def answer(self, command):
        answer = {"id": command["id"]}
        try:
            answer["ok"] = await getattr(self, command["do"])(command) or {}
        except taffrail.TaffrailError as error:
            answer["error"] = described(error)
        except asyncio.CancelledError:
            answer["error"] = {"kind": "cancelled"}
        except Unsupported:
            answer["error"] = {"kind": "unsupported"}
        except Exception as error:  # noqa: BLE001: the kit shows it
            answer["error"] = {"kind": "bug", "message": f"{type(error).__name__}: {error}"}
        del self.tasks[command["id"]]
        self.cancels.pop(command["id"], None)
        print(json.dumps(answer), flush=True)

    async def connect(self, c):
        options, credentials = {}, None
        if c.get("gzip"):
            options["grpc.default_compression_algorithm"] = grpc.Compression.Gzip
        if "ca" in c:
            credentials = grpc.ssl_channel_credentials(pathlib.Path(c["ca"]).read_bytes())
        timeout = c.get("timeout_ms", 30_000) / 1000
        self.named[c["as"]] = self.style.Client(
            c["address"], timeout=timeout, token=c.get("token"), credentials=credentials, options=options
        )

    async def disconnect(self, c):
        await self.style.call(self.named[c["client"]].close)

    async def create_topic(self, c):
        await self.style.call(self.client(c).create_topic, c["topic"], c["partitions"])

    async def describe_topic(self, c):
        topic = await self.style.call(self.client(c).describe_topic, c["topic"])
        return {
            "partitions": [
                {"partition": each.partition, "earliest": str(each.earliest), "high_watermark": str(each.high_watermark)}
                for each in topic.partitions
            ]
        }

    async def append(self, c):
        client, self.cancels[c["id"]] = self.style.cancellable(self.client(c))
        appended = await self.style.call(
            client.append,
            c["topic"],
            [record(each) for each in c["records"]],
            partition=c.get("partition"),
            conditions=[condition(each) for each in c.get("conditions", ())],
            return_versions=True,
        )
        return {
            "ranges": [
                {
                    "partition": each.partition,
                    "first_offset": str(each.first_offset),
                    "versions": [str(version) for version in each.versions],
                }
                for each in appended.ranges
            ]
        }

    async def producer(self, c):
        self.named[c["as"]] = await self.style.call(
            self.client(c).producer,
            c["topic"],
            name=c.get("name", ""),
            give_up_after=c.get("give_up_after_ms", 120_000) / 1000,
        )

    async def produce(self, c):
        await self.style.call(self.named[c["of"]].append, [record(each) for each in c["records"]])

    async def resend(self, c):
        await self.style.call(self.named[c["of"]].resend)

    async def read(self, c):
        self.named[c["as"]] = await self.style.call(
            self.client(c).read,
            c["topic"],
            position(c.get("start", "earliest")),
            partitions=c.get("partitions", ()),
            follow=c.get("follow", False),
            max_records=int(c.get("max_records", 0)),
            keys=[bytes.fromhex(key) for key in c.get("keys", ())],
            types=c.get("types", ()),
        )

    async def read_key(self, c):
        self.named[c["as"]] = await self.style.call(
            self.client(c).read_key, c["topic"], bytes.fromhex(c["key"]), from_version=int(c.get("from_version", 0))
        )

    async def next(self, c):
        records = []
        while len(records) < c["count"]:
            found = await self.style.following(self.named[c["of"]])
            if found is None:
                return {"records": records, "end": True}
            records.append(stored(found))
        return {"records": records, "end": False}

    async def close(self, c):
        await self.style.call(self.named[c["of"]].close)

    async def latest(self, c):
        keys = [bytes.fromhex(key) for key in c["keys"]]
        found = await self.style.call(self.client(c).get_latest, c["topic"], keys)
        return {"latest": [{"version": str(e.version), "record": e.record and stored(e.record)} for e in found]}

    async def erase(self, c):
        await self.style.call(self.client(c).erase, c["topic"], bytes.fromhex(c["key"]))

    async def join(self, c):
        self.named[c["as"]] = await self.style.call(
            self.client(c).join,
            c["group"],
            c["topics"],
            name=c.get("name", ""),
            session_timeout=c.get("session_timeout_ms", 10_000) / 1000,
            credit_records=c.get("credit_records", 1_000),
            auto_commit=not c.get("commits_explicitly", False),
            commit_interval=c.get("commit_interval_ms", 1_000) / 1000,
        )

    async def commit(self, c):
        outcomes = await self.style.call(self.named[c["of"]].commit)
        return {"outcomes": [each.name for each in outcomes]}

    async def leave(self, c):
        await self.style.call(self.named[c["of"]].leave)

    async def committed(self, c):
        offsets = await self.style.call(self.client(c).committed, c["group"])
        return {"offsets": [[topic, partition, str(at)] for (topic, partition), at in sorted(offsets.items())]}

    async def cancel(self, c):
        task, command = self.tasks[c["what"]]
        await self.style.cancel(task, self.cancels.get(c["what"]), self.named.get(command.get("of")))

    def client(self, c):
        return self.named[c["client"]]


def record(wire):
    return taffrail.Record(
        key=octets(wire.get("key")),
        value=octets(wire.get("value")),
        type=wire.get("type", ""),
        headers=[(name, bytes.fromhex(value)) for name, value in wire.get("headers", ())],
        timestamp_ms=int(wire["timestamp_ms"]) if "timestamp_ms" in wire else None,
        event_id=bytes.fromhex(wire.get("event_id", "")),
    )


def stored(record):
    return {
        "partition": record.partition,
        "offset": str(record.offset),
        "key": digits(record.key),
        "value": digits(record.value),
        "type": record.type,
        "headers": [[name, value.hex()] for name, value in record.headers],
        "timestamp_ms": str(record.timestamp_ms),
        "event_id": record.event_id.hex(),
        "version": None if record.version is None else str(record.version),
        "erased": record.erased,
    }


def condition(wire):
    if "next_offset" in wire:
        return taffrail.NextOffset(wire["partition"], int(wire["next_offset"]))
    key = bytes.fromhex(wire["key"])
    if "version" in wire:
        return taffrail.KeyVersion(key, int(wire["version"]))
    return taffrail.KeyAbsent(key) if wire.get("absent") else taffrail.KeyExists(key)


def position(wire):
    if wire in ("earliest", "latest"):
        return taffrail.EARLIEST if wire == "earliest" else taffrail.LATEST
    if "offset" in wire:
        return int(wire["offset"])
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=int(wire["time_ms"]))


def described(error):
    kind = next((name for kind, name in KINDS if isinstance(error, kind)), "unknown")
    failed = [[index, str(actual)] for index, actual in getattr(error, "failed", ())]
    return {
        "kind": kind,
        "reason": error.reason,
        "message": error.message,
        "metadata": dict(error.metadata),
        "failed": failed,
    }


def octets(text):
    return None if text is None else bytes.fromhex(text)


def digits(data):
    return None if data is None else data.hex()


asyncio.run(Runner({"threads": Threads, "asyncio": Asyncio}[sys.argv[1]]()).run())
