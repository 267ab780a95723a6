"""The catalogue of connection specifications, with the platform's fixed ids and names."""

from typing import Any

STREAMING = "521eee4d-8cbe-4906-bb48-fb6bd4450033"
HTTP = "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb"
KINESIS = "86043421-563b-46ec-8e6c-e23184711bf6"
EVENT_HUBS = "bf9f5905-92b7-48bf-bf20-455bc6b60a4e"
PUBSUB = "70116022-a743-464a-bbfe-e226a7f8210c"
SNOWFLAKE = "51ae16c2-bdad-42fd-9fce-8d5dfddaf140"
RESERVED = "d27d4907-7351-47dd-bbc2-05a04365703d"
GENERIC = "e77fd9d2-22a8-11ed-861d-0242ac120002"
DATA_LAKE = "c604ff05-7f1a-43c0-8e18-33bf874cb11c"
KAFKA = "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3"
_DRAFT7 = "http://json-schema.org/draft-07/schema#"

TEXT: dict[str, Any] = {"type": "string"}
SECRET: dict[str, Any] = {"type": "string", "format": "password"}


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


_COMMON = {
    "dataType": {"type": "string", "enum": ["raw", "xdm"], "default": "raw"},
    "reset": {"type": "string", "enum": ["latest", "earliest"], "default": "earliest"},
}


def _spec(
    id: str,
    name: str,
    category: str,
    auth: list[dict[str, Any]],
    source: dict[str, Any],
    kind: str | None = None,
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
        "exploreSpec": {"type": "StreamingConnection"},
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


_KEY_NAMES = ["accessKeyId", "secretKey", "region"]
_AAD = {"tenantId": TEXT, "clientId": TEXT, "clientSecretValue": SECRET, "namespace": TEXT}
_HUB = {"eventHubName": TEXT, "bootstrapServers": TEXT}
_SAS = {"sasKeyName": TEXT, "sasKey": SECRET, "namespace": TEXT}
_AMQP = {
    "endpointUrl": {
        **TEXT,
        "description": "amqps://host[:port]; amqp:// without TLS, for emulators, with a key only",
    }
}
_CA = {
    "caCertificate": {**TEXT, "description": "PEM text of an authority the system does not know"}
}
_PROJECT = {"projectId": TEXT, "credentials": SECRET, "endpointUrl": TEXT}
_TOPIC = {"credentials": SECRET, "topicName": TEXT, "subscriptionName": TEXT, "endpointUrl": TEXT}
_EITHER_TOPIC = [{"required": ["topicName"]}, {"required": ["subscriptionName"]}]


def _scoped(name: str) -> dict[str, Any]:
    spec = schema(_TOPIC, ["credentials"], anyOf=_EITHER_TOPIC)
    return {"name": name, "type": "KeyBased", "spec": spec}


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
    _spec(
        KINESIS,
        "Amazon Kinesis",
        "Cloud Storage",
        [
            _auth(
                "Aws Kinesis authentication credentials",
                "KeyBased",
                {
                    "accessKeyId": TEXT,
                    "secretKey": SECRET,
                    "region": TEXT,
                    "sessionToken": SECRET,
                    "endpointUrl": TEXT,
                },
                _KEY_NAMES,
            )
        ],
        schema({"stream": TEXT, **_COMMON}, ["stream"]),
    ),
    _spec(
        EVENT_HUBS,
        "Azure Event Hubs",
        "Cloud Storage",
        [
            _auth(
                "Azure EventHub authentication credentials",
                "KeyBased",
                _SAS | _HUB | _AMQP,
                list(_SAS),
            ),
            _auth(
                "Event Hub Azure Active Directory Auth",
                "OAuth2",
                {**_AAD, "bootstrapServers": TEXT, **_AMQP},
                list(_AAD),
            ),
            _auth(
                "Event Hub Scoped Azure Active Directory Auth",
                "OAuth2",
                _AAD | _HUB | _AMQP,
                [*_AAD, "eventHubName"],
            ),
        ],
        schema(
            {"eventHubName": TEXT, "consumerGroup": TEXT, "eventHubConsumerGroup": TEXT, **_COMMON},
            ["eventHubName"],
        ),
    ),
    _spec(
        PUBSUB,
        "Google PubSub",
        "Cloud Storage",
        [
            _auth(
                "Project Based Authentication", "KeyBased", _PROJECT, ["projectId", "credentials"]
            ),
            _auth(
                "Google PubSub authentication credentials",
                "KeyBased",
                _PROJECT,
                ["projectId", "credentials"],
            ),
            _scoped("Topic & Subscription Based Authentication"),
            _scoped("Google PubSub Scoped authentication credentials"),
        ],
        schema(
            {
                "topicName": TEXT,
                "subscriptionName": TEXT,
                "topicId": TEXT,
                "subscriptionId": TEXT,
                **_COMMON,
            },
            [],
            anyOf=[
                {"required": ["topicName", "subscriptionName"]},
                {"required": ["topicId", "subscriptionId"]},
            ],
        ),
    ),
    _spec(
        KAFKA,
        "Apache Kafka",
        "Streaming",
        [
            _auth(
                "Kafka No Authentication",
                "KeyBased",
                {
                    "bootstrapServers": TEXT,
                    "securityProtocol": {"enum": ["PLAINTEXT", "SSL"]},
                    **_CA,
                },
                ["bootstrapServers"],
            ),
            _auth(
                "Kafka SASL Authentication",
                "KeyBased",
                {
                    "bootstrapServers": TEXT,
                    "securityProtocol": {"enum": ["SASL_PLAINTEXT", "SASL_SSL"]},
                    "saslMechanism": {"enum": ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]},
                    "username": TEXT,
                    "password": SECRET,
                    **_CA,
                },
                ["bootstrapServers", "username", "password"],
            ),
        ],
        schema({"topic": TEXT, "consumerGroup": TEXT, **_COMMON}, ["topic"]),
    ),
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
