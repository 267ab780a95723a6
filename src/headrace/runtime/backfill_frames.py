"""The frames of a backfill: read from the log behind what has been copied, and appended to it for another flow."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.errors import Overloaded
from headrace.log.frames import Frame, Origin
from headrace.log.reader import LogReader
from headrace.log.writer import LogWriter
from headrace.model.flow import FlowRevision
from headrace.runtime.backfills import copied_receipt
from headrace.runtime.intake import refusal_of
from headrace.store.documents import Document, Scope

MOST_FRAMES, MOST_BYTES = 200, 2**20
"""What is appended at once: live records wait behind it in the group commit."""


@dataclass
class Copying:
    """A backfill at hand: what is durable of it, whatever its document says."""

    scope: Scope
    document: Document
    reader: LogReader
    next: int
    copied: int
    settled: int
    frames: deque[Frame] = field(default_factory=deque)
    waiting: deque[tuple[int, int]] = field(default_factory=deque)
    refused: float | None = None
    not_before: float = 0.0

    @property
    def place(self) -> dict[str, Any]:
        """What the document must say of it."""
        return {"next": self.next, "copied": self.copied, "settled": self.settled}

    def take(self) -> list[Frame]:
        """The next frames that are to be copied; none when there are no more."""
        body, size = self.document.body, 0
        taken: list[Frame] = []
        while len(taken) < MOST_FRAMES and size < MOST_BYTES:
            if not self.frames:
                self.frames.extend(self.reader.read(MOST_BYTES))
            if not self.frames or self.frames[0].offset >= body["end"]:
                break
            frame = self.frames.popleft()
            if frame.meta.flow_id == body["flowId"] and frame.offset >= self.next:
                taken.append(frame)
                size += frame.size
        return taken

    def count(self, done: Sequence[Frame], settled: int) -> None:
        """Frames that are durable as copies, up to `settled` in the log."""
        self.next, self.settled = done[-1].end, settled
        self.copied += sum(frame.count for frame in done)


def resumed(log: LogWriter, scope: Scope, document: Document) -> Copying:
    """A backfill where it was left: what its document says, and what the log has that the document does not know of."""
    body, end = document.body, log.next_offset
    place, copied, settled = body["next"], body["copied"], body["settled"]
    for frame in _since(log.directory, settled):
        if frame.offset >= end:
            break
        origin = frame.meta.origin
        if frame.offset >= body["settled"] and origin is not None and origin.rewind == document.id:
            place, settled = origin.end, frame.end
            copied += frame.count
    reader = LogReader(log.directory, place)
    return Copying(scope, document, reader, place, copied, settled)


def _since(directory: Path, start: int) -> Iterator[Frame]:
    reader = LogReader(directory, start)
    try:
        while frames := reader.read():
            yield from frames
    finally:
        reader.close()


async def append(
    log: LogWriter, frames: Sequence[Frame], target: FlowRevision, rewind: str
) -> tuple[int, int, Overloaded | None]:
    """Append copies in order; how many are durable, from the first on, the offset after them, and the refusal that ended
    it."""
    now = int(time.time() * 1000)
    waiting: list[tuple[int, asyncio.Future[None]]] = []
    refusal: Overloaded | None = None
    for frame in frames:
        meta = frame.meta
        try:
            future = log.append(
                meta.layout, target.flow_id, target.revision, copied_receipt(meta.receipt, rewind), frame.count,
                frame.body, frame.received, envelope=meta.envelope, indexes=meta.indexes,
                origin=Origin(rewind, frame.end, now),
            )  # fmt: skip
        except Exception as error:
            # whatever it was: what was appended before it must be accounted for
            refusal = refusal_of(error)
            break
        waiting.append((log.next_offset, future))
    done, settled = 0, 0
    for number, (end, future) in enumerate(waiting):
        try:
            await future
        except Exception as error:
            refusal = refusal or refusal_of(error)
            continue
        if done == number:
            done, settled = number + 1, end
    return done, settled, refusal
