import grpc
from taffrail.v1 import log_pb2, log_pb2_grpc, record_pb2
log = log_pb2_grpc.LogStub(grpc.insecure_channel("127.0.0.1:9640"))
order = record_pb2.Record(key=b"order-3", type="placed", value=b'{"order":"order-3","type":"placed","total":7}')
batch = log_pb2.AppendBatch(topic="orders", records=[order])
log.Append(log_pb2.AppendRequest(batches=[batch]))  # when this returns, the record is synced to disk
for response in log.Read(log_pb2.ReadRequest(topic="orders")):
    for record in response.records:
        print(record.type, record.key.decode(), record.value.decode())
