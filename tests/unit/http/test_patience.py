"""Clients that send slowly, or nothing, are cut off; others notice nothing of them. Over real sockets."""

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
import uvicorn

from headrace.app import Application
from headrace.http.contract import Answer
from headrace.http.patience import FILES, SLOWEST, Refusal, protocol
from headrace.services.inlet.endpoint import InletEndpoint
from headrace.settings import Settings
from headrace.testing.calls import InProcess

ALLOWED = 0.4
LARGE = 32 * 2**20
"""Bytes of an answer that no system's buffers hold."""
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the length of the body; `/slow` takes its time, `/large` has much to say."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message["body"]), message["more_body"]
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * ALLOWED)
    body = b"x" * LARGE if scope["path"] == "/large" else str(size).encode()
    length = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    for start in range(0, len(body), 2**16):
        more = start + 2**16 < len(body)
        await send(
            {"type": "http.response.body", "body": body[start : start + 2**16], "more_body": more}
        )


def worded(path: str, status: HTTPStatus, text: str) -> Answer:
    return Answer(status.value, f"{path}: {text}".encode(), {"x-request-id": "r"})


@asynccontextmanager
async def serving(
    most: int = 100, app: Any = application, refusal: Refusal = worded
) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    """A server on a free port; gives a function that connects to it."""
    config = uvicorn.Config(
        app, port=0, http=protocol(ALLOWED, most, refusal), lifespan="off", log_config=None, access_log=False
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
            held = []
            for number in range(300):
                held.append(await connect())
                if number < 150:
                    held[-1][1].write(HEAD % 10 + b"123")
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


@pytest.mark.parametrize(
    ("pauses", "seconds"), [(1, 6 * ALLOWED), (20, ALLOWED / 4)], ids=["not at all", "slowly"]
)
def test_p7_an_answer_that_nobody_takes_is_given_up_and_one_that_is_taken_slowly_is_not(
    pauses: int, seconds: float
) -> None:
    async def take() -> int:
        async with serving() as connect:
            reader, writer = await connect()
            writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            parts: list[bytes] = []
            with contextlib.suppress(ConnectionResetError):
                while part := await asyncio.wait_for(reader.read(2**22), 5):
                    parts.append(part)
                    if len(parts) <= pauses:
                        await asyncio.sleep(seconds)
            writer.close()
            return sum(map(len, parts))

    assert (asyncio.run(take()) > LARGE) == (seconds < ALLOWED)


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
            assert refused.endswith(
                b"\r\n\r\n: There are 2 connections already; no more are served"
            )
            first[1].write(b"GET / HTTP/1.1\r\n\r\n")
            for reader, _ in (first, second):
                assert (await asyncio.wait_for(reader.readline(), 5)).startswith(b"HTTP/1.1 200 ")

    run(test)


def test_p7_the_limit_of_open_files_is_raised_as_far_as_allowed_and_some_are_kept_for_files() -> (
    None
):
    """In a process of its own: no limit can be taken back."""
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (256, 2000));"
        "from headrace.http.patience import raise_file_limit;"
        "print(raise_file_limit(), *resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert [int(word) for word in done.stdout.split()] == [2000 - FILES, 2000, 2000]


async def exchange(connection: Connection, request: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """The answer's headers, its status among them, and its body, once the connection has ended."""
    reader, writer = connection
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return headers | {"status": first.split(" ", 2)[1]}, json.loads(body)


LATE = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\n{"
WRONG = b"DELETE %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Application:
    """The application with its inlet, without the processes behind it."""
    directory = tmp_path_factory.mktemp("patience")
    application = Application(Settings(data_dir=directory), "http://localhost")
    nothing: Any = None
    application.inlet = InletEndpoint(application.directory, nothing, nothing, nothing)
    return application


@pytest.fixture(scope="module")
def inlets(whole: Application) -> dict[bool, str]:
    """The ids of two inlets, by whether senders must prove who they are."""
    own = json.loads((whole.settings.data_dir / "credentials.json").read_text())
    token, _ = whole.tokens.issue(own["client_id"], own["org_id"], ["openid"], "u")
    web = InProcess(whole.control, {
        "authorization": f"Bearer {token}", "x-api-key": own["client_id"], "x-gw-ims-org-id": own["org_id"],
    })  # fmt: skip
    found = {}
    for required in (False, True):
        made = web.post("/data/foundation/flowservice/connections", json={
            "name": f"c{required}", "connectionSpec": {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"},
            "auth": {"specName": "Streaming Connection", "params": {
                "dataType": "raw", "name": "c", "authenticationRequired": required}},
        })  # fmt: skip
        assert made.status_code == 201, made.text
        found[required] = made.json()["id"]
    return found


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"/data/foundation/flowservice/flows", "https://ns.adobe.com/aep/errors/FLOW-1006-408"),
        (b"/data/foundation/schemaregistry/tenant/schemas", "http://ns.adobe.com/aep/errors/XDM-1006-408"),
        (b"/data/foundation/catalog/dataSets", "http://ns.adobe.com/aep/errors/CAT-1006-408"),
        (b"/data/foundation/conversion/mappingSets", "http://ns.adobe.com/aep/errors/DPS-1006-408"),
        (b"/data/foundation/sandbox-management/sandboxes", "http://ns.adobe.com/aep/errors/SMS-1006-408"),
        (b"/ims/token/v3", "invalid_request"),
        (b"/headrace/flows/x/replays", "timeout"),
        (b"/collection/INLET", "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet"),
        (b"/collection/batch/INLET?x=1", "http://ns.adobe.com/adobecloud/problem/data-collection-service/inlet"),
    ],
)  # fmt: skip
def test_a_request_that_is_late_is_answered_in_the_form_of_the_paths_other_errors(
    whole: Application, inlets: dict[bool, str], path: bytes, code: str
) -> None:
    path = path.replace(b"INLET", inlets[False].encode())

    async def test() -> None:
        async with serving(app=whole, refusal=whole.refusal) as connect:
            late, other = await asyncio.gather(
                exchange(await connect(), LATE % path), exchange(await connect(), WRONG % path)
            )
        assert (late[0]["status"], other[0]["status"]) == ("408", "405")
        assert late[1].keys() == other[1].keys()
        assert late[0]["content-type"] == other[0]["content-type"] == "application/json"
        assert ("x-request-id" in late[0]) == ("x-request-id" in other[0])
        assert code in (late[1].get("type"), late[1].get("error"), late[1].get("code"))
        assert "did not arrive within 0.4 seconds" in json.dumps(late[1])

    run(test)


def test_a_late_request_learns_the_organisation_of_an_inlet_only_where_nobody_must_prove_who_they_are(
    whole: Application, inlets: dict[bool, str]
) -> None:
    for required, id in inlets.items():
        answer = whole.refusal(f"/collection/{id}", HTTPStatus.REQUEST_TIMEOUT, "x")
        assert (whole.installation.org_id.encode() in answer.body) is not required


def test_an_answer_that_came_before_the_body_is_the_only_one(whole: Application) -> None:
    """The rest of the request is waited for, then the connection ends: nothing is said twice."""

    async def test() -> None:
        async with serving(app=whole, refusal=whole.refusal) as connect:
            headers, body = await exchange(await connect(), LATE % b"/collection/unknown")
            assert headers["status"] == "404"
            assert body["title"] == "Not found"

    run(test)
