"""Exploring what a connection reaches."""

from collections.abc import Callable, Mapping
from typing import Any

from headrace.errors import Terminal, Transient
from headrace.http.contract import Answer, Call
from headrace.services.flow import specs
from headrace.services.flow.entities import Entities, scope_of
from headrace.services.flow.faults import connector
from headrace.sources.connectors import connector as connector_of
from headrace.sources.connectors import known
from headrace.sources.contract import Settings
from headrace.store.documents import Scope

_TYPES = ("root", "table", "file", "folder", "rest")
_NOTHING_THERE = (specs.HTTP, specs.GENERIC, specs.DATA_LAKE)


class Explorer:
    """Answers for base connections; ApiError says why there is nothing to see."""

    def __init__(
        self,
        connections: Entities,
        settings: Callable[[Scope, str, Mapping[str, Any]], Settings],
    ) -> None:
        self._connections = connections
        self._settings = settings

    def explore(self, call: Call) -> Answer:
        """1336 where messages are sent to us: there is nothing to list. 1305 where the connector is not built."""
        spec = self._spec(call)
        if spec["id"] in _NOTHING_THERE:
            raise connector(1336, f"{spec['name']} cannot be explored.")
        kind = (call.value("objectType") or "").strip().lower()
        if not kind:
            raise connector(1304, "objectType is required.")
        if kind not in _TYPES:
            raise connector(1358, f"objectType must be one of: {', '.join(_TYPES)}.")
        if kind != "root" and not (call.value("object") or "").strip():
            raise connector(1337, f"object is required with objectType {kind}.")
        if not known(str(spec["id"])):
            raise self._not_built(spec["name"])
        object = (call.value("object") or "").strip() or None
        settings = self._settings(scope_of(call.who), call.params["id"], {})
        try:
            found = connector_of(str(spec["id"])).explore(
                settings, None if kind == "root" else object
            )
        except (Terminal, Transient) as error:
            raise connector(1000, f"Exploring failed: {error}") from None
        if kind == "root":
            return Answer(200, list(found))
        return Answer(200, {"format": "hierarchical", "data": list(found)})

    def configs(self, call: Call) -> Answer:
        """Columns of a connection that has them; 1398 where messages have no fixed form."""
        spec = self._spec(call)
        if spec["id"] in _NOTHING_THERE or known(str(spec["id"])):
            raise connector(1398, f"{spec['name']} has no configurations.")
        raise self._not_built(spec["name"])

    def _spec(self, call: Call) -> dict[str, object]:
        document = self._connections.get(scope_of(call.who), call.params["id"])
        return specs.BY_ID[document.body["connectionSpec"]["id"]]

    @staticmethod
    def _not_built(name: object) -> Exception:
        return connector(1305, f"{name} is not built into this version; nothing was explored.")
