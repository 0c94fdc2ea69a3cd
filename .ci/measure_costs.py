"""What TLS, authorization with metrics, and traces cost: each beside a broker without, in turns, as throughput and as the
broker's processor time.

Usage: measure_costs.py BINARY CERTIFICATES FOLDER [--megabytes N] [--requests N] [--turns N], run by a Python that has
grpcio. CERTIFICATES is the example of this name; FOLDER is made, and removed. For a machine that does nothing else.
"""

import argparse
import concurrent.futures
import contextlib
import json
import pathlib
import shutil
import statistics
import subprocess

import grpc

from broker import Broker, free_port, say

GRANT = """
[[grant]]
principals = ["token:bench"]
operations = ["read", "append", "topic-admin"]
topics = ["*"]
"""


class Collector(grpc.GenericRpcHandler):
    """Takes whatever is sent to it."""

    def service(self, _):
        return grpc.unary_unary_rpc_method_handler(lambda request, context: b"")


class Measured:
    """A broker, how it is called, and what was measured with it."""

    def __init__(self, broker, server, flags=()):
        self.broker, self.server, self.flags, self.found = broker, server, flags, {}

    def measure(self, name, arguments, divisor):
        """Notes the throughput, and the broker's processor time by `divisor`."""
        before = self.broker.processor_seconds()
        command = [self.broker.binary, "bench", *map(str, arguments), "--json", "--server", self.server, *self.flags]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
        spent = (self.broker.processor_seconds() - before) / divisor
        median = json.loads(output)["median"]
        self.found.setdefault(name, []).append((median["megabytes_per_second"], spent))


def main():
    flags = argparse.ArgumentParser()
    flags.add_argument("binary")
    flags.add_argument("certificates")
    flags.add_argument("folder", type=pathlib.Path)
    flags.add_argument("--megabytes", type=int, default=2_000)
    flags.add_argument("--requests", type=int, default=20_000)
    flags.add_argument("--turns", type=int, default=5)
    given = flags.parse_args()
    given.folder.mkdir(parents=True)
    try:
        with contextlib.ExitStack() as stack:
            measured = brokers(stack, given)
            for _ in range(given.turns):
                for one in measured.values():
                    turn(one, given)
            show(measured)
    finally:
        shutil.rmtree(given.folder)


def turn(one, given):
    where = ["--dir", given.folder]
    of_bytes = ["--bytes", f"{given.megabytes}MB", *where]
    # `bench consume` appends what it reads.
    one.measure("produce", ["produce", *of_bytes], given.megabytes / 1_000)
    one.measure("consume", ["consume", *of_bytes], given.megabytes / 1_000)
    one.measure("append", ["append", "--requests", given.requests, *where], given.requests / 1_000)


def brokers(stack, given):
    """The broker without anything, and those that are compared with it."""

    def started(name, config="", http="off"):
        file = given.folder / f"{name}.toml"
        file.write_text(config)
        flags = ["--config", str(file), "--http-listen", http]
        return stack.enter_context(Broker(given.binary, given.folder / name, flags=flags))

    plain = started("plain")
    measured = {"plain": Measured(plain, f"http://{plain.address}")}

    keys = given.folder / "keys"
    subprocess.run([given.certificates, keys], check=True)
    tls = started("tls", f'[tls]\ncertificate = "{keys / "broker.pem"}"\nkey = "{keys / "broker.key"}"\n')
    measured["TLS"] = Measured(tls, f"https://{tls.address}", ["--tls-ca", keys / "ca.pem"])

    seen = started("seen", GRANT, f"127.0.0.1:{free_port()}")
    seen.wait_for_log("administrators can connect")
    admin = ["--server", f"unix:{seen.data_dir}"]
    created = [seen.binary, "token", "create", "bench", "--expires", "1d", "--json", *admin]
    token = json.loads(subprocess.run(created, check=True, stdout=subprocess.PIPE).stdout)["text"]
    (given.folder / "token").write_text(token)
    flags = ["--token-file", given.folder / "token"]
    measured["grants and metrics"] = Measured(seen, f"http://{seen.address}", flags)

    collector = grpc.server(concurrent.futures.ThreadPoolExecutor(1), handlers=[Collector()])
    port = collector.add_insecure_port("127.0.0.1:0")
    collector.start()
    stack.callback(collector.stop, None)
    for ratio in ["0.0", "0.01"]:
        config = f'[telemetry]\notlp_endpoint = "http://127.0.0.1:{port}"\nsample_ratio = {ratio}\n'
        traced = started(f"traced-{ratio}", config)
        measured[f"traces, {ratio}"] = Measured(traced, f"http://{traced.address}")
    return measured


def show(measured):
    """The medians, and by how much they differ from those of the plain broker."""
    units = {"produce": "GB", "consume": "GB", "append": "1,000 requests"}
    plain = medians(measured["plain"])
    for name, one in measured.items():
        for load, (rate, spent) in medians(one).items():
            of_rate, of_spent = rate / plain[load][0] - 1, spent / plain[load][1] - 1
            say(f"{name:20} {load:8} {rate:8.1f} MB/s ({of_rate:+.1%}), {spent:.3f} s of processor time for each "
                f"{units[load]} ({of_spent:+.1%})")


def medians(one):
    return {load: tuple(map(statistics.median, zip(*found))) for load, found in one.found.items()}


if __name__ == "__main__":
    main()
