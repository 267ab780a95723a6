"""Credentials that end while a flow reads: it does not storm the service, says why, and goes on with new ones."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.sources.contract import Settings
from headrace.testing.event_hubs import Emulator
from tests.sources import streams
from tests.sources.kinesis_fake import FakeKinesis
from tests.sources.kinesis_roto import AUTH, AUTH_SPEC
from tests.sources.pulled_flow import FLOW, PulledFlow

SHARD = "shardId-000000000000"
FIRST, SECOND = "c2VjcmV0LWtleS1vZi10ZXN0cw==", "YW5vdGhlci1rZXktb2YtdGVzdHM="


@pytest.fixture
def kinesis() -> Iterator[FakeKinesis]:
    server = FakeKinesis(SHARD)
    yield server
    server.close()


def test_temporary_credentials_that_expire_are_waited_for_without_a_storm(
    kinesis: FakeKinesis, tmp_path: Path
) -> None:
    """Whoever renews them does so by changing the connection: the next try comes then, not after the pause."""
    kinesis.session = FIRST
    auth = {**AUTH, "endpointUrl": kinesis.url, "sessionToken": FIRST}
    flow = PulledFlow(
        tmp_path, streams.KINESIS, Settings(AUTH_SPEC, auth, {"stream": "orders"}, FLOW)
    )
    try:
        put(kinesis, 0, 5)
        flow.until(lambda: flow.landed == 5)
        kinesis.session = SECOND
        put(kinesis, 5, 10)
        flow.until(lambda: bool(flow.told("retry")))
        assert "ExpiredToken" in flow.told("retry")[0]
        before, until = len(kinesis.calls), time.monotonic() + 1.5
        while time.monotonic() < until:
            flow.pulling.step()
            time.sleep(0.01)
        assert 1 <= len(kinesis.calls) - before <= 3, "pauses of 0.4, 0.8, 1.6, 3.2 … seconds"
        assert not any(FIRST in reason for reason in flow.told("retry"))
        assert flow.landed == 5
        assert flow.last("lag")["partitions"] == {}, "nobody knows how far it is behind"
        flow.change_connection(sessionToken=SECOND)
        flow.until(lambda: flow.landed == 10, 4.0)
        assert flow.last("flow")["stopped"] is None
        kinds = [event["event"] for event in flow.events if event["event"] != "lag"]
        assert kinds[-1] == "flow", "the trouble is over"
    finally:
        flow.close()


def put(kinesis: FakeKinesis, first: int, end: int) -> None:
    for n in range(first, end):
        kinesis.shards[SHARD].put(b'{"n": %d}' % n)


@pytest.mark.slow
def test_a_key_that_was_changed_stops_the_flow_until_the_connection_has_the_new_one(
    tmp_path: Path,
) -> None:
    from azure.eventhub import EventData, EventHubProducerClient

    with Emulator({"events": 1}, {"policy": FIRST}) as emulator:

        def send(first: int, end: int) -> None:
            with EventHubProducerClient.from_connection_string(
                emulator.connection_string("events")
            ) as producer:
                producer.send_batch([EventData(b'{"n": %d}' % n) for n in range(first, end)])

        auth = {"sasKeyName": "policy", "sasKey": FIRST, "namespace": "headrace",
                "endpointUrl": f"amqp://127.0.0.1:{emulator.port}"}  # fmt: skip
        spec = "Azure EventHub authentication credentials"
        settings = Settings(spec, auth, {"eventHubName": "events"}, FLOW)
        flow = PulledFlow(tmp_path, streams.EVENT_HUBS, settings)
        try:
            send(0, 5)
            flow.until(lambda: flow.landed == 5)
            emulator.change_keys({"policy": SECOND})
            flow.until(lambda: bool(flow.last("flow").get("stopped")), 20)
            reason = flow.last("flow")["stopped"]
            assert "refused the credentials" in reason
            assert FIRST not in reason
            send(5, 10)
            flow.change_connection(sasKey=SECOND)
            flow.until(lambda: flow.landed == 10)
            assert flow.last("flow")["stopped"] is None
        finally:
            flow.close()
