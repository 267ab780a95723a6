"""Faults of the disk below the log: detected, refused as overload, and over when the disk is well again."""

import asyncio
import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import LogCorrupt, Overloaded
from headrace.log.frames import SINGLE, scan
from headrace.log.reader import LogReader
from headrace.log.segments import open_log, segments
from headrace.log.writer import LogWriter


async def append(writer: LogWriter, *bodies: bytes) -> None:
    waiting = [writer.append(SINGLE, "f", 1, "r", 1, body, 0) for body in bodies]
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


def write(directory: Path, *bodies: bytes, segment_bytes: int = 1 << 20) -> None:
    async def run() -> None:
        writer = LogWriter(directory, segment_bytes=segment_bytes)
        for body in bodies:
            await append(writer, body)
        await writer.close()

    asyncio.run(run())


def read_all(directory: Path) -> list[tuple[int, bytes]]:
    reader, out = LogReader(directory), []
    while frames := reader.read():
        out += [(frame.offset, frame.body) for frame in frames]
    reader.close()
    return out


def flip(path: Path, body: bytes) -> None:
    """Flip one bit of a record."""
    data = bytearray(path.read_bytes())
    data[data.index(body)] ^= 4
    path.write_bytes(bytes(data))


# -- what the disk changed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("victim", [b"first", b"second", b"third"])
def test_p1_a_flipped_bit_in_the_last_segment_is_not_taken_for_a_torn_tail(
    tmp_path: Path, victim: bytes
) -> None:
    write(tmp_path, b"first", b"second", b"third")
    path = segments(tmp_path)[-1][1]
    flip(path, victim)
    before = path.read_bytes()
    with pytest.raises(LogCorrupt, match="damaged after byte"):
        LogWriter(tmp_path)
    assert path.read_bytes() == before, "the evidence is left alone"
    flip(path, bytes([victim[0] ^ 4]) + victim[1:])
    assert [body for _, body in read_all(tmp_path)] == [b"first", b"second", b"third"]


def test_p1_a_segment_whose_first_frame_is_damaged_is_not_removed(tmp_path: Path) -> None:
    write(tmp_path, b"first", b"second")
    path = segments(tmp_path)[-1][1]
    data = bytearray(path.read_bytes())
    data[9] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(LogCorrupt, match="damaged after byte 0"):
        LogWriter(tmp_path)
    assert path.read_bytes() == bytes(data)


def test_p1_what_a_crash_tore_is_cut_even_when_a_later_segment_had_just_begun(
    tmp_path: Path,
) -> None:
    write(tmp_path, b"first", b"second")
    (tmp_path / f"{2:020d}.log").write_bytes(b"\x10\0\0\0torn")
    opened = open_log(tmp_path)
    assert opened is not None
    assert (opened.next_offset, len(segments(tmp_path))) == (2, 1)
    write(tmp_path, b"third")
    assert read_all(tmp_path) == [(0, b"first"), (1, b"second"), (2, b"third")]


@pytest.mark.parametrize(
    ("at", "told"),
    [(-1, "1 records, 1 to 1"), (0, "1 records, 1 to 1"), (4, "1 records, 1 to 1")],
    ids=["content", "length", "checksum"],
)
@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "last"])
def test_p8_a_reader_passes_damage_with_range_and_count_and_never_frees_its_segment(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, at: int, told: str, sealed: bool
) -> None:
    write(tmp_path, b"first", b"second", b"third")
    victim = segments(tmp_path)[0][1]
    data = bytearray(victim.read_bytes())
    start = [end for _, end in scan(bytes(data))][1]  # behind the checkpoint and the first record
    data[start + at if at >= 0 else data.index(b"second")] ^= 0x40
    if sealed:
        write(tmp_path, b"fourth", b"fifth", segment_bytes=1)
    victim.write_bytes(bytes(data) + victim.read_bytes()[len(data) :])
    reader, found = LogReader(tmp_path), []
    with caplog.at_level(logging.ERROR):
        for _ in range(20):
            found += [frame.body for frame in reader.read()]
    assert found == [b"first", b"third", *([b"fourth", b"fifth"] if sealed else [])]
    (damage,) = reader.damage
    assert (damage.segment, damage.first, damage.next, damage.count) == (victim.name, 1, 2, 1)
    assert told in str(damage)
    assert caplog.text.count("damaged after byte") == 1
    reader.free({"f": 1000})
    assert victim.exists(), "the evidence is kept"
    assert len(segments(tmp_path)) <= 2, "what is whole is freed as ever"
    reader.close()


