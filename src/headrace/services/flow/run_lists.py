"""Runs as Flow Service lists them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

from headrace.http.contract import Answer, Call
from headrace.http.paging import ordered
from headrace.http.properties import Filter, Selection, holds
from headrace.runtime.runs import Run, RunHistory, moment
from headrace.services.flow import query, wire
from headrace.services.flow.collection import Collection
from headrace.services.flow.entities import scope_of
from headrace.services.flow.faults import connector, invalid, missing
from headrace.services.flow.query import Items, ListQuery
from headrace.store.documents import Document, Scope

_FOREVER = 1 << 52
_STATUS = "metrics.statusSummary.status"
_TIMES = frozenset(
    {
        "createdAt",
        "updatedAt",
        "metrics.durationSummary.startedAtUTC",
        "metrics.durationSummary.completedAtUTC",
    }
)
"""Fields whose value lies in the run's window."""

_LIGHT = frozenset({"id", "flowId", "createdAt", "updatedAt"})
"""Fields known without reading a commit."""


class RunLists:
    """`flows` are the dataflows whose runs there are; `clock` answers seconds since the epoch."""

    def __init__(self, history: RunHistory, flows: Collection, clock: Callable[[], float]) -> None:
        self._history, self._flows, self._clock = history, flows, clock

    def listed(self, call: Call) -> Answer:
        return self._page(call, query.of_call(call))

    def search(self, call: Call) -> Answer:
        return self._page(call, query.of_search(call))

    def of_flow(self, call: Call) -> Answer:
        """Runs of one dataflow: an older address of the same list."""
        id = call.params["id"]
        if id not in self._flows.documents(scope_of(call.who)):
            raise missing("flows", id)
        return self._page(call, query.of_call(call).narrowed(f"flowId=={id}"))

    def one(self, call: Call) -> Answer:
        scope = scope_of(call.who)
        flow, run = self._find(scope, call.params["id"])
        return wire.one(self._history.item(scope, flow, run, self._now()))

    def create(self, call: Call) -> Answer:
        """On-demand runs are for batch; what is named must exist all the same."""
        body, flows = call.object(), self._flows.documents(scope_of(call.who))
        flow_id = body.get("flowId")
        if not isinstance(flow_id, str) or not flow_id.strip():
            raise invalid(1446, "flowId must not be empty.")
        if flow_id not in flows:
            raise invalid(1430, f"There is no dataflow {flow_id}.")
        predecessors = body.get("predecessors")
        for before in predecessors if isinstance(predecessors, list) else ():
            named = before if isinstance(before, dict) else {}
            if named.get("flowId") not in flows:
                raise invalid(1429, f"There is no preceding dataflow {named.get('flowId')}.")
            flow = str(named["flowId"])
            if self._history.find((flow,), str(named.get("flowRunId"))) is None:
                raise invalid(1428, f"There is no preceding run {named.get('flowRunId')}.")
        raise connector(1385, "Streaming dataflows cannot have on-demand runs.")

    def replace(self, call: Call) -> Answer:
        self._find(scope_of(call.who), call.params["id"])
        raise invalid(1427, "Users cannot write runs; the server does.")

    def act(self, call: Call) -> Answer:
        """Nothing of a stream can be fetched again by its run."""
        self._find(scope_of(call.who), call.params["id"])
        op = (call.value("op") or "").strip().lower()
        if op != "re_trigger":
            raise invalid(1434, f"op '{op}' is unknown; known is re_trigger.")
        raise connector(1333, "Runs of streaming dataflows cannot be triggered again.")

    def detailed(self, flow: Document, item: dict[str, Any]) -> dict[str, Any]:
        """A dataflow's item with `lastRunDetails`, when it ever ran."""
        found = self._history.details(flow, self._now())
        return item if found is None else {**item, "lastRunDetails": found}

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _find(self, scope: Scope, id: str) -> tuple[Document, Run]:
        flows = self._flows.documents(scope)
        run = self._history.find(flows, id)
        if run is None:
            raise missing("runs", id)
        return flows[run.flow_id], run

    def _page(self, call: Call, wanted: ListQuery) -> Answer:
        scope = scope_of(call.who)
        filters = tuple(_aliased(condition) for condition in wanted.selection.filters)
        order = [
            replace(key, field=_STATUS) if key.field == "state" else key for key in wanted.order
        ]
        selection = Selection(filters, wanted.selection.keys)
        found = replace(wanted, selection=selection, order=order)
        return query.answer("/runs", found, lambda: self._matching(scope, found))

    def _matching(self, scope: Scope, wanted: ListQuery) -> Items:
        """In order of time window after window is read until the page is full; in other orders all at once."""
        filters = wanted.selection.filters
        light = [condition for condition in filters if condition.path in _LIGHT]
        heavy = [condition for condition in filters if condition.path not in _LIGHT]
        flows = _named(self._flows.documents(scope), filters)
        low, high = self._bounds(filters)
        keys, now = wanted.order, self._now()
        by_time = keys[0].field == "createdAt" and len(keys) == 1
        ascending = by_time and not keys[0].descending
        edge = _moment_after(wanted) if by_time and wanted.after is not None else None
        if edge is not None:
            low, high = (max(low, edge), high) if ascending else (low, min(high, edge))

        def runs() -> Iterator[list[dict[str, Any]]]:
            """Runs that began in the same millisecond, one such group after another."""
            windows = self._history.windows(flows, low, high, ascending=ascending)
            every = (run for window in windows for run in window)
            if edge is not None:
                every = (r for r in every if (r.first >= edge if ascending else r.first <= edge))
            for _, together in groupby(every, lambda run: run.first):
                yield [
                    stub for stub in map(_stub, together)
                    if all(holds(condition, stub) for condition in light)
                ]  # fmt: skip

        def whole(stub: dict[str, Any]) -> dict[str, Any]:
            run: Run = stub["run"]
            return self._history.item(scope, flows[run.flow_id], run, now)

        if by_time and wanted.count and not heavy:
            yield from (stub for stubs in runs() for stub in stubs)
            return
        if by_time:
            items = (whole(stub) for stubs in runs() for stub in ordered(stubs, keys, wanted.after))
            yield from (item for item in items if all(holds(c, item) for c in heavy))
            return
        everything = [whole(stub) for stubs in runs() for stub in stubs]
        accepted = [item for item in everything if all(holds(c, item) for c in heavy)]
        yield from ordered(accepted, keys, wanted.after)

    def _bounds(self, filters: tuple[Filter, ...]) -> tuple[int, int]:
        """The times between which the runs that can match have their windows."""
        low, high = 0, _FOREVER
        for condition in filters:
            if condition.path == "id" and condition.op == "==":
                times = [ms for ms in map(moment, condition.values) if ms is not None]
                low, high = max(low, min(times, default=_FOREVER)), min(high, max(times, default=0))
            elif condition.path in _TIMES and condition.op != "!=":
                value = int(condition.values[0])
                if condition.op in (">", ">=", "=="):
                    low = max(low, value)
                if condition.op in ("<", "<=", "=="):
                    high = min(high, value)
        return max(low, 0), min(high, _FOREVER)


def _moment_after(wanted: ListQuery) -> int:
    """When the last run of the page before began."""
    try:
        assert wanted.after is not None
        return int(wanted.after[0][1])
    except (TypeError, ValueError, IndexError, KeyError):
        raise ValueError("the continuation token does not fit the order") from None


def _stub(run: Run) -> dict[str, Any]:
    return {
        "id": run.id,
        "flowId": run.flow_id,
        "createdAt": run.first,
        "updatedAt": run.last,
        "run": run,
    }


def _aliased(condition: Filter) -> Filter:
    return replace(condition, path=_STATUS) if condition.path == "state" else condition


def _named(flows: Mapping[str, Document], filters: tuple[Filter, ...]) -> Mapping[str, Document]:
    """The flows that the filters on `flowId` leave."""
    for condition in filters:
        if condition.path == "flowId" and condition.op == "==":
            flows = {id: flows[id] for id in dict.fromkeys(condition.values) if id in flows}
    return flows
