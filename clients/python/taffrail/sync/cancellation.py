"""Cancelling calls of another thread. With asyncio a program cancels the task."""

from __future__ import annotations

import functools
import threading
from typing import Any

import grpc

from taffrail.errors import Cancelled
from taffrail.sync.client import Client


class Cancellation:
    """Cancels the calls of a client, from any thread:

        cancellation = taffrail.Cancellation()
        executor.submit(cancellation.client(client).append, "orders", records)
        cancellation.cancel()
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._under_way: set[grpc.Future[Any]] = set()

    def client(self, client: Client) -> Client:
        """The same connection; its calls that have one answer can be cancelled, also the appends of its producers,
        whose `resend` goes on all the same.

        A read or a member is closed instead.
        """
        other = object.__new__(Client)
        other.__dict__ = {**client.__dict__, "_channel": _Channel(client._channel, self)}
        other._connect_stubs()
        return other

    def cancel(self) -> None:
        """Cancels the calls that are under way, and all that come: they raise Cancelled."""
        with self._lock:
            self._is_cancelled = True
            under_way = list(self._under_way)
        for each in under_way:
            each.cancel()

    def _call(self, method: Any, request: Any, **named: Any) -> Any:
        with self._lock:
            if self._is_cancelled:
                unsent = Cancelled("the call was cancelled before it was sent", code=grpc.StatusCode.CANCELLED)
                unsent.was_sent = False
                raise unsent
            call: grpc.Future[Any] = method.future(request, **named)
            self._under_way.add(call)
        try:
            return call.result()
        except grpc.FutureCancelledError:
            raise Cancelled("the call was cancelled", code=grpc.StatusCode.CANCELLED) from None
        finally:
            with self._lock:
                self._under_way.discard(call)


class _Channel:
    """A channel whose calls with one answer can be cancelled."""

    def __init__(self, channel: grpc.Channel, cancellation: Cancellation) -> None:
        self._channel = channel
        self._cancellation = cancellation

    def unary_unary(self, *arguments: Any, **named: Any) -> Any:
        method = self._channel.unary_unary(*arguments, **named)
        return functools.partial(self._cancellation._call, method)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)
