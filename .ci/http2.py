"""As much of HTTP/2 as a load needs: a client that keeps to its windows and counts answers, and a sink.

Blocks of headers are written without the dynamic table, so that they mean the same on every connection.
"""

import asyncio
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
CANCEL = 8
FRAME_HEADER_BYTES = 9
DEFAULT_WINDOW, DEFAULT_FRAME_BYTES = 65_535, 16_384
LARGEST_WINDOW = (1 << 31) - 1
# The largest frame that a load sends, where the server takes it.
FRAME_BYTES = 64 << 10
# What is taken by a load's own connections, and by a sink.
TAKEN_FRAME_BYTES = 1 << 20
SINK_STREAM_WINDOW, SINK_WINDOW = 8 << 20, 16 << 20


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def settings(**values):
    numbers = {"window": INITIAL_WINDOW_SIZE, "frame": MAX_FRAME_SIZE}
    pairs = [struct.pack(">HI", numbers[name], value) for name, value in values.items()]
    return frame(SETTINGS, 0, 0, b"".join(pairs))


def window_update(stream, more):
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", more))


def message(content):
    """A message as gRPC frames it."""
    return b"\0" + struct.pack(">I", len(content)) + content


def literal(name, value):
    return bytes([0, len(name)]) + name + bytes([len(value)]) + value


def request_headers(path):
    path, authority = path.encode(), b"localhost"
    named = b"\x04" + bytes([len(path)]) + path + b"\x01" + bytes([len(authority)]) + authority
    return b"\x83\x86" + named + literal(b"te", b"trailers") + literal(b"content-type", b"application/grpc")


class Frames(asyncio.Protocol):
    """Takes bytes apart into frames. The content of DATA is only counted, however large it is."""

    def __init__(self):
        self.transport = None
        self.rest = bytearray()
        self.skipped = 0
        self.writable = asyncio.Event()
        self.writable.set()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _):
        self.writable.set()
        if not self.lost.done():
            self.lost.set_result(None)

    def write(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def pause_writing(self):
        self.writable.clear()

    def resume_writing(self):
        self.writable.set()

    def data_received(self, data):
        if self.skipped >= len(data):
            self.skipped -= len(data)
            return
        self.rest += data[self.skipped :]
        self.skipped = 0
        at, end = 0, len(self.rest)
        while end - at >= FRAME_HEADER_BYTES:
            high, low, kind, flags, stream = struct.unpack_from(">HBBBI", self.rest, at)
            length = high << 8 | low
            content = at + FRAME_HEADER_BYTES
            if kind != DATA and end - content < length:
                break
            at = content + length
            payload = b"" if kind == DATA else bytes(self.rest[content:at])
            self.frame_received(kind, flags, stream, length, payload)
        if at > end:
            self.skipped = at - end
        del self.rest[:at]


class End:
    """How a call ends, for one who may have stopped waiting for it."""

    def __init__(self):
        self.known = asyncio.get_running_loop().create_future()

    def set(self, succeeded):
        if not self.known.done():
            self.known.set_result(succeeded)


class Connection(Frames):
    """A client's connection."""

    def __init__(self, window=LARGEST_WINDOW, updates=True):
        """`window` is how much the server may send on a stream; without `updates` a connection never opens its own."""
        super().__init__()
        self.granted, self.updates = window, updates
        self.window = self.stream_window = DEFAULT_WINDOW
        self.frame_bytes = DEFAULT_FRAME_BYTES
        # Of calls under way: the window, and what to call when they end.
        self.windows, self.ends = {}, {}
        self.answered = set()
        self.next_stream = 1
        self.received = 0
        self.ready = asyncio.Event()
        self.opened = asyncio.Event()

    def connection_made(self, transport):
        super().connection_made(transport)
        hello = PREFACE + settings(window=self.granted, frame=TAKEN_FRAME_BYTES)
        if self.updates:
            hello += window_update(0, LARGEST_WINDOW - DEFAULT_WINDOW)
        transport.write(hello)

    def connection_lost(self, error):
        super().connection_lost(error)
        self.ready.set()
        for stream in list(self.ends):
            self.end(stream, None)

    def frame_received(self, kind, flags, stream, length, payload):
        if kind == DATA:
            self.received += length
            self.answered.add(stream)
        elif kind == HEADERS and flags & END_STREAM:
            self.end(stream, stream in self.answered)
        elif kind == RST_STREAM:
            self.end(stream, False)
        elif kind == WINDOW_UPDATE:
            self.open_window(stream, struct.unpack(">I", payload)[0])
        elif kind == SETTINGS and not flags & ACK:
            self.take_settings(payload)
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))

    def take_settings(self, payload):
        for number, value in struct.iter_unpack(">HI", payload):
            if number == MAX_FRAME_SIZE:
                self.frame_bytes = min(value, FRAME_BYTES)
            elif number == INITIAL_WINDOW_SIZE:
                more, self.stream_window = value - self.stream_window, value
                self.windows = {stream: window + more for stream, window in self.windows.items()}
        self.write(frame(SETTINGS, ACK, 0))
        self.ready.set()
        self.wake()

    def open_window(self, stream, more):
        if not stream:
            self.window += more
        elif stream in self.windows:
            self.windows[stream] += more
        self.wake()

    def wake(self):
        self.opened.set()
        self.opened = asyncio.Event()

    def end(self, stream, succeeded):
        """`succeeded` is None where the connection has ended."""
        self.windows.pop(stream, None)
        self.answered.discard(stream)
        done = self.ends.pop(stream, None)
        if done:
            done(succeeded)
        self.wake()

    def begin(self, headers, done=None):
        """Begins a call; `done` is called with whether it succeeded."""
        stream = self.open_stream(done)
        self.write(frame(HEADERS, END_HEADERS, stream, headers))
        return stream

    def open_stream(self, done):
        stream = self.next_stream
        self.next_stream += 2
        self.windows[stream] = self.stream_window
        self.ends[stream] = done
        return stream

    def call_at_once(self, headers, body, done=None):
        """Sends a whole small call; false where the connection's window does not allow that."""
        if self.window < len(body) or self.lost.done():
            return False
        stream = self.open_stream(done)
        self.window -= len(body)
        self.write(frame(HEADERS, END_HEADERS, stream, headers) + frame(DATA, END_STREAM, stream, body))
        return True

    async def send(self, stream, body, flags=0):
        """Sends as the windows allow; false if the call has ended before all of it was sent."""
        rest = memoryview(body)
        while rest:
            if stream not in self.windows:
                return False
            allowed = min(self.window, self.windows[stream], self.frame_bytes, len(rest))
            if allowed <= 0:
                await self.opened.wait()
                continue
            self.window -= allowed
            self.windows[stream] -= allowed
            piece, rest = bytes(rest[:allowed]), rest[allowed:]
            self.write(frame(DATA, 0 if rest else flags, stream, piece))
            await self.writable.wait()
            # Others, and what has come in, have their turn.
            await asyncio.sleep(0)
        return True

    async def call(self, headers, body):
        """A whole call: whether it succeeded, None if the connection ended."""
        ended = End()
        stream = self.begin(headers, ended.set)
        if not await self.send(stream, body, END_STREAM) and not self.lost.done():
            self.reset(stream)
        return await ended.known

    def reset(self, stream):
        self.ends.pop(stream, None)
        self.windows.pop(stream, None)
        self.write(frame(RST_STREAM, 0, stream, struct.pack(">I", CANCEL)))


