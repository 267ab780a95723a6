"""The way of a source's records from its broker to the table, with the server killed on the way."""

import json
import random
import threading
import time
from collections.abc import Callable, Sequence
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
POISON = b"\xff not JSON"


def record(number: int, keys: int = 8) -> bytes:
    body = {
        "id": f"r{number}",
        "n": number,
        "key": f"k{number % keys}",
        "at": "2024-02-29T10:00:00Z",
    }
    return json.dumps(body).encode()


@dataclass(slots=True)
class Outcome:
    """What is in the tables, read by another process."""

    rows: list[dict[str, Any]]
    failed: list[dict[str, Any]]


def run(
    directory: Path,
    source: PulledSource,
    produce: Callable[[Sequence[bytes]], None],
    *,
    records: int,
    kills: int,
    seed: int,
    meanwhile: Callable[[int], None] = lambda kill: None,
    egress: str = "127.0.0.1",
    patience: float = 150.0,
) -> Outcome:
    """Create a flow through the public API, produce from an independent client, kill the server while records land.

    `meanwhile(n)` runs after the n-th kill (to reshard, say). One record of poison goes between the others.
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
        producer = threading.Thread(target=_produce, args=(produce, bodies), daemon=True)
        producer.start()
        for kill in range(kills):
            time.sleep(randomness.uniform(0.5, 2.0))
            server.kill()
            server.start(patience=120)
            meanwhile(kill)
        producer.join(patience)
        query = (
            f"SELECT _id, _{tenant}.n AS n, _{tenant}.key AS key, _acp_system_metadata.sourcePartition AS p,"
            f' _acp_system_metadata.sourceOffset AS o FROM "{journey.dataset_id}"'
        )
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if count(server, journey.dataset_id) >= records and count(
                server, f"{journey.dataset_id}_failed"
            ):
                break
            time.sleep(1)
        return Outcome(
            server.sql(query), server.sql(f'SELECT * FROM "{journey.dataset_id}_failed"')
        )
    finally:
        server.kill()


def count(server: ServerProcess, table: str) -> int:
    return int(server.sql(f'SELECT count(*) AS n FROM "{table}"')[0]["n"])


def _produce(produce: Callable[[Sequence[bytes]], None], bodies: list[bytes]) -> None:
    for at in range(0, len(bodies), 500):
        produce(bodies[at : at + 500])
        time.sleep(0.02)


def check(outcome: Outcome, records: int) -> None:
    """Each record exactly once, in the order of its partition, and the poison with its bytes and position."""
    numbers = [row["n"] for row in outcome.rows]
    missing = sorted(set(range(records)) - set(numbers))
    assert not missing, f"{len(missing)} lost, for example {missing[:5]}"
    assert len(numbers) == records, f"{len(numbers) - records} landed twice"
    assert all(row["key"] == f"K{row['n'] % 8}" for row in outcome.rows)
    places = [(row["p"], row["o"]) for row in outcome.rows]
    assert len(set(places)) == records
    by_partition: dict[str, list[tuple[int, int]]] = {}
    for row in outcome.rows:
        by_partition.setdefault(row["p"], []).append((row["o"], row["n"]))
    for found in by_partition.values():
        ordered = [n for _, n in sorted(found)]
        assert ordered == sorted(ordered), "out of order"
    assert len(outcome.failed) == 1
    assert outcome.failed[0]["stage"] == "decode"
    assert "not JSON" in outcome.failed[0]["original"] or outcome.failed[0]["original"]
    assert outcome.failed[0]["sourcePartition"]
