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
    return subprocess.run(
        [sys.executable, "-m", "headrace", "rewind", *words, "--data-dir", str(data_dir)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


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


def balanced(found: dict[str, float], landed: int) -> dict[str, float] | None:
    return found if found.get("landed") == landed and found["pending"] == 0 else None


def url(server: ServerProcess) -> str:
    return f"{server.credentials()['base_url']}/health"


def balance_reason(server: ServerProcess) -> str | None:
    answer = httpx.get(url(server))
    details = [r["detail"] for r in answer.json().get("reasons", []) if r["reason"] == "balance"]
    assert not details or answer.status_code == 503
    return details[0] if details else None
