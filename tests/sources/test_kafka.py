"""The Kafka source against a real broker."""

import itertools
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigurationError, Terminal, Transient
from headrace.sources import kafka
from headrace.sources.contract import EARLIEST, LATEST, Message, Position, Settings, Source
from headrace.sources.kafka import CONNECTOR
from headrace.sources.kafka_client import Client
from headrace.testing.source_harness import read_until
from headrace.testing.sources import applicable

from .kafka_broker import SERVER, Broker, Gate, certificate

pytestmark = pytest.mark.skipif(SERVER is None, reason="the test servers are not installed")

PASSWORD = "s3cret-of-kafka"
_names = (f"topic-{n}" for n in itertools.count())


class Topic:
    """A new topic at the broker; sources reach it through the gate, with a password."""

    secrets = (PASSWORD, "another-s3cret")

    def __init__(self, broker: Broker, gate: Gate, partitions: int = 2) -> None:
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient, NewTopic

        self.broker, self.gate, self.name = broker, gate, next(_names)
        client = {"bootstrap.servers": broker.address, "log_level": 0}
        self.admin = AdminClient(client)
        self.producer = Producer({**client, "acks": "all", "linger.ms": 0})
        self._done(self.admin.create_topics([NewTopic(self.name, partitions, 1)]))

    @staticmethod
    def _done(futures: dict[Any, Any]) -> None:
        for future in futures.values():
            future.result(10)

    def settings(self, password: str | None = None, **params: Any) -> Settings:
        auth = {
            "bootstrapServers": self.gate.address,
            "securityProtocol": "SASL_PLAINTEXT",
            "saslMechanism": "PLAIN",
            "username": "reader",
            "password": password or self.gate.password,
        }
        return Settings("Kafka SASL Authentication", auth, {"topic": self.name, **params}, "flow-1")

    def open(self, **params: Any) -> Source:
        source: Any = CONNECTOR.open(self.settings(**params))
        return source  # type: ignore[no-any-return]

    def partitions(self) -> Sequence[str]:
        found = self.admin.list_topics(self.name, timeout=10).topics[self.name].partitions
        return [str(number) for number in sorted(found)]

    def produce(self, partition: str, bodies: Sequence[bytes | None]) -> None:
        self.send([(int(partition), body) for body in bodies])

    def send(self, bodies: Sequence[tuple[int, bytes | None]], **more: Any) -> None:
        failed: list[object] = []
        for partition, body in bodies:
            self.producer.produce(
                self.name, body, key=b"k", partition=partition,
                on_delivery=lambda error, _: failed.append(error) if error else None, **more,
            )  # fmt: skip
        assert self.producer.flush(20) == 0
        assert not failed

    def trim(self, partition: str, kept: int) -> None:
        from confluent_kafka import TopicPartition

        with closing(self.open()) as source:
            end = source.end(partition).offset
        self._done(
            self.admin.delete_records([TopicPartition(self.name, int(partition), end - kept)])
        )

    def split(self) -> None:
        from confluent_kafka.admin import NewPartitions

        wanted = len(self.partitions()) + 1
        self._done(self.admin.create_partitions([NewPartitions(self.name, wanted)]))
        self.producer.list_topics(self.name, timeout=10)  # so that it knows them too

    def stop_server(self) -> None:
        self.broker.stop()

    def start_server(self) -> None:
        self.broker.start()

    def break_connections(self) -> None:
        self.gate.break_connections()

    def open_refused(self) -> Source:
        source: Any = CONNECTOR.open(self.settings("another-s3cret"))
        return source  # type: ignore[no-any-return]

    def open_unknown(self) -> Source:
        return self.open(topic="no-such-topic")

    def expire_credentials(self) -> None:
        self.gate.password = "changed"
        self.gate.break_connections()

    def transaction(self, bodies: Sequence[bytes]) -> Any:
        """Sent to partition 0, but neither committed nor aborted yet."""
        from confluent_kafka import Producer

        producer = Producer(
            {"bootstrap.servers": self.broker.address, "transactional.id": f"{self.name}-{bodies[0]!r}",
             "log_level": 0}
        )  # fmt: skip
        producer.init_transactions(10)
        producer.begin_transaction()
        for body in bodies:
            producer.produce(self.name, body, partition=0)
        producer.flush(10)
        return producer


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("kafka")).start()
    yield broker
    broker.stop()


@pytest.fixture
def topic(broker: Broker) -> Iterator[Topic]:
    with closing(Gate(broker, PASSWORD)) as gate:
        yield Topic(broker, gate)


@pytest.mark.parametrize("check", applicable(Topic), ids=lambda check: check.__name__)
def test_conforms(check: Callable[[Any], None], topic: Topic) -> None:
    check(topic)


