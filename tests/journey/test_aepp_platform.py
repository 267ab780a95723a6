"""The unmodified Python client on the rest of the platform: sandboxes, namespaces, metrics, sending; and all in one go."""

import io
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow.parquet as pq
import pytest
from aepp import (
    catalog,
    dataaccess,
    dataprep,
    flowservice,
    identity,
    ingestion,
    observability,
    sandboxes,
    schema,
)

from headrace.testing.server import Journey, PlatformClient, ServerProcess
from tests.journey.conftest import configure_aepp

pytestmark = pytest.mark.filterwarnings("ignore")

PROFILE = "https://ns.adobe.com/xdm/context/profile"
SUCCESS = "timeseries.ingestion.dataset.recordsuccess.count"
RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
    {"sourceType": "ATTRIBUTE", "source": "type", "destination": "eventType"},
]


def patiently(look: Callable[[], Any], wanted: Callable[[Any], bool]) -> Any:
    """What `look` finds as soon as it is wanted, or at last."""
    deadline = time.monotonic() + 30
    while not wanted(found := look()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def fresh() -> str:
    return f"aepp-{uuid.uuid4().hex[:8]}"


# -- sandboxes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def boxes(configured: ServerProcess) -> sandboxes.Sandboxes:
    return sandboxes.Sandboxes()


def test_a_sandbox_from_creation_to_deletion(boxes: sandboxes.Sandboxes) -> None:
    name = fresh()
    made = boxes.createSandbox(name=name, title="Made by aepp", type_sandbox="development")
    assert (made["name"], made["type"]) == (name, "development")
    found = boxes.getSandbox(name)
    assert (found["title"], found["state"], found["isDefault"]) == ("Made by aepp", "active", False)
    assert boxes.getSandboxId(name) == found["id"]
    changed = boxes.updateSandbox(name, {"title": "Renamed"})
    assert (changed["title"], changed["id"]) == ("Renamed", found["id"])
    assert changed["eTag"] > found["eTag"]
    assert boxes.createSandbox(name=name, title="Again")["status"] == 409
    assert name in [item["name"] for item in boxes.getSandboxes()]
    assert boxes.deleteSandbox(name) == 200
    assert boxes.getSandbox(name)["status"] == 404
    assert name not in [item["name"] for item in boxes.getSandboxes()]


def test_the_default_sandbox_stays(boxes: sandboxes.Sandboxes) -> None:
    (default,) = [item for item in boxes.getSandboxes() if item["isDefault"]]
    assert (default["name"], default["type"]) == ("prod", "production")
    assert boxes.deleteSandbox("prod")["status"] == 400
    assert set(boxes.getSandboxTypes()) == {"production", "development"}


def test_a_reset_empties_a_sandbox_and_no_other(
    configured: ServerProcess, boxes: sandboxes.Sandboxes
) -> None:
    emptied, kept = fresh(), fresh()
    for name in (emptied, kept):
        boxes.createSandbox(name=name, title=name)
        registry = schema.Schema(sandbox=name)
        registry.createProfileSchema(name="people", mixinIds=[f"{PROFILE}-person-details"])
        assert [item["title"] for item in registry.getSchemas()] == ["people"]
    assert boxes.resetSandbox(emptied)["state"] == "resetting"
    # of an empty list the client answers the envelope
    assert schema.Schema(sandbox=emptied).getSchemas()["results"] == []
    assert [item["title"] for item in schema.Schema(sandbox=kept).getSchemas()] == ["people"]
    assert boxes.getSandbox(emptied)["state"] == "active"


def test_a_reset_takes_what_landed_and_what_is_on_its_way_and_all_stays_well(
    configured: ServerProcess, boxes: sandboxes.Sandboxes
) -> None:
    name = fresh()
    boxes.createSandbox(name=name, title=name)
    client = PlatformClient(configured.credentials())
    client.http.headers["x-sandbox-name"] = name
    journey = client.create_flow({}, RULES)
    configure_aepp(configured, name)
    sender, access = ingestion.DataIngestion(), dataaccess.DataAccess()
    inlet = inlet_of(journey)
    sender.streamMessages(inlet, [{"id": "landed"}], journey.flow_id)
    assert patiently(lambda: access.getPreview(journey.dataset_id), bool)
    sender.streamMessages(inlet, [{"id": f"late-{n}"} for n in range(50)], journey.flow_id)
    assert boxes.resetSandbox(name)["state"] == "resetting"
    assert sender.streamMessages(inlet, [{"id": "x"}], journey.flow_id)["status"] == 404
    assert access.getPreview(journey.dataset_id)["status"] == 404
    with pytest.raises(RuntimeError):
        configured.sql(f'SELECT count(*) FROM {name}."{journey.dataset_id}"')
    time.sleep(1)  # until what was on its way has found no table
    assert client.http.get("/health").json()["status"] == "ok"


def test_sandbox_tooling_is_absent_and_says_so(boxes: sandboxes.Sandboxes) -> None:
    assert boxes.getPackage("nothing")["status"] == 404


# -- namespaces ---------------------------------------------------------------------------------------------------


@pytest.fixture
def namespaces(configured: ServerProcess) -> identity.Identity:
    client = identity.Identity()
    # its host is fixed to the public gateway; the attribute is the client's own way around that
    client.endpoint = f"{configured.credentials()['base_url']}/data/core"
    return client


def test_the_standard_namespaces_are_there(namespaces: identity.Identity) -> None:
    standard = {item["code"]: item["id"] for item in namespaces.getIdentities()}
    assert standard.items() >= {"CORE": 0, "ECID": 4, "Email": 6, "Phone": 7, "IDFA": 20915}.items()
    assert namespaces.getIdentityDetail("4")["code"] == "ECID"
    assert not any(item["code"] == "ECID" for item in namespaces.getIdentities(only_custom=True))


def test_a_namespace_of_ones_own(namespaces: identity.Identity) -> None:
    code = f"loyalty{uuid.uuid4().hex[:6]}"
    made = namespaces.createIdentity(
        name="Loyalty", code=code, idType="CROSS_DEVICE", description="d"
    )
    assert (made["code"], made["custom"], made["idType"]) == (code, True, "CROSS_DEVICE")
    assert namespaces.getIdentityDetail(str(made["id"]))["name"] == "Loyalty"
    changed = namespaces.updateIdentity(
        str(made["id"]), name="Renamed", code=code, idType="CROSS_DEVICE", description="e"
    )
    assert (changed["name"], changed["id"]) == ("Renamed", made["id"])
    again = namespaces.createIdentity(name="Other", code=code.upper(), idType="COOKIE")
    assert (again["status"], again["title"]) == (409, "NAMESPACE_CODE_CONFLICT")
    assert code in [item["code"] for item in namespaces.getIdentitiesIMS()]
    shared = namespaces.getIdentitiesIMS("ABCDEF0123456789ABCDEF01@AdobeOrg")
    assert shared
    assert code not in [item["code"] for item in shared]
    assert namespaces.getIdentityDetail("123456789")["title"] == "NAMESPACE_NOT_FOUND"


def test_the_namespaces_of_business_data_are_made_once(namespaces: identity.Identity) -> None:
    made = namespaces.createB2BIdentities()
    codes = [item["code"] for item in namespaces.getIdentities() if item["code"].startswith("b2b_")]
    assert len(codes) == len(set(codes)) == 9
    assert all(item["code"] in codes for item in made)
    assert namespaces.createB2BIdentities() == []


def test_there_is_no_identity_graph(namespaces: identity.Identity) -> None:
    assert namespaces.getIdentity("abc", nsid="4")["status"] == 404
    assert namespaces.getLinkedIdentities([{"nsid": "4", "id": "abc"}])["status"] == 404


# -- sending ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def journey(own: PlatformClient) -> Journey:
    return own.create_flow({}, RULES)


@pytest.fixture
def sender(configured_own: PlatformClient) -> ingestion.DataIngestion:
    return ingestion.DataIngestion()


def inlet_of(journey: Journey) -> str:
    return journey.inlet_url.rsplit("/", 1)[1]


def test_single_messages(sender: ingestion.DataIngestion, journey: Journey) -> None:
    inlet = inlet_of(journey)
    answer = sender.streamMessage(inlet, {"id": "one", "type": "single"}, journey.flow_id)
    assert answer["inletId"] == inlet
    assert answer["syncValidation"] == {"skipped": True}
    assert abs(answer["receivedTimeMs"] - time.time() * 1000) < 60_000
    checked = sender.streamMessage(
        inlet, {"id": "two", "type": "single"}, journey.flow_id, syncValidation=True
    )
    assert checked["syncValidation"] == {"status": "pass"}
    refused = sender.streamMessage(inlet, {"type": "single"}, journey.flow_id, syncValidation=True)
    assert refused["status"] == 400
    assert "xactionId" not in refused


def test_several_messages(sender: ingestion.DataIngestion, journey: Journey) -> None:
    inlet = inlet_of(journey)
    records = [{"id": f"many-{n}", "type": "batch"} for n in range(5)]
    answer = sender.streamMessages(inlet, records, journey.flow_id)
    receipts = [element["xactionId"] for element in answer["responses"]]
    assert len(set(receipts)) == 5
    mixed = sender.streamMessages(inlet, [records[0], "not an object"], journey.flow_id)
    assert [element.get("status") for element in mixed["responses"]] == [None, 400]


def test_what_cannot_be_sent(sender: ingestion.DataIngestion, journey: Journey) -> None:
    assert sender.streamMessage("0" * 64, {"id": "x"})["status"] == 404
    wrong = sender.streamMessage(inlet_of(journey), {"id": "x"}, str(uuid.uuid4()))
    assert wrong["status"] == 400
    assert sender.createBatch(journey.dataset_id)["status"] == 404  # files are not ingested


# -- metrics ------------------------------------------------------------------------------------------------------


def counted(dataset_id: str, metric: str = SUCCESS, granularity: str = "day") -> Any:
    return client_report(metric, "dataSetId", dataset_id, granularity)


def client_report(metric: str, filter: str, value: str, granularity: str = "day") -> Any:
    now = datetime.now(UTC)
    return observability.Observability().createMetricsReport({
        "start": (now - timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "end": (now + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%S.000Z"), "granularity": granularity,
        "metrics": [{
            "name": metric, "filters": [{"name": filter, "value": value, "groupBy": True}],
            "aggregator": "sum", "downsample": "sum",
        }],
    })  # fmt: skip


def total(report: Any) -> float:
    return sum(
        value
        for response in report["metricResponses"]
        for point in response["datapoints"]
        for value in point["dps"].values()
    )


def test_metrics_count_what_landed(own: PlatformClient, sender: ingestion.DataIngestion) -> None:
    fresh_flow = own.create_flow({}, RULES)
    records = [{"id": f"counted-{n}", "type": "x"} for n in range(7)]
    sender.streamMessages(inlet_of(fresh_flow), records, fresh_flow.flow_id)
    report = patiently(lambda: counted(fresh_flow.dataset_id), lambda found: total(found) >= 7)
    assert total(report) == 7
    (response,) = report["metricResponses"]
    assert (response["metric"], response["granularity"]) == (SUCCESS, "DAY")
    (point,) = response["datapoints"]
    assert point["groupBy"] == {"dataSetId": fresh_flow.dataset_id}
    batches = "timeseries.ingestion.dataset.batchsuccess.count"
    assert total(counted(fresh_flow.dataset_id, batches)) >= 1
    assert total(counted("0" * 24)) == 0
    calls = client_report(
        "timeseries.data.collection.inlet.success", "inletId", inlet_of(fresh_flow)
    )
    assert total(calls) == 1


def test_the_template_of_the_client_is_answered(configured: ServerProcess) -> None:
    client = observability.Observability()
    report = client.createMetricsReport(client.POST_METRICS)
    names = [metric["name"] for metric in client.POST_METRICS["metrics"]]
    assert [response["metric"] for response in report["metricResponses"]] == names
    assert total(report) == 0


def test_metrics_that_are_refused(configured: ServerProcess) -> None:
    answer = counted("x", "timeseries.of.nothing")
    assert answer["type"].endswith("INSGHT-1000-400")
    assert answer["report"]["tenantInfo"]["sandboxName"] == "prod"
    assert observability.Observability().createMetricsReport({})["status"] == 400


# -- all in one go ------------------------------------------------------------------------------------------------


def test_the_whole_tutorial_through_the_client(configured: ServerProcess) -> None:
    """From an empty sandbox to rows, files, runs and metrics, with no other means than the client."""
    sandbox = fresh()
    sandboxes.Sandboxes().createSandbox(name=sandbox, title="Tutorial")
    configure_aepp(configured, sandbox)
    registry, lake = schema.Schema(), catalog.Catalog()
    flows, access = flowservice.FlowService(), dataaccess.DataAccess()
    assert flows.getFlows() == []

    connection = flows.createConnectionStreaming(
        name="Inlet", sourceId="tutorial", dataType="raw", paramName="inlet"
    )
    source = flows.createSourceConnectionStreaming(
        connectionId=connection["id"], name="Source", format="delimited",
        description="Test source connector for streaming data",
    )  # fmt: skip
    groups = [f"{PROFILE}-person-details", f"{PROFILE}-personal-details"]
    made = registry.createProfileSchema(name="Sample schema", mixinIds=groups)
    assert made["meta:class"] == PROFILE
    read = registry.getSchema(made["meta:altId"], full=True)
    assert read["properties"]["person"]["properties"]["name"]["properties"]["firstName"]
    reference = {
        "id": made["$id"], "contentType": "application/vnd.adobe.xed-full+json;version=1"
    }  # fmt: skip
    tags = {"unifiedProfile": ["enabled:true"], "unifiedIdentity": ["enabled:true"]}
    created = lake.createDataSet({"name": "Tutorial", "schemaRef": reference, "tags": tags})
    dataset_id = created[0].rsplit("/", 1)[1]
    assert lake.getDataSet(dataset_id)[dataset_id]["schemaRef"]["id"] == made["$id"]
    target = flows.createTargetConnectionDataLake(
        name="Target", datasetId=dataset_id, schemaId=made["$id"], format="parquet_xdm"
    )
    prep = dataprep.DataPrep()
    rules = [
        {"sourceType": "ATTRIBUTE", "source": "first", "destination": "person.name.firstName"},
        {
            "sourceType": "EXPRESSION",
            "source": "upper(last)",
            "destination": "person.name.lastName",
        },
    ]
    preview = prep.previewDataOutput(
        {"first": "Ada", "last": "Lovelace"},
        {"outputSchema": {"schemaRef": reference}, "mappings": rules},
    )
    assert preview
    mapping = prep.createMappingSet(schemaId=made["$id"], mappingList=rules)
    (spec,) = flows.getFlowSpecs(prop='name=="Steam data with transformation"')
    flow = flows.createFlow(
        flow_spec_id=spec["id"], name="Tutorial flow", source_connection_id=source["id"],
        target_connection_id=target["id"], transformation_mapping_id=mapping["id"],
        transformation_name="Mapping",
    )  # fmt: skip
    assert [item["id"] for item in flows.getFlows()] == [flow["id"]]
    assert flows.getFlow(flow["id"])["state"] == "enabled"
    assert flows.connectionTest(connection["id"]) is not None

    inlet = flows.getConnection(connection["id"])["auth"]["params"]["inletId"]
    sender = ingestion.DataIngestion()
    sender.streamMessage(inlet, {"first": "Ada", "last": "Lovelace"}, flow["id"])
    people = [{"first": "Grace", "last": "Hopper"}, {"first": "Katherine", "last": "Johnson"}]
    sender.streamMessages(inlet, people, flow["id"])

    rows = patiently(lambda: access.getPreview(dataset_id), lambda found: len(found) == 3)
    names = {
        (row["person"]["name"]["firstName"], row["person"]["name"]["lastName"]) for row in rows
    }
    assert names == {("Ada", "LOVELACE"), ("Grace", "HOPPER"), ("Katherine", "JOHNSON")}
    query = f'SELECT person.name.firstName AS name FROM "{dataset_id}" ORDER BY name'
    assert [row["name"] for row in configured.sql(query)] == ["Ada", "Grace", "Katherine"]

    batches = lake.getBatches(dataSet=dataset_id, output="raw")
    assert {item["status"] for item in batches.values()} == {"success"}
    assert sum(item["recordCount"] for item in batches.values()) == 3
    files = [file for id in batches for file in access.getBatchFiles(id)]
    parts = [(file["dataSetFileId"], access.getFiles(file["dataSetFileId"])) for file in files]
    tables = [
        pq.read_table(io.BytesIO(access.getFiles(id, path=part["name"]).getvalue()))
        for id, listing in parts
        for part in listing["data"]
    ]
    assert sum(table.num_rows for table in tables) == 3

    runs = flows.getRuns(prop=f"flowId=={flow['id']}")
    assert sum(run["metrics"]["recordSummary"]["outputRecordCount"] for run in runs) == 3
    assert total(patiently(lambda: counted(dataset_id), lambda found: total(found) == 3)) == 3

    paused = flows.postFlowAction(flow["id"], "disable")
    assert paused["id"] == flow["id"]
    assert flows.getFlow(flow["id"])["state"] == "disabled"
    assert sender.streamMessage(inlet, people[0], flow["id"])["status"] == 400
    flows.postFlowAction(flow["id"], "enable")
    flows.deleteFlow(flow["id"])
    for delete, id in (
        (flows.deleteSourceConnection, source["id"]),
        (flows.deleteTargetConnection, target["id"]),
        (flows.deleteConnection, connection["id"]),
    ):
        assert delete(id) == 204
    assert flows.getFlows() == []
    assert sender.streamMessage(inlet, people[0])["status"] == 404
    assert len(access.getPreview(dataset_id)) == 3  # what landed stays
