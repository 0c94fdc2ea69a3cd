"""Real events, in and out again byte for byte: over restarts, and with the broker killed while they are produced.

Usage: check_flights.py BINARY FLIGHTS.ndjson.gz
"""

import collections
import gzip
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, check, fail, say

LINES = 53_402
SHA_256 = "e0e471e9af3f642cd471388dc38453b3175153e028884a784e7c4ade23f57bcb"
FIELDS = ["--key-field", "tail", "--type-field", "type", "--time-field", "time"]


def main():
    binary, flights = sys.argv[1:]
    content = gzip.decompress(pathlib.Path(flights).read_bytes())
    check(digest(content) == SHA_256, f"{flights} is not the file that this check knows")

    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch, "flights.ndjson")
        file.write_bytes(content)
        with Broker(binary, pathlib.Path(scratch, "data")) as broker:
            produce_whole(broker, file)
            wait_until_compressed(broker, "compressed-1")
            for topic, partitions in [("killed-1", 1), ("killed-6", 6)]:
                produce_while_killed(broker, topic, partitions, content)
            consume_all(broker, content, "as produced")
            broker.kill()
            broker.start()
            consume_all(broker, content, "after kill -9 and a restart")
            broker.stop()
            inspect(broker)
            broker.start()
            consume_all(broker, content, "after SIGTERM and a restart")


def produce_whole(broker, file):
    settings = ["--set", "compression=zstd", "--set", "segment.bytes=1MiB"]
    for topic, partitions, settings in [("whole-1", 1, []), ("whole-6", 6, []), ("compressed-1", 1, settings)]:
        broker.run("topic", "create", topic, "--partitions", partitions, *settings)
        started = time.monotonic()
        broker.run("produce", topic, "--file", file, *FIELDS)
        say(f"{topic}: produced in {time.monotonic() - started:.1f} s")


def produce_while_killed(broker, topic, partitions, content):
    """Kills the broker when some of the lines are stored and more are under way."""
    broker.run("topic", "create", topic, "--partitions", partitions)
    command = broker.command("produce", topic, *FIELDS)
    producer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    half = content.index(b"\n", len(content) // 2) + 1
    rest = threading.Event()

    def feed():
        producer.stdin.write(content[:half])
        producer.stdin.flush()
        rest.wait()
        producer.stdin.write(content[half:])
        producer.stdin.close()

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    stored = wait_until_stored(broker, topic, producer)
    # The second half is on its way when the broker dies.
    rest.set()
    broker.kill()
    broker.start()
    feeder.join()
    code = producer.wait(timeout=120)
    check(code == 0, f"{topic}: produce ended with code {code} instead of trying again")
    check(0 < stored < LINES, f"{topic}: {stored} records were stored at the kill: nothing was interrupted")
    say(f"{topic}: killed with {stored} records stored, and produced to the end")


def wait_until_stored(broker, topic, producer):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        described = json.loads(broker.run("topic", "describe", topic, "--json"))
        stored = sum(partition["high_watermark"] for partition in described["partition_list"])
        if stored:
            return stored
        check(producer.poll() is None, f"{topic}: produce ended with code {producer.poll()} before anything was stored")
    fail(f"{topic}: nothing was stored within a minute")


def wait_until_compressed(broker, topic):
    """Until all but the active segment is, which is a tenth of the topic."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        described = json.loads(broker.run("topic", "describe", topic, "--json"))
        [partition] = described["partition_list"]
        if partition["bytes"] * 3 < partition["uncompressed_bytes"]:
            return say(f"{topic}: {partition['bytes']} of {partition['uncompressed_bytes']} bytes are left")
        time.sleep(0.2)
    fail(f"{topic} is not compressed within a minute: {partition}")


def consume_all(broker, content, when):
    for topic in ["whole-1", "killed-1", "compressed-1"]:
        consumed = consume(broker, topic)
        check(digest(consumed) == SHA_256, f"{topic}, {when}: {difference(content, consumed)}")
    for topic in ["whole-6", "killed-6"]:
        consumed = consume(broker, topic)
        check(sorted(lines(consumed)) == sorted(lines(content)), f"{topic}, {when}: {difference(content, consumed)}")
        expected, found = by_tail(content), by_tail(consumed)
        moved = [tail for tail in expected if tail is not None and expected[tail] != found[tail]]
        check(not moved, f"{topic}, {when}: the order of {len(moved)} aircraft changed, such as {moved[:3]}")
    say(f"{when}: 5 topics of {LINES} lines are identical, {len(by_tail(content))} aircraft in order")


def consume(broker, topic):
    return broker.run("consume", topic, "--from", "earliest", "--format", "value")


def inspect(broker):
    result = subprocess.run([broker.binary, "inspect", broker.data_dir, "--verify"], stdout=subprocess.DEVNULL)
    check(result.returncode == 0, f"inspect --verify ended with code {result.returncode}")
    say("inspect --verify finds nothing wrong")


def digest(content):
    return hashlib.sha256(content).hexdigest()


def lines(content):
    return content.split(b"\n")


def by_tail(content):
    """The lines of each aircraft, in order. Those without one have no order to keep."""
    tails = collections.defaultdict(list)
    for line in content.splitlines():
        tails[json.loads(line).get("tail")].append(line)
    return tails


def difference(expected, found):
    expected, found = collections.Counter(lines(expected)), collections.Counter(lines(found))
    missing, extra = sum((expected - found).values()), sum((found - expected).values())
    return f"{missing} lines are missing, {extra} are too many, {'' if missing or extra else 'the order differs'}"


main()
