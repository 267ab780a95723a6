"""A real server in a process of its own, and a client that sets flows up through the public API."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

HTTP_SPEC = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
LAKE_SPEC = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
EVENT_CLASS = "https://ns.adobe.com/xdm/context/experienceevent"


class ServerProcess:
    """`headrace serve` on a free port. `kill` is SIGKILL to the server alone; its worker must notice by itself."""

    def __init__(self, data_dir: Path, *options: str, **environment: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.environment = environment
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, patience: float = 60.0, *, soon: bool = False) -> "ServerProcess":
        """Return when the server is well, or `soon`: when it answers, while its worker is still starting."""
        port = str(self.port or 0)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "serve", "--data-dir", str(self.data_dir), "--port", port,
             *self.options],
            env=os.environ | self.environment, stderr=(self.data_dir.parent / "server.log").open("ab"),
        )  # fmt: skip
        deadline = time.monotonic() + patience
        with httpx.Client(verify=False, timeout=5) as client:  # loading certificates takes its time
            while time.monotonic() < deadline:
                if self.process.poll() is not None:
                    raise RuntimeError(f"the server ended with status {self.process.returncode}")
                try:
                    url = self.credentials()["base_url"]
                    if client.get(f"{url}/health").status_code == 200 or soon:
                        self.port = int(url.rsplit(":", 1)[1])
                        return self
                except (OSError, ValueError, httpx.HTTPError):
                    pass
                time.sleep(0.03)
        self.kill()
        raise RuntimeError("the server did not become ready")

    def credentials(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.data_dir / "credentials.json").read_text())
        return found

    def kill(self) -> None:
        """SIGKILL, as the kernel or an operator would."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(120)
        self.process = None
        return status

    def sql(self, query: str) -> list[dict[str, Any]]:
        """Rows that DuckDB finds in the lake, read here: `sql_command` takes seconds to start."""
        from headrace.lake.query import run

        out = io.StringIO()
        if run(self.data_dir, query, "json", out):
            raise RuntimeError(f"not run: {query}")
        rows: list[dict[str, Any]] = json.loads(out.getvalue())
        return rows

    def sql_command(self, query: str) -> list[dict[str, Any]]:
        """Rows of `headrace sql`, run as a user would run it."""
        done = subprocess.run(
            [sys.executable, "-m", "headrace", "sql", query, "--data-dir", str(self.data_dir), "--format", "json"],
            capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr.decode())
        rows: list[dict[str, Any]] = json.loads(done.stdout)
        return rows


@dataclass(slots=True)
class Journey:
    """Ids of everything that was created for one flow."""

    connection_id: str
    inlet_url: str
    schema_id: str
    dataset_id: str
    mapping_id: str | None
    flow_id: str

    @property
    def batch_url(self) -> str:
        return self.inlet_url.replace("/collection/", "/collection/batch/")


@dataclass(frozen=True, slots=True)
class PulledSource:
    """What a flow is to read: the connection's authentication and the source connection's parameters."""

    spec_id: str
    auth_spec: str
    auth: dict[str, Any]
    params: dict[str, Any]
    format: str = "json"


