"""Azure Event Hubs through their Kafka endpoint, against a Kafka broker that knows one policy's key."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from headrace.errors import ConfigurationError, Terminal
from headrace.sources.contract import EARLIEST, Position, Settings, Source
from headrace.sources.event_hubs import CONNECTOR
from headrace.sources.event_hubs_client import AAD, SAS
from headrace.sources.event_hubs_kafka import settings_of
from headrace.testing.event_hubs import Emulator
from headrace.testing.source_harness import read_until
from headrace.testing.sources import applicable
from tests.sources.kafka_broker import SERVER, Broker, Gate
from tests.sources.test_kafka import Topic

pytestmark = pytest.mark.skipif(SERVER is None, reason="the test servers are not installed")
KEY, OTHER = "c2VjcmV0LWtleS1vZi10ZXN0cw==", "YW5vdGhlci1rZXktb2YtdGVzdHM="


def password(key: str) -> str:
    """What the service's guide for Kafka clients says."""
    return (
        "Endpoint=sb://clicks.servicebus.windows.net/;SharedAccessKeyName=reader;"
        f"SharedAccessKey={key}"
    )


class Hub(Topic):
    """The same topic, read as a hub."""

    secrets = (KEY, OTHER)

    def hub_settings(self, key: str = KEY, **params: Any) -> Settings:
        auth = {"sasKeyName": "reader", "sasKey": key, "namespace": "clicks",
                "endpointUrl": f"kafka://{self.gate.address}"}  # fmt: skip
        return Settings(SAS, auth, {"eventHubName": self.name, **params}, "flow-1")

    def open(self, **params: Any) -> Source:
        source: Any = CONNECTOR.open(self.hub_settings(**params))
        return source  # type: ignore[no-any-return]

    def open_refused(self) -> Source:
        return self.open(key=OTHER)

    def open_unknown(self) -> Source:
        return self.open(eventHubName="no-such-hub")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("kafka")).start()
    yield broker
    broker.stop()


@pytest.fixture
def hub(broker: Broker) -> Iterator[Hub]:
    with closing(Gate(broker, password(KEY))) as gate:
        yield Hub(broker, gate)


@pytest.mark.slow
@pytest.mark.parametrize("check", applicable(Hub), ids=lambda check: check.__name__)
def test_conforms(check: Callable[[Any], None], hub: Hub) -> None:
    check(hub)


def test_a_hub_is_read_explored_and_tested_with_a_policys_key(hub: Hub) -> None:
    hub.produce("0", [b"one", b"two"])
    with closing(hub.open()) as source:
        assert [partition.id for partition in source.partitions()] == ["0", "1"]
        found, position = read_until(source, "0", source.start("0", EARLIEST), 2)
        assert [message.body for message in found] == [b"one", b"two"]
        assert position == source.end("0")
    rows: Sequence[Any] = CONNECTOR.explore(hub.hub_settings(eventHubName=""), None)
    assert ("eventHub", hub.name) in [(row["type"], row["name"]) for row in rows]
    newest = CONNECTOR.explore(hub.hub_settings(eventHubName=""), hub.name)
    assert {row["text"] for row in newest} == {"one", "two"}
    CONNECTOR.check(hub.hub_settings())
    with pytest.raises(Terminal) as refused:
        CONNECTOR.check(hub.hub_settings(OTHER))
    assert OTHER not in str(refused.value)
    assert CONNECTOR.exclusive(hub.hub_settings(consumerGroup="g")) == (
        f"clicks.servicebus.windows.net/{hub.name}/g"
    ), "the same group as over AMQP"


def test_a_flow_cannot_go_over_to_the_other_protocol(hub: Hub) -> None:
    """Its position might mean another event there."""
    hub.produce("0", [b"one"])
    with closing(hub.open()) as source, pytest.raises(Terminal, match="over AMQP, and"):
        source.read("0", Position(0), 1, 0.1)
    with Emulator({hub.name: 1}) as emulator:
        auth = {**hub.hub_settings().auth, "endpointUrl": f"amqp://127.0.0.1:{emulator.port}"}
        found: Any = CONNECTOR.open(replace(hub.hub_settings(), auth=auth))
        with closing(found) as amqp, pytest.raises(Terminal, match="over Kafka, and"):
            amqp.read("0", Position(0, "kafka"), 1, 0.1)


def test_the_service_itself_is_reached_with_tls_at_its_port() -> None:
    auth = {"sasKeyName": "reader", "sasKey": KEY, "namespace": "clicks",
            "endpointUrl": "kafkas://clicks.servicebus.windows.net"}  # fmt: skip
    given = Settings(SAS, auth, {"eventHubName": "views", "consumerGroup": "g"}, "flow-1")
    found = settings_of(given)
    assert found.auth == {
        "bootstrapServers": "clicks.servicebus.windows.net:9093",
        "securityProtocol": "SASL_SSL",
        "saslMechanism": "PLAIN",
        "username": "$ConnectionString",
        "password": password(KEY),
    }
    assert found.params == {"topic": "views", "consumerGroup": "g"}
    aad = {"tenantId": "t", "clientId": "c", "clientSecretValue": "s", **auth}
    with pytest.raises(ConfigurationError, match="with a key only"):
        settings_of(Settings(AAD, aad, given.params, "flow-1"))
