"""Loads that clients can put on a broker, all of them valid or merely slow.

Usage: loads.py STUBS NAME ADDRESS SECONDS GIVEN, the last as JSON; loads.py STUBS sink ADDRESS UPDATES serves a sink.
Prints what it did as JSON. Made for little work of its own: what is sent is put together beforehand.
"""

import asyncio
import contextlib
import itertools
import json
import logging
import os
import resource
import socket
import sys
import time

sys.path.insert(0, sys.argv[1])
import http2
from http2 import connect, message, request_headers
from taffrail.v1 import groups_pb2, log_pb2, record_pb2, topics_pb2

MIB = 1 << 20
APPEND = request_headers("/taffrail.v1.Log/Append")
APPEND_STREAM = request_headers("/taffrail.v1.Log/AppendStream")
OPEN_PRODUCER = request_headers("/taffrail.v1.Log/OpenProducer")
READ = request_headers("/taffrail.v1.Log/Read")
CONSUME = request_headers("/taffrail.v1.Groups/Consume")
CREATE = request_headers("/taffrail.v1.Topics/Create")
DELETE = request_headers("/taffrail.v1.Topics/Delete")
# Most calls at a time on a connection, and most batches in a request.
CALLS, BATCHES = 256, 1_000
# More calls a second than any broker answers.
UNBOUNDED_RATE = 10_000_000
# Of what is slow: the time between two bytes.
SLOW_SECONDS = 1


def main():
    name, address, *rest = sys.argv[2:]
    if name == "sink":
        asyncio.run(sink(address, rest[0] == "True"))
        return
    os.nice(19)
    # It warns of what is written to a connection that the server has just closed.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    counts = {"ok": 0, "refused": 0, "broken": 0}
    began = time.monotonic()
    asyncio.run(run(LOADS[name], address, float(rest[0]), json.loads(rest[1]), counts))
    counts["seconds"] = round(time.monotonic() - began, 3)
    print(json.dumps(counts), flush=True)


async def run(load, address, seconds, given, counts):
    """Runs a load for so long, or until the broker is gone, and drops whatever it has open then."""
    with contextlib.suppress(TimeoutError, OSError):
        await asyncio.wait_for(load(address, counts, **given), seconds)


async def sink(address, updates):
    host, port = address.split(":")
    server = await asyncio.get_running_loop().create_server(lambda: http2.Sink(updates), host, int(port), backlog=4096)
    await server.serve_forever()


def counting(counts):
    """What a call's end adds to."""

    def done(succeeded):
        counts["broken" if succeeded is None else "ok" if succeeded else "refused"] += 1

    return done


def record(size):
    return record_pb2.Record(value=b"x" * size)


def append(topic, partitions, size, **more):
    """A request with one record for each of these partitions."""
    batches = [log_pb2.AppendBatch(topic=topic, partition=at, records=[record(size)]) for at in partitions]
    return encode(log_pb2.AppendRequest(batches=batches, **more))


def encode(request):
    return message(request.SerializeToString())


def wide_appends_of(topics, partitions, size):
    """Requests that together append to every partition once."""
    return [
        append(topic, range(first, min(first + BATCHES, partitions)), size)
        for topic in topics
        for first in range(0, partitions, BATCHES)
    ]


async def repeat(connection, counts, headers, bodies, calls):
    """Keeps so many calls under way until the connection ends."""
    turn = itertools.cycle(bodies)
    done = counting(counts)

    async def caller():
        while not connection.lost.done():
            done(await connection.call(headers, next(turn)))

    await asyncio.gather(*(caller() for _ in range(calls)))


async def open_connections(address, number, **options):
    """As many connections, or as many of them as the server takes."""
    opened = await asyncio.gather(*(connect(address, **options) for _ in range(number)), return_exceptions=True)
    return [connection for connection in opened if not isinstance(connection, Exception)]


async def for_ever():
    await asyncio.get_running_loop().create_future()


