"""Owns one non-blocking socket that speaks in frames: reads, writes, and how it ends.

What cannot be written at once waits in a bounded queue and goes on when the socket is writable
again. A send never calls back: a failure met there is told from the next poll. Must not know what a
payload means, nor who is at the other side.
"""

from __future__ import annotations

import socket
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Final

from statehouse_cluster.poller import READ, WRITE, Poller
from statehouse_cluster.wire import FrameReader, WireError, frame

if TYPE_CHECKING:
    from collections.abc import Callable

RECEIVE_BYTES_MAX: Final = 256 * 1024
"""Bytes taken from a socket for one readiness, so that no peer holds the thread for long."""

WINDOW_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes that may wait to be written to one socket."""

_BUFFERS_MAX: Final = 64
"""Frames handed to the kernel in one call."""

_KEEPALIVE_IDLE_S: Final = 10
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_COUNT: Final = 3


class Connection:
    """A connected socket, owned by the thread that polls.

    `on_payload` gets each whole payload. `on_end` is called once, with the reason, when the other
    side or an error ends the connection; not when the owner closes it.
    """

    def __init__(
        self,
        connected: socket.socket,
        poller: Poller,
        on_payload: Callable[[bytes], None],
        on_end: Callable[[str], None],
        *,
        payload_bytes_max: int,
    ) -> None:
        self._socket = connected
        self._poller = poller
        self._on_payload = on_payload
        self._on_end = on_end
        self._reader = FrameReader(payload_bytes_max)
        # The system makes its pages when they are used. To make so large a buffer for each read
        # costs more than the read.
        self._received = memoryview(bytearray(RECEIVE_BYTES_MAX))
        self._queue: deque[memoryview] = deque()
        self._payloads_left = 0
        self._failure = ""
        self.queued_bytes = 0
        """Bytes that wait to be written."""
        self.closed = False
        poller.subscribe(connected.fileno(), self._on_event, READ)

    @property
    def is_full(self) -> bool:
        """Whether the window takes nothing more, however small."""
        return self.queued_bytes >= WINDOW_BYTES_MAX

    @property
    def is_between_frames(self) -> bool:
        """Whether nothing was received beyond the payload that is being handled."""
        return self._reader.buffered_bytes == 0 and self._payloads_left == 0

    def allow_payloads(self, bytes_max: int) -> None:
        """Sets the size of the largest payload accepted from now on."""
        self._reader.bytes_max = bytes_max

    def rebind(self, on_payload: Callable[[bytes], None], on_end: Callable[[str], None]) -> None:
        """Sets whom the connection tells from now on."""
        self._on_payload = on_payload
        self._on_end = on_end

    def send(self, payload: bytes) -> bool:
        """Writes or queues a payload; False, and nothing is sent, when the window has no room."""
        if self.closed or self._failure:
            return False
        framed = frame(payload)
        if self.queued_bytes + len(framed) > WINDOW_BYTES_MAX:
            return False
        self._queue.append(memoryview(framed))
        self.queued_bytes += len(framed)
        if len(self._queue) == 1:
            self._write()
        return True

    def fail(self, reason: str) -> None:
        """Closes the connection as the other side's doing; call it from a callback of the poll."""
        if not self.closed:
            self.close()
            self._on_end(reason)

    def close(self) -> None:
        """Closes the socket; what is queued is lost. A second call does nothing."""
        if not self.closed:
            self._leave().close()

    def detach(self) -> socket.socket:
        """Gives the socket away, still non-blocking; the connection counts as closed."""
        return self._leave()

    def _leave(self) -> socket.socket:
        self.closed = True
        self._poller.unsubscribe(self._socket.fileno())
        self._queue.clear()
        self.queued_bytes = 0
        return self._socket

    def _on_event(self, _descriptor: int, mask: int) -> None:
        if mask & WRITE and self._queue:
            self._write()
        if self._failure:
            self.fail(self._failure)
        elif mask & ~WRITE:
            self._read()

    def _read(self) -> None:
        try:
            received_bytes = self._socket.recv_into(self._received)
            payloads = self._reader.feed(self._received[:received_bytes])
        except (BlockingIOError, InterruptedError):
            return
        except (OSError, WireError) as error:
            self.fail(str(error))
            return
        if not received_bytes:
            self.fail("the other side closed the connection")
            return
        self._payloads_left = len(payloads)
        for payload in payloads:
            self._payloads_left -= 1
            self._on_payload(payload)
            if self.closed:
                return

    def _write(self) -> None:
        try:
            while self._queue:
                self._forget(self._socket.sendmsg(list(islice(self._queue, _BUFFERS_MAX))))
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as error:
            # Told by the next poll: a socket that failed is always ready.
            self._failure = str(error)
        waits = bool(self._queue)
        self._poller.modify(self._socket.fileno(), READ | WRITE if waits else READ)

    def _forget(self, sent_bytes: int) -> None:
        self.queued_bytes -= sent_bytes
        while sent_bytes:
            first = self._queue[0]
            if sent_bytes < len(first):
                self._queue[0] = first[sent_bytes:]
                return
            sent_bytes -= len(first)
            self._queue.popleft()


def set_options(peer: socket.socket) -> None:
    """What every socket between peers has: no delay of small frames, dead peers found by probes."""
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)


def is_connected_to_itself(peer: socket.socket) -> bool:
    """True for a socket that dialed a port nobody listens on and was given that very port.

    The kernel picks ports from the range that nodes may be told to listen in; such a connection
    would keep the port from the node it belongs to.
    """
    try:
        return bool(peer.getsockname() == peer.getpeername())
    except OSError:
        return False
