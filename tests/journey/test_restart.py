"""After a restart everything that landed is still explained: in metrics, in health, in runs."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headrace.testing.server import Journey, PlatformClient, ServerProcess

RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
]


def send(journey: Journey, *ids: str) -> None:
    answer = httpx.post(
        journey.batch_url,
        json={"messages": [{"id": id} for id in ids]},
        headers={"x-adobe-flow-id": journey.flow_id},
    )
    assert answer.status_code == 207


def metrics(server: ServerProcess, journey: Journey) -> dict[str, float]:
    text = httpx.get(f"{server.credentials()['base_url']}/metrics").text
    mine = [line for line in text.splitlines() if journey.flow_id in line]
    return {
        line.split("{")[0].removeprefix("headrace_flow_"): float(line.rsplit(" ", 1)[1])
        for line in mine
    }


def wait_until_landed(server: ServerProcess, journey: Journey, count: int) -> None:
    deadline = time.monotonic() + 30
    query = f'SELECT count(*) AS n FROM "{journey.dataset_id}"'
    while server.sql(query)[0]["n"] < count:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def ingested(client: PlatformClient, journey: Journey) -> int:
    path = f"/data/foundation/flowservice/runs?property=flowId=={journey.flow_id}"
    runs = client.call("GET", path)["items"]
    return sum(run["metrics"]["recordSummary"]["outputRecordCount"] for run in runs)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One that tests start, kill and start again; each segment of its log holds one request."""
    settings = {"HEADRACE_COMMIT_INTERVAL": "0.1", "HEADRACE_LOG_SEGMENT_BYTES": "1"}
    found = ServerProcess(tmp_path_factory.mktemp("restart") / "data", **settings)
    yield found
    found.stop()


def test_runs_count_what_landed_before_a_worker_could_write_it_down(server: ServerProcess) -> None:
    server.environment["HEADRACE_CRASH_AT"] = "worker-after-commit:1"
    server.start()
    client = PlatformClient(server.credentials())
    journey = client.create_flow({}, RULES)
    send(journey, "a", "b", "c")
    wait_until_landed(server, journey, 3)
    server.kill()
    del server.environment["HEADRACE_CRASH_AT"]
    server.port = 0
    server.start()
    client = PlatformClient(server.credentials())
    base = "/data/foundation/flowservice/connections"
    item = client.call("GET", f"{base}/{journey.connection_id}")["items"][0]
    moved = item["auth"]["params"]["inletUrl"]
    assert moved.startswith(server.credentials()["base_url"])
    journey.inlet_url = moved
    deadline = time.monotonic() + 60
    while (count := ingested(client, journey)) < 3 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert count == 3
    batches = client.call("GET", f"/data/foundation/catalog/batches?dataSet={journey.dataset_id}")
    rows = server.sql(
        f'SELECT DISTINCT _acp_system_metadata.acp_sourceBatchId AS b FROM "{journey.dataset_id}"'
    )
    assert list(batches) == [row["b"] for row in rows]
    send(journey, "d")
    wait_until_landed(server, journey, 4)


def test_a_flow_whose_log_was_freed_is_still_balanced_after_a_restart(
    server: ServerProcess,
) -> None:
    if server.process is None:  # else the test before has left it running
        server.start()
    client = PlatformClient(server.credentials())
    quiet, busy = client.create_flow({}, RULES), client.create_flow({}, RULES)
    segment = max((server.data_dir / "log").glob("*.log"))
    send(quiet, "a", "b")
    assert segment.stat().st_size > 0
    wait_until_landed(server, quiet, 2)
    deadline = time.monotonic() + 30
    while segment.exists() and time.monotonic() < deadline:
        send(busy, "x")
        time.sleep(0.3)
    assert not segment.exists()
    server.stop()
    server.start()
    found = metrics(server, quiet)
    assert (found["accepted"], found["landed"], found["pending"]) == (2, 2, 0)
    assert found["unexplained"] == 0


@pytest.mark.slow
def test_records_on_their_way_into_a_sandbox_that_is_reset_hold_nothing_up(tmp_path: Path) -> None:
    """Their tables are gone: they are neither trouble nor a reason to keep the log, whoever starts the server again."""
    settings = {"HEADRACE_COMMIT_INTERVAL": "1.5", "HEADRACE_LOG_SEGMENT_BYTES": "1"}
    server = ServerProcess(tmp_path / "data", **settings).start()
    try:
        client, other = PlatformClient(server.credentials()), PlatformClient(server.credentials())
        sandboxes = "/data/foundation/sandbox-management/sandboxes"
        client.call("POST", sandboxes, {"name": "dev", "title": "d", "type": "development"})
        client.http.headers["x-sandbox-name"] = "dev"
        gone, busy = client.create_flow({}, RULES), other.create_flow({}, RULES)
        send(gone, "landed")
        deadline = time.monotonic() + 30
        while not ingested(client, gone) and time.monotonic() < deadline:
            time.sleep(0.1)
        send(gone, *"abc")
        client.call("PUT", f"{sandboxes}/dev", {"action": "reset"})
        first = min((tmp_path / "data" / "log").glob("*.log"))
        for again in range(2):
            deadline = time.monotonic() + 30
            while first.exists() and time.monotonic() < deadline:
                send(busy, "x")
                time.sleep(0.3)
            assert not first.exists()
            assert client.http.get("/health").json()["status"] == "ok"
            if not again:
                server.stop()
                server.start()
                client, other = (PlatformClient(server.credentials()) for _ in range(2))
                first = max((tmp_path / "data" / "log").glob("*.log"))
    finally:
        server.stop()
