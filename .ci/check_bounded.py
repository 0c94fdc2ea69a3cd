"""The broker under every load that clients can put on it, with a limit on its memory and a polite client beside it.

Each load is valid, or merely slow. The broker may use its budget and 256 MiB (`ulimit -d`). It does not die; the polite
client loses no call, and its slowest calls stay near what they are while the same load goes to a sink that discards;
memory is given back; and the log does not repeat itself.

Usage: check_bounded.py [--before] BINARY DIR [NAME...]; without names all of them. DIR is as .ci/stubs has filled it.
`--before` is for a binary whose setting `memory.bytes` is not the whole budget.
Usage: check_bounded.py --compare BEFORE AFTER DIR: how much memory two binaries take for the same loads, in turns.
"""

import collections
import contextlib
import dataclasses
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from broker import Broker, check, say
from watched import Memory, Polite, end_load, lost, run_load, sink, slowest, start_load

MIB = 1 << 20
BUDGET_BYTES = 320 * MIB
LIMIT_BYTES = BUDGET_BYTES + 256 * MIB
# What a comparison allows, so that it is seen what a binary would take.
COMPARED_BYTES = 10_240 * MIB
BASE_SECONDS = 4
LOAD_SECONDS = 7
PEAK_SECONDS = 3
COMPARED_SECONDS = 12
# Memory is back within this time, but for a fifth of what an idle broker has, and caches.
BACK_SECONDS = 30
CACHE_BYTES = 48 * MIB
SLOWER, SLOWER_SECONDS = 3, 0.010
OVERLOAD, GOODPUT, NORMAL_SECONDS = 5, 0.8, 5
# How many connections say hello and nothing further, in a comparison.
IDLE_CONNECTIONS = 990
# So many calls of the polite client in a row are normal again.
NORMAL_CALLS = 10
# Of a topic, and of all; the polite client has one more.
MANY_PARTITIONS, ALL_PARTITIONS = 9_990, 19_980
MOST_BATCHES = 1_000


class Client:
    """What is done before a load, over the generated stubs."""

    def __init__(self, stubs, address):
        sys.path.insert(0, str(stubs))
        import grpc
        from taffrail.v1 import log_pb2, log_pb2_grpc, record_pb2, topics_pb2, topics_pb2_grpc

        self.channel = grpc.insecure_channel(address)
        self.messages, self.records, self.topic_messages = log_pb2, record_pb2, topics_pb2
        self.log = log_pb2_grpc.LogStub(self.channel)
        self.topics = topics_pb2_grpc.TopicsStub(self.channel)

    def create(self, name, partitions=1, **settings):
        settings = {key.replace("_", "."): str(value) for key, value in settings.items()}
        self.topics.Create(
            self.topic_messages.CreateTopicRequest(name=name, partitions=partitions, settings=settings), timeout=60
        )

    def append(self, topic, records, size, partition=0):
        records = [self.records.Record(value=b"x" * size)] * records
        batch = self.messages.AppendBatch(topic=topic, partition=partition, records=records)
        self.log.Append(self.messages.AppendRequest(batches=[batch]), timeout=60)

    def fill(self, topic, partitions, rounds):
        """One record for each partition in each round."""
        record = self.records.Record(value=b"x" * 100)
        requests = [
            self.messages.AppendRequest(
                batches=[
                    self.messages.AppendBatch(topic=topic, partition=partition, records=[record])
                    for partition in range(first, min(first + MOST_BATCHES, partitions))
                ]
            )
            for first in range(0, partitions, MOST_BATCHES)
        ]
        for _ in range(rounds):
            for under_way in [self.log.Append.future(request, timeout=60) for request in requests]:
                under_way.result()

    def open_producer(self):
        return self.log.OpenProducer(self.messages.OpenProducerRequest(), timeout=60).producer


def prepare_followers(rounds):
    def prepare(client):
        client.create("wide", MANY_PARTITIONS)
        client.fill("wide", MANY_PARTITIONS, rounds)
        return {"topic": "wide", "partitions": MANY_PARTITIONS, "readers": 20}

    return prepare


def prepare_stalled_reads(client):
    """The largest frames, and enough of them that the first are not in memory any more."""
    client.create("large")
    for _ in range(8):
        client.append("large", 15, MIB - 100)
    return {"topic": "large", "connections": 1, "calls": 256}


