"""The Kinesis source against an emulator, written to by boto3 and by the aggregator of the AWS labs."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace.errors import ConfigurationError, Terminal
from headrace.services.flow import specs
from headrace.sources import kinesis_shard
from headrace.sources.contract import EARLIEST, LATEST, Message, Position, Source
from headrace.sources.kinesis import CONNECTOR
from headrace.testing.sources import applicable
from tests.sources.kinesis_roto import (
    AUTH,
    AUTH_SPEC,
    Roto,
    RotoHarness,
    aggregate,
    all_from,
    bodies,
    names,
    only_shard,
    settings,
)


@pytest.fixture(scope="module")
def roto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roto]:
    server = Roto(tmp_path_factory.mktemp("roto"))
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _no_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator has no limit of five reads in a second; that it is kept is seen in the tests of faults."""
    monkeypatch.setattr(kinesis_shard, "PACE", 0.02)


@pytest.fixture
def stream(roto: Roto) -> str:
    """A stream of one shard."""
    name = next(names)
    roto.stream(name)
    return name


Opener = Callable[..., Source]


@pytest.fixture
def opened(roto: Roto) -> Iterator[Opener]:
    """Opens sources of the emulator, and closes them."""
    sources: list[Source] = []

    def open_one(stream: str) -> Source:
        source = CONNECTOR.open(settings(roto.url, stream))
        sources.append(source)  # type: ignore[arg-type]
        return source  # type: ignore[return-value]

    yield open_one
    for source in sources:
        source.close()


def test_the_connector_is_that_of_the_catalogue() -> None:
    spec = specs.BY_ID[CONNECTOR.spec_id]
    form = specs.auth_spec(spec, AUTH_SPEC)
    assert spec["name"] == CONNECTOR.name
    assert form is not None
    assert {*AUTH, "endpointUrl"} <= set(form["spec"]["properties"])


@pytest.mark.parametrize("check", applicable(RotoHarness), ids=lambda check: check.__name__)
def test_conforms(check: Callable[[Any], None], roto: Roto) -> None:
    check(RotoHarness(roto))


def test_messages_come_in_order_with_ordinal_offsets(
    roto: Roto, stream: str, opened: Opener
) -> None:
    sent = [b"%d" % n for n in range(25)]
    before = time.time() * 1000
    roto.put(stream, *sent, key="customer-7")
    source = opened(stream)
    shard = only_shard(source)
    found, position = all_from(source, shard, source.start(shard, EARLIEST), 25, most=10)
    assert bodies(found) == sent
    assert [message.offset for message in found] == list(range(25))
    assert position.offset == 25
    assert found[0].headers["partitionKey"] == "customer-7"
    assert len({message.id for message in found}) == 25
    assert before - 1000 < found[0].at < time.time() * 1000 + 1000


def test_a_shard_without_news_gives_the_same_position_after_the_wait(
    stream: str, opened: Opener
) -> None:
    source = opened(stream)
    shard = only_shard(source)
    start = source.start(shard, EARLIEST)
    began = time.monotonic()
    chunk = source.read(shard, start, 10, 0.7)
    assert 0.4 < time.monotonic() - began < 2
    assert (list(chunk.messages), chunk.next) == ([], start)
    assert (chunk.behind_records, chunk.behind_ms) == (0, 0)


def test_behind_ms_is_what_is_left_to_read(roto: Roto, stream: str, opened: Opener) -> None:
    roto.put(stream, b"first")
    time.sleep(0.3)
    roto.put(stream, b"second")
    source = opened(stream)
    shard = only_shard(source)
    chunk = source.read(shard, source.start(shard, EARLIEST), 1, 1)
    assert chunk.behind_ms is not None
    assert chunk.behind_ms > 0
    chunk = source.read(shard, chunk.next, 5, 1)
    assert chunk.behind_ms == 0


@pytest.mark.parametrize("older", [[], [b"old 1", b"old 2"]], ids=["empty shard", "older records"])
def test_latest_loses_nothing_between_start_and_the_first_read(
    roto: Roto, stream: str, opened: Opener, older: list[bytes]
) -> None:
    roto.put(stream, *older)
    source = opened(stream)
    shard = only_shard(source)
    start = source.start(shard, LATEST)
    roto.put(stream, b"new 1", b"new 2")
    found, _ = all_from(opened(stream), shard, start, 2)
    assert bodies(found) == [b"new 1", b"new 2"]
    assert [message.offset for message in found] == [0, 1]


def test_latest_of_a_shard_that_was_quiet_for_a_while(
    roto: Roto, stream: str, opened: Opener
) -> None:
    roto.put(stream, b"old")
    time.sleep(3.1)  # the records of the last seconds are looked at: now there are none
    source = opened(stream)
    shard = only_shard(source)
    start = source.start(shard, LATEST)
    roto.put(stream, b"new")
    found, _ = all_from(opened(stream), shard, start, 1)
    assert bodies(found) == [b"new"]


