"""Flow Service put together."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from headrace.http.contract import Answer, Call
from headrace.http.paging import ordered
from headrace.http.properties import Selection
from headrace.runtime.runs import RunHistory
from headrace.security.egress import Egress
from headrace.security.vault import Vault
from headrace.services.flow import query, wire
from headrace.services.flow.collection import Collection
from headrace.services.flow.connections import Connections
from headrace.services.flow.entities import Entities, scope_of, settled
from headrace.services.flow.explore import Explorer
from headrace.services.flow.faults import invalid
from headrace.services.flow.flows import Datasets, Flows, Mappings, SchemaTree
from headrace.services.flow.legs import Legs
from headrace.services.flow.query import Items, ListQuery
from headrace.services.flow.run_lists import RunLists
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions

_USED_BY = {
    "connections": (1418, "$.baseConnectionId"),
    "sourceConnections": (1447, "$.sourceConnectionIds[0]"),
    "targetConnections": (1447, "$.targetConnectionIds[0]"),
}
"""Kind → code when it is in use, and where a dataflow names what it uses."""


_DETAILS = "lastRunDetails"


class FlowService:
    """`run_window`: seconds that one run of a streaming flow spans. `clock` answers seconds since the epoch."""

    def __init__(
        self, store: Store, revisions: Revisions, vault: Vault, egress: Egress, public_url: str,
        datasets: Datasets, schema_tree: SchemaTree, mapping_set: Mappings,
        on_change: Callable[[], None], run_window: int = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._on_change = store, on_change
        self.flows = Flows(
            store, revisions, datasets, schema_tree, mapping_set, on_change,
            lambda scope, id, params: self.connections.settings(scope, id, params),
        )  # fmt: skip
        self.connections = Connections(
            store, vault, egress, public_url, on_change, self.flows.refresh_connection
        )
        self.sources = Legs(store, "sourceConnections")
        self.targets = Legs(store, "targetConnections")
        self.explorer = Explorer(self.connections.entities, self.connections.settings)
        self._items = {
            "connections": self.connections.item,
            "sourceConnections": self.sources.item,
            "targetConnections": self.targets.item,
            "flows": self.flows.item,
        }
        self.lists = {kind: Collection(store, kind, item) for kind, item in self._items.items()}
        history = RunHistory(store, run_window, public_url)
        self.runs = RunLists(history, self.lists["flows"], clock)

    def refresh_schema(self, scope: Scope, schema_id: str) -> None:
        """A new revision for every flow whose target uses the schema."""
        self.flows.refresh_schema(scope, schema_id)

    def listing(self, kind: str, parse: Callable[[Call], ListQuery]) -> Callable[[Call], Answer]:
        """The handler that lists a kind, with its query read by `parse`."""

        def listed(call: Call) -> Answer:
            wanted, scope = parse(call), scope_of(call.who)
            snapshot, documents = self.lists[kind].current(scope)
            keys = wanted.selection.keys
            details = kind == "flows" and (keys is None or _DETAILS in keys)

            def finish(item: dict[str, Any]) -> dict[str, Any]:
                return self.runs.detailed(documents[item["id"]], item) if details else item

            def detailed() -> Items:
                """What the details of runs decide is looked at last, and no further than the page goes."""
                by_details = any(key.field.split(".")[0] == _DETAILS for key in wanted.order)
                light = tuple(
                    f for f in wanted.selection.filters if not f.path.startswith(_DETAILS)
                )
                first = replace(wanted, selection=Selection(light))
                if by_details:
                    first = replace(first, order=query.NEWEST_FIRST, after=None)
                found = (
                    self.runs.detailed(documents[item["id"]], item)
                    for item in snapshot.matching(first)
                )
                accepted = (item for item in found if wanted.selection.accepts(item))
                if by_details:
                    return iter(ordered(list(accepted), wanted.order, wanted.after))
                return accepted

            if kind == "flows" and wanted.mentions(_DETAILS):
                return query.answer(f"/{kind}", wanted, detailed)
            return query.answer(f"/{kind}", wanted, lambda: snapshot.matching(wanted), finish)

        return listed

    def reading(self, kind: str) -> Callable[[Call], Answer]:
        """The handler that reads one of a kind."""
        entities, render = Entities(self._store, kind), self._items[kind]

        def read(call: Call) -> Answer:
            found = entities.get(scope_of(call.who), call.params["id"])
            item = render(found)
            return wire.one(self.runs.detailed(found, item) if kind == "flows" else item)

        return read

    def deletion(self, kind: str) -> Callable[[Call], Answer]:
        """The handler that deletes one of a kind unless a dataflow uses it."""
        entities = Entities(self._store, kind)
        number, path = _USED_BY[kind]

        def delete(call: Call) -> Answer:
            scope = scope_of(call.who)
            with self._store.transaction():
                document = entities.get(scope, call.params["id"])
                entities.guard(call, document, required=False)
                settled(document, 1417 if kind == "connections" else 1458)
                user = self._store.first_with(scope, "flows", path, document.id)
                if user is not None:
                    raise invalid(number, f"The dataflow {user} uses it.")
                self._store.delete(scope, kind, document.id)
            self._on_change()
            return Answer(204)

        return delete
