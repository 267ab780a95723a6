"""Ids that a server has, and bodies that it accepts, by the paths and the schemas of its description."""

import time
from typing import Any

from headrace.testing.server import EVENT_CLASS, HTTP_SPEC, LAKE_SPEC, Journey, PlatformClient

REGISTRY = "/data/foundation/schemaregistry"
EXTRA = "fuzz-dispensable"
RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
    {"sourceType": "ATTRIBUTE", "source": "type", "destination": "eventType"},
]


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
    made = {
        kind: platform.call("POST", f"{REGISTRY}/tenant/{kind}", body)["$id"]
        for kind, body in resources(platform, "existing").items()
    }
    label = platform.call("POST", f"{REGISTRY}/tenant/descriptors", descriptor(journey))
    mappings = platform.call(
        "GET", f"/data/foundation/conversion/mappingSets/{journey.mapping_id}/mappings"
    )
    sample = platform.call(
        "POST", "/data/foundation/conversion/samples", {"sampleData": '{"a":1}', "sampleType": "JSON"}
    )  # fmt: skip
    return found | {
        "/headrace/flows": [journey.flow_id],
        f"{REGISTRY}/tenant": [journey.schema_id, standard],
        **{f"{REGISTRY}/tenant/{kind}": [id] for kind, id in made.items()},
        f"{REGISTRY}/tenant/descriptors": [label["@id"]],
        f"{REGISTRY}/global": [standard],
        f"{REGISTRY}/global/behaviors": ["https://ns.adobe.com/xdm/data/record"],
        f"{REGISTRY}/global/classes": [EVENT_CLASS],
        f"{REGISTRY}/global/datatypes": ["https://ns.adobe.com/xdm/context/person"],
        f"{REGISTRY}/rpc": [journey.schema_id],
        "/data/foundation/catalog/dataSets": [journey.dataset_id],
        "/data/foundation/catalog/v2/dataSets": [journey.dataset_id],
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
        "mappingId": [mapping["id"] for mapping in mappings],
        "specName": ["Streaming Connection"],
        "version": ["1.0"],
        "format": ["json", "delimited", "parquet_xdm"],
        "?op": ["publish"],
        "?metric": ["timeseries.ingestion.dataset.size"],
        "?datasetId": [journey.dataset_id],
    }


def resources(platform: PlatformClient, title: str) -> dict[str, Any]:
    """Bodies of the registry's resources by their kinds. Titles must be unique."""
    fields = {
        f"_{platform.credentials['tenant_id']}": {
            "type": "object", "properties": {"a": {"type": "string", "minLength": 1}},
        }
    }  # fmt: skip
    record = {"$ref": "https://ns.adobe.com/xdm/data/record"}
    bodies = {
        "classes": {"allOf": [record, {"properties": fields}]},
        "datatypes": {"properties": fields},
        "schemas": {"allOf": [{"$ref": EVENT_CLASS}]},
        "fieldgroups": {
            "meta:intendedToExtend": [EVENT_CLASS],
            "definitions": {"customFields": {"type": "object", "properties": fields}},
            "allOf": [{"$ref": "#/definitions/customFields"}],
        },
    }  # fmt: skip
    bodies["mixins"] = bodies["fieldgroups"]
    return {
        kind: {"title": f"{title} {kind}", "type": "object"} | body for kind, body in bodies.items()
    }


def descriptor(journey: Journey) -> dict[str, Any]:
    return {
        "@type": "xdm:descriptorIdentity", "xdm:sourceSchema": journey.schema_id,
        "xdm:sourceVersion": 1, "xdm:sourceProperty": "/eventType", "xdm:namespace": "Email",
        "xdm:property": "xdm:code", "xdm:isPrimary": False,
    }  # fmt: skip


def samples(platform: PlatformClient, journey: Journey) -> dict[str, Any]:
    """Bodies that are accepted, by the operation that takes them or the name of their schema."""
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
        "JsonPatch": [{"op": "add", "path": "/description", "value": "changed"}],
        "StateAction": {"percentCompleted": 100, "status": {"value": "completed"}},
        "Search": {"queryString": "name==sample", "limit": 2, "orderby": "-name"},
        "Replay": {"path": "nowhere", "since": "2026-01-01T00:00:00Z", "dryRun": True},
        "Rehearsal": {"mapping": {"id": str(journey.mapping_id), "version": 0}, "last": 10},
        "Run": {"flowId": journey.flow_id, "status": "active"},
        **{f"POST {REGISTRY}/tenant/{kind}": body for kind, body in resources(platform, "new").items()},
        **{
            f"PUT {REGISTRY}/tenant/{kind}/{{id}}": body
            for kind, body in resources(platform, "existing").items()
        },
        "Descriptor": descriptor(journey),
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
