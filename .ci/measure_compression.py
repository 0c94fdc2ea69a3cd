"""What compression=zstd costs, and saves: real events are appended, compressed and read beside the same without compression,
in turns.

Usage: measure_compression.py BINARY FLIGHTS.ndjson.gz FOLDER [--megabytes N] [--turns N]. FOLDER is made, and removed. For a
machine that does nothing else.
"""

import argparse
import gzip
import hashlib
import json
import pathlib
import shutil
import statistics
import subprocess
import time

from broker import Broker, check, say

SETTINGS = {"none": [], "zstd": ["--set", "compression=zstd"]}
# These do not work for an append that waits: they write segments, and compress them.
BEHIND_APPENDS = ["housekeeping", "indexing", "freeing", "deadlines"]
# What compression may leave of the bytes, what appends may cost more, and how fast a full read is at least.
MOST_LEFT, MOST_COST, LEAST_RATE = 0.25, 0.03, 0.6
READS = 3
# A broker that takes less of a processor in this time is idle.
LOOK_SECONDS, IDLE = 2, 0.02
MOST_SECONDS = 120
CHUNK = 1 << 20


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("binary")
    flags.add_argument("flights", type=pathlib.Path)
    flags.add_argument("folder", type=pathlib.Path)
    flags.add_argument("--megabytes", type=int, default=1_000)
    flags.add_argument("--turns", type=int, default=3)
    given = flags.parse_args()
    given.folder.mkdir(parents=True)
    file = given.folder / "flights.ndjson"
    file.write_bytes(gzip.decompress(given.flights.read_bytes()))
    times = max(1, given.megabytes * 1_000_000 // file.stat().st_size)
    found = {name: [] for name in SETTINGS}
    try:
        with Broker(given.binary, given.folder / "data", flags=["--http-listen", "off"]) as broker:
            for turn in range(given.turns):
                for name in found:
                    fill(broker, name, file, times, found[name])
                compare(broker)
                for _ in range(READS):
                    for name in found:
                        found[name][-1].setdefault("read", []).append(read(broker, name, found[name][-1]["bytes"]))
                for name in found:
                    broker.run("topic", "delete", name, "--yes")
    finally:
        shutil.rmtree(given.folder)
    show(found)


def fill(broker, name, file, times, found):
    """Appends, and waits until all but the active segment is compressed."""
    broker.run("topic", "create", name, "--set", "segment.bytes=32MiB", *SETTINGS[name])
    settle(broker)
    whole, path = broker.processor_seconds(), broker.processor_seconds(BEHIND_APPENDS)
    files = [word for _ in range(times) for word in ["--file", file]]
    broker.run("produce", name, *files, "--key-field", "tail", "--type-field", "type", "--time-field", "time")
    path = broker.processor_seconds(BEHIND_APPENDS) - path
    settle(broker)
    whole = broker.processor_seconds() - whole
    [partition] = json.loads(broker.run("topic", "describe", name, "--json"))["partition_list"]
    size = partition["uncompressed_bytes"]
    gigabytes = size / 1_000_000_000
    found.append({"bytes": size, "left": partition["bytes"] / size, "path": path / gigabytes, "whole": whole / gigabytes})


def settle(broker):
    """Waits until it does nothing in the background any more."""
    deadline = time.monotonic() + MOST_SECONDS
    spent = broker.processor_seconds()
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        before, spent = spent, broker.processor_seconds()
        if spent - before < IDLE * LOOK_SECONDS:
            return
    check(False, f"the broker is not idle after {MOST_SECONDS} s")


def consumer(broker, name, output):
    return subprocess.Popen(broker.command("consume", name, "--format", "value"), stdout=output)


def compare(broker):
    """Whether readers get the same bytes of both."""
    digests = set()
    for name in SETTINGS:
        with consumer(broker, name, subprocess.PIPE) as reader:
            digest = hashlib.sha256()
            while chunk := reader.stdout.read(CHUNK):
                digest.update(chunk)
        check(reader.returncode == 0, f"{name} cannot be read")
        digests.add(digest.hexdigest())
    check(len(digests) == 1, "the records are not the same with compression")


def read(broker, name, size):
    """A full read: bytes of records a second, and what the broker's processors take for a GB."""
    began, spent = time.monotonic(), broker.processor_seconds()
    check(consumer(broker, name, subprocess.DEVNULL).wait() == 0, f"{name} cannot be read")
    took = time.monotonic() - began
    return size / took / 1e6, (broker.processor_seconds() - spent) * 1e9 / size


def show(found):
    medians = {}
    for name, turns in found.items():
        one = {what: statistics.median(turn[what] for turn in turns) for what in ["left", "path", "whole"]}
        one["rate"], one["reading"] = map(statistics.median, zip(*(read for turn in turns for read in turn["read"])))
        medians[name] = one
        say(f"{name}: {one['left']:.1%} of the bytes are left; processors a GB: {one['path']:.3f} s of the path of appends, "
            f"{one['whole']:.3f} s with all that follows; a full read: {one['rate']:,.0f} MB/s, {one['reading']:.3f} s a GB")
    plain, packed = medians["none"], medians["zstd"]
    cost, rate = packed["path"] / plain["path"] - 1, packed["rate"] / plain["rate"]
    say(f"with compression appends cost {cost:+.1%}, and a full read has {rate:.0%} of the rate")
    for turn in range(len(found["none"])):
        say(f"turn {turn + 1}: appends {found['none'][turn]['path']:.3f} and {found['zstd'][turn]['path']:.3f} s a GB")
    check(packed["left"] <= MOST_LEFT, f"more than {MOST_LEFT:.0%} of the bytes are left")
    check(cost <= MOST_COST, f"appends cost more than {MOST_COST:.0%} more")
    check(rate >= LEAST_RATE, f"a full read has less than {LEAST_RATE:.0%} of the rate")


main()
