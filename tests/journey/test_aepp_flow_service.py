"""The unmodified Python client on Flow Service: every method that streaming has a use for, and what the others are told."""

import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from aepp import flowservice

from headrace.testing.server import HTTP_SPEC, LAKE_SPEC, Journey, PlatformClient

pytestmark = pytest.mark.filterwarnings("ignore")

WITH_MAPPING = "c1a19761-d2c7-4702-b9fa-fe91f0613e81"
WITHOUT_MAPPING = "d8a6f005-7eaf-4153-983e-e8574508b877"
RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
]


@pytest.fixture(scope="module")
def journey(own: PlatformClient) -> Journey:
    """A flow with a run: one record landed, one failed."""
    found = own.create_flow({}, RULES)
    answer = httpx.post(
        found.batch_url, json={"messages": [{"id": "1"}, {"no": "id"}]},
        headers={"x-adobe-flow-id": found.flow_id},
    )  # fmt: skip
    answer.raise_for_status()
    return found


@pytest.fixture
def flows(configured_own: PlatformClient) -> flowservice.FlowService:
    return flowservice.FlowService()


def refusal(answer: Any) -> tuple[int, str]:
    """Status and code; the client compares the former with numbers."""
    assert isinstance(answer["status"], int)
    return answer["status"], answer["type"].rsplit("/", 1)[1]


