"""Apache Kafka: partitions read from explicit offsets; the group's offsets are written for show and never read."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from headrace.errors import ConfigurationError, Terminal, Transient
from headrace.sources.contract import (
    EARLIEST,
    LATEST,
    Chunk,
    Connector,
    Message,
    Partition,
    Position,
    Settings,
)  # fmt: skip
from headrace.sources.kafka_client import Client

if TYPE_CHECKING:
    from confluent_kafka import KafkaError
    from confluent_kafka import Message as Record

SPEC_ID = "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3"
_SHOWN_EVERY = 5.0
"""Seconds between two commits of the group's offsets."""
_HELD_BYTES = 32 << 20
"""Fetched records of a partition that nobody asks for, before fetching of it stops."""
_PREVIEWED = 10
_PREVIEW_SECONDS = 8.0


@dataclass(slots=True)
class _Track:
    """A partition that is being fetched. `at` is the offset behind what was handed out, `fetched` the one behind
    what the client has delivered, `held` the records between."""

    at: int
    fetched: int
    held: "deque[Record]" = field(default_factory=deque)
    bytes: int = 0
    assigned: bool = True
    newest: int | None = None
    failed: "KafkaError | None" = None


class KafkaSource:
    """One topic. Records of partitions that were read before are fetched ahead by one client for all."""

    def __init__(self, settings: Settings) -> None:
        self._topic = _topic(settings)
        self._client = Client(settings)
        self._tracks: dict[int, _Track] = {}
        self._shows = bool(settings.params.get("consumerGroup"))
        self._shown: dict[int, int] = {}
        self._shown_at = float("-inf")

    def partitions(self) -> Sequence[Partition]:
        """They have no parents: keys change their partition when a topic gets more, and order between partitions was
        never promised."""
        found = self._client.topics(self._topic)[self._topic].partitions
        return [Partition(str(number)) for number in sorted(found)]

    def start(self, partition: str, reset: str) -> Position:
        if reset not in (EARLIEST, LATEST):
            raise ConfigurationError(f"reset must be {EARLIEST} or {LATEST}")
        low, high = self._client.range(self._topic, _number(partition))
        return Position(low if reset == EARLIEST else high)

    def end(self, partition: str) -> Position:
        """Before the first record of a transaction that is still open, as it cannot be read yet."""
        return Position(self._client.range(self._topic, _number(partition))[1])

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        """Tombstones and records of aborted transactions are no messages; the next position lies behind them."""
        number = _number(partition)
        track = self._tracks.get(number)
        if track is None or track.at != position.offset:
            track = self._begin(number, position.offset)
        self._show(number, position.offset)
        messages: list[Message] = []
        deadline = time.monotonic() + wait
        while True:
            self._take(track, messages, most)
            if len(messages) >= most or track.failed is not None:
                break
            self._fetch(number, track)
            left = 0.0 if messages else deadline - time.monotonic()
            came = self._client.records(max(most, 1), left)
            self._sort(came, number)
            if not came and (messages or left <= 0):
                break
        if not messages:
            if track.failed is not None:
                self._fail(number, track)
            if track.at == position.offset and self._client.troubled:
                self._client.range(self._topic, number)  # raises if the partition has no leader now
        return self._chunk(number, track, messages)

    def close(self) -> None:
        self._client.close()

    def _begin(self, number: int, offset: int) -> _Track:
        """Fetching from an offset on, whatever was fetched before."""
        known = self._tracks.pop(number, None)
        if known is None and str(number) not in {partition.id for partition in self.partitions()}:
            raise Terminal(f"topic {self._topic} has no partition {number}")
        if known is not None and known.assigned:
            self._client.assign(self._topic, number, None)
        track = _Track(offset, offset, assigned=False)
        self._tracks[number] = track
        return track

    def _fetch(self, number: int, track: _Track) -> None:
        if not track.assigned:
            self._client.assign(self._topic, number, track.fetched)
            track.assigned = True

    def _sort(self, records: Sequence["Record"], wanted: int) -> None:
        """Puts what came to its partitions; records that a position already lies behind are dropped."""
        for record in records:
            number, offset, error = record.partition(), record.offset(), record.error()
            track = self._tracks.get(-1 if number is None else number)
            if track is None or not track.assigned or track.failed is not None or offset is None:
                continue
            if error is None:
                if offset >= track.fetched:
                    track.held.append(record)
                    track.bytes += len(record)
                    track.fetched = offset + 1
            elif error.name() == "_PARTITION_EOF":
                track.fetched = max(track.fetched, offset)
            else:
                track.failed = error
        for number, track in self._tracks.items():
            if number != wanted and track.assigned and track.bytes > _HELD_BYTES:
                self._client.assign(self._topic, number, None)
                track.assigned = False

    def _take(self, track: _Track, messages: list[Message], most: int) -> None:
        while track.held and len(messages) < most:
            record = track.held.popleft()
            message = _message(record)
            track.bytes -= len(record)
            track.at = (record.offset() or 0) + 1
            track.newest = record.timestamp()[1]
            if message is not None:
                messages.append(message)
        if not track.held:
            track.at = track.fetched

    def _fail(self, number: int, track: _Track) -> None:
        """Raises what ended the fetching of a partition; the next read begins it anew."""
        error = track.failed
        assert error is not None
        self._tracks.pop(number)
        if track.assigned:
            self._client.assign(self._topic, number, None)
        where = f"partition {number} of topic {self._topic}"
        if error.name() not in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            fault = self._client.fault(error, f"reading {where} at {track.at}")
            if error.name() == "UNKNOWN_TOPIC_OR_PART":
                # also said by brokers that are starting: ask whether it is so
                self._client.topics(self._topic)
                fault = Transient(str(fault))
            raise fault
        low, high = self._client.range(self._topic, number)
        if track.at < low:
            raise Terminal(
                f"{where} no longer keeps offset {track.at}: its oldest record is {low}; "
                f"{low - track.at} offsets were removed before they were read"
            )
        if track.at > high:
            raise Terminal(
                f"{where} ends at offset {high}, before the position {track.at}: "
                "the topic was created anew or lost records"
            )
        raise Transient(f"reading {where} at {track.at}: {error.str()}")

    def _chunk(self, number: int, track: _Track, messages: list[Message]) -> Chunk:
        end = self._client.known_end(self._topic, number)
        behind = None if end is None else max(0, end - track.at)
        behind_ms = None
        if behind == 0:
            behind_ms = 0
        elif behind is not None and track.newest is not None and track.newest > 0:
            behind_ms = max(0, int(time.time() * 1000) - track.newest)
        return Chunk(messages, Position(track.at), behind, behind_ms)

    def _show(self, number: int, offset: int) -> None:
        """Tells the group how far reading came; nothing depends on it."""
        if not self._shows:
            return
        self._shown[number] = offset
        if time.monotonic() - self._shown_at < _SHOWN_EVERY:
            return
        from confluent_kafka import KafkaException, TopicPartition

        self._shown_at = time.monotonic()
        offsets = [TopicPartition(self._topic, n, at) for n, at in self._shown.items()]
        with suppress(KafkaException):
            self._client.consumer.commit(offsets=offsets, asynchronous=True)


