"""Lists of Flow Service: filters, order, pages, counts, searches; and the memory behind them."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.http.contract import Call
from headrace.http.paging import ordered, place
from headrace.services.flow.collection import Collection
from headrace.services.flow.query import of_call
from headrace.services.flow.snapshot import SMALL, SOME, Snapshot
from headrace.store import documents
from headrace.store.documents import Store
from tests.unit.services.flow_site import BASE, Site, code


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def many(site: Site, count: int) -> list[str]:
    """Dataflows `flow 0`… in order of creation, one in three of them disabled."""
    source, target = site.source(site.base()), site.target()
    ids = [site.flow(source, target, f"flow {number}") for number in range(count)]
    for id in ids[::3]:
        assert site.send("POST", f"/flows/{id}/action?op=disable").status_code == 200
    return ids


def names(site: Site, path: str) -> list[str]:
    return [item["name"] for item in site.get(path)["items"]]


def walk(site: Site, path: str) -> list[dict[str, Any]]:
    """All items, page after page, by the links alone."""
    found: list[dict[str, Any]] = []
    while path:
        page = site.get(path)
        found += page["items"]
        path = page["_links"].get("next", {}).get("href", "")
        assert path.count("=") == (1 if path else 0)
    return found


def test_pages_go_from_new_to_old_and_stay_right_while_flows_come_and_go(site: Site) -> None:
    ids = many(site, 7)
    newest = sorted(walk(site, "/flows?limit=100"), key=lambda i: (-i["createdAt"], i["id"]))
    assert [i["id"] for i in walk(site, "/flows?limit=3")] == [i["id"] for i in newest]
    first = site.get("/flows?limit=3")
    assert site.send("DELETE", f"/flows/{first['items'][-1]['id']}").status_code == 204
    site.flow(site.source(site.base()), site.target(), "late")
    rest = walk(site, first["_links"]["next"]["href"])
    assert [i["id"] for i in rest] == [i["id"] for i in newest[3:]]
    assert {i["id"] for i in first["items"] + rest} == set(ids)


def test_a_token_carries_filter_order_and_size_with_or_without_the_query(site: Site) -> None:
    many(site, 8)
    query = "limit=2&orderby=-name&property=state==enabled"
    whole = [i["name"] for i in walk(site, f"/flows?{query}")]
    assert whole == ["flow 7", "flow 5", "flow 4", "flow 2", "flow 1"]
    link = site.get(f"/flows?{query}")["_links"]["next"]["href"]
    assert names(site, link) == names(site, f"{link}&{query}") == whole[2:4]
    for token in ("x", "e30", link.partition("=")[2][:-3]):
        answer = site.send("GET", f"/flows?continuationToken={token}")
        assert code(answer) == "FLOW-1452-400", token


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("orderby=name", ["a", "b", "c"]),
        ("orderby=%2Bname", ["a", "b", "c"]),
        ("orderby=+name", ["a", "b", "c"]),
        ("orderby=-name", ["c", "b", "a"]),
        ("orderby=state,-name", ["b", "c", "a"]),
        ("orderby=-state,name", ["a", "c", "b"]),
        ("property=name==a,c&orderby=name", ["a", "c"]),
        ("property=name%3D%3D%22a%22", ["a"]),
        ("property=name!=a,c", ["b"]),
        ("property=state==DISABLED", ["b"]),
        ("property=state==enabled&property=name==c", ["c"]),
        ("property=description==with,%20comma", []),
        ('property=description=="with, comma"', ["a"]),
        ("property=createdAt>=0&orderby=name", ["a", "b", "c"]),
        ("property=createdAt<5", []),
        ("property=flowSpec.id=d8a6f005-7eaf-4153-983e-e8574508b877&property=name==b", ["b"]),
        ("property=inheritedAttributes.properties.isSourceFlow==true&property=name==b", ["b"]),
        ("property=inheritedAttributes.properties.isSourceFlow==false", []),
        ("property=labels[]==core/C1,core/C2", ["a"]),
        ("property=no.such==1", None),
        ("property=options.no.such==1", []),
    ],
)
def test_filters_and_orders(site: Site, query: str, expected: list[str] | None) -> None:
    source, target = site.source(site.base()), site.target()
    site.flow(source, target, "a", description="with, comma", labels=["core/C1"])
    off = site.flow(source, target, "b")
    site.flow(source, target, "c")
    assert site.send("POST", f"/flows/{off}/action?op=disable").status_code == 200
    if expected is None:
        assert code(site.send("GET", f"/flows?{query}")) == "FLOW-1449-400"
        return
    assert names(site, f"/flows?{query}") == expected
    assert site.get(f"/flows?{query}&count=true") == {"count": len(expected)}
    filters = "&".join(p for p in query.split("&") if p.startswith("property"))
    if filters:
        body = {"queryString": filters.replace("%20", " "), "orderby": "name"}
        searched = site.send("POST", "/flows/search", body).json()
        assert sorted(i["name"] for i in searched["items"]) == sorted(expected)


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("count=true&limit=5", 1401), ("count=maybe", 1452), ("limit=0", 1452), ("limit=x", 1452),
        ("orderby=*name", 1432), ("orderby=name,,", 1432), ("orderby=nonsense", 1433),
        ("property=name~x", 1440), ("property=createdAt>1,2", 1443), ("property=id>=a", 1448),
        ("property=nonsense==1", 1449), ("property=name!>a", 1450), ("filter=name", 1451),
        ("start=1", 1451), ("property=createdAt==a,b", 1452), ("property=createdAt==", 1453),
    ],
)  # fmt: skip
def test_faults_of_a_list_call(site: Site, query: str, number: int) -> None:
    for kind in ("connections", "sourceConnections", "targetConnections", "flows", "runs"):
        answer = site.send("GET", f"/{kind}?{query}")
        assert (answer.status_code, code(answer)) == (400, f"FLOW-{number}-400"), kind
        assert site.get(f"/{kind}?limit=1000&count=False") == {"items": [], "_links": {}}


def test_a_text_without_an_operator_chooses_the_keys(site: Site) -> None:
    many(site, 2)
    page = site.get("/flows?property=name,state&property=state==disabled&limit=1")
    assert [set(item) for item in page["items"]] == [{"id", "name", "state"}]
    assert len(walk(site, "/flows?property=name&limit=1")) == 2


def test_a_search_takes_all_from_its_body(site: Site) -> None:
    many(site, 5)
    base = site.get("/connections")["items"][0]["id"]
    body = {"queryString": "state==enabled", "limit": 2, "orderby": "-name", "count": False}
    page = site.send("POST", "/flows/search", body | {"projectionFields": ["name"]}).json()
    assert [i["name"] for i in page["items"]] == ["flow 4", "flow 2"]
    assert set(page["items"][0]) == {"id", "name"}
    link = page["_links"]["next"]["href"]
    token = link.partition("=")[2]
    following = site.send("POST", f"/flows/search?continuationToken={token}", {}).json()
    assert [i["name"] for i in following["items"]] == ["flow 1"]
    only = {"queryString": "state==enabled", "count": True}
    assert site.send("POST", "/flows/search", only).json() == {"count": 3}
    found = site.send("POST", "/connections/search", {"queryString": "?limit=1&property=name==b"})
    assert [i["id"] for i in found.json()["items"]] == [base]
    for kind in ("sourceConnections", "targetConnections"):
        assert len(site.send("POST", f"/{kind}/search").json()["items"]) == 1
    assert code(site.send("POST", "/flows/search", {"queryString": 5})) == "FLOW-1452-400"
    assert code(site.send("POST", "/flows/search", [])) == "FLOW-1405-400"


def query(*pairs: tuple[str, str]) -> Any:
    return of_call(Call("GET", "/", {}, list(pairs), {}, b"", "r", "o"))


def any_item(rng: random.Random, id: str | None = None) -> dict[str, Any]:
    return {
        "id": id or f"{rng.randrange(1 << 40):x}",
        "createdAt": rng.randrange(300),
        "name": rng.choice(["a", "b", "true", "7"]) + rng.choice(["", "x"]),
        "state": rng.choice(["enabled", "Enabled", "draft"]),
        "options": {"n": rng.choice([7, 7.5, True, "7", None, {"deep": [1]}])},
        "labels": rng.sample(["p", "q", "r"], rng.randrange(4)),
        "revision": rng.randrange(4),
    }


def agreement(
    rng: random.Random, snapshot: Snapshot, items: list[dict[str, Any]], calls: int = 15
) -> int:
    """Compare with looking at every item; how many calls began behind a place and found more."""
    texts = ["name==a", "name==a,true,7", "state==ENABLED", "options.n==7", "options.n==true"]
    texts += [
        "labels[]==p,q",
        "revision>=2",
        "name!=a",
        "options.n==7.5",
        "createdAt<40",
        "name==none",
    ]
    orders = ["", "name", "-revision,name", "options.n", "-createdAt", "createdAt", "-name"]
    begun = 0
    for _ in range(calls):
        chosen = [("property", text) for text in rng.sample(texts, rng.randrange(3))]
        wanted = query(*chosen, ("orderby", rng.choice(orders)))
        expected = ordered([i for i in items if wanted.selection.accepts(i)], wanted.order)
        assert list(snapshot.matching(wanted)) == expected
        if expected:
            at = rng.randrange(len(expected))
            behind = replace(wanted, after=place(expected[at], wanted.order))
            assert list(snapshot.matching(behind)) == expected[at + 1 :]
            begun += at + 1 < len(expected)
    return begun


@pytest.mark.parametrize("size", [SMALL // 2, 3 * SMALL, SOME + SMALL])
def test_the_snapshot_finds_what_looking_at_every_item_finds(size: int) -> None:
    rng = random.Random(size)
    items = [any_item(rng) for _ in range(size)]
    del items[5]["name"]
    assert agreement(rng, Snapshot(items), items, 40) > 10


@pytest.mark.parametrize("changed", [1, 40, SMALL + 1])
def test_a_renewed_snapshot_is_as_good_as_a_new_one(changed: int) -> None:
    rng = random.Random(changed)
    items = {item["id"]: item for item in (any_item(rng) for _ in range(3 * SMALL))}
    snapshot = Snapshot(items.values())
    agreement(rng, snapshot, list(items.values()))  # fills what it remembers
    for _ in range(3):
        changes: dict[str, dict[str, Any] | None] = {}
        for id in rng.sample(sorted(items), min(changed, len(items) // 2)):
            changes[id] = rng.choice([None, any_item(rng, id)])
        changes |= {item["id"]: item for item in (any_item(rng) for _ in range(changed))}
        changes["never there"] = None
        before, snapshot = snapshot, snapshot.renewed(changes)
        old = list(items.values())
        items |= {id: item for id, item in changes.items() if item is not None}
        items = {id: item for id, item in items.items() if changes.get(id, item) is not None}
        agreement(rng, snapshot, list(items.values()))
        agreement(rng, before, old)


def test_lists_see_every_change_by_whomever_and_nothing_rolled_back(site: Site) -> None:
    base = site.base()
    assert names(site, "/connections") == ["b"]
    other = Store(site.store.path)  # as another process would
    document = other.get(site.scope, "connections", base)
    assert document is not None
    other.replace(site.scope, "connections", base, document.body | {"name": "changed"})
    assert names(site, "/connections") == ["changed"]

    def deleted_after_all() -> None:
        with site.store.transaction():
            site.store.delete(site.scope, "connections", base)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        deleted_after_all()
    assert names(site, "/connections") == ["changed"]
    with other.transaction() as db:
        db.execute("DELETE FROM documents WHERE kind='connections'")
    assert names(site, "/connections") == []
    other.close()


def test_a_store_of_an_older_version_is_listed_and_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(documents, "MIGRATIONS", documents.MIGRATIONS[:2])
        store = Store(tmp_path / "store.db")
        scope = documents.Scope("o", "prod")
        store.create(scope, "connections", "early", {"id": "early"})
        store.close()
    store = Store(tmp_path / "store.db")
    collection = Collection(store, "connections", lambda d: {"id": d.id, "createdAt": d.created})
    assert [item["id"] for item in collection.current(scope)[0].items] == ["early"]
    store.create(scope, "connections", "late", {"id": "late"})
    assert set(collection.documents(scope)) == {"early", "late"}
    store.delete(scope, "connections", "early")
    assert set(collection.documents(scope)) == {"late"}


def test_a_change_is_read_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = many(site, 4)
    site.get("/flows")
    read: list[str] = []
    some = Store.some

    def watched(store: Store, scope: Any, kind: str, wanted: Any) -> Any:
        read.extend(wanted)
        return some(store, scope, kind, wanted)

    monkeypatch.setattr(Store, "some", watched)
    monkeypatch.setattr(Store, "list", lambda *_: pytest.fail("all were read"))
    site.change(f"/flows/{ids[1]}", {"op": "replace", "path": "/name", "value": "new"})
    assert "new" in names(site, "/flows")
    assert read == [ids[1]]
    site.get("/flows")
    assert read == [ids[1]]


def test_another_sandbox_has_lists_of_its_own(site: Site) -> None:
    site.base()
    sandbox = site.store.list(type(site.scope)(site.scope.org, ""), "sandboxes")[0].body
    site.store.create(
        type(site.scope)(site.scope.org, ""), "sandboxes", "dev",
        sandbox | {"id": "dev-id", "name": "dev", "type": "development"},
    )  # fmt: skip
    for path in ("/connections", "/flows", "/runs"):
        answer = site.web.get(BASE + path, headers={"x-sandbox-name": "dev"})
        assert answer.json() == {"items": [], "_links": {}}
