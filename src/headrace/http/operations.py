"""What each operation takes and may answer, by rules over method and path; `openapi` writes it down.

A rule's pattern is matched against the whole of `METHOD path`, with path parameters as in `{id}`.
"""

import re
from typing import Any

from headrace.http.contract import Route

_MULTIPART = "multipart/form-data"
_FORM = "application/x-www-form-urlencoded"
_JSON = "application/json"
_BINARY = "application/octet-stream"
_KINDS = "(connections|sourceConnections|targetConnections|flows)"
_CUSTOM = "(schemas|classes|fieldgroups|mixins|datatypes)"
_LIST = "property orderby limit count continuationToken"

_QUERY: tuple[tuple[str, str], ...] = (
    (rf"GET .*/flowservice/({_KINDS}|runs|flows/{{id}}/runs)", _LIST),
    (rf"POST .*/flowservice/({_KINDS}|runs|connectionSpecs|flowSpecs)/search", _LIST),
    (r"GET .*/flowservice/(connectionSpecs|flowSpecs)", "property"),
    (rf"POST .*/flowservice/{_KINDS}", "mode"),
    (r"POST .*/flowservice/.*/action", "op subOp"),
    (r"GET .*/flowservice/connections/{id}/explore", "objectType object"),
    (
        r"GET .*/schemaregistry/(tenant|global)/(?!descriptors)[a-z]+",
        "property orderby limit start",
    ),
    (r"GET .*/schemaregistry/tenant/descriptors", "property orderby limit start"),
    (r"POST .*/catalog/dataSets", "requestDataSource"),
    (r"GET .*/catalog/dataSets/{id}", "properties"),
    (
        r"GET .*/catalog/(dataSets|batches|lastBatches|batches/uniques/{field}|dataSetFiles|.*/files)",
        "property properties orderBy limit start tags createdAfter createdBefore",
    ),
    (r"GET .*/catalog/(batches|batches/uniques/{field})", "dataSet batch status"),
    (r"GET .*/catalog/(lastBatches|dataSetFiles)", "dataSetId"),
    (r"GET .*/catalog/dataSetFiles", "batch"),
    (r"GET .*/export/batches/{id}/(files|failed|meta)", "limit start"),
    (r"GET .*/export/files/{id}", "limit start"),
    (r"GET .*/export/(batches/{id}/(failed|meta)|files/{id})", "path"),
    (r"GET .*/(mappingSets|conversion/schemas|conversion/samples)", "limit start name orderBy"),
    (r"GET .*/mappingSets", "property"),
    (r"GET .*/mappingSets(/{id})?", "expandSchema"),
    (r"GET .*/mappingSets/{id}(/mappings)?", "version"),
    (r"POST .*/mappingSets", "validate"),
    (
        r"GET .*/mappingSets/suggestion",
        "datasetId schemaId batchId sampleId inputSchemaId excludeUnmapped",
    ),
    (r"GET .*/xdmBatchConversions", "limit mappingSetId"),
    (r"GET .*/sandbox-management(/sandboxes)?", "limit offset property orderBy"),
    (r"PUT .*/sandbox-management/sandboxes/{name}", "validationOnly"),
    (r"GET .*/insights/metrics", "metric id dateRange"),
    (r"POST /ims/.*", "grant_type client_id client_secret scope"),
)
_COUNTS = frozenset({"limit", "start", "offset", "createdAfter", "createdBefore", "version"})
_FLAGS = frozenset(
    {"count", "requestDataSource", "expandSchema", "validate", "excludeUnmapped", "validationOnly"}
)
_REPEATED = frozenset({"property", "metric", "subOp"})

