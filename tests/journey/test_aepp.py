"""The unmodified Python client of the original platform does its work here."""

import time
from typing import Any

import pytest
from aepp import catalog, flowservice, ingestion, schema

from headrace.testing.server import HTTP_SPEC, LAKE_SPEC, ServerProcess

PROFILE = "https://ns.adobe.com/xdm/context/profile"


@pytest.mark.filterwarnings("ignore")
def test_aepp_goes_from_token_to_rows(configured: ServerProcess) -> None:
    registry = schema.Schema()
    assert registry.getTenantId() == configured.credentials()["tenant_id"]
    made = registry.createProfileSchema(
        name="aepp people", mixinIds=[f"{PROFILE}-person-details"], description="made by aepp"
    )
    reference = {
        "id": made["$id"],
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    created = catalog.Catalog().createDataSet({"name": "aepp people", "schemaRef": reference})
    dataset_id = created[0].rsplit("/", 1)[1]

    flows = flowservice.FlowService()
    connection = flows.createConnection({
        "name": "aepp inlet", "connectionSpec": HTTP_SPEC,
        "auth": {"specName": "Streaming Connection", "params": {"dataType": "raw", "name": "aepp inlet"}},
    })  # fmt: skip
    source = flows.createSourceConnection({
        "name": "aepp source", "baseConnectionId": connection["id"], "connectionSpec": HTTP_SPEC,
        "data": {"format": "json"},
    })  # fmt: skip
    target = flows.createTargetConnection(data={
        "name": "aepp target", "connectionSpec": LAKE_SPEC, "data": {"format": "parquet_xdm"},
        "params": {"dataSetId": dataset_id},
    })  # fmt: skip
    mapping = _mapping_set(reference)
    specs = flows.getFlowSpecs(prop='name=="Steam data with transformation"')
    flow = flows.createFlow(specs[0]["id"], obj={
        "name": "aepp flow", "flowSpec": {"id": specs[0]["id"], "version": "1.0"},
        "sourceConnectionIds": [source["id"]], "targetConnectionIds": [target["id"]],
        "transformations": [
            {"name": "Mapping", "params": {"mappingId": mapping["id"], "mappingVersion": 0}}
        ],
    })  # fmt: skip
    inlet = flows.getConnection(connection["id"])["auth"]["params"]["inletId"]

    people = [{"firstName": name} for name in ("Ada", "Grace", "Katherine")]
    answer = ingestion.DataIngestion().streamMessages(inlet, people, flow["id"])
    assert [set(element) for element in answer["responses"]] == [{"xactionId"}] * 3

    query = f'SELECT person.name.firstName AS name FROM "{dataset_id}" ORDER BY name'
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + 30
    while len(rows) < 3 and time.monotonic() < deadline:
        rows = configured.sql(query)
    assert [row["name"] for row in rows] == ["Ada", "Grace", "Katherine"]


def _mapping_set(reference: dict[str, str]) -> dict[str, Any]:
    from aepp import dataprep

    rules = [
        {"sourceType": "ATTRIBUTE", "source": "firstName", "destination": "person.name.firstName"}
    ]
    made: dict[str, Any] = dataprep.DataPrep().createMappingSet(
        schemaId=reference["id"], mappingList=rules
    )
    return made
