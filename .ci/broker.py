"""Runs the binary: a broker on a port of its own, and commands against it."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

START_SECONDS = 30
TICKS = os.sysconf("SC_CLK_TCK")
# How many of the last are shown when a check fails.
LOG_LINES = 30


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """A broker on one data directory and one port, through any number of starts."""

    def __init__(self, binary, data_dir, wrap=(), flags=()):
        """`wrap` is a command that is to run `serve`, which has these flags too."""
        self.binary = str(pathlib.Path(binary).resolve())
        self.wrap, self.flags = list(wrap), list(flags)
        self.data_dir = str(data_dir)
        self.address = f"127.0.0.1:{free_port()}"
        self.process = None
        self.logged_before = 0
        self.log_file = tempfile.TemporaryFile("a+")

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__(True)
            raise
        return self

    def __exit__(self, failure, *_):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if failure:
            print("".join(f"   | {line}\n" for line in self.log()[-LOG_LINES:]), end="", flush=True)
        self.log_file.close()

    def log(self):
        """The lines that it has logged so far, in all its starts."""
        self.log_file.seek(0)
        return self.log_file.read().splitlines()

    def wait_for_log(self, text):
        """Waits until this process has logged a line with this text."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if any(text in line for line in self.log()[self.logged_before :]):
                return
            check(self.process.poll() is None, f"the broker ended with code {self.process.poll()}")
            time.sleep(0.01)
        fail(f"the broker did not log: {text}")

    def start(self):
        """Starts it and waits until it takes connections."""
        self.logged_before = len(self.log())
        self.process = subprocess.Popen(
            [*self.wrap, self.binary, "serve", "--data-dir", self.data_dir, "--listen", self.address, *self.flags],
            stdout=subprocess.DEVNULL,
            stderr=self.log_file,
        )
        host, port = self.address.split(":")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            check(self.process.poll() is None, f"the broker ended with code {self.process.poll()} instead of serving")
            with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=1):
                return
            time.sleep(0.01)
        fail(f"the broker did not take connections within {START_SECONDS} s")

    def kill(self):
        """kill -9: nothing is drained, nothing is closed."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """SIGTERM, as an operator would."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=START_SECONDS)
        check(code == 0, f"the broker ended with code {code} after SIGTERM")

    def processor_seconds(self, without=()):
        """The processor time that it has taken since its start, without that of its threads with these names."""
        task = pathlib.Path(f"/proc/{self.process.pid}/task")
        return seconds_of(task.parent) - sum(
            seconds_of(thread) for thread in task.iterdir() if (thread / "comm").read_text().strip() in without
        )

    def environment(self):
        return {**os.environ, "TAFFRAIL_SERVER": f"http://{self.address}"}

    def command(self, *arguments):
        return [self.binary, *map(str, arguments), "--server", f"http://{self.address}"]

    def run(self, *arguments):
        """Runs a command against the broker and answers with what it printed, as bytes."""
        result = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE)
        check(result.returncode == 0, f"`taffrail {' '.join(map(str, arguments))}` ended with code {result.returncode}")
        return result.stdout


def seconds_of(process):
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def check(holds, otherwise):
    if not holds:
        fail(otherwise)


def fail(message):
    sys.exit(f"FAILED: {message}")


def say(message):
    print(f"   {message}", flush=True)
