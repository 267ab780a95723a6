"""The catalog half of the unmodified Python client: data sets, batches, files, previews."""

import io
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from aepp import catalog, dataaccess, schema
from aepp.catalog import ObservableSchemaManager

from headrace.testing.server import Journey, PlatformClient, ServerProcess

pytestmark = pytest.mark.filterwarnings("ignore")

PROFILE = "https://ns.adobe.com/xdm/context/profile"
CATALOG, EXPORT = "/data/foundation/catalog", "/data/foundation/export"
RULES = [
    {"sourceType": "ATTRIBUTE", "source": "id", "destination": "_id"},
    {"sourceType": "EXPRESSION", "source": "now()", "destination": "timestamp"},
    {"sourceType": "ATTRIBUTE", "source": "type", "destination": "eventType"},
]
RECORDS = [{"id": "a", "type": "x"}, {"id": "b"}, {"id": "c"}, {"type": "y"}, {"type": "z"}]
"""Three that land and two without the identifier that the schema requires."""

DATA_SETS = 120
"""More than the client asks for at once (100)."""


@pytest.fixture
def client(configured_own: PlatformClient) -> catalog.Catalog:
    return catalog.Catalog()


@pytest.fixture
def access(configured_own: PlatformClient) -> dataaccess.DataAccess:
    return dataaccess.DataAccess()


