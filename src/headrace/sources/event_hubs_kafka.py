"""Azure Event Hubs through their Kafka endpoint: a hub is a topic, a policy's key the password.

Numbers of events there need not be those of AMQP, so that every position says which of the two it is of. A flow
cannot go over from one to the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from headrace.errors import ConfigurationError, Terminal
from headrace.sources import kafka
from headrace.sources.contract import Chunk, Partition, Position, Settings
from headrace.sources.event_hubs_client import SAS, auth_of, host_of, hub_of
from headrace.sources.kafka_client import SASL_AUTH

TOKEN = "kafka"
PORT = 9093


def chosen(settings: Settings) -> bool:
    """Whether the connection's endpoint is the one for Kafka clients."""
    return urlsplit(str(settings.auth.get("endpointUrl") or "")).scheme in ("kafka", "kafkas")


def settings_of(settings: Settings, hub: str = "") -> Settings:
    """What the Kafka connector is opened with; ConfigurationError for credentials that are not a policy's key."""
    auth = auth_of(settings)
    if settings.auth_spec != SAS:
        raise ConfigurationError(
            "the Kafka endpoint of Azure Event Hubs is reached with a key only"
        )
    endpoint = urlsplit(str(auth["endpointUrl"]))
    host = f"[{endpoint.hostname}]" if ":" in (endpoint.hostname or "") else endpoint.hostname
    secret = (
        f"Endpoint=sb://{host_of(auth)}/;SharedAccessKeyName={auth['sasKeyName']};"
        f"SharedAccessKey={auth['sasKey']}"
    )
    given = {
        "bootstrapServers": f"{host}:{endpoint.port or PORT}",
        "securityProtocol": "SASL_SSL" if endpoint.scheme == "kafkas" else "SASL_PLAINTEXT",
        "saslMechanism": "PLAIN",
        "username": "$ConnectionString",
        "password": secret,
    }
    params = {"topic": hub or hub_of(settings)}
    if settings.params.get("consumerGroup") or settings.params.get("eventHubConsumerGroup"):
        params["consumerGroup"] = str(
            settings.params.get("consumerGroup") or settings.params["eventHubConsumerGroup"]
        )
    return replace(settings, auth_spec=SASL_AUTH, auth=given, params=params)


class KafkaHub:
    """One hub as a topic; its positions are marked."""

    def __init__(self, settings: Settings) -> None:
        if not hub_of(settings):
            raise ConfigurationError("a source connection of Azure Event Hubs needs eventHubName")
        self._topic = kafka.KafkaSource(settings_of(settings))

    def partitions(self) -> Sequence[Partition]:
        return self._topic.partitions()

    def start(self, partition: str, reset: str) -> Position:
        return replace(self._topic.start(partition, reset), token=TOKEN)

    def end(self, partition: str) -> Position:
        return replace(self._topic.end(partition), token=TOKEN)

    def read(self, partition: str, position: Position, most: int, wait: float) -> Chunk:
        """Terminal at a position that was reached over AMQP."""
        if position.token != TOKEN:
            raise other_way(partition, position)
        chunk = self._topic.read(partition, replace(position, token=""), most, wait)
        return replace(chunk, next=replace(chunk.next, token=TOKEN))

    def close(self) -> None:
        self._topic.close()


def other_way(partition: str, position: Position) -> Terminal:
    """The refusal of a position that was reached by the other protocol."""
    ways = ("over Kafka", "over AMQP")
    was, now = ways if position.token == TOKEN else ways[::-1]
    return Terminal(
        f"Azure Event Hubs: partition {partition} was read up to {position.offset} {was}, and numbers of events may"
        f" be others {now}. Give the connection its endpoint back, or create another flow"
    )


def check(settings: Settings) -> None:
    """Lists the hubs of the namespace, or the one that is read."""
    kafka.check(settings_of(settings))


def explore(settings: Settings, name: str | None) -> Sequence[Mapping[str, Any]]:
    """Hubs of the namespace, which can be listed here; or events of one, the newest first."""
    found = kafka.explore(settings_of(settings, name or ""), name)
    return [{**row, "type": "eventHub"} for row in found] if name is None else found
