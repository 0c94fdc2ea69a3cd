#!/usr/bin/env bash
# Behind nginx an error with more than about 4 KiB of details becomes UNAVAILABLE, which clients retry.
#
# Versions:  nginx 1.22.1 (Debian 12, 1.22.1-9+deb12u11), grpcio 1.85.3 as server and client.
# Behaviour: a gRPC error without a message before it is one block of headers. `grpc_pass` has `grpc_buffer_size` for
#            it, a page, and answers 502 where it is larger: the client sees UNAVAILABLE and no details, whatever the
#            server's answer was. The same details behind a message, as trailers, pass. So a conflict that lists few
#            entries is ABORTED, and one of the same call that lists many is "try again".
# Seen on 2026-11-27 (bytes of a -bin trailer; nginx sends them in base64):
#   grpc_buffer_size default, 2000 B at once: ABORTED, 2000 B of details
#   grpc_buffer_size default, 4000 B at once: UNAVAILABLE, 0 B of details
#   grpc_buffer_size default, 4000 B behind a message: ABORTED, 4000 B of details
#   grpc_buffer_size 16k, 2000 B at once: ABORTED, 2000 B of details
#   grpc_buffer_size 16k, 4000 B at once: ABORTED, 4000 B of details
#   grpc_buffer_size 16k, 4000 B behind a message: ABORTED, 4000 B of details
# Exits with 1 if that changes. Needs Debian 12's apt-get and dpkg, and python3 with venv.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

apt-get download --quiet=2 -o APT::Sandbox::User=root nginx=1.22.1-9+deb12u11
dpkg-deb --extract nginx_*.deb root
python3 -m venv venv
venv/bin/pip install --quiet --only-binary :all: grpcio==1.85.3

cat > run.py <<'PY'
import os
import socket
import subprocess
from concurrent import futures

import grpc


class Log(grpc.GenericRpcHandler):
    """Ends every call with ABORTED and as many bytes of details as the request says."""

    def service(self, details):
        handle = self.at_once if details.method.endswith("/AtOnce") else self.behind_a_message
        return grpc.unary_stream_rpc_method_handler(handle)

    def at_once(self, request, context):
        context.set_trailing_metadata((("conflict-bin", b"d" * int(request)),))
        context.abort(grpc.StatusCode.ABORTED, "conflict")
        yield b""

    def behind_a_message(self, request, context):
        yield b"a message"
        yield from self.at_once(request, context)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def nginx(listen, server, setting):
    here = os.getcwd()
    temp = "".join(f"{kind}_temp_path {here}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open("nginx.conf", "w") as f:
        f.write(
            f"daemon off; master_process off; pid {here}/pid; error_log {here}/error.log; events {{}}"
            f"http {{ access_log off; {temp} server {{ listen 127.0.0.1:{listen} http2;"
            f"location / {{ {setting} grpc_pass grpc://127.0.0.1:{server}; }} }} }}"
        )
    return subprocess.Popen(["root/usr/sbin/nginx", "-p", here, "-e", f"{here}/error.log", "-c", f"{here}/nginx.conf"])


def outcome(channel, method, size):
    try:
        list(channel.unary_stream(f"/example.Log/{method}")(b"%d" % size, timeout=10))
    except grpc.RpcError as e:
        details = sum(len(value) for name, value in e.trailing_metadata() or () if name == "conflict-bin")
        return f"{e.code().name}, {details} B of details"


server = grpc.server(futures.ThreadPoolExecutor(4), handlers=[Log()])
server_port = server.add_insecure_port("127.0.0.1:0")
server.start()
for name, setting in (("default", ""), ("16k", "grpc_buffer_size 16k;")):
    port = free_port()
    proxy = nginx(port, server_port, setting)
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(10)
            for method, place, size in (
                ("AtOnce", "at once", 2000),
                ("AtOnce", "at once", 4000),
                ("BehindAMessage", "behind a message", 4000),
            ):
                print(f"grpc_buffer_size {name}, {size} B {place}: {outcome(channel, method, size)}")
    finally:
        proxy.terminate()
        proxy.wait()
server.stop(None)
PY

cat > expected <<'TEXT'
grpc_buffer_size default, 2000 B at once: ABORTED, 2000 B of details
grpc_buffer_size default, 4000 B at once: UNAVAILABLE, 0 B of details
grpc_buffer_size default, 4000 B behind a message: ABORTED, 4000 B of details
grpc_buffer_size 16k, 2000 B at once: ABORTED, 2000 B of details
grpc_buffer_size 16k, 4000 B at once: ABORTED, 4000 B of details
grpc_buffer_size 16k, 4000 B behind a message: ABORTED, 4000 B of details
TEXT

venv/bin/python run.py | tee seen
diff expected seen && echo 'as found'
