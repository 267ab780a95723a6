"""What became of the records of a receipt: in the log, landed or failed, and by which flow, mapping and schema."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headrace.errors import ApiError, Terminal, Transient
from headrace.http.contract import Answer, Call, Route
from headrace.log.frames import LOG_PARTITION
from headrace.model.flow import FlowRevision
from headrace.runtime.supervisor import Progress, Supervisor
from headrace.services.operator.backup import restored
from headrace.services.operator.copies import relate
from headrace.services.operator.log_search import Logged, find
from headrace.services.operator.routes import BASE, LogOf
from headrace.store.documents import Scope, Store
from headrace.store.revisions import Revisions

if TYPE_CHECKING:
    from headrace.lake.catalog import Lake
    from headrace.lake.trace import Row

MOST_WAIT = 25.0
"""Seconds that a call may wait for its records to become visible."""
MOST_ENTRIES = 10_000
PATIENCE = 20.0
WAITERS, SEARCHERS = 16, 2
"""Calls that may wait and search at one time: each holds a thread, and a search takes a core."""
_COPY = "(@[0-9A-HJKMNP-TV-Z]{26})*"
_SINGLE = re.compile(rf"(\d{{13}}):\d+:\d+{_COPY}")
_OF_REQUEST = re.compile(rf"[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}{_COPY}-\d+")
"""Receipts that the inlet gives to single records, and those of their copies in other flows."""


@dataclass(slots=True)
class Tracer:
    """Searches what the server of a data directory has; thread-safe."""

    store: Store
    supervisor: Supervisor
    log: LogOf
    lake: Callable[[], "Lake"]
    waiters: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(WAITERS))
    searchers: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(SEARCHERS))

    def trace(self, scope: Scope, receipt: str, wait: float) -> dict[str, Any]:
        """The answer for a receipt; ApiError 404 when the sandbox has no record of it.

        `wait`: seconds within which records that are in the log should land; ignored while many wait already.
        """
        with self.searchers:
            found, all_read = find(self.log().directory, receipt)
        mine = [r for r in found if self._within(scope, r.flow_id, r.revision)]
        if found and not mine:
            raise self._nothing(receipt)
        if mine:
            self._await(mine, wait)
        with self.searchers:
            until = time.monotonic() + PATIENCE
            entries, finished = (
                self._logged(scope, mine, until) if mine else self._searched(scope, receipt, until)
            )
        complete = finished and (all_read or bool(mine))
        if not entries and complete:
            raise self._nothing(receipt)
        relate(self.store, scope, entries)
        return _answer(receipt, entries, complete)

    def _within(self, scope: Scope, flow_id: str, revision: int) -> FlowRevision | None:
        found = Revisions(self.store).get(flow_id, revision)
        fits = found is not None and Scope(found.org_id, found.sandbox) == scope
        return found if fits else None

    def _nothing(self, receipt: str) -> ApiError:
        text = f"There is no record with the receipt {receipt} in this sandbox."
        note = restored.read(self.store.path.parent)
        if note is not None and note.explains(receipt):
            text += f" This server was {note}."
        return ApiError(404, "not_found", "Resource not found", text)

    def _await(self, records: list[Logged], wait: float) -> None:
        """Until every record lies below its flow's position, or the time is over."""
        if wait <= 0 or not self.waiters.acquire(blocking=False):
            return
        try:
            until, pause = time.monotonic() + wait, 0.01
            last = {record.flow_id: record.offset for record in records}
            while time.monotonic() < until:
                known = {id: self.supervisor.flows.get(id, Progress()) for id in last}
                if all(p.position > last[id] or p.stopped for id, p in known.items()):
                    return
                time.sleep(pause)
                pause = min(0.1, pause * 1.5)
        finally:
            self.waiters.release()

    # -- records that the log still has ---------------------------------------------------------------------

    def _logged(
        self, scope: Scope, records: list[Logged], until: float
    ) -> tuple[list[dict[str, Any]], bool]:
        """Entries of records that are in the log, and whether all tables could be searched."""
        from headrace.lake.trace import Wanted, watermark_of

        entries: list[dict[str, Any]] = []
        finished = True
        for flow_id in dict.fromkeys(record.flow_id for record in records):
            mine = [record for record in records if record.flow_id == flow_id][:MOST_ENTRIES]
            revision = self._within(scope, flow_id, mine[0].revision)
            assert revision is not None
            place, rows = 0, dict[int, dict[str, Any]]()
            try:
                table = self.lake().table(scope.sandbox, revision.dataset_id)
                mark = watermark_of(table, flow_id)
                place = mark.offsets.get(LOG_PARTITION, 0) if mark else 0
            except Terminal:
                pass  # dropped or not made yet: the flow says so
            below = [record for record in mine if record.offset < place]
            if below:
                moments = {record.received for record in below}
                wanted = Wanted(
                    _common(below),
                    whole=len(below) > 1,
                    received=below[0].received if len(moments) == 1 else None,
                    offsets=(below[0].offset, below[-1].offset),
                )
                found, finished_here = self._rows(scope, revision.dataset_id, wanted, until)
                finished &= finished_here
                offsets = {record.offset for record in below}
                rows = {
                    row.values["sourceOffset"]: self._entry(scope, revision.dataset_id, row)
                    for row in found
                    if row.values["flowId"] == flow_id and row.values["sourceOffset"] in offsets
                }
            for record in mine:
                if record.offset in rows:
                    entries.append(rows[record.offset])
                else:
                    state = "pending" if record.offset >= place else "unknown"
                    entries.append(self._waiting(scope, record, revision, state))
        return entries, finished

    def _waiting(
        self, scope: Scope, record: Logged, revision: FlowRevision, state: str
    ) -> dict[str, Any]:
        known = self.supervisor.flows.get(record.flow_id, Progress())
        note = "its flow is past it, yet it is in neither table: its row was deleted, or the search was cut short"
        if state == "pending":
            note = known.stopped or self.supervisor.trouble.get(record.flow_id) or ""
        entry = {
            "receipt": record.receipt,
            "state": state,
            **self._what(scope, record.flow_id, record.revision),
            "dataSetId": revision.dataset_id,
            "partition": LOG_PARTITION,
            "offset": record.offset,
            "received": record.received,
            "batchId": None,
            "snapshotId": None,
            "failure": None,
        }
        return entry | ({"note": note} if note else {})

    # -- records that have landed ---------------------------------------------------------------------------

    def _searched(
        self, scope: Scope, receipt: str, until: float
    ) -> tuple[list[dict[str, Any]], bool]:
        """Entries of rows in the sandbox's tables, and whether all of them could be searched."""
        from headrace.lake.trace import Wanted

        # only receipts of single requests say when they were given
        timed = _SINGLE.fullmatch(receipt)
        moment = int(timed[1]) if timed else None
        single = timed is not None or _OF_REQUEST.fullmatch(receipt) is not None
        wanted = Wanted(receipt, whole=not single, received=moment)
        entries: list[dict[str, Any]] = []
        finished = True
        for dataset_id in self._datasets(scope):
            rows, finished_here = self._rows(scope, dataset_id, wanted, until)
            finished &= finished_here
            entries += [self._entry(scope, dataset_id, row) for row in rows]
            if entries and single:
                return entries, True
        entries.sort(key=lambda e: (e["dataSetId"], e["partition"] or "", e["offset"] or 0))
        return entries[:MOST_ENTRIES], finished

    def _datasets(self, scope: Scope) -> list[str]:
        """Ids of the sandbox's data sets, those first to which most recently something landed."""
        newest = dict(
            self.store.connection.execute(
                "SELECT dataset_id, max(committed) FROM commits GROUP BY dataset_id"
            ).fetchall()
        )
        ids = [document.id for document in self.store.list(scope, "dataSets")]
        return sorted(ids, key=lambda id: newest.get(id, 0), reverse=True)

    def _rows(
        self, scope: Scope, dataset_id: str, wanted: Any, until: float
    ) -> tuple[list["Row"], bool]:
        from headrace.lake.trace import rows_of

        found: list[Row] = []
        finished = True
        for suffix in ("", "_failed"):
            if found and not wanted.whole:
                break
            for attempt in range(2):
                try:
                    table = self.lake().table(scope.sandbox, dataset_id + suffix)
                    found += rows_of(table, wanted, failed=bool(suffix), until=until)
                except Terminal:
                    pass
                except Transient:
                    if attempt == 0 and time.monotonic() < until:
                        continue  # a file was replaced meanwhile
                    finished = False
                break
        return found, finished

    def _entry(self, scope: Scope, dataset_id: str, row: "Row") -> dict[str, Any]:
        values = row.values
        commit = self._commit(values.get("acp_sourceBatchId"))
        revision = values.get("flowRevision") if row.failed else commit.get("revision")
        return {
            "receipt": values["receiptId"],
            "state": "failed" if row.failed else "landed",
            **self._what(scope, values["flowId"], revision),
            "dataSetId": dataset_id,
            "partition": values["sourcePartition"],
            "offset": values["sourceOffset"],
            "received": values["ingestTime"],
            "batchId": values.get("acp_sourceBatchId"),
            # a commit that was never written down is known by its file, until that is merged into another
            "snapshotId": commit.get("snapshot") or row.snapshot,
            "failure": {n: values[n] for n in ("stage", "code", "path", "message")}
            if row.failed
            else None,
        }

    def _commit(self, batch_id: str | None) -> dict[str, Any]:
        found = self.store.connection.execute(
            "SELECT body FROM commits WHERE batch_id=? LIMIT 1", (batch_id,)
        ).fetchone()
        return dict(json.loads(found[0])) if found else {}

    def _what(self, scope: Scope, flow_id: str, number: int | None) -> dict[str, Any]:
        """Flow, mapping and schema of an entry; None where it is not known any more."""
        document = self.store.get(scope, "flows", flow_id)
        revision = self._within(scope, flow_id, number) if number is not None else None
        mapping = schema = None
        if revision is not None:
            schema = {"id": revision.schema_id, "version": revision.schema_version}
            if revision.mapping_id is not None:
                mapping = {"id": revision.mapping_id, "version": revision.mapping_version}
        name = document.body.get("name") if document else None
        return {
            "flow": {"id": flow_id, "name": name, "revision": number},
            "mapping": mapping,
            "schema": schema,
        }


