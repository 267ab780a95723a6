"""Flow Service alone, with a store and without a socket, for its tests."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.http.application import build
from headrace.http.gateway import Gateway
from headrace.model.flow import Rule
from headrace.security.egress import Egress
from headrace.security.tokens import Tokens
from headrace.security.vault import Vault
from headrace.services.flow import FlowService, routes
from headrace.store.bootstrap import bootstrap
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.testing.calls import InProcess
from headrace.xdm.fields import Field

BASE = "/data/foundation/flowservice"
HTTP = {"id": "bc7b00d6-623a-4dfc-9fdb-f1240aeadaeb", "version": "1.0"}
LAKE = {"id": "c604ff05-7f1a-43c0-8e18-33bf874cb11c", "version": "1.0"}
SNOWFLAKE = {"id": "51ae16c2-bdad-42fd-9fce-8d5dfddaf140", "version": "1.0"}
KINESIS = {"id": "86043421-563b-46ec-8e6c-e23184711bf6", "version": "1.0"}
GENERIC = {"id": "e77fd9d2-22a8-11ed-861d-0242ac120002", "version": "1.0"}
MAPPED = {"id": "c1a19761-d2c7-4702-b9fa-fe91f0613e81", "version": "1.0"}
PLAIN = {"id": "d8a6f005-7eaf-4153-983e-e8574508b877", "version": "1.0"}
HOUR = 3_600_000


@dataclass
class Mapping:
    version: int = 0
    rules: tuple[Rule, ...] = ()
    allow_null_values: bool = False
    schema_id: str = "s"


class Site:
    """Data set `d` of schema `s` exists, and the mapping sets `m` (for it) and `other` (for another)."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self.store = Store(directory / "store.db")
        installation = bootstrap(self.store, directory, "http://localhost")
        tokens, self.revisions = Tokens(b"k" * 32), Revisions(self.store)
        self.vault = Vault.at(directory / "vault.key", self.store)
        mappings = {"m": Mapping(), "other": Mapping(schema_id="another")}
        self.service = FlowService(
            self.store, self.revisions, self.vault, Egress(), "http://localhost",
            datasets=lambda scope, id: {"schemaRef": {"id": "s"}} if id == "d" else None,
            schema_tree=lambda scope, id: (id, "1.0", Field("object")),
            mapping_set=lambda scope, id, version: mappings.get(id) if version in (None, 0) else None,
            on_change=lambda: None, clock=clock,
        )  # fmt: skip
        gateway = Gateway(self.store, tokens, "off", installation)
        self.client = json.loads((directory / "credentials.json").read_text())
        self.scope = Scope(self.client["org_id"], "prod")
        headers = {"x-api-key": self.client["client_id"], "x-gw-ims-org-id": self.client["org_id"]}
        self.web = InProcess(build(routes(self.service), gateway, title="t"), headers)

    def post(self, path: str, body: dict[str, Any]) -> str:
        """Create something; its id."""
        answer = self.web.post(BASE + path, json=body)
        assert answer.status_code == 201, answer.text
        assert set(answer.json()) == {"id", "etag"}
        return str(answer.json()["id"])

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        options: dict[str, Any] = {} if body is None else {"json": body}
        return self.web.request(method, BASE + path, headers=headers, **options)

    def get(self, path: str) -> Any:
        """The body of an answer that must be there."""
        answer = self.web.get(BASE + path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def item(self, path: str) -> dict[str, Any]:
        (found,) = self.get(path)["items"]
        return dict(found)

    def change(self, path: str, *operations: dict[str, Any]) -> httpx.Response:
        """PATCH under the current etag."""
        headers = {"if-match": self.item(path)["etag"]}
        return self.web.patch(BASE + path, json=list(operations), headers=headers)

    def publish(self, kind: str, id: str) -> httpx.Response:
        return self.web.post(f"{BASE}/{kind}/{id}/action?op=publish")

    def base(self, data_type: str = "xdm", **more: Any) -> str:
        auth = {"specName": "Streaming Connection", "params": {"dataType": data_type}}
        return self.post(
            "/connections", {"name": "b", "connectionSpec": HTTP, "auth": auth, **more}
        )

    def source(self, base: str, **more: Any) -> str:
        body = {"name": "s", "baseConnectionId": base, "connectionSpec": HTTP, **more}
        return self.post("/sourceConnections", body)

    def target(self, **more: Any) -> str:
        body = {"name": "t", "connectionSpec": LAKE, "params": {"dataSetId": "d"}, **more}
        return self.post("/targetConnections", body)

    def flow(self, source: str, target: str, name: str = "f", **more: Any) -> str:
        ends = {"sourceConnectionIds": [source], "targetConnectionIds": [target]}
        return self.post("/flows", {"name": name, "flowSpec": PLAIN, **ends, **more})

    def commit(
        self, flow: str, at: int, records: int = 1, failed: int = 0, *, started: int | None = None
    ) -> None:
        """A commit of a flow as the worker would write it down. `at`: milliseconds since the epoch."""
        body = {
            "records": records, "failed": failed, "warnings": 0, "bytes": 10 * records, "files": ["f"],
            "input_bytes": 20 * records, "started": at - 5 if started is None else started,
            "received": at - 9 if started is None else started - 4, "warningInfo": [],
            "errors": [{"code": "E", "description": "why", "recordCount": failed}] if failed else [],
        }  # fmt: skip
        kind = "failed" if failed else "good"
        number = self.store.connection.execute("SELECT count(*) FROM commits").fetchone()[0]
        row = (f"c{number}-{kind}", f"batch{number}", flow, "d", kind, at, json.dumps(body))
        self.store.connection.execute("INSERT INTO commits VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def code(answer: httpx.Response) -> str:
    return str(answer.json()["type"].rsplit("/", 1)[1])
