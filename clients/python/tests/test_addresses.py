"""What an address says about how to connect."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

import taffrail
from taffrail import aio
from taffrail.errors import TaffrailError


@pytest.mark.parametrize("style", ["threads", "asyncio"])
@pytest.mark.parametrize(("scheme", "first"), [("https://", b"\x16"), ("http://", b"P"), ("", b"P")])
def test_a_url_says_whether_to_speak_tls(style: str, scheme: str, first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"{scheme}127.0.0.1:{listener.getsockname()[1]}"
        calling = threading.Thread(target=ask if style == "threads" else ask_with_asyncio, args=[address])
        calling.start()
        connection, _ = listener.accept()
        with connection:
            assert connection.recv(1) == first
    calling.join()


def ask(address: str) -> None:
    with taffrail.Client(address, timeout=5) as client, pytest.raises(TaffrailError):
        client.limits()


def ask_with_asyncio(address: str) -> None:
    async def main() -> None:
        async with aio.Client(address, timeout=5) as client:
            with pytest.raises(TaffrailError):
                await client.limits()

    asyncio.run(main())


def test_a_token_goes_to_a_url_of_tls() -> None:
    taffrail.Client("https://broker.example:9640", token="secret").close()
    with pytest.raises(ValueError, match="without encryption"):
        taffrail.Client("http://broker.example:9640", token="secret")