@pytest.fixture(scope="module")
def landed(own: PlatformClient) -> Journey:
    """A flow whose first records have landed and failed."""
    journey = own.create_flow({}, RULES)
    answer = httpx.post(
        journey.batch_url, json={"messages": RECORDS}, headers={"x-adobe-flow-id": journey.flow_id}
    )
    assert answer.status_code == 207
    deadline = time.monotonic() + 20
    while len(states(own, journey)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert set(states(own, journey)) == {"success", "failed"}
    return journey


def states(own: PlatformClient, journey: Journey) -> dict[str, str]:
    """The batches of a flow's data set, by their status."""
    found = own.call("GET", f"{CATALOG}/batches?dataSet={journey.dataset_id}")
    return {item["status"]: id for id, item in found.items()}


@pytest.fixture(scope="module")
def schema_id(own: PlatformClient) -> str:
    made = own.call("POST", "/data/foundation/schemaregistry/tenant/schemas", {
        "title": f"people {uuid.uuid4().hex[:8]}", "type": "object",
        "allOf": [{"$ref": PROFILE}, {"$ref": f"{PROFILE}-person-details"}],
    })  # fmt: skip
    id: str = made["$id"]
    return id


@pytest.fixture
def dataset_id(client: catalog.Catalog, schema_id: str) -> Iterator[str]:
    made = client.createDataSet(name=f"people {uuid.uuid4().hex[:8]}", schemaId=schema_id)
    id: str = made[0].rsplit("/", 1)[1]
    yield id
    client.deleteDataSet(id)


def one(client: catalog.Catalog, id: str) -> dict[str, Any]:
    found = client.getDataSet(id)
    assert list(found) == [id]
    shown: dict[str, Any] = found[id]
    return shown


# -- data sets ----------------------------------------------------------------------------------------------


def test_data_set_with_every_option(client: catalog.Catalog, schema_id: str) -> None:
    made = client.createDataSet(
        name="All Options!", schemaId=schema_id, profileEnabled=True, identityEnabled=True,
        upsert=True, tags={"team": ["blue"]}, unifiedTags=["u"], systemLabels=["core/C1"],
        requestDataSource=True,
    )  # fmt: skip
    assert len(made) == 1
    assert made[0].startswith("@/dataSets/")
    id = made[0].rsplit("/", 1)[1]
    assert len(id) == 24
    shown = one(client, id)
    assert shown["schemaRef"] == {
        "id": schema_id, "contentType": "application/vnd.adobe.xed+json;version=1",
    }  # fmt: skip
    assert shown["tags"]["unifiedProfile"] == ["enabled: true", "isUpsert: true"]
    assert shown["tags"]["unifiedIdentity"] == ["enabled:true"]
    assert shown["tags"]["team"] == ["blue"]
    assert shown["tags"]["adobe/pqs/table"] == ["all_options"]
    assert (shown["unifiedTags"], shown["systemLabels"]) == (["u"], ["core/C1"])
    assert shown["classification"] == {"dataBehavior": "record", "managedBy": "CUSTOMER"}
    assert shown["fileDescription"]["format"] == "parquet"
    assert (shown["state"], shown["namespace"], shown["version"]) == ("ACTIVE", "ACP", "1.0.0")
    assert len(shown["dataSourceId"]) == len(shown["viewId"]) == 24
    assert client.deleteDataSet(id) == 200
    assert client.getDataSet(id)["status"] == 404
    assert client.deleteDataSet(id) == 200


def test_data_set_that_names_no_schema_is_refused(client: catalog.Catalog) -> None:
    refused = client.createDataSet(name="x", schemaId="https://ns.adobe.com/none/schemas/0")
    assert refused["status"] == 400
    assert "does not exist" in refused["detail"]


def test_profile_and_identity_are_switched_by_patches(
    client: catalog.Catalog, dataset_id: str
) -> None:
    def tags() -> Any:
        return one(client, dataset_id)["tags"]

    reference = [f"@/dataSets/{dataset_id}"]
    assert client.disableDatasetProfile(dataset_id) == reference  # replaces what is not there
    assert tags()["unifiedProfile"] == ["enabled:false"]
    assert client.enableDatasetProfile(dataset_id) == reference
    assert tags()["unifiedProfile"][0] == "enabled:true"
    assert client.enableDatasetProfile(dataset_id, upsert=True) == reference
    assert tags()["unifiedProfile"][:2] == ["enabled:true", "isUpsert:true"]
    assert client.disableDatasetProfile(dataset_id) == reference
    assert client.enableDatasetUpsert(dataset_id) == reference
    assert tags()["unifiedProfile"][:2] == ["enabled:true", "isUpsert:true"]
    assert client.enableDatasetIdentity(dataset_id) == reference
    assert tags()["unifiedIdentity"] == ["enabled:true"]
    assert client.disableDatasetIdentity(dataset_id) == reference
    assert tags()["unifiedIdentity"] == ["enabled:false"]
    assert client.disableDatasetValidationContext(dataset_id) == reference
    assert tags()["acp_validationContext"] == ["disabled"]
    assert one(client, dataset_id)["version"] == "1.0.8"


def test_data_set_is_merged_and_replaced(client: catalog.Catalog, dataset_id: str) -> None:
    before = one(client, dataset_id)
    client.patchDataset(dataset_id, {"description": "some", "tags": {"team": ["blue"]}})
    shown = one(client, dataset_id)
    assert shown["description"] == "some"
    assert shown["tags"] == before["tags"] | {"team": ["blue"]}
    client.patchDatasetV2(dataset_id, {"extensions": {"mine": {"depth": {"two": 2}}}})
    client.patchDatasetV2(dataset_id, {"extensions": {"mine": {"depth": {"one": 1}}}})
    assert one(client, dataset_id)["extensions"] == {"mine": {"depth": {"two": 2, "one": 1}}}
    client.putDataset(dataset_id, {"name": before["name"], "schemaRef": before["schemaRef"]})
    replaced = one(client, dataset_id)
    assert "description" not in replaced
    assert "extensions" not in replaced
    assert replaced["viewId"] == before["viewId"]
    assert client.patchDataset("0" * 24, {"name": "x"})["status"] == 404


def test_views_and_resources(client: catalog.Catalog, landed: Journey) -> None:
    id = landed.dataset_id
    (view_id,) = client.getDataSetViews(id)
    assert view_id == one(client, id)["viewId"]
    assert client.getDataSetView(id, view_id)[view_id]["dataSetId"] == id
    files = client.getDataSetViewFiles(id, view_id)
    assert {item["dataSetId"] for item in files.values()} == {id}
    assert {item["recordsCount"] for item in files.values()} == {2, 3}
    assert client.getDataSetView(id, "0" * 24)["status"] == 404
    assert client.getDataSetViewFiles(id, "0" * 24)["status"] == 404
    found = client.getResources()
    assert found["dataSets"]["count"] >= 1
    assert found["batches"]["count"] == 2
    assert client.getResource(f"{client.endpoint}/dataSets/{id}", format="raw").status_code == 200


def test_union_and_snapshot_data_sets(client: catalog.Catalog, schema_id: str) -> None:
    made = client.createUnionProfileDataset()
    id = made[0].rsplit("/", 1)[1]
    assert one(client, id)["schemaRef"]["id"] == f"{PROFILE}__union"
    name = f"Profile-Snapshot-Export-{uuid.uuid4().hex[:8]}"
    snapshot = client.createDataSet(name=name, schemaId=schema_id)[0].rsplit("/", 1)[1]
    found = client.getProfileSnapshotDatasets()
    assert {item["name"] for item in found.values()} == {name}
    for each in (id, snapshot):
        assert client.deleteDataSet(each) == 200


# -- batches ------------------------------------------------------------------------------------------------


def test_batches(client: catalog.Catalog, own: PlatformClient, landed: Journey) -> None:
    ids = states(own, landed)
    found = client.getBatches(dataSet=landed.dataset_id, orderBy="desc:created")
    assert set(found) == set(ids.values())
    good = found[ids["success"]]
    assert (good["recordCount"], good["metrics"]["outputRecordCount"]) == (3, 3)
    assert good["relatedObjects"][0] == {"type": "dataSet", "id": landed.dataset_id}
    assert good["tags"]["flowId"] == [landed.flow_id]
    assert client.getBatch(ids["success"]) == {ids["success"]: good}
    assert client.findActiveBatch(ids["success"]) == ids["success"]
    frame = client.getBatches(output="dataframe", status="success", dataSet=landed.dataset_id)
    assert list(frame.index) == [ids["success"]]
    every = client.getBatches(limit=1, n_results="inf", dataSet=landed.dataset_id)
    assert set(every) == set(found)
    assert client.getBatches(createdAfter=good["created"] + 60_000) == {}
    for status, wanted in (("active", "success"), ("failure", "failed"), ("loading", None)):
        some = client.getBatches(status=status, dataSet=landed.dataset_id)
        assert list(some) == ([ids[wanted]] if wanted else [])
    uniques = f"{CATALOG}/batches/uniques/status?dataSet={landed.dataset_id}"
    assert set(own.call("GET", f"{uniques}&limit=1")) == {"success", "failed"}
    assert own.call("GET", f"{uniques}&status=success") == ["success"]
    assert client.getBatch("0" * 26)["status"] == 404

    failed = client.getFailedBatchesDF(dataSet=landed.dataset_id)
    assert list(failed.index) == [ids["failed"]]
    row = failed.loc[ids["failed"]]
    assert (row["dataSetId"], row["flowId"]) == (landed.dataset_id, landed.flow_id)
    assert (row["invalidRecordCount"], row["errorCode"]) == (2, ["DCVS-1106-400"])
    assert "_id" in row["errorMessage"][0]
    assert row["sandbox"] == one(client, landed.dataset_id)["sandboxId"]
    assert len(client.getMapperErrors(dataSet=landed.dataset_id)) == 0

    newest = client.getLastBatches(landed.dataset_id)
    assert list(newest) == [landed.dataset_id]
    item = newest[landed.dataset_id]
    assert item["lastSuccessfulBatchId"] == ids["success"]
    assert item["lastFailedBatchId"] == ids["failed"]
    assert item["lastBatchId"] in ids.values()
    named = client.getLastBatches(
        properties="lastBatchId", orderBy="desc:created", created=item["created"]
    )
    assert named == {landed.dataset_id: {"lastBatchId": item["lastBatchId"]}}
    assert client.getLastBatches(created=1) == {}
    assert client.getLastBatches("0" * 24) == {}


def test_observable_schema_has_what_was_filled(
    client: catalog.Catalog, landed: Journey, dataset_id: str
) -> None:
    found = client.getDataSetObservableSchema(landed.dataset_id, appendDatasetInfo=True)
    assert set(found) == {"observableSchema", "datasetId"}
    fields = found["observableSchema"]["properties"]
    assert set(fields) == {"_id", "timestamp", "eventType"}
    assert fields["timestamp"]["meta:xdmType"] == "date-time"
    observed = ObservableSchemaManager(found)
    assert observed.datasetId == landed.dataset_id
    assert set(observed.to_dataframe()["path"]) == set(fields)
    manager = schema.Schema().SchemaManager(landed.schema_id)
    compared = manager.compareObservableSchema(observed).set_index("path")["availability"]
    assert compared["eventType"] == "schema_dataset"
    assert compared["identityMap"] == "schema_only"
    empty = client.getDataSetObservableSchema(dataset_id)
    assert empty["observableSchema"]["properties"] == {}
    assert set(manager.getDatasets()) == {landed.dataset_id}


# -- files --------------------------------------------------------------------------------------------------


def test_files_of_a_batch(
    access: dataaccess.DataAccess, own: PlatformClient, landed: Journey
) -> None:
    batch = states(own, landed)["success"]
    (item,) = access.getBatchFiles(batch)
    assert item["isValid"] is True
    file = item["dataSetFileId"]
    assert item["_links"]["self"]["href"].endswith(f"/files/{file}")
    assert access.getBatchFiles(batch, limit=1, start=1) == []
    (part,) = access.getFiles(file)["data"]
    assert part["name"].endswith(".parquet")
    data = access.getFiles(file, path=part["name"])
    assert isinstance(data, io.BytesIO)
    content = data.getvalue()
    assert len(content) == int(part["length"])
    frame = access.transformDataToDataFrame(data)
    assert sorted(frame["_id"]) == ["a", "b", "c"]
    assert access.getHeadFile(file, part["name"]) == {}  # the client keeps headers of refusals only
    assert access.getHeadFile(file, "none.parquet")["content-type"].startswith("application/")
    url = f"{EXPORT}/files/{file}?path={part['name']}"
    head = own.http.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) == len(content)
    assert head.headers["accept-ranges"] == "bytes"
    for asked, wanted, place in (
        ("bytes=0-3", content[:4], f"bytes 0-3/{len(content)}"),
        ("bytes=-4", content[-4:], f"bytes {len(content) - 4}-{len(content) - 1}/{len(content)}"),
        ("bytes=4-", content[4:], f"bytes 4-{len(content) - 1}/{len(content)}"),
    ):
        answer = own.http.get(url, headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, wanted)
        assert answer.headers["content-range"] == place
    beyond = own.http.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{len(content)}"
    assert access.getFiles("0" * 26 + "-0")["status"] == 404
    assert access.getBatchFiles("0" * 26)["status"] == 404


