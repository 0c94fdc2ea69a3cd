"""Full passes over a topic of real events that is compacted, compressed and expired meanwhile: each reader gets every record
that the policies keep, in order and byte for byte, also those who are slower than all of that.

Usage: check_kept.py BINARY FLIGHTS.ndjson.gz
"""

import gzip
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, check, fail, say

# So often the flights are appended, one behind the other.
ROUNDS = 2
KEEP = 20
SETTINGS = {"cleanup.policy": "compact", "compaction.keep": KEEP, "compression": "zstd", "segment.bytes": "256KiB"}
CHUNK = 1 << 15
# Between two chunks, of each reader.
PAUSES = [0.002, 0.01, 0.02]
# Between two passes.
REST = 0.5
# A pass is compared with so many that began when it had ended.
LATER = 3
SECONDS = 30


def main():
    binary, flights = sys.argv[1:]
    # Records of a compacted topic have keys.
    content = [line for line in gzip.decompress(pathlib.Path(flights).read_bytes()).splitlines() if json.loads(line).get("tail")]
    lines = content * ROUNDS
    with tempfile.TemporaryDirectory() as scratch, Broker(binary, pathlib.Path(scratch, "data")) as broker:
        file = pathlib.Path(scratch, "flights.ndjson")
        file.write_bytes(b"".join(line + b"\n" for line in content))
        settings = [word for name, value in SETTINGS.items() for word in ["--set", f"{name}={value}"]]
        broker.run("topic", "create", "kept", *settings)
        produce(broker, file)
        readers = [Reader(broker, lines, pause) for pause in PAUSES]
        moments = [step(readers) for step in steps(broker, file)]
        passes = [one for reader in readers for one in reader.end()]
        left = settled(broker, lines)
    for one in passes:
        one.check(left, passes)
    for moment in moments:
        check_was_read_over(passes, moment)
    say(f"{len(passes)} passes of {len(readers)} readers; {len(left)} of {len(lines)} records are kept")


def steps(broker, file):
    """What is done to the topic under its readers, as functions that say when it was done, and how."""

    def compact(readers):
        wait_for_slow(readers, 1 / 4)
        broker.run("topic", "compact", "kept", "--wait")
        return time.monotonic(), "compacted"

    def append_and_compact(readers):
        produce(broker, file)
        return compact(readers)

    def expire(readers):
        # It is past what expires, and not at the end.
        wait_for_slow(readers, 3 / 4)
        before = describe(broker)
        limit = max(before["bytes"] // 2, 1 << 20)
        broker.run("topic", "alter", "kept", "--set", "cleanup.policy=compact,delete", "--set", f"retention.bytes={limit}")
        wait_until(broker, "expired", lambda partition: partition["earliest"] > before["earliest"])
        return time.monotonic(), "expired"

    return [compact] + [append_and_compact] * (ROUNDS - 1) + [expire]


class Pass:
    """One read from the earliest record to the end of then."""

    def __init__(self, broker, lines, pause):
        self.least = describe(broker)["high_watermark"]
        self.began = time.monotonic()
        self.offsets = []
        # Where what it has read is known to end: records behind may have been missing in it.
        self.through = 0
        command = broker.command("consume", "kept", "--from", "earliest", "--format", "%o %s\\n")
        self.consumer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.pause, self.lines = pause, lines

    def run(self):
        rest = b""
        while chunk := self.consumer.stdout.read(CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                self.take(line)
            time.sleep(self.pause)
        check(not rest, f"a pass ends within a line: {rest}")
        said = self.consumer.stderr.read().decode()
        self.ended = time.monotonic()
        self.is_whole = self.consumer.wait() == 0
        if self.is_whole:
            self.through = max(self.through, self.least)
        else:
            check("OFFSET_OUT_OF_RANGE" in said or "earliest" in said, f"a pass ended with: {said}")

    def take(self, line):
        offset, value = line.split(b" ", 1)
        offset = int(offset)
        check(offset >= self.through, f"offset {offset} comes behind {self.through - 1}")
        check(value == self.lines[offset], f"offset {offset} has {value} and not {self.lines[offset]}")
        self.offsets.append(offset)
        self.through = offset + 1

    def check(self, left, passes):
        """What is there later was there before."""
        own = set(self.offsets)
        later = sorted((one for one in passes if one.began > self.ended), key=lambda one: one.began)[:LATER]
        for kept in [one.offsets for one in later] + [left]:
            missing = [offset for offset in kept if offset < self.through and offset not in own]
            check(not missing, f"a pass up to {self.through} is without {len(missing)} records, such as {min(missing, default=0)}")


class Reader:
    """Makes one pass after the other."""

    def __init__(self, broker, lines, pause):
        self.broker, self.lines, self.pause = broker, lines, pause
        self.passes = []
        self.failure = None
        self.is_over = False
        self.thread = threading.Thread(target=self.go_on, daemon=True)
        self.thread.start()

    def go_on(self):
        try:
            while not self.is_over:
                self.passes.append(Pass(self.broker, self.lines, self.pause))
                self.passes[-1].run()
                time.sleep(REST)
        except SystemExit as failure:
            self.failure = failure

    def end(self):
        self.is_over = True
        self.thread.join()
        if self.failure:
            raise self.failure
        return self.passes


def wait_for_slow(readers, part):
    """Until the slowest reader has got so far in a pass."""
    reader = readers[-1]
    wanted = len(reader.passes) + 1
    deadline = time.monotonic() + SECONDS
    while len(reader.passes) < wanted or reader.passes[-1].through < reader.passes[-1].least * part:
        check(time.monotonic() < deadline, "the slowest reader does not go on")
        time.sleep(0.01)


def check_was_read_over(passes, moment):
    when, what = moment
    over = [one for one in passes if one.is_whole and one.began < when < one.ended]
    check(over, f"no pass was under way when the topic was {what}")


def settled(broker, lines):
    """The offsets that are left at last, which are just those that the policies keep."""
    broker.run("topic", "compact", "kept", "--wait")
    partition = wait_until(broker, "compressed", lambda found: found["bytes"] * 3 < found["uncompressed_bytes"])
    last = Pass(broker, lines, 0)
    last.run()
    check(last.is_whole, "the last pass was ended")
    keys, newest = {}, set()
    for offset in range(len(lines) - 1, -1, -1):
        key = json.loads(lines[offset])["tail"]
        keys[key] = keys.get(key, 0) + 1
        if keys[key] <= KEEP and offset >= partition["earliest"]:
            newest.add(offset)
    found = set(last.offsets)
    check(found == newest, f"{len(newest - found)} records are missing that are kept, {len(found - newest)} are there that go")
    return found


def produce(broker, file):
    broker.run("produce", "kept", "--file", file, "--key-field", "tail", "--type-field", "type", "--time-field", "time")


def describe(broker):
    return json.loads(broker.run("topic", "describe", "kept", "--json"))["partition_list"][0]


def wait_until(broker, what, holds):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        partition = describe(broker)
        if holds(partition):
            return partition
        time.sleep(0.1)
    fail(f"the topic is not {what} within {SECONDS} s: {partition}")


main()
