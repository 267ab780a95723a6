"""Pulled sources: records a second to landed rows, what the same consumer reads without Headrace, and latency.

Broker or emulator, producer, server and reader share the machine, so the numbers are of the whole, not of a source
by itself; the brokers are not the vendors' services (Kafka: noida-db, Kinesis: roto-aws, Event Hubs: the emulator of
this project, Pub/Sub: the vendor's emulator). "alone" is the connector of Headrace in a loop that throws away what it
reads (and acknowledges it, for Pub/Sub), with no server beside it: the broker's share, and all that any reader of it
could reach here. Ratios of two runs on one machine say more than the rates.

The rate is taken from the creation of a flow on a stream that is full already to its last landed row. Latency goes
from before a record is produced to the first answer that counts its row as landed, asked for every 10 ms; the stream
has one partition then, and rows land in their order.

    python bench/sources.py [--records 50000] [--seconds 20] [--only kafka]
"""

import argparse
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from headrace.settings import Settings as ServerSettings
from headrace.sources.connectors import connector
from headrace.sources.contract import EARLIEST, Settings
from headrace.testing.server import Journey, PlatformClient, ServerProcess
from tests.sources import journey, streams

RATE = 100
"""Records a second while latency is measured."""
LOOK = 0.01
PATIENCE = 300.0
ONE_PARTITION: dict[str, dict[str, int]] = {
    "kafka": {"partitions": 1},
    "kinesis": {"shards": 1},
    "event_hubs": {"partitions": 1},
    "pubsub": {},
}


def alone(stream: streams.Stream, records: int) -> float:
    """Records a second that the connector reads, nothing else being done with them."""
    given = stream.source
    found = connector(given.spec_id)
    settings = Settings(given.auth_spec, given.auth, given.params, "bench")
    source: Any = found.open(settings)
    began, count = time.perf_counter(), 0
    try:
        if not found.replayable:
            while count < records:
                deliveries = source.receive(500, 1.0)
                source.acknowledge([delivery.handle for delivery in deliveries])
                count += len(deliveries)
            return records / (time.perf_counter() - began)
        positions = {p.id: source.start(p.id, EARLIEST) for p in source.partitions()}
        began = time.perf_counter()
        while count < records:
            for id, position in list(positions.items()):
                chunk = source.read(id, position, 5_000, 0.05)
                positions[id] = chunk.next
                count += len(chunk.messages)
        return records / (time.perf_counter() - began)
    finally:
        source.close()


class Running:
    """A server of its own with a flow on the stream."""

    def __init__(self, directory: Path, stream: streams.Stream) -> None:
        (directory / "data").mkdir()
        self.stream = stream
        self.server = ServerProcess(directory / "data", HEADRACE_EGRESS_ALLOW=stream.egress).start()
        self.platform = PlatformClient(self.server.credentials())
        self.flow: Journey | None = None

    def create_flow(self) -> None:
        tenant = self.platform.credentials["tenant_id"]
        rules = [
            {k: v.replace("{tenant}", tenant) for k, v in rule.items()} for rule in journey.RULES
        ]
        self.flow = self.platform.create_flow(journey.PROPERTIES, rules, source=self.stream.source)

    def landed(self) -> int:
        assert self.flow is not None
        found = self.platform.call("GET", f"/headrace/flows/{self.flow.flow_id}")
        if found["stopped"] or found["failed"]:
            raise RuntimeError(str(found))
        return int(found["landed"])

    def wait_for(self, count: int) -> None:
        until = time.monotonic() + PATIENCE
        while self.landed() < count:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.landed()} of {count} landed")
            time.sleep(0.02)

    def rows(self) -> int:
        assert self.flow is not None
        return journey.count(self.server, self.flow.dataset_id)


def fill(stream: streams.Stream, records: int) -> None:
    for first in range(0, records, 500):
        stream.produce([journey.record(n) for n in range(first, min(records, first + 500))])


def throughput(make: Callable[..., Any], directory: Path, records: int) -> tuple[float, float]:
    """Records a second to landed rows, and those of the consumer alone, each on a full stream."""
    (directory / "alone").mkdir()
    with make(directory / "alone") as stream:
        fill(stream, records)
        plain = alone(stream, records)
    with make(directory) as stream:
        fill(stream, records)
        running = Running(directory, stream)
        try:
            running.create_flow()
            began = time.perf_counter()
            running.wait_for(records)
            seconds = time.perf_counter() - began
            visible = running.rows()
            if visible != records:
                raise RuntimeError(f"{visible} rows of {records} records")
        finally:
            running.server.kill()
    return records / seconds, plain


class Looking(threading.Thread):
    """Notes when how many rows were landed."""

    def __init__(self, running: Running, count: int) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self._running, self._count = running, count

    def run(self) -> None:
        until = time.monotonic() + PATIENCE
        while len(self.seen) < self._count and time.monotonic() < until:
            landed = self._running.landed()
            now = time.monotonic()
            self.seen += [now] * (landed - len(self.seen))
            time.sleep(LOOK)


def latency(make: Callable[..., Any], directory: Path, seconds: int) -> tuple[list[float], float]:
    """Milliseconds of each record, and records a second that were really produced."""
    count = RATE * seconds
    with make(directory) as stream:
        running = Running(directory, stream)
        try:
            running.create_flow()
            warm = 20
            stream.produce([journey.record(n) for n in range(warm)])
            running.wait_for(warm)
            looking = Looking(running, warm + count)
            looking.start()
            began, sent = time.monotonic(), []
            for n in range(count):
                time.sleep(max(0.0, began + n / RATE - time.monotonic()))
                sent.append(time.monotonic())
                stream.produce([journey.record(warm + n)])
            took = time.monotonic() - began
            looking.join(PATIENCE)
        finally:
            running.server.kill()
    seen = looking.seen[warm:]
    if len(seen) < count:
        raise RuntimeError(f"{len(seen)} of {count} records landed")
    return [(b - a) * 1000 for a, b in zip(sent, seen, strict=True)], count / took


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--only", choices=list(streams.STREAMS))
    options = parser.parse_args()
    size = len(journey.record(options.records))
    defaults = ServerSettings(data_dir=Path("-"))
    print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}; records of about {size}"
        f" bytes, four rules; landing every {defaults.commit_interval} s",
        flush=True,
    )
    for name, make in streams.STREAMS.items():
        if options.only not in (None, name):
            continue
        if streams.MISSING[name]:
            print(f"{name}: left out: {streams.MISSING[name]}")
            continue
        with tempfile.TemporaryDirectory() as directory:
            rate, plain = throughput(make, Path(directory), options.records)
        print(
            f"{name}: {options.records:,} records landed at {rate:,.0f}/s; read alone at {plain:,.0f}/s, so that broker"
            f" and client are {rate / plain:.0%} of the time",
            flush=True,
        )

        def narrow(place: Path, make: Any = make, name: str = name) -> Any:
            return make(place, **ONE_PARTITION[name])

        with tempfile.TemporaryDirectory() as directory:
            found, produced = latency(narrow, Path(directory), options.seconds)
        print(
            f"{name}: at {produced:.0f} records/s produce to landed row p50 {percentile(found, 0.5):,.0f} ms,"
            f" p95 {percentile(found, 0.95):,.0f} ms, most {max(found):,.0f} ms",
            flush=True,
        )


if __name__ == "__main__":
    main()