def test_failed_records_of_a_batch(
    client: catalog.Catalog,
    access: dataaccess.DataAccess,
    own: PlatformClient,
    landed: Journey,
) -> None:
    ids = states(own, landed)
    for batch in ids.values():  # both batches of the commit lead to what failed
        (item,) = access.getBatchFailed(batch)
        assert item["isValid"] is False
    (part,) = access.getFiles(item["dataSetFileId"])["data"]
    direct = own.http.get(f"{EXPORT}/batches/{ids['failed']}/failed?path={part['name']}")
    frame = access.transformDataToDataFrame(io.BytesIO(direct.content))
    assert {bytes(value) for value in frame["original"]} == {b'{"type":"y"}', b'{"type":"z"}'}

    meta = access.getBatchMeta(ids["failed"])
    assert [entry["name"] for entry in meta["data"]] == ["row_errors", "row_errors_sample.json"]
    sample = access.getBatchMeta(ids["failed"], path="row_errors_sample.json")
    assert {row["_errors"][0]["code"] for row in sample} == {"DCVS-1106-400"}
    assert [row["_errors"][0]["column"] for row in sample] == ["_id", "_id"]
    (errors,) = access.getBatchMeta(ids["failed"], path="row_errors")["data"]
    url = f"{access.endpoint}/batches/{ids['failed']}/meta"
    text = access.getResource(url, params={"path": errors["name"]}, format="txt")
    rows = client.jsonStreamMessages(text.strip())
    assert rows == sample
    assert access.getBatchMeta(ids["failed"], path="input_files")["data"] == []
    assert access.getBatchMeta(ids["failed"], path="none.json")["status"] == 404


