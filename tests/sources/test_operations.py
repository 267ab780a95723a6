"""What operators do to flows of pulled sources, against a running server: disable, rotate, find out what is wrong."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.testing.server import Journey, PlatformClient, PulledSource, ServerProcess

from . import journey, pubsub_emulator, streams
from .kafka_broker import SERVER, Broker, Gate

pytestmark = [
    pytest.mark.skipif(SERVER is None, reason="the test servers are not installed"),
    pytest.mark.slow,
]
FLOWS = "/data/foundation/flowservice/flows"


def until(holds: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
    """What `holds` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


class Site:
    """A server and a broker; every `flow` reads a topic of its own, with one partition."""

    def __init__(self, server: ServerProcess, broker: Broker) -> None:
        from confluent_kafka import Producer
        from confluent_kafka.admin import AdminClient

        self.server, self.broker = server, broker
        self.platform = PlatformClient(server.credentials())
        client = {"bootstrap.servers": broker.address, "log_level": 0}
        self.admin, self.producer = AdminClient(client), Producer({**client, "acks": "all"})
        self.topics = 0

    def topic(self) -> str:
        from confluent_kafka.admin import NewTopic

        self.topics += 1
        name = f"topic-{self.topics}"
        for future in self.admin.create_topics([NewTopic(name, 1, 1)]).values():
            future.result(20)
        return name

    def produce(self, topic: str, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.producer.produce(topic, journey.record(number), partition=0)
        assert self.producer.flush(30) == 0

    def source(self, topic: str, **params: str) -> PulledSource:
        auth = {"bootstrapServers": self.broker.address}
        params = {"topic": topic, **params}
        return PulledSource(streams.KAFKA, "Kafka No Authentication", auth, params)

    def flow(self, source: PulledSource) -> Journey:
        tenant = self.platform.credentials["tenant_id"]
        rules = [
            {k: v.replace("{tenant}", tenant) for k, v in rule.items()} for rule in journey.RULES
        ]
        return self.platform.create_flow(journey.PROPERTIES, rules, source=source)

    def act(self, flow: Journey, op: str) -> None:
        self.platform.call("POST", f"{FLOWS}/{flow.flow_id}/action?op={op}")

    def status(self, flow: Journey) -> dict[str, Any]:
        found: dict[str, Any] = self.platform.call("GET", f"/headrace/flows/{flow.flow_id}")
        return found

    def landed(self, flow: Journey) -> int:
        return int(self.status(flow)["landed"])

    def numbers(self, flow: Journey) -> list[int]:
        tenant = self.platform.credentials["tenant_id"]
        query = (
            f'SELECT _{tenant}.n AS n FROM "{flow.dataset_id}"'
            " ORDER BY _acp_system_metadata.sourceOffset"
        )
        return [row["n"] for row in self.server.sql(query)]

    def health(self) -> tuple[int, str]:
        answer = httpx.get(f"{self.platform.credentials['base_url']}/health")
        return answer.status_code, answer.text

    def well(self) -> bool:
        return self.health()[0] == 200


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("operations")
    (place / "broker").mkdir()
    (place / "server" / "data").mkdir(parents=True)
    broker = Broker(place / "broker").start()
    server = ServerProcess(
        place / "server" / "data",
        HEADRACE_COMMIT_INTERVAL="0.2",
        HEADRACE_EGRESS_ALLOW="127.0.0.1",
    )
    try:
        yield Site(server.start(), broker)
        assert server.stop() == 0
    finally:
        server.kill()
        broker.stop()


def test_a_disabled_flow_stops_and_goes_on_from_its_watermark(site: Site) -> None:
    topic = site.topic()
    flow = site.flow(site.source(topic))
    site.produce(topic, 0, 200)
    until(lambda: site.landed(flow) == 200, "nothing landed")
    site.produce(topic, 200, 3_000)
    site.act(flow, "disable")
    until(lambda: site.status(flow)["state"] == "disabled", "not disabled")
    time.sleep(3)  # for the look at the store, and the batch in flight
    stood = site.numbers(flow)
    site.produce(topic, 3_200, 100)
    time.sleep(2)
    assert site.numbers(flow) == stood, "a disabled flow went on"
    assert stood == list(range(len(stood))), "it stopped at a position, not within"
    assert 200 <= len(stood) <= 3_200
    site.act(flow, "enable")
    until(lambda: site.landed(flow) == 3_300, "it does not go on")
    assert site.numbers(flow) == list(range(3_300))
    site.act(flow, "disable")


def test_runs_metrics_and_status_tell_the_lag_of_each_partition(site: Site) -> None:
    topic = site.topic()
    flow = site.flow(site.source(topic))
    site.produce(topic, 0, 500)
    until(lambda: site.landed(flow) == 500, "nothing landed")
    path = f"/data/foundation/flowservice/runs?property=flowId=={flow.flow_id}"
    (run,) = site.platform.call("GET", path)["items"]
    lag = run["metrics"]["lagSummary"]
    assert lag["partitions"] == [{"id": "0", "behindRecords": 0, "behindMs": 0}]
    assert (lag["behindRecords"], lag["behindMs"]) == (0, 0)
    assert run["createdAt"] <= lag["measuredAtUTC"] <= run["updatedAt"]
    now = {"0": {"behindRecords": 0, "behindMs": 0}}
    until(lambda: site.status(flow)["partitions"] == now, "the status does not tell it")
    metrics = httpx.get(f"{site.platform.credentials['base_url']}/metrics").text
    labels = f'{{flow="{flow.flow_id}",partition="0"}}'
    for unit in ("records", "milliseconds"):
        assert f"headrace_source_behind_{unit}{labels} 0.0" in metrics.splitlines()
    site.act(flow, "disable")
    until(lambda: site.status(flow)["partitions"] == {}, "nobody reads it any more")


def refused(act: Callable[[], Any]) -> httpx.Response:
    with pytest.raises(httpx.HTTPStatusError) as error:
        act()
    return error.value.response


def test_two_flows_cannot_share_a_consumer_group(site: Site) -> None:
    topic = site.topic()
    first = site.flow(site.source(topic, consumerGroup="readers"))
    answer = refused(lambda: site.flow(site.source(topic, consumerGroup="readers")))
    assert answer.status_code == 400
    assert first.flow_id in answer.json()["errorMessage"]
    site.act(first, "disable")
    second = site.flow(site.source(topic, consumerGroup="readers"))
    assert second.flow_id in refused(lambda: site.act(first, "enable")).json()["errorMessage"]
    site.flow(site.source(topic, consumerGroup="others"))


@pytest.mark.skipif(bool(pubsub_emulator.missing()), reason=pubsub_emulator.missing() or "")
def test_two_flows_cannot_share_a_subscription(site: Site, tmp_path: Path) -> None:
    with streams.pubsub(tmp_path) as stream:
        first = site.flow(stream.source)
        answer = refused(lambda: site.flow(stream.source))
        assert (answer.status_code, first.flow_id in answer.text) == (400, True)
        site.act(first, "disable")
        second = site.flow(stream.source)
        site.act(second, "disable")


def test_a_flow_whose_position_is_no_longer_kept_stops_and_says_why(site: Site) -> None:
    from confluent_kafka import TopicPartition

    topic = site.topic()
    flow = site.flow(site.source(topic))
    site.produce(topic, 0, 50)
    until(lambda: site.landed(flow) == 50, "nothing landed")
    site.act(flow, "disable")
    time.sleep(2)
    site.produce(topic, 50, 50)
    for future in site.admin.delete_records([TopicPartition(topic, 0, 70)]).values():
        future.result(20)
    site.act(flow, "enable")
    reason = until(lambda: site.status(flow)["stopped"], "it does not stop")
    assert "50" in reason, reason
    assert "70" in reason, reason
    status, text = site.health()
    assert status == 503
    assert flow.flow_id in text
    assert site.landed(flow) == 50, "what has landed is still told"
    # nothing is skipped on its own: it stays where it was, also when it is tried again
    site.act(flow, "disable")
    until(lambda: site.status(flow)["stopped"] is None, "a disabled flow is still called stopped")
    until(site.well, "a disabled flow makes the server unwell")
    site.act(flow, "enable")
    assert until(lambda: site.status(flow)["stopped"], "it was not tried again") == reason
    assert site.numbers(flow) == list(range(50))
    site.platform.call("DELETE", f"{FLOWS}/{flow.flow_id}")
    until(site.well, "a deleted flow makes the server unwell")


def test_rotated_credentials_start_reading_anew(site: Site) -> None:
    with gate(site.broker, "first-s3cret") as entry:
        topic = site.topic()
        auth = {
            "bootstrapServers": entry.address,
            "securityProtocol": "SASL_PLAINTEXT",
            "saslMechanism": "PLAIN",
            "username": "reader",
            "password": "first-s3cret",
        }
        source = PulledSource(streams.KAFKA, "Kafka SASL Authentication", auth, {"topic": topic})
        flow = site.flow(source)
        site.produce(topic, 0, 100)
        until(lambda: site.landed(flow) == 100, "nothing landed")
        entry.password = "second-s3cret"
        entry.break_connections()
        reason = until(lambda: site.status(flow)["stopped"], "refused credentials go unnoticed")
        assert "s3cret" not in reason
        site.produce(topic, 100, 100)
        change = {"op": "replace", "path": "/auth/params/password", "value": "second-s3cret"}
        path = f"/data/foundation/flowservice/connections/{flow.connection_id}"
        site.platform.call("PATCH", path, [change], **{"If-Match": "*"})
        until(lambda: site.landed(flow) == 200, "it does not read with the new credentials")
        assert site.status(flow)["stopped"] is None
        assert site.numbers(flow) == list(range(200))
        until(site.well, "still called unwell")
        site.act(flow, "disable")


def test_trouble_of_a_source_is_told_until_it_is_over(site: Site) -> None:
    with gate(site.broker, "-") as entry:
        topic = site.topic()
        auth = {"bootstrapServers": entry.address}
        source = PulledSource(streams.KAFKA, "Kafka No Authentication", auth, {"topic": topic})
        flow = site.flow(source)
        site.produce(topic, 0, 10)
        until(lambda: site.landed(flow) == 10, "nothing landed")
        site.broker.stop()
        try:
            assert "Kafka" in until(lambda: site.status(flow)["trouble"], "nothing is told", 60)
            assert site.health()[0] == 503
        finally:
            site.broker.start()
        # nothing was produced that could land
        until(
            lambda: site.status(flow)["trouble"] is None, "trouble that is over is still told", 60
        )
        site.produce(topic, 10, 10)
        until(lambda: site.landed(flow) == 20, "it does not go on")
        site.act(flow, "disable")


@contextmanager
def gate(broker: Broker, password: str) -> Iterator[Gate]:
    entry = Gate(broker, password)
    try:
        yield entry
    finally:
        entry.close()
