"""Every route of the application against every kind of caller."""

import json
from pathlib import Path

import pytest

from headrace.app import Application
from headrace.http.contract import Route
from headrace.security.clients import READ_ONLY, add_client
from headrace.settings import Settings
from headrace.testing.calls import InProcess

COMPUTES = ("/search", "/validate", "/preview")


class Site:
    def __init__(self, directory: Path) -> None:
        self.application = app = Application(Settings(data_dir=directory), "http://localhost")
        self.routes: list[Route] = app._routes()
        self.org = app.installation.org_id
        self.web = InProcess(app.control)

    def caller(self, **options: bool) -> dict[str, str]:
        client, _ = add_client(self.application.store, self.org, f"client {options}", **options)
        token, _ = self.application.tokens.issue(
            client.id, self.org, client.effective, client.user_id
        )
        return {
            "authorization": f"Bearer {token}", "x-api-key": client.id, "x-gw-ims-org-id": self.org,
        }  # fmt: skip

    def codes(self, headers: dict[str, str], route: Route) -> str:
        """The gateway's code, or nothing when the call reached the service."""
        path = route.path.replace("{", "").replace(":path", "").replace("}", "")
        answer = self.web.request(route.method, path, headers=headers)
        body = json.loads(answer.content) if "json" in answer.headers.get("content-type", "") else 0
        return str(body.get("error_code", "")) if isinstance(body, dict) else ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return Site(tmp_path_factory.mktemp("rights"))


def test_readers_reach_every_route_that_only_reads_and_no_other(site: Site) -> None:
    reader = site.caller(read_only=True)
    guarded = [route for route in site.routes if route.auth != "none"]
    found = {(route.method, route.path): site.codes(reader, route) for route in guarded}
    wanted = {(route.method, route.path): "" if route.only_reads else "403025" for route in guarded}
    assert found == wanted
    assert {"", "403025"} == set(found.values())


def test_nobody_reaches_a_guarded_route_without_a_token(site: Site) -> None:
    guarded = [route for route in site.routes if route.auth != "none"]
    assert {site.codes({}, route) for route in guarded} == {"403010"}


def test_only_token_endpoints_are_open(site: Site) -> None:
    assert {route.service for route in site.routes if route.auth == "none"} == {"ims"}


def test_what_only_computes_is_open_to_readers(site: Site) -> None:
    computing = [route for route in site.routes if route.path.endswith(COMPUTES)]
    assert computing
    closed = [f"{route.method} {route.path}" for route in computing if not route.only_reads]
    assert closed == []


def test_the_scope_of_readers_is_no_scope_of_the_first_client(site: Site) -> None:
    document = site.application.store.everywhere("clients")[0][1]
    assert READ_ONLY not in document.body["scopes"].split(",")
