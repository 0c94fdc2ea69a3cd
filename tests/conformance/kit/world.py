"""What a scenario happens in: a broker, what stands between it and the client, and another client that sees the truth."""

import pathlib
import re
import socket
import subprocess
import time
import urllib.request

import taffrail
from broker import Broker, free_port

from kit.newer import Newer
from kit.proxy import Proxy
from kit.runner import PATIENCE_SECONDS, Failure

LOOK_SECONDS = 0.02
STARTS = 3
GRANT = """
[[grant]]
principals = ["token:conformance"]
operations = ["append", "read", "group", "topic-admin", "erase"]
topics = ["*"]
groups = ["*"]
producers = ["*"]
"""


def until(holds, what):
    """Waits until something is the case."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise Failure(f"within {PATIENCE_SECONDS} s it has not come to this: {what}")
        time.sleep(LOOK_SECONDS)


class World:
    def __init__(self, kit, scenario, folder):
        self.kit, self.scenario, self.folder = kit, scenario, pathlib.Path(folder)
        self.broker = self.other = self.between = None
        self.members = []

    def __enter__(self):
        try:
            self.start_broker()
            self.connect_other()
            self.between = self.begin_between()
            for topic, partitions in self.scenario.get("topics", {"t": 1}).items():
                self.other.create_topic(topic, partitions)
        except BaseException:
            self.__exit__()
            raise
        return self

    def start_broker(self):
        """Starts it, on other ports if what was free a moment ago is taken by then."""
        for attempt in range(STARTS, 0, -1):
            self.http = f"127.0.0.1:{free_port()}"
            self.broker = Broker(self.kit.binary, self.folder / "data", flags=self.flags())
            try:
                return self.broker.start()
            except SystemExit:
                self.broker.__exit__(attempt == 1)
                if attempt == 1:
                    raise

    def flags(self):
        flags = ["--with-parent", "--http-listen", self.http]
        if self.scenario.get("tls"):
            tls = self.kit.certificates
            flags += ["--tls-certificate", tls / "broker.pem", "--tls-key", tls / "broker.key"]
        if self.scenario.get("token"):
            config = self.folder / "taffrail.toml"
            config.write_text(GRANT)
            flags += ["--config", config]
        return map(str, flags)

    def __exit__(self, *_):
        # The broker goes first: what is connected to it need not say goodbye.
        if self.broker is not None:
            self.broker.__exit__(None)
        for each in (self.other, self.between):
            if each is not None:
                each.close()

    def begin_between(self):
        if self.scenario.get("between") == "newer":
            return Newer(self.broker.address)
        return Proxy(self.broker.address, self.scenario.get("idle_seconds"))

    def connect_other(self):
        """Makes the connection of the other client anew: one that has seen the broker go waits before it looks again."""
        if self.other is not None:
            self.other.close()
        path = self.folder / "data" / "admin.sock"
        until(lambda: can_connect(path), "the broker takes connections on its socket")
        self.other = taffrail.Client(f"unix:{path}")

    def token(self):
        create = [self.broker.binary, "token", "create", "conformance", "--expires", "1d", "--server", f"unix:{self.folder}/data"]
        return subprocess.run(create, check=True, capture_output=True, text=True).stdout.strip()

    def metric(self, name):
        """The value of a gauge of the broker."""
        with urllib.request.urlopen(f"http://{self.http}/metrics") as response:
            found = re.search(rf"^{name} (\S+)$", response.read().decode(), re.MULTILINE)
        return float(found.group(1))

    def stored(self, topic):
        """Everything that is stored, by partition and offset."""
        found = list(self.other.read(topic))
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def end(self, topic):
        """How many records were ever stored."""
        return sum(each.high_watermark for each in self.other.describe_topic(topic).partitions)


def can_connect(path):
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
