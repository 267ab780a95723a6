"""Where sources connect: to the address that was checked, and nowhere that a name or a broker leads to later."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import Terminal, Transient
from headrace.security.egress import Egress, EgressRefused
from headrace.sources.connectors import connector
from headrace.sources.contract import EARLIEST, Settings, Source
from headrace.testing.event_hubs import Emulator
from tests.sources import kafka_broker, streams
from tests.sources.kinesis_fake import FakeKinesis
from tests.sources.kinesis_roto import AUTH, AUTH_SPEC

NAME = "stream.invalid"
"""No resolver of this world knows it, so whoever reaches it was told the address."""
SHARD = "shardId-000000000000"


class Names:
    """What the name means now, and how often that was asked."""

    def __init__(self) -> None:
        self.address, self.asked = "127.0.0.1", 0

    def resolve(self, host: str, port: int) -> Sequence[str]:
        assert host == NAME, f"{host} was asked for"
        self.asked += 1
        return [self.address]


@pytest.fixture
def names() -> Names:
    return Names()


@pytest.fixture
def kinesis() -> Iterator[FakeKinesis]:
    server = FakeKinesis(SHARD)
    yield server
    server.close()


def refused(action: Callable[[], Any], seconds: float = 10.0) -> Terminal:
    """The refusal, perhaps after connections that were open before."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            action()
        except Terminal as error:
            return error
        except Transient:
            time.sleep(0.05)
    raise AssertionError("nothing was refused")


def test_kinesis_is_reached_at_the_address_that_was_checked_and_asked_for_by_its_name(
    kinesis: FakeKinesis, names: Names
) -> None:
    kinesis.shards[SHARD].put(b"one")
    port = kinesis.server.server_port
    # the address is allowed, not the name: every address that the name ever has is looked at
    egress = Egress("127.0.0.0/8", names.resolve)
    auth = {**AUTH, "endpointUrl": f"http://{NAME}:{port}"}
    settings = Settings(AUTH_SPEC, auth, {"stream": "orders"}, "flow", egress.check)
    found: Any = connector(streams.KINESIS).open(settings)
    with closing(found) as source:
        chunk = source.read(SHARD, source.start(SHARD, EARLIEST), 10, 1.0)
        assert [message.body for message in chunk.messages] == [b"one"]
        names.address = "10.0.0.1"  # rebinding
        kinesis.faults["GetRecords"] += [(0, "", "")]  # and the connection breaks
        error = refused(lambda: source.read(SHARD, chunk.next, 10, 0.2))
    assert isinstance(error, EgressRefused)
    assert NAME in str(error)
    with pytest.raises(EgressRefused):
        connector(streams.KINESIS).check(settings)


def test_event_hubs_without_tls_are_reached_at_the_address_that_was_checked(names: Names) -> None:
    with Emulator({"events": 1}) as emulator:
        auth = {"sasKeyName": "policy", "sasKey": "any", "namespace": "headrace",
                "endpointUrl": f"amqp://{NAME}:{emulator.port}"}  # fmt: skip
        settings = Settings(
            "Azure EventHub authentication credentials", auth, {"eventHubName": "events"}, "flow",
            Egress("127.0.0.0/8", names.resolve).check,
        )  # fmt: skip
        found: Any = connector(streams.EVENT_HUBS).open(settings)
        with closing(found) as source:
            assert [partition.id for partition in source.partitions()] == ["0"]
            names.address = "169.254.169.254"
            with pytest.raises(EgressRefused, match=NAME):
                source.partitions()


def test_a_namespace_that_is_a_whole_host_name_is_checked(names: Names) -> None:
    names.address = "192.168.1.1"
    auth = {"sasKeyName": "policy", "sasKey": "any", "namespace": NAME}
    settings = Settings(
        "Azure EventHub authentication credentials", auth, {"eventHubName": "events"}, "flow",
        Egress("", names.resolve).check,
    )  # fmt: skip
    found: Any = connector(streams.EVENT_HUBS).open(settings)
    with closing(found) as source, pytest.raises(EgressRefused, match=NAME):
        source.partitions()


def test_an_emulator_of_pubsub_is_reached_at_the_address_that_was_checked(names: Names) -> None:
    grpc = pytest.importorskip("grpc")
    pytest.importorskip("google.pubsub_v1")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    auth = {"projectId": "p", "credentials": "{}", "endpointUrl": f"http://{NAME}:{port}"}
    params = {"topicName": "projects/p/topics/t", "subscriptionName": "projects/p/subscriptions/s"}
    settings = Settings(
        "Project Based Authentication", auth, params, "flow", Egress("127.0.0.0/8", names.resolve).check
    )  # fmt: skip
    try:
        with pytest.raises((Terminal, Transient), match="UNIMPLEMENTED"):
            connector(streams.PUBSUB).check(settings)  # it answers, though it can nothing
        names.address = "10.1.2.3"
        with pytest.raises(EgressRefused, match=NAME):
            connector(streams.PUBSUB).check(settings)
    finally:
        server.stop(None)


@pytest.mark.skipif(kafka_broker.SERVER is None, reason="the test servers are not installed")
def test_brokers_that_a_kafka_broker_names_are_checked_before_anything_is_read(
    tmp_path: Path, names: Names
) -> None:
    """The first broker may be talked to by its name; it says of itself that it is at 127.0.0.1."""
    with streams.kafka(tmp_path, partitions=1) as stream:
        port = int(stream.egress.rpartition(":")[2])
        stream.produce([b"one"])

        def opened(allow: str) -> Source:
            auth = {"bootstrapServers": f"localhost:{port}"}
            resolver = Egress(allow, lambda host, port: ["127.0.0.1"])
            given = stream.source
            found: Any = connector(streams.KAFKA).open(
                Settings(given.auth_spec, auth, given.params, "flow", resolver.check)
            )
            return found  # type: ignore[no-any-return]

        with closing(opened(f"localhost:{port}")) as source:
            for action in (
                source.partitions,
                lambda: source.read("0", source.start("0", EARLIEST), 1, 1),
            ):
                with pytest.raises(
                    EgressRefused, match=f"the cluster names: .*'127.0.0.1' port {port}"
                ):
                    action()
        with pytest.raises(EgressRefused, match="localhost"):
            opened("")
        with closing(opened(f"localhost:{port},127.0.0.1:{port}")) as source:
            assert source.partitions()
            chunk = source.read("0", source.start("0", EARLIEST), 1, 5.0)
            assert [message.body for message in chunk.messages] == [b"one"]


def test_the_name_is_known_to_nobody() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo(NAME, 80)
