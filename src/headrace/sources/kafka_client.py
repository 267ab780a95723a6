"""A Kafka consumer whose every failure is Transient or Terminal and names no secret."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError, HeadraceError, Terminal, Transient
from headrace.sources.contract import Settings

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka import Message as Record

SASL_AUTH = "Kafka SASL Authentication"
_ATTEMPTS = (0.5, 2.5, 7.0)
"""Seconds that a question to the cluster may take, and how often it is put."""
_UNKNOWN = "UNKNOWN_TOPIC_OR_PART"
_FINAL = frozenset({
    _UNKNOWN,
    "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE",
    "TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "TOPIC_EXCEPTION",
    "_INVALID_ARG", "_UNSUPPORTED_FEATURE", "_FATAL",
})  # fmt: skip
"""Errors that pass by themselves never. What the library itself does not know (`_UNKNOWN_PARTITION`) may only have no
leader."""
_T = TypeVar("_T")


def secrets(auth: Mapping[str, Any]) -> Sequence[str]:
    """What of a connection's authentication no text may show."""
    return [str(auth[name]) for name in ("password",) if auth.get(name)]


def configuration(settings: Settings) -> dict[str, Any]:
    """The client's settings for a connection; ConfigurationError names what is missing.

    `securityProtocol` may be given without SASL too: PLAINTEXT (the default there) or SSL. `caCertificate` is the PEM
    text of an authority that the system does not know.
    """
    auth = settings.auth
    sasl = settings.auth_spec == SASL_AUTH
    needed = ["bootstrapServers"] + (["username", "password"] if sasl else [])
    if missing := [name for name in needed if not auth.get(name)]:
        raise ConfigurationError(f"the Kafka connection has no {', '.join(missing)}")
    allowed = ("SASL_SSL", "SASL_PLAINTEXT") if sasl else ("PLAINTEXT", "SSL")
    protocol = str(auth.get("securityProtocol") or allowed[0])
    if protocol not in allowed:
        raise ConfigurationError(f"securityProtocol must be one of: {', '.join(allowed)}")
    found: dict[str, Any] = {
        "bootstrap.servers": str(auth["bootstrapServers"]),
        "security.protocol": protocol,
    }
    if sasl:
        found["sasl.mechanism"] = str(auth.get("saslMechanism") or "PLAIN")
        found["sasl.username"] = str(auth["username"])
        found["sasl.password"] = str(auth["password"])
    if auth.get("caCertificate") and protocol.endswith("SSL"):
        found["ssl.ca.pem"] = str(auth["caCertificate"])
    return found


def _named(servers: str) -> Iterator[tuple[str, int]]:
    for entry in filter(None, (each.strip() for each in servers.split(","))):
        parts = urlsplit(f"//{entry.rpartition('://')[2]}")
        try:
            port = 9092 if parts.port is None else parts.port
        except ValueError:
            raise ConfigurationError(f"'{entry}' in bootstrapServers has no valid port") from None
        yield parts.hostname or "", port


