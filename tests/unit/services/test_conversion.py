"""Mapping sets as clients write, read and change them."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headrace.http.contract import Route
from headrace.services import conversion
from tests.unit.services.conversion_site import BASE, FULL, NAME_RULE, SETS, Site, refused

CONTRACT = """
GET /mappingSets  POST /mappingSets  POST /mappingSets/validate  POST /mappingSets/preview
GET /mappingSets/{id}  PUT /mappingSets/{id}  DELETE /mappingSets/{id}
GET /mappingSets/{id}/mappings  POST /mappingSets/{id}/mappings
GET /mappingSets/{id}/mappings/{mappingId}  PUT /mappingSets/{id}/mappings/{mappingId}
DELETE /mappingSets/{id}/mappings/{mappingId}  GET /mappingSets/suggestion
POST /languages/el/validate  GET /languages/el/functions  GET /languages/el/operators
GET /xdmBatchConversions  GET /xdmBatchConversions/{id}  GET /xdmBatchConversions/{id}/activities
GET /xdmBatchConversions/{id}/activities/{activityId:path}
GET /schemas  POST /schemas  POST /schemas/upload  GET /schemas/{id}
GET /samples  POST /samples  POST /samples/upload  GET /samples/{id}  PUT /samples/{id}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def table(site: Site) -> list[Route]:
    return conversion.routes(site.service)


def test_every_operation_of_the_contract_is_there_and_no_other(site: Site) -> None:
    words = CONTRACT.split()
    wanted = set(zip(words[::2], words[1::2], strict=True))
    found = {(r.method, r.path.removeprefix(BASE)) for r in table(site) if r.path.startswith(BASE)}
    assert found == wanted


def test_trials_are_open_to_clients_that_may_only_read(site: Site) -> None:
    posts = {r.path.removeprefix(BASE) for r in table(site) if r.method == "POST" and r.only_reads}
    posts = {path for path in posts if not path.startswith("/data")}
    assert posts == {"/mappingSets/validate", "/mappingSets/preview", "/languages/el/validate"}


# -- create and read ----------------------------------------------------------------------------------------


def test_a_modern_set_is_created_and_read_back_whole(site: Site) -> None:
    rule = {
        "sourceType": "EXPRESSION", "source": "concat(a.b, ${First Name}, a.b)",
        "destination": site.own("tier"), "name": "n", "description": "d",
    }  # fmt: skip
    tags = [{"name": "k", "values": ["v"]}]
    source = {"id": "a167ff29", "version": 0}
    body = site.body(
        NAME_RULE, rule, name="people", allowNullValues=True, tags=tags, inputSchema=source
    )
    made = site.web.post(f"{SETS}?validate=False", json=body)
    assert made.status_code == 200
    short = made.json()
    names = ["id", "version", "createdDate", "modifiedDate", "createdBy", "modifiedBy"]
    assert list(short) == names
    assert short["version"] == 0
    assert len(short["id"]) == 32
    int(short["id"], 16)
    found = site.web.get(f"{SETS}/{short['id']}").json()
    assert short.items() <= found.items()
    ref = {"id": site.schema, "contentType": FULL}
    expected = {
        "name": "people", "status": "DRAFT", "allowNullValues": True, "tags": tags,
        "inputSchema": source, "supportVersion": "1.1", "strictMapping": False,
        "schemaRef": ref, "xdmSchema": site.schema, "xdmVersion": FULL,
    }  # fmt: skip
    assert expected.items() <= found.items()
    assert found["outputSchema"]["schemaRef"] == ref
    assert "jsonSchema" not in found["outputSchema"]
    first, second = found["mappings"]
    assert (first["sourceType"], first["source"]) == ("text/x.schema-path", "firstName")
    assert first["sourceAttribute"] == "firstName"
    assert first["destinationXdmPath"] == first["destination"] == "person.name.firstName"
    assert first["expressionAttributes"] == []
    assert second["expressionAttributes"] == ["a.b", "First Name"]
    assert (second["sourceType"], second["name"], second["description"]) == (
        "text/x.aep-xl",
        "n",
        "d",
    )
    assert (second["version"], second["matchScore"], second["functionVersion"]) == (0, 0.0, 1)
    assert len({first["id"], second["id"], found["id"], found["outputSchema"]["id"]}) == 4


