"""What a message may hold: every form becomes rows, and what cannot be read becomes one failed record of its own."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.log.frames import MESSAGES
from headrace.model.flow import FlowRevision
from headrace.runtime.queued import entry_of
from headrace.sources.contract import Message, Settings
from tests.sources import streams
from tests.sources.kinesis_fake import FakeKinesis
from tests.sources.kinesis_roto import AUTH, AUTH_SPEC
from tests.sources.pulled_flow import FLOW, RULES, PulledFlow

SHARD = "shardId-000000000000"


@pytest.fixture
def kinesis() -> Iterator[FakeKinesis]:
    server = FakeKinesis(SHARD)
    yield server
    server.close()


def landed(
    kinesis: FakeKinesis, directory: Path, messages: list[bytes], **flow: Any
) -> tuple[list[tuple[int, int]], list[tuple[int, bytes]]]:
    """(position, n) of the rows, and (position, bytes) of the failed records."""
    for body in messages:
        kinesis.shards[SHARD].put(body)
    auth = {**AUTH, "endpointUrl": kinesis.url}
    settings = Settings(AUTH_SPEC, auth, {"stream": "orders"}, FLOW)
    running = PulledFlow(directory, streams.KINESIS, settings, **flow)
    try:
        running.until(lambda: running.last("lag").get("partitions") == {SHARD: [0, 0]})
        running.pulling.finish()
        rows = [(row["_acp_system_metadata"]["sourceOffset"], row["n"]) for row in running.rows()]
        failed = running.rows(failed=True)
        assert {row["sourcePartition"] for row in failed} <= {SHARD}
        return sorted(rows), sorted((row["sourceOffset"], row["original"]) for row in failed)
    finally:
        running.store.close()


def test_objects_arrays_lines_and_gzip_land_and_what_cannot_be_read_fails_alone(
    kinesis: FakeKinesis, tmp_path: Path
) -> None:
    torn = gzip.compress(b'{"n": 99}')[:-3]
    messages = [
        b'{"n": 1}',
        b"\xff not JSON",
        b'[{"n": 2}, {"n": 3}]',
        b'[{"n": 98}, {"n":',
        gzip.compress(b'{"n": 4}'),
        torn,
        b'{"n": 5}\n\n{"n": 6}\n',
        b'{"n": 97}\n{"n":\n',
        b'{\n  "n": 7\n}',
        gzip.compress(b'[{"n": 8}]'),
        b"",
        b'{"n": 9}',
    ]
    rows, failed = landed(kinesis, tmp_path, messages)
    assert rows == [
        (0, 1), (2, 2), (2, 3), (4, 4), (6, 5), (6, 6), (8, 7), (9, 8), (11, 9),
    ]  # fmt: skip
    assert failed == [(n, messages[n]) for n in (1, 3, 5, 7, 10)]


def test_a_queue_splits_lines_as_a_stream_does() -> None:
    message = Message(b'{"n": 5}\n{"n": 6}\n', 0, 0, "m1")
    revision = FlowRevision(FLOW, 1, "o", "prod", "d", "s", "1.0", {}, RULES)
    entry = entry_of(message, revision)
    assert entry is not None
    assert (entry.layout, entry.count) == (MESSAGES, 2)
    assert entry.body == b'{"messages":[{"n": 5},{"n": 6}]}'


def test_xdm_comes_bare_or_in_the_envelope(kinesis: FakeKinesis, tmp_path: Path) -> None:
    envelope = b'{"header": {"schemaRef": {}}, "body": {"xdmMeta": {}, "xdmEntity": {"n": %d}}}'
    messages = [
        b'{"n": 1}',
        envelope % 2,
        b"[" + envelope % 3 + b"," + envelope % 4 + b"]",
        b'{"header": {}, "body": {"xdmEntity":',
        envelope % 5,
    ]
    rows, failed = landed(kinesis, tmp_path, messages, rules=None, payload="xdm")
    assert rows == [(0, 1), (1, 2), (2, 3), (2, 4), (4, 5)]
    assert failed == [(3, messages[3])]


def test_delimited_text_has_its_names_in_the_first_row(
    kinesis: FakeKinesis, tmp_path: Path
) -> None:
    messages = [b"n,key\n1,a\n2,b\n", b'n,key\n"torn', gzip.compress(b"key,n\nc,3\n")]
    rows, failed = landed(kinesis, tmp_path, messages, rules=RULES, format="delimited")
    assert rows == [(0, 1), (0, 2), (2, 3)]
    assert failed == [(1, messages[1])]