def all_of(source: Source, partition: str = "0", seconds: float = 3.0) -> list[bytes]:
    """Bodies from the earliest to what is the end when it begins."""
    position, end = source.start(partition, EARLIEST), source.end(partition)
    found: list[Message] = []
    deadline = time.monotonic() + seconds
    while position.offset < end.offset:
        assert time.monotonic() < deadline, f"at {position}, not at {end}"
        chunk = source.read(partition, position, 100, 0.3)
        found += chunk.messages
        position = chunk.next
    return [message.body for message in found]


def test_aborted_transactions_are_invisible(topic: Topic) -> None:
    topic.transaction([b"c1", b"c2"]).commit_transaction(10)
    topic.transaction([b"a1", b"a2", b"a3"]).abort_transaction(10)
    topic.produce("0", [b"plain"])
    topic.transaction([b"d1"]).commit_transaction(10)
    with closing(topic.open()) as source:
        assert all_of(source) == [b"c1", b"c2", b"plain", b"d1"]
        found, position = read_until(source, "0", Position(0), 4)
        # each transaction leaves a control record, and the aborted one its three
        assert [message.offset for message in found] == [0, 1, 7, 8]
        # a position within a gap reads what follows the gap
        again, _ = read_until(source, "0", Position(4), 2)
        assert [message.offset for message in again] == [7, 8]
        # reading comes over a control record that nothing follows
        chunk = source.read("0", position, 10, 0.5)
        assert chunk.messages == []
        assert chunk.next == source.end("0") == Position(10)
        assert (chunk.behind_records, chunk.behind_ms) == (0, 0)


def test_nothing_is_read_past_an_open_transaction(topic: Topic) -> None:
    topic.produce("0", [b"before"])
    transaction = topic.transaction([b"t1", b"t2"])
    topic.produce("0", [b"after"])
    with closing(topic.open()) as source:
        assert source.end("0") == source.start("0", LATEST) == Position(1)
        found, position = read_until(source, "0", Position(0), 1)
        assert [message.body for message in found] == [b"before"]
        for _ in range(3):
            chunk = source.read("0", position, 10, 0.2)
            assert chunk.messages == []
            assert chunk.next == Position(1)
        transaction.commit_transaction(10)
        found, _ = read_until(source, "0", position, 3)
        assert [message.body for message in found] == [b"t1", b"t2", b"after"]


def test_tombstones_count_in_positions_only(topic: Topic) -> None:
    topic.produce("0", [b"1", None, None, b"", b"2", None])
    with closing(topic.open()) as source:
        found, position = read_until(source, "0", Position(0), 3)
        assert [(m.offset, m.body) for m in found] == [(0, b"1"), (3, b""), (4, b"2")]
        chunk = source.read("0", position, 10, 0.5)
        assert (list(chunk.messages), chunk.next, chunk.behind_records) == ([], Position(6), 0)


def test_headers_times_and_ids(topic: Topic) -> None:
    at = int(time.time() * 1000) - 3_600_000
    headers = [("trace", b"1"), ("trace", "zwölf".encode()), ("none", None), ("odd", b"\xff")]
    topic.send([(1, b"{}")], headers=headers, timestamp=at)
    with closing(topic.open()) as source:
        (message,), _ = read_until(source, "1", Position(0), 1)
    assert message.at == at
    assert message.headers == {"trace": "zwölf", "none": "", "odd": "�"}
    assert message.id == f"{topic.name}/1@0"


def test_time_behind_is_the_age_of_what_was_read(topic: Topic) -> None:
    at = int(time.time() * 1000) - 60_000
    topic.send([(0, b"1"), (0, b"2")], timestamp=at)
    with closing(topic.open()) as source:
        chunk = source.read("0", Position(0), 1, 5)
        assert chunk.behind_records == 1
        assert chunk.behind_ms is not None
        assert 60_000 <= chunk.behind_ms < 75_000


def test_jumps_between_positions_never_mix_what_was_fetched(topic: Topic) -> None:
    topic.send([(n % 2, b"%d" % n) for n in range(4000)])
    choose = random.Random(7)
    with closing(topic.open()) as source:
        for _ in range(150):
            partition, offset = choose.randrange(2), choose.randrange(1900)
            found, _ = read_until(source, str(partition), Position(offset), choose.randrange(1, 90))
            assert [m.offset for m in found] == list(range(offset, offset + len(found)))
            assert all(int(m.body) == 2 * m.offset + partition for m in found)


