"""Addresses that a connection names are held against what the operator allows, with the port that will be used."""

from pathlib import Path
from typing import Any

import pytest

from headrace.security.egress import Egress
from headrace.services.flow import specs
from tests.unit.services.flow_site import BASE, Site, code

KAFKA, EVENT_HUBS, KINESIS, PUBSUB = specs.KAFKA, specs.EVENT_HUBS, specs.KINESIS, specs.PUBSUB
AUTH: dict[str, tuple[str, dict[str, Any]]] = {
    KAFKA: ("Kafka No Authentication", {"bootstrapServers": "broker.example.com:9092"}),
    EVENT_HUBS: (
        "Azure EventHub authentication credentials",
        {"sasKeyName": "p", "sasKey": "k", "namespace": "mine"},
    ),
    KINESIS: (
        "Aws Kinesis authentication credentials",
        {"accessKeyId": "a", "secretKey": "s", "region": "eu-west-1"},
    ),
    PUBSUB: ("Project Based Authentication", {"projectId": "p", "credentials": "{}"}),
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def create(site: Site, spec: str, **more: Any) -> Any:
    name, params = AUTH[spec]
    body = {
        "name": "c",
        "connectionSpec": {"id": spec, "version": "1.0"},
        "auth": {"specName": name, "params": params | more},
    }
    return site.web.post(f"{BASE}/connections", json=body)


@pytest.mark.parametrize(
    ("spec", "more", "port"),
    [
        (EVENT_HUBS, {"endpointUrl": "amqps://10.0.0.5"}, 5671),
        (EVENT_HUBS, {"endpointUrl": "amqp://10.0.0.5"}, 5672),
        (EVENT_HUBS, {"endpointUrl": "amqp://10.0.0.5:7777"}, 7777),
        (EVENT_HUBS, {"namespace": "10.0.0.5"}, 5671),
        (EVENT_HUBS, {"namespace": "sb://10.0.0.5/"}, 5671),
        (KINESIS, {"endpointUrl": "http://10.0.0.5"}, 80),
        (KINESIS, {"endpointUrl": "https://10.0.0.5"}, 443),
        (PUBSUB, {"endpointUrl": "10.0.0.5"}, 8085),
        (PUBSUB, {"endpointUrl": "10.0.0.5:8086"}, 8086),
        (PUBSUB, {"endpointUrl": "https://10.0.0.5"}, 443),
        (KAFKA, {"bootstrapServers": "10.0.0.5"}, 9092),
    ],
)
def test_a_private_address_needs_its_very_port_allowed(
    site: Site, spec: str, more: dict[str, str], port: int
) -> None:
    refused = create(site, spec, **more)
    assert code(refused) == "FLOW-1100-400"
    assert f"10.0.0.5:{port}" in refused.text
    site.service.connections._egress = Egress(f"10.0.0.5:{port + 1}")
    assert code(create(site, spec, **more)) == "FLOW-1100-400"
    site.service.connections._egress = Egress(f"10.0.0.5:{port}")
    assert create(site, spec, **more).status_code == 201


def test_what_is_no_address_is_refused(site: Site) -> None:
    for wrong in ("amqp://", "amqps://host:port", "http://[::1", "amqp://host:0"):
        assert code(create(site, EVENT_HUBS, endpointUrl=wrong)) == "FLOW-1100-400"


def test_a_namespace_by_its_name_is_the_services_own(site: Site) -> None:
    assert create(site, EVENT_HUBS).status_code == 201


def test_kafka_forms_declare_what_the_client_reads(site: Site) -> None:
    pem = "-----BEGIN CERTIFICATE-----"
    made = create(site, KAFKA, securityProtocol="SSL", caCertificate=pem)
    assert made.status_code == 201
    found = site.item(f"/connections/{made.json()['id']}")["auth"]["params"]
    assert (found["securityProtocol"], found["caCertificate"]) == ("SSL", pem), "neither is secret"
    assert code(create(site, KAFKA, securityProtocol="SASL_SSL")) == "FLOW-1100-400"


def test_kinesis_takes_temporary_credentials_and_hides_them(site: Site) -> None:
    made = create(site, KINESIS, sessionToken="temporary-s3cret")
    shown = site.web.get(f"{BASE}/connections/{made.json()['id']}").text
    assert "temporary-s3cret" not in shown
    params = site.service.connections.secrets(site.scope, made.json()["id"])
    assert params["sessionToken"] == "temporary-s3cret"
