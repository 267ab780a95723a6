"""One flow of a pulled source in this process: store, tables and reader are real, only the server around them is not."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.lake.catalog import Lake
from headrace.lake.upkeep import Upkeep
from headrace.model.flow import FlowRevision, Rule
from headrace.runtime.pulling import Pulling
from headrace.runtime.runs import RunHistory
from headrace.security.egress import Egress
from headrace.sources.contract import Settings
from headrace.store.documents import Document, Scope, Store
from headrace.store.revisions import Revisions
from headrace.xdm.fields import Field

SCOPE, FLOW, BASE = Scope("org", "prod"), "flow-1", "base-1"
TREE = Field("object", properties={"n": Field("int"), "key": Field("string")})
RULES = (Rule("ATTRIBUTE", "n", "n"), Rule("ATTRIBUTE", "key", "key"))


class PulledFlow:
    """Reads what `settings` open, with the connector of `spec_id`. `events` are what the worker tells the server."""

    def __init__(
        self, directory: Path, spec_id: str, settings: Settings, rules: tuple[Rule, ...] | None = RULES,
        **payload: str,
    ) -> None:  # fmt: skip
        self.store, self.lake = Store(directory / "headrace.db"), Lake(directory)
        self.store.create(Scope(SCOPE.org, ""), "sandboxes", SCOPE.sandbox, {"name": "prod"})
        auth = {"specName": settings.auth_spec, "params": dict(settings.auth)}
        self.store.create(SCOPE, "connections", BASE, {"state": "enabled", "auth": auth})
        self._source = {"connectionSpec": {"id": spec_id, "version": "1.0"}}
        params = {"connectionId": BASE, "params": dict(settings.params), "reset": "earliest"}
        self._revision = FlowRevision(
            FLOW, 1, SCOPE.org, SCOPE.sandbox, "data-1", "schema-1", "1.0", TREE.to_json(), rules,
            source=spec_id, source_params=params, **payload,
        )  # fmt: skip
        self.add(FLOW, "data-1")
        self.events: list[dict[str, Any]] = []
        self.pulling = Pulling(
            directory,
            self.store,
            self.lake,
            0.1,
            10_000,
            self.events.append,
            Upkeep(self.lake),
            Egress("127.0.0.1"),
        )

    def add(self, id: str, dataset_id: str) -> None:
        """A flow that reads the same into another data set."""
        source = {"id": f"source of {id}", **self._source}
        self.store.create(
            SCOPE, "flows", id,
            {"state": "enabled", "revision": 1, "baseConnectionId": BASE,
             "inheritedAttributes": {"sourceConnections": [source]}},
        )  # fmt: skip
        Revisions(self.store).add(replace(self._revision, flow_id=id, dataset_id=dataset_id))

    def until(self, true: Callable[[], bool], patience: float = 15.0) -> None:
        deadline = time.monotonic() + patience
        while not true():
            assert time.monotonic() < deadline, self.events[-5:]
            if not self.pulling.step():
                time.sleep(0.01)

    def rows(self, failed: bool = False, dataset_id: str = "data-1") -> list[dict[str, Any]]:
        """What is in the data set's table, or in that of failed records, by position."""
        name = f"{dataset_id}_failed" if failed else dataset_id
        return list(self.lake.table(SCOPE.sandbox, name).scan().to_arrow().to_pylist())

    @property
    def landed(self) -> int:
        return int(self.last("flow").get("landed", 0))

    def last(self, kind: str) -> dict[str, Any]:
        return next((event for event in reversed(self.events) if event["event"] == kind), {})

    def told(self, kind: str) -> list[str]:
        return [event["reason"] for event in self.events if event["event"] == kind]

    def change_connection(self, **auth: str) -> None:
        """What a PATCH of the connection leaves in the store."""
        document = self.store.get(SCOPE, "connections", BASE)
        assert document is not None
        body = json.loads(json.dumps(document.body))
        body["auth"]["params"] |= auth
        self.store.replace(SCOPE, "connections", BASE, body)

    def run_metrics(self) -> dict[str, Any]:
        """Metrics of the flow's newest run."""
        history = RunHistory(self.store, 3600, "http://localhost")
        run = history.last(FLOW)
        assert run is not None
        flow = self.store.get(SCOPE, "flows", FLOW)
        assert isinstance(flow, Document)
        item = history.item(SCOPE, flow, run, int(time.time() * 1000))
        found: dict[str, Any] = item["metrics"]
        return found

    def close(self) -> None:
        self.pulling.finish()
        self.store.close()