def test_preview(access: dataaccess.DataAccess, landed: Journey, dataset_id: str) -> None:
    rows = access.getPreview(landed.dataset_id)
    assert sorted(row["_id"] for row in rows) == ["a", "b", "c"]
    assert access.getPreview(dataset_id) == []
    assert access.getPreview("0" * 24)["status"] == 404


# -- lists of more than one page ----------------------------------------------------------------------------


def test_data_sets_of_more_than_one_page(
    client: catalog.Catalog, own: PlatformClient, schema_id: str
) -> None:
    reference = {"id": schema_id, "contentType": "application/vnd.adobe.xed+json;version=1"}
    for number in range(DATA_SETS):
        own.call("POST", f"{CATALOG}/dataSets", {
            "name": f"paged {number:03d}", "schemaRef": reference,
            "tags": {"unifiedProfile": ["enabled:true"]} if number % 2 else {},
        })  # fmt: skip
    kept = {"property": "name~^paged ", "orderBy": "asc:name"}
    found = client.getDataSets(**kept)
    names = [item["name"] for item in found.values()]
    # the client counts from one, and so leaves out the first of the second page by itself
    assert names == [f"paged {number:03d}" for number in range(DATA_SETS) if number != 100]
    assert client.data.table_names["paged 007"] == ["paged_007"]
    assert client.data.schema_ref["paged 007"] == reference
    infos = client.data.infos.set_index("name")
    assert bool(infos.loc["paged 001"]["profileEnabled"]) is True
    assert bool(infos.loc["paged 002"]["profileEnabled"]) is False
    assert set(infos["dataBehavior"]) == {"record"}
    assert len(client.getDataSets(limit=50, output="list", **kept)) == DATA_SETS - 1
    assert list(client.getDataSets(output="df", name="paged 007")["name"]) == ["paged 007"]
    assert len(client.getDatasetsInfos()) >= DATA_SETS - 1
    whole: dict[str, Any] = {}
    for start in (0, 100):
        path = f"{CATALOG}/dataSets?limit=100&start={start}&property=name~^paged"
        whole |= own.call("GET", path)
    assert len(whole) == DATA_SETS


def test_the_client_works_in_the_sandbox_it_is_set_to(
    client: catalog.Catalog, server: ServerProcess, dataset_id: str
) -> None:
    elsewhere = PlatformClient(server.credentials())
    answer = elsewhere.http.get(f"{CATALOG}/dataSets/{dataset_id}")
    assert answer.status_code == 404
    assert dataset_id in client.getDataSets()
