"""What each connector declares of itself: ids, names, and the forms of its credentials and parameters.

From this the platform's catalogue is made, and nothing is said twice. No client library is loaded by reading it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
SECRET: dict[str, Any] = {"type": "string", "format": "password"}
COMMON: dict[str, Any] = {
    "dataType": {"type": "string", "enum": ["raw", "xdm"], "default": "raw"},
    "reset": {"type": "string", "enum": ["latest", "earliest"], "default": "earliest"},
}
"""Parameters that every pulled source has."""


@dataclass(frozen=True, slots=True)
class Form:
    """Properties in JSON Schema, those that must be there, and sets of which one must be complete. Secrets have the
    format `password`."""

    properties: Mapping[str, Any]
    required: tuple[str, ...] = ()
    one_of: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """A way to authenticate; `name` is the platform's, to the letter, `kind` KeyBased or OAuth2."""

    name: str
    kind: str
    form: Form


@dataclass(frozen=True, slots=True)
class Declared:
    """A connector. `module` is its module in this package, `spec_id` and `name` are the platform's, `source` has the
    parameters of a source connection, `objects` the types of what exploring lists."""

    module: str
    spec_id: str
    name: str
    category: str
    credentials: tuple[Credentials, ...]
    source: Form
    objects: tuple[str, ...]


_AAD = {"tenantId": TEXT, "clientId": TEXT, "clientSecretValue": SECRET, "namespace": TEXT}
_HUB = {"eventHubName": TEXT, "bootstrapServers": TEXT}
_SAS = {"sasKeyName": TEXT, "sasKey": SECRET, "namespace": TEXT}
_AMQP = {
    "endpointUrl": {
        **TEXT,
        "description": "amqps://host[:port], or kafkas://host[:port] for the Kafka endpoint, with a key only;"
        " amqp:// and kafka:// are without TLS, for emulators, with a key only",
    }
}
_CA = {
    "caCertificate": {**TEXT, "description": "PEM text of an authority the system does not know"}
}
_PROJECT = Form(
    {"projectId": TEXT, "credentials": SECRET, "endpointUrl": TEXT}, ("projectId", "credentials")
)
_SCOPED = Form(
    {"credentials": SECRET, "topicName": TEXT, "subscriptionName": TEXT, "endpointUrl": TEXT},
    ("credentials",), (("topicName",), ("subscriptionName",)),
)  # fmt: skip

EVENT_HUBS = Declared(
    "event_hubs", "bf9f5905-92b7-48bf-bf20-455bc6b60a4e", "Azure Event Hubs", "Cloud Storage",
    (
        Credentials(
            "Azure EventHub authentication credentials", "KeyBased",
            Form(_SAS | _HUB | _AMQP, tuple(_SAS)),
        ),
        Credentials(
            "Event Hub Azure Active Directory Auth", "OAuth2",
            Form({**_AAD, "bootstrapServers": TEXT, **_AMQP}, tuple(_AAD)),
        ),
        Credentials(
            "Event Hub Scoped Azure Active Directory Auth", "OAuth2",
            Form(_AAD | _HUB | _AMQP, (*_AAD, "eventHubName")),
        ),
    ),
    Form(
        {"eventHubName": TEXT, "consumerGroup": TEXT, "eventHubConsumerGroup": TEXT, **COMMON},
        ("eventHubName",),
    ),
    ("eventHub",),
)  # fmt: skip
KINESIS = Declared(
    "kinesis", "86043421-563b-46ec-8e6c-e23184711bf6", "Amazon Kinesis", "Cloud Storage",
    (
        Credentials(
            "Aws Kinesis authentication credentials", "KeyBased",
            Form(
                {"accessKeyId": TEXT, "secretKey": SECRET, "region": TEXT, "sessionToken": SECRET,
                 "endpointUrl": TEXT},
                ("accessKeyId", "secretKey", "region"),
            ),
        ),
    ),
    Form({"stream": TEXT, **COMMON}, ("stream",)),
    ("stream",),
)  # fmt: skip
PUBSUB = Declared(
    "pubsub", "70116022-a743-464a-bbfe-e226a7f8210c", "Google PubSub", "Cloud Storage",
    (
        Credentials("Project Based Authentication", "KeyBased", _PROJECT),
        Credentials("Google PubSub authentication credentials", "KeyBased", _PROJECT),
        Credentials("Topic & Subscription Based Authentication", "KeyBased", _SCOPED),
        Credentials("Google PubSub Scoped authentication credentials", "KeyBased", _SCOPED),
    ),
    Form(
        {"topicName": TEXT, "subscriptionName": TEXT, "topicId": TEXT, "subscriptionId": TEXT, **COMMON},
        (), (("topicName", "subscriptionName"), ("topicId", "subscriptionId")),
    ),
    ("topic", "subscription"),
)  # fmt: skip
KAFKA = Declared(
    "kafka", "4d1f7c0a-93be-4a5e-8f5d-7b6a2c90e1d3", "Apache Kafka", "Streaming",
    (
        Credentials(
            "Kafka No Authentication", "KeyBased",
            Form(
                {"bootstrapServers": TEXT, "securityProtocol": {"enum": ["PLAINTEXT", "SSL"]}, **_CA},
                ("bootstrapServers",),
            ),
        ),
        Credentials(
            "Kafka SASL Authentication", "KeyBased",
            Form(
                {
                    "bootstrapServers": TEXT,
                    "securityProtocol": {"enum": ["SASL_PLAINTEXT", "SASL_SSL"]},
                    "saslMechanism": {"enum": ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]},
                    "username": TEXT, "password": SECRET, **_CA,
                },
                ("bootstrapServers", "username", "password"),
            ),
        ),
    ),
    Form({"topic": TEXT, "consumerGroup": TEXT, **COMMON}, ("topic",)),
    ("topic",),
)  # fmt: skip

DECLARED = (EVENT_HUBS, KINESIS, PUBSUB, KAFKA)
"""In the order in which the platform lists them."""
