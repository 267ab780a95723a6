"""What the Event Hubs emulator keeps: hubs, their partitions, and events with numbers, offsets and times."""

import re
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from headrace.testing.amqp import (
    Described,
    Section,
    Symbol,
    encode,
    encode_map,
    map_entries,
    sections,
    timestamp,
)

_SELECTOR = re.compile(
    r"amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time) (>=?) '([^']*)'"
)


def now() -> int:
    return int(time.time() * 1000)


class Beyond(Exception):
    """A position after the last event; the text is what the service says."""


class Reader(Protocol):
    """A link that is told of new events."""

    group: str
    epoch: int | None

    def pump(self) -> None: ...

    def steal(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Event:
    """An event as its sections, cut where the service puts its own annotations."""

    number: int
    offset: int
    at: int
    header: bytes
    annotations: tuple[int, bytes]
    rest: bytes

    def encoded(self, last: "Event | None") -> bytes:
        """As a receiver gets it, with news of the `last` event of the partition if it wants them."""
        own = {
            Symbol("x-opt-sequence-number"): self.number,
            Symbol("x-opt-offset"): str(self.offset),
            Symbol("x-opt-enqueued-time"): timestamp(self.at),
        }
        annotations = b"\x00\x53\x72" + encode_map(*self.annotations, own)
        return self.header + (_news(last) if last else b"") + annotations + self.rest


class Partition:
    """`begin` is the number of the oldest event that is kept, `end` that of the next one."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.begin = 0
        self.last: Event | None = None
        self.events: list[Event] = []
        self.readers: list[Reader] = []
        self._bytes = 0

    @property
    def end(self) -> int:
        return self.begin + len(self.events)

    def append(self, message: bytes, at: int) -> None:
        header = rest = b""
        annotations = (0, b"")
        for code, _, raw in sections(message):
            if code == Section.HEADER:
                header = raw
            elif code == Section.MESSAGE_ANNOTATIONS:
                annotations = map_entries(raw)
            elif code >= Section.PROPERTIES:
                rest += raw
        self.last = Event(self.end, self._bytes, at, header, annotations, rest)
        self.events.append(self.last)
        self._bytes += len(message) + 32  # offsets are places in bytes, not the numbers of events

    def trim(self, kept: int) -> None:
        gone = max(0, len(self.events) - kept)
        self.begin += gone
        del self.events[:gone]

    def seek(self, selector: str) -> int:
        """The number of the first event that a receiver's filter lets through; Beyond for numbers not yet given."""
        found = _SELECTOR.search(selector)
        if found is None:
            raise ValueError(f"a filter that is not known: {selector}")
        field, operator, value = found.groups()
        if value == "@latest":
            return self.end
        wanted = int(value)
        if field == "sequence-number":
            if wanted >= self.end:
                raise Beyond(
                    f"The supplied sequence number '{wanted}' is invalid. "
                    f"The last sequence number in the system is '{self.end - 1}'"
                )
            return max(self.begin, wanted + (operator == ">"))
        key: Callable[[Event], int] = _offset if field == "offset" else _time
        search: Any = bisect_right if operator == ">" else bisect_left
        return self.begin + int(search(self.events, wanted, key=key))

    def properties(self) -> dict[str, Any]:
        """As the service's management node tells them."""
        last = self.last
        return {
            "begin_sequence_number": self.begin,
            "last_enqueued_sequence_number": self.end - 1,
            "last_enqueued_offset": str(last.offset if last else -1),
            "last_enqueued_time_utc": timestamp(last.at if last else 0),
            "is_partition_empty": not self.events,
        }


class Hub:
    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.created = now()
        self.partitions = [Partition(str(number)) for number in range(count)]
        self._turn = -1

    def next_turn(self) -> int:
        self._turn += 1
        return self._turn


def _offset(event: Event) -> int:
    return event.offset


def _time(event: Event) -> int:
    return event.at


def _news(last: Event) -> bytes:
    told = {
        Symbol("last_enqueued_sequence_number"): last.number,
        Symbol("last_enqueued_offset"): str(last.offset),
        Symbol("last_enqueued_time_utc"): timestamp(last.at),
        Symbol("runtime_info_retrieval_time_utc"): timestamp(now()),
    }
    return encode(Described(int(Section.DELIVERY_ANNOTATIONS), told))
