"""Azure Event Hubs as a source: partitions by their ids, positions by sequence numbers."""

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from headrace.errors import ConfigurationError, HeadraceError, Terminal
from headrace.sources import event_hubs_kafka
from headrace.sources.contract import (
    EARLIEST,
    LATEST,
    Chunk,
    Connector,
    Message,
    Partition,
    Position,
    Settings,
    Source,
)
from headrace.sources.event_hubs_client import (
    Account,
    Extent,
    Unknown,
    auth_of,
    group_of,
    host_of,
    hub_of,
)
from headrace.sources.event_hubs_receiver import Receiver

SPEC_ID = "bf9f5905-92b7-48bf-bf20-455bc6b60a4e"
RECORDS = 10
"""Events that a preview shows."""
PREVIEW_SECONDS = 10.0
PREVIEW_PARTITIONS = 8
CHECK_SECONDS = 4.0
"""How long a receiver of an empty partition may live before it counts as admitted: the library does not tell."""
SILENT_SECONDS = 60.0
"""After so long without events the hub is asked whether there are any."""
FRESH_SECONDS = 1.0
"""How long an answer about a partition may serve the reading that follows."""


class EventHubsSource:
    """One hub through one consumer group. Each partition that is read has a receiver, begun at its first reading."""

    def __init__(self, account: Account) -> None:
        if not account.hub:
            raise ConfigurationError("a source connection of Azure Event Hubs needs eventHubName")
        self._account = account
        self._receivers: dict[str, Receiver] = {}
        self._told: dict[str, tuple[float, Extent]] = {}

    def partitions(self) -> Sequence[Partition]:
        return [Partition(id) for id in self._account.partitions()]

    def start(self, partition: str, reset: str) -> Position:
        """ConfigurationError for a reset that is neither `earliest` nor `latest`."""
        if reset not in (EARLIEST, LATEST):
            raise ConfigurationError(f"reset must be {EARLIEST} or {LATEST}, not {reset}")
        extent = self.extent(partition)
        return Position(extent.oldest if reset == EARLIEST else extent.end)

    def end(self, partition: str) -> Position:
        return Position(self.extent(partition).end)

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        """Goes on with the receiver that stands at the position, or begins another one there."""
        if position.token:
            raise event_hubs_kafka.other_way(partition, position)
        receiver = self._receivers.get(partition)
        if receiver is None or receiver.next != position.offset:
            receiver = self._begin(partition, position.offset)
        try:
            messages = receiver.take(most, wait)
            if not messages and receiver.gap:
                self._pass(receiver, partition)
                messages = receiver.take(most, 0)
            if not messages and time.monotonic() - receiver.heard > SILENT_SECONDS:
                receiver.compare(self._account.extent(partition))
        except HeadraceError:
            self._told.pop(partition, None)
            self._drop(partition)
            raise
        return _chunk(receiver, messages)

    def close(self) -> None:
        """Returns at once; the receivers' connections end within half a second, their threads soon after."""
        for partition in list(self._receivers):
            self._drop(partition)

    def extent(self, partition: str) -> Extent:
        """What the hub keeps of a partition; a reading that follows at once does not ask again."""
        extent = self._account.extent(partition)
        self._told[partition] = time.monotonic(), extent
        return extent

    def _begin(self, partition: str, offset: int) -> Receiver:
        self._drop(partition)
        # asked first: it says whether the position is still kept, and it fails fast where a receiver would not
        at, extent = self._told.pop(partition, (-FRESH_SECONDS, None))
        if extent is None or time.monotonic() - at > FRESH_SECONDS:
            extent = self._account.extent(partition)
        if extent.oldest > offset:
            raise self._lost(partition, offset, extent.oldest)
        receiver = self._receivers[partition] = Receiver(self._account, partition, offset, extent)
        return receiver

    def _pass(self, receiver: Receiver, partition: str) -> None:
        """Over numbers that are missing: compaction leaves gaps, but what retention took is lost."""
        oldest = self._account.extent(partition).oldest
        if oldest > receiver.next:
            raise self._lost(partition, receiver.next, oldest)
        receiver.skip(receiver.gap)

    def _lost(self, partition: str, offset: int, oldest: int) -> Terminal:
        return Terminal(
            f"Azure Event Hubs no longer keeps event {offset} of partition {partition} of hub "
            f"{self._account.hub}: the oldest that it keeps is {oldest}"
        )

    def _drop(self, partition: str) -> None:
        receiver = self._receivers.pop(partition, None)
        if receiver is not None:
            receiver.close()


