"""The reading side of the log: tails durable frames in order, and frees what every flow has landed."""

import logging
import os
from pathlib import Path

from headrace.disk import sync_directory
from headrace.log.frames import CHECKPOINT, Frame, announced, scan
from headrace.log.segments import DurableMark, segment_name, segments
from headrace.testing.crashpoints import reach

logger = logging.getLogger("headrace.log")
_CHUNK = 8 * 1024 * 1024


class LogReader:
    """Reads from the oldest segment on. Only what the writer declared durable is ever returned. `damage` says
    where durable bytes were found that fail their checksum; nothing behind them is read."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._mark = DurableMark(directory, writable=False)
        self._base = -1
        self._file = -1
        self._at = 0
        self.damage: str | None = None
        self._ends: dict[int, dict[str, int]] = {}

    def read(self, most_bytes: int = _CHUNK) -> list[Frame]:
        """The next frames, or an empty list when all that is durable has been read."""
        if self._file < 0 and not self._next_segment():
            return []
        limit, sealed = self._limit()
        if self._at >= limit:
            if not sealed or not self._next_segment():
                return []
            limit, sealed = self._limit()
        want = min(limit - self._at, most_bytes)
        buffer = os.pread(self._file, want, self._at)
        need = announced(buffer, 0)
        if need > len(buffer):
            buffer = os.pread(self._file, need, self._at)
        frames = []
        end = 0
        ends = self._ends[self._base]
        for frame, position in scan(buffer):
            end = position
            if frame.meta.layout != CHECKPOINT:
                frames.append(frame)
                ends[frame.meta.flow_id] = frame.end
        if end == 0:
            self._report_damage()
        self._at += end
        return frames if frames or end == 0 else self.read(most_bytes)

    def _report_damage(self) -> None:
        """Durable bytes that are no frame: reading stays there, since what follows must not overtake them."""
        if self.damage is None:
            self.damage = f"segment {segment_name(self._base)} is damaged after byte {self._at}"
            logger.error("%s: nothing after it can land", self.damage)

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
                self._file = os.open(path, os.O_RDONLY)
                self._base, self._at = base, 0
                self._ends[base] = {}
                return True
        return False

    def free(self, positions: dict[str, int]) -> int:
        """Remove sealed segments whose every record lies below its flow's position; the number removed.

        `positions`: flow id → next offset, durable in the lake. A flow that is missing has landed nothing.
        """
        removed = 0
        for base, path in segments(self.directory):
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
