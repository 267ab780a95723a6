"""Every system call of the log fails once, each in its turn: what was acknowledged is there, what was refused is not
acknowledged, and the log goes on by itself.
"""

import asyncio
import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Overloaded
from headrace.log.frames import SINGLE
from headrace.log.reader import LogReader
from headrace.log.writer import LogWriter

CALLS = (
    "open",
    "writev",
    "write",
    "fsync",
    "fdatasync",
    "truncate",
    "ftruncate",
    "unlink",
    "close",
)
GROUPS = 5


@contextlib.contextmanager
def failing_at(which: int, number: int) -> Iterator[list[str]]:
    """Count calls and let the `which`-th fail; the names of those that were made."""
    made: list[str] = []

    def patched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            made.append(name)
            if len(made) == which:
                if name == "close":
                    real(*arguments, **options)  # the descriptor is gone although the call failed
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, patched(name, getattr(os, name)))
        yield made


async def append(writer: LogWriter, body: bytes) -> bool:
    """Whether it was acknowledged."""
    try:
        await asyncio.wait_for(writer.append(SINGLE, "f", 1, "r", 1, body, 0), 5)
    except Overloaded:
        return False
    return True


def write(directory: Path, which: int, number: int) -> tuple[list[bytes], list[str]]:
    """Appends with rotation, of which one call fails; the acknowledged bodies and the calls made."""

    async def run() -> tuple[list[bytes], list[str]]:
        acknowledged = []
        writer = LogWriter(directory, segment_bytes=300, keep_free=0)
        with failing_at(which, number) as made:
            for n in range(GROUPS):
                body = b"%d" % n + b"x" * 100
                if await append(writer, body):
                    acknowledged.append(body)
        assert await append(writer, b"well again")
        assert writer.problem is None
        await writer.close()
        return [*acknowledged, b"well again"], made

    return asyncio.run(run())


def content(directory: Path) -> list[bytes]:
    reader, found = LogReader(directory), []
    while frames := reader.read():
        found += [(frame.offset, frame.body) for frame in frames]
    assert reader.damage == []
    reader.close()
    assert [at for at, _ in found] == list(range(len(found))), "no gap, no offset twice"
    return [body for _, body in found]


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
def test_p1_p7_whichever_call_fails_what_was_acknowledged_is_there_and_the_log_goes_on(
    tmp_path: Path, number: int
) -> None:
    refusals, which = 0, 0
    while True:
        which += 1
        place = tmp_path / str(which)
        acknowledged, made = write(place, which, number)
        assert content(place) == acknowledged, f"call {which}: {made[which - 1 :][:1]}"
        asyncio.run(LogWriter(place).close())  # it opens
        assert content(place) == acknowledged
        if len(made) < which:
            break
        refusals += len(acknowledged) <= GROUPS
    assert which > 15
    assert refusals > 8


def test_p1_a_sync_that_takes_long_delays_the_answer_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer before the sync ends, one group for all that came meanwhile, and the event loop is free."""
    real, running = os.fdatasync, []

    def slow(descriptor: int) -> None:
        running.append(descriptor)
        time.sleep(0.3)
        real(descriptor)

    async def run() -> None:
        writer = LogWriter(tmp_path)
        monkeypatch.setattr(os, "fdatasync", slow)
        first = asyncio.ensure_future(append(writer, b"first"))
        await asyncio.sleep(0.1)
        assert running, "the loop runs while the disk is busy"
        assert not first.done()
        rest = [asyncio.ensure_future(append(writer, b"%d" % n)) for n in range(50)]
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.2
        assert all(await asyncio.gather(first, *rest))
        assert len(running) == 2
        await writer.close()

    asyncio.run(run())
    assert len(content(tmp_path)) == 51
