"""Checks of how a source fails: which errors it raises, what they say, and that it goes on without a loss."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

from headrace.errors import Terminal, Transient
from headrace.sources.contract import EARLIEST, Chunk, Message, Position, Source
from headrace.testing.source_harness import (
    PATIENCE,
    Breaks,
    Expires,
    Harness,
    Misses,
    Refuses,
    Stops,
    Trims,
    bodies,
    patiently,
    raised_by,
    read_until,
    require,
    same_bodies,
)


def check_lost_positions_are_terminal(harness: Trims) -> None:
    """A position whose record is gone is never skipped over in silence; the oldest kept one can be read."""
    partition = harness.partitions()[0]
    sent = bodies("lost", 10)
    harness.produce(partition, sent)
    with closing(harness.open()) as source:
        start = source.start(partition, EARLIEST)
        _, lost = read_until(source, partition, start, 3)
    harness.trim(partition, 4)
    with closing(harness.open()) as source:
        oldest = source.start(partition, EARLIEST)
        error = raised_by(
            lambda: _nothing_skipped(source.read(partition, lost, 10, 0.5)),
            Terminal,
            harness.secrets,
            f"reading from {lost}, the oldest is {oldest}",
        )
        for position in (lost, oldest):
            named = str(position.offset) in str(error)
            named |= bool(position.token) and position.token in str(error)
            require(named, f"the error does not name {position}: {error}")
        found, _ = read_until(source, partition, oldest, 4)
        same_bodies(found, sent[-4:], "from the oldest kept")


def _nothing_skipped(chunk: Chunk) -> None:
    require(not chunk.messages, "reading went on after records that are gone")


def check_a_stopped_server_is_transient(harness: Stops) -> None:
    """For an open source and a new one; both go on when the server is back."""
    partition = harness.partitions()[0]
    sent = bodies("down", 6)
    harness.produce(partition, sent[:3])
    with closing(harness.open()) as source:
        _, position = read_until(source, partition, source.start(partition, EARLIEST), 3)
        harness.stop_server()
        try:
            for doing, action in {
                "read": lambda: source.read(partition, position, 10, 0.2),
                "partitions": source.partitions,
                "end": lambda: source.end(partition),
                "open": lambda: _opened(harness),
            }.items():
                raised_by(action, Transient, harness.secrets, f"{doing} of a stopped server")
        finally:
            harness.start_server()
        harness.produce(partition, sent[3:])
        _goes_on(harness, source, partition, position, sent[3:])
    with closing(harness.open()) as source:
        _goes_on(harness, source, partition, position, sent[3:])


def _opened(harness: Harness) -> None:
    with closing(harness.open()) as source:
        source.partitions()


def _goes_on(
    harness: Harness, source: Source, partition: str, position: Position, wanted: Sequence[bytes]
) -> None:
    """All wanted messages come from a position on, whatever Transient comes between."""
    found: list[Message] = []
    deadline = time.monotonic() + PATIENCE
    while len(found) < len(wanted):
        require(time.monotonic() < deadline, f"{len(found)} of {len(wanted)} messages came")
        chunk = patiently(
            partial(source.read, partition, position, 100, 0.5), harness.secrets, "reading on"
        )
        found += chunk.messages
        position = chunk.next
    same_bodies(found, wanted, "reading on")


def check_broken_connections_lose_nothing(harness: Breaks) -> None:
    partition = harness.partitions()[0]
    sent = bodies("broken", 20)
    harness.produce(partition, sent[:10])
    with closing(harness.open()) as source:
        _, position = read_until(source, partition, source.start(partition, EARLIEST), 5)
        harness.break_connections()
        harness.produce(partition, sent[10:])
        _goes_on(harness, source, partition, position, sent[5:])


def _use(opening: Callable[[], Source]) -> None:
    source = opening()
    try:
        for partition in source.partitions():
            source.read(partition.id, source.start(partition.id, EARLIEST), 1, 0.2)
    finally:
        source.close()


def check_refused_credentials_are_terminal(harness: Refuses) -> None:
    raised_by(lambda: _use(harness.open_refused), Terminal, harness.secrets, "refused credentials")


def check_an_unknown_stream_is_terminal(harness: Misses) -> None:
    raised_by(lambda: _use(harness.open_unknown), Terminal, harness.secrets, "an unknown stream")


def check_expired_credentials_are_terminal(harness: Expires) -> None:
    """A source that is open when its credentials end says so instead of reading nothing for ever."""
    partition = harness.partitions()[0]
    harness.produce(partition, bodies("expired", 2))
    with closing(harness.open()) as source:
        _, position = read_until(source, partition, source.start(partition, EARLIEST), 2)
        harness.expire_credentials()
        raised_by(
            lambda: source.read(partition, position, 10, 0.2),
            Terminal,
            harness.secrets,
            "expired credentials",
        )