_BODIES: tuple[tuple[str, str, str], ...] = (
    (r"(POST|PUT) .*/flowservice/(connectionSpecs|flowSpecs)(/{id})?", _JSON, ""),
    (r"POST .*/flowservice/.*/search", _JSON, "Search"),
    (r"POST .*/flowservice/.*/action", _JSON, "StateAction"),
    (r"POST .*/flowservice/connections", _JSON, "Connection"),
    (r"POST .*/flowservice/sourceConnections", _JSON, "SourceConnection"),
    (r"POST .*/flowservice/targetConnections", _JSON, "TargetConnection"),
    (r"POST .*/flowservice/flows", _JSON, "Flow"),
    (r"POST .*/flowservice/runs", _JSON, "Run"),
    (r"PUT .*/flowservice/runs/{id}", _JSON, ""),
    (r"PATCH .*/(flowservice|schemaregistry)/.*", _JSON, "JsonPatch"),
    (r"POST .*/schemaregistry/rpc/(import|export)", _JSON, "Export"),
    (r"(POST|PUT) .*/schemaregistry/tenant/descriptors(/{id})?", _JSON, "Descriptor"),
    (r"(POST|PUT) .*/schemaregistry/tenant/.*", _JSON, "XdmResource"),
    (r"(POST|PUT) .*/catalog/dataSets(/{id})?", _JSON, "DataSet"),
    (r"PATCH .*/catalog/.*", _JSON, "DataSetChange"),
    (r"POST .*/catalog/", _JSON, "Bundle"),
    (r"POST .*/mappingSets/preview", _JSON, "Preview"),
    (r"POST .*/mappingSets/{id}/mappings", _JSON, "Mapping"),
    (r"PUT .*/mappingSets/{id}/mappings/{mappingId}", _JSON, "Mapping"),
    (r"(POST|PUT) .*/mappingSets(/validate|/{id})?", _JSON, "MappingSet"),
    (r"POST .*/languages/el/validate", _JSON, "Expression"),
    (r"POST .*/conversion/(schemas|samples)/upload", _MULTIPART, "File"),
    (r"POST .*/conversion/schemas", _JSON, "InputSchema"),
    (r"(POST|PUT) .*/conversion/samples(/{id})?", _JSON, "Sample"),
    (r"POST .*/sandboxes", _JSON, "Sandbox"),
    (r"PATCH .*/sandboxes/{name}", _JSON, "SandboxTitle"),
    (r"PUT .*/sandboxes/{name}", _JSON, "SandboxAction"),
    (r"(POST|PUT) .*/idnamespace/identities(/{id})?", _JSON, "Namespace"),
    (r"POST .*/insights/metrics", _JSON, "MetricsReport"),
    (r"POST /headrace/flows/{id}/replays", _JSON, "Replay"),
    (r"POST /headrace/flows/{id}/rehearsals", _JSON, "Rehearsal"),
    (r"POST /headrace/flows/{id}/rewinds", _JSON, "Rewind"),
    (r"POST /ims/token/v[23]", _FORM, "ClientCredentials"),
    (r"POST /ims/token/v1", _FORM, "AuthorizationCode"),
    (r"POST /ims/exchange/jwt", _FORM, "Assertion"),
)

