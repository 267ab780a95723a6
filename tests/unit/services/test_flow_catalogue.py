"""Connection and flow specifications."""

from pathlib import Path

import pytest

from headrace.sources.connectors import connector, known
from headrace.sources.declared import DECLARED, Declared
from tests.unit.services.flow_site import HTTP, MAPPED, Site, code


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


KINDS = {"connectionSpecs": HTTP["id"], "flowSpecs": MAPPED["id"]}


def test_specifications_are_read_whole_filtered_and_one_by_one(site: Site) -> None:
    for kind, id in KINDS.items():
        everything = site.get(f"/{kind}")
        assert everything["_links"] == {}
        names = [spec["name"] for spec in everything["items"]]
        assert len(set(names)) == len(names)
        item = site.item(f"/{kind}/{id}")
        assert item in everything["items"]
        assert site.get(f"/{kind}?property=id=={id}")["items"] == [item]
        quoted = site.get(f'/{kind}?property=name=="{item["name"]}"&property=version==1.0')
        assert quoted["items"] == [item]
        assert set(site.get(f"/{kind}?property=name")["items"][0]) == {"id", "name"}
        assert code(site.send("GET", f"/{kind}/nobody")) == "FLOW-1439-404"
    by_source = site.get(f"/flowSpecs?property=sourceConnectionSpecIds[]=={HTTP['id']}")["items"]
    assert MAPPED["id"] in {spec["id"] for spec in by_source}
    streaming = "/connectionSpecs?property=attributes.category==Streaming&property=attributes.isSource==true"
    assert HTTP["id"] in {spec["id"] for spec in site.get(streaming)["items"]}


@pytest.mark.parametrize("declared", DECLARED, ids=lambda found: found.name)
def test_what_a_connector_declares_is_what_the_catalogue_says(site: Site, declared: Declared) -> None:  # fmt: skip
    spec = site.item(f"/connectionSpecs/{declared.spec_id}")
    built = connector(declared.spec_id)
    assert spec["name"] == built.name == declared.name
    assert spec["id"] == built.spec_id
    for form, way in zip(spec["authSpec"], declared.credentials, strict=True):
        assert (form["name"], form["type"]) == (way.name, way.kind)
        assert form["spec"]["properties"] == way.form.properties
        assert set(form["spec"]["required"]) <= form["spec"]["properties"].keys()
    source = spec["sourceSpec"]["spec"]
    assert source["properties"] == declared.source.properties
    assert {"dataType", "reset"} <= source["properties"].keys()
    listed = spec["exploreSpec"]["responseSpec"]["root"]["items"]["properties"]["type"]["enum"]
    assert listed == list(declared.objects)
    flow_specs = site.get(f"/flowSpecs?property=sourceConnectionSpecIds[]=={declared.spec_id}")
    names = [item["name"] for item in flow_specs["items"]]
    assert names == ["Stream data with optional transformation"]


def test_of_the_pulled_sources_only_those_with_a_connector_make_flows(site: Site) -> None:
    declared = {found.spec_id for found in DECLARED}
    for spec in site.get("/connectionSpecs")["items"]:
        assert known(spec["id"]) == (spec["id"] in declared)
    answer = {"name": "n", "connectionSpec": {"id": "e77fd9d2-22a8-11ed-861d-0242ac120002"}}
    source = site.post("/sourceConnections", answer)
    ends = {"sourceConnectionIds": [source], "targetConnectionIds": [site.target()]}
    generic = {"id": "e77fde5a-22a8-11ed-861d-0242ac120002", "version": "1.0"}
    body = {"name": "f", "flowSpec": generic, **ends}
    assert code(site.send("POST", "/flows", body)) == "CONNECTOR-1305-400"


def test_specifications_take_filters_and_no_other_parameter(site: Site) -> None:
    for kind in KINDS:
        for parameter in ("limit=5", "orderby=name", "count=true", "x=y"):
            answer = site.send("GET", f"/{kind}?{parameter}")
            assert (answer.status_code, code(answer)) == (400, "FLOW-1451-400")
        assert code(site.send("GET", f"/{kind}?property=name~x")) == "FLOW-1440-400"
    unknown = "property=nonsense==1"
    assert code(site.send("GET", f"/connectionSpecs?{unknown}")) == "FLOW-1423-400"
    assert code(site.send("GET", f"/flowSpecs?{unknown}")) == "FLOW-1449-400"


def test_users_write_no_specifications(site: Site) -> None:
    for kind, id in KINDS.items():
        before = site.get(f"/{kind}")
        body = {"name": "mine", "providerId": "p"}
        assert code(site.send("POST", f"/{kind}", body)) == "FLOW-1426-400"
        assert code(site.send("PUT", f"/{kind}/{id}", body)) == "FLOW-1426-400"
        assert code(site.send("PUT", f"/{kind}/nobody", body)) == "FLOW-1439-404"
        assert site.get(f"/{kind}") == before


def test_specifications_are_searched_grouped_and_paged(site: Site) -> None:
    body = {"queryString": "name==GenericStreamingAEP", "projectionFields": ["name"]}
    found = site.send("POST", "/flowSpecs/search", body).json()
    assert [set(item) for item in found["items"]] == [{"id", "name"}]
    everything = site.send("POST", "/flowSpecs/search").json()["items"]
    assert len(everything) == len(site.get("/flowSpecs")["items"])
    assert site.send("POST", "/flowSpecs/search", {"count": True}).json() == {
        "count": len(everything)
    }
    grouped = {"groupByProperty": "providerId", "orderby": "-name", "limit": 3}
    page = site.send("POST", "/flowSpecs/search", grouped).json()
    rest = site.send("POST", page["_links"]["next"]["href"], grouped).json()
    names = [spec["name"] for spec in page["items"] + rest["items"]]
    assert names == sorted((spec["name"] for spec in everything), reverse=True)
    wrong = {"groupByProperty": "nonsense"}
    assert code(site.send("POST", "/flowSpecs/search", wrong)) == "FLOW-1433-400"
    assert code(site.send("POST", "/flowSpecs/search", {"queryString": "no==1"})) == "FLOW-1449-400"


def test_a_connection_spec_itself_has_nothing_to_explore(site: Site) -> None:
    path = f"/connectionSpecs/{HTTP['id']}"
    assert code(site.send("GET", f"{path}/explore?objectType=root")) == "CONNECTOR-1372-400"
    assert code(site.send("GET", f"{path}/configs")) == "CONNECTOR-1398-400"
    assert code(site.send("GET", "/connectionSpecs/nobody/explore")) == "FLOW-1439-404"