class Client:
    """A consumer that belongs to no group: what is read is told with `assign`.

    `records` and `ask` raise Terminal where credentials are refused or something does not exist, else Transient.
    """

    def __init__(self, settings: Settings) -> None:
        from confluent_kafka import Consumer, KafkaException

        self._secrets = secrets(settings.auth)
        self._refused: KafkaError | None = None
        self._cause: KafkaError | None = None
        self._all_down = False
        self._waiting: list[Record] = []
        self._reach = settings.reach
        for host, port in _named(str(settings.auth.get("bootstrapServers") or "")):
            self._reach(host, port)
        group = settings.params.get("consumerGroup") or f"headrace-{settings.flow_id}"
        options = configuration(settings) | {
            "client.id": "headrace",
            "group.id": str(group),
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            # a position that is gone must be said, not be replaced by another
            "auto.offset.reset": "error",
            # its offset tells how far reading came over control records and aborted transactions
            "enable.partition.eof": True,
            "check.crcs": True,
            "fetch.wait.max.ms": 100,
            "fetch.queue.backoff.ms": 100,
            "queued.max.messages.kbytes": 32_768,
            "reconnect.backoff.max.ms": 2_000,
            # how soon a topic that was deleted or grew is noticed
            "topic.metadata.refresh.interval.ms": 30_000,
            # errors come as events, to be raised
            "log_level": 0,
            "error_cb": self._hear,
        }
        try:
            self.consumer = Consumer(options)
        except (KafkaException, ValueError, TypeError) as error:
            raise ConfigurationError(
                self.told(f"the Kafka client refuses its settings: {error}")
            ) from None

    def _hear(self, error: "KafkaError") -> None:
        if error.name() in _FINAL - {_UNKNOWN} or "certificate verify" in error.str():
            self._refused = error
        elif error.name() == "_ALL_BROKERS_DOWN":
            self._all_down = True
            self._cause = self._cause or error
        else:
            self._cause = error

    def told(self, text: str) -> str:
        """A text without what is secret in the connection."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def fault(self, error: "KafkaError", doing: str) -> HeadraceError:
        """What to raise for an error of the library."""
        kind = Terminal if error.name() in _FINAL else Transient
        return kind(self.told(f"Kafka, {doing}: {error.name()}: {error.str()}"))

    def records(self, most: int, wait: float) -> list["Record"]:
        """What came: records and events of assigned partitions; waits for the first."""
        found, self._waiting = self._waiting, []
        try:
            found += self.consumer.consume(most, timeout=0)
            if not found and wait > 0:
                first = self.consumer.poll(wait)
                found = [] if first is None else [first]
        except RuntimeError:
            raise Transient("Kafka: the source is closed") from None
        return found

    @property
    def troubled(self) -> bool:
        """Whether a connection failed since the cluster last answered."""
        return self._refused is not None or self._cause is not None

    def ask(self, question: Callable[[float], _T], doing: str) -> _T:
        """The answer to a question that takes a timeout."""
        from confluent_kafka import KafkaException

        for seconds in _ATTEMPTS:
            try:
                answer = question(seconds)
            except KafkaException as failure:
                error: KafkaError = failure.args[0]
            except RuntimeError:
                raise Transient("Kafka: the source is closed") from None
            else:
                self._refused = self._cause = None
                self._all_down = False
                return answer
            # why the cluster is out of reach comes as an event
            self._waiting += self.consumer.consume(1, timeout=0)
            if self._refused is not None:
                raise Terminal(self.told(f"Kafka, {doing}: refused: {self._refused.str()}"))
            if self._all_down or error.name() in _FINAL - {_UNKNOWN}:
                break
            if seconds != _ATTEMPTS[-1]:
                time.sleep(0.3)  # a broker that has just started may not know its topics yet
        if self._cause is not None and error.name() not in _FINAL:
            error = self._cause
        raise self.fault(error, doing)

    def topics(self, name: str | None = None) -> dict[str, Any]:
        """Metadata of all topics, or of one; Terminal if that does not exist or may not be read."""
        from confluent_kafka import KafkaException

        def question(seconds: float) -> dict[str, Any]:
            if name is None:
                found = self.consumer.list_topics(timeout=seconds)
            else:
                found = self.consumer.list_topics(name, timeout=seconds)
                topic = found.topics.get(name)
                if topic is not None and topic.error is not None:
                    raise KafkaException(topic.error)
            brokers.update((broker.host, broker.port) for broker in found.brokers.values())
            return dict(found.topics)

        brokers: set[tuple[str, int]] = set()
        topics = self.ask(question, f"listing topic {name}" if name else "listing topics")
        # brokers say where others are, and the library connects there without asking anyone once a partition is read
        for host, port in brokers:
            try:
                self._reach(host, port)
            except Transient:
                continue  # what has no address cannot be connected to either
            except Terminal as refused:
                told = f"Kafka, a broker that the cluster names: {refused}"
                raise type(refused)(told) from None
        return topics

    def range(self, topic: str, partition: int) -> tuple[int, int]:
        """Offsets of the oldest record that is kept and behind the newest that can be read."""
        from confluent_kafka import TopicPartition

        where = TopicPartition(topic, partition)
        try:
            low, high = self.ask(
                lambda seconds: self.consumer.get_watermark_offsets(where, timeout=seconds),
                f"asking for the offsets of partition {partition} of topic {topic}",
            )
        except Transient:
            if not self.troubled and partition not in self.topics(topic)[topic].partitions:
                raise Terminal(f"topic {topic} has no partition {partition}") from None
            raise
        return low, high

    def known_end(self, topic: str, partition: int) -> int | None:
        """The offset behind the newest record, open transactions included, as of the last fetch."""
        from confluent_kafka import KafkaException, TopicPartition

        try:
            marks = self.consumer.get_watermark_offsets(
                TopicPartition(topic, partition), cached=True
            )
        except KafkaException:
            return None
        return marks[1] if marks and marks[1] >= 0 else None

    def assign(self, topic: str, partition: int, offset: int | None) -> None:
        """Fetches a partition from an offset on; with None no longer. What came of it before is forgotten."""
        from confluent_kafka import KafkaException, TopicPartition

        self._waiting = [record for record in self._waiting if record.partition() != partition]
        try:
            if offset is None:
                self.consumer.incremental_unassign([TopicPartition(topic, partition)])
            else:
                self.consumer.incremental_assign([TopicPartition(topic, partition, offset)])
        except KafkaException as failure:
            raise self.fault(failure.args[0], f"reading partition {partition}") from None

    def close(self) -> None:
        self.consumer.close()
