"""How the Kinesis source fails and goes on, against a small server of the protocol.

No emulator throttles, lets iterators or credentials expire, refuses keys or trims records; `kinesis_fake` does, in
the words of AWS. What it does where AWS's documentation is silent (a read from a trimmed record goes on at the oldest
one) is what users of AWS report.
"""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from headrace.errors import HeadraceError, Terminal, Transient
from headrace.sources.contract import EARLIEST, LATEST, Position, Settings, Source
from headrace.sources.kinesis import CONNECTOR
from headrace.sources.kinesis_records import Mark
from headrace.testing.sources import applicable
from tests.sources.kinesis_fake import HOUR, FakeKinesis, FakeShard
from tests.sources.kinesis_roto import AUTH_SPEC, RotoHarness, aggregate, all_from, bodies

SHARD = "shardId-000000000000"
AUTH = {
    "accessKeyId": "AKIDEXAMPLE",
    "secretKey": "wJalrXUtnFEMI/K7MDENG",
    "region": "eu-west-1",
    "sessionToken": "FwoGZXIvYXdzEJr/session",
}
THROTTLED = (400, "ProvisionedThroughputExceededException", "Rate exceeded for shard")
EXPIRED_ITERATOR = (400, "ExpiredIteratorException", "Iterator expired.")


@pytest.fixture
def kinesis() -> Iterator[FakeKinesis]:
    server = FakeKinesis(SHARD)
    yield server
    server.close()


@pytest.fixture
def where(kinesis: FakeKinesis) -> Settings:
    return Settings(AUTH_SPEC, {**AUTH, "endpointUrl": kinesis.url}, {"stream": "orders"}, "flow-1")


@pytest.fixture
def opened(where: Settings) -> Iterator[Callable[[], Source]]:
    sources: list[Source] = []

    def open_one() -> Source:
        sources.append(CONNECTOR.open(where))  # type: ignore[arg-type]
        return sources[-1]

    yield open_one
    for source in sources:
        source.close()


@pytest.fixture
def source(opened: Callable[[], Source]) -> Source:
    return opened()


class FakeHarness:
    """The abilities that the emulator lacks."""

    secrets = (AUTH["secretKey"], AUTH["sessionToken"])

    def __init__(self, kinesis: FakeKinesis, where: Settings) -> None:
        self._kinesis, self._where = kinesis, where

    def open(self) -> Source:
        return CONNECTOR.open(self._where)  # type: ignore[return-value]

    def open_refused(self) -> Source:
        self.expire_credentials()
        return self.open()

    def partitions(self) -> Sequence[str]:
        return list(self._kinesis.shards)

    def produce(self, partition: str, bodies: Sequence[bytes]) -> None:
        for body in bodies:
            self._kinesis.shards[partition].put(body)

    def trim(self, partition: str, kept: int) -> None:
        """A day and an hour pass; what is kept came late."""
        shard = self._kinesis.shards[partition]
        self._kinesis.ahead += 25 * HOUR
        shard.trim(len(shard.records) - kept)
        for record in shard.records:
            record.at = self._kinesis.now()

    def break_connections(self) -> None:
        self._kinesis.faults["GetRecords"] += [(0, "", "")]

    def expire_credentials(self) -> None:
        """The key is deleted. That a session's token ends is Transient: see below."""
        refusal = (400, "UnrecognizedClientException", "The security token is invalid.")
        for operation in ("DescribeStream", "GetShardIterator", "GetRecords"):
            self._kinesis.faults[operation] += [refusal] * 5


@pytest.mark.parametrize(
    "check",
    [check for check in applicable(FakeHarness) if check not in applicable(RotoHarness)],
    ids=lambda check: check.__name__,
)
def test_conforms(check: Callable[[Any], None], kinesis: FakeKinesis, where: Settings) -> None:
    check(FakeHarness(kinesis, where))