def _topic(settings: Settings) -> str:
    if not settings.params.get("topic"):
        raise ConfigurationError("the Kafka source has no topic")
    return str(settings.params["topic"])


def _number(partition: str) -> int:
    if not partition.isdecimal():
        raise Terminal(f"{partition!r} is no partition of a Kafka topic")
    return int(partition)


def _message(record: "Record") -> Message | None:
    """None for a tombstone. Of headers with one name the last counts."""
    body: Any = record.value()
    if body is None:
        return None
    offset = record.offset() or 0
    headers: Any = record.headers() or ()
    return Message(
        body,
        offset,
        max(0, record.timestamp()[1]),
        f"{record.topic()}/{record.partition()}@{offset}",
        {
            name: value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
            for name, value in headers
        },
    )


def check(settings: Settings) -> None:
    """Lists topics, or the one that is read."""
    with closing(Client(settings)) as client:
        client.topics(str(settings.params["topic"]) if settings.params.get("topic") else None)


def explore(settings: Settings, name: str | None) -> Sequence[Mapping[str, Any]]:
    """Topics that are not the cluster's own; or records of one, the newest first."""
    if name is None:
        with closing(Client(settings)) as client:
            return [
                {"type": "topic", "name": topic, "path": topic,
                 "canPreview": True, "canFetchSchema": False}
                for topic in sorted(client.topics()) if not topic.startswith("__")
            ]  # fmt: skip
    params = {key: value for key, value in settings.params.items() if key != "consumerGroup"}
    preview = replace(settings, params={**params, "topic": name})
    with closing(KafkaSource(preview)) as source:
        deadline = time.monotonic() + _PREVIEW_SECONDS
        found = [m for p in source.partitions() for m in _newest(source, p.id, deadline)]
    found.sort(key=lambda message: message.at, reverse=True)
    return [
        {"id": m.id, "at": m.at, "text": m.body.decode(errors="replace")}
        for m in found[:_PREVIEWED]
    ]


def _newest(source: KafkaSource, partition: str, deadline: float) -> list[Message]:
    if time.monotonic() > deadline:
        return []
    end = source.end(partition).offset
    position = Position(max(source.start(partition, EARLIEST).offset, end - _PREVIEWED))
    found: list[Message] = []
    while position.offset < end and time.monotonic() < deadline:
        chunk = source.read(partition, position, _PREVIEWED, 0.5)
        found += chunk.messages
        position = chunk.next
    return found


def exclusive(settings: Settings) -> str | None:
    """Two flows that show their progress in one group would overwrite each other's."""
    group = settings.params.get("consumerGroup")
    servers, topic = settings.auth.get("bootstrapServers"), settings.params.get("topic")
    return f"kafka {servers} {topic} {group}" if group else None


CONNECTOR = Connector("Apache Kafka", SPEC_ID, KafkaSource, check, explore, exclusive)