def patiently(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while not (found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


# -- specifications -----------------------------------------------------------------------------------------------


def test_specifications_by_id_and_by_name(flows: flowservice.FlowService) -> None:
    named = flows.getConnectionSpecsMap()
    assert len(named) == len(flows.getConnectionSpecs())
    assert named["Streaming Connection"] == HTTP_SPEC["id"]
    assert flows.getConnectionSpecIdFromName("datalake") == LAKE_SPEC["id"]
    (spec,) = flows.getConnectionSpec(HTTP_SPEC["id"])["items"]
    assert spec["providerId"] == "521eee4d-8cbe-4906-bb48-fb6bd4450033"
    assert spec["sourceSpec"]["attributes"]["uiAttributes"]["frequency"]["key"] == "streaming"
    name = "Steam data with transformation"
    assert [item["id"] for item in flows.getFlowSpecs(f"name=={name}")] == [WITH_MAPPING]
    assert {WITH_MAPPING, WITHOUT_MAPPING} <= {item["id"] for item in flows.getFlowSpecs()}
    assert flows.getFlowSpec(WITHOUT_MAPPING)["attributes"]["frequency"] == "streaming"
    ends = ("Streaming Connection", "datalake")
    assert flows.getFlowSpecIdFromNames(name, *ends) == WITH_MAPPING
    with pytest.raises(Exception, match="got 0"):
        flows.getFlowSpecIdFromNames("CloudStorageToAEP")


# -- connections --------------------------------------------------------------------------------------------------


def test_connections_from_creation_to_deletion(flows: flowservice.FlowService) -> None:
    auth = {"specName": "Streaming Connection", "params": {"dataType": "raw"}}
    made = [
        flows.createConnection(name=f"c{n}", connectionSpec=HTTP_SPEC, auth=auth)["id"]
        for n in range(3)
    ]
    assert "status" not in flows.createConnection(
        {"name": "raw", "connectionSpec": HTTP_SPEC, "auth": auth}
    )
    by_id = "id==" + ",".join(made)
    assert {item["id"] for item in flows.getConnections(limit=1, property=by_id)} == set(made)
    first = flows.getConnections(limit=1, n_results=2)
    assert len(first) == 2
    # the client always sends a limit, which cannot be had together with a count
    assert refusal(flows.getConnections(count=True)) == (400, "FLOW-1401-400")
    assert flows.connectionTest(made[0]) == {"result": True}
    changed = flows.patchConnection(made[0], [{"op": "Replace", "path": "/name", "value": "new"}])
    item = flows.getConnection(made[0])
    assert (item["name"], item["etag"]) == ("new", changed["etag"])
    refused = flows.patchConnection(made[0], [{"op": "remove", "path": "/connectionSpec"}])
    assert refusal(refused) == (400, "FLOW-1414-400")
    secured = flows.createConnectionStreaming(
        name="secured", sourceId="s", dataType="xdm", paramName="p", authenticationRequired=True
    )
    assert flows.getConnection(secured["id"])["auth"]["params"]["authenticationRequired"] is True
    for id in made:
        assert flows.deleteConnection(id) == 204
    assert refusal(flows.deleteConnection(made[0])) == (404, "FLOW-1439-404")
    assert flows.getConnection(made[0]) == {}


def test_both_ends_are_listed_page_by_page_and_changed(flows: flowservice.FlowService, journey: Journey) -> None:  # fmt: skip
    flow = flows.getFlow(journey.flow_id)
    source, target = flow["sourceConnectionIds"][0], flow["targetConnectionIds"][0]
    for n in range(2):
        made = flows.createSourceConnectionStreaming(
            connectionId=journey.connection_id, name=f"s{n}", format="json"
        )
        assert flows.getSourceConnection(made["id"])["baseConnectionId"] == journey.connection_id
        leg = flows.createTargetConnection(
            name=f"t{n}", connectionSpecId=LAKE_SPEC["id"], datasetId=journey.dataset_id
        )
        assert flows.getTargetConnection(leg["id"])["params"]["dataSetId"] == journey.dataset_id
    for listed, id in ((flows.getSourceConnections, source), (flows.getTargetConnections, target)):
        every = listed(limit=1)
        ids = [item["id"] for item in every]
        assert id in ids
        assert len(ids) == len(set(ids)) >= 3
    note = [{"op": "Add", "path": "/description", "value": "noted"}]
    for get, update, delete, id in (
        (flows.getSourceConnection, flows.updateSourceConnection, flows.deleteSourceConnection, source),
        (flows.getTargetConnection, flows.updateTargetConnection, flows.deleteTargetConnection, target),
    ):  # fmt: skip
        etag = get(id)["etag"]
        assert update(id, etag, note)["id"] == id
        assert get(id)["description"] == "noted"
        assert refusal(update(id, etag, note)) == (412, "FLOW-1404-412")
        assert refusal(delete(id)) == (400, "FLOW-1447-400")
    assert refusal(flows.deleteConnection(journey.connection_id)) == (400, "FLOW-1418-400")


# -- flows --------------------------------------------------------------------------------------------------------


def test_flows_are_found_by_what_they_consist_of(
    flows: flowservice.FlowService, own: PlatformClient, journey: Journey
) -> None:
    other = own.create_flow({}, None, data_type="xdm")
    both = {journey.flow_id, other.flow_id}
    # page by page, the client following the links
    assert {item["id"] for item in flows.getFlows(limit=1)} >= both
    assert len(flows.getFlows(limit=1, n_results=1)) == 1
    assert {item["id"] for item in flows.getFlows(limit=1, onlySources=True)} >= both
    assert flows.getFlows(onlyDestinations=True) == []
    mine = flows.getFlow(journey.flow_id)
    for chosen in (
        {"filterMappingSetIds": [journey.mapping_id]},
        {"filterSourceIds": mine["sourceConnectionIds"]},
        {"filterTargetIds": mine["targetConnectionIds"]},
        {"prop": f"transformations[].params.mappingId=={journey.mapping_id}"},
        {"prop": f'name=="{mine["name"]}"'},
    ):
        assert [item["id"] for item in flows.getFlows(**chosen)] == [journey.flow_id], chosen
    assert flows.getUPSFlows(resolveSourceDataset=True) == []
    assert flows.getUISFlow(datasetId=journey.dataset_id) == {"error": "not found"}


def test_a_flow_is_made_of_a_data_set_alone(
    flows: flowservice.FlowService, own: PlatformClient
) -> None:
    dataset = own.create_flow({}, RULES).dataset_id
    made = flows.createFlowStreaming(datasetId=dataset)
    flow = flows.getFlow(made["flow"]["id"])
    assert (flow["state"], flow["flowSpec"]["id"]) == ("enabled", WITHOUT_MAPPING)
    assert made["target_connection_id"]["params"]["dataSetId"] == dataset
    base = flows.getConnection(made["source_connection_id"]["baseConnectionId"])
    assert base["auth"]["params"]["inletUrl"].endswith(base["auth"]["params"]["inletId"])


def test_a_flow_is_changed_paused_and_deleted(
    flows: flowservice.FlowService, own: PlatformClient
) -> None:
    flow = own.create_flow({}, RULES).flow_id
    etag = flows.getFlow(flow)["etag"]
    rename = [{"op": "Replace", "path": "/name", "value": "renamed"}]
    assert flows.updateFlow(flow, etag, rename)["id"] == flow
    assert flows.getFlow(flow)["name"] == "renamed"
    assert refusal(flows.updateFlow(flow, etag, rename)) == (412, "FLOW-1404-412")
    for action, state in (("disable", "disabled"), ("enable", "enabled")):
        assert set(flows.postFlowAction(flow, action)) == {"id", "etag"}
        assert flows.getFlow(flow)["state"] == state
        assert refusal(flows.postFlowAction(flow, action)) == (400, "FLOW-1422-400")
    assert flows.deleteFlow(flow) == 204
    assert flows.getFlow(flow) == {}
    # without its name the client sends null for that of the transformation
    nameless = flows.createFlow(
        flow_spec_id=WITH_MAPPING, name="n", source_connection_id="s", target_connection_id="t",
        transformation_mapping_id="m",
    )  # fmt: skip
    assert refusal(nameless)[0] in (400, 404)


def test_runs_by_flow_and_by_status(flows: flowservice.FlowService, journey: Journey) -> None:
    of_flow = f"flowId=={journey.flow_id}"
    runs = patiently(lambda: flows.getRuns(prop=of_flow))
    assert {run["flowId"] for run in runs} == {journey.flow_id}
    status = runs[0]["metrics"]["statusSummary"]["status"]
    both = [of_flow, f"metrics.statusSummary.status=={status}"]
    assert runs[0]["id"] in [run["id"] for run in flows.getRuns(limit=1, prop=both)]
    assert flows.getRuns(prop=[of_flow, "metrics.statusSummary.status==scheduled"]) == []
    (one,) = flows.getRun(runs[0]["id"])
    assert one["metrics"].keys() >= {
        "durationSummary", "latencySummary", "sizeSummary", "recordSummary", "fileSummary",
        "statusSummary",
    }  # fmt: skip
    assert refusal(flows.createRun(journey.flow_id)) == (400, "CONNECTOR-1385-400")


# -- the manager of one flow --------------------------------------------------------------------------------------


def test_the_manager_reads_a_flow_with_all_around_it_and_gives_it_another_mapping(
    flows: flowservice.FlowService, own: PlatformClient, journey: Journey
) -> None:
    manager = flowservice.FlowManager(journey.flow_id)
    summary = manager.summary()
    assert (summary["id"], manager.state) == (journey.flow_id, "enabled")
    assert manager.datasetId == journey.dataset_id
    assert summary["targetConnection"]["params"]["datasetName"] == summary["name"]
    assert summary["flowSpecs"]["name"] == "Steam data with transformation"
    assert summary["mapping"]["id"] == manager.getMapping()["id"] == journey.mapping_id
    assert str(manager)
    assert manager.getFlowSpec()["id"] == WITH_MAPPING
    assert manager.getSourceConnection()["id"] == summary["sourceConnection"]["id"]
    assert manager.getTargetConnection()["id"] == summary["targetConnection"]["id"]
    assert manager.getConnectionSpec()["items"][0]["id"] == HTTP_SPEC["id"]
    assert patiently(manager.getRuns)
    rules = [*RULES, {"sourceType": "STATIC", "source": "x", "destination": "eventType"}]
    schema = {
        "id": journey.schema_id,
        "contentType": "application/vnd.adobe.xed-full+json;version=1",
    }
    mapping = own.call("POST", "/data/foundation/conversion/mappingSets", {
        "version": 0, "outputSchema": {"schemaRef": schema}, "mappings": rules,
    })["id"]  # fmt: skip
    assert manager.updateFlowMapping(mapping)["id"] == journey.flow_id
    assert flowservice.FlowManager(journey.flow_id).flowMapping["id"] == mapping


# -- what belongs to other parts of the platform ------------------------------------------------------------------


def test_what_is_not_streaming_is_refused_in_words(
    flows: flowservice.FlowService, journey: Journey
) -> None:
    assert refusal(flows.createConnectionToUPS(name="u")) == (400, "FLOW-1413-400")
    s3 = flows.createBaseConnectionS3Target(name="s", s3AccessKey="a", s3SecretKey="b")
    assert refusal(s3) == (400, "FLOW-1413-400")
    assert refusal(flows.exploreLandingZone()) == (404, "FLOW-1439-404")
    assert flows.getExportableDatasets(LAKE_SPEC["id"]) == []
    assert flows.getLandingZoneContainer()["status"] == 404
    assert flows.getFlow(str(uuid.uuid4())) == {}
