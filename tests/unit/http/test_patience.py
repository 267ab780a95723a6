"""Clients that send slowly, or nothing, are cut off; others notice nothing of them. Over real sockets."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from headrace.http.patience import SLOWEST, protocol

ALLOWED = 0.4
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; `/slow` takes its time."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * ALLOWED)
    body = str(size).encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(most: int = 100) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    """A server on a free port; gives a function that connects to it."""
    config = uvicorn.Config(
        application, port=0, http=protocol(ALLOWED, most), lifespan="off", log_config=None, access_log=False
    )  # fmt: skip
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield lambda: asyncio.open_connection("127.0.0.1", port)
    finally:
        server.should_exit = True
        await task


async def trickle(connection: Connection, data: bytes, pause: float) -> tuple[bytes, float]:
    """Send one byte after the other until the server ends it; its answer, and the seconds that it took."""
    reader, writer = connection
    began = time.monotonic()
    answer = asyncio.create_task(reader.read())
    for byte in data:
        if answer.done():
            break
        writer.write(bytes([byte]))
        await asyncio.sleep(pause)
    return await asyncio.wait_for(answer, 5), time.monotonic() - began


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "start", [HEAD % 500, b"", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1F4\r\n"],
    ids=["body", "head", "chunk"],
)  # fmt: skip
def test_p7_a_request_that_comes_drop_by_drop_is_answered_408_and_ended(start: bytes) -> None:
    async def test() -> None:
        async with serving() as connect:
            slow = await connect()
            slow[1].write(start)
            rest = b" " * 400 if start else HEAD % 500
            answer, took = await trickle(slow, rest, 0.03)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in answer
            assert ALLOWED * 0.9 < took < 4 * ALLOWED + 1

    run(test)


@pytest.mark.parametrize("sent", [b"", b"\r\n" * 20], ids=["nothing", "empty lines"])
def test_p7_a_connection_that_never_begins_a_request_is_closed(sent: bytes) -> None:
    async def test() -> None:
        async with serving() as connect:
            began = time.monotonic()
            try:
                answer, _ = await trickle(await connect(), sent, 0.05)
            except ConnectionResetError:  # closed while it was still sending
                answer = b""
            assert answer == b""
            assert time.monotonic() - began < 4 * ALLOWED + 2

    run(test)


def test_p7_slow_and_idle_connections_leave_others_unaffected_and_all_of_them_end() -> None:
    async def test() -> None:
        async with serving(most=600) as connect:
            held = [await connect() for _ in range(300)]
            for _, writer in held[:150]:
                writer.write(HEAD % 10 + b"123")
            reader, writer = await connect()
            for _ in range(20):  # on one connection, longer than anybody has
                writer.write(HEAD % 5 + b"12345")
                await asyncio.sleep(ALLOWED / 10)
                text = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n5"), 2)
                assert text.startswith(b"HTTP/1.1 200 ")
            ends = [await asyncio.wait_for(reader.read(), 5) for reader, _ in held]
            assert {end[:12] for end in ends[:150]} == {b"HTTP/1.1 408"}
            assert set(ends[150:]) == {b""}

    run(test)


def test_p7_a_large_body_on_a_slow_line_and_an_answer_that_takes_long_are_waited_for() -> None:
    async def test() -> None:
        async with serving() as connect:
            reader, writer = await connect()
            parts, part = 10, SLOWEST // 8  # twice as long as the time that a small one has
            writer.write(HEAD % (parts * part))
            for _ in range(parts):
                writer.write(b"x" * part)
                await asyncio.sleep(0.1)
            text = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            assert text.startswith(b"HTTP/1.1 200 ")
            assert await reader.readexactly(5) == str(parts * part).encode()
            writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
            assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200 ")

    run(test)


def test_p7_a_connection_beyond_the_bound_is_told_to_come_back_and_those_within_go_on() -> None:
    async def test() -> None:
        async with serving(most=2) as connect:
            first, second = await connect(), await connect()
            second[1].write(b"GET /slow HTTP/1.1\r\n\r\n")
            await asyncio.sleep(0.05)
            third = await connect()
            refused = await asyncio.wait_for(third[0].read(), 2)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 5" in refused
            first[1].write(b"GET / HTTP/1.1\r\n\r\n")
            for reader, _ in (first, second):
                assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200 ")

    run(test)
