"""A broker for tests: the real one, in memory, on a port of its own.

    with taffrail.testing.Broker() as broker, taffrail.Client(broker.address) as client:
        client.create_topic("orders")
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import IO, Any

import grpc

from taffrail.errors import from_rpc
from taffrail.v1 import admin_pb2, admin_pb2_grpc, broker_pb2, broker_pb2_grpc


class Broker:
    """Runs `taffrail serve --ephemeral` until the block ends, or the program does, however it ends."""

    def __init__(self, binary: str | None = None, *, on_disk: bool = False) -> None:
        """
        :param binary: by default what TAFFRAIL_BINARY names, or `taffrail` on the PATH.
        :param on_disk: keeps its data in a directory that is removed with it. Such a broker can be away for a while, by
            `kill` or `stop` and then `start`; its power cannot be cut, nor its clock moved.
        """
        found = binary or os.environ.get("TAFFRAIL_BINARY") or shutil.which("taffrail")
        if found is None:
            raise FileNotFoundError("there is no taffrail on the PATH, and TAFFRAIL_BINARY does not name one")
        self._binary = found
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="taffrail-"))
        #: Where its data is, if that is on the disk.
        self.data_dir = self._folder / "data" if on_disk else None
        self._log: IO[str] = (self._folder / "log").open("a+")
        self._process: subprocess.Popen[str] | None = None
        #: Where it is, also after a crash or a restart: `HOST:PORT`.
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        """Starts it, and waits until it can be connected to."""
        if self._process is not None and self._process.poll() is None:
            raise RuntimeError("it is running")
        if self._process is not None and self.data_dir is None:
            raise RuntimeError("its data was in memory: use crash instead of kill and start, or Broker(on_disk=True)")
        command = [self._binary, "serve", "--listen", self.address]
        if self.data_dir is None:
            command += ["--ephemeral"]
        else:
            command += ["--with-parent", "--data-dir", str(self.data_dir), "--log-format", "json"]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the broker ended with {self._process.wait()} instead of serving:\n{self.log()}")
        self.address = json.loads(line)["address"]

    def crash(self) -> None:
        """Cuts its power, and waits until it has recovered. All connections break; what was acknowledged is there."""
        with self._calls() as channel:
            with contextlib.suppress(ConnectionError):
                self._call(admin_pb2_grpc.AdminStub(channel).Crash, admin_pb2.CrashRequest())
            clock = broker_pb2.GetClockRequest()
            is_back = False
            # A call that goes out before the channel has noticed that its connection is broken fails with it.
            while not is_back:
                with contextlib.suppress(ConnectionError):
                    self._call(broker_pb2_grpc.BrokerStub(channel).GetClock, clock, wait_for_ready=True)
                    is_back = True

    def advance(self, seconds: float) -> None:
        """Lets time pass for it at once: members time out, records expire."""
        with self._calls() as channel:
            request = admin_pb2.AdvanceRequest(by_ms=round(seconds * 1000))
            self._call(admin_pb2_grpc.AdminStub(channel).Advance, request)

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
        """The log of the broker so far."""
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

    @contextlib.contextmanager
    def _calls(self) -> Iterator[grpc.Channel]:
        # A connection that no client shares.
        with grpc.insecure_channel(self.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            yield channel

    @staticmethod
    def _call(call: Any, request: object, *, wait_for_ready: bool = False) -> None:
        try:
            call(request, timeout=30, wait_for_ready=wait_for_ready)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise ConnectionError(error.details()) from None
            raise from_rpc(error, changes=False) from None

    @staticmethod
    def _reap(process: subprocess.Popen[str]) -> None:
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
