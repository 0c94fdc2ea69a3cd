"""A client that is no burden: every 100 ms it appends a record and reads it back, and once a second as a new producer.

Usage: polite.py STUBS ADDRESS TOPIC [GROUP]. With a group it is a member of that for the topic of the same name, too: each
round it appends a record to a partition that it has, gets it, and commits it. Prints a line of JSON for each call: when it
began, how many seconds it took, what it was, and the error, if any. Nothing is tried twice.
"""

import itertools
import json
import queue
import sys
import threading
import time

sys.path.insert(0, sys.argv[1])
import grpc
from taffrail.v1 import groups_pb2, groups_pb2_grpc, log_pb2, log_pb2_grpc, record_pb2

PERIOD_SECONDS = 0.1
CALL_SECONDS = 10
# One round out of so many is a new producer's.
PRODUCER_ROUNDS = 10


def main():
    address, topic, *groups = sys.argv[2:]
    log = log_pb2_grpc.LogStub(grpc.insecure_channel(address))
    members = [Member(address, group) for group in groups]
    for number in itertools.count():
        due = time.monotonic() + PERIOD_SECONDS
        append_and_read(log, topic, number)
        for member in members:
            timed("read as a member", lambda: member.append_and_handle(log, number))
        time.sleep(max(0, due - time.monotonic()))


def append_and_read(log, topic, number):
    value = b"%d" % number
    batch = log_pb2.AppendBatch(topic=topic, partition=0, records=[record_pb2.Record(value=value)])
    request = log_pb2.AppendRequest(batches=[batch])
    if number % PRODUCER_ROUNDS == 0:
        opened = timed("open a producer", lambda: log.OpenProducer(log_pb2.OpenProducerRequest(), timeout=CALL_SECONDS))
        if opened:
            request.batches[0].sequence = 0
            request.producer.CopyFrom(opened.producer)
    appended = timed("append", lambda: log.Append(request, timeout=CALL_SECONDS))
    if not appended:
        return
    offset = appended.batches[0].ranges[0].first_offset
    at = log_pb2.PartitionPosition(partition=0, position=log_pb2.Position(offset=offset))
    read = log_pb2.ReadRequest(topic=topic, partitions=[at], max_records=1)
    timed("read", lambda: read_back(log, read, value))


def read_back(log, request, value):
    found = [record.value for response in log.Read(request, timeout=CALL_SECONDS) for record in response.records]
    if found != [value]:
        raise ValueError(f"read {found} instead of {[value]}")
    return found


class Member:
    """Hands over what it is asked to, at once."""

    def __init__(self, address, group):
        self.topic, self.partitions, self.own = group, set(), None
        self.requests, self.told = queue.Queue(), queue.Queue()
        credit = groups_pb2.Credit(records=1_000, bytes=1 << 20)
        self.say(join=groups_pb2.JoinGroup(group=group, topics=[group], credit=credit, heartbeat=True))
        groups = groups_pb2_grpc.GroupsStub(grpc.insecure_channel(address))
        self.responses = groups.Consume(iter(self.next_request, None))
        threading.Thread(target=self.listen, daemon=True).start()
        self.expect("assigned")

    def next_request(self):
        try:
            return self.requests.get(timeout=3)
        except queue.Empty:
            return groups_pb2.ConsumeRequest(still_working=groups_pb2.StillWorking())

    def say(self, **message):
        self.requests.put(groups_pb2.ConsumeRequest(**message))

    def listen(self):
        for response in self.responses:
            kind = response.WhichOneof("message")
            if kind == "assigned":
                self.partitions.update(each.partition for each in response.assigned.partitions)
            elif kind == "revoked":
                self.partitions.difference_update(each.partition for each in response.revoked.partitions.partitions)
                self.say(drained=response.revoked.partitions)
            elif kind == "records":
                self.say(commit=groups_pb2.CommitOffsets(offsets=[response.records.next]))
                self.say(credit=response.records.cost)
            if self.is_own(kind, response):
                self.told.put((kind, response))

    def is_own(self, kind, response):
        """Whether it is not about what others append to partitions that it has until they have joined."""
        if kind == "records":
            return response.records.next.partition == self.own
        if kind == "committed":
            return all(result.partition == self.own for result in response.committed.results)
        return True

    def expect(self, wanted):
        """What it is told of this kind next."""
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            try:
                kind, response = self.told.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise ValueError(f"it was not told {wanted}") from None
            if kind == wanted:
                return response

    def append_and_handle(self, log, number):
        value = b"%d" % number
        # That which it keeps for longest where others join.
        partition = self.own = min(self.partitions)
        batch = log_pb2.AppendBatch(topic=self.topic, partition=partition, records=[record_pb2.Record(value=value)])
        log.Append(log_pb2.AppendRequest(batches=[batch]), timeout=CALL_SECONDS)
        found = [record.value for record in self.expect("records").records.records]
        if found != [value]:
            raise ValueError(f"got {found} instead of {[value]}")
        outcomes = [result.outcome for result in self.expect("committed").committed.results]
        if outcomes != [groups_pb2.COMMIT_OUTCOME_DONE]:
            raise ValueError(f"a commit came to {outcomes}")
        return outcomes


def timed(what, call):
    began = time.monotonic()
    answer, error = None, None
    try:
        answer = call()
    except grpc.RpcError as failed:
        error = f"{failed.code().name}: {failed.details()}"
    except ValueError as wrong:
        error = str(wrong)
    print(json.dumps([began, time.monotonic() - began, what, error]), flush=True)
    return answer


main()
