"""What delivery costs and keeps: freshness, recovery, poison, bursts; against a real server on the same machine.

freshness   from an event's send to the commit that makes its row visible, at steady rates
recovery    kill -9 of server and worker while the log holds 1 GB that has not landed: until it is well again, until
            a record is acknowledged, until the first and the last row have landed
poison      events a second, first send to last commit, with 1 % invalid events, against none; in batches of 100
            (each then has one) and singly
burst       ten times the usual rate for a minute: refusals, latency, memory, and how long until all has landed

    python bench/delivery.py [freshness] [recovery] [poison] [burst] [--seconds 30] [--log-mb 1024]
"""

import argparse
import http.client
import json
import os
import signal
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import load
from end_to_end import GROUPS, RULES, MemoryWatch, children, landed
from events import events

from headrace.disk import local_path
from headrace.testing.server import Journey, PlatformClient, ServerProcess

BAD = (b'{"eventId": "a", "ts": "not a time"}', b'{"eventId": {"deep": [1]}}')


@contextmanager
def running(**environment: str) -> Iterator[tuple[ServerProcess, Journey]]:
    with tempfile.TemporaryDirectory() as directory:
        server = ServerProcess(Path(directory) / "data", **environment).start()
        try:
            rules = [
                {"sourceType": "ATTRIBUTE", "source": s, "destination": d} for d, s in RULES.items()
            ]
            client = PlatformClient(server.credentials())
            yield server, client.create_flow({}, rules, groups=GROUPS)
        finally:
            server.stop()