async def followers(address, counts, topic, partitions, readers):
    """Many read everything of a topic with many partitions, as fast as it comes."""
    for connection in await raw_reads(address, topic, readers):
        asyncio.get_running_loop().add_reader(connection, discard, connection)
    writer = await connect(address)
    await repeat(writer, counts, APPEND, wide_appends_of([topic], partitions, 100), 2)


def discard(connection):
    """Takes what has come. Nothing is looked at: the window lasts for the whole load."""
    try:
        ended = not connection.recv(MIB)
    except OSError as error:
        ended = not isinstance(error, BlockingIOError)
    if ended:
        asyncio.get_running_loop().remove_reader(connection)


async def stalled_reads(address, counts, topic, connections, calls):
    """As many reads as a connection may have, of which nobody takes anything."""
    follow = encode(log_pb2.ReadRequest(topic=topic, follow=True))
    for connection in await open_connections(address, connections, window=http2.DEFAULT_WINDOW, updates=False):
        for _ in range(calls):
            connection.call_at_once(READ, follow, counting(counts))
    await for_ever()


async def stopped_members(address, counts, group, partitions, connections, calls):
    """Members of a group that take nothing of what they are sent, for as long as there is more of it."""
    credit = groups_pb2.Credit(records=100_000, bytes=2 * MIB)
    member = groups_pb2.JoinGroup(group=group, topics=[group], credit=credit, heartbeat=True, session_timeout_ms=600_000)
    join, done = encode(groups_pb2.ConsumeRequest(join=member)), counting(counts)
    for connection in await open_connections(address, connections, window=http2.DEFAULT_WINDOW, updates=False):
        for _ in range(calls):
            await connection.send(connection.begin(CONSUME, done), join)
    writer, records = await connect(address), [record(1_000)] * 1_000
    for at in itertools.cycle(partitions):
        batch = log_pb2.AppendBatch(topic=group, partition=at, records=records)
        done(await writer.call(APPEND, encode(log_pb2.AppendRequest(batches=[batch]))))
        await asyncio.sleep(0.02)


async def slow_reads(address, counts, topic, readers):
    """Each on a connection of its own, of which a byte a second is taken."""
    held = await raw_reads(address, topic, readers)
    while True:
        for connection in held:
            take_a_byte(connection)
        await asyncio.sleep(SLOW_SECONDS)


async def raw_reads(address, topic, readers):
    """Reads that follow, each on a socket of its own that grants all that it can."""
    follow = encode(log_pb2.ReadRequest(topic=topic, follow=True))
    opening = http2.PREFACE + http2.settings(window=http2.LARGEST_WINDOW)
    opening += http2.window_update(0, http2.LARGEST_WINDOW - http2.DEFAULT_WINDOW)
    opening += http2.frame(http2.HEADERS, http2.END_HEADERS, 1, READ)
    opening += http2.frame(http2.DATA, http2.END_STREAM, 1, follow)
    held = []
    for _ in range(readers):
        held.append(await raw_connection(address))
        held[-1].send(opening)
    return held


def take_a_byte(connection):
    try:
        connection.recv(1)
    except (BlockingIOError, ConnectionError):
        pass


async def raw_connection(address):
    host, port = address.split(":")
    made = socket.socket()
    made.setblocking(False)
    await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
    return made


async def idle_connections(address, counts, connections):
    held = await open_connections(address, connections)
    counts["ok"] = len(held)
    await for_ever()


async def unfinished_requests(address, counts, topic, connections, calls):
    """Requests of which the last byte does not come: large ones, and where one is refused, one of half its size."""
    bodies = [append(topic, [0], (15 * MIB) >> halved)[:-1] for halved in range(18)]
    done = counting(counts)

    async def sender(connection):
        for body in itertools.chain(bodies, itertools.repeat(bodies[-1])):
            ended = http2.End()
            stream = connection.begin(APPEND, ended.set)
            await connection.send(stream, body)
            done(await ended.known)
            if connection.lost.done():
                return
            await asyncio.sleep(0.01)

    held = await open_connections(address, connections)
    await asyncio.gather(*(sender(connection) for connection in held for _ in range(calls)))


