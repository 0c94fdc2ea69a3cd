"""What the tests share: a broker of their own, a proxy that can lose what passes it, and waiting."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

import pytest

import taffrail
from taffrail.testing import Broker

Result = TypeVar("Result")

#: A test that waits for so long fails; none passes because of it.
PATIENCE = 60


@pytest.fixture
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """In memory, but for tests in which it is away for a while."""
    with Broker(on_disk=request.node.get_closest_marker("on_disk") is not None) as broker:
        yield broker


@pytest.fixture
def client(broker: Broker) -> Iterator[taffrail.Client]:
    with taffrail.Client(broker.address) as client:
        yield client


@pytest.fixture
def proxy(broker: Broker) -> Iterator[Proxy]:
    proxy = Proxy(broker.address)
    yield proxy
    proxy.close()


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


def beside(function: Callable[[], Result]) -> Future[Result]:
    """Runs it in another thread, which does not keep the tests from ending."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def take(records: Iterator[taffrail.StoredRecord], number: int) -> list[taffrail.StoredRecord]:
    """The next records, waited for."""
    return beside(lambda: [next(records) for _ in range(number)]).result(PATIENCE)


def values(records: list[taffrail.StoredRecord]) -> list[bytes | None]:
    return [record.value for record in records]


def numbered(*numbers: int, key: bytes | None = b"key") -> list[taffrail.Record]:
    return [taffrail.Record(key=key, value=b"%d" % number) for number in numbers]


class Proxy:
    """Stands between a client and the broker."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.rpartition(":")
        self._broker = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._passes = threading.Event()
        self._passes.set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """How many have come since the last cut."""
        return len(self._sockets) // 2

    def hold_answers(self) -> None:
        """Passes nothing on that the broker says from now on."""
        self._passes.clear()

    def release(self) -> None:
        """Passes on what was held, and what comes."""
        self._passes.set()

    def cut(self) -> None:
        """Ends all connections, with what was held; new ones are as they should be."""
        sockets, self._sockets = self._sockets, []
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._passes.set()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                broker = socket.create_connection(self._broker)
                self._sockets += [client, broker]
                threading.Thread(target=self._pump, args=(client, broker, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(broker, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with contextlib.suppress(OSError), source, sink:
            while data := source.recv(1 << 16):
                if is_answer:
                    self._passes.wait()
                sink.sendall(data)