@dataclass
class PlatformClient:
    """Calls the platform APIs with the credentials of a data directory."""

    credentials: dict[str, str]
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        base = self.credentials["base_url"]
        form = {
            "grant_type": "client_credentials",
            **{k: self.credentials[k] for k in ("client_id", "client_secret")},
            "scope": self.credentials["scopes"],
        }
        answer = httpx.post(f"{base}/ims/token/v3", data=form)
        answer.raise_for_status()
        self.http = httpx.Client(
            base_url=base,
            timeout=60,
            headers={
                "Authorization": f"Bearer {answer.json()['access_token']}",
                "x-api-key": self.credentials["client_id"],
                "x-gw-ims-org-id": self.credentials["org_id"],
                "x-sandbox-name": self.credentials["sandbox"],
            },
        )

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The JSON answer; httpx.HTTPStatusError with the answer's text when it is refused."""
        answer = self.http.request(method, path, json=body, headers=headers)
        if answer.status_code >= 400:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {answer.status_code} {answer.text}",
                request=answer.request,
                response=answer,
            )
        return answer.json() if answer.content else None

    def create_flow(
        self,
        properties: dict[str, Any],
        mappings: list[dict[str, str]] | None,
        *,
        groups: tuple[str, ...] = (),
        schema_class: str = EVENT_CLASS,
        data_type: str = "raw",
        source: "PulledSource | None" = None,
    ) -> Journey:
        """Connection, schema, data set, mapping and flow. `properties` are custom fields below the tenant's
        namespace; `mappings` are modern rules, None for records that are XDM already. Without a `source` records
        come over HTTP."""
        name = f"journey {uuid.uuid4().hex[:8]}"
        tenant = self.credentials["tenant_id"]
        registry, flow = "/data/foundation/schemaregistry", "/data/foundation/flowservice"
        references = [{"$ref": schema_class}, *({"$ref": group} for group in groups)]
        if properties:
            group = self.call("POST", f"{registry}/tenant/fieldgroups", {
                "title": f"{name} fields", "type": "object", "meta:intendedToExtend": [schema_class],
                "definitions": {"customFields": {"type": "object", "properties": {
                    f"_{tenant}": {"type": "object", "properties": properties}}}},
                "allOf": [{"$ref": "#/definitions/customFields"}],
            })  # fmt: skip
            references.append({"$ref": group["$id"]})
        schema = self.call(
            "POST",
            f"{registry}/tenant/schemas",
            {"title": name, "type": "object", "allOf": references},
        )
        content_type = "application/vnd.adobe.xed-full+json;version=1"
        reference = {"id": schema["$id"], "contentType": content_type}
        created = self.call(
            "POST", "/data/foundation/catalog/dataSets", {"name": name, "schemaRef": reference}
        )
        dataset_id = created[0].rsplit("/", 1)[1]
        given = source or PulledSource(
            HTTP_SPEC["id"], "Streaming Connection", {"dataType": data_type, "name": name}, {}
        )
        spec_reference = {"id": given.spec_id, "version": "1.0"}
        connection = self.call("POST", f"{flow}/connections", {
            "name": name, "connectionSpec": spec_reference,
            "auth": {"specName": given.auth_spec, "params": given.auth},
        })  # fmt: skip
        item = self.call("GET", f"{flow}/connections/{connection['id']}")["items"][0]
        source_connection = self.call("POST", f"{flow}/sourceConnections", {
            "name": name, "baseConnectionId": connection["id"], "connectionSpec": spec_reference,
            "data": {"format": given.format}, "params": given.params,
        })  # fmt: skip
        target = self.call("POST", f"{flow}/targetConnections", {
            "name": name, "connectionSpec": LAKE_SPEC, "data": {"format": "parquet_xdm"},
            "params": {"dataSetId": dataset_id},
        })  # fmt: skip
        mapping_id = None
        transformations = []
        spec = "d8a6f005-7eaf-4153-983e-e8574508b877"
        if mappings is not None:
            mapping = self.call("POST", "/data/foundation/conversion/mappingSets", {
                "version": 0, "outputSchema": {"schemaRef": reference}, "mappings": mappings,
            })  # fmt: skip
            mapping_id = mapping["id"]
            spec = "c1a19761-d2c7-4702-b9fa-fe91f0613e81"
            params = {"mappingId": mapping_id, "mappingVersion": 0}
            transformations = [{"name": "Mapping", "params": params}]
        if source is not None:
            spec = "d69717ba-71b4-4313-b654-49f9cf126d7a"
        created_flow = self.call("POST", f"{flow}/flows", {
            "name": name, "flowSpec": {"id": spec, "version": "1.0"}, "sourceConnectionIds": [source_connection["id"]],
            "targetConnectionIds": [target["id"]], "transformations": transformations,
        })  # fmt: skip
        return Journey(
            connection["id"], item["auth"]["params"].get("inletUrl", ""), schema["$id"], dataset_id, mapping_id,
            created_flow["id"],
        )  # fmt: skip
