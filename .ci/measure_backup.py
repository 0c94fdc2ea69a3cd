"""A backup beside `cp` and a sync of the same files, one of a broker that has not changed, and how long appends take while
one is taken.

Usage: measure_backup.py BINARY FOLDER [--megabytes N] [--turns N] [--requests N]. FOLDER is made, on the disk that is to be
measured, and removed; it takes twice the megabytes, and a little. For a machine that does nothing else.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import time

from broker import Broker, check, say

RECORD_BYTES = 1_000
# So many records are given to a command that appends them.
RECORDS = 100_000
# What the backup may cost, and how much longer appends may take meanwhile.
LEAST_RATE, MOST_TIMES, MOST_AGAIN = 0.6, 2, 0.01


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("binary")
    flags.add_argument("folder", type=pathlib.Path)
    flags.add_argument("--megabytes", type=int, default=10_000)
    flags.add_argument("--turns", type=int, default=3)
    flags.add_argument("--requests", type=int, default=5_000)
    given = flags.parse_args()
    given.folder.mkdir(parents=True)
    try:
        with Broker(given.binary, given.folder / "data", flags=["--http-listen", "off"]) as broker:
            broker.run("topic", "create", "t", "--partitions", "4")
            fill(broker, given.megabytes)
            rates = [beside_cp(broker, given.folder) for _ in range(given.turns)]
            times = [beside_appends(broker, given.folder, given.requests) for _ in range(given.turns)]
            broker.stop()
    finally:
        shutil.rmtree(given.folder)
    rate, longer = statistics.median(rates), statistics.median(times)
    say(f"medians: {rate:.0%} of the rate of cp and sync; p99 of appends meanwhile {longer:.2f} times that without")
    check(rate >= LEAST_RATE, f"a backup reaches less than {LEAST_RATE:.0%} of the rate of cp")
    check(longer <= MOST_TIMES, f"appends take more than {MOST_TIMES} times as long")


def fill(broker, megabytes):
    value = os.urandom(RECORD_BYTES // 2).hex().encode()
    lines = b"".join(b"%d\t%s\n" % (number, value) for number in range(RECORDS))
    for _ in range(max(1, megabytes * 1_000_000 // len(lines))):
        produced = subprocess.run(broker.command("produce", "t"), input=lines, stdout=subprocess.DEVNULL)
        check(produced.returncode == 0, "it cannot append")


def backup(broker, folder):
    return json.loads(broker.run("backup", folder, "--json"))


def beside_cp(broker, folder):
    """The rate of a backup by that of cp and a sync, both from the files of the broker. Neither is where it is the other's."""
    began = time.monotonic()
    taken = backup(broker, folder / "backup")
    backed_up = taken["bytes"] / (time.monotonic() - began)
    again = backup(broker, folder / "backup")
    share = again["received_bytes"] / again["bytes"]
    check(share < MOST_AGAIN, f"{share:.2%} of an unchanged broker were sent again")
    shutil.rmtree(folder / "backup")
    began = time.monotonic()
    subprocess.run(["cp", "-r", folder / "data" / "topics", folder / "copy"], check=True)
    os.sync()
    copied = size_of(folder / "copy") / (time.monotonic() - began)
    shutil.rmtree(folder / "copy")
    say(f"backup {backed_up / 1e6:.0f} MB/s, cp and sync {copied / 1e6:.0f} MB/s; {share:.3%} sent again")
    return backed_up / copied


def size_of(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def beside_appends(broker, folder, requests):
    """How many times longer the p99 of appends is while a backup is taken."""
    without = p99(broker, folder, requests, lambda: contextlib.nullcontext())
    meanwhile = p99(broker, folder, requests, lambda: being_taken(broker, folder / "backup"))
    say(f"p99 of appends {without:.2f} ms, {meanwhile:.2f} ms while a backup is taken")
    return meanwhile / without


@contextlib.contextmanager
def being_taken(broker, folder):
    taking = subprocess.Popen(broker.command("backup", folder), stdout=subprocess.DEVNULL)
    try:
        yield
        check(taking.poll() is None, "the backup ended before the appends: more --megabytes or fewer --requests")
    finally:
        taking.kill()
        taking.wait()
        shutil.rmtree(folder, ignore_errors=True)


def p99(broker, folder, requests, beside):
    """The p99 of appends in milliseconds, with something beside them that begins when they do."""
    command = broker.command("bench", "append", "--clients", 4, "--requests", requests, "--dir", folder, "--json")
    appending = subprocess.Popen(command, stdout=subprocess.PIPE)
    # It measures the machine first, and then makes a topic.
    while b"bench-" not in broker.run("topic", "list"):
        check(appending.poll() is None, "the appends ended before they were seen")
        time.sleep(0.01)
    with beside():
        measured, _ = appending.communicate()
    check(appending.returncode == 0, "it cannot append")
    return json.loads(measured)["median"]["p99_ms"]


if __name__ == "__main__":
    main()
