"""States of Flow Service's resources: creation, actions, what is on its way, what is in use."""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.services.flow_site import (
    GENERIC,
    HTTP,
    KINESIS,
    LAKE,
    MAPPED,
    PLAIN,
    SNOWFLAKE,
    Site,
    code,
)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_line_of_the_log_names_the_request_and_the_flow_it_was_about(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    flow = site.flow(site.source(site.base()), site.target())
    caplog.set_level("INFO", "headrace.http")
    for path in (f"/flows/{flow}/action?op=disable", "/flows/search", "/nothing"):
        site.send("POST", path, **{"x-request-id": f"mine-{len(caplog.records)}"})
    lines = [record.fields for record in caplog.records if record.name == "headrace.http"]  # type: ignore[attr-defined]
    assert [(line["request"], line["status"], line.get("flow")) for line in lines] == [
        ("mine-0", 200, flow), ("mine-1", 200, None), ("mine-2", 404, None),
    ]  # fmt: skip
    assert all(line["method"] == "POST" and line["milliseconds"] >= 0 for line in lines)


def test_a_flow_is_disabled_and_enabled_and_nothing_else(site: Site) -> None:
    flow = site.flow(site.source(site.base()), site.target())
    path = f"/flows/{flow}"
    assert site.item(path)["lastOperation"]["operation"] == "create"
    for op, state in (("disable", "disabled"), ("ENABLE", "enabled")):
        before = site.item(path)["etag"]
        answer = site.send("POST", f"{path}/action?op={op}")
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"id", "etag"}
        item = site.item(path)
        assert (item["state"], item["etag"]) == (state, answer.json()["etag"])
        assert item["etag"] != before
        assert item["lastOperation"]["operation"] == op.lower()
        again = site.send("POST", f"{path}/action?op={op}")
        body = again.json()
        assert (body["status"], code(again)) == (400, "FLOW-1422-400")
        assert (body["report"]["id"], body["report"]["type"]) == (flow, "flows")
        assert body["report"]["request-id"] == again.headers["x-request-id"]
        texts = {body["errorMessage"], body["errorDetails"], body["report"]["detailed-message"]}
        assert len(texts) == 1
        assert code(site.send("POST", f"{path}/action?op=publish")) == "FLOW-1422-400"
    stale = site.send("POST", f"{path}/action?op=disable", **{"if-match": '"no"'})
    assert (stale.status_code, code(stale)) == (412, "FLOW-1404-412")
    assert code(site.send("POST", "/flows/nobody/action?op=disable")) == "FLOW-1439-404"


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", None, "FLOW-1434-400"),
        ("op=stop", None, "FLOW-1434-400"),
        ("op=finalize", None, "FLOW-1402-400"),
        ("op=FINALIZE_UPDATE&subOp=APPLY", None, "FLOW-1402-400"),
        ("op=publish&subOp=undo", None, "FLOW-1435-400"),
        ("op=publish&subOp=rollback", None, "FLOW-1436-400"),
        ("op=finalize&subOp=progress&subOp=apply", None, "FLOW-1406-400"),
        ("op=finalize", {"status": {"value": "DONE"}}, "FLOW-1437-400"),
        ("op=finalize&subOp=progress", {"status": {"value": "FAILED"}}, "FLOW-1407-400"),
        (
            "op=finalize",
            {"status": {"value": "SUCCESS"}, "percentCompleted": 50},
            "FLOW-1408-400",
        ),
        ("op=publish", {"percentCompleted": "all"}, "FLOW-1452-400"),
        ("op=publish", [], "FLOW-1405-400"),
    ],
)
def test_faults_of_an_action(site: Site, query: str, body: Any, expected: str) -> None:
    base = site.base()
    source, target = site.source(base), site.target()
    kinds = {"connections": base, "flows": site.flow(source, target)}
    kinds |= {"sourceConnections": source, "targetConnections": target}
    for kind, id in kinds.items():
        answer = site.send("POST", f"/{kind}/{id}/action?{query}", body)
        assert (answer.status_code, code(answer)) == (400, expected), kind


def test_what_is_on_its_way_is_left_alone(site: Site) -> None:
    base = site.base()
    source, target = site.source(base), site.target()
    made = {"connections": base, "sourceConnections": source, "targetConnections": target}
    made["flows"] = site.flow(source, target)
    for kind, id in made.items():
        document = site.store.get(site.scope, kind, id)
        assert document is not None
        site.store.replace(site.scope, kind, id, document.body | {"state": "updating"})
    rename = [{"op": "replace", "path": "/name", "value": "n"}]
    for kind, id in made.items():
        on_base = kind == "connections"
        patched = site.send("PATCH", f"/{kind}/{id}", rename, **{"if-match": "*"})
        assert code(patched) == ("FLOW-1416-400" if on_base else "FLOW-1420-400")
        deleted = site.send("DELETE", f"/{kind}/{id}")
        assert code(deleted) == ("FLOW-1417-400" if on_base else "FLOW-1458-400")
        assert code(site.publish(kind, id)) == "FLOW-1421-400"


