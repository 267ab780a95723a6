"""The conformance suite itself: a right source passes, and every kind of wrong one is found out."""

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from headrace.errors import Terminal, Transient
from headrace.sources.contract import EARLIEST, Chunk, Message, Partition, Position
from headrace.testing import source_faults, source_harness, sources
from headrace.testing.sources import NotConforming, applicable

SECRET = "s3cret-of-memory"


class Stream:
    def __init__(self) -> None:
        self.kept: dict[str, list[Message]] = {"a": [], "b": []}
        self.first: dict[str, int] = {"a": 0, "b": 0}
        self.up = True
        self.password = SECRET


class MemorySource:
    def __init__(self, stream: Stream | None, password: str = SECRET) -> None:
        self.stream, self.password = stream, password

    def _reach(self) -> Stream:
        if self.stream is None:
            raise Terminal("no such stream")
        if not self.stream.up:
            raise Transient("the server does not answer")
        if self.stream.password != self.password:
            raise Terminal("refused")
        return self.stream

    def partitions(self) -> Sequence[Partition]:
        return [Partition(name) for name in self._reach().kept]

    def start(self, partition: str, reset: str) -> Position:
        return (
            Position(self._reach().first[partition]) if reset == EARLIEST else self.end(partition)
        )

    def end(self, partition: str) -> Position:
        stream = self._reach()
        return Position(stream.first[partition] + len(stream.kept[partition]))

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        deadline = time.monotonic() + wait
        while True:
            stream = self._reach()
            first = stream.first[partition]
            if position.offset < first:
                raise Terminal(f"{position.offset} is gone, the oldest is {first}")
            found = stream.kept[partition][position.offset - first :][:most]
            if found or time.monotonic() >= deadline:
                break
            time.sleep(0.01)
        behind = first + len(stream.kept[partition]) - position.offset - len(found)
        return Chunk(found, Position(position.offset + len(found)), behind, None if behind else 0)

    def close(self) -> None:
        pass


class Memory:
    secrets = (SECRET, "other-s3cret")
    source = MemorySource

    def __init__(self) -> None:
        self.stream = Stream()

    def open(self) -> MemorySource:
        return self.source(self.stream)

    def partitions(self) -> Sequence[str]:
        return list(self.stream.kept)

    def produce(self, partition: str, bodies: Sequence[bytes]) -> None:
        kept = self.stream.kept[partition]
        for body in bodies:
            offset = self.stream.first[partition] + len(kept)
            kept.append(Message(body, offset, int(time.time() * 1000), f"{partition}{offset}"))

    def trim(self, partition: str, kept: int) -> None:
        gone = len(self.stream.kept[partition]) - kept
        del self.stream.kept[partition][:gone]
        self.stream.first[partition] += gone

    def split(self) -> None:
        self.stream.kept["c"], self.stream.first["c"] = [], 0

    def stop_server(self) -> None:
        self.stream.up = False

    def start_server(self) -> None:
        self.stream.up = True

    def break_connections(self) -> None:
        self.stream.up = False
        threading.Timer(0.3, self.start_server).start()

    def open_refused(self) -> MemorySource:
        return self.source(self.stream, "other-s3cret")

    def open_unknown(self) -> MemorySource:
        return self.source(None)

    def expire_credentials(self) -> None:
        self.stream.password = "changed"


@pytest.mark.parametrize("check", applicable(Memory), ids=lambda check: check.__name__)
def test_a_right_source_passes(check: Callable[[Any], None]) -> None:
    check(Memory())


def test_checks_are_left_out_where_the_harness_lacks_an_ability() -> None:
    class Bare:
        open = partitions = produce = None

    names = {check.__name__ for check in applicable(Bare)}
    assert "check_most_is_respected" in names
    assert "check_lost_positions_are_terminal" not in names
    assert len(applicable(Memory)) > len(names)


