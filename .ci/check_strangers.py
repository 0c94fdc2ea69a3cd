"""Ten thousand calls in a row with a token that was revoked: they cost the broker no more processor time than as many
connections that it refuses, and a caller with a token that counts is served meanwhile as before.

Usage: check_strangers.py BINARY [--timed]. With --timed, on a machine that does nothing else, the p99 of that caller is
compared, too.
"""

import argparse
import asyncio
import json
import multiprocessing
import pathlib
import socket
import subprocess
import tempfile
import time

import http2
from broker import Broker, check, say

CALLS = 10_000
LIST = "/taffrail.v1.Topics/List"
GRANT = """
[[grant]]
principals = ["token:polite"]
operations = ["read"]
topics = ["*"]
"""
# How often the caller with a token calls.
PERIOD_SECONDS = 0.005
IDLE_SECONDS = 5
# Processor time is told in hundredths of a second.


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("binary")
    flags.add_argument("--timed", action="store_true")
    flags = flags.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        config = pathlib.Path(scratch, "taffrail.toml")
        config.write_text(GRANT)
        data = pathlib.Path(scratch, "data")
        with Broker(flags.binary, data, flags=["--config", str(config), "--http-listen", "off"]) as broker:
            broker.wait_for_log("administrators can connect")
            admin = ["--server", f"unix:{data}"]
            right, wrong = (created(broker, name, admin) for name in ("polite", "stranger"))
            run(broker, "token", "revoke", "stranger", "--yes", *admin)
            watched(broker, right, wrong, flags.timed)
            broker.stop()


def run(broker, *arguments):
    return subprocess.run([broker.binary, *arguments], check=True, stdout=subprocess.PIPE).stdout


def created(broker, name, admin):
    made = json.loads(run(broker, "token", "create", name, "--expires", "1d", "--json", *admin))
    return made["text"]


def watched(broker, right, wrong, timed):
    """Both floods, with a caller beside them, in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    polite = multiprocessing.Process(target=call_politely, args=[theirs, broker.address, right], daemon=True)
    polite.start()
    time.sleep(IDLE_SECONDS)
    begin = time.monotonic()
    with_tokens, answers = cost(broker, lambda: asyncio.run(call_with(broker.address, wrong)))
    end = time.monotonic()
    check(answers == 0, f"{answers} calls with a token that was revoked were carried out")
    refused, told = cost(broker, lambda: connect_and_be_refused(broker.address))
    check(told == CALLS, f"{told} of {CALLS} connections were told why they are refused")
    ours.send("stop")
    calls = ours.recv()
    lost = [error for _, _, error in calls if error]
    check(not lost, f"the caller with a token lost {len(lost)} of {len(calls)} calls: {lost[:3]}")
    say(f"{CALLS:,} wrong tokens: {with_tokens:.2f} s of processor time; refused connections: {refused:.2f} s")
    check(with_tokens <= refused, "wrong tokens cost more than refused connections")
    idle = p99(took for at, took, _ in calls if at < begin)
    busy = p99(took for at, took, _ in calls if begin <= at < end)
    say(f"a caller with a token: p99 {idle * 1e3:.1f} ms before, {busy * 1e3:.1f} ms meanwhile")
    check(not timed or busy <= 2 * idle, "the caller with a token waits more than twice as long")


def cost(broker, work):
    """The processor time that the broker takes for some work, and what came of it."""
    before = broker.processor_seconds()
    done = work()
    return broker.processor_seconds() - before, done


async def connected(address):
    host, port = address.split(":")
    _, connection = await asyncio.get_running_loop().create_connection(http2.Connection, host, int(port))
    await connection.ready.wait()
    return connection


def headers(token):
    return http2.request_headers(LIST) + http2.literal(b"authorization", f"Bearer {token}".encode())


async def call_with(address, token):
    """Calls one behind the other; how many were answered with a message."""
    connection = await connected(address)
    succeeded = 0
    for _ in range(CALLS):
        succeeded += bool(await connection.call(headers(token), http2.message(b"")))
    return succeeded


def connect_and_be_refused(address):
    """Connections that speak another protocol; how many were told that."""
    host, port = address.split(":")
    told = 0
    for _ in range(CALLS):
        with socket.create_connection((host, int(port))) as other:
            other.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = other.recv(4_096)
            told += answer.startswith(b"HTTP/1.1 ")
            while answer:
                answer = other.recv(4_096)
    return told


def call_politely(pipe, address, token):
    pipe.send(asyncio.run(polite_calls(pipe, address, token)))


async def polite_calls(pipe, address, token):
    """Calls until it is told to stop: when each began, how long it took, and what was wrong."""
    connection = await connected(address)
    calls = []
    while not pipe.poll():
        begun = time.monotonic()
        succeeded = await connection.call(headers(token), http2.message(b""))
        took = time.monotonic() - begun
        calls.append((begun, took, None if succeeded else "it was refused"))
        await asyncio.sleep(max(0, PERIOD_SECONDS - took))
    return calls


def p99(times):
    times = sorted(times)
    return times[len(times) * 99 // 100]


if __name__ == "__main__":
    main()
