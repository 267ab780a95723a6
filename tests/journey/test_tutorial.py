"""The seven calls of the streaming tutorial, made with curl in its own words, on a real server."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.testing.server import PlatformClient, ServerProcess

FLOW = "/data/foundation/flowservice"
SPEC = "c1a19761-d2c7-4702-b9fa-fe91f0613e81"
PROFILE = "https://ns.adobe.com/xdm/context/profile"
GROUPS = [f"{PROFILE}-person-details", f"{PROFILE}-personal-details"]

SOURCE = {
    "name": "Test source connector for streaming data",
    "providerId": "521eee4d-8cbe-4906-bb48-fb6bd4450033",
    "description": "Test source connector for streaming data",
    "data": {"format": "delimited"},
    "connectionSpec": {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"},
}
SCHEMA = {
    "type": "object",
    "title": "Sample schema for a streaming connector",
    "description": "Sample schema for a streaming connector",
    "allOf": [{"$ref": PROFILE}, *({"$ref": group} for group in GROUPS)],
    "meta:containerId": "tenant",
    "meta:resourceType": "schemas",
    "meta:xdmType": "object",
    "meta:class": PROFILE,
}
DATASET = {
    "fileDescription": {"format": "parquet"},
    "tags": {"identity": ["enabled:true"], "profile": ["enabled:true"]},
    "name": "Test streaming dataset",
}
TARGET = {
    "name": "Streaming target connection",
    "description": "Streaming target connection",
    "connectionSpec": {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"},
    "data": {"format": "parquet_xdm"},
}
RULES = [
    {"destinationXdmPath": f"person.name.{name}", "sourceAttribute": name, "identity": False, "version": 0}
    for name in ("firstName", "lastName")
]  # fmt: skip


class Curl:
    """curl with the tutorial's headers; `(status, body)` of each call."""

    def __init__(self, credentials: dict[str, str], token: str | None) -> None:
        self.base = credentials["base_url"]
        self.always = {
            "x-api-key": credentials["client_id"],
            "x-gw-ims-org-id": credentials["org_id"],
            "x-sandbox-name": credentials["sandbox"],
        }
        self.token = token

    def __call__(
        self, method: str, path: str, body: Any = None, *, authorized: bool = True,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:  # fmt: skip
        url = path if path.startswith("http") else self.base + path
        sent = self.always | (headers or {})
        if authorized and self.token:
            sent = {"Authorization": f"Bearer {self.token}"} | sent
        command = ["curl", "-sS", "-X", method, url, "-w", "\n%{http_code}"]
        for name, value in sent.items():
            command += ["-H", f"{name}: {value}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body, indent=4)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
        text, status = done.stdout.rsplit("\n", 1)
        return int(status), json.loads(text) if text else None


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data_dir: Path = tmp_path_factory.mktemp("open") / "headrace-data"
    data_dir.mkdir()
    process = ServerProcess(data_dir, "--auth", "off", HEADRACE_COMMIT_INTERVAL="0.2").start()
    yield process
    assert process.stop() == 0


def rows_of(server: ServerProcess, dataset_id: str) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        rows = server.sql(
            f'SELECT person.name.firstName AS first, person.name.lastName AS last FROM "{dataset_id}"'
        )
        if rows:
            return rows
        time.sleep(0.3)
    return []


def follow(server: ServerProcess, curl: Curl, *, verbatim: bool) -> None:
    """All calls; with `verbatim` the two that the page shows without Authorization are made so."""
    credentials = server.credentials()
    tenant = credentials["tenant_id"]
    _, created = curl("POST", f"{FLOW}/connections", {
        "name": "Inlet", "connectionSpec": SOURCE["connectionSpec"],
        "auth": {"specName": "Streaming Connection", "params": {"dataType": "raw", "name": "Inlet"}},
    })  # fmt: skip
    connection = created["id"]

    status, source = curl(
        "POST", f"{FLOW}/sourceConnections", SOURCE | {"connectionId": connection}
    )
    assert (status, set(source)) == (201, {"id", "etag"})
    assert source["etag"].startswith('"')
    assert source["etag"].endswith('"')
    _, read = curl("GET", f"{FLOW}/sourceConnections/{source['id']}")
    assert read["items"][0]["name"] == SOURCE["name"]

    registry = "/data/foundation/schemaregistry/tenant/schemas"
    status, schema = curl("POST", registry, SCHEMA)
    assert status == 201
    schema_id = schema["$id"]
    assert schema_id.startswith(f"https://ns.adobe.com/{tenant}/schemas/")
    alternative = schema["meta:altId"]
    assert alternative == f"_{tenant}.schemas.{schema_id.rsplit('/', 1)[1]}"
    assert schema["version"] == "1.0"
    assert [part["$ref"] for part in schema["allOf"]] == [PROFILE, *GROUPS]
    assert all(p["type"] == "object" and p["meta:xdmType"] == "object" for p in schema["allOf"])
    assert schema["refs"] == [*GROUPS, PROFILE]
    assert schema["meta:extends"] == [
        *GROUPS, "https://ns.adobe.com/xdm/common/auditable", "https://ns.adobe.com/xdm/data/record", PROFILE,
    ]  # fmt: skip
    assert schema["imsOrg"] == credentials["org_id"]
    assert schema["meta:tenantNamespace"] == f"_{tenant}"
    expected = {
        "title": SCHEMA["title"], "description": SCHEMA["description"], "type": "object",
        "meta:resourceType": "schemas", "meta:extensible": False, "meta:abstract": False,
        "meta:xdmType": "object", "meta:class": PROFILE, "meta:containerId": "tenant",
        "meta:sandboxType": "production",
    }  # fmt: skip
    assert {key: schema[key] for key in expected} == expected
    assert "meta:sandboxId" in schema
    assert set(schema["meta:registryMetadata"]) >= {
        "repo:createdDate", "repo:lastModifiedDate", "xdm:createdClientId", "xdm:lastModifiedClientId",
        "xdm:createdUserId", "xdm:lastModifiedUserId", "eTag", "meta:globalLibVersion",
    }  # fmt: skip
    accept = {"Accept": "application/vnd.adobe.xed+json; version=1"}
    status, read = curl("GET", f"{registry}/{alternative}", headers=accept)
    assert (status, read["$id"]) == (200, schema_id)

    reference = {
        "id": schema_id,
        "contentType": "application/vnd.adobe.xed-full-notext+json; version=1.1",
    }
    path = "/data/foundation/catalog/dataSets"
    status, datasets = curl(
        "POST", f"{path}?requestDataSource=true", DATASET | {"schemaRef": reference}
    )
    assert status == 201
    assert len(datasets) == 1
    assert datasets[0].startswith("@/dataSets/")
    dataset_id = datasets[0].removeprefix("@/dataSets/")
    assert len(bytes.fromhex(dataset_id)) == 12
    _, read = curl("GET", f"{path}/{dataset_id}")
    assert read[dataset_id]["tags"].items() >= DATASET["tags"].items()  # type: ignore[attr-defined]

    status, target = curl(
        "POST", f"{FLOW}/targetConnections", TARGET | {"params": {"dataSetId": dataset_id}}
    )
    assert (status, set(target)) == (201, {"id", "etag"})
    _, read = curl("GET", f"{FLOW}/targetConnections/{target['id']}")
    assert read["items"][0]["params"]["dataSetId"] == dataset_id

    sets = "/data/foundation/conversion/mappingSets"
    asked = {"version": 0, "xdmSchema": alternative, "xdmVersion": "1.0", "mappings": RULES}
    status, mapping = curl("POST", sets, asked)
    assert status in (200, 201)
    assert {"id", "version", "createdDate", "modifiedDate", "createdBy", "modifiedBy"} <= set(
        mapping
    )
    assert mapping["version"] == 0
    assert len(bytes.fromhex(mapping["id"])) == 16
    _, read = curl("GET", f"{sets}/{mapping['id']}")
    assert [m["destination"] for m in read["mappings"]] == [m["destinationXdmPath"] for m in RULES]

    query = "property=name==%22Steam%20data%20with%20transformation%22"
    status, specs = curl("GET", f"{FLOW}/flowSpecs?{query}", authorized=not verbatim)
    assert status == 200
    (spec,) = specs["items"]
    assert (spec["id"], spec["version"]) == (SPEC, "1.0")
    assert spec["name"] == "Steam data with transformation"
    assert spec["providerId"] == SOURCE["providerId"]
    assert SOURCE["connectionSpec"]["id"] in spec["sourceConnectionSpecIds"]  # type: ignore[index]
    assert spec["targetConnectionSpecIds"] == ["c604ff05-7f1a-43c0-8e18-33bf874cb11c"]
    assert spec["transformationSpecs"][0]["name"] == "Mapping"
    assert spec["transformationSpecs"][0]["spec"]["required"] == ["mappingId"]
    assert {"view", "manage"} <= set(spec["permissionsInfo"])
    assert "uiAttributes" in spec["attributes"]

    status, flow = curl("POST", f"{FLOW}/flows", {
        "name": "Streaming dataflow", "description": "Streaming dataflow",
        "flowSpec": {"id": spec["id"], "version": "1.0"},
        "sourceConnectionIds": [source["id"]], "targetConnectionIds": [target["id"]],
        "transformations": [
            {"name": "Mapping", "params": {"mappingId": mapping["id"], "mappingVersion": 0}}
        ],
    }, authorized=not verbatim)  # fmt: skip
    assert (status, set(flow)) == (201, {"id", "etag"})
    _, read = curl("GET", f"{FLOW}/flows/{flow['id']}")
    assert read["items"][0]["state"] == "enabled"

    _, read = curl("GET", f"{FLOW}/connections/{connection}")
    inlet = read["items"][0]["auth"]["params"]["inletUrl"]
    ada = {"firstName": "Ada", "lastName": "Lovelace"}
    status, answer = curl(
        "POST", inlet, ada, headers={"x-adobe-flow-id": flow["id"]}, authorized=False
    )
    assert status == 200
    assert {"inletId", "xactionId", "receivedTimeMs"} <= set(answer)
    assert rows_of(server, dataset_id) == [{"first": "Ada", "last": "Lovelace"}]


def test_the_tutorial_works_as_written(server: ServerProcess, platform: PlatformClient) -> None:
    token = platform.http.headers["Authorization"].removeprefix("Bearer ")
    follow(server, Curl(server.credentials(), token), verbatim=False)


def test_without_authorization_the_gateway_refuses(server: ServerProcess) -> None:
    status, answer = Curl(server.credentials(), None)("GET", f"{FLOW}/flowSpecs")
    assert (status, answer["error_code"]) == (403, "403010")


def test_with_authorization_off_the_two_bare_calls_work_verbatim(
    open_server: ServerProcess,
) -> None:
    token = PlatformClient(open_server.credentials()).http.headers["Authorization"]
    follow(
        open_server, Curl(open_server.credentials(), token.removeprefix("Bearer ")), verbatim=True
    )
