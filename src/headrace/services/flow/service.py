"""Flow Service put together."""

from collections.abc import Callable
from typing import Any

from headrace.http.contract import Answer, Call
from headrace.security.egress import Egress
from headrace.security.vault import Vault
from headrace.services.flow.connections import Connections, Legs
from headrace.services.flow.entities import Entities, scope_of
from headrace.services.flow.faults import invalid
from headrace.services.flow.flows import Datasets, Flows, Mappings, SchemaTree
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions

Runs = Callable[[Scope], list[dict[str, Any]]]
_IN_USE = {"connections": 1418, "sourceConnections": 1447, "targetConnections": 1447}


class FlowService:
    """`runs` answers the finished run items of a sandbox."""

    def __init__(
        self, store: Store, revisions: Revisions, vault: Vault, egress: Egress, public_url: str,
        datasets: Datasets, schema_tree: SchemaTree, mapping_set: Mappings, runs: Runs,
        on_change: Callable[[], None],
    ) -> None:  # fmt: skip
        self._store, self.runs, self._on_change = store, runs, on_change
        self.connections = Connections(store, vault, egress, public_url, on_change)
        self.sources = Legs(store, "sourceConnections")
        self.targets = Legs(store, "targetConnections")
        self.flows = Flows(store, revisions, datasets, schema_tree, mapping_set, on_change)

    def refresh_schema(self, scope: Scope, schema_id: str) -> None:
        """A new revision for every flow whose target uses the schema."""
        self.flows.refresh_schema(scope, schema_id)

    def deletion(self, kind: str) -> Callable[[Call], Answer]:
        """The handler that deletes one of a kind unless a dataflow uses it."""
        entities = Entities(self._store, kind)

        def delete(call: Call) -> Answer:
            scope = scope_of(call.who)
            with self._store.transaction():
                document = entities.get(scope, call.params["id"])
                entities.guard(call, document, required=False)
                for flow in self._store.list(scope, "flows"):
                    used = flow.body.get("baseConnectionId")
                    if kind != "connections":
                        used = flow.body[f"{kind[:-1]}Ids"][0]
                    if used == document.id:
                        raise invalid(_IN_USE[kind], f"The dataflow {flow.id} uses it.")
                self._store.delete(scope, kind, document.id)
            self._on_change()
            return Answer(204)

        return delete
