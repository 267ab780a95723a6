"""The way of a source's records from its broker to the table, with the server killed on the way."""

import json
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.testing.server import PlatformClient, PulledSource, ServerProcess

RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "ATTRIBUTE", "source": "at", "destination": "timestamp"},
    {"sourceType": "ATTRIBUTE", "source": "n", "destination": "_{tenant}.n"},
    {"sourceType": "EXPRESSION", "source": "upper(key)", "destination": "_{tenant}.key"},
]
PROPERTIES = {"n": {"type": "integer"}, "key": {"type": "string"}}
Produce = Callable[[Sequence[bytes]], None]
POISON = b"\xff not JSON"


def record(number: int, keys: int = 8) -> bytes:
    body = {
        "id": f"r{number}",
        "n": number,
        "key": f"k{number % keys}",
        "at": "2024-02-29T10:00:00Z",
    }
    return json.dumps(body).encode()


class Producer(threading.Thread):
    """Sends small parts one after another. A share of the records is held back until `allow` is called, so that some
    come after every kill and whatever was done to the stream then."""

    def __init__(self, produce: Produce, bodies: Sequence[bytes], shares: int) -> None:
        super().__init__(daemon=True)
        self.failure: Exception | None = None
        self._produce, self._bodies = produce, bodies
        self._share = -(-len(bodies) // shares)
        self._allowed = threading.Semaphore(1)
        self.start()

    def allow(self) -> None:
        self._allowed.release()

    def run(self) -> None:
        part = max(25, len(self._bodies) // 100)
        try:
            for first in range(0, len(self._bodies), self._share):
                self._allowed.acquire()
                share = self._bodies[first : first + self._share]
                for at in range(0, len(share), part):
                    self._produce(share[at : at + part])
                    time.sleep(0.02)
        except Exception as error:
            self.failure = error


@dataclass(slots=True)
class Outcome:
    """What is in the tables, read by another process."""

    rows: list[dict[str, Any]]
    failed: list[dict[str, Any]]


def run(
    directory: Path,
    source: PulledSource,
    produce: Produce,
    *,
    records: int,
    kills: int,
    seed: int,
    meanwhile: Callable[[int], None] = lambda kill: None,
    egress: str = "127.0.0.1",
    patience: float = 150.0,
) -> Outcome:
    """Create a flow through the public API, produce from an independent client, kill the server while records land.

    `meanwhile(n)` runs after the n-th kill (to reshard, say), while records are sent on. One record of poison goes
    between the others.
    """
    randomness = random.Random(seed)
    data = directory / "data"
    server = ServerProcess(data, HEADRACE_COMMIT_INTERVAL="0.2", HEADRACE_EGRESS_ALLOW=egress)
    data.mkdir()
    server.start()
    try:
        platform = PlatformClient(server.credentials())
        tenant = platform.credentials["tenant_id"]
        rules = [{k: v.replace("{tenant}", tenant) for k, v in rule.items()} for rule in RULES]
        journey = platform.create_flow(PROPERTIES, rules, source=source)
        bodies = [record(n) for n in range(records)]
        bodies.insert(records // 2, POISON)
        producer = Producer(produce, bodies, kills + 1)
        for kill in range(kills):
            time.sleep(randomness.uniform(0.3, 1.5))
            server.kill()
            producer.allow()  # goes on while the server is down, and the stream changes its form
            meanwhile(kill)
            server.start(patience=120)
        producer.join(patience)
        assert producer.failure is None, producer.failure
        query = (
            f"SELECT _id, _{tenant}.n AS n, _{tenant}.key AS key, _acp_system_metadata.sourcePartition AS p,"
            " _acp_system_metadata.sourceOffset AS o, _acp_system_metadata.acp_sourceBatchId AS batch"
            f' FROM "{journey.dataset_id}"'
        )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            status = platform.call("GET", f"/headrace/flows/{journey.flow_id}")
            if status["landed"] >= records and status["failed"]:
                break
            time.sleep(0.2)
        return Outcome(
            server.sql(query),
            server.sql(f'SELECT *, hex(original) AS bytes FROM "{journey.dataset_id}_failed"'),
        )
    finally:
        server.kill()


def count(server: ServerProcess, table: str) -> int:
    return int(server.sql(f'SELECT count(*) AS n FROM "{table}"')[0]["n"])


def check(outcome: Outcome, records: int, *, by_key: bool = False) -> None:
    """Each record exactly once, in the order of its partition (or of its key, where a queue promises no more), and the
    poison with its bytes and position."""
    numbers = [row["n"] for row in outcome.rows]
    missing = sorted(set(range(records)) - set(numbers))
    assert not missing, f"{len(missing)} lost, for example {missing[:5]}"
    assert len(numbers) == records, f"{len(numbers) - records} landed twice"
    assert all(row["key"] == f"K{row['n'] % 8}" for row in outcome.rows)
    places = [(row["p"], row["o"]) for row in outcome.rows]
    assert len(set(places)) == records
    lines: dict[str, list[tuple[int, int]]] = {}
    for row in outcome.rows:
        lines.setdefault(row["key" if by_key else "p"], []).append((row["o"], row["n"]))
    for found in lines.values():
        ordered = [n for _, n in sorted(found)]
        assert ordered == sorted(ordered), "out of order"
    assert len(outcome.failed) == 1
    (failed,) = outcome.failed
    assert failed["stage"] == "decode"
    assert bytes.fromhex(failed["bytes"]) == POISON
    place = failed["sourcePartition"], failed["sourceOffset"]
    assert place[0]
    assert place not in places, "the poison has the position of another record"
    within = sorted(o for p, o in [*places, place] if p == place[0])
    assert within[0] <= place[1] <= within[-1]


def check_parents_first(outcome: Outcome, parents: Mapping[str, Sequence[str]]) -> None:
    """Nothing of a partition was visible before all of its parents: identifiers of batches grow in time."""
    batches: dict[str, list[str]] = {}
    for row in outcome.rows:
        batches.setdefault(row["p"], []).append(row["batch"])
    for child, before in parents.items():
        for parent in before:
            if child in batches and parent in batches:
                assert min(batches[child]) >= max(batches[parent]), (
                    f"{child} landed before {parent}"
                )
