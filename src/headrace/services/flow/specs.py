"""The catalogue of connection specifications, with the platform's fixed ids and names."""

from typing import Any

from headrace.sources import declared
from headrace.sources.declared import DECLARED, SECRET, TEXT, Declared, Form

STREAMING = "521eee4d-8cbe-4906-bb48-fb6bd4450033"
HTTP = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"
KINESIS = declared.KINESIS.spec_id
EVENT_HUBS = declared.EVENT_HUBS.spec_id
PUBSUB = declared.PUBSUB.spec_id
KAFKA = declared.KAFKA.spec_id
SNOWFLAKE = "51ae16c2-bdad-42fd-9fce-8d5dfddaf140"
RESERVED = "d27d4907-7351-47dd-bbc2-05a04365703d"
GENERIC = "e77fd9d2-22a8-11ed-861d-0242ac120002"
DATA_LAKE = "c604ff05-7f1a-43c0-8e18-33bf874cb11c"
_DRAFT7 = "http://json-schema.org/draft-07/schema#"


def permissions() -> dict[str, Any]:
    """What a caller needs to see and to manage."""

    def entry(right: str) -> list[dict[str, Any]]:
        return [{"@type": "lowLevel", "name": "StreamingSource", "permissions": [right]}]

    return {"view": entry("read"), "manage": entry("write")}


def schema(properties: dict[str, Any], required: list[str], **more: Any) -> dict[str, Any]:
    """A draft-07 object schema."""
    return {
        "$schema": _DRAFT7,
        "type": "object",
        "properties": properties,
        "required": required,
    } | more


def _auth(name: str, kind: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"name": name, "type": kind, "spec": schema(properties, required)}


def _spec(
    id: str,
    name: str,
    category: str,
    auth: list[dict[str, Any]],
    source: dict[str, Any],
    kind: str | None = None,
    explore: dict[str, Any] | None = None,
) -> dict[str, Any]:
    out = {
        "id": id,
        "name": name,
        "providerId": STREAMING,
        "version": "1.0",
        "authSpec": auth,
        "sourceSpec": {
            "name": "Streaming",
            "type": "Streaming",
            "spec": source,
            "attributes": {
                "authRequired": bool(auth),
                "uiAttributes": {
                    "isSource": True,
                    "monitoringSupported": True,
                    "category": {"key": category},
                    "label": {"text": "HTTP API" if id == HTTP else name},
                    "frequency": {"key": "streaming", "text": "streaming"},
                },
            },
        },
        "exploreSpec": {"type": "StreamingConnection", **(explore or {})},
        "attributes": {
            "category": category,
            "connectorName": name,
            "isSource": True,
            "isDraftModeSupported": True,
            "frequency": "streaming",
            "uiAttributes": {
                "apiFeatures": {"updateSupported": True, "explorePaginationSupported": False}
            },
        },
        "permissionsInfo": permissions(),
    }
    return out | ({"type": kind} if kind else {})


def _form(form: Form) -> dict[str, Any]:
    either = {"anyOf": [{"required": list(names)} for names in form.one_of]} if form.one_of else {}
    return schema(dict(form.properties), list(form.required), **either)


def _of_connector(found: Declared) -> dict[str, Any]:
    """The specification of what a connector declares."""
    auth = [
        {"name": way.name, "type": way.kind, "spec": _form(way.form)} for way in found.credentials
    ]
    entry = {
        "type": "object",
        "properties": {
            "type": {"type": "string", "enum": list(found.objects)}, "name": TEXT, "path": TEXT,
            "canPreview": {"type": "boolean"}, "canFetchSchema": {"type": "boolean"},
        },
    }  # fmt: skip
    types = {"objectType": {"type": "string", "enum": ["root", "table"]}, "object": TEXT}
    explore = {
        "name": "Stream",
        "requestSpec": schema(types, ["objectType"]),
        "responseSpec": {"root": {"type": "array", "items": entry}},
    }
    return _spec(
        found.spec_id, found.name, found.category, auth, _form(found.source), explore=explore
    )


CONNECTION_SPECS: tuple[dict[str, Any], ...] = (
    _spec(
        HTTP,
        "Streaming Connection",
        "Streaming",
        [
            _auth(
                "Streaming Connection",
                "KeyBased",
                {
                    "dataType": {"type": "string", "enum": ["xdm", "raw"]},
                    "sourceId": TEXT,
                    "name": TEXT,
                    "authenticationRequired": {"type": "boolean", "default": False},
                    "inletUrl": TEXT,
                    "inletId": TEXT,
                },
                ["dataType"],
            )
        ],
        schema({}, []),
    ),
    *map(_of_connector, DECLARED),
    _spec(
        SNOWFLAKE,
        "Snowflake Streaming",
        "Databases",
        [
            _auth(
                "Basic Authentication for Snowflake",
                "KeyBased",
                {
                    **dict.fromkeys(("account", "database", "warehouse", "username"), TEXT),
                    "password": SECRET,
                    "schema": TEXT,
                    "role": TEXT,
                },
                ["account", "database", "warehouse", "username", "password"],
            )
        ],
        schema(
            {
                "tableName": TEXT,
                "timestampColumn": TEXT,
                "backfill": {"type": ["boolean", "string"]},
                "timezoneValue": TEXT,
            },
            ["tableName", "timestampColumn"],
        ),
    ),
    _spec(RESERVED, "Streaming Reserved", "Streaming", [], schema({}, [])),
    _spec(GENERIC, "generic-streaming", "Streaming", [], schema({}, []), "generic-streaming"),
    {
        "id": DATA_LAKE,
        "name": "datalake",
        "providerId": STREAMING,
        "version": "1.0",
        "authSpec": [],
        "targetSpec": {
            "name": "Data Lake",
            "type": "DataLake",
            "spec": schema({"dataSetId": TEXT}, ["dataSetId"]),
            "attributes": {"uiAttributes": {"isTarget": True}},
        },
        "attributes": {"category": "Data Lake", "isSource": False, "isDraftModeSupported": True},
        "permissionsInfo": permissions(),
    },
)
BY_ID = {spec["id"]: spec for spec in CONNECTION_SPECS}


def auth_spec(spec: dict[str, Any], name: object) -> dict[str, Any] | None:
    """The authentication form of a specification with that exact name."""
    return next((found for found in spec["authSpec"] if found["name"] == name), None)


def secret_names(form: dict[str, Any]) -> frozenset[str]:
    """The parameters of a form that are secret."""
    properties = form["spec"]["properties"]
    return frozenset(n for n, rule in properties.items() if rule.get("format") == "password")