def test_user_records_of_an_aggregated_record_are_messages(
    roto: Roto, stream: str, opened: Opener
) -> None:
    roto.put(stream, b"plain", aggregate(b"a", b"b", b"c"), aggregate(b"d"), b"last")
    source = opened(stream)
    shard = only_shard(source)
    found, _ = all_from(source, shard, source.start(shard, EARLIEST), 6)
    assert bodies(found) == [b"plain", b"a", b"b", b"c", b"d", b"last"]
    assert [message.offset for message in found] == list(range(6))
    assert [message.headers["partitionKey"] for message in found[1:4]] == [
        "key-0",
        "key-1",
        "key-2",
    ]
    assert len({message.id for message in found}) == 6


def test_reading_goes_on_inside_an_aggregated_record(
    roto: Roto, stream: str, opened: Opener
) -> None:
    roto.put(stream, b"0", aggregate(b"1", b"2", b"3"), b"4")
    source = opened(stream)
    shard = only_shard(source)
    position = source.start(shard, EARLIEST)
    for number in range(5):
        rest, _ = all_from(opened(stream), shard, position, 5 - number, most=2)
        assert bodies(rest) == [b"%d" % n for n in range(number, 5)]
        assert [message.offset for message in rest] == list(range(number, 5))
        position = source.read(shard, position, 1, 1).next


def test_a_record_that_only_looks_aggregated_is_given_whole(
    roto: Roto, stream: str, opened: Opener
) -> None:
    whole = aggregate(b"a", b"b")
    torn = [whole[:-1], whole[:10], whole[:4], whole[:-16] + bytes(16)]
    roto.put(stream, *torn)
    source = opened(stream)
    shard = only_shard(source)
    found, _ = all_from(source, shard, source.start(shard, EARLIEST), len(torn))
    assert bodies(found) == torn


def test_a_closed_shard_ends_with_its_last_message(roto: Roto, stream: str, opened: Opener) -> None:
    roto.put(stream, b"a", aggregate(b"b", b"c"))
    source = opened(stream)
    shard = only_shard(source)
    chunk = source.read(shard, source.start(shard, EARLIEST), 1, 1)
    roto.client.split_shard(StreamName=stream, ShardToSplit=shard, NewStartingHashKey="1000")
    chunk = source.read(shard, chunk.next, 1, 1)
    assert not chunk.next.ended  # one user record is left inside
    before_last = chunk.next
    for reader in (source, opened(stream)):
        chunk = reader.read(shard, before_last, 10, 1)
        assert bodies(list(chunk.messages)) == [b"c"]
        assert chunk.next.ended
        assert chunk.next.offset == 3
    assert source.read(shard, chunk.next, 10, 5).next == chunk.next
    assert source.start(shard, LATEST).ended
    assert source.end(shard) == chunk.next
    assert {p.id: p.parents for p in source.partitions()} == {
        shard: (), "shardId-000000000001": (shard,), "shardId-000000000002": (shard,),
    }  # fmt: skip


def test_end_counts_on_from_what_was_read(roto: Roto, stream: str, opened: Opener) -> None:
    source = opened(stream)
    shard = only_shard(source)
    assert source.end(shard).offset == 0
    roto.put(stream, b"old", aggregate(b"old", b"old"))
    assert opened(stream).end(shard).offset == 3
    start = source.start(shard, LATEST)
    roto.put(stream, b"a", b"b", aggregate(b"c", b"d"))
    reader = opened(stream)
    position = reader.read(shard, start, 1, 1).next
    end = reader.end(shard)
    assert end.offset == 4
    found, last = all_from(reader, shard, position, 3)
    assert bodies(found) == [b"b", b"c", b"d"]
    assert last == end


class Follower:
    """Reads as a flow does: parents first, all else in turn; `restart` forgets all but the positions."""

    def __init__(self, opened: Opener, stream: str) -> None:
        self._opened, self._stream = opened, stream
        self.positions: dict[str, Position] = {}
        self.messages: list[tuple[str, Message]] = []
        self.restart()

    def restart(self) -> None:
        self.source = self._opened(self._stream)

    def round(self) -> int:
        count = 0
        for partition in self.source.partitions():
            parents = [self.positions.get(parent, Position()) for parent in partition.parents]
            if not all(parent.ended for parent in parents):
                continue
            if partition.id not in self.positions:
                self.positions[partition.id] = self.source.start(partition.id, EARLIEST)
            position = self.positions[partition.id]
            if position.ended:
                continue
            chunk = self.source.read(partition.id, position, 7, 0)
            self.positions[partition.id] = chunk.next
            self.messages += [(partition.id, message) for message in chunk.messages]
            count += len(chunk.messages)
        return count