def test_pages_of_shards_are_followed_and_parents_that_are_gone_are_left_out(
    kinesis: FakeKinesis, source: Source
) -> None:
    kinesis.shards.clear()
    for name, parents in {"s-2": ("s-0", "s-1"), "s-3": ("s-2",), "s-4": ("s-2", "s-1")}.items():
        kinesis.shards[name] = FakeShard(parents=parents)
    assert {p.id: p.parents for p in source.partitions()} == {
        "s-2": (), "s-3": ("s-2",), "s-4": ("s-2",),
    }  # fmt: skip


@pytest.mark.parametrize("operation", ["GetRecords", "GetShardIterator"])
def test_throttling_is_waited_out_within_the_wait(
    kinesis: FakeKinesis, source: Source, operation: str
) -> None:
    kinesis.shards[SHARD].put(b"a")
    kinesis.faults[operation] += [THROTTLED] * 2
    chunk = source.read(SHARD, Position(), 10, 5)
    assert bodies(list(chunk.messages)) == [b"a"]
    assert kinesis.count(operation) == 3


def test_throttling_beyond_the_wait_is_transient_and_loses_nothing(
    kinesis: FakeKinesis, source: Source
) -> None:
    for body in (b"a", b"b"):
        kinesis.shards[SHARD].put(body)
    position = source.read(SHARD, Position(), 1, 1).next
    kinesis.faults["GetRecords"] += [THROTTLED] * 50
    began = time.monotonic()
    with pytest.raises(Transient, match="Rate exceeded"):
        source.read(SHARD, position, 10, 1)
    assert time.monotonic() - began < 3
    kinesis.faults.clear()
    found, _ = all_from(source, SHARD, position, 1)
    assert bodies(found) == [b"b"]


def test_five_reads_in_a_second_are_not_passed(kinesis: FakeKinesis, source: Source) -> None:
    for number in range(6):
        kinesis.shards[SHARD].put(b"%d" % number)
    position = Position()
    for _ in range(6):
        position = source.read(SHARD, position, 1, 0).next
    moments = [at for operation, _, at in kinesis.calls if operation == "GetRecords"]
    assert len(moments) == 6
    assert moments[-1] - moments[0] >= 0.98  # the sixth comes a second after the first


def test_an_expired_iterator_is_replaced_at_the_position(
    kinesis: FakeKinesis, source: Source
) -> None:
    shard = kinesis.shards[SHARD]
    for body in (b"0", aggregate(b"1", b"2", b"3"), b"4"):
        shard.put(body)
    found = []
    position = Position()
    for _ in range(5):
        kinesis.faults["GetRecords"] = [EXPIRED_ITERATOR]
        chunk = source.read(SHARD, position, 1, 1)
        found += bodies(list(chunk.messages))
        position = chunk.next
    assert found == [b"0", b"1", b"2", b"3", b"4"]
    assert kinesis.count("GetShardIterator") > 3


def test_iterators_are_kept_between_reads(kinesis: FakeKinesis, source: Source) -> None:
    position = Position()
    for number in range(4):
        kinesis.shards[SHARD].put(b"%d" % number)
        position = source.read(SHARD, position, 10, 1).next
        position = source.read(SHARD, position, 10, 0).next
    assert position.offset == 4
    assert kinesis.count("GetShardIterator") == 1


def test_the_end_is_not_taken_for_reached_within_one_millisecond(
    kinesis: FakeKinesis, source: Source
) -> None:
    """Being 0 ms behind says nothing when as many records came as were asked for."""
    kinesis.least_lag = 0
    for body in (b"a", b"b", b"c"):
        kinesis.shards[SHARD].put(body, kinesis.now() + 1000)
    chunk = source.read(SHARD, Position(), 2, 0)
    assert (chunk.behind_records, chunk.behind_ms) == (None, 0)
    chunk = source.read(SHARD, chunk.next, 2, 0)
    assert (chunk.behind_records, chunk.behind_ms) == (0, 0)


