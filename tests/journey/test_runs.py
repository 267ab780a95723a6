"""Runs against the tables: what they count is what a scan finds, and what stopped says so."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.testing.server import Journey, PlatformClient, PulledSource, ServerProcess
from tests.sources.kinesis_fake import FakeKinesis

FLOW = "/data/foundation/flowservice"
KINESIS = "86043421-563b-46ec-8e6c-e23184711bf6"
WINDOW = 1
RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
    {
        "sourceType": "EXPRESSION",
        "source": 'concat("n", to_integer(type))',
        "destination": "eventType",
    },
]
GOOD = {"id": "g", "type": "7"}
FAILS = {"type": "8"}
WARNS = {"id": "w", "type": "no number"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One whose runs span a second."""
    data_dir: Path = tmp_path_factory.mktemp("runs") / "headrace-data"
    data_dir.mkdir()
    process = ServerProcess(
        data_dir, HEADRACE_COMMIT_INTERVAL="0.2", HEADRACE_RUN_WINDOW=str(WINDOW),
        HEADRACE_EGRESS_ALLOW="127.0.0.1",
    ).start()  # fmt: skip
    yield process
    assert process.stop() == 0


@pytest.fixture
def client(server: ServerProcess) -> PlatformClient:
    return PlatformClient(server.credentials())


