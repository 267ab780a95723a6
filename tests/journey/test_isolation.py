"""What is in one sandbox does not exist in another: as an id in a path, in a query, or in a body.

The calls are made from the server's own description, so that a route that is added is tried as well.
An installation has one organisation; a call for any other is refused by the gateway, which is tried for every route.
"""

import copy
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from headrace.testing.server import EVENT_CLASS, HTTP_SPEC, LAKE_SPEC, PlatformClient, ServerProcess
from tests.journey.openapi_samples import RULES

FLOW = "/data/foundation/flowservice"
REGISTRY = "/data/foundation/schemaregistry"
CATALOG = "/data/foundation/catalog"
PREP = "/data/foundation/conversion"
SANDBOXES = "/data/foundation/sandbox-management/sandboxes"

KINDS = (
    (rf"{FLOW}/(connections|sourceConnections|targetConnections|flows|runs)/{{id}}.*", r"\1"),
    (r"/headrace/flows/{id}.*", "flows"),
    (r"/headrace/receipts/{id}", "receipts"),
    (rf"{REGISTRY}/(tenant|global)/(schemas|classes|datatypes|descriptors)/{{id}}", r"\2"),
    (rf"{REGISTRY}/(tenant|global)/(fieldgroups|mixins)/{{id}}", "spareGroups"),
    (rf"{REGISTRY}/tenant/unions/{{id}}", "classes"),
    (rf"{REGISTRY}/rpc/[a-z]+/{{id}}", "schemas"),
    (rf"{CATALOG}/(v2/)?dataSets/{{id}}.*", "dataSets"),
    (r"/data/foundation/export/datasets/{id}/preview", "dataSets"),
    (rf"({CATALOG}|/data/foundation/export)/batches/{{id}}.*", "batches"),
    (r"/data/foundation/export/files/{id}", "files"),
    (r"/data/foundation/(conversion/)?mappingSets/{id}.*", "mappingSets"),
    (rf"{PREP}/samples/{{id}}", "samples"),
    (rf"{PREP}/schemas/{{id}}", "inputSchemas"),
    (rf"{PREP}/xdmBatchConversions/{{id}}.*", "batches"),
)
"""Paths, and the kind of id that their `{id}` takes."""

SHARED = {
    f"{FLOW}/connectionSpecs": "specifications come with the server",
    f"{FLOW}/flowSpecs": "specifications come with the server",
    f"{REGISTRY}/global/behaviors": "behaviors are standard",
    f"{CATALOG}/batches/uniques": "the name of a field, not an id",
    SANDBOXES: "sandboxes belong to the organisation",
    "/data/core/idnamespace": "namespaces belong to the organisation",
}
"""Paths with a parameter that means the same in every sandbox, and why."""

# Inlet ids are left out: the address of an inlet is all that a sender has, who may know of no sandbox. What is sent
# to it can still reach dataflows of its own sandbox only, which is tried below.

NO_REFERENCES = (
    r"(POST|PUT) .*/(connectionSpecs|flowSpecs)(/{id})?", r"POST .*/search", r"POST .*/action",
    r"PUT .*/runs/{id}", rf"POST {FLOW}/connections", r"(POST|PUT) .*/samples(/{id}|/upload)?",
    r"POST .*/schemas/upload", r"POST .*/rpc/(import|export)", r"(POST|PATCH|PUT) .*/sandboxes(/{name})?",
    r"(POST|PUT) .*/idnamespace/.*", r"POST /ims/.*", rf"PATCH {FLOW}/(connections|sourceConnections)/{{id}}",
    r"(POST|PUT) .*/mappingSets/{id}/mappings(/{mappingId})?",
)  # fmt: skip
"""Operations whose bodies name nothing that lives in a sandbox."""


UNRESOLVED = {
    (rf"(POST|PATCH) {FLOW}/targetConnections(/{{id}})?", "dataSets"):
        "a data set may be yet to come: the dataflow finds out, as tried below",
    (r"(POST|PUT) .*/mappingSets(/validate|/{id})?", "inputSchemas"):
        "kept as a remark: nothing is ever read by it",
    (r"(POST|PUT|PATCH) .*/(fieldgroups|mixins)(/{id})?", "classes"):
        "only compared with the classes of schemas",
}  # fmt: skip
"""Ids in bodies that are kept as they are sent, whether anything has them or not, and why."""


