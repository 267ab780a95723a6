"""Sandboxes: what they are called, how they are listed, and that nothing outlives their reset or deletion."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.security.tokens import Tokens
from headrace.services.sandbox import routes
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.testing.calls import InProcess

BASE = "/data/foundation/sandbox-management"
ALL = f"{BASE}/sandboxes"


class Site:
    def __init__(self, directory: Path) -> None:
        self.store = Store(directory / "store.db")
        installation = bootstrap(self.store, directory, "http://localhost")
        credentials = json.loads((directory / "credentials.json").read_text())
        self.org = credentials["org_id"]
        self.changes = 0
        self.dropped: list[tuple[str, str]] = []
        self.failing = False
        gateway = Gateway(self.store, Tokens(b"k" * 32), "off", installation)
        headers = {"x-api-key": credentials["client_id"], "x-gw-ims-org-id": self.org}
        table = routes(self.store, self._changed, self._drop)
        self.web = InProcess(build(table, gateway, title="t"), headers)

    def _changed(self) -> None:
        self.changes += 1

    def _drop(self, scope: Scope, id: str) -> None:
        self.dropped.append((scope.sandbox, id))
        if self.failing:
            raise OSError("no disk")

    def create(self, name: str, /, **more: Any) -> httpx.Response:
        body = {"name": name, "title": name.title(), "type": "development"} | more
        return self.web.post(ALL, json=body)

    def fill(self, name: str) -> None:
        for kind in ("dataSets", "flows"):
            self.store.create(Scope(self.org, name), kind, f"{name}-{kind}", {"name": "x"})

    def holds(self, name: str) -> list[str]:
        scope = Scope(self.org, name)
        kinds = ("dataSets", "flows")
        return [found.id for kind in kinds for found in self.store.list(scope, kind)]

    def names(self, query: str = "") -> list[str]:
        answer = self.web.get(f"{ALL}{query}")
        assert answer.status_code == 200, answer.text
        return [item["name"] for item in answer.json()["sandboxes"]]


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def code(answer: httpx.Response) -> str:
    return str(answer.json()["type"].rsplit("/", 1)[1])


def test_a_sandbox_is_created_once_and_read(site: Site) -> None:
    made = site.create("dev-1")
    assert (made.status_code, made.json()["state"]) == (201, "creating")
    assert made.json().keys() >= {"name", "title", "state", "type", "region"}
    item = site.web.get(f"{ALL}/dev-1/").json()
    assert (item["title"], item["state"], item["isDefault"]) == ("Dev-1", "active", False)
    assert item.keys() >= {"id", "eTag", "createdDate", "lastModifiedDate", "createdBy"}
    again = site.create("dev-1")
    assert (again.status_code, code(again)) == (409, "SMS-2005-409")
    missing = site.web.get(f"{ALL}/nothing")
    assert (missing.status_code, code(missing)) == (404, "SMS-2001-404")
    types = site.web.get(f"{BASE}/sandboxTypes").json()
    assert types == {"sandboxTypes": ["production", "development"]}


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Dev"}, {"name": ""}, {"name": "a_b"}, {"name": None}, {"name": "-a"},
        {"title": " "}, {"title": None}, {"type": "staging"}, {"type": None},
    ],
)  # fmt: skip
def test_a_sandbox_that_is_wrong_is_not_created(site: Site, change: dict[str, Any]) -> None:
    answer = site.create("dev", **change)
    assert answer.status_code == 400
    assert site.names() == ["prod"]


def test_lists_are_paged_filtered_and_ordered(site: Site) -> None:
    for name in ("b", "a", "c"):
        site.create(name)
    assert site.names() == ["prod", "b", "a", "c"]
    assert site.names("?orderBy=name") == ["a", "b", "c", "prod"]
    assert site.names("?orderBy=-name&limit=2&offset=1") == ["c", "b"]
    assert site.names("?property=type==production") == ["prod"]
    page = site.web.get(f"{BASE}/?limit=2&offset=0").json()
    assert page["_page"] == {"limit": 2, "count": 2}
    assert page["_links"]["page"]["templated"] is True
    for query in ("?limit=2", "?offset=2", "?limit=0&offset=0", "?limit=1&offset=-1", "?orderBy=x"):
        assert site.web.get(f"{ALL}{query}").status_code == 400, query


def test_only_the_title_changes(site: Site) -> None:
    site.create("dev")
    before = site.web.get(f"{ALL}/dev").json()
    changed = site.web.patch(f"{ALL}/dev", json={"title": "Renamed"}).json()
    assert (changed["title"], changed["id"]) == ("Renamed", before["id"])
    assert changed["eTag"] > before["eTag"]
    for body in ({"name": "x"}, {"title": ""}, {"title": "T", "type": "production"}, {}):
        assert site.web.patch(f"{ALL}/dev", json=body).status_code == 400
    assert site.web.patch(f"{ALL}/nothing", json={"title": "T"}).status_code == 404


def test_a_reset_takes_all_of_one_sandbox_with_its_tables(site: Site) -> None:
    for name in ("dev", "other"):
        site.create(name)
        site.fill(name)
    before = site.web.get(f"{ALL}/dev").json()
    path = f"{ALL}/dev"
    tried = site.web.request("PUT", f"{path}?validationOnly=true", json={"action": "reset"})
    assert (tried.status_code, len(site.holds("dev")), site.dropped) == (200, 2, [])
    done = site.web.request("PUT", path, json={"action": "reset"})
    assert (done.status_code, done.json()["state"]) == (200, "resetting")
    assert site.holds("dev") == []
    assert site.dropped == [("dev", "dev-dataSets")]
    assert len(site.holds("other")) == 2
    assert site.changes > 0
    assert site.web.get(path).json()["id"] == before["id"]
    for body in ({}, {"action": "delete"}):
        assert site.web.request("PUT", path, json=body).status_code == 400


def test_a_deletion_takes_the_sandbox_too_but_never_the_default(site: Site) -> None:
    site.create("dev")
    site.fill("dev")
    gone = site.web.delete(f"{ALL}/dev")
    assert (gone.status_code, gone.json()["state"]) == (200, "deleted")
    assert (site.holds("dev"), site.dropped) == ([], [("dev", "dev-dataSets")])
    assert site.web.get(f"{ALL}/dev").status_code == 404
    assert site.web.delete(f"{ALL}/dev").status_code == 404
    assert (site.create("dev").status_code, site.holds("dev")) == (201, [])
    kept = site.web.delete(f"{ALL}/prod")
    assert (kept.status_code, code(kept)) == (400, "SMS-2007-400")


def test_a_table_that_does_not_go_does_not_undo_the_deletion(site: Site) -> None:
    site.create("dev")
    site.fill("dev")
    site.failing = True
    assert site.web.delete(f"{ALL}/dev").status_code == 200
    assert site.names() == ["prod"]
