"""How long a group stands still, with the defaults, over the binary: where a member is killed, where the broker is
restarted cleanly, and where one of its members is busy while another one joins.

Usage: check_group_pauses.py BINARY
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, check, fail, say

PARTITIONS = 6
# How often a record is appended to each partition.
APPENDED_SECONDS = 0.05
KILLED_SECONDS = 12
RESTART_SECONDS = 2
# What a machine does besides.
UNTOUCHED_SECONDS = 1
WAIT_SECONDS = 60


class Seen:
    """When each partition's records came first, whichever member wrote them out."""

    def __init__(self):
        self.lock = threading.Lock()
        self.offsets = collections.defaultdict(set)
        self.times = collections.defaultdict(list)

    def note(self, partition, offset):
        with self.lock:
            if offset not in self.offsets[partition]:
                self.offsets[partition].add(offset)
                self.times[partition].append(time.monotonic())

    def longest(self, partition, begin):
        """The longest time without a record of this partition since then, up to now."""
        with self.lock:
            times = [at for at in self.times[partition] if at > begin]
        times = [begin, *times, time.monotonic()]
        return max(later - earlier for earlier, later in zip(times, times[1:]))


def main():
    with tempfile.TemporaryDirectory() as scratch, Broker(sys.argv[1], pathlib.Path(scratch, "data")) as broker:
        broker.run("topic", "create", "t", "--partitions", PARTITIONS)
        seen, stop = Seen(), threading.Event()
        feeders = [threading.Thread(target=feed, args=(broker, partition, stop)) for partition in range(PARTITIONS)]
        for feeder in feeders:
            feeder.start()
        members = [member(broker, seen, f"m{number}") for number in range(2)]
        try:
            wait_until(lambda: shares(broker) == [3, 3], "two members do not share the partitions")
            killed(seen, members)
            restarted(broker, seen)
            members.append(busy(broker, seen))
        finally:
            stop.set()
            for process in members:
                process.kill()
                process.wait()
            for feeder in feeders:
                feeder.join()


def killed(seen, members):
    begin = time.monotonic()
    members.pop(0).kill()
    time.sleep(KILLED_SECONDS + 2)
    longest = longest_of_all(seen, begin)
    check(longest <= KILLED_SECONDS, f"the partitions of a killed member stand still for {longest:.1f} s")
    say(f"kill -9 of one of two members: its partitions are read again after {longest:.1f} s")


def restarted(broker, seen):
    begin = time.monotonic()
    broker.stop()
    broker.start()
    away = time.monotonic() - begin
    time.sleep(RESTART_SECONDS + away + 2)
    longest = longest_of_all(seen, begin)
    check(longest - away <= RESTART_SECONDS, f"the group stands still for {longest:.1f} s, of a restart of {away:.1f} s")
    say(f"a clean restart of the broker, {away:.1f} s: no records for {longest:.1f} s at the most")


def busy(broker, seen):
    """One member takes no more than fits in its pipe, and keeps what it has until its time to hand over is up."""
    stuck = subprocess.Popen(consume(broker, "busy"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_until(lambda: shares(broker) == [3, 3], "the busy member does not have its share")
    # By then its pipe is full.
    time.sleep(8)
    stays = [row["partition"] for row in described(broker) if row["member"] == "m1"]
    begin = time.monotonic()
    newcomer = member(broker, seen, "m2")
    time.sleep(5)
    still = [row["partition"] for row in described(broker) if row["member"] == "m1" and row["partition"] in stays]
    longest = max(seen.longest(partition, begin) for partition in still)
    check(longest <= UNTOUCHED_SECONDS, f"a busy member and a newcomer stop the others for {longest:.1f} s")
    say(f"one member is busy and another one joins: {len(still)} partitions that stay stand still for {longest:.2f} s")
    stuck.kill()
    stuck.wait()
    return newcomer


def longest_of_all(seen, begin):
    return max(seen.longest(partition, begin) for partition in range(PARTITIONS))


def feed(broker, partition, stop):
    command = broker.command("produce", "t", "--partition", partition)
    producer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not stop.is_set():
        producer.stdin.write(b"x" * 100 + b"\n")
        producer.stdin.flush()
        stop.wait(APPENDED_SECONDS)
    producer.stdin.close()
    producer.wait(timeout=WAIT_SECONDS)


def consume(broker, name):
    return broker.command("consume", "t", "--group", "g", "--member", name, "--follow", "--json")


def member(broker, seen, name):
    process = subprocess.Popen(consume(broker, name), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    threading.Thread(target=take, args=(process, seen), daemon=True).start()
    return process


def take(process, seen):
    for line in process.stdout:
        if line.endswith(b"\n"):
            record = json.loads(line)
            seen.note(record["partition"], record["offset"])


def described(broker):
    """An object a partition; none before the group is made."""
    listed = json.loads(broker.run("group", "list", "--json"))["groups"]
    if "g" not in [row["group"] for row in listed]:
        return []
    rows = [json.loads(line) for line in broker.run("group", "describe", "g", "--json").splitlines()]
    return [row for row in rows if row["topic"]]


def shares(broker):
    return sorted(collections.Counter(row["member"] for row in described(broker) if row["member"]).values())


def wait_until(holds, otherwise):
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            fail(otherwise)
        time.sleep(0.1)


main()
