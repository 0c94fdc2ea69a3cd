import queue, sys
import grpc
from taffrail.v1 import groups_pb2 as pb, groups_pb2_grpc

address, group, topic = sys.argv[1:4]
answers = queue.Queue()

def requests():  # what a member says: that it joins, what it answers, and every 3 s that it is alive
    credit = pb.Credit(records=1000, bytes=1 << 20)
    yield pb.ConsumeRequest(join=pb.JoinGroup(group=group, topics=[topic], credit=credit, heartbeat=True))
    while True:
        try:
            yield answers.get(timeout=3)
        except queue.Empty:
            yield pb.ConsumeRequest(still_working=pb.StillWorking())

def handle(record):
    print(record.value.decode(), flush=True)

for response in groups_pb2_grpc.GroupsStub(grpc.insecure_channel(address)).Consume(requests()):
    kind = response.WhichOneof("message")
    if kind == "records":
        for record in response.records.records:
            handle(record)
        answers.put(pb.ConsumeRequest(commit=pb.CommitOffsets(offsets=[response.records.next])))
        answers.put(pb.ConsumeRequest(credit=response.records.cost))
    elif kind == "revoked":
        answers.put(pb.ConsumeRequest(drained=response.revoked.partitions))