def _chunk(receiver: Receiver, messages: Sequence[Message]) -> Chunk:
    behind = max(0, receiver.newest - receiver.next + 1)
    late: int | None = None
    if not behind:
        late = 0
    elif messages:
        late = max(0, receiver.newest_at - messages[-1].at)
    return Chunk(messages, Position(receiver.next), behind, late)


def open_source(settings: Settings) -> Source:
    """Over AMQP, or over Kafka where the connection's endpoint says so."""
    if event_hubs_kafka.chosen(settings):
        return event_hubs_kafka.KafkaHub(settings)
    return EventHubsSource(Account(settings))


def check(settings: Settings) -> None:
    """Reads the hub's properties, and receives the newest event of its first partition, if there is one.

    Without a hub's name only a refusal is found: the service knows hubs, not namespaces.
    """
    if event_hubs_kafka.chosen(settings):
        event_hubs_kafka.check(settings)
        return
    account = Account(settings)
    account.token()
    if not account.hub:
        try:
            account.ask(
                "reaching the namespace",
                lambda client: client.get_partition_ids(),
                "headrace-check",
            )
        except Unknown:
            return
        return
    partition = account.partitions()[0]
    extent = account.extent(partition)
    receiver = Receiver(account, partition, max(extent.oldest, extent.end - 1), extent)
    try:
        receiver.take(1, CHECK_SECONDS)
    finally:
        receiver.close()


def explore(settings: Settings, name: str | None) -> Sequence[Mapping[str, Any]]:
    """The hub that the connection names, or up to ten of the newest events of one, the newest first.

    Hubs cannot be listed over AMQP: ConfigurationError where the connection names none.
    """
    if event_hubs_kafka.chosen(settings):
        return event_hubs_kafka.explore(settings, name)
    if name is None:
        account = Account(settings)
        if not account.hub:
            raise ConfigurationError(
                "hubs of a namespace cannot be listed over AMQP; give the connection an eventHubName"
            )
        account.partitions()
        return [
            {"type": "eventHub", "name": account.hub, "path": account.hub,
             "canPreview": True, "canFetchSchema": False}
        ]  # fmt: skip
    params = {**settings.params, "eventHubName": name}
    chosen = replace(settings, params=params)
    with closing(EventHubsSource(Account(chosen))) as source:
        found = _newest(source)
    return [
        {
            "partition": partition,
            "id": message.id,
            "at": message.at,
            "text": message.body.decode(errors="replace"),
        }
        for partition, message in found
    ]


def _newest(source: EventHubsSource) -> list[tuple[str, Message]]:
    """The last events of a hub's partitions, in at most eight of them and for ten seconds."""
    until = time.monotonic() + PREVIEW_SECONDS
    found: list[tuple[str, Message]] = []
    left: dict[str, tuple[Position, int]] = {}
    for partition in [partition.id for partition in source.partitions()][:PREVIEW_PARTITIONS]:
        extent = source.extent(partition)
        if extent.end > extent.oldest:
            left[partition] = Position(max(extent.oldest, extent.end - RECORDS)), extent.end
    while left and time.monotonic() < until:
        for partition, (position, end) in list(left.items()):
            chunk = source.read(partition, position, RECORDS, 0.1)
            found += [(partition, message) for message in chunk.messages]
            left[partition] = chunk.next, end
            if chunk.next.offset >= end:
                del left[partition]
    found.sort(key=lambda each: each[1].at, reverse=True)
    return found[:RECORDS]


def exclusive(settings: Settings) -> str:
    """Namespace, hub and consumer group: one flow reads through a consumer group."""
    host = host_of(auth_of(settings))
    return f"{host}/{hub_of(settings)}/{group_of(settings)}".lower()


CONNECTOR = Connector("Azure Event Hubs", SPEC_ID, open_source, check, explore, exclusive)
