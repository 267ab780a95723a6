"""What operators' scripts and senders rely on, through a real server."""

import gzip
import json
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from headrace.testing.server import Journey, PlatformClient, ServerProcess

RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
    {"sourceType": "ATTRIBUTE", "source": "type", "destination": "eventType"},
]


@pytest.fixture(scope="module")
def raw(platform: PlatformClient) -> Journey:
    return platform.create_flow({}, RULES)


@pytest.fixture(scope="module")
def xdm(platform: PlatformClient) -> Journey:
    return platform.create_flow({}, None, data_type="xdm")


def send(url: str, journey: Journey | None = None, **options: Any) -> httpx.Response:
    headers = options.pop("headers", {})
    if journey is not None:
        headers = {"x-adobe-flow-id": journey.flow_id, **headers}
    return httpx.post(url, headers=headers, timeout=20, **options)


def landed(server: ServerProcess, table: str, wanted: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 20
    while True:
        rows = server.sql(f'SELECT * FROM "{table}"')
        if len(rows) >= wanted or time.monotonic() > deadline:
            return rows
        time.sleep(0.3)


def envelope(journey: Journey, org: str, entity: dict[str, Any], **header: Any) -> dict[str, Any]:
    schema = {
        "id": journey.schema_id,
        "contentType": "application/vnd.adobe.xed-full+json;version=1.0",
    }
    head = {"schemaRef": schema, "imsOrgId": org, "datasetId": journey.dataset_id, **header}
    return {"header": head, "body": {"xdmMeta": {"schemaRef": schema}, "xdmEntity": entity}}


def test_each_way_of_sending_lands_with_the_receipt_that_was_answered(
    server: ServerProcess, raw: Journey
) -> None:
    receipts = {}
    receipts["one"] = send(raw.inlet_url, raw, json={"id": "one"}).json()["xactionId"]
    by_query = f"{raw.inlet_url}?x-adobe-flow-id={raw.flow_id}"
    receipts["two"] = send(by_query, json={"id": "two"}).json()["xactionId"]
    packed = gzip.compress(json.dumps({"messages": [{"id": "three"}, 7, {"id": "four"}]}).encode())
    answer = send(raw.batch_url, raw, content=packed, headers={"content-encoding": "gzip"})
    assert answer.status_code == 207
    three, refused, four = answer.json()["responses"]
    receipts |= {"three": three["xactionId"], "four": four["xactionId"]}
    assert "status" not in three
    assert (refused["status"], refused["xactionId"].rsplit("-", 1)[1]) == (400, "1")
    csv_headers = {"content-type": "text/csv"}
    lines = send(raw.batch_url, raw, content=b'id,type\n"five, x",web\nsix,\n', headers=csv_headers)
    receipts["five, x"], receipts["six"] = [r["xactionId"] for r in lines.json()["responses"]]
    ndjson = {"content-type": "application/x-ndjson"}
    lines = send(raw.batch_url, raw, content=b'{"id":"seven"}\n{broken\n{"q":1}\n', headers=ndjson)
    receipts["seven"] = lines.json()["responses"][0]["xactionId"]
    assert lines.json()["responses"][1]["status"] == 400
    rows = landed(server, raw.dataset_id, 7)
    found = {row["_id"]: row["_acp_system_metadata"]["receiptId"] for row in rows}
    assert found == receipts
    (failed,) = landed(server, f"{raw.dataset_id}_failed", 1)
    assert failed["original"] == '{"q":1}'
    assert (failed["stage"], failed["code"], failed["path"]) == ("validate", "DCVS-1106-400", "_id")
    assert failed["flowId"] == raw.flow_id
    assert failed["receiptId"] == lines.json()["responses"][2]["xactionId"]


def test_xdm_messages_are_checked_against_organisation_and_schema(
    server: ServerProcess, platform: PlatformClient, xdm: Journey
) -> None:
    org = platform.credentials["org_id"]
    entity = {"_id": "x1", "timestamp": "2024-01-01T00:00:00Z"}
    assert send(xdm.inlet_url, json=envelope(xdm, org, entity)).status_code == 200
    wrong = send(xdm.inlet_url, json=envelope(xdm, "0@AdobeOrg", entity))
    assert wrong.status_code == 400
    assert "absent or wrong ims org" in wrong.json()["report"]["message"]
    other = envelope(xdm, org, entity)
    other["header"]["schemaRef"]["id"] += "0"
    assert "unknown xdm format" in send(xdm.inlet_url, json=other).json()["report"]["message"]
    assert [row["_id"] for row in landed(server, xdm.dataset_id, 1)] == ["x1"]


def test_synchronous_validation_passes_or_explains_and_stores_nothing(
    server: ServerProcess, platform: PlatformClient, xdm: Journey
) -> None:
    org = platform.credentials["org_id"]
    before = server.sql(f'SELECT count(*) AS n FROM "{xdm.dataset_id}_failed"')
    good = envelope(xdm, org, {"_id": "x2", "timestamp": "2024-01-01T00:00:00Z"})
    answer = send(f"{xdm.inlet_url}?syncValidation=true", json=good)
    assert answer.json()["syncValidation"] == {"status": "pass"}
    bad = envelope(xdm, org, {"_id": 7, "timestamp": "noon", "more": 1})
    answer = send(f"{xdm.inlet_url}?syncValidation=True", json=bad)
    assert answer.status_code == 400
    (explained,) = answer.json()["report"]["cause"]["_streamingValidation"]
    assert explained["message"] == "3 schema violations found"
    assert {e["keyword"] for e in explained["causingExceptions"]} == {
        "type", "format", "additionalProperties",
    }  # fmt: skip
    landed(server, xdm.dataset_id, 2)
    assert server.sql(f'SELECT count(*) AS n FROM "{xdm.dataset_id}_failed"') == before


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"content": b"{broken"}, 400),
        ({"content": b"[1]"}, 400),
        ({"content": b'{"a":"\xff"}'}, 400),
        ({"content": b"x" * 1_048_577}, 413),
        ({"content": b"not gzip", "headers": {"content-encoding": "gzip"}}, 400),
        (
            {"content": gzip.compress(b" " * 20_000_000), "headers": {"content-encoding": "gzip"}},
            413,
        ),
        ({"content": b"{}", "headers": {"content-encoding": "br"}}, 415),
        ({"json": {}, "headers": {"x-adobe-flow-id": "unknown"}}, 400),
    ],
)
def test_bad_input_is_refused_and_never_a_server_error(
    raw: Journey, options: dict[str, Any], status: int
) -> None:
    answer = send(raw.inlet_url, raw, **options)
    assert answer.status_code == status
    assert answer.json()["status"] == status
    assert "report" in answer.json()