def until(holds: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + 40
    while not (found := holds()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def send(flow: Journey, *records: dict[str, Any]) -> None:
    answer = httpx.post(
        flow.batch_url, json={"messages": list(records)}, headers={"x-adobe-flow-id": flow.flow_id}
    )
    answer.raise_for_status()


def runs(client: PlatformClient, flow: Journey, *filters: str) -> list[dict[str, Any]]:
    """All runs of a flow, page by page."""
    path = "/runs?limit=2" + "".join(
        f"&property={text}" for text in (f"flowId=={flow.flow_id}", *filters)
    )
    found: list[dict[str, Any]] = []
    while path:
        page = client.call("GET", FLOW + path)
        found += page["items"]
        path = page["_links"].get("next", {}).get("href", "")
    return found


def total(found: list[dict[str, Any]], summary: str, name: str) -> int:
    return sum(run["metrics"][summary][name] for run in found)


def statuses(found: list[dict[str, Any]]) -> set[str]:
    return {run["metrics"]["statusSummary"]["status"] for run in found}


def landed(client: PlatformClient, flow: Journey) -> int:
    return total(runs(client, flow), "recordSummary", "inputRecordCount")


def scanned(server: ServerProcess, table: str) -> int:
    return int(server.sql(f'SELECT count(*) AS n FROM "{table}"')[0]["n"])


def test_the_totals_of_runs_are_what_a_scan_of_the_tables_finds(
    server: ServerProcess, client: PlatformClient
) -> None:
    flow, other = client.create_flow({}, RULES), client.create_flow({}, RULES)
    rounds = ([GOOD] * 30 + [WARNS] * 2, [FAILS] * 3, [GOOD] * 5 + [FAILS] * 4, [GOOD])
    sent = 0
    for records in rounds:
        time.sleep(WINDOW - time.time() % WINDOW)  # each in a window of its own
        send(flow, *records)
        send(other, GOOD)
        sent += len(records)
        until(lambda all=sent: landed(client, flow) == all, "nothing lands")  # type: ignore[misc]
    until(lambda: statuses(runs(client, flow)).isdisjoint({"inProgress"}), "no run ends")
    found = runs(client, flow)
    assert len(found) >= 4
    for run in found:
        records = run["metrics"]["recordSummary"]
        assert records["inputRecordCount"] == records["outputRecordCount"] + records["failedRecordCount"]  # fmt: skip
        span = run["metrics"]["durationSummary"]
        assert span["startedAtUTC"] // (WINDOW * 1000) == run["createdAt"] // (WINDOW * 1000)
        assert run["metrics"]["latencySummary"]["minMs"] <= run["metrics"]["latencySummary"]["maxMs"]  # fmt: skip
    good, failed = scanned(server, flow.dataset_id), scanned(server, f"{flow.dataset_id}_failed")
    assert (good, failed) == (38, 7)
    assert total(found, "recordSummary", "outputRecordCount") == good
    assert total(found, "recordSummary", "failedRecordCount") == failed
    assert total(found, "recordSummary", "warningRecordCount") == 2
    assert sum(i["count"] for r in found for i in r["metrics"]["recordSummary"]["failedInfo"]) == 7
    # files and their sizes are those that the lake hands out
    batches = {id for run in found for id in run["activities"][0]["targetInfo"][0]["reference"]["ids"]}  # fmt: skip
    files = [
        file
        for id in batches
        for file in client.call("GET", f"/data/foundation/export/batches/{id}/files")["data"]
    ]
    lengths = [
        int(part["length"])
        for file in files
        for part in client.call("GET", f"/data/foundation/export/files/{file['dataSetFileId']}")["data"]
    ]  # fmt: skip
    assert total(found, "sizeSummary", "outputBytes") == sum(lengths)
    assert total(found, "fileSummary", "outputFileCount") >= len(files) > 0
    # a flow counts its own alone
    assert landed(client, other) == len(rounds) == scanned(server, other.dataset_id)
    # what failed, wholly or in part, is found by a filter
    by_status = "metrics.statusSummary.status"
    assert statuses(runs(client, flow, f"{by_status}==failed")) == {"failed"}
    assert statuses(runs(client, flow, f"{by_status}==partialSuccess")) == {"partialSuccess"}
    bad = runs(client, flow, "state==failed,partialSuccess")
    assert total(bad, "recordSummary", "failedRecordCount") == failed
    link = bad[0]["activities"][0]["statusSummary"]["extensions"]["manifest"]["failedRecords"]
    assert client.call("GET", link.removeprefix(server.credentials()["base_url"]))["data"]


def test_what_was_accepted_lands_though_its_flow_is_disabled_and_stays_though_it_is_deleted(
    server: ServerProcess, client: PlatformClient
) -> None:
    flow = client.create_flow({}, RULES)
    act = f"{FLOW}/flows/{flow.flow_id}/action?op="
    send(flow, *[GOOD] * 20)
    client.call("POST", f"{act}disable")
    with pytest.raises(httpx.HTTPStatusError, match="400"):
        httpx.post(
            flow.inlet_url, json=GOOD, headers={"x-adobe-flow-id": flow.flow_id}
        ).raise_for_status()
    until(lambda: landed(client, flow) == 20, "what was accepted does not land")
    client.call("POST", f"{act}enable")
    send(flow, GOOD)
    until(lambda: landed(client, flow) == 21, "the flow does not go on")
    client.call("DELETE", f"{FLOW}/flows/{flow.flow_id}")
    assert scanned(server, flow.dataset_id) == 21
    assert client.call("GET", f"/data/foundation/catalog/dataSets/{flow.dataset_id}")
    assert httpx.get(f"{server.credentials()['base_url']}/health").status_code == 200


def test_a_source_that_refuses_makes_the_run_fail_with_its_reason_until_it_is_repaired(
    server: ServerProcess, client: PlatformClient
) -> None:
    kinesis = FakeKinesis("shard-0")
    try:
        kinesis.shards["shard-0"].put(b'{"id": "1", "type": "x"}')
        refusals = [(400, "AccessDeniedException", "no right to read")] * 1000
        kinesis.faults["DescribeStream"] = list(refusals)
        auth = {
            "accessKeyId": "k", "secretKey": "not shown", "region": "eu-west-1", "endpointUrl": kinesis.url
        }  # fmt: skip
        form = "Aws Kinesis authentication credentials"
        flow = client.create_flow({}, RULES, source=PulledSource(KINESIS, form, auth, {"stream": "orders"}))  # fmt: skip
        (failed,) = until(lambda: runs(client, flow), "no run tells of the refusal")
        outcome = failed["metrics"]["statusSummary"]
        assert (outcome["status"], outcome["errors"][0]["code"]) == ("failed", "CONNECTOR-1001-500")
        assert "AccessDeniedException" in outcome["errors"][0]["message"]
        (item,) = client.call("GET", f"{FLOW}/flows/{flow.flow_id}")["items"]
        assert item["lastRunDetails"]["state"] == "failed"
        assert item["lastRunDetails"]["errors"] == outcome["errors"]
        assert [r["id"] for r in runs(client, flow, "state==failed")] == [failed["id"]]
        health = httpx.get(f"{server.credentials()['base_url']}/health")
        assert (health.status_code, flow.flow_id in health.text) == (503, True)

        client.call("POST", f"{FLOW}/flows/{flow.flow_id}/action?op=disable")
        kinesis.faults["DescribeStream"].clear()
        client.call("POST", f"{FLOW}/flows/{flow.flow_id}/action?op=enable")
        until(lambda: landed(client, flow) == 1, "the flow does not go on")
        until(lambda: statuses(runs(client, flow)[:1]) <= {"success", "partialSuccess"}, "no end")
        # the past stays what it was
        assert failed["id"] in [r["id"] for r in runs(client, flow)]
        assert client.call("GET", f"{FLOW}/runs/{failed['id']}")["items"][0]["metrics"][
            "statusSummary"
        ]["errors"]
        assert httpx.get(f"{server.credentials()['base_url']}/health").status_code == 200
    finally:
        kinesis.close()