def test_records_that_came_with_an_answer_are_forgotten_by_a_jump(topic: Topic) -> None:
    """Asking the cluster serves events, and may take a record with them that a jump back must not go on from."""
    topic.produce("0", [b"%d" % n for n in range(30)])
    with closing(topic.open()) as source:
        _, position = read_until(source, "0", Position(0), 10)
        client = source._client  # type: ignore[attr-defined]
        topic.produce("0", [b"%d" % n for n in range(30, 40)])
        _, position = read_until(source, "0", position, 20)
        while not client._waiting:
            with pytest.raises(Terminal):
                client.topics("no-such-topic")
        came = [*source._tracks[0].held, *client._waiting]  # type: ignore[attr-defined]
        assert [record.offset() for record in came][:1] == [position.offset]
        for wanted in (5, 30):
            found, _ = read_until(source, "0", Position(5), wanted)
            assert [m.offset for m in found] == list(range(5, 5 + wanted))


def test_partitions_that_are_not_read_are_held_within_bounds(
    topic: Topic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fetching of a partition that nobody asks for stops, and goes on without a gap when somebody does."""
    monkeypatch.setattr(kafka, "_HELD_BYTES", 200_000)
    topic.send([(n % 2, b"x" * 20_000) for n in range(400)])
    with closing(topic.open()) as source:
        other, here = Position(0), Position(0)
        _, other = read_until(source, "1", other, 1)
        for _ in range(20):
            _, here = read_until(source, "0", here, 10)
        track = source._tracks[1]  # type: ignore[attr-defined]
        assert 200_000 < track.bytes < 500_000
        assert not track.assigned
        found, _ = read_until(source, "1", other, 199)
        assert [m.offset for m in found] == list(range(1, 200))


def test_records_removed_while_reading(topic: Topic) -> None:
    topic.produce("0", [b"%d" % n for n in range(10)])
    with closing(topic.open()) as source:
        _, position = read_until(source, "0", Position(0), 10)
        topic.produce("0", [b"x" * 100] * 5)
        # it reads on first, so that the client's own fetching is in the middle of things
        _, position = read_until(source, "0", position, 5)
        topic.produce("0", [b"%d" % n for n in range(5)])
        topic.trim("0", 2)
        with pytest.raises(Terminal, match=r"no longer keeps offset 3: its oldest record is 18"):
            source.read("0", Position(3), 10, 5.0)


def test_a_position_behind_the_end_is_terminal(topic: Topic) -> None:
    topic.produce("0", [b"1", b"2"])
    with closing(topic.open()) as source:
        with pytest.raises(Terminal, match=r"ends at offset 2, before the position 40"):
            source.read("0", Position(40), 10, 5.0)
        assert all_of(source) == [b"1", b"2"]


def test_a_deleted_topic_is_terminal(topic: Topic) -> None:
    topic.produce("0", [b"1"])
    with closing(topic.open()) as source:
        read_until(source, "0", Position(0), 1)
        Topic._done(topic.admin.delete_topics([topic.name]))
        with pytest.raises(Terminal, match=topic.name):
            source.partitions()
        with pytest.raises(Terminal, match=topic.name):
            source.end("0")


def test_unknown_partitions_are_terminal(topic: Topic) -> None:
    with closing(topic.open()) as source:
        for partition in ("9", "-1", "x"):
            with pytest.raises(Terminal):
                source.read(partition, Position(0), 1, 0.1)


def test_the_groups_offsets_are_shown_and_not_read(topic: Topic) -> None:
    from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

    def committed() -> int:
        where = [ConsumerGroupTopicPartitions("shown", [TopicPartition(topic.name, 0)])]
        (future,) = topic.admin.list_consumer_group_offsets(where).values()
        offset: int = future.result(10).topic_partitions[0].offset
        return offset

    topic.produce("0", [b"1", b"2", b"3"])
    with closing(topic.open(consumerGroup="shown")) as source:
        source.read("0", Position(2), 1, 1)
        deadline = time.monotonic() + 5
        while committed() != 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    with closing(topic.open(consumerGroup="shown")) as source:
        assert source.start("0", EARLIEST) == Position(0)
        assert all_of(source) == [b"1", b"2", b"3"]
    assert CONNECTOR.exclusive(topic.settings()) is None
    keys = {CONNECTOR.exclusive(topic.settings(consumerGroup=g)) for g in ("a", "a", "b")}
    assert len(keys) == 2


def test_exploring(topic: Topic) -> None:
    listed = CONNECTOR.explore(topic.settings(), None)
    assert topic.name in [entry["name"] for entry in listed]
    assert CONNECTOR.explore(topic.settings(), topic.name) == []
    now = int(time.time() * 1000)
    for n in range(24):
        topic.send([(n % 2, json.dumps({"n": n}).encode())], timestamp=now + n)
    topic.transaction([b"never"]).abort_transaction(10)
    newest = CONNECTOR.explore(topic.settings(topic="other"), topic.name)
    assert len(newest) <= 10
    numbers = [json.loads(entry["text"])["n"] for entry in newest]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[:5] == [23, 22, 21, 20, 19]


def test_checking_a_connection(topic: Topic) -> None:
    CONNECTOR.check(topic.settings())
    with pytest.raises(Terminal, match="no-such"):
        CONNECTOR.check(topic.settings(topic="no-such"))
    with pytest.raises(Terminal) as refused:
        CONNECTOR.check(topic.settings("wrong-password"))
    assert "wrong-password" not in str(refused.value)


def plain(**auth: Any) -> Settings:
    return Settings("Kafka No Authentication", auth, {"topic": "t"}, "flow-1")


def test_a_connection_without_secrets(topic: Topic) -> None:
    topic.produce("0", [b"1"])
    open_ = plain(bootstrapServers=topic.broker.address)
    CONNECTOR.check(Settings(open_.auth_spec, open_.auth, {"topic": topic.name}, ""))
    with pytest.raises(Transient, match="refused"):
        CONNECTOR.check(plain(bootstrapServers="127.0.0.1:1"))
    with pytest.raises(Transient, match="resolve"):
        CONNECTOR.check(plain(bootstrapServers="nowhere.invalid:9092"))
    with pytest.raises(Transient, match="SSL"):
        CONNECTOR.check(plain(bootstrapServers=topic.broker.address, securityProtocol="SSL"))


@pytest.mark.parametrize("sasl", [False, True])
def test_tls(topic: Topic, tmp_path: Path, sasl: bool) -> None:
    topic.produce("0", [b"1", b"x" * 200_000])
    context, authority = certificate(tmp_path)
    with closing(Gate(topic.broker, PASSWORD, context)) as gate:
        auth = {"bootstrapServers": gate.address, "securityProtocol": "SSL"}
        if sasl:
            auth |= {"securityProtocol": "SASL_SSL", "username": "reader", "password": PASSWORD}
        spec = f"Kafka {'SASL' if sasl else 'No'} Authentication"
        trusting = Settings(
            spec, auth | {"caCertificate": authority}, {"topic": topic.name}, "flow-1"
        )
        source: Any = CONNECTOR.open(trusting)
        with closing(source):
            assert all_of(source) == [b"1", b"x" * 200_000]
        # an authority that nobody vouches for does not become right by waiting
        with pytest.raises(Terminal, match="certificate verify failed"):
            CONNECTOR.check(Settings(spec, auth, {}, "flow-1"))


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (plain(), "bootstrapServers"),
        (plain(bootstrapServers="h:1", securityProtocol="SASL_SSL"), "securityProtocol"),
        (Settings("Kafka SASL Authentication", {"bootstrapServers": "h:1"}, {"topic": "t"}, ""), "username, password"),
        (plain(bootstrapServers="h:1", securityProtocol="SSL", caCertificate="no PEM"), "settings"),
        (Settings("Kafka No Authentication", {"bootstrapServers": "h:1"}, {}, ""), "topic"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work(settings: Settings, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        CONNECTOR.open(settings)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_every_mechanism_of_the_catalogue_is_in_the_library(mechanism: str, protocol: str) -> None:
    auth = {
        "bootstrapServers": "127.0.0.1:1",
        "securityProtocol": protocol,
        "saslMechanism": mechanism,
        "username": "u",
        "password": PASSWORD,
    }
    CONNECTOR.open(Settings("Kafka SASL Authentication", auth, {"topic": "t"}, "")).close()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TOPIC_AUTHORIZATION_FAILED", Terminal),
        ("CLUSTER_AUTHORIZATION_FAILED", Terminal),
        ("UNSUPPORTED_SASL_MECHANISM", Terminal),
        ("UNKNOWN_TOPIC_OR_PART", Terminal),
        ("LEADER_NOT_AVAILABLE", Transient),
        ("NOT_LEADER_FOR_PARTITION", Transient),
        ("_TIMED_OUT", Transient),
        ("_BAD_MSG", Transient),
    ],
)
def test_errors_of_the_library_are_typed(name: str, kind: type[Exception]) -> None:
    from confluent_kafka import KafkaError

    settings = Settings(
        "Kafka SASL Authentication",
        {"bootstrapServers": "127.0.0.1:1", "username": "u", "password": PASSWORD},
        {"topic": "t"},
        "",
    )
    with closing(Client(settings)) as client:
        error = client.fault(
            KafkaError(getattr(KafkaError, name), f"with {PASSWORD}"), "doing a thing"
        )
    assert type(error) is kind
    assert str(error) == f"Kafka, doing a thing: {name}: with ***"
