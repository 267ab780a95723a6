"""The record log: what is acknowledged survives, what is torn is cut, what is read is durable."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import Overloaded
from headrace.log.frames import MESSAGES, SINGLE, Meta, encode, scan
from headrace.log.reader import LogReader
from headrace.log.segments import open_log, read_frames, segments
from headrace.log.writer import LogWriter


async def append(writer: LogWriter, flow: str, bodies: list[bytes], count: int = 1) -> None:
    await asyncio.gather(
        *[writer.append(SINGLE, flow, 1, f"r{n}", count, body, 0) for n, body in enumerate(bodies)]
    )


def write(directory: Path, flow: str, bodies: list[bytes], **options: int) -> dict[str, int]:
    async def run() -> dict[str, int]:
        writer = LogWriter(directory, **options)
        await append(writer, flow, bodies)
        sequences = dict(writer.sequences)
        await writer.close()
        return sequences

    return asyncio.run(run())


def read_all(directory: Path) -> list[bytes]:
    reader = LogReader(directory)
    out: list[bytes] = []
    while frames := reader.read():
        out += [frame.body for frame in frames]
    reader.close()
    return out


def test_what_was_appended_is_read_in_order_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path, "a", [b"one", b"two"])
    write(tmp_path, "a", [b"three"])
    assert read_all(tmp_path) == [b"one", b"two", b"three"]


def test_offsets_and_flow_sequences_go_on_after_a_restart(tmp_path: Path) -> None:
    write(tmp_path, "a", [b"x"] * 3)
    assert write(tmp_path, "b", [b"y"] * 2) == {"a": 3, "b": 2}
    assert write(tmp_path, "a", [b"z"]) == {"a": 4, "b": 2}
    opened = open_log(tmp_path)
    assert opened is not None
    assert opened.next_offset == 6


def test_a_torn_tail_is_cut_and_what_is_before_it_stays(tmp_path: Path) -> None:
    write(tmp_path, "a", [b"one", b"two"])
    _, path = segments(tmp_path)[-1]
    head, body = encode(2, 1, 0, Meta(SINGLE, "a", 1, 2, "r"), b"never acknowledged")
    with path.open("ab") as file:
        file.write((head + body)[:-4])
    write(tmp_path, "a", [b"three"])
    assert read_all(tmp_path) == [b"one", b"two", b"three"]


def test_a_flipped_bit_in_a_sealed_segment_is_told_when_the_log_opens_and_stops_no_writer(
    tmp_path: Path,
) -> None:
    for _ in range(3):
        write(tmp_path, "a", [b"x" * 100], segment_bytes=100)
    path = segments(tmp_path)[0][1]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    opened = open_log(tmp_path)
    assert opened is not None
    assert opened.damage == [f"segment {path.name} is damaged after byte {opened_until(path)}"]
    assert write(tmp_path, "a", [b"more"]) == {"a": 4}
    assert read_all(tmp_path) == [b"x" * 100, b"x" * 100, b"more"]


def test_a_segment_that_is_freed_while_the_log_opens_is_none_of_its_business(
    tmp_path: Path,
) -> None:
    for _ in range(3):
        write(tmp_path, "a", [b"x" * 100], segment_bytes=100)
    path = segments(tmp_path)[0][1]
    path.unlink()
    path.symlink_to("nowhere")  # listed, and gone when it is opened
    opened = open_log(tmp_path)
    assert opened is not None
    assert (opened.damage, opened.sequences) == ([], {"a": 3})


def opened_until(path: Path) -> int:
    """The position behind the last valid frame."""
    return read_frames(path)[1]


def test_sealed_segments_are_removed_only_when_every_flow_has_landed_them(tmp_path: Path) -> None:
    for flow in ("a", "b", "a"):
        write(tmp_path, flow, [b"x" * 100], segment_bytes=100)
    reader = LogReader(tmp_path)
    while reader.read():
        pass
    before = len(segments(tmp_path))
    assert reader.free({"b": 10}) == 0
    assert reader.free({"a": 1}) == 1
    assert reader.free({"a": 10, "b": 10}) == before - 2
    assert len(segments(tmp_path)) == 1
    reader.close()


def test_the_reader_never_returns_what_is_not_synced(tmp_path: Path) -> None:
    write(tmp_path, "a", [b"one"])
    _, path = segments(tmp_path)[-1]
    with path.open("ab") as file:
        file.write(b"".join(encode(1, 1, 0, Meta(SINGLE, "a", 1, 1, "r"), b"unsynced")))
    assert read_all(tmp_path) == [b"one"]


def test_a_failed_sync_fails_the_waiting_appends_and_the_next_append_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> dict[str, int]:
        writer = LogWriter(tmp_path)
        await append(writer, "a", [b"one"])
        real = os.fdatasync

        def fail(descriptor: int) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", fail)
        with pytest.raises(Overloaded):
            await append(writer, "a", [b"two"])
        assert writer.problem is not None
        monkeypatch.setattr(os, "fdatasync", real)
        await append(writer, "a", [b"three"])
        assert writer.problem is None
        sequences = dict(writer.sequences)
        await writer.close()
        return sequences

    assert asyncio.run(run()) == {"a": 2}
    assert read_all(tmp_path) == [b"one", b"three"]


def test_more_than_may_wait_is_refused_as_overload(tmp_path: Path) -> None:
    async def run() -> None:
        writer = LogWriter(tmp_path, pending_bytes=10)
        first = writer.append(SINGLE, "a", 1, "r", 1, b"x" * 8, 0)
        with pytest.raises(Overloaded):
            writer.append(SINGLE, "a", 1, "r", 1, b"x" * 8, 0)
        await first
        await writer.close()

    asyncio.run(run())
    assert read_all(tmp_path) == [b"x" * 8]


@settings(max_examples=60, deadline=None)
@given(
    frames=st.lists(st.tuples(st.binary(max_size=60), st.integers(1, 5)), max_size=6),
    cut=st.integers(0, 400),
)
def test_scanning_any_prefix_gives_whole_frames_only(
    frames: list[tuple[bytes, int]], cut: int
) -> None:
    data, offset, ends = b"", 0, []
    for body, count in frames:
        data += b"".join(encode(offset, count, 7, Meta(MESSAGES, "f", 1, offset, "r"), body))
        offset += count
        ends.append(len(data))
    found = [frame.body for frame, _ in scan(data[:cut])]
    assert found == [body for body, _ in frames[: sum(end <= cut for end in ends)]]
