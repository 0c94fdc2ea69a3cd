"""A broker's life on each file system that can be had here, and with few file descriptors.

On each: start, create, append, kill -9, start, read back, append on, delete, stop, start, read back, look at the files.
Then on a disk that is filled, on one that is filled and freed again and again, on one that others fill to its last byte, and
with less file descriptors than partitions and connections. What needs root, a loop device or a program that is not there is named as SKIPPED.

Usage: check_filesystems.py BINARY [NAME...]; without names all of them.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, check, say

RECORDS = 20_000
# Small segments, so that most of what is read back is sealed.
SETTINGS = ["--set", "segment.bytes=64KiB"]
IMAGE_BYTES = 1 << 30
# The reserve of 256 MiB, as much that the journal takes at most, and some room.
SMALL_BYTES = 600 << 20
DESCRIPTORS = 256
PARTITIONS = 400
CONNECTIONS = 300
SECONDS = 30
CYCLES = 20
# One of so many cycles is ended by kill -9 while the disk fills, and one while it is full.
KILLED = 4
# The reserve, as much that the journal takes at most, what ext4 keeps, and some room.
CYCLES_BYTES = 700 << 20
# Half of it is in the reserve file, and others take the rest.
RESERVE = "64MiB"
BEFORE_OTHERS = 80_000
LINE = b"%012d " + b"x" * 2_000
IN_NAMESPACE = "--in-namespace"
HERE = "the temporary folder"
# Those in which no sync makes anything durable; the broker warns of it once a start.
NOTHING_IS_DURABLE = {"tmpfs", "ramfs", "volatile overlay"}
# Where something is mounted, in order.
MOUNTED = []


class Missing(Exception):
    """What a file system needs and this machine does not have."""


def main():
    binary, *names = sys.argv[1:]
    if IN_NAMESPACE in names:
        names.remove(IN_NAMESPACE)
    elif subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0:
        # Mounts in a namespace of this process go with it, however it ends.
        os.execvp("unshare", ["unshare", "--mount", sys.executable, *sys.argv, IN_NAMESPACE])
    names = names or [*FILE_SYSTEMS, "a full disk", "cycles", "others", "descriptors"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        for name, mount in FILE_SYSTEMS.items():
            if name in names:
                live_on(binary, name, mount, live, pathlib.Path(scratch, name.replace(" ", "-")))
        if "a full disk" in names:
            small = memory("tmpfs", f"size={SMALL_BYTES}")
            live_on(binary, "a full disk", small, live_on_a_full_disk, pathlib.Path(scratch, "full"))
        if "cycles" in names:
            small = image("ext4", "mkfs.ext4", "-q", bytes=CYCLES_BYTES)
            live_on(binary, "cycles", small, live_through_cycles, pathlib.Path(scratch, "cycles"))
        if "others" in names:
            small = image("ext4", "mkfs.ext4", "-q", bytes=SMALL_BYTES)
            live_on(binary, "others", small, live_where_others_leave_no_room, pathlib.Path(scratch, "others"))
        if "descriptors" in names:
            live_with_few_descriptors(binary, pathlib.Path(scratch, "descriptors"))


def live_on(binary, name, mount, life, folder):
    folder.mkdir()
    try:
        life(binary, name, mount(binary, folder))
    except Missing as missing:
        say(f"SKIPPED: {name}: {missing}")
    finally:
        # Also ends the process that serves a file system.
        for at in reversed(MOUNTED):
            subprocess.run(["umount", at], check=True)
        MOUNTED.clear()


def live(binary, name, at):
    before = lines(0, RECORDS)
    with Broker(binary, at / "data") as broker:
        for topic in ["kept", "deleted"]:
            broker.run("topic", "create", topic, "--partitions", 3, *SETTINGS)
            produce(broker, topic, before)
        broker.kill()
        broker.start()
        # Connections wait until it listens, and so do its last words about the start.
        broker.wait_for_log("listening on")
        check_warnings(name, broker.log())
        expect(broker, "kept", before, f"{name}, after kill -9")
        produce(broker, "kept", lines(RECORDS, RECORDS + 100))
        delete(broker, "deleted")
        broker.run("topic", "create", "deleted")
        if "old" in topics(broker):
            expect(broker, "old", before, f"{name}, from a layer below")
            delete(broker, "old")
        broker.stop()
        broker.start()
        expect(broker, "kept", before + lines(RECORDS, RECORDS + 100), f"{name}, after SIGTERM")
        expect(broker, "deleted", [], f"{name}, deleted and created anew")
        check("old" not in topics(broker), f"{name}: a deleted topic is back after a restart")
        broker.stop()
        inspected = subprocess.run([broker.binary, "inspect", broker.data_dir, "--verify"], stdout=subprocess.PIPE)
        check(inspected.returncode == 0, f"{name}: inspect ended with code {inspected.returncode}: {inspected.stdout}")
    say(name)


def live_with_few_descriptors(binary, at):
    """More partitions with data, and more connections, than there are descriptors."""
    limit = ["bash", "-c", f'ulimit -n {DESCRIPTORS}; exec "$@"', "bash"]
    when = f"with {DESCRIPTORS} descriptors"
    content = lines(0, RECORDS)
    with Broker(binary, at, limit) as broker:
        broker.run("topic", "create", "wide", "--partitions", PARTITIONS)
        produce(broker, "wide", content)
        broker.kill()
        broker.start()
        expect(broker, "wide", content, f"{when}, after kill -9")
        host, port = broker.address.split(":")
        idle = [socket.create_connection((host, int(port))) for _ in range(CONNECTIONS)]
        for connection in idle:
            connection.close()
        produce(broker, "wide", lines(RECORDS, RECORDS + 100))
        expect(broker, "wide", content + lines(RECORDS, RECORDS + 100), f"{when}, after {CONNECTIONS} connections")
        broker.stop()
        broker.start()
        expect(broker, "wide", content + lines(RECORDS, RECORDS + 100), f"{when}, after SIGTERM")
        broker.stop()
    say(f"{PARTITIONS} partitions and {CONNECTIONS} connections {when}")


def check_warnings(name, log):
    """After two starts. Where the temporary folder is nobody knows."""
    warned = sum("WARN" in line and "acknowledged means synced does not hold" in line for line in log)
    expected = 2 if name in NOTHING_IS_DURABLE else 0
    check(warned == expected or name == HERE, f"{name}: {warned} warnings that nothing is durable there, not {expected}")


def live_on_a_full_disk(binary, name, at):
    """What is stored stays; the broker stops, starts, reads and deletes; and takes appends again when there is room."""
    with Broker(binary, at / "data") as broker:
        broker.run("topic", "create", "filling", *SETTINGS)
        fill(broker)
        broker.stop()
        broker.start()
        stored = broker.run("consume", "filling", "--from", "earliest", "--format", "value").count(b"\n")
        check(stored > 0, f"{name}: nothing is stored")
        broker.kill()
        broker.start()
        again = broker.run("consume", "filling", "--from", "earliest", "--format", "value").count(b"\n")
        check(again == stored, f"{name}: {again} records after kill -9 and not {stored}")
        delete(broker, "filling")
        create_when_there_is_room(broker, "kept")
        produce(broker, "kept", lines(0, RECORDS))
        expect(broker, "kept", lines(0, RECORDS), name)
        broker.stop()
    say(name)


def live_through_cycles(binary, name, at):
    """A disk that is filled and freed again and again: nothing that was stored is lost, and no restart is needed.

    The line at offset n has the number n, so what is missing or there twice is found out.
    """
    with Broker(binary, at / "data") as broker:
        broker.run("topic", "create", "cycles", "--set", "segment.bytes=8MiB")
        for cycle in range(CYCLES):
            first = bounds(broker)[1]
            stored = fill_from(broker, first, kill=cycle % KILLED == 1)
            if cycle % KILLED == 3:
                broker.kill()
                broker.start()
            start, end = bounds(broker)
            check(end >= stored, f"{name}, {cycle}: {stored} lines were stored, and the log ends at {end}")
            expect_numbers(broker, start, end, f"{name}, {cycle}, full")
            # All but the last lines go. Nothing is started again for it.
            broker.run("topic", "trim", "cycles", "--partition", 0, "--before", end - 10)
            append_when_there_is_room(broker, end)
            expect_numbers(broker, end - 10, end + 10, f"{name}, {cycle}, freed")
        broker.stop()
    say(f"{name}: {CYCLES} times full and free again, {CYCLES // KILLED * 2} times with kill -9; {end + 10} lines")


def live_where_others_leave_no_room(binary, name, at):
    """Somebody else takes the last byte. Groups go on, it stops and starts, and a trim makes room for appends."""
    with Broker(binary, at / "data", ["env", f"TAFFRAIL_DISK_RESERVE_BYTES={RESERVE}"]) as broker:
        broker.run("topic", "create", "cycles", "--set", "segment.bytes=8MiB")
        text = b"".join(LINE % number + b"\n" for number in range(BEFORE_OTHERS))
        subprocess.run(broker.command("produce", "cycles"), input=text, check=True, stdout=subprocess.DEVNULL)
        reserve = at / "data" / "reserve"
        check(reserve.exists() and reserve.stat().st_blocks * 512 >= 32 << 20, f"{name}: the reserve file has no room")
        # What is in memory alone takes room as well, up to more than the reserve file has.
        wait_until_written(broker)
        take_the_rest(at / "others")
        start, end = bounds(broker)
        check((start, end) == (0, BEFORE_OTHERS), f"{name}: the log is from {start} to {end}")
        for offset in [1000, 2000]:
            broker.run("group", "reset", "readers", "--topic", "cycles", "--to", offset)
            broker.stop()
            broker.start()
        group = json.loads(broker.run("group", "describe", "readers", "--json"))
        check(group["committed"] == 2000, f"{name}: {group}")
        status = broker.run("status").decode()
        check("appends are refused until" in status, f"{name}: {status}")
        broker.run("topic", "trim", "cycles", "--partition", 0, "--before", end - 10)
        append_when_there_is_room(broker, end)
        expect_numbers(broker, end - 10, end + 10, name)
        broker.stop()
    say(f"{name}: filled to the last byte; {end + 10} lines")


def wait_until_written(broker):
    deadline = time.monotonic() + SECONDS
    while True:
        memory = json.loads(broker.run("status", "--json"))["memory"]
        if next(part["used_bytes"] for part in memory if part["name"] == "appends") == 0:
            return
        check(time.monotonic() < deadline, f"not all is written after {SECONDS} s: {memory}")
        time.sleep(0.2)


def take_the_rest(path):
    with path.open("wb", buffering=0) as file:
        for size in [1 << 20, 4096, 1]:
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))


def bounds(broker):
    described = json.loads(broker.run("topic", "describe", "cycles", "--json"))["partition_list"][0]
    return described["earliest"], described["high_watermark"]


def fill_from(broker, first, kill):
    """Produces lines with numbers from the first on until the disk is full; how many lines of the log are stored for sure."""
    producer = subprocess.Popen(broker.command("produce", "cycles"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    feeder = threading.Thread(target=feed_numbers, args=[producer.stdin, first], daemon=True)
    feeder.start()
    if kill:
        # While it fills, or when it is full: whichever comes first.
        time.sleep(0.5)
        broker.kill()
        broker.start()
    # How long it takes is the machine's affair, as long as more and more is stored.
    stored, deadline = first, time.monotonic() + SECONDS
    while True:
        ended = producer.poll()
        if json.loads(broker.run("status", "--json"))["disk_is_full"]:
            break
        check(ended is None, f"produce ended with code {ended} before the disk was full")
        end = bounds(broker)[1]
        if end > stored:
            stored, deadline = end, time.monotonic() + SECONDS
        check(time.monotonic() < deadline, f"nothing is stored for {SECONDS} s, and the disk is not full")
        time.sleep(0.1)
    # It says how many lines are stored when it is told to end; told twice, it does not wait for the others.
    producer.terminate()
    time.sleep(0.2)
    producer.terminate()
    said = producer.stderr.read()
    producer.wait()
    feeder.join()
    found = re.search(rb"lines 1 to (\d+) are stored", said)
    return first + int(found[1]) if found else first


def feed_numbers(stdin, first):
    with contextlib.suppress(OSError, ValueError):
        for number in range(first, first + CYCLES_BYTES // len(LINE)):
            stdin.write(LINE % number + b"\n")
    with contextlib.suppress(OSError, ValueError):
        stdin.close()


def append_when_there_is_room(broker, first):
    """Ten lines, when what was trimmed has given its room back; in the background, and without a restart."""
    text = b"".join(LINE % number + b"\n" for number in range(first, first + 10))
    deadline = time.monotonic() + SECONDS
    while True:
        result = subprocess.run(broker.command("produce", "cycles"), input=text, capture_output=True, timeout=SECONDS)
        if result.returncode == 0:
            return
        check(time.monotonic() < deadline, f"appends do not go on by themselves: {result.stderr.decode()}")
        time.sleep(0.1)


def expect_numbers(broker, start, end, when):
    consumer = subprocess.Popen(broker.command("consume", "cycles", "--from", "earliest", "--format", "value"), stdout=subprocess.PIPE)
    number = start
    for line in consumer.stdout:
        check(line == LINE % number + b"\n", f"{when}: offset {number} has {line[:20]}")
        number += 1
    check(consumer.wait() == 0 and number == end, f"{when}: the log ends at {number} and not at {end}")


def create_when_there_is_room(broker, topic):
    """What was deleted gives its room back in the background."""
    deadline = time.monotonic() + SECONDS
    while subprocess.run(broker.command("topic", "create", topic), capture_output=True).returncode:
        check(time.monotonic() < deadline, f"{topic} cannot be created {SECONDS} s after the deletion")
        time.sleep(0.1)


def fill(broker):
    """Produces until the broker says that the disk is full."""
    producer = subprocess.Popen(broker.command("produce", "filling"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    feeder = threading.Thread(target=feed, args=[producer.stdin], daemon=True)
    feeder.start()
    broker.wait_for_log("disk is full")
    producer.kill()
    producer.wait()
    feeder.join()


def feed(stdin):
    block = (b"x" * 999 + b"\n") * 1000
    with contextlib.suppress(OSError):
        for _ in range(SMALL_BYTES // len(block)):
            stdin.write(block)
    with contextlib.suppress(OSError):
        stdin.close()


def lines(first, end):
    return [f'{{"key":"key-{number % 1000}","number":{number},"padding":"{"x" * 60}"}}' for number in range(first, end)]


def produce(broker, topic, content):
    text = "".join(f"{line}\n" for line in content)
    command = broker.command("produce", topic, "--key-field", "key")
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def expect(broker, topic, content, when):
    """All lines are there once, those of each key in order."""
    found = broker.run("consume", topic, "--from", "earliest", "--format", "value").decode().splitlines()
    check(len(found) == len(content), f"{when}: {topic} has {len(found)} records and not {len(content)}")
    by_key = {}
    for line in content:
        by_key.setdefault(line.split(",")[0], []).append(line)
    for line in found:
        expected = by_key[line.split(",")[0]].pop(0)
        check(line == expected, f"{when}: {topic} has {line} instead of {expected}")


def delete(broker, topic):
    broker.run("topic", "delete", topic, "--yes")


def topics(broker):
    return broker.run("topic", "list").decode()


def mounted(kind, options, source, at):
    return run_mount(["mount", "-t", kind, *(["-o", options] if options else []), source, at], at)


def run_mount(command, at):
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise Missing(f"it cannot be mounted: {result.stderr.strip()}")
    MOUNTED.append(at)
    return at


def memory(kind, options):
    def mount(_, folder):
        return mounted(kind, options, kind, folder)

    return mount


def image(kind, *make, bytes=IMAGE_BYTES):
    def mount(_, folder):
        if not shutil.which(make[0]):
            raise Missing(f"there is no {make[0]}")
        file, at = folder / "image", folder / "at"
        at.mkdir()
        with file.open("wb") as opened:
            opened.truncate(bytes)
        subprocess.run([*make, file], check=True, capture_output=True)
        return mounted(kind, "loop", file, at)

    return mount


def overlay(options):
    def mount(binary, folder):
        return overlay_with(options, binary, folder)

    return mount


def overlay_with(options, binary, folder):
    """A layer below with a topic in it, as an image of a container may have one."""
    # A layer cannot lie on an overlay file system itself, which is what a container's root often is.
    mounted("tmpfs", f"size={IMAGE_BYTES}", "tmpfs", folder)
    lower, upper, work, at = (folder / name for name in ["lower", "upper", "work", "at"])
    for each in [lower, upper, work, at]:
        each.mkdir()
    with Broker(binary, lower / "data") as broker:
        broker.run("topic", "create", "old", "--partitions", 3, *SETTINGS)
        produce(broker, "old", lines(0, RECORDS))
        broker.stop()
    layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
    return mounted("overlay", f"{layers},redirect_dir=off{options}", "overlay", at)


def mergerfs(_, folder):
    """FUSE, without shared maps, and with direct writes that are refused beyond 4 KiB in some versions."""
    if not shutil.which("mergerfs"):
        raise Missing("there is no mergerfs")
    branch, at = folder / "branch", folder / "at"
    branch.mkdir()
    at.mkdir()
    return run_mount(["mergerfs", "-o", "cache.files=off", branch, at], at)


def here(_, folder):
    return folder


FILE_SYSTEMS = {
    HERE: here,
    "tmpfs": memory("tmpfs", f"size={IMAGE_BYTES}"),
    "ramfs": memory("ramfs", ""),
    "overlay": overlay(""),
    "volatile overlay": overlay(",volatile"),
    "ext4": image("ext4", "mkfs.ext4", "-q"),
    "xfs": image("xfs", "mkfs.xfs", "-q"),
    "btrfs": image("btrfs", "mkfs.btrfs", "-q"),
    "mergerfs": mergerfs,
}

main()