def receipt_routes(
    store: Store, supervisor: Supervisor, log: LogOf, lake: Callable[[], "Lake"]
) -> list[Route]:
    """`lake()` gives the tables, loaded when they are first asked for."""
    tracer = Tracer(store, supervisor, log, lake)

    def trace(call: Call) -> Answer:
        scope = Scope(call.who.org_id, call.who.sandbox)
        return Answer(200, tracer.trace(scope, call.params["id"], _seconds(call)))

    path = f"{BASE}/receipts/{{id}}"
    return [Route("GET", path, trace, "plain", "What became of the records of a receipt")]


def _seconds(call: Call) -> float:
    text = call.value("wait", "0")
    try:
        seconds = float(text or 0)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MOST_WAIT:
        detail = f"wait must be a number of seconds from 0 to {MOST_WAIT:g}."
        raise ApiError(400, "query", "Invalid request", detail)
    return seconds


def _common(records: list[Logged]) -> str:
    """The receipt of all records, or what theirs have before their numbers."""
    names = {record.receipt for record in records}
    first = records[0].receipt
    return first if len(names) == 1 else first.rpartition("-")[0]


def _answer(receipt: str, entries: list[dict[str, Any]], complete: bool) -> dict[str, Any]:
    counts = Counter(entry["state"] for entry in entries)
    return {
        "receipt": receipt,
        "state": _overall(counts),
        "counts": dict(counts),
        "complete": complete and len(entries) < MOST_ENTRIES,
        "entries": entries,
    }


def _overall(states: Iterable[str]) -> str:
    """What the least certain of the records is: the whole has landed only when each has."""
    return next((s for s in ("pending", "unknown", "failed", "landed") if s in states), "unknown")
