"""A consumer group of Azure Event Hubs serves one enabled flow, by whichever names it is given."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.sources.event_hubs_client import AAD, SAS
from tests.sources.streams import EVENT_HUBS
from tests.unit.services.flow_site import Site, code

OPTIONAL = {"id": "d69717ba-71b4-4313-b654-49f9cf126d7a", "version": "1.0"}
SPEC = {"id": EVENT_HUBS, "version": "1.0"}
KEY = {"sasKeyName": "policy", "sasKey": "c2VjcmV0", "namespace": "shop"}
SECRET = {"tenantId": "t", "clientId": "c", "clientSecretValue": "s"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def flow(
    site: Site, params: dict[str, str], auth: dict[str, str] = KEY, form: str = SAS
) -> httpx.Response:
    given: dict[str, Any] = {"specName": form, "params": auth}
    base = site.post("/connections", {"name": "b", "connectionSpec": SPEC, "auth": given})
    source = site.source(base, connectionSpec=SPEC, params={"eventHubName": "clicks", **params})
    ends = {"sourceConnectionIds": [source], "targetConnectionIds": [site.target()]}
    return site.send("POST", "/flows", {"name": "f", "flowSpec": OPTIONAL, **ends})


def test_a_consumer_group_of_event_hubs_serves_one_flow_at_a_time(site: Site) -> None:
    first = flow(site, {})
    assert first.status_code == 201, first.text
    whole = "shop.servicebus.windows.net"
    for params, auth, form in (
        ({}, KEY, SAS),
        ({"consumerGroup": "$default"}, KEY, SAS),
        ({"eventHubConsumerGroup": "$Default"}, {**KEY, "namespace": whole}, SAS),
        ({"eventHubName": "Clicks"}, {**SECRET, "namespace": "shop"}, AAD),
        ({}, {**KEY, "endpointUrl": f"kafkas://{whole}"}, SAS),
    ):
        again = flow(site, params, auth, form)
        assert (again.status_code, code(again)) == (400, "CONNECTOR-1000-400"), again.text
        assert first.json()["id"] in again.json()["errorMessage"]
    for params, auth in (
        ({"consumerGroup": "mine"}, KEY),
        ({"eventHubName": "views"}, KEY),
        ({}, {**KEY, "namespace": "other"}),
    ):
        assert flow(site, params, auth).status_code == 201
    site.send("POST", f"/flows/{first.json()['id']}/action?op=disable")
    assert flow(site, {}).status_code == 201, "free again"
