"""Micro-batches over a source, as Spark asks for them: planned ahead, read again, gone on with after a restart."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.errors import Terminal
from headrace.sources.contract import LATEST, Settings
from headrace.sources.kinesis import CONNECTOR
from headrace.sources.stream_reader import StreamReader
from tests.sources.kinesis_fake import FakeKinesis, FakeShard
from tests.sources.kinesis_roto import AUTH, AUTH_SPEC
from tests.sources.test_conformance import Memory

FIRST, SECOND, CHILD = (f"shardId-00000000000{n}" for n in range(3))


@pytest.fixture
def kinesis() -> Iterator[FakeKinesis]:
    server = FakeKinesis(FIRST, SECOND)
    yield server
    server.close()


def reader_of(kinesis: FakeKinesis) -> StreamReader:
    """As after a restart: nothing is remembered but what the caller has in its checkpoint."""
    settings = Settings(AUTH_SPEC, {**AUTH, "endpointUrl": kinesis.url}, {"stream": "orders"}, "f")
    return StreamReader(lambda: CONNECTOR.open(settings))  # type: ignore[arg-type,return-value]


def batch(reader: StreamReader, start: Any) -> tuple[Any, list[tuple[str, int, bytes]]]:
    """The end of a batch, by way of JSON as a checkpoint has it, and its rows."""
    end = json.loads(json.dumps(reader.latestOffset(start)))
    rows = []
    for planned in reader.partitions(start, end):
        found = [(planned.partition, m.offset, m.body) for m in reader.read(planned)]
        again = [(planned.partition, m.offset, m.body) for m in reader.read(planned)]
        assert found == again, "a range that is read again is the same"
        rows += found
    reader.commit(end)
    return end, rows


def put(shard: FakeShard, name: str, count: int) -> list[bytes]:
    bodies = [f"{name}{n}".encode() for n in range(count)]
    for body in bodies:
        shard.put(body)
    return bodies


def test_batches_over_restarts_and_a_merge_hold_every_record_once_and_in_order(
    kinesis: FakeKinesis,
) -> None:
    a, b = put(kinesis.shards[FIRST], "a", 7), put(kinesis.shards[SECOND], "b", 3)
    reader = reader_of(kinesis)
    begin = json.loads(json.dumps(reader.initialOffset()))
    assert set(begin) == {FIRST, SECOND}
    at, rows = batch(reader, begin)
    a += put(kinesis.shards[FIRST], "later-a", 4)
    kinesis.shards[FIRST].trim(5)  # long since read
    reader.stop()

    reader = reader_of(kinesis)  # counts on from the checkpoint, not from the oldest record
    at, more = batch(reader, at)
    assert [body for _, _, body in more] == a[7:]
    rows += more
    b += put(kinesis.shards[SECOND], "last-b", 2)
    kinesis.shards[FIRST].closed = kinesis.shards[SECOND].closed = True
    kinesis.shards[CHILD] = FakeShard(parents=(FIRST, SECOND))
    c = put(kinesis.shards[CHILD], "c", 5)
    reader.stop()

    reader = reader_of(kinesis)
    at, more = batch(reader, at)
    assert CHILD not in at, "its parents are read to their end first"
    rows += more
    at, more = batch(reader, at)
    assert {partition for partition, _, _ in more} == {CHILD}
    rows += more
    for id, sent in ((FIRST, a), (SECOND, b), (CHILD, c)):
        mine = [(offset, body) for partition, offset, body in rows if partition == id]
        assert mine == list(enumerate(sent))
    assert batch(reader, at) == (at, []), "nothing new is no batch"
    reader.stop()


def test_the_latest_begins_with_what_comes() -> None:
    memory = Memory()
    memory.produce("a", [b"old"])
    reader = StreamReader(memory.open, LATEST)  # type: ignore[arg-type]
    begin = reader.initialOffset()
    memory.produce("a", [b"new"])
    assert [body for _, _, body in batch(reader, begin)[1]] == [b"new"]


def test_a_range_ends_where_it_was_planned_to_end() -> None:
    memory = Memory()
    memory.produce("a", [b"%d" % n for n in range(9)])
    reader = StreamReader(memory.open)  # type: ignore[arg-type]
    begin = reader.initialOffset()
    end = reader.latestOffset(begin)
    memory.produce("a", [b"later"])
    (planned,) = reader.partitions(begin, end)
    assert [m.body for m in reader.read(planned)] == [b"%d" % n for n in range(9)]
    assert reader.partitions(end, end) == []


def test_a_partition_that_vanished_before_its_end_is_terminal(kinesis: FakeKinesis) -> None:
    reader = reader_of(kinesis)
    put(kinesis.shards[FIRST], "a", 1)
    at, _ = batch(reader, reader.initialOffset())
    del kinesis.shards[FIRST]
    with pytest.raises(Terminal, match=FIRST):
        reader.latestOffset(at)


def test_a_server_that_is_away_for_a_moment_is_waited_for() -> None:
    memory = Memory()
    reader = StreamReader(memory.open)  # type: ignore[arg-type]
    begin = reader.initialOffset()
    memory.produce("a", [b"x"])
    memory.break_connections()
    assert [body for _, _, body in batch(reader, begin)[1]] == [b"x"]
