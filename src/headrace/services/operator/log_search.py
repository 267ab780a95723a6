"""Reading the log without taking part in it: every frame of a segment, and the records of one receipt."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from headrace.log.frames import CHECKPOINT, FIXED, HEAD, MAX_FRAME, SINGLE, Frame, announced, scan
from headrace.log.segments import DurableMark, segments

CHUNK = 8 * 1024 * 1024
MOST_BYTES = 8 * 1024 * 1024 * 1024
"""What one search may read; the log holds more only when nothing has landed for long."""
_NUMBERED = re.compile(r"(.+)-\d+")


@dataclass(frozen=True, slots=True)
class Logged:
    """A record in the log. `received`: milliseconds since the epoch."""

    receipt: str
    flow_id: str
    revision: int
    offset: int
    received: int


@dataclass(slots=True)
class Scanned:
    """How a segment was read: bytes up to the end of its last valid frame, and the offset after that."""

    length: int = 0
    next_offset: int = 0


def frames(descriptor: int, limit: int, scanned: Scanned) -> Iterator[Frame]:
    """Every valid frame of an open segment's first `limit` bytes, checkpoints too; memory is bounded."""
    while scanned.length < limit:
        buffer = os.pread(descriptor, min(CHUNK, limit - scanned.length), scanned.length)
        need = announced(buffer, 0)
        if len(buffer) < need <= MAX_FRAME + HEAD.size and scanned.length + need <= limit:
            buffer = os.pread(descriptor, need, scanned.length)
        end = 0
        for frame, position in scan(buffer):
            end = position
            scanned.next_offset = max(scanned.next_offset, frame.end)
            yield frame
        if end == 0:
            return
        scanned.length += end


def durable(directory: Path) -> tuple[int, int]:
    """(first offset of the last segment, its durable bytes); zeros when there is no log yet."""
    try:
        mark = DurableMark(directory, writable=False)
    except (FileNotFoundError, ValueError):  # absent, or empty
        return 0, 0
    try:
        return mark.get()
    finally:
        mark.close()


def newest_first(directory: Path) -> Iterator[tuple[int, int, int]]:
    """(first offset, open descriptor, durable bytes) of every segment, the newest first. A descriptor is closed when the
    next one is asked for."""
    base, length = durable(directory)
    for first, path in reversed(segments(directory)):
        if first > base:
            continue  # being opened
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue  # landed and freed meanwhile
        try:
            yield first, descriptor, length if first == base else os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)


def find(directory: Path, receipt: str, most_bytes: int = MOST_BYTES) -> tuple[list[Logged], bool]:
    """The records of a receipt in the durable log, by offset, and whether all of the log was looked at.

    `receipt` names one record, or a request of several. The newest segment comes first: receipts are asked for
    soon after they were given.
    """
    numbered = _NUMBERED.fullmatch(receipt)
    needle = (numbered[1] if numbered else receipt).encode()
    left = most_bytes
    found: list[Logged] = []
    for first, descriptor, limit in newest_first(directory):
        if limit > left:
            return sorted(found, key=_offset), False
        left -= limit
        hits = [hit for frame in _near(descriptor, limit, needle) for hit in _hits(frame, receipt)]
        found += hits
        if hits and min(map(_offset, hits)) > first:
            break  # the frames of a request are neighbours: none is in an older segment
    return sorted(found, key=_offset), True


def _near(descriptor: int, limit: int, needle: bytes) -> Iterator[Frame]:
    """The frames of those chunks that have the bytes: whole frames are decoded only there."""
    at = 0
    while at < limit:
        buffer = os.pread(descriptor, min(CHUNK, limit - at), at)
        end = _whole(buffer)
        if end == 0:
            need = announced(buffer, 0)
            if not len(buffer) < need <= limit - at:
                return
            buffer = os.pread(descriptor, need, at)
            end = len(buffer)
        if needle in buffer:
            yield from (frame for frame, _ in scan(buffer[:end]))
        at += end


def _whole(buffer: bytes) -> int:
    """Bytes of the whole frames at the beginning, by what their heads say."""
    at, size = 0, len(buffer)
    while at + HEAD.size <= size:
        length, _ = HEAD.unpack_from(buffer, at)
        if length < FIXED.size or length > MAX_FRAME or at + HEAD.size + length > size:
            break
        at += HEAD.size + length
    return at


def _hits(frame: Frame, receipt: str) -> list[Logged]:
    meta = frame.meta
    if meta.layout == CHECKPOINT or not receipt.startswith(meta.receipt):
        return []

    def logged(index: int, name: str) -> Logged:
        return Logged(name, meta.flow_id, meta.revision, frame.offset + index, frame.received)

    if meta.layout == SINGLE:
        return [logged(0, receipt)] if receipt == meta.receipt else []
    numbers = meta.indexes if meta.indexes is not None else range(frame.count)
    return [
        logged(index, name)
        for index, number in enumerate(numbers)
        if receipt in (meta.receipt, name := f"{meta.receipt}-{number}")
    ]


def _offset(record: Logged) -> int:
    return record.offset