def test_p8_damage_at_the_end_of_what_is_durable_is_told_and_reading_goes_on_when_more_comes(
    tmp_path: Path,
) -> None:
    write(tmp_path, b"first", b"second")
    flip(segments(tmp_path)[-1][1], b"second")
    reader = LogReader(tmp_path)
    assert [frame.body for frame in reader.read()] == [b"first"]
    for _ in range(3):
        assert reader.read() == []
    (damage,) = reader.damage
    assert (damage.first, damage.next, damage.count) == (1, None, None)
    assert "records from 1 on cannot be read" in str(damage)
    flip(segments(tmp_path)[-1][1], bytes([b"s"[0] ^ 4]) + b"econd")
    write(tmp_path, b"third", segment_bytes=1)
    flip(segments(tmp_path)[0][1], b"second")
    assert [frame.body for frame in reader.read()] == [b"third"]
    assert reader.damage[-1].count == 1
    reader.close()


# -- what the disk refused ----------------------------------------------------------------------------------


def failing(number: int, times: int = 1) -> Callable[..., Any]:
    """A system call that fails `times` times with an errno; what it stands for is called after that."""

    def patched(real: Callable[..., Any]) -> Callable[..., Any]:
        left = [times]

        def call(*arguments: Any, **options: Any) -> Any:
            if left[0]:
                left[0] -= 1
                raise OSError(number, os.strerror(number))
            return real(*arguments, **options)

        return call

    return patched


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
@pytest.mark.parametrize("call", ["writev", "fdatasync", "open", "fsync"])
@pytest.mark.parametrize("rotating", [False, True], ids=["same segment", "new segment"])
def test_p7_a_call_that_fails_refuses_the_waiting_and_the_next_append_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, rotating: bool
) -> None:
    used = {"writev", "fdatasync"} | ({"open", "fsync"} if rotating else set())

    async def run() -> None:
        writer = LogWriter(tmp_path, segment_bytes=1 if rotating else 1 << 20)
        await append(writer, b"first")
        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing(number)(getattr(os, call)))
            if call in used:
                with pytest.raises(Overloaded):
                    await append(writer, b"second", b"more")
                text = "full" if number in (errno.ENOSPC, errno.EDQUOT) else os.strerror(number)
                assert writer.problem == f"disk: {text}"
                assert writer.sequences == {"f": 1}
            else:
                await append(writer, b"second")
            await append(writer, b"third")
        assert writer.problem is None
        await writer.close()

    asyncio.run(run())
    bodies = [b"first", b"third"] if call in used else [b"first", b"second", b"third"]
    assert read_all(tmp_path) == list(enumerate(bodies))


@pytest.mark.parametrize("call", ["truncate", "fsync"])
def test_p7_while_a_failed_write_cannot_be_cut_nothing_is_accepted_and_no_offset_is_given_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    async def run() -> None:
        writer = LogWriter(tmp_path)
        await append(writer, b"first")
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(errno.EIO)(os.fdatasync))
            patch.setattr(os, call, failing(errno.EIO, 3)(getattr(os, call)))
            for _ in range(3):
                with pytest.raises(Overloaded):
                    await append(writer, b"refused")
            await append(writer, b"second")
        await writer.close()

    asyncio.run(run())
    assert read_all(tmp_path) == [(0, b"first"), (1, b"second")]


def test_p2_a_log_restored_behind_its_lake_stays_ahead_of_it_when_its_first_append_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, b"old")

    async def run() -> None:
        writer = LogWriter(tmp_path, landed={"f": (10, 10)})
        assert writer.skipped == 9
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", failing(errno.ENOSPC)(os.fdatasync))
            with pytest.raises(Overloaded):
                await append(writer, b"refused")
        await append(writer, b"new")
        assert writer.sequences == {"f": 11}
        await writer.close()

    asyncio.run(run())
    assert read_all(tmp_path) == [(0, b"old"), (10, b"new")]
