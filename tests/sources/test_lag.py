"""How far a flow's partitions are behind: in its runs, in the metrics of the server, and in its status."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace.log.writer import LogWriter
from headrace.runtime import intake, pull
from headrace.runtime.delivered import Delivered
from headrace.runtime.intake import Intake
from headrace.runtime.metrics import DataPlane, exposition
from headrace.runtime.supervisor import Supervisor
from headrace.services.operator.routes import status
from headrace.sources.contract import Lag, Settings
from headrace.store.documents import Document, Store
from headrace.testing.event_hubs import Emulator
from tests.sources import kafka_broker, streams
from tests.sources.kinesis_fake import FakeKinesis, FakeShard
from tests.sources.kinesis_roto import AUTH, AUTH_SPEC
from tests.sources.pulled_flow import FLOW, PulledFlow
from tests.unit.runtime.test_queues import Broker, prepare, revision

SHARD, CHILD = "shardId-000000000000", "shardId-000000000001"


@dataclass
class Given:
    """A stream with one partition, and what is known of its lag when 3 of 10 records were read."""

    spec_id: str
    settings: Settings
    produce: Callable[[int], None]
    partition: str
    left: int | None
    fake: FakeKinesis | None = None


@contextmanager
def kinesis(directory: Path) -> Iterator[Given]:
    fake = FakeKinesis(SHARD)

    def produce(count: int) -> None:
        for n in range(count):
            fake.shards[SHARD].put(b'{"n": %d}' % n, at=int(time.time() * 1000) - 5_000)

    settings = Settings(AUTH_SPEC, {**AUTH, "endpointUrl": fake.url}, {"stream": "orders"}, FLOW)
    try:
        yield Given(streams.KINESIS, settings, produce, SHARD, None, fake)
    finally:
        fake.close()


@contextmanager
def event_hubs(directory: Path) -> Iterator[Given]:
    from azure.eventhub import EventData, EventHubProducerClient

    with Emulator({"events": 1}) as emulator, ExitStack() as closing:
        text = emulator.connection_string("events")
        producer = closing.enter_context(EventHubProducerClient.from_connection_string(text))

        def produce(count: int) -> None:
            producer.send_batch([EventData(b'{"n": %d}' % n) for n in range(count)])

        auth = {"sasKeyName": "policy", "sasKey": "any", "namespace": "headrace",
                "endpointUrl": f"amqp://127.0.0.1:{emulator.port}"}  # fmt: skip
        spec = "Azure EventHub authentication credentials"
        settings = Settings(spec, auth, {"eventHubName": "events"}, FLOW)
        yield Given(streams.EVENT_HUBS, settings, produce, "0", 7)


@contextmanager
def kafka(directory: Path) -> Iterator[Given]:
    if kafka_broker.SERVER is None:
        pytest.skip("the test servers are not installed")
    with streams.kafka(directory, partitions=1) as stream:
        given = stream.source
        settings = Settings(given.auth_spec, given.auth, given.params, FLOW)

        def produce(count: int) -> None:
            stream.produce([b'{"n": %d}' % n for n in range(count)])

        yield Given(streams.KAFKA, settings, produce, "0", 7)


@pytest.mark.parametrize("make", [kinesis, event_hubs, kafka])
def test_runs_tell_how_far_each_partition_was_behind(
    make: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "MOST_MESSAGES", 3)
    with make(tmp_path) as given:
        given.produce(10)
        flow = PulledFlow(tmp_path, given.spec_id, given.settings)
        flow.pulling.commit_rows = 3
        try:
            flow.until(lambda: flow.landed == 3)
            behind = flow.run_metrics()["lagSummary"]
            (partition,) = behind["partitions"]
            assert (partition["id"], partition["behindRecords"]) == (given.partition, given.left)
            assert behind.get("behindRecords") == given.left
            assert partition["behindMs"] == behind["behindMs"] >= 0
            if given.spec_id == streams.KINESIS:
                assert behind["behindMs"] >= 4_000, "records lay there for five seconds"
            assert abs(behind["measuredAtUTC"] - time.time() * 1000) < 10_000
            flow.until(lambda: flow.landed == 10)
            (partition,) = flow.run_metrics()["lagSummary"]["partitions"]
            assert partition == {"id": given.partition, "behindRecords": 0, "behindMs": 0}
            shown = {given.partition: [0, 0]}
            flow.until(lambda: flow.last("lag").get("partitions") == shown)
        finally:
            flow.close()


def test_a_shard_that_ended_is_behind_no_longer(tmp_path: Path) -> None:
    with kinesis(tmp_path) as given:
        fake = given.fake
        assert fake is not None
        given.produce(2)
        fake.shards[SHARD].closed = True
        fake.shards[CHILD] = FakeShard(parents=(SHARD,))
        fake.shards[CHILD].put(b'{"n": 2}')
        flow = PulledFlow(tmp_path, given.spec_id, given.settings)
        try:
            flow.until(lambda: flow.landed == 3)
            assert [p["id"] for p in flow.run_metrics()["lagSummary"]["partitions"]] == [CHILD]
        finally:
            flow.close()


def test_a_flow_that_nobody_reads_is_behind_by_nothing_known(tmp_path: Path) -> None:
    with kinesis(tmp_path) as given:
        given.produce(1)
        flow = PulledFlow(tmp_path, given.spec_id, given.settings)
        flow.until(lambda: bool(flow.last("lag").get("partitions")))
        flow.pulling._end(FLOW)
        assert flow.last("lag")["partitions"] == {}
        flow.close()


def test_a_queue_is_behind_by_the_age_of_what_it_hands_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pub/Sub tells nobody but its monitoring how many messages wait."""
    monkeypatch.setattr(intake, "LAG_EVERY", 0.0)
    prepare(tmp_path)
    broker, told = Broker(at_once=5), list[tuple[str, Any]]()
    broker.publish(10, at=int(time.time() * 1000) - 60_000)

    async def go() -> None:
        store, log = Store(tmp_path / "headrace.db"), LogWriter(tmp_path / "log")
        one = Intake(
            lambda: broker.open(Settings("", {}, {}, FLOW)), revision(), log,
            asyncio.get_running_loop(), Delivered(store), lambda event: None, finished=store.close,
            tell_lag=lambda id, lag: told.append((id, dict(lag))),
        ).start()  # fmt: skip
        while len(told) < 4:
            await asyncio.sleep(0.01)
        one.end()
        assert await asyncio.to_thread(one.join)
        await log.close()

    asyncio.run(asyncio.wait_for(go(), 20))
    first, second, third = (lag["subscription"] for _, lag in told[:3])
    assert (first.records, second.records) == (5, 0)
    assert all(55_000 < lag.milliseconds < 75_000 for lag in (first, second))
    assert third == Lag(0, 0), "nothing waits"
    assert told[-1] == (FLOW, {}), "it has ended"