def test_an_unknown_inlet_and_a_wrong_method_are_refused(raw: Journey) -> None:
    assert send(raw.inlet_url[:-4] + "0000", raw, json={}).status_code == 404
    assert httpx.get(raw.inlet_url).status_code == 405


def test_an_authenticated_inlet_wants_a_valid_token(platform: PlatformClient) -> None:
    body = {
        "name": "closed", "connectionSpec": {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"},
        "auth": {
            "specName": "Streaming Connection",
            "params": {"dataType": "raw", "name": "closed", "authenticationRequired": True},
        },
    }  # fmt: skip
    base = "/data/foundation/flowservice/connections"
    id = platform.call("POST", base, body)["id"]
    url = platform.call("GET", f"{base}/{id}")["items"][0]["auth"]["params"]["inletUrl"]
    anonymous = httpx.post(url, json={})
    assert (anonymous.status_code, anonymous.json()["status"]) == (401, "401")
    assert anonymous.json()["report"]["message"].endswith("Ims service token is empty")
    assert httpx.post(url, json={}, headers={"authorization": "Bearer x"}).status_code == 401
    known = {"authorization": platform.http.headers["authorization"]}
    assert httpx.post(url, json={}, headers=known).status_code == 400  # no flow: past the token


def test_runs_and_metrics_balance(
    server: ServerProcess, platform: PlatformClient, raw: Journey
) -> None:
    path = f"/data/foundation/flowservice/runs?property=flowId=={raw.flow_id}"
    records = [run["metrics"]["recordSummary"] for run in platform.call("GET", path)["items"]]
    table = server.sql_command(f'SELECT count(*) AS n FROM "{raw.dataset_id}"')[0]["n"]
    failed = server.sql_command(f'SELECT count(*) AS n FROM "{raw.dataset_id}_failed"')[0]["n"]
    assert sum(r["outputRecordCount"] for r in records) == table
    assert sum(r["failedRecordCount"] for r in records) == failed
    text = httpx.get(f"{platform.credentials['base_url']}/metrics").text
    mine = [line for line in text.splitlines() if raw.flow_id in line]
    values = {line.split("{")[0]: float(line.rsplit(" ", 1)[1]) for line in mine}
    assert values["headrace_flow_accepted"] == table + failed
    assert values["headrace_flow_unexplained"] == 0


def test_a_disabled_flow_accepts_nothing_and_an_enabled_one_goes_on(
    platform: PlatformClient, raw: Journey
) -> None:
    action = f"/data/foundation/flowservice/flows/{raw.flow_id}/action?op="
    platform.call("POST", f"{action}disable")
    refused = send(raw.inlet_url, raw, json={"id": "late"})
    assert refused.status_code == 400
    assert "not enabled" in refused.json()["report"]["message"]
    platform.call("POST", f"{action}enable")
    assert send(raw.inlet_url, raw, json={"id": "late"}).status_code == 200


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that makes its data directory, and that may be harmed."""
    data_dir = tmp_path_factory.mktemp("own") / "data"
    server = ServerProcess(data_dir, HEADRACE_COMMIT_INTERVAL="0.1").start()
    yield server
    assert server.stop() == 0


def test_the_server_keeps_the_operator_contract(own: ServerProcess) -> None:
    credentials = own.data_dir / "credentials.json"
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert set(own.credentials()) == {
        "base_url", "org_id", "tenant_id", "client_id", "client_secret", "scopes", "sandbox",
    }  # fmt: skip
    base = own.credentials()["base_url"]
    assert httpx.get(f"{base}/health").json()["status"] == "ok"
    assert "/data/foundation/flowservice/flows" in httpx.get(f"{base}/openapi.json").json()["paths"]
    command = [sys.executable, "-m", "headrace", "serve", "--data-dir", str(own.data_dir)]
    second = subprocess.run([*command, "--port", "0"], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert "another process serves the data directory" in second.stderr
    outside = [*command, "--host", "0.0.0.0", "--auth", "off"]
    refused = subprocess.run(outside, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "loopback" in refused.stderr


def test_a_dropped_table_stops_its_flow_and_health_says_so(own: ServerProcess) -> None:
    from headrace.lake.catalog import Lake

    journey = PlatformClient(own.credentials()).create_flow({}, RULES)
    assert send(journey.inlet_url, journey, json={"id": "one"}).status_code == 200
    landed(own, journey.dataset_id, 1)
    Lake(own.data_dir).drop("prod", journey.dataset_id)
    assert send(journey.inlet_url, journey, json={"id": "two"}).status_code == 200
    health = f"{own.credentials()['base_url']}/health"
    deadline = time.monotonic() + 20
    while (answer := httpx.get(health)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert answer.status_code == 503
    assert [r["reason"] for r in answer.json()["reasons"]] == ["flow"]
