"""Access tokens."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

import taffrail
from taffrail.testing import Broker


def made(broker: Broker, name: str) -> str:
    """A token of this name."""
    command = [os.environ.get("TAFFRAIL_BINARY", "taffrail"), "token", "create", name, "--expires", "1h", "--json"]
    output = subprocess.check_output([*command, "--server", f"http://{broker.address}"], text=True)
    text: str = json.loads(output)["text"]
    return text


def test_a_client_shows_its_token_with_every_call(broker: Broker) -> None:
    with taffrail.Client(broker.address, token=made(broker, "writer")) as client:
        client.create_topic("t")
        client.append("t", [taffrail.Record(value=b"x")])
        with client.read("t") as reading:
            assert [record.value for record in reading] == [b"x"]


def test_a_token_that_is_not_right_is_refused(broker: Broker) -> None:
    token = made(broker, "writer")
    wrong = token[:-1] + ("0" if token[-1] != "0" else "1")
    for text, reason in [(wrong, "TOKEN_UNKNOWN"), ("x", "TOKEN_MALFORMED")]:
        with taffrail.Client(broker.address, token=text) as client:
            with pytest.raises(taffrail.TaffrailError) as refused:
                client.create_topic("t")
            assert refused.value.reason == reason


def test_a_token_does_not_go_to_other_machines_without_encryption() -> None:
    for address in ["192.0.2.1:9640", "broker.example:9640", "[2001:db8::1]:9640"]:
        with pytest.raises(ValueError, match="without encryption"):
            taffrail.Client(address, token="x")
        taffrail.Client(address, token="x", token_without_encryption=True).close()
    for address in ["127.0.0.1:9640", "localhost:9640", "[::1]:9640", "unix:/tmp/x"]:
        taffrail.Client(address, token="x").close()
    for token in ["", "a b", "a\nb"]:
        with pytest.raises(ValueError, match="no token"):
            taffrail.Client("127.0.0.1:9640", token=token)
