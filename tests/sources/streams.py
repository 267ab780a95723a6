"""One stream of every source, at a broker or an emulator of its own, with a producer that is independent of ours.

Kafka: noida-db. Kinesis: roto-aws. Event Hubs: the emulator of this project, as a process. Pub/Sub: the vendor's
emulator. Only the last is by the vendor of its service.
"""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.server import PulledSource

from . import kafka_broker, kinesis_roto, pubsub_emulator

KAFKA = "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3"
KINESIS = "86043421-563b-46ec-8e6c-e23184711bf6"
EVENT_HUBS = "bf9f5905-92b7-48bf-bf20-455bc6b60a4e"
PUBSUB = "70116022-a743-464a-bbfe-e226a7f8210c"
KEYS = 8
Produce = Callable[[Sequence[bytes]], None]


@dataclass
class Stream:
    """An empty stream. `produce` returns when the broker has the records, in their order within a partition;
    `reshape(n)` splits the stream (n = 0) or merges what was split (n = 1), where that can be done."""

    source: PulledSource
    produce: Produce
    egress: str
    reshape: Callable[[int], None] = lambda n: None
    parents: Callable[[], dict[str, list[str]]] = dict
    """Partition → those that must be read to their end before it."""
    details: dict[str, Any] = field(default_factory=dict)


@contextmanager
def kafka(directory: Path, partitions: int = 4) -> Iterator[Stream]:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    place = directory / "broker"
    place.mkdir()
    broker = kafka_broker.Broker(place).start()
    try:
        client = {"bootstrap.servers": broker.address, "log_level": 0}
        admin = AdminClient(client)
        for future in admin.create_topics([NewTopic("events", partitions, 1)]).values():
            future.result(20)
        producer = Producer({**client, "acks": "all", "linger.ms": 5})
        sent = 0

        def produce(bodies: Sequence[bytes]) -> None:
            nonlocal sent
            for body in bodies:
                producer.produce("events", body, partition=sent % partitions)
                sent += 1
            assert producer.flush(60) == 0

        auth = {"bootstrapServers": broker.address}
        source = PulledSource(KAFKA, "Kafka No Authentication", auth, {"topic": "events"})
        yield Stream(source, produce, broker.address, details={"broker": broker})
    finally:
        broker.stop()


@contextmanager
def kinesis(directory: Path, shards: int = 2) -> Iterator[Stream]:
    place = directory / "roto"
    place.mkdir()
    roto = kinesis_roto.Roto(place)
    try:
        roto.stream("events", shards)
        stream = Stream(
            PulledSource(
                KINESIS,
                kinesis_roto.AUTH_SPEC,
                {**kinesis_roto.AUTH, "endpointUrl": roto.url},
                {"stream": "events"},
            ),
            _KinesisProducer(roto),
            f"127.0.0.1:{roto.port}",
            details={"roto": roto},
        )
        stream.reshape = lambda n: _reshard(roto, n)
        stream.parents = lambda: _parents(roto)
        yield stream
    finally:
        roto.stop()


class _KinesisProducer:
    """PutRecords with one key in turn; what was refused is sent again before anything else, so that order holds."""

    def __init__(self, roto: kinesis_roto.Roto) -> None:
        self._client, self._sent = roto.client, 0

    def __call__(self, bodies: Sequence[bytes]) -> None:
        waiting = []
        for body in bodies:
            waiting.append({"Data": body, "PartitionKey": f"key-{self._sent % KEYS}"})
            self._sent += 1
        while waiting:
            answer = self._client.put_records(StreamName="events", Records=waiting[:500])
            results = answer["Records"]
            refused = [
                r for r, told in zip(waiting[:500], results, strict=True) if told.get("ErrorCode")
            ]
            waiting = refused + waiting[500:]
            if refused:
                time.sleep(0.1)


