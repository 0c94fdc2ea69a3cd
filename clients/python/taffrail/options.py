"""How a channel is opened: what differs from grpcio's own defaults."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

VERSION = "0.1.0"

#: The largest response that is taken, and asked for.
MAX_RESPONSE_BYTES = 16 << 20

#: grpcio refuses responses above 4 MiB, of which a topic with larger records has some; waits up to two minutes before it
#: connects again; and does not notice a connection that is there on one side only.
_DEFAULTS: Mapping[str, Any] = {
    "grpc.max_receive_message_length": MAX_RESPONSE_BYTES,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 2_000,
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.http2.max_pings_without_data": 0,
    # Otherwise all channels of a process share one connection, and the 256 calls that it may have.
    "grpc.use_local_subchannel_pool": 1,
    "grpc.primary_user_agent": f"taffrail-python/{VERSION}",
}


def channel_options(address: str, is_encrypted: bool, own: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # grpcio names the host of a socket by its path, which HTTP/2 does not take for a name.
    socket = {"grpc.default_authority": "localhost"} if address.startswith("unix:") else {}
    # grpcio would send everything, tokens too, to the proxy of the environment, also what is for this machine.
    direct = {} if is_encrypted else {"grpc.enable_http_proxy": 0}
    return list({**_DEFAULTS, **socket, **direct, **own}.items())


def target(address: str) -> str:
    """An address as gRPC has it: the broker says its own as a URL."""
    for scheme in ("http://", "https://"):
        if address.startswith(scheme):
            return address.removeprefix(scheme).rstrip("/")
    return address


def check_token(token: str, address: str, may_go_anywhere: bool) -> None:
    """Refuses a token that is none, or that everybody on its way could read."""
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("that is no token: it is empty, or has signs in it that no token has")
    if may_go_anywhere or address.startswith("unix:"):
        return
    host = address.removeprefix("http://").rpartition(":")[0].strip("[]")
    try:
        is_here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_here = host == "localhost"
    if not is_here:
        raise ValueError(
            f"the token would go to {address} without encryption; give credentials for TLS, or allow it with"
            " token_without_encryption"
        )
