"""What grpcio's asyncio interface does: channels, streams, waiting. `taffrail.sync.connection` is the same without."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio

from taffrail.errors import Closed, TaffrailError, Unavailable, ended_by_close, from_rpc
from taffrail.options import channel_options, target
from taffrail.v1 import groups_pb2 as pb

Response = TypeVar("Response")

Channel = grpc.aio.Channel
Lock = asyncio.Lock
Flag = threading.Event
sleep = asyncio.sleep


def open_channel(address: str, credentials: grpc.ChannelCredentials | None, options: dict[str, Any]) -> Channel:
    arguments = channel_options(address, credentials is not None, options)
    if credentials is None:
        return grpc.aio.insecure_channel(target(address), arguments)
    return grpc.aio.secure_channel(target(address), credentials, arguments)


async def call(closed: Flag, method: Any, request: Any, changes: bool, **named: Any) -> Any:
    """Makes a call that has one answer."""
    if closed.is_set():
        raise Closed
    try:
        return await method(request, **named)
    except grpc.RpcError as error:
        raise from_rpc(error, changes) from error
    except asyncio.CancelledError:
        if is_cancelled_by_close(closed):
            raise ended_by_close(changes) from None
        raise


def open_stream(closed: Flag, method: Any, request: Any, **named: Any) -> Any:
    """Begins a call that has many."""
    if closed.is_set():
        raise Closed
    return method(request, **named)


def is_cancelled_by_close(closed: Flag) -> bool:
    """grpcio says to whoever waits for a call of a channel that is closed that the task was cancelled."""
    task = asyncio.current_task()
    return closed.is_set() and (task is None or not task.cancelling())


class Responses(Generic[Response]):
    """The responses of a call. The call ends with `close`, or when this is dropped."""

    def __init__(self, call: Any, closed: Flag) -> None:
        self._call = call
        self._iterator = call.__aiter__()
        self._is_closed = False
        self._closed = closed

    async def next(self) -> Response | None:
        """The next one; None at the end, and once it is closed."""
        try:
            response: Response = await self._iterator.__anext__()
            return response
        except StopAsyncIteration:
            return None
        except asyncio.CancelledError:
            # The call was cancelled, not the task that waits for it.
            if self._is_closed:
                return None
            if is_cancelled_by_close(self._closed):
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
        self._up: asyncio.Queue[pb.ConsumeRequest | None] = asyncio.Queue()
        self.send(pb.ConsumeRequest(join=join))
        self._responses: Responses[pb.ConsumeResponse] = consume(self._requests(), metadata=metadata)
        self._came: asyncio.Queue[pb.ConsumeResponse | TaffrailError] = asyncio.Queue()
        self._reader = asyncio.create_task(self._read())

    def send(self, message: pb.ConsumeRequest) -> None:
        self._up.put_nowait(message)

    async def get(self, timeout: float | None = None) -> pb.ConsumeResponse | TaffrailError:
        """The next message, or why no more come."""
        return await asyncio.wait_for(self._came.get(), timeout)

    def poll(self) -> pb.ConsumeResponse | TaffrailError | None:
        """The next message, as `get`; None if nothing has come yet."""
        if self._came.empty():
            return None
        return self._came.get_nowait()

    def finish(self) -> None:
        """Ends this side of the stream."""
        self._up.put_nowait(None)

    def close(self) -> None:
        self.finish()
        self._responses.close()
        # The loop may be gone before what it ran is dropped.
        with contextlib.suppress(RuntimeError):
            self._reader.cancel()

    async def _requests(self) -> AsyncIterator[pb.ConsumeRequest]:
        while True:
            try:
                message = await asyncio.wait_for(self._up.get(), self._heartbeat)
            except TimeoutError:
                message = pb.ConsumeRequest(still_working=pb.StillWorking())
            if message is None:
                return
            yield message

    async def _read(self) -> None:
        try:
            while (response := await self._responses.next()) is not None:
                self._came.put_nowait(response)
            self._came.put_nowait(Unavailable("the broker has ended the stream"))
        except grpc.RpcError as error:
            self._came.put_nowait(from_rpc(error, changes=False))
        except Closed as error:
            self._came.put_nowait(error)
        except asyncio.CancelledError:
            # Ends the wait for a message.
            self._came.put_nowait(Unavailable("the stream was closed"))
            raise