@dataclass
class Half:
    """A sandbox with one of everything; `ids` by kind."""

    platform: PlatformClient
    ids: dict[str, str] = field(default_factory=dict)
    inlet: str = ""

    def send(self, method: str, path: str, body: Any = None, query: Any = None) -> httpx.Response:
        headers = {"if-match": "*"} if method in ("PATCH", "PUT", "DELETE") else {}
        return self.platform.http.request(method, path, json=body, params=query, headers=headers)


def populated(server: ServerProcess) -> Half:
    platform = PlatformClient(server.credentials())
    name = f"isolated-{uuid.uuid4().hex[:8]}"
    platform.call("POST", SANDBOXES, {"name": name, "title": name, "type": "development"})
    platform.http.headers["x-sandbox-name"] = name
    journey = platform.create_flow({"a": {"type": "string"}}, RULES)
    half = Half(platform, inlet=journey.inlet_url)
    sent = httpx.post(
        journey.inlet_url, json={"id": "1", "type": "x"}, headers={"x-adobe-flow-id": journey.flow_id}
    ).raise_for_status()  # fmt: skip
    half.ids["receipts"] = sent.json()["xactionId"]
    call, tenant = platform.call, platform.credentials["tenant_id"]
    half.ids |= {
        "connections": journey.connection_id, "schemas": journey.schema_id,
        "dataSets": journey.dataset_id, "mappingSets": str(journey.mapping_id), "flows": journey.flow_id,
        "fieldgroups": call("GET", f"{REGISTRY}/tenant/fieldgroups")["results"][0]["$id"],
    }  # fmt: skip
    for kind in ("sourceConnections", "targetConnections"):
        half.ids[kind] = call("GET", f"{FLOW}/{kind}")["items"][0]["id"]
    fields = {f"_{tenant}": {"type": "object", "properties": {"b": {"type": "string"}}}}
    half.ids["classes"] = call("POST", f"{REGISTRY}/tenant/classes", {
        "title": "Own class", "type": "object",
        "allOf": [{"$ref": "https://ns.adobe.com/xdm/data/record"}, {"properties": fields}],
    })["$id"]  # fmt: skip
    half.ids["datatypes"] = call("POST", f"{REGISTRY}/tenant/datatypes", {
        "title": "Own type", "type": "object", "properties": fields,
    })["$id"]  # fmt: skip
    half.ids["spareGroups"] = call("POST", f"{REGISTRY}/tenant/fieldgroups", {
        "title": "Used by nothing", "type": "object", "properties": fields,
        "meta:intendedToExtend": [EVENT_CLASS],
    })["$id"]  # fmt: skip
    half.ids["descriptors"] = call("POST", f"{REGISTRY}/tenant/descriptors", descriptor(half))[
        "@id"
    ]
    sample = {"sampleData": '{"a": 1}', "sampleType": "JSON"}
    half.ids["samples"] = call("POST", f"{PREP}/samples", sample)["id"]
    made = call("POST", f"{PREP}/schemas", {"name": "s", "sampleId": half.ids["samples"]})
    half.ids["inputSchemas"] = made["id"]
    mappings = call("GET", f"{PREP}/mappingSets/{journey.mapping_id}/mappings")
    half.ids["mappings"] = mappings[0]["id"]
    half.ids["views"] = next(iter(call("GET", f"{CATALOG}/dataSets/{journey.dataset_id}/views")))
    deadline = time.monotonic() + 20
    while not (batches := call("GET", f"{CATALOG}/batches")) and time.monotonic() < deadline:
        time.sleep(0.2)
    half.ids["batches"] = next(iter(batches))
    half.ids["files"] = next(iter(call("GET", f"{CATALOG}/dataSetFiles")))
    replays = f"/headrace/flows/{journey.flow_id}/replays"
    half.ids["replays"] = call("POST", replays, {"path": "x"})["id"]
    half.ids["runs"] = call("GET", f"{FLOW}/runs")["items"][0]["id"]
    half.ids["others"] = platform.create_flow({}, RULES).flow_id
    return half


