"""A running server: its flows are moved by command, and /health tells a balance that somebody broke."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.lake.catalog import Lake
from headrace.lake.watermark import Watermark, key
from headrace.testing.server import PlatformClient, ServerProcess
from tests.journey.test_restart import RULES, metrics, send, wait_until_landed


def until(what: str, found: Callable[[], Any], patience: float = 60.0) -> Any:
    deadline = time.monotonic() + patience
    while not (value := found()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return value


def rewind(data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return headrace("rewind", data_dir, *words)


@pytest.mark.slow
def test_a_flow_is_moved_while_the_server_runs_and_a_broken_balance_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    server = ServerProcess(
        data, HEADRACE_COMMIT_INTERVAL="0.1", HEADRACE_BALANCE_PATIENCE="0.5"
    ).start()
    try:
        client = PlatformClient(server.credentials())
        journey, other = client.create_flow({}, RULES), client.create_flow({}, RULES)
        send(journey, "a", "b")
        wait_until_landed(server, journey, 2)
        asked = rewind(data, journey.flow_id, "--to", "earliest")
        assert asked.returncode == 2
        assert "2 records are read again" in asked.stderr
        done = rewind(data, journey.flow_id, "--to", "earliest", "--yes")
        assert done.returncode == 0, done.stderr
        send(journey, "c")
        send(other, "x")
        wait_until_landed(server, journey, 5)
        wait_until_landed(server, other, 1)
        found = until("it balances", lambda: balanced(metrics(server, journey), 5))
        assert (found["accepted"], found["again"], found["unexplained"]) == (3, 2, 0)

        table = Lake(data).table("prod", journey.dataset_id)
        name = key(journey.flow_id)
        right = Watermark.from_text(table.metadata.properties[name])
        with table.transaction() as transaction:
            transaction.set_properties({name: replace(right, landed=right.landed - 2).to_text()})
        send(journey, "d")
        reason = until("health tells it", lambda: balance_reason(server))
        assert journey.flow_id in reason
        assert "2 records are unexplained: 4 accepted + 2 again, but 4 landed" in reason
        table = Lake(data).table("prod", journey.dataset_id)
        now = Watermark.from_text(table.metadata.properties[name])
        with table.transaction() as transaction:
            transaction.set_properties({name: replace(now, landed=now.landed + 2).to_text()})
        send(journey, "e")
        until("health is well again", lambda: httpx.get(url(server)).status_code == 200)
    finally:
        server.stop()


@pytest.mark.slow
def test_records_are_delivered_to_another_flow_and_a_replay_is_cancelled_by_command(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    server = ServerProcess(data, HEADRACE_COMMIT_INTERVAL="0.1").start()
    try:
        client = PlatformClient(server.credentials())
        first = client.create_flow({}, RULES)
        # its mapping reads another field, so that it fails for records that lack it
        rules = [
            RULES[0],
            {"sourceType": "ATTRIBUTE", "source": "when", "destination": "timestamp"},
        ]
        second = client.create_flow({}, rules)
        records = [
            {"id": f"r{n}", **({"when": "2026-01-31T12:00:00Z"} if n else {})} for n in range(4)
        ]
        given = httpx.post(
            first.batch_url, json={"messages": records}, headers={"x-adobe-flow-id": first.flow_id}
        ).json()
        send(first, "a")
        wait_until_landed(server, first, 5)
        words = (first.flow_id, "--to", "earliest", "--into", second.flow_id)
        asked = rewind(data, *words)
        assert asked.returncode == 2
        assert "5 records of flow" in asked.stderr
        assert "from offset 0 to 5" in asked.stderr
        begun = rewind(data, *words, "--yes")
        assert begun.returncode == 0, begun.stderr
        moves = f"/headrace/flows/{first.flow_id}/rewinds"
        (done,) = until("it ends", lambda: ended(client.call("GET", moves)["rewinds"]))
        assert (done["state"], done["copied"], done["into"]) == ("done", 5, second.flow_id)
        wait_until_landed(server, second, 3)
        until("it balances", lambda: balanced(metrics(server, second), 3))
        assert metrics(server, second)["failed"] == 2
        again = rewind(data, *words, "--yes")
        assert f"rewind {done['id']}  done  5 of 5 records delivered" in again.stdout
        over = rewind(data, first.flow_id, "--cancel", done["id"])
        assert over.returncode == 2
        assert "it is done" in over.stderr
        send(first, "b")
        wait_until_landed(server, first, 6)
        assert (
            "(1 requests, from offset 5" not in rewind(data, *words).stderr
        )  # its copies lie in between
        assert "1 records of flow" in rewind(data, *words).stderr
        receipt = given["responses"][3]["xactionId"]
        told = headrace("trace", data, receipt).stdout
        assert f"copied to flow {second.flow_id} as " in told
        copy = told.rpartition(" as ")[2].strip()
        assert (
            f"copy of   {receipt} in flow {first.flow_id}" in headrace("trace", data, copy).stdout
        )

        replays = f"/headrace/flows/{second.flow_id}/replays"
        started = client.call("POST", replays, {})["id"]
        until("it ends", lambda: client.call("GET", f"{replays}/{started}")["state"] == "done")
        late = headrace("replay", data, second.flow_id, "--cancel", started)
        assert late.returncode == 2
        assert "it is done" in late.stderr
    finally:
        server.stop()


def ended(rewinds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return rewinds if all(each["state"] != "running" for each in rewinds) else []


def headrace(command: str, data_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "headrace", command, *words, "--data-dir", str(data_dir)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def balanced(found: dict[str, float], landed: int) -> dict[str, float] | None:
    return found if found.get("landed") == landed and found["pending"] == 0 else None


def url(server: ServerProcess) -> str:
    return f"{server.credentials()['base_url']}/health"


def balance_reason(server: ServerProcess) -> str | None:
    answer = httpx.get(url(server))
    details = [r["detail"] for r in answer.json().get("reasons", []) if r["reason"] == "balance"]
    assert not details or answer.status_code == 503
    return details[0] if details else None
