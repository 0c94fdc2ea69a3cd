#!/usr/bin/env bash
# HAProxy ends a quiet stream with three different gRPC codes for one and the same time-out; one of them is CANCELLED.
#
# Versions:  HAProxy 2.6.12 (Debian 12, 2.6.12-1+deb12u4), grpcio 1.85.3 as server and client.
# Behaviour: `timeout server` counts the silence of a stream, not of the connection. When it ends a stream
#            - without an answer yet: HTTP 504, which the client shows as UNAVAILABLE;
#            - behind a message: an empty DATA frame with END_STREAM, as if all had been sent, but no trailers: UNKNOWN;
#            - behind a message, while the client may still send: the same and RST_STREAM(CANCEL): CANCELLED, the code
#              for what the client itself has ended, and which programs drop without a word.
#            A program that opens its stream again on UNAVAILABLE alone does so in one of three cases.
# Seen on 2026-11-27, `timeout server 2s`:
#   read, no message yet: UNAVAILABLE after 2 s, 0 messages
#   read, behind a message: UNKNOWN after 2 s, 1 messages
#   both directions, behind a message: CANCELLED after 2 s, 1 messages
# Exits with 1 if that changes. Needs Debian 12's apt-get and dpkg, and python3 with venv.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

apt-get download --quiet=2 -o APT::Sandbox::User=root haproxy=2.6.12-1+deb12u4 liblua5.3-0=5.3.6-2 \
    libopentracing-c-wrapper0=1.1.3-3+b1 libopentracing1=1.6.0-4
for package in *.deb; do
    dpkg-deb --extract "$package" root
done
python3 -m venv venv
venv/bin/pip install --quiet --only-binary :all: grpcio==1.85.3

cat > run.py <<'PY'
import os
import socket
import subprocess
import threading
import time
from concurrent import futures

import grpc

over = threading.Event()


class Log(grpc.GenericRpcHandler):
    """Answers at once or not, and is quiet from then on."""

    def service(self, details):
        if details.method.endswith("/Silent"):
            return grpc.unary_stream_rpc_method_handler(self.silent)
        if details.method.endswith("/Read"):
            return grpc.unary_stream_rpc_method_handler(self.one_and_silent)
        return grpc.stream_stream_rpc_method_handler(self.one_and_silent)

    def silent(self, request, context):
        over.wait(10)
        yield b"late"

    def one_and_silent(self, request, context):
        yield b"a message"
        over.wait(10)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def haproxy(listen, server):
    with open("haproxy.cfg", "w") as f:
        f.write(
            "defaults\n mode http\n timeout connect 5s\n timeout client 10s\n timeout server 2s\n"
            f"listen log\n bind 127.0.0.1:{listen} proto h2\n server log 127.0.0.1:{server} proto h2\n"
        )
    libraries = os.path.abspath("root/usr/lib/x86_64-linux-gnu")
    return subprocess.Popen(
        ["root/usr/sbin/haproxy", "-q", "-db", "-f", "haproxy.cfg"], env={"LD_LIBRARY_PATH": libraries}
    )


def outcome(call):
    messages, start = 0, time.monotonic()
    try:
        for _ in call:
            messages += 1
        code = "OK"
    except grpc.RpcError as e:
        code = e.code().name
    return f"{code} after {time.monotonic() - start:.0f} s, {messages} messages"


def one_and_wait():
    yield b"x"
    over.wait(10)


server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[Log()])
server_port = server.add_insecure_port("127.0.0.1:0")
server.start()
port = free_port()
proxy = haproxy(port, server_port)
try:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(10)
        silent = channel.unary_stream("/example.Log/Silent")(b"x")
        print("read, no message yet:", outcome(silent))
        read = channel.unary_stream("/example.Log/Read")(b"x")
        print("read, behind a message:", outcome(read))
        both = channel.stream_stream("/example.Log/Both")(one_and_wait())
        print("both directions, behind a message:", outcome(both))
finally:
    over.set()
    proxy.terminate()
    proxy.wait()
server.stop(None)
PY

cat > expected <<'TEXT'
read, no message yet: UNAVAILABLE after 2 s, 0 messages
read, behind a message: UNKNOWN after 2 s, 1 messages
both directions, behind a message: CANCELLED after 2 s, 1 messages
TEXT

venv/bin/python run.py | tee seen
diff expected seen && echo 'as found'