def descriptor(half: Half, property: str = "/eventType") -> dict[str, Any]:
    return {
        "@type": "xdm:descriptorIdentity", "xdm:sourceSchema": half.ids["schemas"], "xdm:sourceVersion": 1,
        "xdm:sourceProperty": property, "xdm:namespace": "Email", "xdm:property": "xdm:code",
        "xdm:isPrimary": False,
    }  # fmt: skip


@pytest.fixture(scope="module")
def halves(server: ServerProcess) -> Iterator[tuple[Half, Half]]:
    pair = populated(server), populated(server)
    yield pair
    for half in pair:
        half.platform.http.close()


@pytest.fixture(scope="module")
def operations(halves: tuple[Half, Half]) -> list[tuple[str, str, dict[str, Any]]]:
    paths = halves[0].platform.call("GET", "/openapi.json")["paths"]
    return [(m.upper(), path, op) for path, methods in paths.items() for m, op in methods.items()]


def escaped(pattern: str) -> str:
    """The pattern with its `{name}` taken literally."""
    return re.sub(r"\{([a-zA-Z]+)\}", r"\\{\1\\}", pattern)


def kind_of(path: str) -> str | None:
    """The kind of id that a path takes; None for one of `SHARED`."""
    if any(path.startswith(f"{start}/") for start in SHARED):
        return None
    for pattern, kind in KINDS:
        found = re.fullmatch(escaped(pattern), path)
        if found:
            return found.expand(kind)
    raise AssertionError(f"{path}: say what its id is, in KINDS or SHARED")


def filled(path: str, id: str, half: Half) -> str:
    """The path with the id; what else it names is of the given half."""
    rest = {
        "mappingId": half.ids["mappings"], "view": half.ids["views"], "activityId": "x",
        "replayId": half.ids["replays"],
    }  # fmt: skip
    return re.sub(
        r"\{(\w+)\}", lambda m: quote(id if m[1] == "id" else rest.get(m[1], "x"), safe=""), path
    )


def unknown(id: str) -> str:
    """An id of the same form that nothing has."""
    head, _, tail = id.rpartition("/")
    turned = tail.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    return f"{head}/{turned}" if head else turned


def gist(answer: httpx.Response, id: str) -> tuple[int, str]:
    """Status and body without what differs from call to call."""
    text = answer.text.replace(json.dumps(id)[1:-1], "ID").replace(id, "ID")
    passing = r'"(request-id|registryRequestId|requestId|timestamp|unixTimeStampMs)":("[^"]*"|\d+)'
    return answer.status_code, re.sub(passing, "", text)


def state(half: Half) -> dict[str, Any]:
    """All that the sandbox holds."""
    lists = (
        *(f"{FLOW}/{k}" for k in ("connections", "sourceConnections", "targetConnections", "flows")),
        *(f"{REGISTRY}/tenant/{k}" for k in ("schemas", "classes", "fieldgroups", "datatypes")),
        f"{REGISTRY}/tenant/descriptors", f"{CATALOG}/dataSets", f"{CATALOG}/batches",
        f"{PREP}/mappingSets", f"{PREP}/samples", f"{PREP}/schemas",
    )  # fmt: skip
    found = {path: half.platform.call("GET", path) for path in lists}
    for flow in found[f"{FLOW}/flows"]["items"]:
        flow.pop("lastRunDetails", None)
    return found