def test_what_a_flow_uses_goes_after_the_flow(site: Site) -> None:
    base = site.base()
    source, target = site.source(base), site.target()
    spare = site.source(base)
    draft = {"name": "f", "flowSpec": PLAIN, "targetConnectionIds": [target]}
    flow = site.post("/flows?mode=draft", draft | {"sourceConnectionIds": [source]})
    used = {"connections": base, "sourceConnections": source, "targetConnections": target}
    for kind, id in used.items():
        answer = site.send("DELETE", f"/{kind}/{id}")
        number = 1418 if kind == "connections" else 1447
        assert (answer.status_code, code(answer)) == (400, f"FLOW-{number}-400")
        assert flow in answer.json()["errorMessage"]
    assert site.send("DELETE", f"/sourceConnections/{spare}/").status_code == 204
    stale = site.send("DELETE", f"/flows/{flow}", **{"if-match": '"no"'})
    assert stale.status_code == 412
    gone = site.send("DELETE", f"/flows/{flow}")
    assert (gone.status_code, gone.content) == (204, b"")
    for kind in ("sourceConnections", "targetConnections", "connections"):
        assert site.send("DELETE", f"/{kind}/{used[kind]}").status_code == 204
        again = site.send("DELETE", f"/{kind}/{used[kind]}")
        assert (again.status_code, code(again)) == (404, "FLOW-1439-404")
        assert again.json()["report"]["type"] == kind
        assert code(site.send("GET", f"/{kind}/{used[kind]}")) == "FLOW-1439-404"


def test_a_flow_tells_what_it_inherits_and_an_end_its_base(site: Site) -> None:
    base = site.base()
    source, target = site.source(base), site.target()
    item = site.item(f"/flows/{site.flow(source, target)}")
    reference = {"id": base, "connectionSpec": HTTP}
    assert item["inheritedAttributes"] == {
        "properties": {"isSourceFlow": True},
        "sourceConnections": [{"id": source, "connectionSpec": HTTP, "baseConnection": reference}],
        "targetConnections": [{"id": target, "connectionSpec": LAKE}],
    }
    assert item["runs"] == f"/runs?property=flowId=={item['id']}"
    assert "lastRunDetails" not in item
    inherited = site.item(f"/sourceConnections/{source}")["inheritedAttributes"]
    assert inherited == {"baseConnection": reference}
    assert "inheritedAttributes" not in site.item(f"/targetConnections/{target}")
    by_base = f"/sourceConnections?property=inheritedAttributes.baseConnection.id=={base}"
    assert [found["id"] for found in site.get(by_base)["items"]] == [source]


def test_a_draft_needs_its_mapping_when_it_is_published(site: Site) -> None:
    ends = {"sourceConnectionIds": [site.source(site.base("raw"))], "targetConnectionIds": [site.target()]}  # fmt: skip
    flow = site.post("/flows?mode=draft", {"name": "f", "flowSpec": MAPPED, **ends})
    path = f"/flows/{flow}"
    for op in ("enable", "disable"):
        assert code(site.send("POST", f"{path}/action?op={op}")) == "FLOW-1422-400"
    assert code(site.publish("flows", flow)) == "FLOW-1419-400"
    assert site.item(path)["state"] == "draft"
    assert site.revisions.latest(flow) is None
    mapping = [{"name": "Mapping", "params": {"mappingId": "m", "mappingVersion": "0"}}]
    add = {"op": "add", "path": "/transformations", "value": mapping}
    assert site.change(path, add).status_code == 200
    assert site.revisions.latest(flow) is None
    assert site.publish("flows", flow).status_code == 200
    item = site.item(path)
    assert (item["state"], item["transformations"]) == ("enabled", mapping)
    latest = site.revisions.latest(flow)
    assert latest is not None
    assert (latest.mapping_id, latest.mapping_version) == ("m", 0)


def test_a_flow_without_a_name_is_named_by_its_id(site: Site) -> None:
    ends = {"sourceConnectionIds": site.source(site.base()), "targetConnectionIds": [site.target()]}
    flow = site.post("/flows", {"flowSpec": PLAIN, **ends})
    assert site.item(f"/flows/{flow}")["name"] == flow


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"state": "enabled"}, "FLOW-1410-400"),
        ({"flowSpec": {"id": "x"}}, "FLOW-1413-400"),
        ({"flowSpec": None}, "FLOW-1413-400"),
        ({"sourceConnectionIds": []}, "CONNECTOR-1321-400"),
        ({"sourceConnectionIds": ["a", "b"]}, "CONNECTOR-1321-400"),
        ({"targetConnectionIds": [None]}, "CONNECTOR-1338-400"),
        ({"targetConnectionIds": ["nobody"]}, "FLOW-1439-404"),
        ({"name": 5}, "FLOW-1100-400"),
        ({"description": 5}, "FLOW-1100-400"),
        ({"policy": {"fields": []}}, "FLOW-1431-400"),
        ({"flowSpec": MAPPED}, "FLOW-1419-400"),
        ({"flowSpec": MAPPED, "transformations": [{"name": None}]}, "FLOW-1419-400"),
        ({"flowSpec": {"id": "e77fde5a-22a8-11ed-861d-0242ac120002"}}, "FLOW-1100-400"),
    ],
)
def test_faults_of_a_new_flow(site: Site, change: dict[str, Any], expected: str) -> None:
    body = {"name": "f", "flowSpec": PLAIN, "sourceConnectionIds": [site.source(site.base())]}
    answer = site.send("POST", "/flows", body | {"targetConnectionIds": [site.target()]} | change)
    assert code(answer) == expected
    assert site.get("/flows")["items"] == []


