"""Consumer groups with real input: members that are started and killed from a shell share the flights, through a kill -9
of the broker; and members in Python, whose stubs are generated.

Usage: check_groups.py BINARY FLIGHTS.ndjson.gz STUBS, run by a Python that has grpcio.
"""

import collections
import concurrent.futures
import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

from broker import Broker, check, fail, say

PARTITIONS = 12
MEMBERS = 4
WAIT_SECONDS = 120
# A record that takes longer than the session of its member, which is the default of 10 s.
HANDLING_SECONDS = 60
EXAMPLE = pathlib.Path(__file__).resolve().parent.parent / "examples" / "python" / "member.py"


def main():
    binary, flights, stubs = sys.argv[1:]
    content = gzip.decompress(pathlib.Path(flights).read_bytes())
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor() as beside:
        # With a broker of its own, meanwhile: the other one is killed.
        slowly = beside.submit(slow, binary, stubs)
        with Broker(binary, pathlib.Path(scratch, "data")) as broker:
            share(broker, content, pathlib.Path(scratch))
            example(broker, stubs)
        slowly.result()


def share(broker, content, scratch):
    """What the members have written out up to where the group has committed is, put together, exactly the input."""
    broker.run("topic", "create", "flights", "--partitions", PARTITIONS)
    members = [start(broker, scratch, number) for number in range(MEMBERS)]
    producer = subprocess.Popen(
        broker.command("produce", "flights", "--key-field", "tail"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    half = content.index(b"\n", len(content) // 2) + 1
    producer.stdin.write(content[:half])
    producer.stdin.flush()
    wait_until(lambda: progress(broker) > 0, "the group did not begin")
    # The second half is on its way when one member is killed, one is told to stop, and the broker is killed.
    feeder = threading.Thread(target=feed, args=(producer, content[half:]), daemon=True)
    feeder.start()
    members[0].kill()
    members[1].terminate()
    broker.kill()
    broker.start()
    members += [start(broker, scratch, number) for number in range(MEMBERS, MEMBERS + 2)]
    feeder.join()
    check(producer.wait(timeout=WAIT_SECONDS) == 0, "produce did not come to the end")
    wait_until(lambda: lag(broker) == 0, "the group did not come to the end")
    for member in members[2:]:
        member.terminate()
    for member in members:
        member.wait(timeout=WAIT_SECONDS)
    compare(broker, content, scratch)


def feed(producer, content):
    producer.stdin.write(content)
    producer.stdin.close()


def start(broker, scratch, number):
    output = (scratch / f"member-{number}").open("wb")
    command = broker.command("consume", "flights", "--group", "billing", "--follow", "--json")
    return subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)


def compare(broker, content, scratch):
    seen, repeated = {}, 0
    for file in sorted(scratch.glob("member-*")):
        last = {}
        for line in whole_lines(file):
            record = json.loads(line)
            partition, offset = place = record["partition"], record["offset"]
            check(seen.get(place, record) == record, f"{place} is another record in {file.name}")
            repeated += place in seen
            seen[place] = record
            # A member that was given a partition anew may begin before where it was, and goes on in order from there.
            before = last.get(partition, -1)
            check(before < 0 or offset <= before + 1, f"{file.name}: {place} comes after {before}")
            last[partition] = offset
    committed = {row["partition"]: row["committed"] for row in described(broker)}
    handled = {place for place in seen if place[1] < committed[place[0]]}
    check(len(handled) == sum(committed.values()), "some of what was committed was never written out")
    ordered = [seen[place] for place in sorted(handled)]
    values = [record["value"].encode() for record in ordered]
    expected = content.splitlines()
    check(sorted(values) == sorted(expected), "what was committed is not the input")
    wanted, found = by_tail(expected), by_tail(values)
    moved = [tail for tail in wanted if tail is not None and wanted[tail] != found[tail]]
    check(not moved, f"the order of {len(moved)} aircraft changed, such as {moved[:3]}")
    say(f"{MEMBERS + 2} members, two of them ended, and the broker killed: {len(values)} records of {len(wanted)} aircraft in order")
    say(f"{repeated} of them were handled twice")


def by_tail(lines):
    """The lines of each aircraft, in order. Those without one have no order to keep."""
    tails = collections.defaultdict(list)
    for line in lines:
        tails[json.loads(line).get("tail")].append(line)
    return tails


def whole_lines(file):
    """The lines of a member; the last one may be cut by the kill."""
    lines = file.read_bytes().split(b"\n")
    return lines[:-1]


def described(broker, group="billing"):
    """An object a partition; none before the group is made, or has one."""
    listed = json.loads(broker.run("group", "list", "--json"))["groups"]
    if group not in [row["group"] for row in listed]:
        return []
    rows = [json.loads(line) for line in broker.run("group", "describe", group, "--json").splitlines()]
    return [row for row in rows if row["topic"]]


def progress(broker):
    return sum(row["committed"] or 0 for row in described(broker))


def lag(broker, group="billing"):
    rows = described(broker, group)
    return sum(row["lag"] for row in rows) if rows else None


def example(broker, stubs):
    """The example as the README shows it."""
    broker.run("topic", "create", "orders")
    subprocess.run(broker.command("produce", "orders"), input=b"one\ntwo\nthree\n", stdout=subprocess.DEVNULL, check=True)
    member = python(stubs, EXAMPLE, broker.address, "python", "orders")
    lines = [member.stdout.readline() for _ in range(3)]
    check(lines == [b"one\n", b"two\n", b"three\n"], f"the example wrote {lines}")
    wait_until(lambda: lag(broker, "python") == 0, "the example did not commit")
    member.kill()
    member.wait()
    say("the member in Python reads and commits")


def slow(binary, stubs):
    """A record that takes longer than the session costs no partition: heartbeats go on meanwhile."""
    text = EXAMPLE.read_text()
    text = text.replace("def handle(record):", f"def handle(record):\n    import time; time.sleep({HANDLING_SECONDS})")
    with tempfile.TemporaryDirectory() as scratch, Broker(binary, pathlib.Path(scratch, "data")) as broker:
        file = pathlib.Path(scratch, "member.py")
        file.write_text(text)
        broker.run("topic", "create", "slow")
        subprocess.run(broker.command("produce", "slow"), input=b"one\n", stdout=subprocess.DEVNULL, check=True)
        member = python(stubs, file, broker.address, "slow", "slow")
        wait_until(lambda: owner(broker, "slow"), "the slow member did not join")
        before, began = owner(broker, "slow"), time.monotonic()
        check(member.stdout.readline() == b"one\n", "the slow member did not handle the record")
        took = time.monotonic() - began
        check(took > HANDLING_SECONDS / 2, f"the slow member took {took:.0f} s only")
        wait_until(lambda: lag(broker, "slow") == 0, "the commit of the slow member was refused")
        check(owner(broker, "slow") == before, "the slow member has lost its partition")
        member.kill()
        member.wait()
    say(f"a record that takes {HANDLING_SECONDS} s is committed: its member has its partition still")


def owner(broker, group):
    return next((row["member"] for row in described(broker, group)), None)


def python(stubs, file, *arguments):
    environment = {**os.environ, "PYTHONPATH": stubs}
    command = [sys.executable, str(file), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)


def wait_until(holds, otherwise):
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            fail(otherwise)
        time.sleep(0.1)


main()
