"""A proxy between a client and a broker, which loses, delays and cuts what passes when it is told to."""

import contextlib
import socket
import threading
import time

CHUNK = 1 << 14
# What the kernel keeps of what a client does not take; small, so that what has passed is what the client took.
SOCKET_BYTES = 1 << 16
LOOK_SECONDS = 0.02


class Connection:
    """One connection of the client, with its own to the broker behind it."""

    def __init__(self, client, broker):
        self.client, self.broker = client, broker
        # Whose bytes are dropped from now on; the connection stays open.
        self.loses_requests = self.loses_answers = False

    def is_lost(self, is_request):
        return self.loses_requests if is_request else self.loses_answers

    def close(self):
        for end in (self.client, self.broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Proxy:
    """Listens on a port of its own. What it is told is about the connections that there are; later ones are honest."""

    def __init__(self, target, idle_seconds=None):
        """`idle_seconds`: a connection on which nothing passes for so long is cut."""
        host, port = target.rsplit(":", 1)
        self.target = (host, int(port))
        self.idle_seconds = idle_seconds
        self.changed = threading.Condition()
        self.connections = []
        self.accepted = 0
        self.sent = self.received = 0
        self.delay_seconds = 0
        self.last_passed = time.monotonic()
        self.is_closed = False
        self.port = 0
        self.accept_connections()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def accept_connections(self):
        """Takes connections, on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self.port = listener.getsockname()[1]
        self.listener = listener
        self.in_thread(self.accept, listener)

    def refuse_connections(self):
        """Nobody listens any more, and what was there is cut."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def cut(self):
        """Ends all connections, with whatever is on them."""
        with self.changed:
            connections, self.connections = self.connections, []
        for each in connections:
            each.close()

    def lose(self, requests=False, answers=False):
        """Drops what passes from now on, without a sign of it."""
        with self.changed:
            for each in self.connections:
                each.loses_requests |= requests
                each.loses_answers |= answers

    def delay(self, seconds):
        """Holds back every piece that passes for so long."""
        self.delay_seconds = seconds

    def close(self):
        self.is_closed = True
        with contextlib.suppress(OSError):
            self.refuse_connections()

    def quiet_seconds(self):
        """For how long nothing has passed."""
        with self.changed:
            return time.monotonic() - self.last_passed

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self.target)
            except OSError:
                client.close()
                continue
            for end in (client, broker):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client, broker)
            with self.changed:
                self.connections.append(connection)
                self.accepted += 1
                self.last_passed = time.monotonic()
            self.in_thread(self.pump, connection, True)
            self.in_thread(self.pump, connection, False)
            if self.idle_seconds is not None:
                self.in_thread(self.cut_when_idle, connection)

    def pump(self, connection, is_request):
        source, sink = (connection.client, connection.broker) if is_request else (connection.broker, connection.client)
        try:
            while data := source.recv(CHUNK):
                if self.delay_seconds:
                    time.sleep(self.delay_seconds)
                if self.note(connection, is_request, len(data)):
                    sink.sendall(data)
        except OSError:
            pass
        with self.changed:
            # The other end is not told, if nothing of this one passes.
            if connection in self.connections and connection.is_lost(is_request):
                return
            if connection in self.connections:
                self.connections.remove(connection)
        connection.close()

    def note(self, connection, is_request, size):
        """Counts what has come; whether it is to pass."""
        with self.changed:
            if connection.is_lost(is_request):
                return False
            if is_request:
                self.sent += size
            else:
                self.received += size
            self.last_passed = time.monotonic()
            return True

    def cut_when_idle(self, connection):
        while True:
            with self.changed:
                if connection not in self.connections:
                    return
            if self.quiet_seconds() >= self.idle_seconds:
                return connection.close()
            time.sleep(LOOK_SECONDS)

    def in_thread(self, run, *arguments):
        threading.Thread(target=run, args=arguments, daemon=True).start()