def test_splits_and_merges_lose_double_and_reorder_nothing(
    roto: Roto, stream: str, opened: Opener
) -> None:
    keys, per_key = 6, 30

    def produce() -> None:
        for number in range(per_key):
            for key in range(keys):
                roto.put(stream, f"{key}/{number}".encode(), key=f"customer {key}")
            if number == 9:
                middle = str(2**127)
                roto.client.split_shard(
                    StreamName=stream,
                    ShardToSplit="shardId-000000000000",
                    NewStartingHashKey=middle,
                )
            if number == 19:
                roto.client.merge_shards(
                    StreamName=stream, ShardToMerge="shardId-000000000001",
                    AdjacentShardToMerge="shardId-000000000002",
                )  # fmt: skip
            time.sleep(0.03)

    follower = Follower(opened, stream)
    producer = threading.Thread(target=produce)
    producer.start()
    deadline = time.monotonic() + 25
    rounds = 0
    while len(follower.messages) < keys * per_key and time.monotonic() < deadline:
        follower.round()
        rounds += 1
        if rounds % 8 == 0:
            follower.restart()
    producer.join()
    assert follower.round() == 0
    read = [message.body.decode().split("/") for _, message in follower.messages]
    for key in range(keys):
        assert [int(n) for k, n in read if int(k) == key] == list(range(per_key))
    shards = list(dict.fromkeys(shard for shard, _ in follower.messages))
    assert shards[0] == "shardId-000000000000"
    assert shards[-1] == "shardId-000000000003"
    assert set(shards) == {shard["ShardId"] for shard in roto.shards(stream)}
    for shard in shards:
        offsets = [message.offset for id, message in follower.messages if id == shard]
        assert offsets == list(range(len(offsets)))
    merged = {p.id: p.parents for p in follower.source.partitions()}["shardId-000000000003"]
    assert merged == ("shardId-000000000001", "shardId-000000000002")


def test_a_stream_that_does_not_exist_is_terminal(roto: Roto, opened: Opener) -> None:
    source = opened("nowhere")
    for attempt in (
        source.partitions,
        lambda: source.start("shardId-000000000000", LATEST),
        lambda: source.read("shardId-000000000000", Position(), 1, 0),
        lambda: source.end("shardId-000000000000"),
        lambda: CONNECTOR.explore(settings(roto.url), "nowhere"),
    ):
        with pytest.raises(Terminal, match="nowhere"):
            attempt()


def test_a_stream_that_is_deleted_while_it_is_read_is_terminal(
    roto: Roto, stream: str, opened: Opener
) -> None:
    roto.put(stream, b"a")
    source = opened(stream)
    shard = only_shard(source)
    chunk = source.read(shard, source.start(shard, EARLIEST), 1, 1)
    roto.client.delete_stream(StreamName=stream)
    with pytest.raises(Terminal, match="not"):
        source.read(shard, chunk.next, 1, 0)


def test_a_position_that_is_none_of_kinesis_is_refused(stream: str, opened: Opener) -> None:
    source = opened(stream)
    with pytest.raises(ConfigurationError):
        source.read(only_shard(source), Position(3, "topic-0"), 1, 0)
    with pytest.raises(ConfigurationError):
        source.start(only_shard(source), "newest")


@pytest.mark.parametrize("missing", sorted(AUTH))
def test_a_missing_credential_is_named(missing: str) -> None:
    auth = {name: value for name, value in AUTH.items() if name != missing}
    for attempt in (CONNECTOR.open, CONNECTOR.check):
        with pytest.raises(ConfigurationError, match=missing):
            attempt(settings("http://127.0.0.1:1", auth=auth))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "127.0.0.1:1", "http://user:pass@host"])
def test_an_endpoint_that_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="endpointUrl") as refused:
        CONNECTOR.open(settings(url))
    assert "pass@" not in str(refused.value)


def test_exploring_lists_streams_and_shows_the_newest_records(roto: Roto) -> None:
    name = next(names)
    roto.stream(name, 2)
    where = settings(roto.url)
    assert CONNECTOR.explore(where, name) == []
    for number in range(15):
        roto.put(name, b'{"n": %d}' % number, key=f"customer {number}")
        time.sleep(0.003)
    roto.put(name, b"\xff", key="customer")
    listed = {entry["name"]: entry for entry in CONNECTOR.explore(where, None)}
    assert listed[name]["type"] == "stream"
    found = CONNECTOR.explore(where, name)
    assert [record["text"] for record in found] == ["\N{REPLACEMENT CHARACTER}"] + [
        f'{{"n": {number}}}' for number in range(14, 5, -1)
    ]
    CONNECTOR.check(where)