def prepare_stalled_megabytes(client):
    client.create("megabytes", max_record_bytes=2 * MIB)
    for _ in range(4):
        client.append("megabytes", 1, MIB - 100)
    return {"topic": "megabytes", "connections": 1, "calls": 256}


def prepare_slow_reads(client):
    client.create("read-slowly")
    for _ in range(8):
        client.append("read-slowly", 1_000, 1_000)
    return {"topic": "read-slowly", "readers": 500}


def prepare_unfinished(client):
    client.create("unfinished")
    return {"topic": "unfinished", "connections": 10, "calls": 20}


def prepare_windows(client):
    client.create("windows")
    return {"topic": "windows", "connections": 150, "calls": 2}


def prepare_nothing(**given):
    return lambda _: given


def prepare_producer_partitions(client):
    client.create("numbered", 1_000)
    opened = [client.open_producer() for _ in range(520)]
    return {"topic": "numbered", "partitions": 1_000, "ids": [[each.id, each.epoch] for each in opened]}


def prepare_wide_appends(size):
    def prepare(client):
        topics = ["wide-1", "wide-2"]
        for topic in topics:
            client.create(topic, ALL_PARTITIONS // 2)
        return {"topics": topics, "partitions": ALL_PARTITIONS // 2, "size": size}

    return prepare


def prepare_tiny_batches(client):
    client.create("tiny", 1_000)
    return {"topics": ["tiny"], "partitions": 1_000, "size": 0}


def prepare_overload(size):
    def prepare(client):
        client.create("overloaded", max_record_bytes=2 * MIB)
        return {"topic": "overloaded", "size": size, "rate": None}

    return prepare


@dataclasses.dataclass
class Load:
    """A load of the generator, and what is prepared for it: a function that takes a client, and says what it is given."""

    generator: str
    prepare: collections.abc.Callable
    seconds: float = LOAD_SECONDS
    # Whether the sink opens windows for what it has discarded.
    updates: bool = True
    # Whether an operator tries to get in meanwhile.
    operator: bool = False
    # Whether the log has to say something of it.
    told: bool = False


LOADS = {
    "followers": Load("followers", prepare_followers(20)),
    "stalled-reads": Load("stalled-reads", prepare_stalled_reads),
    "stalled-megabytes": Load("stalled-reads", prepare_stalled_megabytes),
    "slow-reads": Load("slow-reads", prepare_slow_reads),
    "unfinished-requests": Load("unfinished-requests", prepare_unfinished),
    "filled-windows": Load("filled-windows", prepare_windows, updates=False),
    "silent-connections": Load("silent-connections", prepare_nothing(connections=2_000), operator=True, told=True),
    "producers": Load("producers", prepare_nothing(number=150_000), seconds=15),
    "producer-partitions": Load("producer-partitions", prepare_producer_partitions, seconds=15),
    "topics": Load("topics", prepare_nothing(partitions=9_000, at_a_time=2)),
    "open-calls": Load("open-calls", prepare_nothing(connections=900, calls=256)),
    "overload-100": Load("overload", prepare_overload(100)),
    "overload-1000": Load("overload", prepare_overload(1_000)),
    "overload-1000000": Load("overload", prepare_overload(1_000_000)),
    "resets": Load("resets", prepare_nothing(connections=4)),
    "turned-away": Load("turned-away", prepare_nothing(connections=1_000, knocking=8), operator=True, told=True),
    "idle-connections": Load("idle-connections", prepare_nothing(connections=IDLE_CONNECTIONS)),
    "tiny-batches": Load("wide-appends", prepare_tiny_batches),
    # Last, because it takes long to remove what it has left.
    "wide-appends": Load("wide-appends", prepare_wide_appends(1_000), seconds=14),
}


# Of these the memory is compared: at most this part of what the build before takes, or so many bytes.
COMPARED = {
    "followers of much": (Load("followers", prepare_followers(100)), 1 / 20),
    "stalled-reads": (LOADS["stalled-reads"], 1 / 10),
    "slow-reads": (LOADS["slow-reads"], 1 / 10),
    "stalled-megabytes": (LOADS["stalled-megabytes"], 64 * MIB),
    "idle-connections": (LOADS["idle-connections"], IDLE_CONNECTIONS * 20_000),
}


def main():
    options = [argument for argument in sys.argv[1:] if argument.startswith("--")]
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if "--compare" in options:
        compare(*arguments)
        return
    binary, folder, *names = arguments
    failed = []
    for name in names or LOADS:
        if Trial(binary, pathlib.Path(folder).resolve(), name, "--before" in options).run():
            failed.append(name)
    check(not failed, f"{len(failed)} of the loads: {', '.join(failed)}")


def limited(bytes_of_data, before):
    """The command that a broker is run by: with a limit on its memory, and told its budget."""
    limit = ["bash", "-c", f'ulimit -d {bytes_of_data >> 10}; exec "$@"', "bash"]
    return limit if before else [*limit, "env", f"TAFFRAIL_MEMORY_BYTES={BUDGET_BYTES}"]


@contextlib.contextmanager
def data_dir(folder):
    with tempfile.TemporaryDirectory(dir=folder, prefix="bounded-", ignore_cleanup_errors=True) as data:
        yield pathlib.Path(data, "data")


class Trial:
    """One load on one broker."""

    def __init__(self, binary, folder, name, before):
        self.binary, self.stubs = binary, folder / "stubs"
        self.folder = folder
        self.name, self.load = name, LOADS[name]
        self.before = before
        self.problems = []

    def run(self):
        """What does not hold."""
        began = time.monotonic()
        limit = limited(LIMIT_BYTES, self.before)
        with data_dir(self.folder) as data, Broker(self.binary, data, limit) as broker:
            client = Client(self.stubs, broker.address)
            client.create("polite")
            given = self.load.prepare(client)
            client.channel.close()
            self.memory = Memory(broker.process.pid)
            polite = Polite(self.stubs, broker.address, "polite")
            try:
                polite.wait_for_calls(4, 10)
                self.watch(broker, polite, given)
            finally:
                polite.stop()
                self.memory.stop()
        say(f"{self.name}: {self.said}; {time.monotonic() - began:.0f} s{'; FAILED' if self.problems else ''}")
        for problem in self.problems:
            say(f"    {problem}")
        return self.problems

    def watch(self, broker, polite, given):
        peak = None
        if self.load.generator == "overload":
            found = run_load(self.stubs, "overload", broker.address, PEAK_SECONDS, given)
            peak = found["ok"] / found["seconds"]
            given = {**given, "rate": OVERLOAD * peak}
        base = self.base(polite, given)
        idle = self.memory.now["RssAnon"]
        self.memory.forget()
        logged = len(broker.log())
        begin = time.monotonic()
        generator = start_load(self.stubs, self.load.generator, broker.address, self.load.seconds, given)
        if self.load.operator:
            time.sleep(self.load.seconds / 2)
            self.check_operator(broker)
        counted = end_load(generator, self.load.seconds)
        end = time.monotonic()
        most = dict(self.memory.most)
        calls = polite.between(begin, end)
        ends = ", ".join(f"{number} {how}" for how, number in counted.items() if how != "seconds" and number)
        took = f"slowest {slowest(calls) * 1000:.1f} ms (base {base * 1000:.1f})"
        self.said = f"{ends or 'no call has ended'}; {took}; {shown(most)}"
        if not self.lives(broker):
            self.problem(f"the broker has died with code {broker.process.poll()}")
            return
        self.check_calls(calls, base)
        if peak:
            self.check_goodput(counted, peak)
            self.check_normal_again(polite, end, base)
        self.check_memory_is_back(idle)
        self.check_log(broker.log()[logged:], end - begin)

    def base(self, polite, given):
        """The slowest calls on an idle broker, while the load goes to a sink."""
        begin = time.monotonic()
        with sink(self.stubs, self.load.updates) as address:
            time.sleep(0.5)
            run_load(self.stubs, self.load.generator, address, BASE_SECONDS, given)
        calls = polite.between(begin, time.monotonic())
        check(not lost(calls), f"{self.name}: the polite client lost calls to an idle broker: {lost(calls)[:3]}")
        return slowest(calls)

    def lives(self, broker):
        return broker.process.poll() is None

    def problem(self, text):
        self.problems.append(text)

    def check_calls(self, calls, base):
        failures = lost(calls)
        if failures:
            kinds = collections.Counter(f"{what}: {error}" for _, _, what, error in failures).most_common(3)
            self.problem(f"the polite client lost {len(failures)} of {len(calls)} calls: {kinds}")
        allowed = allowed_for(base)
        if slowest(calls) > allowed:
            self.problem(f"calls took {slowest(calls) * 1000:.1f} ms, and {allowed * 1000:.1f} ms are allowed")

    def check_operator(self, broker):
        """An operator gets in: by the way of their own, if there is one."""
        own = pathlib.Path(broker.data_dir, "admin.sock")
        server = f"unix:{own}" if own.exists() else f"http://{broker.address}"
        command = [broker.binary, "topic", "list", "--server", server]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if result.returncode:
            self.problem(f"an operator does not get in: {result.stderr.strip()}")

    def check_goodput(self, counted, peak):
        goodput, offered = (counted[what] / counted["seconds"] for what in ["ok", "offered"])
        self.said += f"; goodput {goodput:.0f} of {peak:.0f}/s, {offered:.0f}/s offered"
        if goodput < GOODPUT * peak:
            self.problem(f"goodput is {goodput / peak:.0%} of its peak")

    def check_normal_again(self, polite, end, base):
        deadline = end + NORMAL_SECONDS
        while time.monotonic() < deadline:
            last = polite.between(end, deadline)[-NORMAL_CALLS:]
            if len(last) == NORMAL_CALLS and not lost(last) and slowest(last) <= allowed_for(base):
                return
            time.sleep(0.1)
        self.problem(f"the polite client's calls are not as before {NORMAL_SECONDS} s after the overload")

    def check_memory_is_back(self, idle):
        allowed = idle + idle // 5 + CACHE_BYTES
        began = time.monotonic()
        while self.memory.now["RssAnon"] > allowed and time.monotonic() < began + BACK_SECONDS:
            time.sleep(0.1)
        now = self.memory.now["RssAnon"]
        self.said += f"; {mib(now)} after {time.monotonic() - began:.0f} s (idle {mib(idle)})"
        if now > allowed:
            self.problem(f"{mib(now)} are still used after {BACK_SECONDS} s, and {mib(allowed)} are allowed")

    def check_log(self, lines, seconds):
        """What is the same but for its numbers is said once a minute."""
        kinds = collections.Counter(re.sub(r"[0-9a-f]*\d[0-9a-f:.]*", "#", line) for line in lines if "WARN" in line)
        self.said += f"; {sum(kinds.values())} warnings"
        if self.load.told and not kinds:
            self.problem("the log says nothing of it")
        for kind, times in kinds.items():
            if times > 1 + seconds // 60:
                self.problem(f"the log says {times} times: {kind}")


def compare(before, after, folder):
    """How much memory two binaries take for the same loads, in turns, with their settings as they come."""
    folder = pathlib.Path(folder).resolve()
    failed = []
    say(f"{'most, and 30 s later, beyond idle':<36}{'before':>24}{'after':>24}")
    for name, (load, allowed) in COMPARED.items():
        (was, was_later), (now, now_later) = (measure(binary, folder, load) for binary in [before, after])
        say(f"{name:<36}{mib(was):>12}{mib(was_later):>12}{mib(now):>12}{mib(now_later):>12}  {was / max(now, 1):.1f} times")
        if now > (allowed * was if allowed < 1 else allowed):
            failed.append(name)
    check(not failed, f"more memory than allowed: {', '.join(failed)}")


def measure(binary, folder, load):
    """What a load takes at most beyond what an idle broker has, and what of it is left after 30 s."""
    with data_dir(folder) as data, Broker(binary, data, limited(COMPARED_BYTES, True)) as broker:
        client = Client(folder / "stubs", broker.address)
        given = load.prepare(client)
        client.channel.close()
        time.sleep(1)
        memory = Memory(broker.process.pid)
        idle = memory.now["RssAnon"]
        memory.forget()
        run_load(folder / "stubs", load.generator, broker.address, COMPARED_SECONDS, given)
        most = memory.most["RssAnon"]
        time.sleep(BACK_SECONDS)
        left = memory.now["RssAnon"]
        memory.stop()
        check(broker.process.poll() is None, f"{binary} has died with code {broker.process.poll()}")
    return most - idle, left - idle


def allowed_for(base):
    return max(SLOWER * base, base + SLOWER_SECONDS)


def mib(number):
    return f"{number / MIB:.0f} MiB"


def shown(memory):
    return f"at most {mib(memory['RssAnon'])}, and {mib(memory['VmData'])} of address space"


if __name__ == "__main__":
    main()
