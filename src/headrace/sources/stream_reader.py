"""Micro-batches over a `Source`: begin, plan up to the newest records, read a planned range again as often as needed.

It has the methods that Spark's `DataSourceStreamReader` asks for, on offsets that can be written as JSON
(partition → `{"offset": …, "token": …}`), so that Spark's checkpoint holds what our watermark holds. Nothing of Spark
is needed here.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from headrace.errors import Terminal, Transient
from headrace.sources.contract import EARLIEST, Message, Position, Source

MOST_MESSAGES = 5_000
"""Asked for at once."""
PATIENCE = 60.0
"""Seconds for which a source may be out of reach, or keep back records that it said it has."""
_PAUSES = (0.2, 5.0)
Offsets = Mapping[str, Mapping[str, Any]]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Range:
    """What one task reads: a partition from one position up to another."""

    partition: str
    start: Position
    end: Position


class StreamReader:
    """`open_source` connects; a connection for planning is kept until `stop`, each `read` has one of its own.

    Methods raise Terminal, and Transient once a source has been out of reach for a minute.
    """

    def __init__(self, open_source: Callable[[], Source], reset: str = EARLIEST) -> None:
        self._open, self._reset = open_source, reset
        self._source: Source | None = None
        self._told: set[str] = set()

    def initialOffset(self) -> dict[str, Any]:
        """Where a query begins that has no checkpoint. Children of partitions that are read first are not in it."""
        source = self._planning()
        listed = {found.id: found for found in _patiently(source.partitions)}
        return {
            id: _written(_patiently(lambda id=id: source.start(id, self._reset)))  # type: ignore[misc]
            for id, found in listed.items()
            if self._reset != EARLIEST or not set(found.parents) & set(listed)
        }

    def latestOffset(self, start: Offsets, limit: object = None) -> dict[str, Any]:
        """The newest positions. A child is in them once a batch before has read its parents to their end.

        All that is there is planned for, whatever the limit: a position with a token cannot be given for any offset.
        """
        source = self._planning()
        listed = {found.id: found for found in _patiently(source.partitions)}
        planned = {id: _read(at) for id, at in start.items()}
        for id, position in planned.items():
            if id not in listed and not position.ended:
                raise Terminal(
                    f"the source no longer has partition {id}, which was read up to {position.offset}"
                    " and not to its end"
                )
        found = dict(start)
        for id, partition in listed.items():
            if id not in planned and all(
                planned[parent].ended if parent in planned else parent not in listed
                for parent in partition.parents
            ):
                found[id] = _written(self._end(source, id, Position()))
            elif id in planned and not planned[id].ended:
                found[id] = _written(self._end(source, id, planned[id]))
        return dict(found)

    def partitions(self, start: Offsets, end: Offsets) -> Sequence[Any]:
        """The ranges between two offsets that hold records."""
        found = []
        for id, at in end.items():
            since = _read(start[id]) if id in start else self._beginning(id)
            if since.offset < int(at["offset"]):
                found.append(Range(id, since, _read(at)))
        return found

    def read(self, partition: Range) -> Iterator[Message]:
        """The messages of a range, in their order; the same ones each time."""
        source = self._open()
        try:
            position, deadline = partition.start, time.monotonic() + PATIENCE
            while position.offset < partition.end.offset and not position.ended:
                most = min(MOST_MESSAGES, partition.end.offset - position.offset)
                try:
                    chunk = source.read(partition.partition, position, most, 1.0)
                except Transient:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(_PAUSES[0])
                    continue
                yield from (m for m in chunk.messages if m.offset < partition.end.offset)
                if chunk.next != position:
                    position, deadline = chunk.next, time.monotonic() + PATIENCE
                elif time.monotonic() > deadline:
                    raise Transient(
                        f"partition {partition.partition} has records up to {partition.end.offset},"
                        f" those from {position.offset} on do not come"
                    )
        finally:
            source.close()

    def commit(self, end: Offsets) -> None:
        """Nothing is kept at the source."""

    def stop(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None

    def _planning(self) -> Source:
        if self._source is None:
            self._source = _patiently(self._open)
        return self._source

    def _beginning(self, id: str) -> Position:
        source = self._planning()
        return _patiently(lambda: source.start(id, EARLIEST))

    def _end(self, source: Source, id: str, known: Position) -> Position:
        if known.token and id not in self._told:
            # a source that numbers records itself counts on from what was read through it
            _patiently(lambda: source.read(id, known, 1, 0))
        self._told.add(id)
        return _patiently(lambda: source.end(id))


def _patiently(action: Callable[[], T]) -> T:
    deadline, pause = time.monotonic() + PATIENCE, _PAUSES[0]
    while True:
        try:
            return action()
        except Transient:
            if time.monotonic() + pause > deadline:
                raise
            time.sleep(pause)
            pause = min(pause * 2, _PAUSES[1])


def _written(position: Position) -> dict[str, Any]:
    return {"offset": position.offset, "token": position.token}


def _read(at: Mapping[str, Any]) -> Position:
    return Position(int(at["offset"]), str(at["token"]))
