"""A small HTTP load generator: keep-alive connections that each send the next request when the last is answered.

Requests are bytes made beforehand. It is meant to run in a process of its own.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop


@dataclass
class Result:
    requests: int = 0
    refused: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    started: float = 0.0
    first_refusal: bytes = b""

    def percentile(self, share: float) -> float:
        """Milliseconds that this share of requests took at the most."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


class Client(asyncio.Protocol):
    def __init__(self, source: Iterator[bytes], result: Result, done: asyncio.Future[None]) -> None:
        self.source, self.result, self.done = source, result, done
        self.buffer = b""
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.next()

    def next(self) -> None:
        request = next(self.source, None)
        if request is None:
            self.transport.close()
            if not self.done.done():
                self.done.set_result(None)
            return
        self.sent = time.perf_counter()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self.buffer.lower().find(b"content-length:")
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r\n", at)])
        if len(self.buffer) < head + 4 + length:
            return
        result = self.result
        result.latencies.append(time.perf_counter() - self.sent)
        result.requests += 1
        if self.buffer[9:10] != b"2":
            result.refused += 1
            result.first_refusal = result.first_refusal or self.buffer
        self.buffer = b""
        self.next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("closed by the server"))


def request(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """One POST as bytes."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def run(host: str, port: int, requests: Iterator[bytes], connections: int) -> Result:
    """Send all requests over some connections."""
    result = Result()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        result.started = time.time()
        start = time.perf_counter()
        done = []
        for _ in range(connections):
            future: asyncio.Future[None] = loop.create_future()
            done.append(future)
            await loop.create_connection(lambda f=future: Client(requests, result, f), host, port)
        await asyncio.gather(*done)
        result.seconds = time.perf_counter() - start

    uvloop.run(main())
    return result
