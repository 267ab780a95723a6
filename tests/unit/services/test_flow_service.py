"""The tutorial's calls against Flow Service, through the application."""

from pathlib import Path

import pytest

from headrace.errors import ApiError
from headrace.http.contract import Caller
from headrace.store.documents import Scope
from tests.unit.services.flow_site import BASE, HTTP, LAKE, Site, code

KAFKA = "Apache Kafka"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_drafts_are_published_from_the_base_upwards(site: Site) -> None:
    auth = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}
    base = site.post("/connections?mode=draft", {"name": "b", "connectionSpec": HTTP, "auth": auth})
    leg = {"name": "s", "baseConnectionId": base, "connectionSpec": HTTP}
    assert code(site.web.post(f"{BASE}/sourceConnections", json=leg)) == "FLOW-1444-400"
    source = site.post("/sourceConnections?mode=draft", leg)
    lake = {"name": "t", "connectionSpec": LAKE, "params": {"dataSetId": "d"}}
    target = site.post("/targetConnections?mode=draft", lake)
    flow = site.post(
        "/flows?mode=draft",
        {
            "name": "f",
            "flowSpec": {"id": "d8a6f005-7eaf-4153-983e-e8574508b877", "version": "1.0"},
            "sourceConnectionIds": [source],
            "targetConnectionIds": [target],
        },
    )
    assert code(site.publish("sourceConnections", source)) == "FLOW-1444-400"
    assert code(site.publish("flows", flow)) == "FLOW-1444-400"
    for kind, id in (
        ("connections", base), ("sourceConnections", source), ("targetConnections", target),
        ("flows", flow),
    ):  # fmt: skip
        answer = site.publish(kind, id)
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"id", "etag"}
        item = site.web.get(f"{BASE}/{kind}/{id}").json()["items"][0]
        assert (item["state"], item["etag"]) == ("enabled", answer.json()["etag"])
        assert code(site.publish(kind, id)) == "FLOW-1422-400"
    assert site.revisions.latest(flow) is not None


def test_a_draft_that_names_a_private_host_cannot_be_published(site: Site) -> None:
    specs = site.web.get(f"{BASE}/connectionSpecs").json()["items"]
    (kafka,) = [spec for spec in specs if spec["name"] == KAFKA]
    form = next(
        form for form in kafka["authSpec"] if "bootstrapServers" in form["spec"]["required"]
    )
    body = {
        "name": "k",
        "connectionSpec": {"id": kafka["id"], "version": "1.0"},
        "auth": {"specName": form["name"], "params": {"bootstrapServers": "127.0.0.1:9092"}},
    }
    assert code(site.web.post(f"{BASE}/connections", json=body)) == "FLOW-1100-400"
    draft = site.post("/connections?mode=draft", body)
    assert code(site.publish("connections", draft)) == "FLOW-1100-400"
    assert site.web.get(f"{BASE}/connections/{draft}").json()["items"][0]["state"] == "draft"


def test_a_stale_etag_is_refused_and_so_is_a_write_that_lost_a_race(site: Site) -> None:
    auth = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}
    id = site.post("/connections?mode=draft", {"name": "b", "connectionSpec": HTTP, "auth": auth})
    stale = site.web.post(
        f"{BASE}/connections/{id}/action?op=publish", headers={"if-match": '"another"'}
    )
    assert (stale.status_code, code(stale)) == (412, "FLOW-1404-412")
    entities = site.service.connections.entities
    scope = Scope(site.client["org_id"], "prod")
    read = entities.get(scope, id)
    assert site.publish("connections", id).status_code == 200
    caller = Caller(scope.org, "t", "c", "u", frozenset(), scope.sandbox, "i", "production")
    with pytest.raises(ApiError) as lost:
        entities.save(caller, read, read.body)
    assert (lost.value.status, lost.value.code) == (412, "FLOW-1404-412")


def test_a_schema_change_gives_its_flows_a_new_revision_and_a_new_etag(site: Site) -> None:
    auth = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}
    base = site.post("/connections", {"name": "b", "connectionSpec": HTTP, "auth": auth})
    leg = {"name": "s", "baseConnectionId": base, "connectionSpec": HTTP}
    lake = {"name": "t", "connectionSpec": LAKE, "params": {"dataSetId": "d"}}
    flow = site.post(
        "/flows",
        {
            "name": "f",
            "flowSpec": {"id": "d8a6f005-7eaf-4153-983e-e8574508b877", "version": "1.0"},
            "sourceConnectionIds": [site.post("/sourceConnections", leg)],
            "targetConnectionIds": [site.post("/targetConnections", lake)],
        },
    )
    before = site.web.get(f"{BASE}/flows/{flow}").json()["items"][0]["etag"]
    site.service.refresh_schema(Scope(site.client["org_id"], "prod"), "s")
    latest = site.revisions.latest(flow)
    assert latest is not None
    assert latest.revision == 2
    assert site.web.get(f"{BASE}/flows/{flow}").json()["items"][0]["etag"] != before


def test_the_tutorial_creates_a_flow_that_cannot_lose_its_connection(tmp_path: Path) -> None:
    site = Site(tmp_path)
    web, post, revisions = site.web, site.post, site.revisions
    http = HTTP
    auth = {"specName": "Streaming Connection", "params": {"dataType": "xdm"}}

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
