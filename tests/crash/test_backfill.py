"""P1: while records of one flow are delivered to another, the server is killed: at every named point, and at any moment."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.testing.server import Journey, PlatformClient, ServerProcess
from tests.crash.rig import crash_points, wait_for

POINTS = [point for point in crash_points() if point.startswith("backfill-")]
RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
]
REQUESTS, RECORDS, PADDING = 300, 20, "x" * 5_000
"""Requests of 100 KB: ten of them are copied at once, and half of all before the worker must have landed some."""


@dataclass
class Pair:
    """A server with a flow that has records, and places to deliver them to."""

    server: ServerProcess
    client: PlatformClient
    source: Journey
    sent: Counter[str]
    serial: int = 0

    def send(self, journey: Journey, requests: int) -> Counter[str]:
        names = Counter[str]()
        with httpx.Client(timeout=30) as http:
            for _ in range(requests):
                ids = [f"r{self.serial + n}" for n in range(RECORDS)]
                self.serial += RECORDS
                answer = http.post(
                    journey.batch_url, headers={"x-adobe-flow-id": journey.flow_id},
                    json={"messages": [{"id": id, "padding": PADDING} for id in ids]},
                )  # fmt: skip
                assert answer.status_code == 207
                names.update(ids)
        return names

    def launch(self, crash_at: str = "", *, soon: bool = False) -> None:
        self.server.environment["HEADRACE_CRASH_AT"] = crash_at
        self.server.start(150, soon=soon)

    def dead(self) -> bool:
        return self.server.process is not None and self.server.process.poll() is not None

    def rewinds(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.client.call(
            "GET", f"/headrace/flows/{self.source.flow_id}/rewinds"
        )["rewinds"]
        return found

    def ask(self, into: str) -> dict[str, Any]:
        path = f"/headrace/flows/{self.source.flow_id}/rewinds"
        body = {"to": "earliest", "until": REQUESTS * RECORDS, "into": into, "confirm": True}
        found: dict[str, Any] = self.client.call("POST", path, body)
        return found

    def landed(self, journey: Journey) -> Counter[str]:
        return Counter(
            row["_id"] for row in self.server.sql(f'SELECT _id FROM "{journey.dataset_id}"')
        )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    root: Path = tmp_path_factory.mktemp("backfill")
    server = ServerProcess(
        root / "data", HEADRACE_COMMIT_INTERVAL="0.1", HEADRACE_LOG_SEGMENT_BYTES="1000000000"
    ).start(150)
    server.port = int(server.credentials()["base_url"].rpartition(":")[2])
    client = PlatformClient(server.credentials())
    found = Pair(server, client, client.create_flow({}, RULES), Counter())
    found.sent = found.send(found.source, REQUESTS)
    yield found
    server.kill()


def verify(pair: Pair, target: Journey, id: str, live: Counter[str]) -> None:
    """Every record is there once, and the account of the flow is in order."""

    def ended() -> dict[str, Any] | None:
        found = next(each for each in pair.rewinds() if each["id"] == id)
        return found if found["state"] != "running" else None

    done = wait_for("it ends", ended, 90)
    assert (done["state"], done["copied"]) == ("done", REQUESTS * RECORDS), done
    expected = pair.sent + live
    wait_for("all has landed", lambda: pair.landed(target).total() >= expected.total(), 90)

    def account() -> dict[str, Any] | None:
        found = pair.client.call("GET", f"/headrace/flows/{target.flow_id}")
        return found if found["pending"] == 0 else None

    known = wait_for("nothing is pending", account, 60)
    assert pair.landed(target) == expected
    assert (known["accepted"], known["landed"]) == (expected.total(), expected.total())
    assert (known["failed"], known["unexplained"]) == (0, 0)
    assert pair.ask(target.flow_id)["id"] == id


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", POINTS)
def test_a_server_that_dies_at_a_point_of_it_delivers_every_record_once(
    pair: Pair, point: str
) -> None:
    target = pair.client.create_flow({}, RULES)
    pair.server.kill()
    pair.launch(f"{point}:3")
    id = pair.ask(target.flow_id)["id"]
    wait_for("the server dies", pair.dead, 60)
    pair.launch()
    verify(pair, target, id, pair.send(target, 3))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_that_is_killed_again_and_again_delivers_every_record_once(pair: Pair) -> None:
    random.seed(7)
    target, live = pair.client.create_flow({}, RULES), Counter[str]()
    id = pair.ask(target.flow_id)["id"]
    copied, midway = 0, 0
    for _ in range(3):

        def further(before: int = copied) -> int | None:
            now = next(int(each["copied"]) for each in pair.rewinds() if each["id"] == id)
            return now if now > before else None

        copied = wait_for("it goes on", further, 60)
        time.sleep(random.uniform(0, 0.05))
        pair.server.kill()
        midway += copied < REQUESTS * RECORDS
        pair.launch(soon=True)
        live += pair.send(target, 1)
        if copied == REQUESTS * RECORDS:
            break
    assert midway, "it was never killed on its way"
    verify(pair, target, id, live)
