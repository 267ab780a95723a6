"""What the log says of flows: how many records were ever accepted, and how many still wait; and whether it is whole."""

import os
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path

from headrace.log.damage import Damage, resume
from headrace.log.frames import CHECKPOINT, Frame
from headrace.log.segments import decode_checkpoint, segments
from headrace.services.operator.doctor.accounts import Books
from headrace.services.operator.doctor.checks import Fault
from headrace.services.operator.log_search import Scanned, durable, frames


def count_log(directory: Path, books: Books, *, running: bool) -> None:
    """Read every frame; its checksum is looked at. What is damaged is named and passed over."""
    base, length = durable(directory)
    counting = _Counting(books)
    found = segments(directory)
    newest = found[-1][0] if found else -1
    if length and base > newest:
        # after a power cut the mark may be of an older one, which was freed since
        text = f"segment {base:020d}.log is missing, of which {length} bytes were synced"
        books.damage.append(Fault("log_missing", text))
    elif not found and any(account.position for account in books.accounts.values()):
        books.damage.append(Fault("log_missing", f"there are no segments in {directory}"))
    for number, (first, path) in enumerate(found, 1):
        following = found[number][0] if number < len(found) else None
        if running and first > base:
            continue  # being opened
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            counting.end = None  # freed meanwhile
            continue
        try:
            size = os.fstat(descriptor).st_size
            segment = _Segment(descriptor, path.name, first, following, size)
            if first == base:
                segment.synced, segment.limit = length, min(length, size) if running else size
            counting.read(segment)
        finally:
            os.close(descriptor)
        books.segments += 1
    for flow_id, sequence in counting.sequences.items():
        account = books.of(flow_id)
        account.logged, account.waiting = sequence, counting.waiting[flow_id]


@dataclass(slots=True)
class _Segment:
    """`following`: the first offset of the next segment, None for the last one, whose end may be torn. `limit`: bytes
    that may be read; `synced`: bytes that must be there."""

    descriptor: int
    name: str
    first: int
    following: int | None
    limit: int
    synced: int = 0


class _Counting:
    """`end`: the offset after the last record that was read, None when that is not known."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.sequences: dict[str, int] = {}
        self.waiting: defaultdict[str, int] = defaultdict(int)
        self.end: int | None = None

    def read(self, segment: _Segment) -> None:
        before, self.end = self.end, segment.first if self.end is None else self.end
        scanned, damage = Scanned(), list[Damage]()
        while scanned.length < segment.limit:
            for frame in frames(segment.descriptor, segment.limit, scanned):
                if damage and damage[-1].next is None:
                    damage[-1] = replace(damage[-1], end=scanned.length, next=frame.offset)
                if before is not None and segment.first > before:
                    self._gap(before, segment.first, frame)
                before = None
                self._count(frame)
            left = segment.limit - scanned.length
            if left and segment.following is None and scanned.length >= segment.synced:
                self.books.torn += left
                break
            if left:
                damage.append(Damage(segment.name, scanned.length, self.end))
                rest = os.pread(segment.descriptor, left, scanned.length)
                behind = resume(rest, self.end)
                if behind is None:
                    damage[-1] = replace(damage[-1], next=segment.following)
                    self.end = segment.following
                    break
                scanned.length += behind
        found = [f"{each}: its checksum differs" for each in damage]
        if segment.limit < segment.synced:
            found.append(
                f"segment {segment.name} has {segment.limit} bytes, {segment.synced} were synced"
            )
        self.books.damage += [Fault("log_damaged", text) for text in found]

    def _count(self, frame: Frame) -> None:
        books, meta = self.books, frame.meta
        books.frames += 1
        self.end = frame.end
        if meta.layout == CHECKPOINT:
            for id, sequence in decode_checkpoint(frame.body).items():
                self.sequences[id] = max(sequence, self.sequences.get(id, 0))
            return
        self.sequences[meta.flow_id] = meta.sequence + frame.count
        if frame.end > books.of(meta.flow_id).position:
            self.waiting[meta.flow_id] += frame.count
            books.revisions.add((meta.flow_id, meta.revision))

    def _gap(self, end: int, first: int, frame: Frame) -> None:
        """Records between two segments are not there: damage, unless every flow has landed its own."""
        text = f"records {end} to {first - 1}, between two segments, are not in the log"
        after = decode_checkpoint(frame.body) if frame.meta.layout == CHECKPOINT else {}
        ahead = {
            id: sequence - max(self.books.of(id).sequence, self.sequences.get(id, 0))
            for id, sequence in after.items()
        }
        flows = ", ".join(f"flow {id} lacks {n}" for id, n in sorted(ahead.items()) if n > 0)
        if flows:
            self.books.damage.append(Fault("log_gap", f"{text}; {flows} that had not landed"))
        else:
            self.books.passed.append(f"{text}; all of them had landed")