def test_an_id_of_another_sandbox_in_a_path_is_not_found(
    halves: tuple[Half, Half], operations: list[Any]
) -> None:
    theirs, ours = halves
    before, wrong, tried = state(theirs), [], 0
    for method, path, operation in operations:
        kind = kind_of(path) if "{" in path else None
        if kind is None:
            continue
        foreign = theirs.ids[kind]
        body = (
            next(iter(bodies(ours, method, path)), {"x": "y"})
            if "requestBody" in operation
            else None
        )
        if method == "PATCH" and isinstance(body, dict):
            body = [{"op": "replace", "path": "/description", "value": "x"}]
        answer = ours.send(method, filled(path, foreign, ours), body)
        nothing = ours.send(method, filled(path, unknown(foreign), ours), body)
        tried += 1
        deletes_nothing = (method, path) == ("DELETE", f"{CATALOG}/dataSets/{{id}}")
        expected = (
            200 if deletes_nothing else 404
        )  # documented: an empty list, as for any unknown id
        if answer.status_code != expected or (deletes_nothing and answer.json() != []):
            wrong.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        elif gist(answer, foreign) != gist(nothing, unknown(foreign)):
            wrong.append(f"{method} {path} tells that the id exists: {answer.text} {nothing.text}")
    assert not wrong, "\n".join(wrong)
    assert tried > 80
    assert state(theirs) == before


def test_the_same_ids_are_found_where_they_belong(
    halves: tuple[Half, Half], operations: list[Any]
) -> None:
    theirs, _ = halves
    found = {}
    for method, path, operation in operations:
        kind = kind_of(path) if "{" in path else None
        if kind and method == "GET" and "/global/" not in path and "200" in operation["responses"]:
            found[path] = theirs.send(method, filled(path, theirs.ids[kind], theirs)).status_code
    # a union view is of a class that has one, which the sandbox's own class has not yet
    found.pop(f"{REGISTRY}/tenant/unions/{{id}}")
    # and an inlet is found, but has nothing to list
    assert found.pop(f"{FLOW}/connections/{{id}}/explore") == 400
    assert {path: status for path, status in found.items() if status != 200} == {}
    assert len(found) > 25


