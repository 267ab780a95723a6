"""Every Data Prep method of the unmodified Python client of the original platform, against a real server."""

import json
import time
import uuid
from pathlib import Path
from typing import Any

import aepp
import httpx
import pytest
from aepp import catalog, schema
from aepp.dataprep import DataPrep

from headrace.testing.server import PlatformClient, ServerProcess

PROFILE = "https://ns.adobe.com/xdm/context/profile"
BASE = "/data/foundation/conversion"
NAME_RULE = {
    "sourceType": "ATTRIBUTE",
    "source": "firstName",
    "destination": "person.name.firstName",
}
CITY_RULE = {
    "sourceType": "EXPRESSION",
    "source": "trim(lastName)",
    "destination": "person.name.lastName",
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def configured(server: ServerProcess) -> ServerProcess:
    credentials = server.credentials()
    base = credentials["base_url"]
    aepp.configure(
        org_id=credentials["org_id"], secret=credentials["client_secret"],
        client_id=credentials["client_id"], scopes=credentials["scopes"], sandbox=credentials["sandbox"],
    )  # fmt: skip
    aepp.config.endpoints["global"] = base
    aepp.config.endpoints["streaming"]["collection"] = base
    aepp.config.config_object["oauthTokenEndpointV2"] = f"{base}/ims/token/v3"
    return server


@pytest.fixture
def prep(configured: ServerProcess) -> DataPrep:
    return DataPrep()


@pytest.fixture
def schema_id(configured: ServerProcess) -> str:
    made = schema.Schema().createProfileSchema(
        name=f"prep {uuid.uuid4().hex[:8]}",
        mixinIds=[f"{PROFILE}-person-details"],
        description="target",
    )
    return str(made["$id"])


def test_mapping_sets_are_created_listed_changed_and_deleted(
    prep: DataPrep, schema_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prep.createMappingSet(schemaId=schema_id, mappingList=[NAME_RULE])
    assert made["version"] == 0
    found = prep.getMappingSet(made["id"])
    assert found["createdDate"] == made["createdDate"]
    rules = prep.getMappingSet(made["id"], mappingRulesOnly=True)
    assert rules == [{**NAME_RULE, "sourceType": "text/x.schema-path"}]

    name = f"set {uuid.uuid4().hex[:8]}"
    named = prep.createMappingSet(mappingSet={
        "name": name, "outputSchema": {"schemaRef": found["outputSchema"]["schemaRef"]},
        "mappings": [CITY_RULE],
    }, validate=True)  # fmt: skip
    assert [item["id"] for item in prep.getMappingSets(name=name)] == [named["id"]]
    listed = prep.getMappingSets(prop=f"xdmSchema=={schema_id}")
    assert {item["id"] for item in listed} == {made["id"], named["id"]}
    assert len(prep.getMappingSets(prop=f"xdmSchema=={schema_id}", limit=1)) == 1
    (expanded,) = prep.getMappingSets(name=name, expand_schema=True)
    assert "person" in expanded["outputSchema"]["jsonSchema"]["properties"]

    changed = prep.updateMappingSet(named["id"], [NAME_RULE, CITY_RULE])
    assert (changed["version"], changed["name"], len(changed["mappings"])) == (1, name, 2)
    assert prep.getMappingSet(named["id"])["version"] == 1

    monkeypatch.chdir(tmp_path)
    prep.getMappingSet(named["id"], save=True, saveMappingRules=True)
    saved = {path.name: json.loads(path.read_text()) for path in tmp_path.rglob("*.json")}
    assert len(saved) == 2
    assert next(body for name, body in saved.items() if "rules" not in name)["id"] == named["id"]

    assert prep.deleteMappingSet(named["id"]) == 204
    assert prep.getMappingSets(name=name) == []
    assert prep.getMappingSet(named["id"])["status"] == 404


def test_a_legacy_set_can_be_read_and_updated(prep: DataPrep, schema_id: str) -> None:
    parts = schema_id.split("/")
    made = prep.createMappingSet(mappingSet={
        "version": 0, "xdmSchema": f"_{parts[3]}.schemas.{parts[5]}", "xdmVersion": "1.0",
        "mappings": [{"destinationXdmPath": "person.name.firstName", "sourceAttribute": "firstName",
                      "identity": False, "version": 0}],
    })  # fmt: skip
    rules = prep.getMappingSet(made["id"], mappingRulesOnly=True)
    assert rules == [{**NAME_RULE, "sourceType": "text/x.schema-path"}]
    changed = prep.updateMappingSet(made["id"], [*rules, CITY_RULE])
    assert changed["outputSchema"]["schemaRef"]["id"] == schema_id
    assert [m["source"] for m in changed["mappings"]] == ["firstName", "trim(lastName)"]


def test_single_mappings(prep: DataPrep, schema_id: str) -> None:
    id = prep.createMappingSet(schemaId=schema_id, mappingList=[NAME_RULE])["id"]
    added = prep.createMappingSetMapping(id, CITY_RULE)
    assert added["expressionAttributes"] == ["lastName"]
    assert prep.getMappingSetMapping(id, added["id"]) == added
    assert prep.getMappingSetMappings(id)[1] == added
    changed = prep.updateMappingSetMapping(id, added["id"], {**CITY_RULE, "source": "upper(l)"})
    assert (changed["id"], changed["source"]) == (added["id"], "upper(l)")
    assert prep.deleteMappingSetMapping(id, added["id"]) == 204
    assert [m["source"] for m in prep.getMappingSetMappings(id)] == ["firstName"]
    assert prep.getMappingSet(id)["version"] == 3


def test_preview_and_the_language(prep: DataPrep, schema_id: str) -> None:
    ref = {"id": schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    mapping_set = {"outputSchema": {"schemaRef": ref}, "mappings": [NAME_RULE, CITY_RULE]}
    shown = prep.previewDataOutput({"firstName": 7, "lastName": " Lovelace "}, mapping_set)
    names = {"firstName": "7", "lastName": "Lovelace"}
    assert shown == {"data": {"person": {"name": names}}, "errors": None}
    functions = prep.getMappingSetFunctions()
    assert {"concat", "iif", "date"} <= {item["function"] for item in functions}
    operators = prep.getMappingSetOperators()
    assert {"+", "&&", "=~"} <= {item["operatorSymbol"] for item in operators}
    good = prep.validateExpression(
        "a + 1", sampleData='{"a": 1}', sampleDataType="application/json"
    )
    assert (good["validationStatus"], good["result"]) == ("succeeded", 2)
    id = prep.createMappingSet(schemaId=schema_id, mappingList=[NAME_RULE])["id"]
    bad = prep.validateExpression("a +", mappingSetId=id)
    assert bad["validationStatus"] == "failed"


def test_suggestions(prep: DataPrep, schema_id: str, platform: PlatformClient) -> None:
    ref = {"id": schema_id, "contentType": "application/vnd.adobe.xed-full+json;version=1"}
    created = catalog.Catalog().createDataSet({"name": "prep", "schemaRef": ref})
    dataset_id = created[0].rsplit("/", 1)[1]
    refused = prep.getMappingSuggestions(dataSetId=dataset_id)
    assert (refused["status"], "batchId" in refused["errorMessage"]) == (400, True)
    unknown = prep.getMappingSuggestions(dataSetId=dataset_id, batchId="none")
    assert (unknown["status"], "none" in unknown["errorMessage"]) == (404, True)
    sample = platform.call(
        "POST", f"{BASE}/samples", {"sampleData": "first_name,shoe\n", "sampleType": "CSV"}
    )
    query = f"datasetId={dataset_id}&sampleId={sample['id']}&excludeUnmapped=True"
    found = platform.call("GET", f"{BASE}/mappingSets/suggestion?{query}")
    made = prep.createMappingSet(mappingSet=found, validate=True)
    (mapping,) = prep.getMappingSet(made["id"])["mappings"]
    assert (mapping["source"], mapping["destination"]) == ("first_name", "person.name.firstName")
    assert mapping["matchScore"] == 1.0


def test_suggestions_for_a_landed_batch(prep: DataPrep, platform: PlatformClient) -> None:
    tenant = platform.credentials["tenant_id"]
    fields = {"loyaltyTier": {"type": "string"}}
    rules = [
        {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
        {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
        {"sourceType": "ATTRIBUTE", "source": "tier", "destination": f"_{tenant}.loyaltyTier"},
    ]
    journey = platform.create_flow(fields, rules)
    httpx.post(journey.inlet_url, json={
        "header": {"flowId": journey.flow_id}, "body": {"id": "1", "tier": "gold"},
    }).raise_for_status()  # fmt: skip
    path = f"/data/foundation/catalog/batches?dataSet={journey.dataset_id}"
    batches: dict[str, Any] = {}
    deadline = time.monotonic() + 30
    while not batches and time.monotonic() < deadline:
        batches = platform.call("GET", path)
        time.sleep(0.1)
    (batch_id,) = batches
    found = prep.getMappingSuggestions(dataSetId=journey.dataset_id, batchId=batch_id)
    assert found["xdmSchema"] == journey.schema_id
    own = f"_{tenant}.loyaltyTier"
    matches = {m["source"]: (m["destination"], m["matchScore"]) for m in found["mappings"]}
    assert matches[own] == (own, 1.0)
    assert matches["timestamp"] == ("timestamp", 1.0)
    everything = prep.getMappingSuggestions(journey.dataset_id, batch_id, excludeUnmapped=False)
    assert len(everything["mappings"]) >= len(found["mappings"])


def test_batch_conversions_do_not_exist(prep: DataPrep) -> None:
    listed = prep.getXDMBatchConversions(dataSetId="d", batchId="b", status="success", limit=5)
    assert (listed["data"], listed["_page"]["count"]) == ([], 0)
    assert prep.getXDMBatchConversion("c")["status"] == 404
    assert prep.getXDMBatchConversionActivities("c")["status"] == 404
    answer = prep.createXDMConversion(dataSetId="d", batchId="b", mappingId="m")
    assert (answer["status"], "dataflow" in answer["errorMessage"]) == (400, True)
    activity: Any = prep.getXDMBatchConversionRequestActivities("c", "a")
    assert activity["status"] == 404


def test_rules_are_copied_and_cleaned(prep: DataPrep, schema_id: str) -> None:
    id = prep.createMappingSet(schemaId=schema_id, mappingList=[NAME_RULE, CITY_RULE])["id"]
    whole, mappings = prep.getMappingSet(id), prep.getMappingSetMappings(id)
    words = [
        {**NAME_RULE, "sourceType": "text/x.schema-path"},
        {**CITY_RULE, "sourceType": "text/x.aep-xl"},
    ]
    assert prep.cleanMappingRules(whole) == prep.cleanMappingRules(mappings) == words
    assert prep.copyMappingRules(mappings, "other") == words
    assert prep.copyMappingRules(whole, "_other") == words
    copied = prep.createMappingSet(schemaId=schema_id, mappingList=prep.cleanMappingRules(whole))
    assert prep.getMappingSet(copied["id"], mappingRulesOnly=True) == words
