"""Programs with grpc-go: one that pipelines small appends on one stream, all of which are answered, and one whose messages
are compressed, with gzip and with a codec of its own.

Usage: check_go.py BINARY DIR. DIR is made anew; protoc, protoc-gen-go and protoc-gen-go-grpc are on the PATH.
"""

import os
import pathlib
import shutil
import subprocess
import sys

from broker import Broker

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUESTS = 300_000


def main():
    binary, scratch = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
    shutil.rmtree(scratch, ignore_errors=True)
    program = scratch / "pipeline"
    shutil.copytree(ROOT / "tests" / "clients" / "go", program)
    relative = [f"--{plugin}_{what}" for plugin in ("go", "go-grpc") for what in ("out=.", "opt=paths=source_relative")]
    protos = sorted(map(str, (ROOT / "proto" / "taffrail" / "v1").glob("*.proto")))
    subprocess.run(["protoc", "-I", ROOT / "proto", *relative, *protos], cwd=program, check=True)
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    subprocess.run(["go", "build", "-o", "built/", ".", "./compressed"], cwd=program, env=environment, check=True)
    with Broker(binary, scratch / "data") as broker:
        for name, arguments in [("pipeline", [str(REQUESTS)]), ("compressed", [])]:
            code = subprocess.run([program / "built" / name, broker.address, *arguments]).returncode
            if code:
                sys.exit(f"FAILED: {name} ended with code {code}")
        broker.stop()


main()
