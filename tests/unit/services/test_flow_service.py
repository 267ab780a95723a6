"""The tutorial's calls against Flow Service, through the application."""

import json
from pathlib import Path

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.security.egress import Egress
from headrace.security.tokens import Tokens
from headrace.security.vault import Vault
from headrace.services.flow import FlowService, routes
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Store
from headrace.store.revisions import Revisions
from headrace.testing.calls import InProcess
from headrace.xdm.fields import Field

BASE = "/data/foundation/flowservice"


def test_the_tutorial_creates_a_flow_that_cannot_lose_its_connection(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    installation = bootstrap(store, tmp_path, "http://localhost")
    tokens, revisions = Tokens(b"k" * 32), Revisions(store)
    service = FlowService(
        store, revisions, Vault.at(tmp_path / "vault.key", store), Egress(), "http://localhost",
        datasets=lambda scope, id: {"schemaRef": {"id": "s"}},
        schema_tree=lambda scope, id: ("s", "1.0", Field("object")),
        mapping_set=lambda scope, id, version: None, runs=lambda scope: [], on_change=lambda: None,
    )  # fmt: skip
    web = InProcess(build(routes(service), Gateway(store, tokens, "off", installation), title="t"))
    client = json.loads((tmp_path / "credentials.json").read_text())
    web.headers.update({"x-api-key": client["client_id"], "x-gw-ims-org-id": client["org_id"]})
    http = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
    auth = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}

    def post(path: str, body: dict[str, object]) -> str:
        answer = web.post(BASE + path, json=body)
        assert answer.status_code == 201, answer.text
        assert set(answer.json()) == {"id", "etag"}
        return str(answer.json()["id"])

    base = post("/connections", {"name": "b", "connectionSpec": http, "auth": auth})
    source = post(
        "/sourceConnections",
        {
            "name": "s",
            "connectionId": base,
            "data": {"format": "delimited"},
            "connectionSpec": http,
        },
    )
    lake = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
    target = post(
        "/targetConnections",
        {"name": "t", "connectionSpec": lake, "params": {"dataSetId": "d"}},
    )
    flow = post(
        "/flows",
        {
            "name": "f",
            "flowSpec": {"id": "d8a6f005-7eaf-4153-983e-e8574508b877"},
            "sourceConnectionIds": [source],
            "targetConnectionIds": [target],
        },
    )
    latest = revisions.latest(flow)
    assert latest is not None
    assert (latest.payload, latest.revision) == ("xdm", 1)
    assert web.delete(f"{BASE}/connections/{base}").json()["type"].endswith("FLOW-1418-400")
    assert web.patch(f"{BASE}/flows/{flow}", json=[]).json()["type"].endswith("FLOW-1403-400")
    found = web.get(
        BASE + "/flowSpecs", params={"property": 'name=="Steam data with transformation"'}
    )
    assert found.json()["items"][0]["id"] == "c1a19761-d2c7-4702-b9fa-fe91f0613e81"
    assert web.get(BASE + "/flows").json()["items"][0]["state"] == "enabled"
    assert web.delete(f"{BASE}/flows/{flow}").status_code == 204