@pytest.mark.parametrize(
    ("kind", "change", "expected"),
    [
        ("connections", {"connectionSpec": {"id": "x"}}, "FLOW-1413-400"),
        ("connections", {"auth": {"specName": "x"}}, "FLOW-1415-400"),
        ("connections", {"auth": None}, "FLOW-1415-400"),
        ("connections", {"auth": {"specName": "Streaming Connection"}}, "FLOW-1100-400"),
        ("connections", {"name": " "}, "FLOW-1100-400"),
        ("connections", {"description": 1}, "FLOW-1100-400"),
        ("connections", {"state": "broken"}, "FLOW-1456-400"),
        ("sourceConnections", {"baseConnectionId": None}, "CONNECTOR-1304-400"),
        ("sourceConnections", {"baseConnectionId": "nobody"}, "FLOW-1439-404"),
        ("sourceConnections", {"connectionId": "other"}, "FLOW-1100-400"),
        ("sourceConnections", {"connectionSpec": GENERIC}, "CONNECTOR-1332-400"),
        ("sourceConnections", {"connectionSpec": LAKE}, "CONNECTOR-1332-400"),
        ("sourceConnections", {"connectionSpec": KINESIS}, "FLOW-1100-400"),
        ("sourceConnections", {"data": {"format": "avro"}}, "CONNECTOR-1327-400"),
        ("sourceConnections", {"data": []}, "FLOW-1100-400"),
        ("targetConnections", {"params": {}}, "CONNECTOR-1325-400"),
        ("targetConnections", {"params": {"dataSetId": ""}}, "CONNECTOR-1325-400"),
    ],
)
def test_faults_of_a_new_connection(
    site: Site, kind: str, change: dict[str, Any], expected: str
) -> None:
    form = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}
    bodies: dict[str, dict[str, Any]] = {
        "connections": {"name": "b", "connectionSpec": HTTP, "auth": form},
        "sourceConnections": {"name": "s", "connectionSpec": HTTP, "baseConnectionId": site.base()},
        "targetConnections": {"name": "t", "connectionSpec": LAKE, "params": {"dataSetId": "d"}},
    }
    answer = site.send("POST", f"/{kind}", bodies[kind] | change)
    assert code(answer) == expected
    answer = site.send("POST", f"/{kind}?mode=test", bodies[kind])
    assert code(answer) == "FLOW-1452-400"
    assert site.send("POST", f"/{kind}", bodies[kind]).status_code == 201


def test_a_connection_may_begin_disabled_and_a_webhook_needs_none(site: Site) -> None:
    assert site.item(f"/connections/{site.base(state='disabled')}")["state"] == "disabled"
    assert site.item(f"/connections/{site.base(state='initializing')}")["state"] == "enabled"
    webhook = site.post("/sourceConnections", {"name": "w", "connectionSpec": GENERIC})
    assert "baseConnectionId" not in site.item(f"/sourceConnections/{webhook}")


def test_exploring_says_why_there_is_nothing_to_see(site: Site) -> None:
    inlet = f"/connections/{site.base()}"
    assert code(site.send("GET", f"{inlet}/explore?objectType=root")) == "CONNECTOR-1336-400"
    assert code(site.send("GET", f"{inlet}/configs")) == "CONNECTOR-1398-400"
    assert site.get(f"{inlet}/test") == {"result": True}
    keys = {"account": "a", "database": "d", "warehouse": "w", "username": "u", "password": "s"}
    auth = {"specName": "Basic Authentication for Snowflake", "params": keys}
    body = {"name": "k", "connectionSpec": SNOWFLAKE, "auth": auth}
    queue = f"/connections/{site.post('/connections', body)}"
    for query, number in (
        ("", 1304), ("?objectType=blob", 1358), ("?objectType=TABLE", 1337),
        ("?objectType=ROOT", 1305), ("?objectType=table&object=x", 1305),
    ):  # fmt: skip
        answer = site.send("GET", f"{queue}/explore{query}")
        assert code(answer) == f"CONNECTOR-{number}-400"
    assert code(site.send("GET", f"{queue}/test")) == "CONNECTOR-1305-400"
    assert code(site.send("GET", f"{queue}/configs")) == "CONNECTOR-1305-400"
    for word in ("explore", "configs", "test"):
        assert code(site.send("GET", f"/connections/nobody/{word}")) == "FLOW-1439-404"
