"""The reading side of the log: tails durable frames in order, and frees what every flow has landed."""

import logging
import os
from pathlib import Path

from headrace.disk import sync_directory
from headrace.log.damage import Damage, resume
from headrace.log.frames import CHECKPOINT, HEAD, Frame, announced, scan
from headrace.log.segments import DurableMark, segment_name, segments
from headrace.testing.crashpoints import reach

logger = logging.getLogger("headrace.log")
_CHUNK = 8 * 1024 * 1024


class LogReader:
    """Reads from the oldest segment on. Only what the writer declared durable is ever returned.

    `damage` lists the ranges of durable bytes that fail their checksum. Reading goes on behind them: whoever reads
    finds by the frames' sequences which flows lack records, and must not go on with those. Segments with such a range
    are never removed. `start`: begin with the segment that has this offset.
    """

    def __init__(self, directory: Path, start: int = 0) -> None:
        self.directory = directory
        self._mark = DurableMark(directory, writable=False)
        self._base = max((base for base, _ in segments(directory) if base <= start), default=0) - 1
        self._file = -1
        self._at = 0
        self._next = 0
        self._searched = 0
        self.damage: list[Damage] = []
        self._ends: dict[int, dict[str, int]] = {}

    def read(self, most_bytes: int = _CHUNK) -> list[Frame]:
        """The next frames, or an empty list when all that is durable has been read."""
        if self._file < 0 and not self._next_segment():
            return []
        limit, sealed = self._limit()
        if self._at >= limit or self._searched >= limit:
            if not sealed or not self._next_segment():
                return []
            limit, sealed = self._limit()
        want = min(limit - self._at, most_bytes)
        buffer = os.pread(self._file, want, self._at)
        need = min(announced(buffer, 0), limit - self._at)
        if need > len(buffer):
            buffer = os.pread(self._file, need, self._at)
        frames = []
        end = 0
        ends = self._ends[self._base]
        for frame, position in scan(buffer):
            end = position
            self._next = frame.end
            if frame.meta.layout != CHECKPOINT:
                frames.append(frame)
                ends[frame.meta.flow_id] = frame.end
        self._at += end
        if end == 0 and limit > self._at:
            self._pass_damage(limit)
        return frames or self.read(most_bytes)

    def _pass_damage(self, limit: int) -> None:
        """Durable bytes that are no frame: go to the next one in the segment, or wait for one behind `limit`."""
        name = segment_name(self._base)
        behind = resume(os.pread(self._file, limit - self._at, self._at), self._next)
        if not any(found.segment == name and found.at == self._at for found in self.damage):
            self.damage.append(Damage(name, self._at, self._next))
        if behind is None:
            if not self._searched:
                logger.error("%s", self.damage[-1])
            self._searched = limit
            return
        self._at += behind
        head = os.pread(self._file, HEAD.size + 8, self._at)
        self._settle(self._at, int.from_bytes(head[HEAD.size :], "little"))

    def _settle(self, end: int | None, following: int) -> None:
        """The last damage ends before a frame that was found."""
        last = self.damage[-1]
        self.damage[-1] = Damage(last.segment, last.at, last.first, end, following)
        logger.error("%s", self.damage[-1])

    def _limit(self) -> tuple[int, bool]:
        """(bytes of the current segment that may be read, whether it is sealed)."""
        base, length = self._mark.get()
        if base == self._base:
            return length, False
        if base > self._base:
            return os.fstat(self._file).st_size, True
        return 0, False

    def _next_segment(self) -> bool:
        for base, path in segments(self.directory):
            if base > self._base:
                if self._file >= 0:
                    os.close(self._file)
                if self.damage and self.damage[-1].next is None:
                    self._settle(None, base)
                self._file = os.open(path, os.O_RDONLY)
                self._base, self._at, self._searched = base, 0, 0
                self._next = max(self._next, base)
                self._ends[base] = {}
                return True
        return False

    def free(self, positions: dict[str, int]) -> int:
        """Remove sealed segments whose every record lies below its flow's position; the number removed.

        `positions`: flow id → next offset, durable in the lake. A flow that is missing has landed nothing.
        """
        removed = 0
        damaged = {found.segment for found in self.damage}
        for base, path in segments(self.directory):
            if path.name in damaged:
                continue
            ends = self._ends.get(base)
            if base >= self._base or ends is None:
                break
            if any(positions.get(flow, 0) < end for flow, end in ends.items()):
                break
            reach("log-before-unlink")
            path.unlink(missing_ok=True)
            del self._ends[base]
            removed += 1
        if removed:
            sync_directory(self.directory)
        return removed

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._mark.close()
