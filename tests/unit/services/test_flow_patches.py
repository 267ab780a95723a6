"""Changing connections, their ends and dataflows by JSON Patch."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.services.flow_site import BASE, HTTP, KINESIS, MAPPED, Site, code

KEYS = {"accessKeyId": "AK", "secretKey": "first-secret", "region": "eu-west-1"}
KINESIS_FORM = "Aws Kinesis authentication credentials"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def kinesis(site: Site) -> str:
    auth = {"specName": KINESIS_FORM, "params": KEYS}
    return site.post("/connections", {"name": "k", "connectionSpec": KINESIS, "auth": auth})


def replace(path: str, value: Any) -> dict[str, Any]:
    return {"op": "replace", "path": path, "value": value}


def resources(site: Site) -> dict[str, str]:
    base = site.base()
    source, target = site.source(base), site.target()
    return {
        "connections": base,
        "sourceConnections": source,
        "targetConnections": target,
        "flows": site.flow(source, target),
    }


def test_every_kind_is_renamed_under_a_new_etag_of_the_documented_form(site: Site) -> None:
    for kind, id in resources(site).items():
        path = f"/{kind}/{id}"
        before = site.item(path)
        answer = site.change(path, replace("/name", "new"), {"op": "ADD", "path": "/description", "value": "d"})  # fmt: skip
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"id", "etag"}
        after = site.item(path)
        assert (after["name"], after["description"]) == ("new", "d")
        assert after["etag"] == after["version"] == answer.json()["etag"] != before["etag"]
        assert answer.headers["etag"] == after["etag"]
        assert after["createdAt"] == before["createdAt"]
        random, *middle, stamp = after["etag"].strip('"').split("-")
        assert (len(random), middle) == (8, ["0000", "0200", "0000"])
        assert abs(int(stamp[:8], 16) - after["updatedAt"] / 1000) <= 2


def test_every_kind_wants_the_current_etag_and_an_id_that_exists(site: Site) -> None:
    for kind, id in resources(site).items():
        path, body = f"/{kind}/{id}", [replace("/name", "n")]
        missing = site.send("PATCH", path, body)
        assert (missing.status_code, code(missing)) == (400, "FLOW-1403-400")
        stale = site.send("PATCH", path, body, **{"if-match": '"no"'})
        assert (stale.status_code, code(stale)) == (412, "FLOW-1404-412")
        assert "no" in stale.json()["errorMessage"]
        assert site.item(path)["etag"] in stale.json()["errorMessage"]
        assert stale.json()["report"]["id"] == id
        unknown = site.send("PATCH", f"/{kind}/nobody", body, **{"if-match": "*"})
        assert (unknown.status_code, code(unknown)) == (404, "FLOW-1439-404")
        etag = site.item(path)["etag"].strip('"')
        assert site.send("PATCH", path, body, **{"if-match": etag}).status_code == 200
        assert site.send("PATCH", path, body, **{"if-match": "*"}).status_code == 200
        in_query = f"{path}?if-match={site.item(path)['etag']}"
        assert site.send("PATCH", in_query, body).status_code == 200


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ([], "FLOW-1405-400"),
        ({"op": "move", "path": "/name", "from": "/description"}, "FLOW-1434-400"),
        ({"op": "test", "path": "/name", "value": "b"}, "FLOW-1434-400"),
        (replace("/etag", "x"), "FLOW-1455-400"),
        (replace("/id", "x"), "FLOW-1455-400"),
        (replace("/state", "disabled"), "FLOW-1455-400"),
        (replace("/createdAt", 1), "FLOW-1455-400"),
        (replace("/description", "none there"), "FLOW-1455-400"),
        ({"op": "remove", "path": "/name"}, "FLOW-1455-400"),
        (replace("/name", ""), "FLOW-1455-400"),
        (replace("/name", 5), "FLOW-1455-400"),
        ({"op": "add", "path": "/description", "value": 5}, "FLOW-1455-400"),
        (replace("", {}), "FLOW-1455-400"),
    ],
)
def test_a_patch_that_may_not_be_changes_nothing(site: Site, operation: Any, expected: str) -> None:
    for kind, id in resources(site).items():
        before = site.item(f"/{kind}/{id}")
        operations = (
            operation if isinstance(operation, list) else [replace("/name", "n"), operation]
        )
        answer = site.send("PATCH", f"/{kind}/{id}", operations, **{"if-match": "*"})
        assert (answer.status_code, code(answer)) == (400, expected), answer.text
        assert site.item(f"/{kind}/{id}") == before


def test_the_spec_of_a_connection_is_for_ever(site: Site) -> None:
    made = resources(site)
    for kind in ("connections", "sourceConnections", "targetConnections"):
        for path in ("/connectionSpec", "/connectionSpec/id"):
            answer = site.change(f"/{kind}/{made[kind]}", replace(path, KINESIS["id"]))
            assert code(answer) == "FLOW-1414-400"
    base = made["connections"]
    for path in ("/auth/specName", "/auth", "/auth/params/inletId", "/auth/params/inletUrl"):
        answer = site.change(f"/connections/{base}", replace(path, "x"))
        assert code(answer) == "FLOW-1455-400", path
    assert site.item(f"/connections/{base}")["auth"]["specName"] == "Streaming Connection"


def test_new_credentials_are_sealed_masked_and_readable_for_the_reader_alone(site: Site) -> None:
    id = kinesis(site)
    path = f"/connections/{id}"
    assert site.change(path, replace("/auth/params/secretKey", "second-secret")).status_code == 200
    assert site.service.connections.secrets(site.scope, id) == KEYS | {"secretKey": "second-secret"}
    stored = site.store.connection.execute(
        "SELECT body FROM documents WHERE id=?", (id,)
    ).fetchone()
    assert "secret" not in json.dumps(json.loads(stored[0])["auth"]["params"]["secretKey"]).replace(
        "$sealed", ""
    )
    assert site.item(path)["auth"]["params"] == KEYS | {"secretKey": "******"}
    assert "second-secret" not in json.dumps(site.get("/connections"))


def test_parameters_sent_back_as_they_were_answered_keep_their_secret(site: Site) -> None:
    id = kinesis(site)
    shown = site.item(f"/connections/{id}")["auth"]["params"]
    answer = site.change(
        f"/connections/{id}", replace("/auth/params", shown | {"region": "us-east-1"})
    )
    assert answer.status_code == 200, answer.text
    assert site.service.connections.secrets(site.scope, id) == KEYS | {"region": "us-east-1"}


def test_a_refused_patch_does_not_tell_what_is_stored(site: Site) -> None:
    id = kinesis(site)
    for path in ("/auth/params/no/such", "/auth/params/secretKey/deep", "/auth/params/none"):
        answer = site.change(f"/connections/{id}", {"op": "remove", "path": path})
        assert code(answer) == "FLOW-1455-400"
        assert "first-secret" not in answer.text
        assert "AK" not in answer.text
    forged = replace("/auth/params/secretKey", {"$sealed": "v1:AAAA"})
    assert code(site.change(f"/connections/{id}", forged)) == "FLOW-1455-400"
    assert site.service.connections.secrets(site.scope, id) == KEYS


def test_replacing_the_parameters_drops_keys_but_keeps_the_inlet(site: Site) -> None:
    id = site.base("raw")
    path = f"/connections/{id}"
    inlet = site.item(path)["auth"]["params"]["inletId"]
    full = {"dataType": "raw", "sourceId": "mine", "note": "x", "inletId": "forged"}
    assert site.change(path, replace("/auth/params", full)).status_code == 200
    # what the form does not declare may be a secret: sealed and masked
    assert site.item(path)["auth"]["params"]["note"] == "******"
    assert site.service.connections.secrets(site.scope, id)["note"] == "x"
    # one object instead of an array is taken too
    single = {"op": "Replace", "path": "/auth/params", "value": {"dataType": "raw"}}
    assert site.send("PATCH", path, single, **{"if-match": "*"}).status_code == 200
    assert site.item(path)["auth"]["params"] == {
        "dataType": "raw", "sourceId": "b", "name": "b", "authenticationRequired": False,
        "inletId": inlet, "inletUrl": f"http://localhost/collection/{inlet}",
    }  # fmt: skip
    for wrong in ({}, {"dataType": "csv"}, [], "x"):
        assert code(site.change(path, replace("/auth/params", wrong))) == "FLOW-1455-400"
    gone = {"op": "remove", "path": "/auth/params"}
    assert code(site.change(path, gone)) == "FLOW-1455-400"


def test_a_private_host_is_refused_in_a_patch_as_in_a_create(site: Site) -> None:
    id = kinesis(site)
    add = {"op": "add", "path": "/auth/params/endpointUrl", "value": "http://127.0.0.1:4566"}
    assert code(site.change(f"/connections/{id}", add)) == "FLOW-1100-400"


def test_what_an_inlet_carries_reaches_the_revision_of_its_flows(site: Site) -> None:
    made = resources(site)
    before = site.item(f"/flows/{made['flows']}")["etag"]
    answer = site.change(f"/connections/{made['connections']}", replace("/auth/params/dataType", "raw"))  # fmt: skip
    assert answer.status_code == 200
    latest = site.revisions.latest(made["flows"])
    assert latest is not None
    assert (latest.payload, latest.revision) == ("raw", 2)
    assert site.item(f"/flows/{made['flows']}")["etag"] != before
    site.change(f"/connections/{made['connections']}", replace("/name", "same payload"))
    again = site.revisions.latest(made["flows"])
    assert again is not None
    assert again.revision == 2


def test_parameters_and_format_of_the_ends_are_checked(site: Site) -> None:
    base = kinesis(site)
    params = {"stream": "clicks", "dataType": "raw"}
    body = {"name": "s", "baseConnectionId": base, "connectionSpec": KINESIS, "params": params}
    source = f"/sourceConnections/{site.post('/sourceConnections', body)}"
    assert site.change(source, replace("/params/stream", "views")).status_code == 200
    assert site.item(source)["params"]["stream"] == "views"
    assert code(site.change(source, {"op": "remove", "path": "/params/stream"})) == "FLOW-1455-400"
    add = {"op": "add", "path": "/data", "value": {"format": "avro"}}
    assert code(site.change(source, add)) == "CONNECTOR-1327-400"
    assert code(site.change(source, replace("/baseConnectionId", "x"))) == "FLOW-1455-400"
    target = f"/targetConnections/{site.target()}"
    assert code(site.change(target, replace("/params", {}))) == "CONNECTOR-1325-400"
    assert site.change(target, replace("/params/dataSetId", "e")).status_code == 200
    assert site.item(target)["params"] == {"dataSetId": "e"}


def test_a_flow_takes_a_new_mapping_or_none_of_the_patch(site: Site) -> None:
    base = site.base("raw")
    mapping = [{"name": "Mapping", "params": {"mappingId": "m", "mappingVersion": 0}}]
    flow = site.flow(site.source(base), site.target(), flowSpec=MAPPED, transformations=mapping)
    path = f"/flows/{flow}"
    new = {"name": "Mapping", "params": {"mappingId": "m"}}
    assert site.change(path, replace("/transformations/0", new)).status_code == 200
    item = site.item(path)
    assert item["transformations"] == [new]
    assert item["lastOperation"]["operation"] == "update"
    assert item["lastOperation"]["status"] == {"value": "completed", "errors": []}
    assert item["lastOperation"]["ops"] == [
        {"op": "replace", "path": "/transformations/0", "value": new}
    ]
    latest = site.revisions.latest(flow)
    assert latest is not None
    assert latest.revision == 2
    for params, expected in (
        ({"mappingId": "none"}, "FLOW-1419-400"),
        ({"mappingId": "m", "mappingVersion": 7}, "FLOW-1412-400"),
        ({"mappingId": "other"}, "FLOW-1425-400"),
    ):
        wrong = replace("/transformations/0", {"name": "Mapping", "params": params})
        assert code(site.change(path, replace("/name", "n"), wrong)) == expected
    for name, value, expected in (
        ("labels", "core/C12", "FLOW-1455-400"), ("labels", [1], "FLOW-1455-400"),
        ("policy", {"fields": []}, "FLOW-1431-400"), ("options", 1, "FLOW-1455-400"),
        ("transformations", {}, "FLOW-1455-400"), ("scheduleParams", [], "FLOW-1455-400"),
    ):  # fmt: skip
        add = {"op": "add", "path": f"/{name}", "value": value}
        assert code(site.change(path, add)) == expected, name
    assert site.item(path) == item
    add = {"op": "add", "path": "/labels", "value": ["core/C12"]}
    more = {"op": "add", "path": "/labels/-", "value": "core/C1"}
    assert site.change(path, add, more).status_code == 200
    assert site.item(path)["labels"] == ["core/C12", "core/C1"]


def test_removal_with_an_object_takes_only_the_keys_it_lists(site: Site) -> None:
    made = resources(site)
    path = f"/flows/{made['flows']}"
    add = {"op": "add", "path": "/scheduleParams", "value": {"a": 1, "b": 2}}
    assert site.change(path, add).status_code == 200
    some = {"op": "remove", "path": "/scheduleParams", "value": {"a": 1}}
    assert site.change(path, some).status_code == 200
    assert site.item(path)["scheduleParams"] == {"b": 2}


def test_a_value_nested_beyond_measure_is_refused_and_nothing_breaks(site: Site) -> None:
    flow = site.flow(site.source(site.base()), site.target())
    for levels, expected in ((150, 200), (250, 400), (800, 400), (5000, 400)):
        text = (
            '[{"op":"add","path":"/policy","value":' + '{"a":' * levels + "1" + "}" * levels + "}]"
        )
        answer = site.web.patch(f"{BASE}/flows/{flow}", content=text, headers={"if-match": "*"})
        assert answer.status_code == expected, answer.text
        assert expected == 200 or code(answer) == "FLOW-1405-400"
    assert site.send("POST", f"/flows/{flow}/action?op=disable").status_code == 200


def test_a_body_that_is_no_json_is_refused_without_a_content_type(site: Site) -> None:
    id = site.base()
    for content in (b"", b"{", b"null"):
        answer = site.web.patch(
            f"{BASE}/connections/{id}", content=content, headers={"if-match": "*"}
        )
        assert code(answer) == "FLOW-1405-400", content
    body = json.dumps([replace("/name", "n")]).encode()
    plain = {"if-match": "*", "content-type": "application/x-www-form-urlencoded"}
    answer = site.web.patch(f"{BASE}/connections/{id}/", content=body, headers=plain)
    assert answer.status_code == 200
    assert site.item(f"/connections/{id}")["connectionSpec"] == HTTP
