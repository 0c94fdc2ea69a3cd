"""A broker for tests: the real one, on a port of its own, with data that is removed with it.

    with taffrail.testing.Broker() as broker, taffrail.Client(broker.address) as client:
        client.create_topic("orders")
"""

from __future__ import annotations

import atexit
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
from types import TracebackType
from typing import IO

_LISTENING = re.compile(r"listening on https?://(\S+)")


class Broker:
    """Runs `taffrail serve` until the block ends, or the program does."""

    def __init__(self, binary: str | None = None) -> None:
        """:param binary: by default what TAFFRAIL_BINARY names, or `taffrail` on the PATH."""
        found = binary or os.environ.get("TAFFRAIL_BINARY") or shutil.which("taffrail")
        if found is None:
            raise FileNotFoundError("there is no taffrail on the PATH, and TAFFRAIL_BINARY does not name one")
        self._binary = found
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="taffrail-"))
        self.data_dir = self._folder / "data"
        self._log: IO[str] = (self._folder / "log").open("a+")
        self._process: subprocess.Popen[str] | None = None
        #: Where it is, also after a restart: `HOST:PORT`.
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        """Starts it, and waits until it can be connected to."""
        command = [self._binary, "serve", "--data-dir", str(self.data_dir), "--listen", self.address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        listening = _LISTENING.search(line)
        if listening is None:
            raise RuntimeError(f"the broker ended with {self._process.wait()} instead of serving:\n{self.log()}")
        self.address = listening.group(1)

    def kill(self) -> None:
        """kill -9: nothing is finished, nothing is closed. `start` starts it again on what is on the disk."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def stop(self) -> None:
        """SIGTERM, as an operator would: what is under way is finished."""
        if self._process is not None:
            self._process.terminate()
            self._reap(self._process)

    def log(self) -> str:
        """What it has logged."""
        return (self._folder / "log").read_text()

    def close(self) -> None:
        self.kill()
        atexit.unregister(self.close)
        self._log.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Broker:
        atexit.register(self.close)
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _reap(process: subprocess.Popen[str]) -> None:
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