class ChangesBodies(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        chunk = super().read(*asked)
        return replace(chunk, messages=[replace(m, body=m.body.strip()) for m in chunk.messages])


class TimesInSeconds(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        chunk = super().read(*asked)
        return replace(chunk, messages=[replace(m, at=m.at // 1000) for m in chunk.messages])


class NamesAnew(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        chunk = super().read(*asked)
        return replace(chunk, messages=[replace(m, id=str(uuid.uuid4())) for m in chunk.messages])


class RemembersItsPlace(MemorySource):
    """Goes on where it was, whatever position it is told."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.places: dict[str, Position] = {}

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        chunk = super().read(partition, self.places.get(partition, position), most, wait)
        self.places[partition] = chunk.next
        return chunk


class LosesTheFirst(MemorySource):
    """The first message after opening, as one that was fetched before and is gone."""

    fresh = True

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        at = replace(position, offset=position.offset + (position.offset > 0 and self.fresh))
        self.fresh = False
        return super().read(partition, at, most, wait)


class LatestIsEarliest(MemorySource):
    def start(self, partition: str, reset: str) -> Position:
        return super().start(partition, EARLIEST)


class Mixes(MemorySource):
    def read(self, partition: str, *asked: Any) -> Chunk:
        return super().read("a", *asked)


class Reverses(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        chunk = super().read(*asked)
        return replace(chunk, messages=chunk.messages[::-1])


class GivesMore(MemorySource):
    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        return super().read(partition, position, most + 1, wait)


class Sleeps(MemorySource):
    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        time.sleep(wait)
        return super().read(partition, position, most, 0)


class Overstays(MemorySource):
    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        return super().read(partition, position, most, wait + 0.5)


class SkipsWhenEmpty(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        chunk = super().read(*asked)
        return chunk if chunk.messages else replace(chunk, next=Position(chunk.next.offset + 1))


class CountsWhatItGave(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        chunk = super().read(*asked)
        return replace(chunk, behind_records=(chunk.behind_records or 0) + len(chunk.messages))


class AlwaysBehind(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        return replace(super().read(*asked), behind_ms=5)


class GoesOnAfterALoss(MemorySource):
    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        at = max(position.offset, self._reach().first[partition])
        return super().read(partition, Position(at), most, wait)


class DoesNotSayWhatIsLost(MemorySource):
    def read(self, *asked: Any) -> Chunk:
        try:
            return super().read(*asked)
        except Terminal:
            raise Terminal("some records are gone") from None


class ListsOnce(MemorySource):
    listed: Sequence[Partition] = ()

    def partitions(self) -> Sequence[Partition]:
        self.listed = self.listed or super().partitions()
        return self.listed


class OrphansChildren(MemorySource):
    def partitions(self) -> Sequence[Partition]:
        found = super().partitions()
        return [Partition(p.id, ("gone",) if p.id == "c" else ()) for p in found]


class GivesUp(MemorySource):
    def _reach(self) -> Stream:
        try:
            return super()._reach()
        except Transient as error:
            raise Terminal(str(error)) from error


class OtherErrors(MemorySource):
    def _reach(self) -> Stream:
        if self.stream is not None and not self.stream.up:
            raise ConnectionError("refused")
        return super()._reach()


class SilentWhenDown(MemorySource):
    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        try:
            return super().read(partition, position, most, wait)
        except (Transient, Terminal):
            return Chunk((), position)


class TellsThePassword(MemorySource):
    def _reach(self) -> Stream:
        try:
            return super()._reach()
        except Terminal:
            raise ValueError(f"wrong: {self.password}") from None

    def partitions(self) -> Sequence[Partition]:
        try:
            return super().partitions()
        except ValueError as error:
            raise Terminal("refused") from error


class TriesForEver(MemorySource):
    def _reach(self) -> Stream:
        try:
            return super()._reach()
        except Terminal as error:
            raise Transient(str(error)) from None


@pytest.mark.parametrize(
    ("wrong", "check"),
    [
        (ChangesBodies, sources.check_bodies_come_as_they_were_sent),
        (TimesInSeconds, sources.check_bodies_come_as_they_were_sent),
        (NamesAnew, sources.check_a_range_read_twice_is_the_same),
        (RemembersItsPlace, sources.check_a_range_read_twice_is_the_same),
        (LosesTheFirst, sources.check_positions_outlive_the_source),
        (LatestIsEarliest, sources.check_earliest_and_latest),
        (Mixes, sources.check_order_within_a_partition),
        (Reverses, sources.check_order_within_a_partition),
        (GivesMore, sources.check_most_is_respected),
        (Sleeps, sources.check_wait_is_respected),
        (Overstays, sources.check_wait_is_respected),
        (SkipsWhenEmpty, sources.check_empty_reads_lose_nothing),
        (CountsWhatItGave, sources.check_behind_is_right),
        (AlwaysBehind, sources.check_behind_is_right),
        (GoesOnAfterALoss, source_faults.check_lost_positions_are_terminal),
        (DoesNotSayWhatIsLost, source_faults.check_lost_positions_are_terminal),
        (ListsOnce, sources.check_new_partitions_appear),
        (OrphansChildren, sources.check_new_partitions_appear),
        (GivesUp, source_faults.check_a_stopped_server_is_transient),
        (OtherErrors, source_faults.check_a_stopped_server_is_transient),
        (SilentWhenDown, source_faults.check_a_stopped_server_is_transient),
        (GivesUp, source_faults.check_broken_connections_lose_nothing),
        (TellsThePassword, source_faults.check_refused_credentials_are_terminal),
        (TriesForEver, source_faults.check_refused_credentials_are_terminal),
        (TriesForEver, source_faults.check_an_unknown_stream_is_terminal),
        (SilentWhenDown, source_faults.check_expired_credentials_are_terminal),
    ],
    ids=lambda value: value.__name__,
)
def test_a_wrong_source_is_found_out(
    wrong: type[MemorySource], check: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sources, source_faults, source_harness):
        monkeypatch.setattr(module, "PATIENCE", 1.0)
    monkeypatch.setattr(sources, "SLACK", 0.3)
    monkeypatch.setattr(sources, "LONG_WAIT", 1.2)

    class Harness(Memory):
        source = wrong

    with pytest.raises((NotConforming, Terminal)):
        check(Harness())
