"""Schemas that the description of the API names: bodies that calls take, and the shape of each service's errors.

They say what clients must know to make a call. What a handler checks beyond that is refused with 400.
"""

from typing import Any

TEXT: Any = {"type": "string"}
NUMBER: Any = {"type": "integer"}
FLAG: Any = {"type": "boolean"}
OBJECT: Any = {"type": "object"}


def _object(required: str = "", **properties: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return found | ({"required": required.split()} if required else {})


def _array(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items} | more


def reference(name: str) -> dict[str, Any]:
    """A reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


_SPECIFICATION = _object("id version", id=TEXT, version=TEXT)
_PATCHES = _object(
    "op path",
    op={"enum": ["add", "remove", "replace", "move", "copy", "test"]},
    path={"type": "string", "pattern": "^/"},
    value={},
    **{"from": TEXT},
)
_CONTENT = _object("id contentType", id=TEXT, contentType=TEXT)
_RULE = _object(
    sourceType={"enum": ["ATTRIBUTE", "EXPRESSION", "text/x.schema-path", "text/x.aep-xl"]},
    source=TEXT,
    destination=TEXT,
    name=TEXT,
    description=TEXT,
    identity=FLAG,
    sourceAttribute=TEXT,
    destinationXdmPath=TEXT,
)
_SET = _object(
    "mappings",
    version=NUMBER,
    name=TEXT,
    xdmSchema=TEXT,
    xdmVersion=TEXT,
    outputSchema=_object(schemaRef=_CONTENT),
    mappings=_array(_RULE),
)
_LEG: dict[str, Any] = {
    "name": TEXT,
    "description": TEXT,
    "connectionSpec": _SPECIFICATION,
    "data": _object(format=TEXT),
    "params": OBJECT,
}
_CLIENT: dict[str, Any] = {"client_id": TEXT, "client_secret": TEXT, "scope": TEXT}

_BODIES: dict[str, dict[str, Any]] = {
    "JsonPatch": {"anyOf": [_array(_PATCHES, minItems=1), _PATCHES]},
    "Connection": _object(
        "name connectionSpec",
        name=TEXT,
        description=TEXT,
        connectionSpec=_SPECIFICATION,
        auth=_object("specName params", specName=TEXT, params=OBJECT),
        params=OBJECT,
    ),
    "SourceConnection": _object(
        "name connectionSpec", baseConnectionId=TEXT, connectionId=TEXT, **_LEG
    ),
    "TargetConnection": _object("name connectionSpec", baseConnectionId=TEXT, **_LEG),
    "Flow": _object(
        "name flowSpec sourceConnectionIds targetConnectionIds",
        name=TEXT,
        description=TEXT,
        flowSpec=_SPECIFICATION,
        sourceConnectionIds=_array(TEXT),
        targetConnectionIds=_array(TEXT),
        transformations=_array(_object("name params", name=TEXT, params=OBJECT)),
        options=OBJECT,
        scheduleParams=OBJECT,
    ),
    "StateAction": _object(
        percentCompleted={"type": "number"},
        status=_object(value=TEXT, properties=OBJECT, errors=_array(OBJECT)),
        recordTypes=_array(OBJECT),
    ),
    "Search": _object(
        queryString=TEXT,
        projectionFields=_array(TEXT),
        limit=NUMBER,
        orderby=TEXT,
        count=FLAG,
        groupByProperty=TEXT,
    ),
    "Replay": _object(
        batchId=TEXT,
        code=TEXT,
        path=TEXT,
        since={"type": ["string", "integer"]},
        until={"type": ["string", "integer"]},
        receipts=_array(TEXT, minItems=1),
        dryRun=FLAG,
    ),
    "Rehearsal": _object(
        mapping=_object("id", id=TEXT, version=NUMBER),
        mappings=_array(_RULE, minItems=1),
        schema=TEXT,
        last=NUMBER | {"minimum": 1, "maximum": 10_000},
    ),
    "Run": _object("flowId", flowId=TEXT, status=TEXT, predecessors=_array(OBJECT)),
    "XdmResource": _object(
        "title type",
        title=TEXT,
        description=TEXT,
        type={"const": "object"},
        allOf=_array(_object(**{"$ref": TEXT})),
        definitions=OBJECT,
        properties=OBJECT,
        **{"meta:intendedToExtend": _array(TEXT)},
    ),
    "Descriptor": _object(
        "@type xdm:sourceSchema",
        **{
            "@type": TEXT,
            "xdm:sourceSchema": TEXT,
            "xdm:sourceVersion": NUMBER,
            "xdm:sourceProperty": TEXT,
            "xdm:namespace": TEXT,
            "xdm:property": TEXT,
            "xdm:isPrimary": FLAG,
        },
    ),
    "Export": _array(OBJECT),
    "DataSet": _object(
        "schemaRef",
        name=TEXT,
        description=TEXT,
        schemaRef=_CONTENT,
        tags={"type": "object", "additionalProperties": _array(TEXT)},
        fileDescription=_object(format=TEXT),
    ),
    "DataSetChange": {"anyOf": [OBJECT, _array(_PATCHES)]},
    "Bundle": _array(
        _object("id resource method", id=TEXT, resource=TEXT, method=TEXT, body={}), minItems=1
    ),
    "MappingSet": _SET,
    "Mapping": _RULE,
    "Rewind": _object(
        "to",
        to={"type": ["string", "integer"]},
        partition=TEXT,
        confirm=FLAG,
        into=TEXT,
        until={"type": ["string", "integer"]},
    ),
    "Preview": _object("data mappingSet", data={}, mappingSet=_SET),
    "Expression": _object(
        "expression",
        expression=TEXT,
        mappingSetId=TEXT,
        sampleData=TEXT,
        sampleDataType={"enum": ["JSON", "CSV"]},
    ),
    "InputSchema": _object(name=TEXT, jsonSchema=OBJECT, sampleId=TEXT, schemaRef=_CONTENT),
    "Sample": _object("sampleData", sampleData=TEXT, sampleType={"enum": ["JSON", "CSV"]}),
    "File": _object("file", file={"type": "string", "format": "binary"}),
    "Sandbox": _object(
        "name title type", name=TEXT, title=TEXT, type={"enum": ["development", "production"]}
    ),
    "SandboxTitle": _object("title", title=TEXT),
    "SandboxAction": _object("action", action={"const": "reset"}),
    "Namespace": _object("name code idType", name=TEXT, code=TEXT, idType=TEXT, description=TEXT),
    "MetricsReport": _object(
        "start end granularity metrics",
        start={"type": "string", "format": "date-time"},
        end={"type": "string", "format": "date-time"},
        granularity=TEXT,
        metrics=_array(
            _object("name", name=TEXT, filters=_array(OBJECT), aggregator=TEXT, downsample=TEXT)
        ),
    ),
    "ClientCredentials": _object("grant_type client_id client_secret", grant_type=TEXT, **_CLIENT),
    "AuthorizationCode": _object(
        "grant_type client_id client_secret code", grant_type=TEXT, code=TEXT, **_CLIENT
    ),
    "Assertion": _object("client_id client_secret jwt_token", jwt_token=TEXT, **_CLIENT),
}

_PROBLEM: Any = {"type": TEXT, "title": TEXT, "status": NUMBER}
_ERRORS: dict[str, dict[str, Any]] = {
    "GatewayError": _object("error_code message", error_code=TEXT, message=TEXT),
    "ProblemError": _object("type status title detail", detail=TEXT, **_PROBLEM),
    "flowError": _object(
        "type title status report", report=_object("detailed-message request-id"), **_PROBLEM
    ),
    "registryError": _object(
        "type title status report detail", report=_object("registryRequestId"), detail=TEXT,
        **_PROBLEM,
    ),
    "imsError": _object("error error_description", error=TEXT, error_description=TEXT),
    "identityError": _object("type status title report", report=_object("code"), **_PROBLEM),
    "plainError": _object("title", title=TEXT),
    "bundleError": _array(_object("id code body", id=TEXT, code=NUMBER, body={})),
}  # fmt: skip
_SHAPE = {"catalog": "registry", "sandbox": "registry", "conversion": "registry"}

SCHEMAS = {**_BODIES, **_ERRORS}


def refusal(service: str) -> dict[str, Any]:
    """What a call of the service may answer instead of a result: its own error, or the gateway's."""
    names = ["GatewayError", "ProblemError", f"{_SHAPE.get(service, service)}Error"]
    if service == "catalog":
        names.append("bundleError")
    return {"anyOf": [reference(name) for name in names]}
