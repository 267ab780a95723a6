"""Mapping sets exported from one sandbox and taken in by another."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ApiError
from headrace.services.conversion import described, export_sets, import_sets
from headrace.services.conversion.transfer import Change, planned
from tests.unit.services.conversion_site import NAME_RULE, SETS, Site

SECOND = {"sourceType": "EXPRESSION", "source": "trim(l)", "destination": "person.name.lastName"}
STAGE = {"x-sandbox-name": "stage"}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path)
    made.new_schema("people", "stage")
    return made


def exported(site: Site, *names: str) -> Any:
    """The document as it comes back from a file."""
    return json.loads(json.dumps(export_sets(site.service, site.scope, site.tenant, names)))


def take_in(site: Site, document: Any, dry_run: bool = False) -> list[Change]:
    return import_sets(site.service, site.other, site.tenant, document, "importer", dry_run=dry_run)


def staged(site: Site) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = site.web.get(SETS, headers=STAGE).json()["data"]
    return found


def test_an_export_names_schemas_by_id_and_title_and_nothing_of_its_place(site: Site) -> None:
    rule = {**SECOND, "name": "n", "identity": True}
    id = site.create(NAME_RULE, rule, name="people", allowNullValues=True)
    site.create(NAME_RULE, name="other")
    document = exported(site, "people")
    assert document["tenant"] == site.tenant
    (entry,) = document["mappingSets"]
    schema = {"id": site.schema, "title": "people"}
    assert schema.items() <= entry["schema"].items()
    assert (entry["id"], entry["name"], entry["allowNullValues"]) == (id, "people", True)
    assert entry["mappings"] == [NAME_RULE, rule]
    assert [e["name"] for e in exported(site)["mappingSets"]] == ["people", "other"]
    assert len(exported(site, id)["mappingSets"]) == 1
    with pytest.raises(ApiError, match="nobody"):
        export_sets(site.service, site.scope, site.tenant, ["nobody"])


def test_a_dry_run_says_what_the_import_then_does(site: Site) -> None:
    site.create(NAME_RULE, SECOND, name="people")
    document = exported(site)
    (plan,) = take_in(site, document, dry_run=True)
    assert (plan.action, plan.label, plan.target, plan.problems) == ("created", "people", None, ())
    assert described([plan]) == [
        "created  people",
        "  + ATTRIBUTE firstName → person.name.firstName",
        "  + EXPRESSION trim(l) → person.name.lastName",
        "1 created",
    ]
    assert staged(site) == []
    (done,) = take_in(site, document)
    (made,) = staged(site)
    assert (done.action, done.target) == ("created", made["id"])
    assert (made["name"], made["createdBy"], made["version"]) == ("people", "importer", 0)
    assert made["xdmSchema"] != site.schema  # the schema of the same title in this sandbox
    assert [m["source"] for m in made["mappings"]] == ["firstName", "trim(l)"]


def test_taking_in_again_changes_nothing(site: Site) -> None:
    site.create(NAME_RULE, SECOND, name="people")
    site.create(NAME_RULE)
    document = exported(site)
    assert [c.action for c in take_in(site, document)] == ["created", "created"]
    before = staged(site)
    changes = take_in(site, document)
    assert [c.action for c in changes] == ["same", "same"]
    assert described(changes)[-1] == "2 same"
    assert staged(site) == before


def test_a_changed_set_is_a_new_version_with_a_readable_difference(site: Site) -> None:
    id = site.create(NAME_RULE, SECOND, name="people")
    take_in(site, exported(site))
    (before,) = staged(site)
    third = {"sourceType": "STATIC", "source": "gold", "destination": site.own("tier")}
    body = site.body({**NAME_RULE, "source": "given"}, third, allowNullValues=True)
    assert site.put(f"{SETS}/{id}", body).status_code == 200
    (plan,) = take_in(site, exported(site), dry_run=True)
    assert described([plan]) == [
        f"changed  people ({before['id']})",
        f"  + STATIC gold → _{site.tenant}.tier",
        "  - EXPRESSION trim(l) → person.name.lastName",
        "  ~ person.name.firstName: ATTRIBUTE firstName becomes ATTRIBUTE given",
        "  ~ allowNullValues: False becomes True",
        "1 changed",
    ]
    assert staged(site) == [before]
    take_in(site, exported(site))
    (after,) = staged(site)
    assert (after["id"], after["version"]) == (before["id"], 1)
    assert after["allowNullValues"] is True
    assert [m["source"] for m in after["mappings"]] == ["given", "gold"]
    old = site.web.get(f"{SETS}/{after['id']}?version=0", headers=STAGE).json()
    assert old == before


def test_descriptions_and_rules_of_one_destination_are_told_apart(site: Site) -> None:
    other = {**NAME_RULE, "source": "b"}
    id = site.create(NAME_RULE, other, name="people")
    take_in(site, exported(site))
    site.put(f"{SETS}/{id}", site.body({**NAME_RULE, "description": "d"}, {**other, "source": "c"}))
    (plan,) = take_in(site, exported(site), dry_run=True)
    assert plan.changed == (
        "person.name.firstName: description None becomes d",
        "person.name.firstName: ATTRIBUTE b becomes ATTRIBUTE c",
    )
    assert plan.problems == ()  # the last rule wins: poor, but in use


def test_the_order_of_rules_for_different_fields_is_no_change(site: Site) -> None:
    id = site.create(NAME_RULE, SECOND, name="people")
    take_in(site, exported(site))
    site.put(f"{SETS}/{id}", site.body(SECOND, NAME_RULE))
    assert [c.action for c in take_in(site, exported(site))] == ["same"]


def test_rules_move_to_another_tenant(site: Site) -> None:
    rule = {"sourceType": "ATTRIBUTE", "source": "t", "destination": site.own("tier")}
    site.create(rule, name="people")
    text = json.dumps(exported(site)).replace(site.tenant, "elsewhere")
    document = json.loads(text)
    assert document["mappingSets"][0]["mappings"][0]["destination"] == "_elsewhere.tier"
    (change,) = take_in(site, document)
    assert change.body["mappings"][0]["destination"] == site.own("tier")
    assert staged(site)[0]["mappings"][0]["destination"] == site.own("tier")


def test_problems_are_shown_by_a_dry_run_and_nothing_is_taken_in(site: Site) -> None:
    site.create(NAME_RULE, name="people")
    site.create({**NAME_RULE, "destination": "person.nowhere"}, name="wrong")
    document = exported(site)
    document["mappingSets"].append({**document["mappingSets"][0], "name": "far"})
    document["mappingSets"][2]["schema"] = {"id": "https://ns.adobe.com/x", "title": "gone"}
    plan = take_in(site, document, dry_run=True)
    lines = described(plan)
    assert lines[0] == "created  people"
    assert lines[-1] == "1 created, 2 refused"
    assert any("person.nowhere" in text for text in plan[1].problems)
    assert "nor one titled 'gone'" in plan[2].problems[0]
    with pytest.raises(ApiError, match=r"wrong: person\.nowhere.*far: .*gone"):
        take_in(site, document)
    assert staged(site) == []


def test_names_must_be_unambiguous(site: Site) -> None:
    site.create(NAME_RULE, name="people")
    document = exported(site)
    twice = {**document, "mappingSets": document["mappingSets"] * 2}
    assert all("several" in c.problems[0] for c in take_in(site, twice, dry_run=True))
    take_in(site, document)
    body = {**staged(site)[0], "name": "people"}
    site.web.post(SETS, json=body, headers=STAGE)
    (plan,) = take_in(site, document, dry_run=True)
    assert "Several mapping sets" in plan.problems[0]
    document["mappingSets"][0]["id"] = staged(site)[1]["id"]
    (plan,) = take_in(site, document, dry_run=True)
    assert (plan.action, plan.target) == ("same", staged(site)[1]["id"])


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"format": "other"},
        {"format": "headrace-mapping-sets", "version": 2, "mappingSets": []},
        {"format": "headrace-mapping-sets", "version": 1},
        {"format": "headrace-mapping-sets", "version": 1, "mappingSets": [1]},
    ],
)
def test_what_is_no_export_is_refused(document: Any) -> None:
    with pytest.raises(ApiError) as caught:
        planned(document, [], lambda schema: "", "t")
    assert caught.value.status == 400


def test_a_malformed_entry_is_a_problem_of_its_own() -> None:
    sets = [{"name": "a"}, {"name": "b", "schema": {}, "mappings": [{"source": 1}]}]
    document = {"format": "headrace-mapping-sets", "version": 1, "mappingSets": sets}
    first, second = planned(document, [], lambda schema: "id", "t")
    assert "schema" in first.problems[0]
    assert "source" in second.problems[0]
    assert described([first, second])[-1] == "2 refused"
    assert described([]) == ["no mapping sets"]
