"""What every pulled source must do, as checks that anyone who writes a connector can run against a real server.

A `Harness` stands for one stream that is empty at first and has at least two partitions. Each check takes a fresh
harness and raises `NotConforming` with what was wrong. What a server can be made to do beyond producing are further
protocols (`Trims`, `Splits`, ...): a check that needs one is left out where the harness lacks it. With pytest:

    @pytest.mark.parametrize("check", applicable(MyHarness), ids=lambda check: check.__name__)
    def test_conforms(check, harness): check(harness)
"""

import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from headrace.sources.contract import EARLIEST, LATEST, Message, Position
from headrace.testing import source_faults as faults
from headrace.testing.source_harness import (
    PATIENCE,
    Harness,
    NotConforming,
    Splits,
    bodies,
    check_chunk,
    read_until,
    require,
    same_bodies,
)

__all__ = ["Harness", "NotConforming", "applicable"]
SLACK = 2.0
"""Seconds by which a call may outlast the wait it was given."""
LONG_WAIT = 8.0
"""Seconds of a wait that a message ends early."""


def check_bodies_come_as_they_were_sent(harness: Harness) -> None:
    partition = harness.partitions()[0]
    sent = [b'{"a": 1}', b"\x00\xff\xfe not text", "Zürich 漢字".encode(), b" ", b"x" * 50_000]
    before = int(time.time() * 1000)
    harness.produce(partition, sent)
    with closing(harness.open()) as source:
        found, _ = read_until(source, partition, source.start(partition, EARLIEST), len(sent))
        same_bodies(found, sent, "bodies")
        for message in found:
            require(
                before - 60_000 < message.at < before + 60_000,
                f"message {message.id} has the time {message.at}, produced at {before} ms",
            )


def check_a_range_read_twice_is_the_same(harness: Harness) -> None:
    """By the same source and by another, in whatever sizes it is asked for."""
    partition = harness.partitions()[0]
    harness.produce(partition, bodies("twice", 30))
    with closing(harness.open()) as source:
        start = source.start(partition, EARLIEST)
        first, middle = read_until(source, partition, start, 10)
        rest, end = read_until(source, partition, middle, 20)
        for again in (source, harness.open()):
            try:
                whole, reached = read_until(again, partition, start, 30)
                require(whole == [*first, *rest], "a second reading gave other messages")
                require(reached.offset == end.offset, f"it ended at {reached}, not at {end}")
                part, _ = read_until(again, partition, middle, 20)
                require(part == rest, "a reading from the middle gave other messages")
            finally:
                if again is not source:
                    again.close()


def check_positions_outlive_the_source(harness: Harness) -> None:
    partition = harness.partitions()[-1]
    sent = bodies("reopen", 12)
    harness.produce(partition, sent[:6])
    found: list[Message] = []
    source = harness.open()
    position = source.start(partition, EARLIEST)
    for step in range(4):
        if step == 2:
            harness.produce(partition, sent[6:])
        more, reached = read_until(source, partition, position, 3)
        found += more
        source.close()
        # what a checkpoint keeps of a position is its offset and its token
        position = Position(reached.offset, reached.token)
        source = harness.open()
    try:
        same_bodies(found, sent, "after reopening")
        require(not source.read(partition, position, 10, 0.5).messages, "messages came twice")
    finally:
        source.close()


def check_earliest_and_latest(harness: Harness) -> None:
    partition = harness.partitions()[0]
    sent = bodies("reset", 8)
    harness.produce(partition, sent[:5])
    with closing(harness.open()) as source:
        earliest = source.start(partition, EARLIEST)
        latest = source.start(partition, LATEST)
        end = source.end(partition)
        harness.produce(partition, sent[5:])
        for name, position, wanted in (
            ("earliest", earliest, sent),
            ("latest", latest, sent[5:]),
            ("the end", end, sent[5:]),
        ):
            found, reached = read_until(source, partition, position, len(wanted))
            same_bodies(found, wanted, f"from {name}")
            more = source.read(partition, reached, 10, 0.3)
            require(not more.messages, f"from {name}: more messages than were produced")


def check_order_within_a_partition(harness: Harness) -> None:
    """Partitions that are read in turn keep their own order and do not mix."""
    partitions = harness.partitions()[:2]
    sent = {partition: bodies(f"order-{partition}", 60) for partition in partitions}
    for at in range(0, 60, 20):
        for partition in partitions:
            harness.produce(partition, sent[partition][at : at + 20])
    with closing(harness.open()) as source:
        listed = {partition.id for partition in source.partitions()}
        require(listed >= set(partitions), f"partitions {listed}, the server has {partitions}")
        positions = {partition: source.start(partition, EARLIEST) for partition in partitions}
        found: dict[str, list[Message]] = {partition: [] for partition in partitions}
        for _ in range(12):
            for partition in partitions:
                more, positions[partition] = read_until(source, partition, positions[partition], 5)
                found[partition] += more
        for partition in partitions:
            same_bodies(found[partition], sent[partition], f"partition {partition}")


def check_most_is_respected(harness: Harness) -> None:
    partition = harness.partitions()[0]
    sent = bodies("most", 25)
    harness.produce(partition, sent)
    with closing(harness.open()) as source:
        position = source.start(partition, EARLIEST)
        found: list[Message] = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < len(sent) and time.monotonic() < deadline:
            most = (1, 2, 7)[len(found) % 3]
            chunk = source.read(partition, position, most, 0.5)
            check_chunk(chunk, position, most)
            found += chunk.messages
            position = chunk.next
        same_bodies(found, sent, "read a few at a time")


