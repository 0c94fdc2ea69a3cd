"""What grpcio's interface for threads does: channels, streams, waiting. `taffrail.aio.connection` is the same for
asyncio."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import grpc

from taffrail.errors import Closed, TaffrailError, Unavailable, ended_by_close, from_rpc
from taffrail.options import channel_options, target
from taffrail.v1 import groups_pb2 as pb

Response = TypeVar("Response")

Channel = grpc.Channel
Lock = threading.Lock
Flag = threading.Event
sleep = time.sleep


def open_channel(address: str, credentials: grpc.ChannelCredentials | None, options: dict[str, Any]) -> Channel:
    arguments = channel_options(address, credentials is not None, options)
    if credentials is None:
        return grpc.insecure_channel(target(address), arguments)
    return grpc.secure_channel(target(address), credentials, arguments)


def call(closed: Flag, method: Any, request: Any, changes: bool, **named: Any) -> Any:
    """Makes a call that has one answer."""
    try:
        return open_stream(closed, method, request, **named)
    except grpc.RpcError as error:
        if closed.is_set() and error.code() is grpc.StatusCode.CANCELLED:
            raise ended_by_close(changes) from error
        raise from_rpc(error, changes) from error


def open_stream(closed: Flag, method: Any, request: Any, **named: Any) -> Any:
    """Begins a call."""
    if closed.is_set():
        raise Closed
    try:
        return method(request, **named)
    except ValueError:
        # What grpcio says where the channel was closed in this moment.
        if closed.is_set():
            raise Closed from None
        raise


class Responses(Generic[Response]):
    """The responses of a call. The call ends with `close`, or when this is dropped."""

    def __init__(self, call: Any, closed: Flag) -> None:
        self._call = call
        self._is_closed = False
        self._closed = closed

    def next(self) -> Response | None:
        """The next one; None at the end, and once it is closed."""
        try:
            response: Response = next(self._call)
            return response
        except StopIteration:
            return None
        except grpc.RpcError:
            if self._is_closed:
                return None
            if self._closed.is_set():
                raise Closed from None
            raise

    def close(self) -> None:
        self._is_closed = True
        self._call.cancel()

    def __del__(self) -> None:
        self._call.cancel()


class MemberStream:
    """The stream of a member: what comes is taken off it at once, and a heartbeat is sent where nothing else is."""

    def __init__(self, consume: Callable[..., Any], join: pb.JoinGroup, heartbeat: float, metadata: Any) -> None:
        self._heartbeat = heartbeat
        self._up: queue.SimpleQueue[pb.ConsumeRequest | None] = queue.SimpleQueue()
        self.send(pb.ConsumeRequest(join=join))
        self._responses: Responses[pb.ConsumeResponse] = consume(self._requests(), metadata=metadata)
        self._came: queue.SimpleQueue[pb.ConsumeResponse | TaffrailError] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="taffrail-member", daemon=True).start()

    def send(self, message: pb.ConsumeRequest) -> None:
        self._up.put(message)

    def get(self, timeout: float | None = None) -> pb.ConsumeResponse | TaffrailError:
        """The next message, or why no more come."""
        try:
            return self._came.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None

    def poll(self) -> pb.ConsumeResponse | TaffrailError | None:
        """The next message, as `get`; None if nothing has come yet."""
        try:
            return self._came.get_nowait()
        except queue.Empty:
            return None

    def finish(self) -> None:
        """Ends this side of the stream."""
        self._up.put(None)

    def close(self) -> None:
        self.finish()
        self._responses.close()

    def _requests(self) -> Iterator[pb.ConsumeRequest]:
        while True:
            try:
                message = self._up.get(timeout=self._heartbeat)
            except queue.Empty:
                message = pb.ConsumeRequest(still_working=pb.StillWorking())
            if message is None:
                return
            yield message

    def _read(self) -> None:
        try:
            while (response := self._responses.next()) is not None:
                self._came.put(response)
            self._came.put(Unavailable("the broker has ended the stream"))
        except grpc.RpcError as error:
            self._came.put(from_rpc(error, changes=False))
        except Closed as error:
            self._came.put(error)