def test_empty_answers_before_records_are_read_over(kinesis: FakeKinesis, source: Source) -> None:
    kinesis.shards[SHARD].put(b"a")
    kinesis.empty_answers = 3
    chunk = source.read(SHARD, Position(), 10, 5)
    assert bodies(list(chunk.messages)) == [b"a"]


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        ("UnrecognizedClientException", Terminal),
        ("InvalidSignatureException", Terminal),
        ("AccessDeniedException", Terminal),
        ("KMSAccessDeniedException", Terminal),
        ("ExpiredTokenException", Transient),
        ("LimitExceededException", Transient),
        ("ThrottlingException", Transient),
        ("InternalFailure", Transient),
    ],
)
def test_what_the_service_says_decides_whether_to_try_again(
    kinesis: FakeKinesis, source: Source, where: Settings, code: str, wanted: type[HeadraceError]
) -> None:
    def attempt(operation: str, action: Callable[[], object]) -> None:
        kinesis.faults[operation] += [(400, code, "no")]
        with pytest.raises(wanted, match=code) as raised:
            action()
        # neither may pass for the other
        assert isinstance(raised.value, Terminal) != isinstance(raised.value, Transient)

    attempt("ListStreams", lambda: CONNECTOR.check(where))
    attempt("DescribeStream", source.partitions)
    attempt("GetShardIterator", lambda: source.read(SHARD, Position(), 1, 0))
    attempt("GetRecords", lambda: source.read(SHARD, Position(), 1, 0))


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        ((500, "", ""), Transient),
        ((503, "raw", "<html>a proxy</html>"), Transient),
        ((200, "raw", "<html>a proxy</html>"), Transient),
        ((0, "", ""), Transient),
        ((400, "InvalidSignatureException", "Signature expired: 20260101"), Transient),
        ((400, "SomethingNewException", "what?"), Terminal),
    ],
    ids=["500", "503 of a proxy", "garbage", "broken connection", "clocks", "unknown"],
)
def test_other_failures(
    kinesis: FakeKinesis, source: Source, fault: tuple[int, str, str], wanted: type[HeadraceError]
) -> None:
    kinesis.shards[SHARD].put(b"a")
    kinesis.faults["GetRecords"] += [fault]
    with pytest.raises(wanted):
        source.read(SHARD, Position(), 1, 0)
    assert bodies(list(source.read(SHARD, Position(), 1, 1).messages)) == [b"a"]