async def filled_windows(address, counts, topic, connections, calls):
    """Appends sent ahead by clients that take no answers."""
    body = append(topic, [0], 1000) * 1000
    held = await open_connections(address, connections, window=0, updates=False)

    async def sender(connection):
        stream = connection.begin(APPEND_STREAM, counting(counts))
        while await connection.send(stream, body):
            pass

    await asyncio.gather(*(sender(connection) for connection in held for _ in range(calls)))


async def silent_connections(address, counts, connections):
    """Connections that say nothing, and ones that say what a client says first byte by byte."""

    async def hold(says):
        while True:
            try:
                reader, writer = await asyncio.open_connection(*address.split(":"))
                speaking = asyncio.ensure_future(says(writer))
                await reader.read()
                speaking.cancel()
                writer.close()
            except OSError:
                pass
            counts["broken"] += 1
            await asyncio.sleep(SLOW_SECONDS)

    await asyncio.gather(*(hold(bytewise if at % 2 else silently) for at in range(connections)))


async def silently(_):
    await for_ever()


async def bytewise(writer):
    for byte in http2.PREFACE[:-1]:
        writer.write(bytes([byte]))
        await asyncio.sleep(SLOW_SECONDS)


async def producers(address, counts, number):
    """Opens producers that never append."""
    held = await open_connections(address, 4)
    body, done = encode(log_pb2.OpenProducerRequest()), counting(counts)
    await start_at_once(held, OPEN_PRODUCER, body, done, number)


async def start_at_once(held, headers, body, done, number):
    """So many small calls, as many at a time as connections may have."""
    started = 0
    while started < number:
        before = started
        for connection in held:
            while started < number and len(connection.ends) < CALLS - 6:
                if not connection.call_at_once(headers, body, done):
                    break
                started += 1
        await asyncio.sleep(0 if started > before else 0.001)
    while any(connection.ends for connection in held):
        await asyncio.sleep(0.001)


async def producer_partitions(address, counts, topic, partitions, ids):
    """Each of these producers appends to as many partitions as a request may name."""
    connection = await connect(address)
    for number, epoch in ids:
        batches = [
            log_pb2.AppendBatch(topic=topic, partition=at, sequence=0, records=[record(1)])
            for at in range(min(partitions, BATCHES))
        ]
        producer = log_pb2.Producer(id=number, epoch=epoch)
        body = encode(log_pb2.AppendRequest(batches=batches, producer=producer))
        counting(counts)(await connection.call(APPEND, body))


async def topics(address, counts, partitions, at_a_time):
    """Topics are created, appended to and deleted as fast as it goes."""
    done = counting(counts)

    async def one_after_the_other(connection, which):
        for number in itertools.count():
            name = f"short-lived-{which}-{number}"
            create = encode(topics_pb2.CreateTopicRequest(name=name, partitions=partitions))
            done(await connection.call(CREATE, create))
            done(await connection.call(APPEND, append(name, range(BATCHES), 0)))
            done(await connection.call(DELETE, encode(topics_pb2.DeleteTopicRequest(name=name))))
            if connection.lost.done():
                return

    connection = await connect(address)
    await asyncio.gather(*(one_after_the_other(connection, which) for which in range(at_a_time)))


async def wide_appends(address, counts, topics, partitions, size):
    await repeat(await connect(address), counts, APPEND, wide_appends_of(topics, partitions, size), 2)


