"""The Event Hubs connector against an emulator of our own, with azure-eventhub's producer as the other client.

The broker is `headrace.testing.event_hubs`, not the service: what these tests prove holds for its idea of the
protocol. Not covered: Azure Active Directory (only how its refusals are typed), TLS and with it `amqps` endpoints,
AMQP over websockets, and the service's own limits.
"""

import base64
import hmac
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus, urlencode

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient
from azure.eventhub.amqp import AmqpAnnotatedMessage
from azure.eventhub.exceptions import AuthenticationError

from headrace.errors import ConfigurationError, Terminal, Transient
from headrace.sources import event_hubs, event_hubs_client, event_hubs_receiver
from headrace.sources.connectors import connector
from headrace.sources.contract import EARLIEST, LATEST, Message, Position, Settings, Source
from headrace.sources.event_hubs import CONNECTOR, SPEC_ID, open_source
from headrace.sources.event_hubs_client import AAD, SAS, SCOPED_AAD
from headrace.testing.event_hubs import Emulator
from headrace.testing.source_harness import read_until
from headrace.testing.sources import applicable

pytestmark = pytest.mark.slow

KEY = "c2VjcmV0LWtleS1vZi10ZXN0cw=="
OTHER_KEY = "YW5vdGhlci1rZXktb2YtdGVzdHM="
GROUPS = ("$Default", "flows")


class Hub:
    """One hub of two partitions at a fresh emulator, as the conformance suite wants it."""

    secrets: Sequence[str] = (KEY, OTHER_KEY)

    def __init__(self) -> None:
        self.emulator = Emulator({"clicks": 2}, {"policy": KEY}, GROUPS).start()
        self._producer: EventHubProducerClient | None = None

    def close(self) -> None:
        if self._producer:
            self._producer.close()
        self.emulator.stop()

    def settings(self, key: str = KEY, hub: str = "clicks", **params: Any) -> Settings:
        auth = {
            "sasKeyName": "policy",
            "sasKey": key,
            "namespace": "tests",
            "endpointUrl": f"amqp://127.0.0.1:{self.emulator.port}",
        }
        return Settings(SAS, auth, {"eventHubName": hub, **params}, "flow-1")

    def open(self) -> Source:
        return open_source(self.settings())

    def open_refused(self) -> Source:
        return open_source(self.settings(OTHER_KEY))

    def open_unknown(self) -> Source:
        return open_source(self.settings(hub="views"))

    def partitions(self) -> Sequence[str]:
        return [partition.id for partition in self.emulator.hubs["clicks"].partitions]

    def produce(self, partition: str, bodies: Sequence[bytes]) -> None:
        self.send([EventData(body) for body in bodies], partition_id=partition)

    def send(self, events: Sequence[EventData], **where: Any) -> None:
        if self._producer is None:
            self._producer = EventHubProducerClient.from_connection_string(
                self.emulator.connection_string("clicks"), retry_backoff_factor=0.05
            )
        self._producer.send_batch(list(events), **where)

    def trim(self, partition: str, kept: int) -> None:
        self.emulator.trim("clicks", partition, kept)

    def stop_server(self) -> None:
        self.emulator.stop()

    def start_server(self) -> None:
        self.emulator.start()

    def break_connections(self) -> None:
        self.emulator.break_connections()

    def expire_credentials(self) -> None:
        self.emulator.change_keys({"policy": OTHER_KEY})


@pytest.fixture(autouse=True)
def _no_dawdling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library sleeps for 50 ms before each of the ten steps of a connection, whether it has an answer or not,
    and for up to a second when it closes a receiver."""
    for module, most in (("_client_base", 0.002), ("_pyamqp.client", 0.02)):
        brief = SimpleNamespace(time=time.time, sleep=partial(_brief_sleep, most))
        monkeypatch.setattr(f"azure.eventhub.{module}.time", brief)


def _brief_sleep(most: float, seconds: float) -> None:
    time.sleep(min(seconds, most))


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.close()


@pytest.mark.parametrize("check", applicable(Hub), ids=lambda check: check.__name__)
def test_conforms(check: Any, hub: Hub) -> None:
    check(hub)


def read_all(hub: Hub, partition: str, count: int, source: Source | None = None) -> list[Message]:
    with closing(source or hub.open()) as opened:
        return read_until(opened, partition, opened.start(partition, EARLIEST), count)[0]


def read_on(source: Source, position: Position, reached: list[int] | None = None) -> None:
    """Reads partition 0 for ten seconds; `reached` collects the numbers of the next events."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        position = source.read("0", position, 1000, 0.2).next
        if reached is not None:
            reached.append(position.offset)


