"""The loads by name, each with what is done before it: topics that it needs, and what they hold."""

import collections
import dataclasses
import sys

MIB = 1 << 20
LOAD_SECONDS = 7
# By how much a load is longer where times decide, so that a hundredth of the calls are some.
LONGER = 3
# Of a topic, and of all; the polite client has one more.
MANY_PARTITIONS, ALL_PARTITIONS = 9_990, 19_980
MOST_BATCHES = 1_000
MOST_RECORDS = 65_536
# How many connections say hello and nothing further, in a comparison.
IDLE_CONNECTIONS = 990


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


def prepare_stopped_members(client):
    """Members that have three partitions each, as the polite one has, whose own are not appended to."""
    client.create("shared", 300)
    return {"group": "shared", "partitions": list(range(10, 300)), "connections": 9, "calls": 11}


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


def prepare_tiny_records(keyed):
    def prepare(client):
        client.create("tiny", 100)
        return {"topic": "tiny", "records": MOST_RECORDS, "keyed": keyed, "connections": 40, "calls": 8}

    return prepare


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
    # The group, and its topic, of which the polite client is a member too.
    group: str | None = None
    # Whether an operator tries to get in meanwhile.
    operator: bool = False
    # Whether the log has to say something of it.
    told: bool = False
    # What the broker has to know from then on, in bytes: up to 100,000 producers, and 500,000 partitions of theirs; or
    # of the newest keys, up to half of the part for them.
    keeps: int = 0
    # What is more where times decide, so that the load does not end before.
    more: dict = dataclasses.field(default_factory=dict)

    def longer(self):
        return dataclasses.replace(
            self, seconds=LONGER * self.seconds, prepare=lambda client: {**self.prepare(client), **self.more}
        )


LOADS = {
    "followers": Load("followers", prepare_followers(20)),
    "stalled-reads": Load("stalled-reads", prepare_stalled_reads),
    "slow-reads": Load("slow-reads", prepare_slow_reads),
    "stopped-members": Load("stopped-members", prepare_stopped_members, group="shared"),
    "unfinished-requests": Load("unfinished-requests", prepare_unfinished),
    "filled-windows": Load("filled-windows", prepare_windows, updates=False),
    "silent-connections": Load("silent-connections", prepare_nothing(connections=2_000), operator=True, told=True),
    "producers": Load(
        "producers", prepare_nothing(number=150_000), seconds=15, keeps=24 * MIB, more={"number": 1_000_000}
    ),
    "producer-partitions": Load("producer-partitions", prepare_producer_partitions, seconds=15, keeps=64 * MIB),
    "topics": Load("topics", prepare_nothing(partitions=9_000, at_a_time=2)),
    "open-calls": Load("open-calls", prepare_nothing(connections=900, calls=256)),
    "overload-100": Load("overload", prepare_overload(100)),
    "overload-1000": Load("overload", prepare_overload(1_000)),
    "overload-1000000": Load("overload", prepare_overload(1_000_000)),
    "resets": Load("resets", prepare_nothing(connections=4)),
    "turned-away": Load("turned-away", prepare_nothing(connections=1_000, knocking=8), operator=True, told=True),
    "tiny-batches": Load("wide-appends", prepare_tiny_batches),
    "tiny-records": Load("tiny-records", prepare_tiny_records(keyed=False)),
    "tiny-keyed-records": Load("tiny-records", prepare_tiny_records(keyed=True), keeps=24 * MIB),
    # Last, because it takes long to remove what it has left.
    "wide-appends": Load("wide-appends", prepare_wide_appends(1_000), seconds=14),
}


# Of these the memory is compared: at most this part of what the build before takes, or so many bytes.
COMPARED = {
    "followers of much": (Load("followers", prepare_followers(100)), 1 / 20),
    "stalled-reads": (LOADS["stalled-reads"], 1 / 10),
    "slow-reads": (LOADS["slow-reads"], 1 / 10),
    "stalled-megabytes": (Load("stalled-reads", prepare_stalled_megabytes), 64 * MIB),
    "idle-connections": (
        Load("idle-connections", prepare_nothing(connections=IDLE_CONNECTIONS)),
        IDLE_CONNECTIONS * 20_000,
    ),
}