def _reshard(roto: kinesis_roto.Roto, n: int) -> None:
    """Splits the open shard with the widest range; or merges the two newest neighbours."""
    still = [
        s for s in roto.shards("events") if "EndingSequenceNumber" not in s["SequenceNumberRange"]
    ]

    def low(shard: Any) -> int:
        return int(shard["HashKeyRange"]["StartingHashKey"])

    def high(shard: Any) -> int:
        return int(shard["HashKeyRange"]["EndingHashKey"])

    if n % 2 == 0:
        widest = max(still, key=lambda s: high(s) - low(s))
        middle = str((low(widest) + high(widest)) // 2)
        roto.client.split_shard(
            StreamName="events", ShardToSplit=widest["ShardId"], NewStartingHashKey=middle
        )
    else:
        ordered = sorted(still, key=low)
        pairs = itertools.pairwise(ordered)
        first, second = min(pairs, key=lambda pair: high(pair[1]) - low(pair[0]))
        roto.client.merge_shards(
            StreamName="events",
            ShardToMerge=first["ShardId"],
            AdjacentShardToMerge=second["ShardId"],
        )


def _parents(roto: kinesis_roto.Roto) -> dict[str, list[str]]:
    names = ("ParentShardId", "AdjacentParentShardId")
    return {
        shard["ShardId"]: [shard[name] for name in names if shard.get(name)]
        for shard in roto.shards("events")
    }


class EmulatorProcess:
    """`python -m headrace.testing.event_hubs` with one hub `events`."""

    def __init__(self, partitions: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "headrace.testing.event_hubs", f"events={partitions}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.connection_string = self._process.stdout.readline().strip()
        self.address = self.connection_string.partition("sb://")[2].partition(";")[0]

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(10)


@contextmanager
def event_hubs(directory: Path, partitions: int = 4) -> Iterator[Stream]:
    from azure.eventhub import EventData, EventHubProducerClient

    emulator = EmulatorProcess(partitions)
    producer = EventHubProducerClient.from_connection_string(emulator.connection_string)
    sent = 0

    def produce(bodies: Sequence[bytes]) -> None:
        nonlocal sent
        shares: dict[str, list[EventData]] = {}
        for body in bodies:
            shares.setdefault(str(sent % partitions), []).append(EventData(body))
            sent += 1
        for partition, events in shares.items():
            producer.send_batch(events, partition_id=partition)

    auth = {
        "sasKeyName": "policy",
        "sasKey": "anything",
        "namespace": "headrace",
        "endpointUrl": f"amqp://{emulator.address}",
    }
    source = PulledSource(
        EVENT_HUBS, "Azure EventHub authentication credentials", auth, {"eventHubName": "events"}
    )
    try:
        yield Stream(source, produce, emulator.address, details={"emulator": emulator})
    finally:
        producer.close()
        emulator.stop()


@contextmanager
def pubsub(directory: Path) -> Iterator[Stream]:
    """Messages have the ordering keys that `journey.record` has in `key`; the subscription keeps their order."""
    place = directory / "pubsub"
    place.mkdir()
    with pubsub_emulator.emulator(place / "emulator.log") as running:
        topic, subscription = running.subscription(ordering=True)

        def produce(bodies: Sequence[bytes]) -> None:
            futures = [
                running.publisher.publish(topic, body, ordering_key=_key(body)) for body in bodies
            ]
            for future in futures:
                future.result(60)

        source = PulledSource(
            PUBSUB,
            "Project Based Authentication",
            {
                "projectId": pubsub_emulator.PROJECT,
                "credentials": "{}",
                "endpointUrl": f"http://{running.host}",
            },
            {"topicName": topic, "subscriptionName": subscription},
        )
        yield Stream(source, produce, running.host, details={"emulator": running})


def _key(body: bytes) -> str:
    try:
        return str(json.loads(body)["key"])
    except ValueError:
        return "none"


STREAMS = {"kafka": kafka, "kinesis": kinesis, "event_hubs": event_hubs, "pubsub": pubsub}
MISSING = {
    "kafka": None if kafka_broker.SERVER else "the test servers are not installed",
    "kinesis": None
    if os.path.exists(kinesis_roto.SERVER)
    else "the test servers are not installed",
    "event_hubs": None,
    "pubsub": pubsub_emulator.missing(),
}
"""Why a source's broker cannot be started, or None."""


def named(*names: str) -> list[Any]:
    """Parameters of a test: names of sources, skipped with a reason where the broker is missing."""
    return [
        pytest.param(
            name, marks=pytest.mark.skipif(bool(MISSING[name]), reason=MISSING[name] or "")
        )
        for name in names
    ]