def check_wait_is_respected(harness: Harness) -> None:
    """A reading of nothing ends in time, and one that finds something ends early."""
    partition = harness.partitions()[0]
    with closing(harness.open()) as source:
        position = source.end(partition)
        for wait in (0.0, 1.0):
            began = time.monotonic()
            chunk = source.read(partition, position, 10, wait)
            took = time.monotonic() - began
            require(not chunk.messages, "messages that nobody produced")
            require(took < wait + SLACK, f"read with wait={wait} took {took:.1f} s")
            position = chunk.next
        later = threading.Timer(0.3, harness.produce, (partition, bodies("wait", 1)))
        later.start()
        began = time.monotonic()
        while not (chunk := source.read(partition, position, 10, LONG_WAIT)).messages:
            require(
                time.monotonic() - began < LONG_WAIT,
                "a message did not come while it was waited for",
            )
            position = chunk.next
        took = time.monotonic() - began
        later.join()
        require(took < 0.3 + 2 * SLACK, f"a message produced after 0.3 s came after {took:.1f} s")


def check_empty_reads_lose_nothing(harness: Harness) -> None:
    """An empty reading leaves the position, or moves it over what holds no message."""
    partition = harness.partitions()[1]
    harness.produce(partition, bodies("before", 3))
    with closing(harness.open()) as source:
        _, position = read_until(source, partition, source.start(partition, EARLIEST), 3)
        for step in range(3):
            for wait in (0.0, 0.2):
                chunk = source.read(partition, position, 10, wait)
                check_chunk(chunk, position, 10)
                require(not chunk.messages, "messages that nobody produced")
                position = chunk.next
            sent = bodies(f"after-{step}", 2)
            harness.produce(partition, sent)
            found, position = read_until(source, partition, position, 2)
            same_bodies(found, sent, "after an empty reading")


def check_behind_is_right(harness: Harness) -> None:
    """Where it is known, how far the position is from the end, in records and in time."""
    partition = harness.partitions()[0]
    began = time.time()
    harness.produce(partition, bodies("behind", 20))
    with closing(harness.open()) as source:
        position = source.start(partition, EARLIEST)
        left = 20
        while left:
            chunk = source.read(partition, position, min(5, left), 1.0)
            check_chunk(chunk, position, 5)
            left -= len(chunk.messages)
            position = chunk.next
            require(
                not chunk.messages or chunk.behind_records in (None, left),
                f"behind by {chunk.behind_records} records with {left} unread",
            )
            most = (time.time() - began + 5) * 1000
            require(
                chunk.behind_ms is None or chunk.behind_ms < most, f"behind by {chunk.behind_ms} ms"
            )
            require(time.time() - began < PATIENCE, f"{left} messages did not come")
        chunk = source.read(partition, position, 5, 0.5)
        require(
            chunk.behind_records in (None, 0) and chunk.behind_ms in (None, 0),
            f"at the end, yet behind by {chunk.behind_records} records, {chunk.behind_ms} ms",
        )


def check_new_partitions_appear(harness: Splits) -> None:
    """While the source is open; parents are listed and end, children hold what came after."""
    with closing(harness.open()) as source:
        before = {partition.id for partition in source.partitions()}
        old = sorted(before)[0]
        harness.produce(old, bodies("old", 3))
        harness.split()
        deadline = time.monotonic() + PATIENCE
        while not (added := [p for p in source.partitions() if p.id not in before]):
            require(time.monotonic() < deadline, "a new partition does not appear")
            time.sleep(0.1)
        listed = {partition.id for partition in source.partitions()}
        for partition in added:
            require(listed >= set(partition.parents), f"parents of {partition} are not listed")
            sent = bodies(f"new-{partition.id}", 4)
            harness.produce(partition.id, sent)
            found, position = read_until(
                source, partition.id, source.start(partition.id, EARLIEST), 4
            )
            same_bodies(found, sent, f"new partition {partition.id}")
            require(not position.ended, f"the new partition {partition.id} has ended")
        found, position = read_until(source, old, source.start(old, EARLIEST), 3)
        same_bodies(found, bodies("old", 3), "an old partition")
        for parent in {parent for partition in added for parent in partition.parents}:
            position = source.start(parent, EARLIEST)
            deadline = time.monotonic() + PATIENCE
            while not position.ended:
                require(time.monotonic() < deadline, f"the parent {parent} does not end")
                position = source.read(parent, position, 100, 0.2).next


Check = Callable[[Any], None]
_NEEDS: dict[Check, tuple[str, ...]] = {
    check_bodies_come_as_they_were_sent: (),
    check_a_range_read_twice_is_the_same: (),
    check_positions_outlive_the_source: (),
    check_earliest_and_latest: (),
    check_order_within_a_partition: (),
    check_most_is_respected: (),
    check_wait_is_respected: (),
    check_empty_reads_lose_nothing: (),
    check_behind_is_right: (),
    faults.check_lost_positions_are_terminal: ("trim",),
    check_new_partitions_appear: ("split",),
    faults.check_a_stopped_server_is_transient: ("stop_server", "start_server"),
    faults.check_broken_connections_lose_nothing: ("break_connections",),
    faults.check_refused_credentials_are_terminal: ("open_refused",),
    faults.check_an_unknown_stream_is_terminal: ("open_unknown",),
    faults.check_expired_credentials_are_terminal: ("expire_credentials",),
}


def applicable(harness: object) -> list[Check]:
    """The checks that a harness, or a class of harnesses, has all abilities for."""
    return [check for check, needs in _NEEDS.items() if all(hasattr(harness, n) for n in needs)]
