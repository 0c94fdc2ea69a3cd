"""TLS with grpcio: clients with and without a certificate, those who speak no TLS, and files that are replaced while a
stream runs.

Usage: check_tls.py BINARY CERTIFICATES, run by a Python that has grpcio. CERTIFICATES is the example of this name.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import grpc

from broker import Broker, check, say

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients" / "python"))

import taffrail  # noqa: E402


def main():
    binary, certificates = sys.argv[1:]
    with tempfile.TemporaryDirectory() as scratch:
        before, after, used = (pathlib.Path(scratch, name) for name in ("before", "after", "used"))
        for folder in (before, after):
            subprocess.run([certificates, folder], check=True)
        shutil.copytree(before, used)
        os.environ["TAFFRAIL_TLS_CERTIFICATE"] = str(used / "broker.pem")
        os.environ["TAFFRAIL_TLS_KEY"] = str(used / "broker.key")
        with Broker(binary, pathlib.Path(scratch, "data")) as broker:
            strangers(broker, before, after)
            replaced(broker, before, after, used)
            broker.stop()
        os.environ["TAFFRAIL_TLS_CLIENT_CA"] = str(before / "ca.pem")
        with Broker(binary, pathlib.Path(scratch, "data")) as broker:
            known(broker, after)
            broker.stop()


def client(broker, folder, shown=False, **options):
    """A client that trusts the authority of a folder, and shows the certificate there if it is to."""
    own = [(folder / name).read_bytes() for name in ("client.key", "client.pem")] if shown else []
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *own)
    return taffrail.Client(broker.address, credentials=credentials, **options)


def refused(what, connected):
    """A client that must not get in."""
    with connected as stranger:
        try:
            stranger.with_timeout(3).create_topic("never")
        except taffrail.TaffrailError as error:
            return say(f"{what}: {error}")
    check(False, f"{what} was let in")


def strangers(broker, trusted, unknown):
    with client(broker, trusted) as own:
        own.create_topic("t")
    refused("a client that does not know the authority", client(broker, unknown))
    refused("a client without TLS", taffrail.Client(broker.address))
    broker.wait_for_log("their clients spoke no TLS")


def replaced(broker, before, after, used):
    """The files are replaced: new connections have the new certificate, and a read goes on."""
    with client(broker, before) as own:
        reading = own.read("t", follow=True)
        own.append("t", [taffrail.Record(value=b"before")])
        check(next(reading).value == b"before", "the first record was not read")
        for name in ("broker.pem", "broker.key"):
            shutil.copy(after / name, used / name)
        broker.wait_for_log("connections that begin from now on have the certificate")
        with client(broker, after) as newcomer:
            newcomer.append("t", [taffrail.Record(value=b"after")])
        check(next(reading).value == b"after", "the read did not go on")
        reading.close()
        refused("a new client that knows the authority before", client(broker, before))
    say("a read went on while the certificate was replaced")


def known(broker, folder):
    """Clients show a certificate; the authority is that of the folder before, the broker's that after."""
    before = folder.parent / "before"
    own = [(before / name).read_bytes() for name in ("client.key", "client.pem")]
    credentials = grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), *own)
    with taffrail.Client(broker.address, credentials=credentials) as shown:
        check(shown.describe_topic("t").name == "t", "the topic is not there")
    refused("a client without a certificate", client(broker, folder))
    refused("a client of another authority", client(broker, folder, shown=True))
    broker.wait_for_log("the handshake of TLS has failed")


main()
