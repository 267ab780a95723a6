"""Exploring what a connection reaches."""

from headrace.http.contract import Answer, Call
from headrace.services.flow import specs
from headrace.services.flow.entities import Entities, scope_of
from headrace.services.flow.faults import connector

_TYPES = ("root", "table", "file", "folder", "rest")
_NOTHING_THERE = (specs.HTTP, specs.GENERIC, specs.DATA_LAKE)


class Explorer:
    """Answers for base connections; ApiError says why there is nothing to see."""

    def __init__(self, connections: Entities) -> None:
        self._connections = connections

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
        raise self._not_built(spec["name"])

    def configs(self, call: Call) -> Answer:
        """Columns of a connection that has them; 1398 where messages have no fixed form."""
        spec = self._spec(call)
        if spec["id"] in _NOTHING_THERE:
            raise connector(1398, f"{spec['name']} has no configurations.")
        raise self._not_built(spec["name"])

    def _spec(self, call: Call) -> dict[str, object]:
        document = self._connections.get(scope_of(call.who), call.params["id"])
        return specs.BY_ID[document.body["connectionSpec"]["id"]]

    @staticmethod
    def _not_built(name: object) -> Exception:
        return connector(1305, f"{name} is not built into this version; nothing was explored.")
