"""Why flows ended by themselves, remembered: a run tells it also when the flow goes on again, or the server did."""

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.logs import fields
from headrace.model.ids import uuid_text
from headrace.store.documents import Document, Store

logger = logging.getLogger("headrace")
KIND = "stops"
KEPT = 20
"""Stops that are remembered of one flow: the newest."""


@dataclass(frozen=True, slots=True)
class Stop:
    """`at` and `until` in milliseconds since the epoch; `until` is None as long as the flow stands still."""

    flow_id: str
    at: int
    until: int | None
    reason: str


class Stops:
    """The stops of a store, thread-safe. `clock` answers seconds since the epoch."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._lock = threading.Lock()
        self._kept: tuple[Any, Mapping[str, Sequence[Stop]]] = (None, {})

    def note(self, flow_id: str, reason: str | None) -> None:
        """The flow stands still for a reason, or (None) no more; telling it again changes nothing."""
        found = self._store.find("flows", flow_id)
        if found is None:
            return
        scope, now = found[0], int(self._clock() * 1000)
        with self._store.transaction():
            mine = [d for d in self._store.list(scope, KIND) if d.body["flowId"] == flow_id]
            open_ = [d for d in mine if d.body["until"] is None]
            if any(d.body["reason"] == reason for d in open_):
                return
            for document in open_:
                # no stop ends before it began, though the clock may have been put back
                until = max(now, document.body["at"])
                self._store.replace(scope, KIND, document.id, {**document.body, "until": until})
            if reason is None:
                return
            body = {"flowId": flow_id, "at": now, "until": None, "reason": reason}
            self._store.create(scope, KIND, uuid_text(), body)
            for document in mine[: max(0, len(mine) + 1 - KEPT)]:
                self._store.delete(scope, KIND, document.id)

    def forget(self, flow_id: str) -> None:
        """The flow is deleted."""
        with self._store.transaction():
            for scope, document in self._store.everywhere(KIND):
                if document.body["flowId"] == flow_id:
                    self._store.delete(scope, KIND, document.id)

    def state(self) -> tuple[int, ...]:
        """Another one after every change."""
        query = "SELECT count(*), coalesce(sum(version), 0), coalesce(max(seq), 0) FROM documents WHERE kind=?"
        row: tuple[int, ...] = self._store.connection.execute(query, (KIND,)).fetchone()
        return row

    def all(self) -> Mapping[str, Sequence[Stop]]:
        """By flow, in order of time."""
        state = self.state()
        kept = self._kept
        if kept[0] == state:
            return kept[1]
        found: dict[str, list[Stop]] = {}
        for _, document in self._store.everywhere(KIND):
            stop = _stop(document)
            found.setdefault(stop.flow_id, []).append(stop)
        with self._lock:
            self._kept = (state, found)
        return found


class Standing:
    """What keeps flows standing: a flow stands still as long as one of its parts (its intake, its landing) does."""

    def __init__(self, stops: Stops) -> None:
        self._stops = stops
        self._reasons: dict[str, dict[str, str | None]] = {}

    def teller(self, part: str) -> Callable[[str, str | None], None]:
        """A function of flow and reason (None when it goes on), which may be called from any thread."""

        def tell(flow_id: str, reason: str | None) -> None:
            parts = self._reasons.setdefault(flow_id, {})
            parts[part] = reason
            try:
                self._stops.note(flow_id, next(filter(None, parts.values()), None))
            except sqlite3.Error as error:  # what is told of runs must not end what runs
                logger.warning("a stop was not noted: %s", error, extra=fields(flow=flow_id))

        return tell


def _stop(document: Document) -> Stop:
    body = document.body
    return Stop(body["flowId"], body["at"], body["until"], body["reason"])