def test_no_secret_is_in_an_error_or_a_log(
    kinesis: FakeKinesis, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    words = " ".join(AUTH[name] for name in ("accessKeyId", "secretKey", "sessionToken"))
    for code in ("AccessDeniedException", "InvalidSignatureException", "Odd", "InternalFailure"):
        kinesis.faults["DescribeStream"] += [(400, code, f"you said {words}")]
        with pytest.raises(HeadraceError) as raised:
            source.partitions()
        text = "".join(traceback.format_exception(raised.value)) + repr(raised.value) + caplog.text
        for name in ("accessKeyId", "secretKey", "sessionToken"):
            assert AUTH[name] not in text


def old_and_new(kinesis: FakeKinesis, source: Source, *first: bytes) -> Position:
    """The position after records that are then 25 hours old, with one new record after it."""
    shard = kinesis.shards[SHARD]
    for body in first:
        shard.put(body)
    _, position = all_from(source, SHARD, Position(), len(first))
    kinesis.ahead += 25 * HOUR
    shard.put(b"new", kinesis.now())
    return position


def test_records_after_a_kept_position_are_all_there_however_old_it_is(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    kinesis.retention_hours = 48
    position = old_and_new(kinesis, source, b"a")
    found, _ = all_from(opened(), SHARD, position, 1)
    assert bodies(found) == [b"new"]


def test_a_position_older_than_the_retention_is_terminal_and_names_the_gap(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    position = old_and_new(kinesis, source, b"a")
    kinesis.shards[SHARD].trim(1)
    for _ in range(2):  # and stays so
        with pytest.raises(Terminal, match="no longer keeps") as raised:
            opened().read(SHARD, position, 10, 1)
    text = str(raised.value)
    assert position.token in text
    assert str(kinesis.shards[SHARD].records[0].sequence) in text
    assert SHARD in text


def test_a_position_with_nothing_after_it_is_terminal_too_once_records_may_be_lost(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    position = old_and_new(kinesis, source, b"a")
    kinesis.shards[SHARD].trim(2)
    with pytest.raises(Terminal, match="nothing"):
        opened().read(SHARD, position, 10, 1)


def test_a_longer_retention_keeps_what_a_day_would_not(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    """The record is gone, for whatever reason, yet what followed it is younger than the retention."""
    position = old_and_new(kinesis, source, b"a")
    kinesis.shards[SHARD].trim(1)
    kinesis.retention_hours = 26
    found, _ = all_from(opened(), SHARD, position, 1)
    assert bodies(found) == [b"new"]


def test_a_latest_position_older_than_the_retention_is_terminal(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    position = source.start(SHARD, LATEST)
    kinesis.ahead += 25 * HOUR
    with pytest.raises(Terminal, match="no longer keeps"):
        opened().read(SHARD, position, 10, 0)


def test_half_of_an_aggregated_record_that_is_gone_is_terminal(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    """Whatever the time: it held user records that were not read."""
    shard = kinesis.shards[SHARD]
    shard.put(aggregate(b"a", b"b"))
    position = source.read(SHARD, Position(), 1, 1).next
    shard.put(b"new")
    shard.trim(1)
    with pytest.raises(Terminal, match="no longer keeps"):
        opened().read(SHARD, position, 10, 1)


def test_a_quiet_shard_moves_its_position_on_in_time(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    """So that a record which is trimmed at its age is no alarm while the flow looks at the shard now and then."""
    shard = kinesis.shards[SHARD]
    shard.put(b"a")
    _, position = all_from(source, SHARD, Position(), 1)
    for hours in (23, 23):
        kinesis.ahead += hours * HOUR
        chunk = source.read(SHARD, position, 10, 0)
        assert not chunk.messages
        assert Mark.of(chunk.next.token).same_place(Mark.of(position.token))
        assert chunk.next != position
        position = chunk.next
    shard.trim(1)
    shard.put(b"b", kinesis.now())
    for reader in (source, opened()):
        found, _ = all_from(reader, SHARD, position, 1)
        assert bodies(found) == [b"b"]
        assert found[0].offset == 1


def test_a_shard_that_never_had_a_record_moves_its_position_on_in_time(
    kinesis: FakeKinesis, source: Source, opened: Callable[[], Source]
) -> None:
    kinesis.ahead += HOUR
    position = source.read(SHARD, source.start(SHARD, EARLIEST), 10, 0).next
    assert position.token.startswith("at:")
    kinesis.shards[SHARD].put(b"a", kinesis.now())
    found, _ = all_from(opened(), SHARD, position, 1)
    assert bodies(found) == [b"a"]


def test_records_dropped_between_two_reads_of_a_late_reader_are_noticed(
    kinesis: FakeKinesis, source: Source
) -> None:
    """A reader a day behind holds an iterator, which would go on after the gap without a word."""
    shard = kinesis.shards[SHARD]
    for number in range(6):
        shard.put(b"%d" % number, kinesis.now() - 24 * HOUR + 60_000 + number)
    chunk = source.read(SHARD, Position(), 2, 1)
    chunk = source.read(SHARD, chunk.next, 1, 1)
    assert bodies(list(chunk.messages)) == [b"2"]
    kinesis.ahead += (
        60_004  # of six records, two are left, or none for a clock that is seconds ahead
    )
    shard.trim(4)
    with pytest.raises(Terminal, match="no longer keeps"):
        source.read(SHARD, chunk.next, 10, 1)