def test_a_legacy_set_is_stored_in_the_canonical_form(site: Site) -> None:
    alternative = f"_{site.tenant}.schemas.{site.schema.rsplit('/', 1)[1]}"
    legacy = {
        "version": 0, "xdmSchema": alternative, "xdmVersion": "1.0",
        "mappings": [
            {"destinationXdmPath": "person.name.firstName", "sourceAttribute": "firstName",
             "identity": False, "identityGroup": "g", "namespaceCode": "Email", "version": 0},
            {"destinationXdmPath": "x", "sourceAttribute": "x", "source": "a", "destination": "_id"},
        ],
    }  # fmt: skip
    made = site.web.post(SETS, json=legacy)
    assert made.status_code == 200, made.text
    found = site.web.get(f"{SETS}/{made.json()['id']}").json()
    assert found["xdmSchema"] == site.schema
    assert found["outputSchema"]["schemaRef"] == {"id": site.schema, "contentType": "1.0"}
    first, second = found["mappings"]
    assert (first["source"], first["sourceType"]) == ("firstName", "text/x.schema-path")
    assert (first["identityGroup"], first["namespaceCode"]) == ("g", "Email")
    assert (second["source"], second["destination"]) == ("a", "_id")
    assert (second["sourceAttribute"], second["destinationXdmPath"]) == ("a", "_id")


def test_media_types_and_words_of_source_types_mean_the_same(site: Site) -> None:
    kinds = ["text/x.schema-path", "text/x.aep-xl", "text/plain", "static"]
    rules = [{"sourceType": kind, "source": "a", "destination": "_id"} for kind in kinds]
    found = site.web.get(f"{SETS}/{site.create(*rules)}/mappings").json()
    assert [mapping["sourceType"] for mapping in found] == [*kinds[:3], "text/plain"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mappings": None}, "mappings"),
        ({"mappings": ["a"]}, "object"),
        ({"mappings": [{"source": "a"}]}, "'source' and 'destination'"),
        ({"mappings": [{**NAME_RULE, "sourceType": "SQL"}]}, "SQL"),
        ({"mappings": [{**NAME_RULE, "sourceType": "EXPRESSION", "source": "f("}]}, "'f('"),
        (
            {"mappings": [{**NAME_RULE, "sourceType": "EXPRESSION", "source": "1" * 4097}]},
            "4096 characters",
        ),
        ({"mappings": [{**NAME_RULE, "matchScore": "high"}]}, "matchScore"),
        ({"mappings": [{**NAME_RULE, "name": 1}]}, "name"),
        ({"outputSchema": None}, "target schema is missing"),
        ({"allowNullValues": "false"}, "allowNullValues"),
        ({"tags": {"name": "k"}}, "tags"),
        ({"status": 1}, "status"),
        ({"inputSchema": "x"}, "inputSchema"),
    ],
)
def test_what_is_no_mapping_set_is_refused(site: Site, change: dict[str, Any], said: str) -> None:
    assert said in refused(site.web.post(SETS, json={**site.body(NAME_RULE), **change}), 400)
    assert site.web.get(SETS).json()["data"] == []


def test_an_unknown_target_and_unknown_ids_are_404(site: Site) -> None:
    body = site.body(NAME_RULE, outputSchema={"schemaRef": {"id": f"{site.schema}0"}})
    assert site.web.post(SETS, json=body).status_code == 404
    for method, path in (("GET", "/x"), ("PUT", "/x"), ("DELETE", "/x"), ("GET", "/x/mappings")):
        answer = site.web.request(method, f"{SETS}{path}", json=site.body(NAME_RULE))
        assert "x" in refused(answer, 404)


