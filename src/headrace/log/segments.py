"""Segment files: where frames lie, and how a log is opened after a crash.

A log is a directory. Segments are named by the offset of their first record (20 digits, `.log`); each begins
with a checkpoint frame holding every flow's sequence, so the log is complete without any other file. All
segments but the last are sealed: durable to their end. The last may have a torn tail after a crash; opening
cuts it (those bytes were never acknowledged) and syncs what is left.

`durable` tells readers how far the last segment is synced. Reading further is forbidden: what a power cut takes
back must never have landed, since its offsets will be given to other records.
"""

import itertools
import mmap
import os
import struct
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headrace.disk import sync_directory
from headrace.errors import LogCorrupt
from headrace.log.frames import CHECKPOINT, Frame, scan

_MARK = struct.Struct("<QQ")
_CHUNK = 16 * 1024 * 1024

decode_checkpoint = msgspec.json.Decoder(dict[str, int]).decode
"""Reads the body of a checkpoint frame: flow id → records so far."""


@dataclass(slots=True)
class Opened:
    """What is in the log: the next offset, every flow's sequence, what was cut from the tail, and where sealed
    segments are damaged."""

    path: Path
    length: int
    next_offset: int
    sequences: dict[str, int]
    cut_bytes: int
    damage: list[str] = field(default_factory=list)


def segment_name(offset: int) -> str:
    return f"{offset:020d}.log"


def segments(directory: Path) -> list[tuple[int, Path]]:
    """(first offset, path) of every segment, oldest first."""
    found = [(int(p.stem), p) for p in directory.glob("*.log") if p.stem.isdigit()]
    return sorted(found)


def read_frames(path: Path, start: int = 0, limit: int | None = None) -> tuple[list[Frame], int]:
    """All valid frames of a segment from byte `start`, and the position after the last one."""
    with path.open("rb") as file:
        file.seek(start)
        buffer = file.read(-1 if limit is None else max(0, limit - start))
    frames, end = [], 0
    for frame, position in scan(buffer):
        frames.append(frame)
        end = position
    return frames, start + end


def open_log(directory: Path) -> Opened | None:
    """Recover the last segment (cut a torn tail, sync) and state where the log stands; None when it is empty.

    Raises LogCorrupt when the durable part of the last segment has bytes that are no frame: those may have been
    acknowledged, and what was appended behind them could not be told from what was. In a sealed segment they harm
    nobody but the flows whose records they were: readers pass them and say so.
    """
    found = segments(directory)
    marked, durable = _marked(directory)
    while found and not read_frames(found[-1][1], 0, _CHUNK)[0]:
        if found[-1][0] == marked and durable:
            raise LogCorrupt(f"segment {found[-1][1].name} is damaged after byte 0")
        # created but its checkpoint never became durable: nothing in it was acknowledged
        found.pop()[1].unlink()
        sync_directory(directory)
    if not found:
        return None
    base, path = found[-1]
    damage = []
    for (_, sealed), (following, _) in itertools.pairwise(found):
        try:
            frames, end = read_frames(sealed)
            size = sealed.stat().st_size
        except FileNotFoundError:
            # landed, and freed by the worker of a server that was killed a moment ago
            continue
        if frames and frames[-1].end > following:
            raise LogCorrupt(f"segment {sealed.name} is damaged after byte {end}")
        if end != size:
            damage.append(f"segment {sealed.name} is damaged after byte {end}")
    frames, length = read_frames(path)
    if base == marked and length < durable:
        raise LogCorrupt(f"segment {path.name} is damaged after byte {length} of {durable}")
    size = path.stat().st_size
    descriptor = os.open(path, os.O_RDWR)
    try:
        if size != length:
            os.ftruncate(descriptor, length)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync_directory(directory)
    sequences: dict[str, int] = {}
    for frame in frames:
        if frame.meta.layout == CHECKPOINT:
            sequences.update(decode_checkpoint(frame.body))
        else:
            sequences[frame.meta.flow_id] = frame.meta.sequence + frame.count
    return Opened(path, length, max(base, frames[-1].end), sequences, size - length, damage)


def _marked(directory: Path) -> tuple[int, int]:
    """What the mark says. It is written after each sync and not synced itself: after a power cut it may say less
    than is durable, never more."""
    try:
        return _MARK.unpack((directory / "durable").read_bytes())
    except (FileNotFoundError, struct.error):
        return 0, 0


class DurableMark:
    """How far the last segment is synced, shared with other processes through a mapped file."""

    def __init__(self, directory: Path, *, writable: bool) -> None:
        path = directory / "durable"
        if writable and not (path.exists() and path.stat().st_size == _MARK.size):
            path.write_bytes(
                _MARK.pack(0, 0)
            )  # also when a power cut left the name without its content
        with path.open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), _MARK.size, access=access)

    def set(self, base: int, length: int) -> None:
        # the length goes to 0 while the segment changes, so that a reader never pairs old with new
        if int.from_bytes(self._map[:8], "little") != base:
            self._map[8:16] = bytes(8)
            self._map[:8] = base.to_bytes(8, "little")
        self._map[8:16] = length.to_bytes(8, "little")

    def get(self) -> tuple[int, int]:
        """(first offset of the segment, durable bytes in it)."""
        while True:
            base = self._map[:8]
            length = self._map[8:16]
            if self._map[:8] == base:
                return int.from_bytes(base, "little"), int.from_bytes(length, "little")

    def close(self) -> None:
        self._map.close()
