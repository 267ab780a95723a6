"""The wire protocol with time-outs and a bound: clients that send slowly, or nothing, do not hold the server.

A request that is not there whole in time is answered 408 and its connection closed; a connection beyond the bound is
answered 503. Both have the body that the path's service gives to its other errors. An answer that nobody takes is
given up. Requests that come in one piece, and answers that are taken at once, as nearly all, cost no timer.
"""

import asyncio
import fcntl
import resource
import sys
import termios
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.http.contract import Answer

SLOWEST = 16 * 1024
"""Bytes a second that extend a request's time: a large body over a slow line is no attack."""
FILES = 512
"""Descriptors that are kept for files while connections take the others."""

LINGER = 1.0
"""Seconds in which a refused client can read the answer."""


Refusal = Callable[[str, HTTPStatus, str], Answer]
"""Words an error, given the path as far as it came, the status, and what was wrong. The answer's body is bytes."""


def protocol(seconds: float, most: int, refusal: Refusal) -> type[asyncio.Protocol]:
    """A protocol for uvicorn. A request has `seconds` to arrive, and one more for each SLOWEST bytes of it that
    came; a new connection has as long to begin, and a client to take something of an answer. Connections beyond
    `most` are refused. `refusal` words both."""

    class Patient(_Patient):
        allowed = seconds
        connections_at_most = most
        worded = staticmethod(refusal)

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
    worded: Refusal
    _timer: asyncio.TimerHandle | None = None
    _untaken: asyncio.TimerHandle | None = None
    _unfinished = False
    _ended = False
    _began = 0.0
    _received = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > self.connections_at_most:
            text = f"There are {self.connections_at_most} connections already; no more are served"
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE, text, {"retry-after": "5"})
            if len(self.connections) > self.connections_at_most + FILES // 2:
                self.transport.close()  # those that linger must leave descriptors for files
            return
        self._began = self.loop.time()
        self._timer = self.loop.call_later(self.allowed, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._taken()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._taken()
        self._watch_taking(self._waiting())

    def resume_writing(self) -> None:
        self._taken()
        super().resume_writing()

    def _watch_taking(self, before: int) -> None:
        self._untaken = self.loop.call_later(self.allowed, self._look_taking, before)

    def _look_taking(self, before: int) -> None:
        """Give up unless something has been taken since the last look."""
        now = self._waiting()
        if now < before:
            self._watch_taking(now)
        else:
            self.transport.abort()

    def _waiting(self) -> int:
        """Bytes of answers that the client's system has not taken: ours, and those that this system holds."""
        held = bytes(4)
        socket = self.transport.get_extra_info("socket")
        if socket is not None and socket.fileno() >= 0:
            held = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, held)
        return self.transport.get_write_buffer_size() + int.from_bytes(held, sys.byteorder)

    def _taken(self) -> None:
        if self._untaken is not None:
            self._untaken.cancel()
            self._untaken = None

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
        elif self._unfinished and not self._answered():
            text = (
                f"The request did not arrive within {self.allowed:g} seconds, "
                f"and one more for each {SLOWEST} bytes of it"
            )
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, text)
        else:
            self.transport.close()

    def _answered(self) -> bool:
        """Whether the answer has begun already: some are given by the head alone."""
        return "path" in self.scope and self.cycle.response_started

    def _path(self) -> str:
        """The path that is asked for, as far as it came."""
        if not self._unfinished:
            return ""
        whole = self.scope.get("path")
        return whole or unquote(self.url.partition(b"?")[0].decode("latin-1"))

    def _refuse(
        self, status: HTTPStatus, text: str, headers: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        try:
            answer = self.worded(self._path(), status, text)
        except Exception:
            self.transport.abort()
            raise
        fields = {
            "content-type": answer.media_type, "content-length": str(len(answer.body)), **answer.headers,
            **headers, "connection": "close",
        }  # fmt: skip
        lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + answer.body)
        self.transport.write_eof()
        self._ended = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        # closing at once would reset the connection under the answer when more is still being sent
        self._timer = self.loop.call_later(LINGER, self.transport.close)