def test_validate_true_refuses_what_does_not_fit_the_target(site: Site) -> None:
    body = site.body({**NAME_RULE, "destination": "person.nowhere"})
    said = refused(site.web.post(f"{SETS}?validate=True", json=body), 400)
    assert "person.nowhere" in said
    assert site.web.post(f"{SETS}?validate=False", json=body).status_code == 200


def test_expand_schema_adds_the_resolved_target(site: Site) -> None:
    id = site.create(NAME_RULE)
    for path in (f"{SETS}/{id}?expandSchema=True", f"{SETS}?expandSchema=True"):
        body = site.web.get(path).json()
        found = body["data"][0] if "data" in body else body
        fields = found["outputSchema"]["jsonSchema"]["properties"]
        assert fields["person"]["properties"]["name"]["properties"]["firstName"]["type"] == "string"


def test_a_set_outlives_its_target(site: Site) -> None:
    id = site.create(NAME_RULE)
    assert site.store.delete(site.scope, "schemas", site.schema)
    found = site.web.get(f"{SETS}/{id}?expandSchema=true").json()
    assert found["outputSchema"]["jsonSchema"] is None
    assert site.web.get(f"{SETS}?expandSchema=true").json()["_page"]["count"] == 1


def test_sets_are_those_of_one_sandbox(site: Site) -> None:
    id = site.create(NAME_RULE)
    headers = {"x-sandbox-name": "stage"}
    assert site.web.get(f"{SETS}/{id}", headers=headers).status_code == 404
    assert site.web.get(SETS, headers=headers).json()["data"] == []


# -- lists --------------------------------------------------------------------------------------------------


def names(site: Site, query: str = "") -> list[str]:
    answer = site.web.get(f"{SETS}{query}")
    assert answer.status_code == 200, answer.text
    return [item["name"] for item in answer.json()["data"]]


def test_pages_follow_one_another_and_keep_the_other_parameters(site: Site) -> None:
    for number in range(12):
        site.create(NAME_RULE, name=f"s{number}", status="ODD" if number % 2 else "EVEN")
    assert len(names(site)) == 10
    seen, path = [], "?limit=2&property=status%3D%3Dodd&orderBy=-createdDate"
    while path:
        body = site.web.get(f"{SETS}{path}").json()
        assert body["_page"] == {"count": len(body["data"]), "limit": 2}
        seen += [item["name"] for item in body["data"]]
        following = body["_links"].get("next", {}).get("href", "")
        path = following.partition("mappingSets")[2]
    assert sorted(seen) == sorted(f"s{number}" for number in range(1, 12, 2))
    assert site.web.get(f"{SETS}?limit=0").json()["_links"] == {}
    assert names(site, "?start=11&limit=5") == ["s11"]
    assert "limit" in refused(site.web.get(f"{SETS}?limit=-1"), 400)


def test_order_and_filters(site: Site) -> None:
    for name in ("a", "b", "c"):
        id = site.create(NAME_RULE, name=name)
        document = site.store.get(site.scope, "mappingSets", id)
        assert document is not None
        body = document.body
        body["versions"][0] |= {
            "createdDate": ord(name),
            "modifiedDate": {"a": 2, "b": 3, "c": 1}[name],
        }
        site.store.replace(site.scope, "mappingSets", id, body)
    assert names(site, "?orderBy=-createdDate") == ["c", "b", "a"]
    assert names(site, "?orderBy=+updatedDate") == ["c", "a", "b"]  # the plus arrives as a blank
    assert names(site, "?orderBy=%2BlastUpdateDate") == ["c", "a", "b"]
    assert names(site, "?orderBy=colour") == ["a", "b", "c"]
    assert names(site, "?name=b") == ["b"]
    assert names(site, f"?property=xdmSchema=={site.schema}") == ["a", "b", "c"]
    alternative = f"_{site.tenant}.schemas.{site.schema.rsplit('/', 1)[1]}"
    assert names(site, f"?property=xdmSchema=={alternative}") == ["a", "b", "c"]
    assert names(site, f"?property=xdmSchema=={alternative}0") == []
    assert names(site, "?property=status==published") == []
    assert "operator" in refused(site.web.get(f"{SETS}?property=status!"), 400)


