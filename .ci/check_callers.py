"""Who calls, with the Python and the Go client: JWTs of an issuer, what grants say to them, and quotas, which a client is
told how long to wait for.

Usage: check_callers.py BINARY, run by a Python that has grpcio, with node and go on the PATH.
"""

import base64
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from broker import Broker, check, say

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "clients" / "python"))

import taffrail  # noqa: E402

ISSUER, AUDIENCE = "https://login.example/realms/shop", "taffrail"
# Appends that a second allows the principals with the role `guests`, in bytes.
LIMIT = 100_000
# More than it takes to compile the test.
PATIENCE_SECONDS = 300
CONFIG = """
[jwt]
issuer = "{issuer}"
keys = "{keys}"
audience = "{audience}"
roles_claim = "roles"

[[grant]]
principals = ["jwt:orders", "jwt-role:guests"]
operations = ["append", "read", "topic-admin"]
topics = ["orders*"]

[[quota]]
principals = ["jwt-role:guests"]
append_bytes = {limit}
"""


def main():
    now = int(time.time())
    claims = [
        {"sub": "orders", "exp": now + 600},
        {"sub": "orders", "exp": now - 600},
        {"sub": "orders", "exp": now + 600, "aud": "others"},
        {"sub": "somebody", "exp": now + 600, "roles": ["guests"]},
        {"sub": "another", "exp": now + 600, "roles": ["guests"]},
        {"sub": "go", "exp": now + 600, "roles": ["guests"]},
    ]
    keys, (own, expired, for_others, guest, another, guest_with_go) = issued(claims)
    with tempfile.TemporaryDirectory() as scratch:
        (file, config) = (pathlib.Path(scratch, name) for name in ("jwks.json", "taffrail.toml"))
        file.write_text(json.dumps(keys))
        config.write_text(CONFIG.format(issuer=ISSUER, audience=AUDIENCE, keys=file, limit=LIMIT))
        with Broker(sys.argv[1], pathlib.Path(scratch, "data"), flags=("--config", str(config))) as broker:
            named(broker, own)
            refused(broker, expired, "TOKEN_EXPIRED")
            refused(broker, for_others, "TOKEN_AUDIENCE")
            refused(broker, forged(own), "TOKEN_SIGNATURE")
            denied(broker, own)
            # It waits for its quota meanwhile.
            with with_go(broker, own, expired, guest_with_go) as go:
                bounded(broker, guest, another, own)
                passed(go)
            broker.stop()


def issued(claims):
    """The issuer's public keys, and a token for each of the claims."""
    text = json.dumps([{"iss": ISSUER, "aud": AUDIENCE, **each} for each in claims])
    command = ["node", ROOT / ".ci" / "issuer.mjs"]
    made = json.loads(subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return made["keys"], made["tokens"]


def forged(token):
    """The same token for another caller, with the signature that it had."""
    header, body, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    body = base64.urlsafe_b64encode(json.dumps({**claims, "sub": "local-admin"}).encode()).decode().rstrip("=")
    return f"{header}.{body}.{signature}"


def client(broker, token):
    return taffrail.Client(broker.address, token=token)


def error_of(what, call):
    try:
        call()
    except taffrail.TaffrailError as error:
        return error
    check(False, f"{what} was not refused")


def named(broker, token):
    """A token that the issuer has signed is taken for what it names."""
    with client(broker, token) as own:
        own.create_topic("orders")
        own.append("orders", [taffrail.Record(value=b"one")])
        with own.read("orders") as reading:
            check([record.value for record in reading] == [b"one"], "the record was not read")
    say("a JWT of the issuer is taken")


def refused(broker, token, reason):
    """It is no token of a caller at all, with the reason, and nothing is stored."""
    with client(broker, token) as stranger:
        error = error_of(reason, lambda: stranger.append("orders", [taffrail.Record(value=b"never")]))
    check(isinstance(error, taffrail.Refused) and error.code.name == "UNAUTHENTICATED", f"{reason}: {error!r}")
    check(error.reason == reason, f"{error.reason} instead of {reason}")
    say(f"{reason}: {error}")


def denied(broker, token):
    with client(broker, token) as own:
        error = error_of("another topic", lambda: own.append("payments", [taffrail.Record(value=b"never")]))
    check(error.code.name == "PERMISSION_DENIED" and "jwt:orders" in error.message, f"another topic: {error!r}")


def bounded(broker, token, of_another, of_one_without):
    """The debt of a large append is more than a call waits for; another principal has a count of its own; and the client
    goes on when the time that it is told has passed."""
    large, small = ([taffrail.Record(value=b"x" * size)] for size in (7 * LIMIT, 10))
    with client(broker, token) as guest, client(broker, of_another) as other, client(broker, of_one_without) as free:
        guest.append("orders", large)
        began = time.monotonic()
        error = error_of("an append above the quota", lambda: guest.append("orders", small))
        took = time.monotonic() - began
        check(error.code.name == "RESOURCE_EXHAUSTED", f"above the quota: {error!r}")
        check(error.reason == "QUOTA_EXCEEDED", f"above the quota: {error.reason}")
        said = {name: error.metadata.get(name) for name in ("principal", "quota", "limit")}
        expected = {"principal": "jwt:somebody", "quota": "append_bytes", "limit": str(LIMIT)}
        check(said == expected, f"above the quota it says {said}")
        check(error.retry_after and 0 < error.retry_after < 10, f"it is to be tried again after {error.retry_after} s")
        other.append("orders", small)
        for _ in range(3):
            free.append("orders", large)
        time.sleep(error.retry_after)
        guest.append("orders", small)
    say(f"refused after {took * 1000:.0f} ms, to be tried again after {error.retry_after:.1f} s, and then it is taken: {error}")


@contextlib.contextmanager
def with_go(broker, own, expired, guest):
    """The test of the Go client that has these callers."""
    callers = {"address": broker.address, "own": own, "expired": expired, "guest": guest, "limit": LIMIT}
    environment = {**os.environ, "GOFLAGS": "-mod=readonly", "TAFFRAIL_CALLERS": json.dumps(callers)}
    test = ["go", "test", "-count=1", "-v", "-run", "^TestCallersWithAJWT$", "."]
    go = subprocess.Popen(test, cwd=ROOT / "clients" / "go", env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield go
    finally:
        if go.poll() is None:
            go.kill()
            go.wait()


def passed(go):
    output, _ = go.communicate(timeout=PATIENCE_SECONDS)
    check(go.returncode == 0 and "--- PASS" in output, f"the Go client:\n{output}")
    say("the Go client is told the same")


main()