async def tiny_records(address, counts, topic, records, keyed, connections, calls):
    """As many records as a request may have, with nothing in them, or a key that nothing else has."""
    if keyed:
        some = [record_pb2.Record(key=at.to_bytes(3, "big")) for at in range(records)]
    else:
        some = [record_pb2.Record()] * records
    body = encode(log_pb2.AppendRequest(batches=[log_pb2.AppendBatch(topic=topic, records=some)]))
    held = await open_connections(address, connections)
    await asyncio.gather(*(repeat(connection, counts, APPEND, [body], calls) for connection in held))


async def open_calls(address, counts, connections, calls):
    """Calls that are begun and go no further; one that ends is begun anew."""
    held = await open_connections(address, connections)
    done = counting(counts)
    while True:
        for connection in held:
            while len(connection.ends) < calls and not connection.lost.done():
                connection.begin(APPEND_STREAM, done)
            await asyncio.sleep(0)
        await asyncio.sleep(0.25)


async def resets(address, counts, connections):
    """Calls that are cancelled as soon as they are begun."""

    async def flood():
        while True:
            connection = await connect(address)
            while not connection.lost.done():
                for _ in range(100):
                    connection.reset(connection.begin(APPEND_STREAM))
                await connection.writable.wait()
                await asyncio.sleep(0)
            counts["broken"] += 1

    await asyncio.gather(*(flood() for _ in range(connections)))


async def turned_away(address, counts, connections, knocking):
    """All places are taken, and further clients come again and again."""
    held = await open_connections(address, connections)
    counts["ok"] = len(held)

    async def knock():
        while True:
            with contextlib.suppress(OSError):
                (await connect(address)).transport.close()
            counts["refused"] += 1

    await asyncio.gather(*(knock() for _ in range(knocking)))


async def overload(address, counts, topic, size, rate):
    """Appends of one record: as many as are answered (`rate` is null), or so many a second, whatever is refused."""
    number = 16 if rate is None else 40
    body = append(topic, [0], size)
    if size < 100_000:
        held = await open_connections(address, number, made=http2.Flood)
        await offer_small(held, body, counts, rate)
    else:
        held = await open_connections(address, number)
        await offer_large(held, body, counts, rate, 2 if rate is None else 16)


async def ticks(rate):
    """How many more calls are due, two hundred times a second."""
    started, due = time.monotonic(), 0
    while True:
        now = int((time.monotonic() - started) * rate)
        yield now - due
        due = now
        await asyncio.sleep(0.005)


async def offer_small(held, body, counts, rate):
    async for due in ticks(rate or UNBOUNDED_RATE):
        # Those that have most room come first.
        for connection in sorted(held, key=http2.Flood.under_way):
            room = min(due, CALLS - 6 - connection.under_way())
            if room > 0 and not connection.lost.done():
                due -= connection.begin_many(room, APPEND, body)
        counts["offered"] = sum(connection.begun for connection in held)
        counts["ok"] = sum(connection.succeeded for connection in held)
        counts["refused"] = sum(connection.ended - connection.succeeded for connection in held)
        counts["broken"] = sum(connection.under_way() for connection in held if connection.lost.done())


async def offer_large(held, body, counts, rate, at_a_time):
    done = counting(counts)
    counts["offered"] = 0
    calls = set()

    async def call(connection):
        done(await connection.call(APPEND, body))

    async for due in ticks(rate or UNBOUNDED_RATE):
        room = [c for c in held for _ in range(at_a_time - len(c.ends))]
        for connection in room[:due]:
            counts["offered"] += 1
            calls.add(asyncio.ensure_future(call(connection)))
        calls = {call for call in calls if not call.done()}


LOADS = {
    load.__name__.replace("_", "-"): load
    for load in [
        followers,
        stalled_reads,
        stopped_members,
        slow_reads,
        idle_connections,
        unfinished_requests,
        filled_windows,
        silent_connections,
        producers,
        producer_partitions,
        topics,
        wide_appends,
        tiny_records,
        open_calls,
        resets,
        turned_away,
        overload,
    ]
}

if __name__ == "__main__":
    main()
