"""Every source end to end: through the public API, with an independent producer, over kills of the server.

The brokers: noida-db for Kafka and roto-aws for Kinesis (implementations by others, not the vendors' own services).
Records are few here; `HEADRACE_TEST_RECORDS` makes the run longer.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from headrace.testing.server import PulledSource

from . import journey
from .kafka_broker import SERVER, Broker

RECORDS = int(os.environ.get("HEADRACE_TEST_RECORDS", "3000"))
KILLS = int(os.environ.get("HEADRACE_TEST_KILLS", "2"))
KAFKA = "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3"


@pytest.mark.timeout(400)
@pytest.mark.skipif(SERVER is None, reason="the test servers are not installed")
def test_records_of_a_kafka_topic_land_once_and_in_order_over_kills(tmp_path: Path) -> None:
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker").start()
    try:
        client = {"bootstrap.servers": broker.address, "log_level": 0}
        admin = AdminClient(client)
        for future in admin.create_topics([NewTopic("events", 4, 1)]).values():
            future.result(20)
        producer = Producer({**client, "acks": "all", "linger.ms": 5})
        sent = 0

        def produce(bodies: Sequence[bytes]) -> None:
            nonlocal sent
            for body in bodies:
                producer.produce("events", body, partition=sent % 4)
                sent += 1
            assert producer.flush(60) == 0

        source = PulledSource(
            KAFKA,
            "Kafka No Authentication",
            {"bootstrapServers": broker.address},
            {"topic": "events"},
        )
        found = journey.run(
            tmp_path, source, produce, records=RECORDS, kills=KILLS, seed=7, egress=broker.address
        )
    finally:
        broker.stop()
    journey.check(found, RECORDS)
