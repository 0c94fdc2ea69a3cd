"""What is watched while a load goes on: a polite client, the broker's memory; and the load's own processes."""

import contextlib
import json
import math
import pathlib
import subprocess
import sys
import threading
import time

from broker import check, free_port

HERE = pathlib.Path(__file__).resolve().parent
SAMPLE_SECONDS = 0.05
# How long a generator may take to end when its time is over.
END_SECONDS = 20


class Memory:
    """Looks at a process's memory all the time: `now`, and the most since `forget`, in bytes."""

    def __init__(self, pid):
        self.pid = pid
        self.now, self.most = {}, {}
        self.ended = threading.Event()
        self.look()
        self.thread = threading.Thread(target=self.keep_looking, daemon=True)
        self.thread.start()

    def keep_looking(self):
        while not self.ended.wait(SAMPLE_SECONDS):
            with contextlib.suppress(OSError):
                self.look()

    def look(self):
        lines = pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        if "VmRSS" not in fields:
            return
        self.now = {name: int(fields[name].split()[0]) << 10 for name in ["VmRSS", "RssAnon", "VmData"]}
        self.most = {name: max(value, self.most.get(name, 0)) for name, value in self.now.items()}

    def forget(self):
        self.most = dict(self.now)

    def stop(self):
        self.ended.set()
        self.thread.join()


class Polite:
    """The polite client, and its calls so far."""

    def __init__(self, stubs, address, topic, group=None):
        command = [sys.executable, HERE / "polite.py", stubs, address, topic, *([group] if group else [])]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.calls = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            self.calls.append(json.loads(line))

    def between(self, begin, end):
        return [call for call in list(self.calls) if begin <= call[0] < end]

    def wait_for_calls(self, number, seconds):
        deadline = time.monotonic() + seconds
        while len(self.calls) < number:
            check(time.monotonic() < deadline, "the polite client has not begun")
            time.sleep(0.01)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.reader.join()


def slowest(calls):
    """The 99th percentile of how long they took, in seconds."""
    took = sorted(call[1] for call in calls)
    return took[math.ceil(len(took) * 0.99) - 1] if took else 0


def lost(calls):
    return [call for call in calls if call[3]]


def start_load(stubs, name, address, seconds, given):
    command = [sys.executable, HERE / "loads.py", stubs, name, address, str(seconds), json.dumps(given)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def end_load(process, seconds):
    """Waits for a load's end; what it counted."""
    try:
        output, _ = process.communicate(timeout=seconds + END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {}
    return json.loads(output) if output else {}


def run_load(stubs, name, address, seconds, given):
    return end_load(start_load(stubs, name, address, seconds, given), seconds)


@contextlib.contextmanager
def sink(stubs, updates):
    """A server that discards; its address."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen([sys.executable, HERE / "loads.py", stubs, "sink", address, str(updates)])
    try:
        yield address
    finally:
        process.kill()
        process.wait()