def test_metrics_and_status_show_the_lag_of_each_partition(tmp_path: Path) -> None:
    supervisor = Supervisor(tmp_path, 1.0, 1)
    supervisor._hear(
        {"event": "lag", "flow": FLOW, "partitions": {"0": [7, 1500], "1": [None, 20]}}
    )
    supervisor.know_lag("flow-2", {"subscription": Lag(None, 300)})

    async def scrape() -> str:
        log = LogWriter(tmp_path / "log")
        text = exposition(DataPlane(log, supervisor, dict)).decode()
        await log.close()
        return text

    lines = asyncio.run(scrape()).splitlines()
    behind = {line for line in lines if line.startswith("headrace_source_behind")}
    assert behind == {
        f'headrace_source_behind_records{{flow="{FLOW}",partition="0"}} 7.0',
        f'headrace_source_behind_milliseconds{{flow="{FLOW}",partition="0"}} 1500.0',
        f'headrace_source_behind_milliseconds{{flow="{FLOW}",partition="1"}} 20.0',
        'headrace_source_behind_milliseconds{flow="flow-2",partition="subscription"} 300.0',
    }
    document = Document(FLOW, 1, 0, 0, {"name": "f", "state": "enabled"})
    assert status(document, supervisor, {})["partitions"] == {
        "0": {"behindRecords": 7, "behindMs": 1500},
        "1": {"behindRecords": None, "behindMs": 20},
    }
