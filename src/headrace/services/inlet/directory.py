"""What the inlet must know of connections, flows and data sets, kept in memory and rebuilt after each change."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from headrace.model.flow import FlowRevision
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions
from headrace.xdm.fields import Field


@dataclass(frozen=True, slots=True)
class Inlet:
    """One HTTP API base connection. `flows` are the ids of its enabled flows."""

    id: str
    scope: Scope
    connection_id: str
    authentication_required: bool
    flows: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FlowEntry:
    revision: FlowRevision
    connection_id: str | None
    enabled: bool


class Directory:
    """Thread-safe. `schema_tree(scope, id)` → ($id, version, field tree)."""

    def __init__(
        self,
        store: Store,
        revisions: Revisions,
        schema_tree: Callable[[Scope, str], tuple[str, str, Field]],
        dataset: Callable[[Scope, str], dict[str, object] | None],
    ) -> None:
        self._store = store
        self._revisions = revisions
        self._schema_tree = schema_tree
        self._dataset = dataset
        self._lock = threading.Lock()
        self._stale = True
        self._inlets: dict[str, Inlet] = {}
        self._flows: dict[str, FlowEntry] = {}
        self._direct: dict[tuple[str, str], FlowRevision | None] = {}

    def changed(self) -> None:
        """Something of the control plane changed: look again before the next answer."""
        self._stale = True

    def inlet(self, id: str) -> Inlet | None:
        """By inlet id or by the id of its base connection."""
        return self._fresh()._inlets.get(id)

    def flow(self, id: str) -> FlowEntry | None:
        return self._fresh()._flows.get(id)

    def direct(self, inlet: Inlet, dataset_id: str) -> FlowRevision | None:
        """The revision for XDM messages that name a data set and no flow; None when there is no such data set.

        They are accounted under the pseudo flow `dataset-<id>`.
        """
        self._fresh()
        key = (inlet.id, dataset_id)
        if key not in self._direct:
            self._direct[key] = self._make_direct(inlet.scope, dataset_id)
        return self._direct[key]

    def _make_direct(self, scope: Scope, dataset_id: str) -> FlowRevision | None:
        found = self._dataset(scope, dataset_id)
        reference = found.get("schemaRef") if found else None
        if not isinstance(reference, dict):
            return None
        schema_id, version, tree = self._schema_tree(scope, str(reference["id"]))
        flow_id = f"dataset-{dataset_id}"
        latest = self._revisions.latest(flow_id)
        wanted = FlowRevision(
            flow_id=flow_id, revision=latest.revision if latest else 0, org_id=scope.org,
            sandbox=scope.sandbox, dataset_id=dataset_id, schema_id=schema_id, schema_version=version,
            schema=tree.to_json(), rules=None, payload="xdm",
        )  # fmt: skip
        if latest is None or wanted != latest:
            wanted = replace(wanted, revision=wanted.revision + 1)
            self._revisions.add(wanted)
        return wanted

    def _fresh(self) -> "Directory":
        if self._stale:
            with self._lock:
                if self._stale:
                    self._stale = False
                    self._rebuild()
        return self

    def _rebuild(self) -> None:
        flows: dict[str, FlowEntry] = {}
        by_connection: dict[str, list[str]] = {}
        for _, document in self._store.everywhere("flows"):
            body = document.body
            revision = self._revisions.latest(document.id)
            if revision is None:
                continue
            connection = body.get("baseConnectionId")
            enabled = body.get("state") == "enabled"
            flows[document.id] = FlowEntry(revision, connection, enabled)
            if enabled and connection:
                by_connection.setdefault(connection, []).append(document.id)
        inlets: dict[str, Inlet] = {}
        for scope, document in self._store.everywhere("connections"):
            parameters = document.body.get("auth", {}).get("params", {})
            inlet_id = parameters.get("inletId")
            if inlet_id and document.body.get("state") == "enabled":
                inlet = Inlet(
                    inlet_id, scope, document.id, bool(parameters.get("authenticationRequired")),
                    tuple(by_connection.get(document.id, ())),
                )  # fmt: skip
                inlets[inlet_id] = inlets[document.id] = inlet
        self._flows, self._inlets, self._direct = flows, inlets, {}
