"""Durable bytes that are no frame: where they are, which records they held, and where frames go on behind them."""

import re
from dataclasses import dataclass

from headrace.log.frames import FIXED, HEAD, announced, scan

_BLOCK = 3
"""Low bytes of an offset that may differ between the last good frame and the next one: 16 million records."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A range that cannot be read. `at` and `end` are bytes of the segment, `first` and `next` offsets of records; the
    latter of each is None as long as nothing readable lies behind."""

    segment: str
    at: int
    first: int
    end: int | None = None
    next: int | None = None

    @property
    def count(self) -> int | None:
        """Records in the range, of all flows."""
        return None if self.next is None else self.next - self.first

    def __str__(self) -> str:
        where = f"segment {self.segment} is damaged after byte {self.at}"
        if self.next is None:
            return f"{where}: records from {self.first} on cannot be read"
        end = f" up to byte {self.end}" if self.end is not None else " to its end"
        return (
            f"{where}{end}: {self.count} records, {self.first} to {self.next - 1}, cannot be read"
        )


def resume(buffer: bytes, first: int) -> int | None:
    """Where in the bytes behind a damaged frame's start the next valid frame begins, None when there is none.

    `first` is the offset of the first record that is missing: no later frame has a smaller one.
    """
    size = announced(buffer, 0)
    if size and _valid(buffer, size, first):
        return size  # only the frame's content was changed
    blocks = (first >> 8 * _BLOCK, (first >> 8 * _BLOCK) + 1)
    high = b"|".join(re.escape(block.to_bytes(8 - _BLOCK, "little")) for block in blocks)
    for match in re.finditer(b"(?=" + high + b")", buffer):
        start = match.start() - HEAD.size - _BLOCK
        if start > 0 and _valid(buffer, start, first):
            return start
    return None


def _valid(buffer: bytes, start: int, first: int) -> bool:
    if start + HEAD.size + FIXED.size > len(buffer):
        return False
    # the offset is looked at before the checksum, which has to read the whole frame
    if FIXED.unpack_from(buffer, start + HEAD.size)[0] < first:
        return False
    return next(scan(buffer, start), None) is not None