class Flood(Connection):
    """Small calls, all of them alike, begun as fast as possible: only how many have ended is known, and how."""

    def __init__(self):
        super().__init__()
        self.begun = self.succeeded = self.ended = 0

    def begin_many(self, number, headers, body):
        """Begins so many calls, or as many as the connection's window allows; how many."""
        number = min(number, self.window // len(body))
        opening, content = frame(HEADERS, END_HEADERS, 0, headers), frame(DATA, END_STREAM, 0, body)
        # Both without the streams' numbers, which end the header of a frame.
        before, between = opening[: FRAME_HEADER_BYTES - 4], headers + content[: FRAME_HEADER_BYTES - 4]
        pieces = []
        for stream in range(self.next_stream, self.next_stream + 2 * number, 2):
            which = stream.to_bytes(4, "big")
            pieces += [before, which, between, which, body]
        self.write(b"".join(pieces))
        self.next_stream += 2 * number
        self.window -= number * len(body)
        self.begun += number
        return number

    def under_way(self):
        return self.begun - self.ended

    def frame_received(self, kind, flags, stream, length, payload):
        # An answer begins with headers and ends with more of them; a refusal is both in one.
        if kind == HEADERS and flags & END_STREAM:
            self.ended += 1
        elif kind == HEADERS:
            self.succeeded += 1
        elif kind != DATA and kind != RST_STREAM:
            super().frame_received(kind, flags, stream, length, payload)


async def connect(address, made=Connection, **options):
    """A connection on which the server has said its settings; a ConnectionError where it has closed instead."""
    host, port = address.split(":")
    _, connection = await asyncio.get_running_loop().create_connection(lambda: made(**options), host, int(port))
    await connection.ready.wait()
    if connection.lost.done():
        raise ConnectionResetError("closed before any settings")
    return connection


ANSWER_HEADERS = b"\x88" + literal(b"content-type", b"application/grpc")
ANSWER_TRAILERS = literal(b"grpc-status", b"0")


class Sink(Frames):
    """A server's end that discards: it answers each call that is whole with success and an empty message."""

    def __init__(self, updates):
        super().__init__()
        self.updates = updates
        self.preface = len(PREFACE)

    def connection_made(self, transport):
        super().connection_made(transport)
        hello = settings(window=SINK_STREAM_WINDOW, frame=TAKEN_FRAME_BYTES)
        transport.write(hello + window_update(0, SINK_WINDOW - DEFAULT_WINDOW))

    def data_received(self, data):
        before = min(self.preface, len(data))
        self.preface -= before
        super().data_received(data[before:])

    def frame_received(self, kind, flags, stream, length, payload):
        answer = b""
        if kind == DATA and self.updates and length:
            answer += window_update(0, length)
            answer += b"" if flags & END_STREAM else window_update(stream, length)
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            answer += frame(HEADERS, END_HEADERS, stream, ANSWER_HEADERS)
            answer += frame(DATA, 0, stream, message(b""))
            answer += frame(HEADERS, END_HEADERS | END_STREAM, stream, ANSWER_TRAILERS)
        elif kind == SETTINGS and not flags & ACK:
            answer = frame(SETTINGS, ACK, 0)
        elif kind == PING and not flags & ACK:
            answer = frame(PING, ACK, 0, payload)
        if answer:
            self.write(answer)