# -- versions -----------------------------------------------------------------------------------------------


def test_a_replacement_is_a_new_version_and_the_old_one_stays(site: Site) -> None:
    id = site.create(NAME_RULE, name="people", status="PUBLISHED", allowNullValues=True)
    before = site.web.get(f"{SETS}/{id}").json()
    rule = {**NAME_RULE, "source": "given"}
    after = site.put(f"{SETS}/{id}", site.body(rule)).json()
    assert (after["version"], after["name"], after["status"]) == (1, "people", "PUBLISHED")
    assert (after["allowNullValues"], after["createdDate"]) == (False, before["createdDate"])
    assert after["mappings"][0]["id"] != before["mappings"][0]["id"]
    assert site.web.get(f"{SETS}/{id}").json() == after
    assert site.web.get(f"{SETS}/{id}?version=0").json() == before
    assert site.web.get(f"{SETS}/{id}/mappings?version=0").json() == before["mappings"]
    assert "version 2" in refused(site.web.get(f"{SETS}/{id}?version=2"), 404)
    assert "version" in refused(site.web.get(f"{SETS}/{id}?version=x"), 400)


def test_a_dataflow_keeps_the_version_that_it_names_even_of_a_deleted_set(site: Site) -> None:
    id = site.create(NAME_RULE)
    site.put(f"{SETS}/{id}", site.body({**NAME_RULE, "source": "given"}))
    assert site.web.delete(f"{SETS}/{id}").status_code == 204
    assert site.web.get(f"{SETS}/{id}").status_code == 404
    assert site.web.delete(f"{SETS}/{id}").status_code == 404
    assert site.web.get(SETS).json()["data"] == []
    pinned = [site.service.mapping_set(site.scope, id, version) for version in (0, 1, None)]
    assert [p.rules[0].source for p in pinned if p] == ["firstName", "given", "given"]
    assert site.service.mapping_set(site.scope, id, 2) is None


# -- single mappings ----------------------------------------------------------------------------------------


def test_single_mappings_are_added_changed_and_removed_in_new_versions(site: Site) -> None:
    id = site.create(NAME_RULE)
    one = f"{SETS}/{id}/mappings"
    (kept,) = site.web.get(one).json()
    rule = {"sourceType": "EXPRESSION", "source": "trim(t)", "destination": site.own("tier")}
    added = site.web.post(one, json=rule)
    assert added.status_code == 200
    path = f"{one}/{added.json()['id']}"
    assert site.web.get(path).json() == added.json()
    assert added.json()["expressionAttributes"] == ["t"]
    changed = site.put(path, {**rule, "source": "lower(u)"}).json()
    assert (changed["id"], changed["version"]) == (added.json()["id"], 1)
    assert (changed["source"], changed["expressionAttributes"]) == ("lower(u)", ["u"])
    assert site.web.get(one).json() == [kept, changed]
    assert site.web.delete(path).status_code == 204
    assert "no mapping" in refused(site.web.get(path), 404)
    assert "no mapping" in refused(site.web.delete(path), 404)
    assert "no mapping" in refused(site.put(path, rule), 404)
    assert site.web.get(one).json() == [kept]
    assert site.web.get(f"{SETS}/{id}").json()["version"] == 3
    counts = [
        len(site.web.get(f"{SETS}/{id}?version={n}").json()["mappings"]) for n in (0, 1, 2, 3)
    ]
    assert counts == [1, 2, 2, 1]
    refused(site.web.post(one, json={"source": "a"}), 400)
    assert site.web.get(f"{SETS}/{id}").json()["version"] == 3


def test_mappings_added_at_the_same_time_are_all_kept(site: Site) -> None:
    id = site.create()

    def add(number: int) -> None:
        rule = {**NAME_RULE, "source": f"s{number}"}
        site.service.add_mapping(site.scope, id, rule, "u")
        site.store.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(12)))
    found = site.web.get(f"{SETS}/{id}").json()
    assert found["version"] == 12
    assert {m["source"] for m in found["mappings"]} == {f"s{number}" for number in range(12)}