# the first rule that matches; 200 without one. An operation that is always refused has no success.
_SUCCESS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"(POST|PUT) .*/flowservice/(connectionSpecs|flowSpecs)(/{id})?", ()),
    (r"(POST|PUT) .*/flowservice/runs(/{id})?", ()),
    (r"POST .*/flowservice/runs/{id}/action", ()),
    (r"GET .*/flowservice/(connectionSpecs/{id}/explore|.*/{id}/configs)", ()),
    (r"GET .*/xdmBatchConversions/{id}(/.*)?", ()),
    (rf"POST .*/flowservice/{_KINDS}", (201,)),
    (r"POST .*/schemaregistry/tenant/.*", (201,)),
    (r"PUT .*/schemaregistry/tenant/descriptors/.*", (201,)),
    (r"POST .*/(catalog/dataSets|sandbox-management/sandboxes)", (201,)),
    (r"POST /headrace/flows/{id}/(replays|rewinds)", (200, 202)),
    (r"DELETE /headrace/flows/{id}/replays/{replayId}", (200, 202)),
    (r"DELETE /headrace/flows/{id}/rewinds/{rewindId}", (202,)),
    (r"DELETE .*/(flowservice|schemaregistry|mappingSets)/.*", (204,)),
    (r"GET .*/catalog/dataSets/{id}", (200, 304)),
    (r"GET .*/export/(files/{id}|batches/{id}/failed)", (200, 206)),
    (r"GET /health", (200, 503)),
)
# added to what the gateway may answer
_REFUSALS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"(PATCH|DELETE) .*/flowservice/.*", (412,)),
    (r"POST .*/flowservice/.*/action", (412,)),
    (rf"(POST|PUT|PATCH) .*/schemaregistry/(tenant|global)/{_CUSTOM}.*", (422,)),
    (r"POST .*/schemaregistry/rpc/.*", (422,)),
    (r"GET .*/schemaregistry/.*", (422,)),
    (r"(PATCH|PUT|DELETE) .*/catalog/.*", (412,)),
    (r"POST .*/catalog/", (412,)),
    (r"GET .*/export/(files/{id}|batches/{id}/failed)", (410, 416)),
    (r"POST .*/sandboxes", (409,)),
    (r"POST /headrace/flows/{id}/(replays|rehearsals|rewinds)", (409, 429)),
    (r"DELETE /headrace/flows/{id}/(replays|rewinds)/.*", (409,)),
    (r"(POST|PUT) .*/idnamespace/.*", (409,)),
    (r"POST /ims/.*", (400, 413, 429)),
)
_MEDIA: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"GET /metrics", ("text/plain",)),
    (r"GET .*/export/(files/{id}|batches/{id}/failed)", (_JSON, _BINARY)),
    (r"GET .*/export/batches/{id}/meta", (_JSON, "application/x-ndjson")),
)
_HEADERS: tuple[tuple[str, str, bool], ...] = (
    (r"PATCH .*/flowservice/.*", "if-match", True),
    (r"(POST|DELETE) .*/flowservice/.*{id}.*", "if-match", False),
    (r"(PATCH|PUT|DELETE) .*/catalog/.*", "if-match", False),
    (r"GET .*/catalog/dataSets/{id}", "if-none-match", False),
    (r"(POST|PATCH|PUT|DELETE) .*/catalog/dataSets.*", "pragma", False),
    (r"GET .*/export/(files/{id}|batches/{id}/failed)", "range", False),
)


def _words(route: Route) -> str:
    return f"{route.method} {re.sub(r':[a-z]+}', '}', route.path)}"


def query_parameters(route: Route) -> list[dict[str, Any]]:
    """The parameters of the query string, none of them required."""
    words = _words(route)
    names = [n for pattern, found in _QUERY if re.fullmatch(pattern, words) for n in found.split()]
    return [_parameter(name) for name in dict.fromkeys(names)]


def _parameter(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name in _COUNTS:
        schema = {"type": "integer", "minimum": 0}
    elif name in _FLAGS:
        schema = {"type": "boolean"}
    elif name in _REPEATED:
        schema = {"type": "array", "items": schema}
    return {"name": name, "in": "query", "required": False, "schema": schema}


def header_parameters(route: Route) -> list[tuple[str, bool]]:
    """Headers beyond the gateway's, and whether each is required."""
    words = _words(route)
    return [(name, needed) for pattern, name, needed in _HEADERS if re.fullmatch(pattern, words)]


def request_body(route: Route) -> tuple[str, str] | None:
    """(media type, name of the schema or "" for any JSON) of an operation that takes a body."""
    words = _words(route)
    for pattern, media_type, schema in _BODIES:
        if re.fullmatch(pattern, words):
            return media_type, schema
    return None


def successes(route: Route) -> tuple[int, ...]:
    """Statuses of answers that are results; none for an operation that is always refused."""
    words = _words(route)
    return next((found for pattern, found in _SUCCESS if re.fullmatch(pattern, words)), (200,))


def media_types(route: Route) -> tuple[str, ...]:
    """Media types of results."""
    words = _words(route)
    return next((found for pattern, found in _MEDIA if re.fullmatch(pattern, words)), (_JSON,))


def refusals(route: Route) -> list[int]:
    """Statuses of refusals: those of the gateway, and of a request that is late or one connection too many, included."""
    words = _words(route)
    found = {s for pattern, more in _REFUSALS if re.fullmatch(pattern, words) for s in more}
    found |= {408, 503}
    if route.auth != "none":
        found |= {400, 401, 403}
        if request_body(route):
            found.add(413)
        if route.auth == "platform" or "{" in route.path:
            found.add(404)
    return sorted(found)
