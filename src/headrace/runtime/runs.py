"""Runs of streaming flows, computed from commits: one a flow and time window in which something was committed, or in
which the flow stopped.

Windows are aligned to multiples of their length since the epoch. Which windows there are, and when the first and
last commit of each was, comes from indexes alone; the bodies of commits are read only for runs that are answered,
and what was made of them is kept until the window gets another commit.
"""

import hashlib
import json
import threading
import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.runtime.run_metrics import Commit, measured
from headrace.runtime.stops import Stop, Stops
from headrace.store.documents import Document, Scope, Store

NARROW = 64
"""Up to so many flows are looked up one by one; for more, each window is read over all flows."""

KEPT = 2048
"""Measured runs that are remembered."""

DETAILS_KEPT = 20_000
"""Flows whose newest run is remembered."""

WINDOWS_KEPT = 4
"""Windows whose runs, over all flows, are remembered."""


@dataclass(frozen=True, slots=True)
class Run:
    """One flow in one window. Milliseconds since the epoch; `commits` counts rows of commits, `stops` began in it."""

    flow_id: str
    start: int
    length: int
    first: int
    last: int
    commits: int
    stops: tuple[Stop, ...] = ()

    @property
    def id(self) -> str:
        """A UUID of version 7: the window's start, then digits that follow from the flow."""
        digest = hashlib.sha256(f"{self.flow_id}:{self.start}".encode()).hexdigest()
        return _uuid7(self.start, digest)


def _uuid7(ms: int, digest: str) -> str:
    head = f"{ms:012x}"
    variant = "89ab"[int(digest[3], 16) & 3]
    return f"{head[:8]}-{head[8:]}-7{digest[:3]}-{variant}{digest[4:7]}-{digest[7:19]}"


def moment(run_id: str) -> int | None:
    """The time inside a run's window that its id tells; None when it is not the id of a run."""
    digits = run_id.replace("-", "")
    if len(digits) != 32 or len(run_id) != 36 or digits[12] != "7":
        return None
    try:
        return int(digits[:12], 16)
    except ValueError:
        return None


