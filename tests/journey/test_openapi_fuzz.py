"""Calls made up from our own description of the API: nothing fails inside, and every answer is one that it states."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from headrace.testing.server import HTTP_SPEC, LAKE_SPEC, Journey, PlatformClient, ServerProcess
from tests.journey.openapi_cases import MadeCall, Maker, faults

SERVICES = ["ims", "sandbox", "registry", "catalog", "identity", "conversion", "flow", "plain"]
"""The tags of the document."""

SECONDS = 40.0
EXAMPLES = 25
REGISTRY = "/data/foundation/schemaregistry"
GATEWAY = ("x-api-key", "x-gw-ims-org-id", "x-sandbox-name")
EXTRA = "fuzz-dispensable"


class Enough(BaseException):
    """The time of an operation is over; not an Exception, which would count as a failure of the call."""


@dataclass
class Site:
    """A server of its own, with one of everything, so that ids also lead somewhere."""

    platform: PlatformClient
    maker: Maker
    statuses: dict[str, set[int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data_dir: Path = tmp_path_factory.mktemp("fuzz") / "headrace-data"
    data_dir.mkdir()
    process = ServerProcess(data_dir, HEADRACE_COMMIT_INTERVAL="0.2").start()
    platform = PlatformClient(process.credentials())
    rules = [
        {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
        {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
        {"sourceType": "ATTRIBUTE", "source": "type", "destination": "eventType"},
    ]
    journey = platform.create_flow({}, rules)
    httpx.post(
        journey.inlet_url, json={"id": "1", "type": "x"}, headers={"x-adobe-flow-id": journey.flow_id}
    ).raise_for_status()  # fmt: skip
    document = platform.http.get("/openapi.json").json()
    yield Site(platform, Maker(document, existing(platform, journey), samples(platform, journey)))
    log = (data_dir.parent / "server.log").read_text()
    platform.http.close()
    assert process.stop() == 0
    assert "failed unexpectedly" not in log, log


def existing(platform: PlatformClient, journey: Journey) -> dict[str, list[str]]:
    """Ids that there are, by the beginning of the paths that take them."""
    flow = "/data/foundation/flowservice"
    platform.call(
        "POST", "/data/foundation/sandbox-management/sandboxes",
        {"name": EXTRA, "title": "t", "type": "development"},
    )  # fmt: skip
    batches: dict[str, Any] = {}
    deadline = time.monotonic() + 20
    while not batches and time.monotonic() < deadline:
        batches = platform.call("GET", "/data/foundation/catalog/batches")
    files = platform.call("GET", "/data/foundation/catalog/dataSetFiles")
    found = {
        f"{flow}/{kind}": [i["id"] for i in platform.call("GET", f"{flow}/{kind}")["items"]]
        for kind in (
            "connections", "sourceConnections", "targetConnections", "flows", "runs", "flowSpecs",
            "connectionSpecs",
        )
    }  # fmt: skip
    standard = "https://ns.adobe.com/xdm/context/profile-person-details"
    sample = platform.call(
        "POST", "/data/foundation/conversion/samples", {"sampleData": '{"a":1}', "sampleType": "JSON"}
    )  # fmt: skip
    return found | {
        f"{REGISTRY}/tenant": [journey.schema_id, standard],
        f"{REGISTRY}/global": [standard],
        f"{REGISTRY}/rpc": [journey.schema_id],
        "/data/foundation/catalog/dataSets": [journey.dataset_id],
        "/data/foundation/export/datasets": [journey.dataset_id],
        "/data/foundation/catalog/batches": list(batches),
        "/data/foundation/export/batches": list(batches),
        "/data/foundation/export/files": list(files),
        "/data/foundation/conversion/mappingSets": [str(journey.mapping_id)],
        "/data/foundation/mappingSets": [str(journey.mapping_id)],
        "/data/foundation/conversion/samples": [sample["id"]],
        "/data/foundation/sandbox-management/sandboxes": [EXTRA],
        "/data/core/idnamespace/identities": ["6"],
        "/data/core/idnamespace/orgs": [platform.credentials["org_id"]],
        "specName": ["Streaming Connection"],
        "version": ["1.0"],
        "format": ["json", "delimited", "parquet_xdm"],
    }


def samples(platform: PlatformClient, journey: Journey) -> dict[str, Any]:
    """Bodies that are accepted, by the name of their schema."""
    found = platform.call("GET", f"/data/foundation/flowservice/flows/{journey.flow_id}")
    flow = found["items"][0]
    content = {
        "id": journey.schema_id,
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    rules = [{"sourceType": "EXPRESSION", "source": "concat(a, 'x')", "destination": "_id"}]
    mapping_set = {"version": 0, "outputSchema": {"schemaRef": content}, "mappings": rules}
    allow = {"name": "sample", "description": "d"}
    return {
        "Connection": allow | {
            "connectionSpec": HTTP_SPEC,
            "auth": {"specName": "Streaming Connection", "params": {"dataType": "raw", "name": "s"}},
        },
        "SourceConnection": allow | {
            "baseConnectionId": journey.connection_id, "connectionSpec": HTTP_SPEC,
            "data": {"format": "json"},
        },
        "TargetConnection": allow | {
            "connectionSpec": LAKE_SPEC, "data": {"format": "parquet_xdm"},
            "params": {"dataSetId": journey.dataset_id},
        },
        "Flow": allow | {
            k: flow[k]
            for k in ("flowSpec", "sourceConnectionIds", "targetConnectionIds", "transformations")
        },
        "JsonPatch": [{"op": "replace", "path": "/description", "value": "changed"}],
        "StateAction": {"percentCompleted": 100, "status": {"value": "completed"}},
        "Search": {"queryString": "name==sample", "limit": 2, "orderby": "-createdAt"},
        "Run": {"flowId": journey.flow_id, "status": "active"},
        "XdmResource": {
            "title": "sample", "type": "object", "allOf": [{"$ref": "#/definitions/customFields"}],
            "meta:intendedToExtend": ["https://ns.adobe.com/xdm/context/experienceevent"],
            "definitions": {"customFields": {"type": "object", "properties": {
                f"_{platform.credentials['tenant_id']}": {
                    "type": "object", "properties": {"a": {"type": "string", "minLength": 1}},
                },
            }}},
        },
        "Descriptor": {
            "@type": "xdm:descriptorIdentity", "xdm:sourceSchema": journey.schema_id,
            "xdm:sourceVersion": 1, "xdm:sourceProperty": "/eventType", "xdm:namespace": "Email",
            "xdm:property": "xdm:code", "xdm:isPrimary": False,
        },
        "Export": [],
        "DataSet": allow | {"schemaRef": content, "tags": {"a": ["b"]}},
        "DataSetChange": {"description": "changed", "tags": {"a": ["b"]}},
        "Bundle": [
            {"id": "1", "resource": f"/dataSets/{journey.dataset_id}", "method": "GET"},
            {"id": "2", "resource": "/batches/<<1.id>>", "method": "GET"},
        ],
        "MappingSet": mapping_set,
        "Mapping": rules[0],
        "Preview": {"data": {"a": "b"}, "mappingSet": mapping_set},
        "Expression": {
            "expression": "upper(a) + 1", "sampleData": '{"a": "b"}', "sampleDataType": "JSON"
        },
        "InputSchema": {"name": "s", "jsonSchema": {"type": "object", "properties": {"a": {"type": "string"}}}},
        "Sample": {"sampleData": "a,b\n1,2", "sampleType": "CSV"},
        "Sandbox": {"name": "fuzz-new", "title": "New", "type": "development"},
        "SandboxTitle": {"title": "Changed"},
        "Namespace": {"name": "Loyalty", "code": "Loyalty", "idType": "CROSS_DEVICE"},
        "MetricsReport": {
            "start": "2026-01-01T00:00:00.000Z", "end": "2026-02-01T00:00:00.000Z", "granularity": "day",
            "metrics": [{
                "name": "timeseries.ingestion.dataset.recordsuccess.count", "aggregator": "sum", "downsample": "sum",
                "filters": [{"name": "dataSetId", "value": journey.dataset_id, "groupBy": True}],
            }],
        },
        "ClientCredentials": {
            "grant_type": "client_credentials", "client_id": platform.credentials["client_id"],
            "client_secret": platform.credentials["client_secret"],
        },
    }  # fmt: skip


ACCEPTS = st.sampled_from(
    ["application/json", "*/*", "text/html", "", "application/vnd.adobe.xed+json",
     "application/vnd.adobe.xed-full+json;version=1", "application/vnd.adobe.xdm-id+json",
     "application/vnd.adobe.xdm+json", "application/vnd.adobe.xed-full-desc+json;version=1",
     "application/vnd.adobe.xed+json;version=99999999999999999999999"]
)  # fmt: skip


def test_the_document_covers_every_service(site: Site) -> None:
    tags = {tag for _, _, operation in site.maker.operations() for tag in operation["tags"]}
    assert tags == set(SERVICES)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("service", SERVICES)
def test_every_answer_is_one_that_the_document_states(site: Site, service: str) -> None:
    operations = site.maker.operations()
    chosen = [one for one in operations if one[2]["tags"] == [service]]
    found: list[str] = []
    for method, path, operation in chosen:
        until = time.monotonic() + SECONDS / len(operations)
        found += fuzz(site, method, path, operation, until)
    assert not found, "\n".join(found)


def fuzz(site: Site, method: str, path: str, operation: dict[str, Any], until: float) -> list[str]:
    """What was wrong with the answers, the first of each kind."""
    wrong: dict[str, str] = {}
    seen = site.statuses.setdefault(f"{method} {path}", set())

    @settings(
        max_examples=EXAMPLES, derandomize=True, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(call=site.maker.calls(method, path, operation), accept=ACCEPTS)
    def run(call: MadeCall, accept: str) -> None:
        if seen and time.monotonic() > until:  # at least one call each
            raise Enough
        call.headers["accept"] = accept
        if call.headers.get("if-match") == "*":  # stands for the etag that the item has now
            item = site.platform.http.get(call.path).json().get("items", [{}])[0]
            call.headers["if-match"] = item.get("etag", "*")
        answer = call.send(site.platform.http)
        seen.add(answer.status_code)
        for fault in faults(site.maker.document, operation, answer):
            body = (call.body or b"")[:200]
            wrong.setdefault(fault[:60], f"{method} {answer.request.url} {body!r}: {fault}"[:1500])

    with contextlib.suppress(Enough):
        run()
    return list(wrong.values())


def test_made_up_calls_also_succeed(site: Site) -> None:
    """Were all of them refused at the door, the others would prove nothing."""
    import os

    print(site.statuses) if os.environ.get("SHOW") else 0
    succeeded = {name for name, seen in site.statuses.items() if any(s < 300 for s in seen)}
    stated = {
        f"{method} {path}"
        for method, path, operation in site.maker.operations()
        if any(status < "3" for status in operation["responses"])
    }
    assert len(succeeded) > len(stated) * 0.6, sorted(stated - succeeded)


def test_whoever_the_gateway_does_not_know_gets_a_stated_refusal(site: Site) -> None:
    wrong = []
    stranger = httpx.Client(base_url=site.platform.credentials["base_url"], timeout=20)
    for method, path, operation in site.maker.operations():
        if "security" not in operation:
            continue
        names = {parameter["name"] for parameter in operation["parameters"]}
        for name in {"authorization", *GATEWAY} & {"authorization", *names}:
            headers = {**site.platform.http.headers, name: "x", "content-type": "application/json"}
            url = path.replace("{", "").replace("}", "")
            answer = stranger.request(method, url, headers=headers)
            if answer.status_code not in (401, 403, 404) or faults(
                site.maker.document, operation, answer
            ):
                wrong.append((method, path, name, answer.status_code, answer.text))
    stranger.close()
    assert wrong == []
