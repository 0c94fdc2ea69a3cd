"""Messages that a standard client compresses by one line: grpcio, with gzip, in both directions. A proxy between it and the
broker counts the bytes.

Usage: check_compression.py BINARY STUBS, run by a Python that has grpcio.
"""

import pathlib
import socket
import sys
import tempfile
import threading

import grpc

from broker import Broker, check, say

VALUE = b'{"type":"departed","flight":"UA1545","origin":"EWR","dest":"IAH"}' * 30
RECORDS = 2_000
CHUNK = 1 << 16


def main():
    binary, stubs = sys.argv[1:]
    sys.path.insert(0, stubs)
    with tempfile.TemporaryDirectory() as scratch, Broker(binary, pathlib.Path(scratch, "data")) as broker:
        broker.run("topic", "create", "plain")
        broker.run("topic", "create", "compressed")
        plain = run(broker, "plain", grpc.Compression.NoCompression)
        compressed = run(broker, "compressed", grpc.Compression.Gzip)
        for what, before, after in zip(["sent", "received"], plain, compressed):
            check(after * 5 < before, f"{what} with gzip: {after} bytes, without: {before}")
        say(f"sent {plain[0]} and received {plain[1]} bytes without compression, {compressed[0]} and {compressed[1]} with gzip")
        refused(broker)


def run(broker, topic, compression):
    """Appends and reads through a proxy; the bytes that went each way."""
    from taffrail.v1 import log_pb2, log_pb2_grpc, record_pb2

    with Proxy(broker.address) as proxy:
        with grpc.insecure_channel(proxy.address, compression=compression) as channel:
            log = log_pb2_grpc.LogStub(channel)
            records = [record_pb2.Record(key=b"%d" % n, value=VALUE) for n in range(RECORDS)]
            for first in range(0, RECORDS, 500):
                batch = log_pb2.AppendBatch(topic=topic, records=records[first : first + 500])
                log.Append(log_pb2.AppendRequest(batches=[batch]))
            stream = (
                log_pb2.AppendRequest(batches=[log_pb2.AppendBatch(topic=topic, records=[record])])
                for record in records[:100]
            )
            check(len(list(log.AppendStream(stream))) == 100, "an append on a stream was not answered")
            found = [record for response in log.Read(log_pb2.ReadRequest(topic=topic)) for record in response.records]
            check(len(found) == RECORDS + 100, f"{len(found)} records were read")
            check(all(record.value == VALUE for record in found), "a record is not what was appended")
        return proxy.sent, proxy.received


def refused(broker):
    """What an encoding that is not built in is told."""
    from taffrail.v1 import log_pb2, log_pb2_grpc

    with grpc.insecure_channel(broker.address, compression=grpc.Compression.Deflate) as channel:
        try:
            request = log_pb2.ReadRequest(topic="plain" * 100)
            list(log_pb2_grpc.LogStub(channel).Read(request))
        except grpc.RpcError as error:
            check(error.code() == grpc.StatusCode.UNIMPLEMENTED, f"deflate is refused with {error}")
            check("deflate" in error.details() and "gzip" in error.details(), error.details())
            return say(f"deflate is refused: {error.details()}")
        check(False, "deflate is taken")


class Proxy:
    """Passes bytes on, and counts them."""

    def __init__(self, address):
        host, port = address.rsplit(":", 1)
        self.target = (host, int(port))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.sent = self.received = 0

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            broker = socket.create_connection(self.target)
            for args in [(client, broker, "sent"), (broker, client, "received")]:
                threading.Thread(target=self.pass_on, args=args, daemon=True).start()

    def pass_on(self, source, sink, counter):
        try:
            while data := source.recv(CHUNK):
                setattr(self, counter, getattr(self, counter) + len(data))
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


main()
