"""The reader of a pulled source: what it reads first, and what it does when something is gone."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from headrace.errors import Transient
from headrace.runtime.pull import Begun, Event, Puller, Read, Stopped
from headrace.sources.contract import (
    EARLIEST,
    ENDED,
    LATEST,
    Chunk,
    Message,
    Partition,
    Position,
)


class Stream:
    """Partitions with their parents and records; `closed` ones end."""

    def __init__(self, parents: Mapping[str, tuple[str, ...]]) -> None:
        self.parents = dict(parents)
        self.records: dict[str, list[bytes]] = {id: [] for id in parents}
        self.closed: set[str] = set()
        self.failures = 0
        self.opened = threading.Event()

    def partitions(self) -> Sequence[Partition]:
        if self.failures:
            self.failures -= 1
            raise Transient("out of reach")
        return [Partition(id, parents) for id, parents in self.parents.items()]

    def start(self, partition: str, reset: str) -> Position:
        return Position(0 if reset == EARLIEST else len(self.records[partition]))

    def end(self, partition: str) -> Position:
        return Position(len(self.records[partition]))

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        found = self.records[partition][position.offset :][:most]
        if not found and partition in self.closed:
            return Chunk((), Position(position.offset, ENDED))
        if not found:
            time.sleep(0.01)
        messages = [
            Message(body, position.offset + n, 0, f"{partition}-{position.offset + n}")
            for n, body in enumerate(found)
        ]
        return Chunk(messages, Position(position.offset + len(found)))

    def close(self) -> None: ...


def events_of(puller: Puller, enough: Callable[[list[Event]], bool]) -> list[Event]:
    found: list[Event] = []
    deadline = time.monotonic() + 10
    puller.start()
    try:
        while not enough(found):
            assert time.monotonic() < deadline, found
            event = puller.take()
            if event is None:
                time.sleep(0.005)
            else:
                found.append(event)
    finally:
        puller.stop()
    return found


def stopped(events: list[Event]) -> bool:
    return any(isinstance(event, Stopped) for event in events)


def bodies(events: list[Event]) -> list[bytes]:
    return [m.body for e in events if isinstance(e, Read) for m in e.chunk.messages]


def test_children_are_read_after_the_end_of_their_parents() -> None:
    stream = Stream({"c": ("a", "b"), "a": (), "b": ()})
    stream.records |= {"a": [b"a"] * 3, "b": [b"b"] * 3, "c": [b"c"] * 3}
    stream.closed = {"a", "b"}
    found = events_of(
        Puller(lambda: stream, {}, EARLIEST, first=True), lambda events: len(bodies(events)) == 9
    )
    assert isinstance(found[0], Begun)
    assert set(found[0].positions) == {"a", "b"}
    assert bodies(found)[6:] == [b"c"] * 3
    ends = {e.partition for e in found if isinstance(e, Read) and e.chunk.next.ended}
    assert ends == {"a", "b"}


def test_latest_begins_behind_what_is_there_in_every_partition() -> None:
    stream = Stream({"a": (), "b": ("a",)})
    stream.records |= {"a": [b"old"], "b": [b"old"]}
    puller = Puller(lambda: stream, {}, LATEST, first=True)
    (begun,) = events_of(puller, lambda events: bool(events))
    assert begun == Begun({"a": Position(1), "b": Position(1)})


def test_a_partition_that_vanished_before_its_end_stops_the_flow() -> None:
    """Kinesis drops shards with their last records: nobody could tell whether any were left to read."""
    stream = Stream({"child": ()})
    stream.records["child"] = [b"later"]
    puller = Puller(lambda: stream, {"parent": Position(7)}, EARLIEST, first=False)
    found = events_of(puller, stopped)
    assert bodies(found) == [], "a later partition was read over the gap"
    reason = next(event.reason for event in found if isinstance(event, Stopped))
    assert "parent" in reason
    assert "7" in reason


def test_a_partition_that_vanished_after_its_end_is_nothing_to_stop_for() -> None:
    stream = Stream({"child": ()})
    stream.records["child"] = [b"later"]
    puller = Puller(lambda: stream, {"parent": Position(7, ENDED)}, EARLIEST, first=False)
    found = events_of(puller, lambda events: bool(bodies(events)))
    assert bodies(found) == [b"later"]
    assert not stopped(found)


def test_recovery_from_a_reported_failure_is_noted() -> None:
    stream = Stream({"a": ()})
    stream.failures = 2
    told: list[str] = []
    puller = Puller(lambda: stream, {}, EARLIEST, first=True, report=told.append)
    assert not puller.recovered
    deadline = time.monotonic() + 10
    puller.start()
    while not puller.recovered:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    puller.stop()
    assert told == ["out of reach"] * 2
