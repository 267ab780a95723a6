"""Copying the log while it is written to and freed.

The worker removes segments that have landed. What has landed after the catalog was copied is in no table of the
copy, so its segments must not go before they are copied too: they are opened first, and an open file stays
readable when its name is gone.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace.log.segments import segments
from headrace.services.operator.backup.copying import put
from headrace.services.operator.log_search import Scanned, durable, frames

_CHUNK = 4 * 1024 * 1024


class HeldLog:
    """The segments that were there when it was made. To be closed."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._files: dict[int, int] = {}
        self._hold()

    def _hold(self) -> list[int]:
        """Open what is new; the first offsets of what was opened."""
        new = []
        for base, path in segments(self.directory):
            if base not in self._files:
                try:
                    self._files[base] = os.open(path, os.O_RDONLY)
                except FileNotFoundError:
                    continue  # landed and freed meanwhile
                new.append(base)
        return new

    def copy_to(self, target: Path, *, running: bool) -> tuple[dict[str, dict[str, Any]], int]:
        """Copy what was held and what has come since; (name → entry for the manifest, the offset after the last).

        Only durable bytes are taken. Ends before a segment whose predecessor has gone: a log has no gaps.
        """
        base, length = durable(self.directory)
        new = self._hold()
        entries: dict[str, dict[str, Any]] = {}
        end, last = 0, (0, 0)
        for first in sorted(self._files):
            if running and first > base:
                break
            if first in new and entries and first != end:
                break
            descriptor = self._files[first]
            size = length if running and first == base else os.fstat(descriptor).st_size
            scanned = Scanned()
            for _ in frames(descriptor, size, scanned):
                pass
            # a torn end was never acknowledged; what is damaged before it is copied as it is
            if (
                first == max(self._files)
                and not running
                and scanned.length >= (length if first == base else 0)
            ):
                size = scanned.length
            name = f"{first:020d}.log"
            entries[name] = put(target / name, _bytes(descriptor, size), 0o640)
            end, last = max(first, scanned.next_offset), (first, size)
        if entries:
            entries["durable"] = put(target / "durable", [struct.pack("<QQ", *last)], 0o640)
        return entries, end

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files.clear()


def _bytes(descriptor: int, size: int) -> Iterator[bytes]:
    at = 0
    while at < size:
        part = os.pread(descriptor, min(_CHUNK, size - at), at)
        if not part:
            return
        yield part
        at += len(part)