def test_an_event_keeps_its_body_and_says_where_it_is_from(hub: Hub) -> None:
    event = EventData(b'{"a": 1}')
    event.properties = {"source": "shop", "attempt": 2}
    event.content_type = "application/json"
    large = bytes(range(256)) * 3000
    hub.send([event, EventData(large)], partition_key="customer-1")
    partition = next(p.id for p in hub.emulator.hubs["clicks"].partitions if p.events)
    first, second = read_all(hub, partition, 2)
    assert (first.body, second.body) == (b'{"a": 1}', large)
    assert (first.offset, first.id) == (0, f"clicks/{partition}/0")
    assert first.at == hub.emulator.partition("clicks", partition).events[0].at
    assert first.headers == {
        "source": "shop",
        "attempt": "2",
        "content-type": "application/json",
        "x-opt-partition-key": "customer-1",
    }
    assert second.headers == {"x-opt-partition-key": "customer-1"}


def test_bodies_that_are_not_bytes_come_as_json(hub: Hub) -> None:
    values: list[Any] = [{"a": [1, "b"]}, "text", b"\x00raw"]
    events = [AmqpAnnotatedMessage(value_body=value) for value in values]
    events.append(AmqpAnnotatedMessage(sequence_body=[[1, "two"]]))
    hub.send([EventData(b"first"), *events], partition_id="1")  # type: ignore[list-item]
    bodies = [message.body for message in read_all(hub, "1", 5)]
    assert bodies[0] == b"first"
    assert bodies[1] == b'{"a":[1,"b"]}'
    assert bodies[2] in (b"text", b'"text"')  # AMQP has no way to say which of the two was sent
    assert bodies[3] == b"\x00raw"
    assert bodies[4] == b'[1,"two"]'


def test_events_of_one_key_share_a_partition(hub: Hub) -> None:
    for number in range(6):
        hub.send([EventData(b"%d" % number)], partition_key=f"key-{number % 3}")
    places: dict[str, set[str]] = {}
    for partition in hub.partitions():
        events = len(hub.emulator.partition("clicks", partition).events)
        for message in read_all(hub, partition, events) if events else []:
            places.setdefault(message.headers["x-opt-partition-key"], set()).add(partition)
    assert {key: len(found) for key, found in places.items()} == dict.fromkeys(
        ("key-0", "key-1", "key-2"), 1
    )