def bodies(size: int, poison: float = 0.0, count: int = 20_000) -> list[bytes]:
    """Requests' bodies of `size` events each; a share of the events is bad, now here and now there."""
    every = round(1 / poison) if poison else 0
    made = [
        BAD[n // every % 2] if every and n % every == n // every * 37 % every else event
        for n, event in enumerate(events(count))
    ]
    if size == 1:
        return made
    return [
        b'{"messages":[' + b",".join(made[n : n + size]) + b"]}" for n in range(0, len(made), size)
    ]


def headers(journey: Journey) -> dict[str, str]:
    return {"Content-Type": "application/json", "x-adobe-flow-id": journey.flow_id}


def until_landed(
    server: ServerProcess, journey: Journey, count: int, patience: float = 900
) -> None:
    base, end = server.credentials()["base_url"], time.monotonic() + patience
    while landed(base, journey.flow_id) < count:
        if time.monotonic() > end:
            raise TimeoutError("not everything landed")
        time.sleep(0.05)


@dataclass
class Pace:
    """Sends requests at a fixed rate from threads of its own and remembers when, how long and with what answer."""

    journey: Journey
    requests: list[bytes]
    threads: int = 4
    sent: list[tuple[float, float, int]] = field(default_factory=list)

    def run(self, rate: float, seconds: float) -> None:
        """`rate`: requests a second of all threads together."""
        begun = time.perf_counter()
        workers = [
            threading.Thread(target=self._send, args=(begun, n, rate, seconds))
            for n in range(self.threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def _send(self, begun: float, first: int, rate: float, seconds: float) -> None:
        address = urlsplit(self.journey.batch_url)
        connection = http.client.HTTPConnection(address.netloc, timeout=120)
        number = first
        while (due := number / rate) < seconds:
            time.sleep(max(0.0, begun + due - time.perf_counter()))
            at = time.time()
            connection.request(
                "POST",
                address.path,
                self.requests[number % len(self.requests)],
                headers(self.journey),
            )
            answer = connection.getresponse()
            answer.read()
            self.sent.append((at, time.time() - at, answer.status))
            number += self.threads

    def refused(self) -> dict[int, int]:
        found: dict[int, int] = {}
        for _, _, status in self.sent:
            if status >= 300:
                found[status] = found.get(status, 0) + 1
        return found


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Commits(threading.Thread):
    """Watches the catalog's pointer to a table and notes when each new head has how many records of the flow."""

    def __init__(self, data_dir: Path, journey: Journey) -> None:
        super().__init__(daemon=True)
        self.catalog, self.journey = data_dir / "lake" / "catalog.db", journey
        self.seen: list[tuple[float, int]] = []
        self.stopping = False

    def run(self) -> None:
        reader = sqlite3.connect(f"file:{self.catalog}?mode=ro", uri=True)
        query = "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?"
        last = ""
        while not self.stopping:
            row = reader.execute(query, (self.journey.dataset_id,)).fetchone()
            if row and row[0] != last:
                now, last = time.time(), row[0]
                properties = json.loads(Path(local_path(last)).read_text())["properties"]
                mark = json.loads(
                    properties.get(f"headrace.watermark.{self.journey.flow_id}", "{}")
                )
                self.seen.append((now, mark.get("sequence", 0)))
            time.sleep(0.005)


def freshness(seconds: float) -> None:
    for rate, size in ((500, 10), (5_000, 100)):
        with running() as (server, journey):
            commits = Commits(server.data_dir, journey)
            commits.start()
            pace = Pace(journey, bodies(size), threads=1)
            pace.run(rate / size, seconds)
            until_landed(server, journey, len(pace.sent) * size)
            time.sleep(0.1)
            commits.stopping = True
            waits, at = [], 0
            for number, (sent, _, _) in enumerate(pace.sent):
                while commits.seen[at][1] < (number + 1) * size:
                    at += 1
                waits.append(commits.seen[at][0] - sent)
            print(
                f"freshness at {rate:,} events/s, commit interval 2 s: p50 {percentile(waits, 0.5):.2f} s, "
                f"p95 {percentile(waits, 0.95):.2f} s, most {max(waits):.2f} s",
                flush=True,
            )


def recovery(log_mb: int) -> None:
    with running() as (server, journey):
        assert server.process is not None
        workers = children(server.process.pid)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        made = [load.request(journey.batch_url, body, headers(journey)) for body in bodies(100)]
        log, count = server.data_dir / "log", 0
        while (size := sum(f.stat().st_size for f in log.rglob("*") if f.is_file())) < log_mb << 20:
            load.run("127.0.0.1", server.port, iter(made), 16)
            count += len(made) * 100
        server.kill()
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        begun = time.monotonic()
        server.start()
        well = time.monotonic() - begun
        answer = httpx.post(
            journey.batch_url, content=bodies(1, count=1)[0], headers=headers(journey)
        )
        assert answer.status_code == 207, answer.text
        taken = time.monotonic() - begun
        until_landed(server, journey, 1)
        first = time.monotonic() - begun
        until_landed(server, journey, count + 1)
        print(
            f"recovery with {size / 2**20:,.0f} MiB of log, {count:,} events pending: /health 200 after "
            f"{well:.1f} s, first record acknowledged {taken:.1f} s, first rows landed {first:.1f} s, "
            f"all landed {time.monotonic() - begun:.1f} s",
            flush=True,
        )


def poison(count: int, size: int, rounds: int = 5) -> None:
    speeds: dict[float, list[float]] = {0.0: [], 0.01: []}
    for _ in range(rounds):
        for share, found in speeds.items():
            with running() as (server, journey):
                url = journey.batch_url if size > 1 else journey.inlet_url
                made = [load.request(url, body, headers(journey)) for body in bodies(size, share)]
                stream = iter(made[n % len(made)] for n in range(count // size))
                begun = load.run("127.0.0.1", server.port, stream, 16 if size > 1 else 64).started
                until_landed(server, journey, count)
                found.append(count / (time.time() - begun))
    clean, mixed = (statistics.median(found) for found in speeds.values())
    print(
        f"poison, {size} a request: {clean:,.0f} events/s without, {mixed:,.0f} with 1 % bad: {(1 - mixed / clean) * 100:+.1f} % "
        f"(median of {rounds}; all: {[[round(s) for s in found] for found in speeds.values()]})",
        flush=True,
    )


def burst(seconds: float, usual: int = 1_000) -> None:
    with running() as (server, journey):
        assert server.process is not None
        watch = MemoryWatch(server.process.pid)
        watch.start()
        requests = bodies(50)
        calm = Pace(journey, requests, threads=8)
        calm.run(usual / 50, seconds)
        before = watch.peak
        loud = Pace(journey, requests, threads=8)
        loud.run(usual * 10 / 50, 60)
        accepted = 50 * sum(status < 300 for _, _, status in [*calm.sent, *loud.sent])
        begun = time.monotonic()
        until_landed(server, journey, accepted)
        drained = time.monotonic() - begun
        watch.stopping = True
        print(
            f"burst from {usual:,} to {usual * 10:,} events/s for 60 s: {len(loud.sent) * 50:,} sent, "
            f"refused {loud.refused() or 'none'}, latency p99 {percentile([p[1] for p in loud.sent], 0.99) * 1000:.0f} "
            f"ms (usual {percentile([p[1] for p in calm.sent], 0.99) * 1000:.0f} ms), all landed {drained:.1f} s "
            f"after its end, memory {before / 2**20:,.0f} → {watch.peak / 2**20:,.0f} MiB "
            f"({watch.peak / before:.2f} x)",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--log-mb", type=int, default=1024)
    parser.add_argument("--events", type=int, default=600_000)
    options = parser.parse_args()
    parts: dict[str, Callable[[], object]] = {
        "freshness": lambda: freshness(options.seconds),
        "recovery": lambda: recovery(options.log_mb),
        "poison": lambda: (poison(options.events, 100), poison(options.events // 10, 1)),
        "burst": lambda: burst(options.seconds),
    }
    for name in options.what or parts:
        parts[name]()


if __name__ == "__main__":
    main()
