"""Calls of inlets by outcome, minute by minute: what the inlet counts in memory, kept in the store."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from headrace.store.documents import Scope, Store

KIND = "inletCalls"
MINUTE, HOUR = 60_000, 3_600_000
OUTCOMES: tuple[Literal["success", "failure"], ...] = ("success", "failure")
Counts = Callable[[], Mapping[str, tuple[int, int]]]


class InletCalls:
    """`counts()` gives successes and failures since the process began, by the names under which inlets were called;
    `inlet_of` tells the sandbox and id of the inlet with a name (None when it is gone). `clock` answers seconds since
    the epoch. Thread-safe."""

    def __init__(
        self, store: Store, counts: Counts, inlet_of: Callable[[str], tuple[Scope, str] | None],
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._store, self._counts, self._inlet_of, self._clock = store, counts, inlet_of, clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[int, int]] = {}

    def keep(self) -> None:
        """Write down what was counted since the last time, in the minute that it is now."""
        with self._lock:
            now = int(self._clock() * 1000)
            for name, counted in self._counts().items():
                before = self._kept.get(name, (0, 0))
                found = self._inlet_of(name) if counted != before else None
                if found is not None:
                    new = (counted[0] - before[0], counted[1] - before[1])
                    self._add(*found, now, new)
                    self._kept[name] = counted

    def _add(self, scope: Scope, inlet: str, now: int, new: tuple[int, int]) -> None:
        hour, minute = now // HOUR * HOUR, str(now % HOUR // MINUTE)
        id = f"{inlet}.{hour}"
        with self._store.transaction():
            found = self._store.get(scope, KIND, id)
            minutes = dict(found.body["minutes"]) if found else {}
            before = minutes.get(minute, (0, 0))
            minutes[minute] = [before[0] + new[0], before[1] + new[1]]
            body = {"inlet": inlet, "hour": hour, "minutes": minutes}
            if found:
                self._store.replace(scope, KIND, id, body)
            else:
                self._store.create(scope, KIND, id, body)


def read_calls(
    store: Store, scope: Scope, outcome: Literal["success", "failure"], since: int, until: int
) -> Iterator[tuple[int, str, int]]:
    """(start of the minute, inlet, calls) in order of time, of minutes that begin between two times, both included."""
    rows = store.connection.execute(
        "SELECT json_extract(d.body, '$.hour') + 60000 * m.key, json_extract(d.body, '$.inlet'),"
        " json_extract(m.value, :place) FROM documents d, json_each(d.body, '$.minutes') m"
        " WHERE d.org=:org AND d.sandbox=:sandbox AND d.kind=:kind AND json_extract(d.body, '$.hour')<=:until"
        " AND json_extract(d.body, '$.hour')>:since - 3600000 ORDER BY 1",
        {"org": scope.org, "sandbox": scope.sandbox, "kind": KIND, "since": since, "until": until,
         "place": f"$[{OUTCOMES.index(outcome)}]"},
    )  # fmt: skip
    for at, inlet, count in rows:
        if count and since <= at <= until:
            yield at, inlet, count
