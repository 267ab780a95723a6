"""The wire protocol with time-outs and a bound: clients that send slowly, or nothing, do not hold the server.

A request that is not there whole in time is answered 408 and its connection closed; a connection beyond the bound is
answered 503. Requests that come in one piece, as nearly all do, cost no timer.
"""

import asyncio
import resource
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

SLOWEST = 16 * 1024
"""Bytes a second that extend a request's time: a large body over a slow line is no attack."""
FILES = 512
"""Descriptors that are kept for files while connections take the others."""

LINGER = 1.0
"""Seconds in which a refused client can read the answer."""


def protocol(seconds: float, most: int) -> type[asyncio.Protocol]:
    """A protocol for uvicorn. A request has `seconds` to arrive, and one more for each SLOWEST bytes of it that
    came; a new connection has as long to begin. Connections beyond `most` are refused."""

    class Patient(_Patient):
        allowed = seconds
        connections_at_most = most

    return Patient


def raise_file_limit() -> int:
    """Let the process open as many files as its hard limit allows; how many of them may be connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(hard - FILES, hard // 2) if hard != resource.RLIM_INFINITY else 1 << 20


class _Patient(HttpToolsProtocol):
    allowed: float
    connections_at_most: int
    _timer: asyncio.TimerHandle | None = None
    _unfinished = False
    _ended = False
    _began = 0.0
    _received = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.connections_at_most:
            self._refuse(b"503 Service Unavailable", b"Too many connections", b"retry-after: 5\r\n")
            return
        self._began = self.loop.time()
        self._timer = self.loop.call_later(self.allowed, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._unfinished, self._received = True, 0
        self._began = self.loop.time()

    def on_message_complete(self) -> None:
        self._unfinished = False
        super().on_message_complete()

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._received += len(data)
        super().data_received(data)
        cycle = self.cycle
        if not self._unfinished and cycle is not None and not cycle.response_complete:
            self._stop()  # the request is here: what remains is ours to do
        elif self._timer is None and not self.transport.is_closing():
            self._timer = self.loop.call_later(self.allowed, self._look)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        now = self.loop.time()
        left = self._began + self.allowed + self._received / SLOWEST - now
        if self.flow.read_paused:  # it is we who do not read
            left = self.allowed
        if left > 0:
            self._timer = self.loop.call_later(left, self._look)
        elif self._unfinished and not self._answering():
            self._refuse(b"408 Request Timeout", b"The request did not arrive in time")
        else:
            self.transport.close()

    def _answering(self) -> bool:
        cycle = self.cycle
        return cycle is not None and cycle.response_started and not cycle.response_complete

    def _refuse(self, status: bytes, title: bytes, headers: bytes = b"") -> None:
        body = b'{"title":"%s","status":%s}' % (title, status[:3])
        self.transport.write(
            b"HTTP/1.1 %s\r\ncontent-type: application/problem+json\r\ncontent-length: %d\r\n%sconnection: close\r\n\r\n%s"
            % (status, len(body), headers, body)
        )
        self.transport.write_eof()
        self._ended = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        # closing at once would reset the connection under the answer when more is still being sent
        self._timer = self.loop.call_later(LINGER, self.transport.close)