def bodies(half: Half, method: str, path: str) -> list[Any]:
    """Bodies that the operation accepts and that name things of the half; several when one cannot name all."""
    ids, words = half.ids, f"{method} {path}"
    named = {"name": "n", "description": "d"}
    content = {"id": ids["schemas"], "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    rules = [{"sourceType": "ATTRIBUTE", "source": "a", "destination": "_id"}]
    mapping_set = {"version": 0, "outputSchema": {"schemaRef": content}, "mappings": rules}
    with_input = mapping_set | {"inputSchema": {"id": ids["inputSchemas"], "version": 0}}
    older = {"version": 0, "xdmSchema": ids["schemas"], "xdmVersion": "1.0", "mappings": rules}
    title = f"made {uuid.uuid4().hex}"
    tenant = f"_{half.platform.credentials['tenant_id']}"
    own = {tenant: {"type": "object", "properties": {"c": {"$ref": ids["datatypes"]}}}}
    part = {"title": title, "type": "object", "properties": own}
    group = part | {"meta:intendedToExtend": [ids["classes"]]}
    schema = {"title": title, "type": "object", "allOf": [{"$ref": ids["classes"]}]}
    wider = {
        "title": f"{title} too",
        "type": "object",
        "allOf": [{"$ref": EVENT_CLASS}, {"$ref": ids["fieldgroups"]}],
    }
    transformation = {
        "name": "Mapping",
        "params": {"mappingId": ids["mappingSets"], "mappingVersion": 0},
    }
    flow = named | {
        "flowSpec": {"id": "c1a19761-d2c7-4702-b9fa-fe91f0613e81", "version": "1.0"},
        "sourceConnectionIds": [ids["sourceConnections"]],
        "targetConnectionIds": [ids["targetConnections"]], "transformations": [transformation],
    }  # fmt: skip
    metric = {
        "name": "timeseries.ingestion.dataset.recordsuccess.count", "aggregator": "sum", "downsample": "sum",
        "filters": [{"name": "dataSetId", "value": ids["dataSets"], "groupBy": False}],
    }  # fmt: skip
    table: list[tuple[str, list[Any]]] = [
        (rf"POST {FLOW}/sourceConnections", [
            named | {key: ids["connections"], "connectionSpec": HTTP_SPEC, "data": {"format": "json"}}
            for key in ("baseConnectionId", "connectionId")
        ]),
        (rf"(POST|PATCH) {FLOW}/targetConnections(/{{id}})?", [
            named | {"connectionSpec": LAKE_SPEC, "params": {"dataSetId": ids["dataSets"]}}
            if method == "POST" else
            [{"op": "replace", "path": "/params/dataSetId", "value": ids["dataSets"]}]
        ]),
        (rf"POST {FLOW}/flows", [flow]),
        (rf"PATCH {FLOW}/flows/{{id}}",
            [[{"op": "replace", "path": "/transformations", "value": [transformation]}]]),
        (rf"POST {FLOW}/runs", [{"flowId": ids["flows"]}]),
        (r"(POST|PUT) .*/tenant/schemas(/{id})?", [schema, wider] if method == "POST" else [wider]),
        (r"PATCH .*/tenant/schemas/{id}",
            [[{"op": "add", "path": "/allOf/-", "value": {"$ref": ids["fieldgroups"]}}]]),
        (r"(POST|PUT) .*/tenant/(fieldgroups|mixins)(/{id})?", [group]),
        (r"PATCH .*/tenant/(fieldgroups|mixins)/{id}",
            [[{"op": "add", "path": "/meta:intendedToExtend/-", "value": ids["classes"]}]]),
        (r"PATCH .*/global/(fieldgroups|mixins)/{id}",
            [[{"op": "replace", "path": "/meta:intendedToExtend", "value": [ids["classes"]]}]]),
        (r"POST .*/tenant/classes", [{"title": title, "type": "object", "allOf": [
            {"$ref": "https://ns.adobe.com/xdm/data/record"}, {"properties": own}]}]),
        (r"POST .*/tenant/datatypes", [part]),
        (r"(POST|PUT) .*/descriptors(/{id})?", [descriptor(half, "/_id" if method == "POST" else "/eventType")]),
        (r"(POST|PUT) .*/catalog/dataSets(/{id})?", [named | {"schemaRef": content}]),
        (r"PATCH .*/catalog/(v2/)?dataSets/{id}", [{"schemaRef": content}]),
        (r"POST .*/catalog/",
            [[{"id": "1", "resource": f"/dataSets/{ids['dataSets']}", "method": "GET"}]]),
        (r"(POST|PUT) .*/mappingSets(/validate|/{id})?", [mapping_set, with_input, older]),
        (r"(POST|PUT) .*/mappings(/{mappingId})?", [rules[0]]),
        (r"PUT .*/samples/{id}", [{"sampleData": "{}", "sampleType": "JSON"}]),
        (r"POST .*/mappingSets/preview", [{"data": {"a": "b"}, "mappingSet": mapping_set}]),
        (r"POST .*/languages/el/validate", [{"expression": "1", "mappingSetId": ids["mappingSets"]}]),
        (r"POST .*/conversion/schemas", [{"sampleId": ids["samples"]}, {"schemaRef": content}]),
        (r"POST /headrace/flows/{id}/replays", [{"batchId": ids["batches"], "dryRun": True}]),
        (r"POST /headrace/flows/{id}/rewinds", [{"to": "earliest", "into": ids["others"], "confirm": True}]),
        (r"POST /headrace/flows/{id}/rehearsals",
            [{"mapping": {"id": ids["mappingSets"]}, "schema": ids["schemas"]}]),
        (r"POST .*/insights/metrics", [{
            "start": "2026-01-01T00:00:00.000Z", "end": "2027-01-01T00:00:00.000Z", "granularity": "day",
            "metrics": [metric],
        }]),
    ]  # fmt: skip
    return [
        body for pattern, found in table
        if re.fullmatch(escaped(pattern), words) for body in found
    ]  # fmt: skip


def swaps(body: Any, ours: Half, theirs: Half) -> Iterator[tuple[str, str, Any]]:
    """(what is named, the other's id, the body with that one id replaced), for each id in the body."""
    text = json.dumps(body)
    for kind, id in ours.ids.items():
        if json.dumps(id)[1:-1] in text:
            foreign = json.dumps(theirs.ids[kind])[1:-1]
            other = text.replace(json.dumps(id)[1:-1], foreign)
            other = other.replace('"title": "made ', f'"title": "made {kind} ')  # titles are unique
            yield kind, theirs.ids[kind], json.loads(other)


def test_an_id_of_another_sandbox_in_a_body_is_as_good_as_none(
    halves: tuple[Half, Half], operations: list[Any]
) -> None:
    theirs, ours = halves
    before, wrong, tried = state(theirs), [], 0
    for method, path, operation in operations:
        words = f"{method} {path}"
        if "requestBody" not in operation or any(
            re.fullmatch(escaped(p), words) for p in NO_REFERENCES
        ):  # fmt: skip
            continue
        samples = bodies(ours, method, path)
        if method in ("PUT", "PATCH") and re.search("/(classes|datatypes)/", path):
            continue  # as their POST; what extends one's own class or type cannot extend itself
        assert samples, f"{words}: say what its body may name, in bodies or NO_REFERENCES"
        own = "https://ns.adobe.com/xdm/context/profile-person-details"
        kind = kind_of(path) if "{id}" in path else None
        target = filled(path, own if "/global/" in path else ours.ids.get(kind or "", ""), ours)
        for sample in samples:
            for kind, foreign, body in swaps(sample, ours, theirs):
                tried += 1
                answer = ours.send(method, target, body)
                text = json.dumps(body).replace(
                    json.dumps(foreign)[1:-1], json.dumps(unknown(foreign))[1:-1]
                )
                text = text.replace('"title": "made ', '"title": "other ')
                nothing = ours.send(method, target, json.loads(text))
                kept = any(k == kind and re.fullmatch(escaped(p), words) for p, k in UNRESOLVED)
                if kept:
                    fits = answer.status_code == nothing.status_code
                else:
                    fits = gist(answer, foreign) == gist(nothing, unknown(foreign))
                refused = 400 <= answer.status_code < 500 or path.endswith("/insights/metrics")
                if not fits or not (refused or kept):
                    told = f"{answer.status_code} {answer.text[:300]} / {nothing.text[:200]}"
                    wrong.append(f"{words} with {kind}: {told}")
    assert not wrong, "\n".join(wrong)
    assert tried > 40
    assert state(theirs) == before


QUERIES = {
    "datasetId": "dataSets", "dataSetId": "dataSets", "dataSet": "dataSets", "batch": "batches",
    "schemaId": "schemas", "batchId": "batches", "sampleId": "samples", "inputSchemaId": "inputSchemas",
    "mappingSetId": "mappingSets",
}  # fmt: skip


def test_an_id_of_another_sandbox_in_a_query_selects_nothing(
    halves: tuple[Half, Half], operations: list[Any]
) -> None:
    theirs, ours = halves
    tried, wrong = 0, []
    for method, path, operation in operations:
        names = {p["name"] for p in operation["parameters"] if p["in"] == "query"}
        kind = kind_of(path) if "{id}" in path else None
        target = filled(path.replace("{field}", "status"), ours.ids.get(kind or "", ""), ours)
        pairs = [({}, name, QUERIES[name], "{}") for name in sorted(names & set(QUERIES))]
        if path.endswith("/suggestion"):  # needs a target and a source
            rest = {"datasetId": ours.ids["dataSets"], "sampleId": ours.ids["samples"]}
            sources = {"batchId", "inputSchemaId"}
            pairs = [
                ({k: v for k, v in rest.items() if not (name in sources and k == "sampleId")}, name, kind, "{}")
                for _, name, kind, _ in pairs
            ]  # fmt: skip
        if path.endswith("/insights/metrics") and method == "GET":
            metric = {"metric": "timeseries.ingestion.dataset.recordsuccess.count"}
            pairs.append((metric, "id", "dataSets", "{}"))
        if "property" in names and path.startswith(FLOW):
            pairs += [
                ({}, "property", "flows", "flowId=={}"),
                ({}, "property", "connections", "baseConnectionId=={}"),
            ]
        for rest, name, kind, form in pairs:
            foreign, id = theirs.ids[kind], unknown(theirs.ids[kind])
            answer = ours.send(
                method,
                target,
                {} if method == "POST" else None,
                rest | {name: form.format(foreign)},
            )
            nothing = ours.send(
                method, target, {} if method == "POST" else None, rest | {name: form.format(id)}
            )
            tried += 1
            if gist(answer, foreign) != gist(nothing, id):
                wrong.append(f"{method} {path}?{name}: {answer.text[:300]} / {nothing.text[:300]}")
    assert not wrong, "\n".join(wrong)
    assert tried > 25


def test_a_data_set_of_another_sandbox_is_no_target(halves: tuple[Half, Half]) -> None:
    """A target connection may name a data set that is yet to come, so it is the dataflow that finds out."""
    theirs, ours = halves
    target = {
        "name": "t",
        "connectionSpec": LAKE_SPEC,
        "params": {"dataSetId": theirs.ids["dataSets"]},
    }
    made = ours.send("POST", f"{FLOW}/targetConnections", target)
    body = copy.deepcopy(bodies(ours, "POST", f"{FLOW}/flows")[0])
    if made.status_code == 201:
        body["targetConnectionIds"] = [made.json()["id"]]
    else:
        assert made.status_code in (400, 404)
        return
    assert 400 <= ours.send("POST", f"{FLOW}/flows", body).status_code < 500


def test_an_inlet_reaches_dataflows_of_its_own_sandbox_only(halves: tuple[Half, Half]) -> None:
    theirs, ours = halves
    record = {"id": "2", "type": "x"}
    for inlet, flow, status in (
        (ours.inlet, ours.ids["flows"], 200),
        (ours.inlet, theirs.ids["flows"], 400),
        (theirs.inlet, ours.ids["flows"], 400),
    ):
        answer = httpx.post(inlet, json=record, headers={"x-adobe-flow-id": flow})
        assert answer.status_code == status, answer.text
    envelope = {
        "header": {"datasetId": theirs.ids["dataSets"], "schemaRef": {"id": theirs.ids["schemas"]}},
        "body": {"xdmEntity": {"_id": "3"}},
    }
    assert httpx.post(ours.inlet, json=envelope).status_code == 400


def test_no_route_answers_for_another_organisation(
    halves: tuple[Half, Half], operations: list[Any]
) -> None:
    theirs, _ = halves
    http = theirs.platform.http
    other = {
        "x-gw-ims-org-id": "ABCDEF0123456789ABCDEF01@AdobeOrg",
        "content-type": "application/json",
    }
    wrong = {}
    for method, path, operation in operations:
        if "security" not in operation:
            continue
        kind = kind_of(path) if "{id}" in path else None
        target = re.sub(
            r"\{\w+\}", "x", path.replace("{id}", quote(theirs.ids.get(kind or "", "x"), safe=""))
        )
        status = http.request(method, target, headers=other).status_code
        if status != 403:
            wrong[f"{method} {path}"] = status
    assert wrong == {}


def test_the_same_bodies_are_accepted_where_they_belong(
    halves: tuple[Half, Half], operations: list[Any]
) -> None:
    """So what is refused above is refused for the one id that was replaced."""
    theirs, _ = halves  # where nothing was changed by the tests before
    refused, accepted = [], 0
    for method, path, operation in operations:
        if "requestBody" not in operation or not any(s < "3" for s in operation["responses"]):
            continue
        kind = kind_of(path) if "{id}" in path else None
        standard = "https://ns.adobe.com/xdm/context/profile-person-details"
        id = standard if "/global/" in path else theirs.ids.get(kind or "", "")
        mappings = f"{PREP}/mappingSets/{theirs.ids['mappingSets']}/mappings"
        theirs.ids["mappings"] = theirs.platform.call("GET", mappings)[0]["id"]
        for body in bodies(theirs, method, path):
            answer = theirs.send(method, filled(path, id, theirs), body)
            accepted += answer.status_code < 300
            if answer.status_code >= 300:
                refused.append(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
    assert not refused, "\n".join(refused)
    assert accepted > 40