def test_an_open_reading_that_retention_overtakes_is_told_so(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And until then no more waits in memory than the buffer and two batches."""
    monkeypatch.setattr(event_hubs_receiver, "MOST_BYTES", 1_000)
    hub.produce("0", [b"%05d" % number for number in range(3000)])
    with closing(hub.open()) as source:
        found, position = read_until(source, "0", source.start("0", EARLIEST), 10)
        assert [message.body for message in found] == [b"%05d" % number for number in range(10)]
        time.sleep(0.6)
        (reader,) = hub.emulator.partition("clicks", "0").readers
        sent = reader.next  # type: ignore[attr-defined]
        assert 10 < sent <= 3 * event_hubs_receiver.BATCH
        hub.trim("0", 100)
        reached: list[int] = []
        with pytest.raises(Terminal, match=r"event \d+ of partition 0 .* is 2900") as raised:
            read_on(source, position, reached)
        assert sent <= reached[-1] < 2900
        assert f"event {reached[-1]} " in str(raised.value)


def test_numbers_that_compaction_took_are_passed_over(hub: Hub) -> None:
    hub.produce("0", [b"a", b"b", b"c"])
    partition = hub.emulator.partition("clicks", "0")
    partition.events[2] = replace(partition.events[2], number=7)
    with closing(hub.open()) as source:
        found, position = read_until(source, "0", source.start("0", EARLIEST), 3)
    assert [(message.offset, message.body) for message in found] == [
        (0, b"a"),
        (1, b"b"),
        (7, b"c"),
    ]
    assert position.offset == 8


def test_a_position_of_a_hub_that_was_made_anew_is_refused(hub: Hub) -> None:
    hub.produce("0", [b"a"] * 5)
    with closing(hub.open()) as source:
        end = source.end("0")
        hub.emulator.recreate("clicks")
        with pytest.raises(Terminal, match=r"from event 5 .*'-1'"):
            until(lambda: source.read("0", end, 10, 0.5))


def until(action: Any, seconds: float = 10.0) -> None:
    """Repeats a reading that may be Transient before it is Terminal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            action()
        except Transient:
            time.sleep(0.05)


def test_start_of_an_emptied_partition_is_its_end(hub: Hub) -> None:
    hub.produce("0", [b"a"] * 4)
    hub.trim("0", 0)
    with closing(hub.open()) as source:
        assert (
            source.start("0", EARLIEST)
            == source.start("0", LATEST)
            == source.end("0")
            == Position(4)
        )
        with pytest.raises(Terminal, match=r"event 3 .* is 4"):
            source.read("0", Position(3), 10, 0.5)
        with pytest.raises(ConfigurationError, match="reset"):
            source.start("0", "middle")
        hub.produce("0", [b"later"])
        found, _ = read_until(source, "0", Position(4), 1)
    assert [message.body for message in found] == [b"later"]


def test_a_busy_service_is_waited_for(hub: Hub) -> None:
    hub.produce("0", [b"a"])
    hub.emulator.refusals = [("com.microsoft:server-busy", "The server is busy."), ("amqp:connection:forced", "Bye.")]  # fmt: skip
    with closing(hub.open()) as source:
        for said in ("server is busy", "Bye"):
            with pytest.raises(Transient, match=said):
                read_until(source, "0", Position(0), 1)
        assert [message.body for message in read_until(source, "0", Position(0), 1)[0]] == [b"a"]


def test_a_receiver_that_falls_silent_is_noticed(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_hubs, "SILENT_SECONDS", 0.4)
    hub.produce("0", [b"a"])
    with closing(hub.open()) as source:
        _, position = read_until(source, "0", source.start("0", EARLIEST), 1)
        for _ in range(3):  # nothing is missing yet
            assert not source.read("0", position, 10, 0.5).messages
        hub.emulator.partition("clicks", "0").readers.clear()
        hub.produce("0", [b"b"])
        with pytest.raises(Transient, match="do not come"):
            read_on(source, position)
        assert [message.body for message in read_until(source, "0", position, 1)[0]] == [b"b"]


def test_a_reader_with_an_epoch_drives_ours_out(hub: Hub) -> None:
    """Which is another application in the same consumer group: waiting does not help."""
    other = EventHubConsumerClient.from_connection_string(
        hub.emulator.connection_string("clicks"), "$default", load_balancing_interval=1
    )
    hub.produce("0", [b"a"])
    with closing(hub.open()) as source:
        _, position = read_until(source, "0", source.start("0", EARLIEST), 1)
        arrived = threading.Event()
        thread = threading.Thread(
            target=lambda: other.receive(
                lambda context, event: arrived.set(), partition_id="0", owner_level=1, starting_position="-1"
            ),
            daemon=True,
        )  # fmt: skip
        thread.start()
        try:
            assert arrived.wait(10)
            with pytest.raises(Terminal, match="consumer group of its own"):
                read_on(source, position)
            with pytest.raises(Terminal, match="consumer group of its own"):
                read_on(source, position)
        finally:
            other.close()


def test_check(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as brief:
        brief.setattr(event_hubs, "CHECK_SECONDS", 0.3)
        CONNECTOR.check(hub.settings())
    hub.produce("0", [b"a", b"b"])
    CONNECTOR.check(hub.settings(eventHubConsumerGroup="flows"))
    with pytest.raises(Terminal, match="refused the credentials") as refused:
        CONNECTOR.check(hub.settings(OTHER_KEY))
    assert OTHER_KEY not in str(refused.value)
    for settings, missing in (
        (hub.settings(hub="views"), "views"),
        (hub.settings(consumerGroup="nobody"), "nobody"),
    ):
        with pytest.raises(Terminal, match=f"{missing}.*not-found"):
            CONNECTOR.check(settings)


def test_check_without_a_hub_finds_wrong_keys(hub: Hub) -> None:
    CONNECTOR.check(hub.settings(hub=""))
    with pytest.raises(Terminal, match="refused the credentials"):
        CONNECTOR.check(hub.settings(OTHER_KEY, hub=""))
    hub.stop_server()
    with pytest.raises(Transient):
        CONNECTOR.check(hub.settings(hub=""))


def test_explore(hub: Hub) -> None:
    row = {"type": "eventHub", "name": "clicks", "path": "clicks", "canPreview": True, "canFetchSchema": False}  # fmt: skip
    assert CONNECTOR.explore(hub.settings(), None) == [row]
    with pytest.raises(ConfigurationError, match="eventHubName"):
        CONNECTOR.explore(hub.settings(hub=""), None)
    assert CONNECTOR.explore(hub.settings(hub=""), "clicks") == []
    hub.produce("0", [b"old-%d" % number for number in range(12)])
    time.sleep(0.01)
    hub.produce("1", [b"new-%d" % number for number in range(3)])
    found = CONNECTOR.explore(hub.settings(hub=""), "clicks")
    assert {each["text"] for each in found[:3]} == {"new-0", "new-1", "new-2"}
    assert [each["partition"] for each in found] == ["1"] * 3 + ["0"] * 7
    assert all(each["text"].startswith("old-") for each in found[3:])
    with pytest.raises(Terminal):
        CONNECTOR.explore(hub.settings(), "views")


def made(auth_spec: str = SAS, params: Mapping[str, Any] | None = None, **auth: Any) -> Settings:
    aad = {"tenantId": "tenant", "clientId": "client", "clientSecretValue": "hidden-secret"}
    sas = {"sasKeyName": "policy", "sasKey": KEY}
    return Settings(
        auth_spec,
        (sas if auth_spec == SAS else aad) | {"namespace": "Shop", **auth},
        {"eventHubName": "clicks", **(params or {})},
        "flow-1",
    )


def test_one_flow_reads_through_a_consumer_group() -> None:
    key = CONNECTOR.exclusive(made())
    assert key == "shop.servicebus.windows.net/clicks/$default"
    assert CONNECTOR.exclusive(made(namespace="sb://shop.servicebus.windows.net/")) == key
    assert (
        CONNECTOR.exclusive(made(params={"consumerGroup": "$default", "eventHubName": "Clicks"}))
        == key
    )
    assert CONNECTOR.exclusive(made(params={"eventHubConsumerGroup": "flows"})) != key
    assert CONNECTOR.exclusive(made(AAD)) == key
    assert connector(SPEC_ID) is CONNECTOR


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (made("Basic"), "no authentication Basic"),
        (made(sasKey=""), "needs sasKey"),
        (made(AAD, clientSecretValue=None), "needs clientSecretValue"),
        (made(SCOPED_AAD), "needs eventHubName"),
        (made(SCOPED_AAD, eventHubName="views"), "for the hub views, not for clicks"),
        (made(eventHubName="views"), "for the hub views, not for clicks"),
        (made(namespace="a b"), "namespace"),
        (made(endpointUrl="http://localhost"), "endpointUrl"),
        (made(endpointUrl="amqps://user:word@localhost"), "endpointUrl"),
        (made(AAD, endpointUrl="amqp://localhost"), "without TLS"),
        (made(endpointUrl="amqp://localhost", sasKeyName="a;b"), "semicolon"),
        (made(params={"eventHubName": ""}), "needs eventHubName"),
        (made(params={"eventHubName": "a b"}), "eventHubName"),
        (made(params={"consumerGroup": "a/b"}), "consumerGroup"),
        (made(AAD, tenantId="not a tenant"), "tenantId"),
    ],
)
def test_settings_that_cannot_work_are_named(settings: Settings, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as raised:
        open_source(settings)
    assert KEY not in str(raised.value)
    assert "hidden-secret" not in str(raised.value)


@pytest.mark.parametrize("auth_spec", [AAD, SCOPED_AAD])
@pytest.mark.parametrize(
    ("failure", "wanted"),
    [
        (ClientAuthenticationError("AADSTS7000215: Invalid client secret hidden-secret"), Terminal),
        (ServiceRequestError("no route to login.microsoftonline.com"), Transient),
    ],
)
def test_failures_of_the_directory_keep_their_meaning(
    auth_spec: str, failure: Exception, wanted: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Directory:
        def get_token(self, *scopes: str, **options: Any) -> None:
            raise failure

    monkeypatch.setattr(event_hubs_client, "_client_secret", lambda auth: Directory())
    settings = made(auth_spec, eventHubName="clicks")
    with pytest.raises(wanted) as raised:
        CONNECTOR.check(settings)
    assert str(failure).split(":")[0].split(" hidden")[0] in str(raised.value)
    assert "hidden-secret" not in str(raised.value)


@pytest.mark.parametrize("auth_spec", [SAS, AAD])
def test_an_endpoint_with_tls_is_where_it_connects_to(
    auth_spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what does not answer in TLS there may do so later."""
    directory = SimpleNamespace(get_token=lambda *scopes, **options: AccessToken("token", 2**40))
    monkeypatch.setattr(event_hubs_client, "_client_secret", lambda auth: directory)
    with socket.create_server(("127.0.0.1", 0)) as server:
        visits: list[bytes] = []

        def visit() -> None:
            with server.accept()[0] as visitor:
                visits.append(visitor.recv(1))

        thread = threading.Thread(target=visit, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        with pytest.raises(Transient, match="clicks"):
            CONNECTOR.check(made(auth_spec, endpointUrl=f"amqps://127.0.0.1:{port}"))
        thread.join(5)
    assert visits == [b"\x16"]  # a handshake of TLS


def test_other_clients_find_their_positions(hub: Hub) -> None:
    """The emulator's filters, by a consumer that is not ours: offset, number, time, and the end."""
    hub.produce("0", [b"a", b"b"])
    time.sleep(0.01)
    hub.produce("0", [b"c"])
    events = hub.emulator.partition("clicks", "0").events
    late = datetime.fromtimestamp(events[2].at / 1000, UTC)
    for position, inclusive, wanted in (
        (str(events[1].offset), False, [b"c"]),
        (0, True, [b"a", b"b", b"c"]),
        (late, True, [b"c"]),
        ("@latest", False, [b"d"]),
    ):
        assert received(hub, position, inclusive, len(wanted)) == wanted


def received(hub: Hub, position: Any, inclusive: bool, count: int) -> list[bytes]:
    client = EventHubConsumerClient.from_connection_string(
        hub.emulator.connection_string("clicks"), "flows", load_balancing_interval=1
    )
    found: list[bytes] = []
    enough = threading.Event()

    def take(context: Any, event: Any) -> None:
        found.append(b"".join(event.body))
        if len(found) == count:
            enough.set()

    thread = threading.Thread(
        target=lambda: client.receive(
            take, partition_id="0", starting_position=position, starting_position_inclusive=inclusive
        ),
        daemon=True,
    )  # fmt: skip
    thread.start()
    if position == "@latest":
        partition = hub.emulator.partition("clicks", "0")
        while not any(reader.group == "flows" for reader in partition.readers):
            time.sleep(0.01)
        hub.produce("0", [b"d"])
    enough.wait(10)
    client.close()
    while any(reader.group == "flows" for reader in hub.emulator.partition("clicks", "0").readers):
        time.sleep(0.01)
    return found


def test_tokens_of_other_clients_open_what_they_are_for(hub: Hub) -> None:
    now = int(time.time())
    assert listed(hub, "sb://127.0.0.1/clicks", now + 60) == ["0", "1"]
    assert listed(hub, "sb://127.0.0.1/", now + 60) == ["0", "1"]
    for scope, expiry in (("views", now + 60), ("clic", now + 60), ("clicks", now - 60)):
        with pytest.raises(AuthenticationError):
            listed(hub, f"sb://127.0.0.1/{scope}", expiry)


def listed(hub: Hub, scope: str, expiry: int) -> list[str]:
    """The partitions, asked for with a token made by hand."""
    signed = f"{quote_plus(scope)}\n{expiry}".encode()
    signature = base64.b64encode(hmac.digest(KEY.encode(), signed, "sha256"))
    token = urlencode({"sr": scope, "sig": signature, "se": expiry, "skn": "policy"})
    client = EventHubConsumerClient.from_connection_string(
        f"Endpoint=sb://127.0.0.1:{hub.emulator.port};UseDevelopmentEmulator=true;EntityPath=clicks;"
        f"SharedAccessSignature=SharedAccessSignature {token}",
        "$Default",
        retry_total=0,
    )
    with client:
        return list(client.get_partition_ids())