class RunHistory:
    """The runs of a store, thread-safe. `base_url` begins the links to failed records."""

    def __init__(self, store: Store, window_seconds: int, base_url: str) -> None:
        self._store = store
        self.length = window_seconds * 1000
        self._url = f"{base_url.rstrip('/')}/data/foundation/export/batches"
        self._lock = threading.Lock()
        self._stops = Stops(store)
        self._details: dict[str, tuple[tuple[Run, bool], dict[str, Any]]] = {}
        self._windows: dict[int, tuple[tuple[Any, ...], Sequence[Run]]] = {}
        self._measured: dict[tuple[str, int], tuple[tuple[Any, ...], dict[str, Any]]] = {}

    def window(self, ms: int) -> int:
        """The start of the window that a time is in."""
        return ms // self.length * self.length

    def windows(
        self, flows: Collection[str], oldest: int, newest: int, *, ascending: bool = False
    ) -> Iterator[Iterator[Run]]:
        """The flows' runs of one window after another, newest window first, between two times (inclusive).

        Within a window they come in order of their first commit, in the same direction.
        """
        low, high = self.window(oldest), self.window(newest) + self.length - 1
        narrow = len(flows) <= NARROW
        while low <= high:
            edge = self._edge(flows if narrow else None, low, high, ascending)
            if edge is None:
                return
            start = self.window(edge)
            found = self._in_window(flows, narrow, start)
            yield (run for run in (found if ascending else reversed(found)) if run.flow_id in flows)
            if ascending:
                low = start + self.length
            else:
                high = start - 1

    def last(self, flow_id: str) -> Run | None:
        """The newest run of a flow."""
        edge = self._edge((flow_id,), 0, 1 << 62, ascending=False)
        return None if edge is None else self._in_window((flow_id,), True, self.window(edge))[0]

    def find(self, flows: Collection[str], run_id: str) -> Run | None:
        """The run of one of the flows with that id."""
        ms = moment(run_id)
        if ms is None:
            return None
        runs = self._in_window(flows, len(flows) <= NARROW, self.window(ms))
        return next((run for run in runs if run.id == run_id and run.flow_id in flows), None)

    def _edge(
        self, flows: Collection[str] | None, low: int, high: int, ascending: bool
    ) -> int | None:
        """The first or last commit or stop between two times."""
        word, best = ("min", min) if ascending else ("max", max)
        query = f"SELECT {word}(committed) FROM commits WHERE committed>=? AND committed<=?"
        db = self._store.connection
        if flows is None:
            found = [db.execute(query, (low, high)).fetchone()[0]]
        else:
            query += " AND flow_id=?"
            found = [db.execute(query, (low, high, flow)).fetchone()[0] for flow in flows]
        stops = self._stops.all()
        found += [
            stop.at
            for flow in (stops if flows is None else stops.keys() & set(flows))
            for stop in stops[flow]
            if low <= stop.at <= high
        ]
        known = [ms for ms in found if ms is not None]
        return best(known) if known else None

    def _in_window(self, flows: Collection[str], narrow: bool, start: int) -> Sequence[Run]:
        """The runs of one window by their first commit: of the flows, or unless `narrow` of all there are."""
        where, values = "committed>=? AND committed<?", [start, start + self.length]
        if narrow:
            where += f" AND flow_id IN ({','.join('?' * len(flows))})"
            return self._grouped(where, [*values, *flows], start, flows)
        state = self._store.connection.execute(
            f"SELECT count(*), max(committed) FROM commits WHERE {where}", values
        ).fetchone()
        state = (*state, *self._stops.state())
        kept = self._windows.get(start)
        if kept is None or kept[0] != state:
            kept = (state, self._grouped(where, values, start, None))
            with self._lock:
                _remember(self._windows, start, kept, WINDOWS_KEPT)
        return kept[1]

    def _grouped(
        self, where: str, values: list[Any], start: int, flows: Collection[str] | None
    ) -> Sequence[Run]:
        rows = self._store.connection.execute(
            "SELECT flow_id, min(committed), max(committed), count(*) FROM commits"
            f" WHERE {where} GROUP BY flow_id ORDER BY 2",
            values,
        )
        runs = [Run(id, start, self.length, first, last, count) for id, first, last, count in rows]
        stopped = {
            id: inside
            for id, stops in self._stops.all().items()
            if (flows is None or id in flows)
            and (inside := tuple(s for s in stops if start <= s.at < start + self.length))
        }
        if not stopped:
            return runs
        known = {run.flow_id: run for run in runs}
        for id, stops in stopped.items():
            known[id] = self._with_stops(known.get(id), start, stops)
        return sorted(known.values(), key=lambda run: run.first)

    def _with_stops(self, run: Run | None, start: int, stops: tuple[Stop, ...]) -> Run:
        """The run with its stops among its first and last moments, which lie in its window."""
        times = [stop.at for stop in stops]
        times += [s.until for s in stops if s.until is not None and s.until < start + self.length]
        times += [run.first, run.last] if run else []
        count = run.commits if run else 0
        return Run(stops[0].flow_id, start, self.length, min(times), max(times), count, stops)

    def item(self, scope: Scope, flow: Document, run: Run, now: int) -> dict[str, Any]:
        """The run as Flow Service answers it; `now`: milliseconds since the epoch."""
        body = flow.body
        who = ("createdBy", "updatedBy", "createdClient", "updatedClient", "sandboxId")
        found = self._measure(flow, run, now)
        state = found["metrics"]["statusSummary"]["status"]
        tag = zlib.crc32(f"{run.id}:{run.commits}:{run.last}:{state}:{len(run.stops)}".encode())
        return {
            "id": run.id,
            "createdAt": run.first,
            "updatedAt": run.last,
            **{name: body[name] for name in who if name in body},
            "sandboxName": scope.sandbox,
            "imsOrgId": scope.org,
            "flowId": run.flow_id,
            "flowSpec": body.get("flowSpec"),
            "etag": f'"{tag:08x}-0000-0200-0000-{run.last // 1000:08x}0000"',
            **found,
        }

    def details(self, flow: Document, now: int) -> dict[str, Any] | None:
        """What a flow's item says of its newest run; None when there is none."""
        run = self.last(flow.id)
        if run is None:
            return None
        state = (run, now >= run.start + run.length)
        kept = self._details.get(flow.id)
        if kept is None or kept[0] != state:
            metrics = self._measure(flow, run, now)["metrics"]
            outcome = metrics["statusSummary"]
            found = {"id": run.id, "state": outcome["status"], **metrics["durationSummary"]}
            kept = (state, found | ({"errors": outcome["errors"]} if run.stops else {}))
            with self._lock:
                _remember(self._details, flow.id, kept, DETAILS_KEPT)
        return kept[1]

    def _measure(self, flow: Document, run: Run, now: int) -> dict[str, Any]:
        """Metrics and activities; the same as long as the window has the same commits and is open or over."""
        key = (run.flow_id, run.start)
        over = now >= run.start + run.length
        state = (run.first, run.last, run.commits, over, run.stops)
        kept = self._measured.get(key)
        if kept is not None and kept[0] == state:
            return kept[1]
        rows = self._store.connection.execute(
            "SELECT batch_id, committed, kind, body FROM commits"
            " WHERE flow_id=? AND committed>=? AND committed<? ORDER BY committed",
            (run.flow_id, run.start, run.start + run.length),
        )
        commits = [Commit(id, at, kind, json.loads(text)) for id, at, kind, text in rows]
        activity = _uuid7(run.start, hashlib.sha256(f"{run.id}:activity".encode()).hexdigest())
        found = measured(flow.body, run.start, commits, run.stops, over, activity, self._url)
        with self._lock:
            _remember(self._measured, key, (state, found), KEPT)
        return found


def _remember(kept: dict[Any, Any], key: Any, value: Any, most: int) -> None:
    while len(kept) >= most:
        kept.pop(next(iter(kept)))
    kept[key] = value
