"""A client that is no burden: every 100 ms it appends a record and reads it back, and once a second as a new producer.

Usage: polite.py STUBS ADDRESS TOPIC. Prints a line of JSON for each call: when it began, how many seconds it took, what
it was, and the error, if any. Nothing is tried twice.
"""

import itertools
import json
import sys
import time

sys.path.insert(0, sys.argv[1])
import grpc
from taffrail.v1 import log_pb2, log_pb2_grpc, record_pb2

PERIOD_SECONDS = 0.1
CALL_SECONDS = 10
# One round out of so many is a new producer's.
PRODUCER_ROUNDS = 10


def main():
    address, topic = sys.argv[2:]
    log = log_pb2_grpc.LogStub(grpc.insecure_channel(address))
    for number in itertools.count():
        due = time.monotonic() + PERIOD_SECONDS
        append_and_read(log, topic, number)
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
