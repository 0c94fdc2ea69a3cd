"""The broker for tests leaves nothing running."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys

import pytest

from conftest import wait_until

PROGRAM = """
import sys, time, taffrail.testing
with taffrail.testing.Broker(on_disk=sys.argv[1] == "disk") as broker:
    print(broker.address, flush=True)
    time.sleep(600)
"""


def is_there(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port))).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_a_broker_ends_with_its_program_also_by_kill_9(
    where: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, where], stdout=subprocess.PIPE, text=True)
    with program:
        assert program.stdout is not None
        address = program.stdout.readline().strip()
        assert is_there(address)
        program.kill()
    wait_until(lambda: not is_there(address))
