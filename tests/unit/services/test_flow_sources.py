"""Dataflows of pulled sources: what they may read, and what they cannot share."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.services.flow_site import Site, code

OPTIONAL = {"id": "d69717ba-71b4-4313-b654-49f9cf126d7a", "version": "1.0"}
PUBSUB = {"id": "70116022-a743-464a-bbfe-e226a7f8210c", "version": "1.0"}
KAFKA = {"id": "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3", "version": "1.0"}
SCOPED = "Topic & Subscription Based Authentication"
SHORT = {"topicId": "t", "subscriptionId": "s"}
FULL = {"topicName": "projects/shop/topics/t", "subscriptionName": "projects/shop/subscriptions/s"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def account(project: str | None) -> str:
    """A service account as it is pasted into a form: text of JSON."""
    content = {"type": "service_account", "client_email": "x@example.com"}
    return json.dumps(content | ({"project_id": project} if project else {}))


def pubsub(site: Site, auth: dict[str, Any], params: dict[str, str], form: str = SCOPED) -> Any:
    """The answer to creating a flow of a new connection."""
    base = site.post("/connections", {
        "name": "b", "connectionSpec": PUBSUB, "auth": {"specName": form, "params": auth},
    })  # fmt: skip
    source = site.source(base, connectionSpec=PUBSUB, params=params)
    ends = {"sourceConnectionIds": [source], "targetConnectionIds": [site.target()]}
    return site.send("POST", "/flows", {"name": "f", "flowSpec": OPTIONAL, **ends})


def test_a_project_that_only_the_credentials_name_is_enough(site: Site) -> None:
    """They are sealed in the store: what a flow reads is known only when they are opened."""
    auth = {"credentials": account("shop"), "topicName": "t"}
    made = pubsub(site, auth, SHORT)
    assert made.status_code == 201, made.text
    item = site.item(f"/flows/{made.json()['id']}")
    assert item["state"] == "enabled"
    again = pubsub(site, auth, SHORT)
    assert code(again) == "CONNECTOR-1000-400"
    # the same subscription by its whole name, and through a form that states the project
    for other, params in (
        ({"credentials": account(None), "topicName": "t"}, FULL),
        ({"credentials": account("elsewhere"), "projectId": "shop"}, SHORT),
    ):
        form = SCOPED if "topicName" in other else "Project Based Authentication"
        refused = pubsub(site, other, params, form)
        assert code(refused) == "CONNECTOR-1000-400"
        assert "projects/shop/subscriptions/s" in refused.json()["errorMessage"]
    assert "private" not in refused.text
    elsewhere = pubsub(site, {"credentials": account("other"), "topicName": "t"}, SHORT)
    assert elsewhere.status_code == 201, elsewhere.text


def test_a_subscription_without_any_project_is_refused_and_no_flow_stays(site: Site) -> None:
    refused = pubsub(site, {"credentials": account(None), "topicName": "t"}, SHORT)
    assert (refused.status_code, code(refused)) == (400, "CONNECTOR-1000-400")
    assert "project" in refused.json()["errorMessage"]
    assert site.get("/flows")["items"] == []


def test_a_consumer_group_is_free_again_when_its_flow_is_disabled_or_gone(site: Site) -> None:
    base = site.post("/connections", {
        "name": "b", "connectionSpec": KAFKA,
        "auth": {"specName": "Kafka No Authentication", "params": {"bootstrapServers": "broker.example.com"}},
    })  # fmt: skip
    params = {"topic": "t", "consumerGroup": "g"}
    source = site.source(base, connectionSpec=KAFKA, params=params)
    target = site.target()
    body = {"name": "f", "flowSpec": OPTIONAL, "sourceConnectionIds": [source], "targetConnectionIds": [target]}  # fmt: skip
    first = site.post("/flows", body)
    assert code(site.send("POST", "/flows", body)) == "CONNECTOR-1000-400"
    assert site.send("POST", f"/flows/{first}/action?op=disable").status_code == 200
    second = site.post("/flows", body)
    assert code(site.send("POST", f"/flows/{first}/action?op=enable")) == "CONNECTOR-1000-400"
    assert site.item(f"/flows/{first}")["state"] == "disabled"
    draft = site.post("/flows?mode=draft", body)
    assert code(site.publish("flows", draft)) == "CONNECTOR-1000-400"
    assert site.send("DELETE", f"/flows/{second}").status_code == 204
    assert site.publish("flows", draft).status_code == 200
